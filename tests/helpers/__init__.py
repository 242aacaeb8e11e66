"""What the tests are built with: processes, load, conditions, and readings of /proc. Never imported by aeros."""
