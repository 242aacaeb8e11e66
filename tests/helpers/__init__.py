"""What the tests are built with: processes, load, conditions, and readings of /proc."""
