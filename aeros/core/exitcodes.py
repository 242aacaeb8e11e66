"""What the exit code of a blocking `start()` or of the `aeros` command means. Documented in docs/reference.md."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """First error wins; a later clean-up never overwrites it."""

    OK = 0
    #: Something unexpected ended the server, or a command was refused (a reload that failed, for one).
    FAILURE = 1
    #: An option or command line was wrong; nothing was started.
    USAGE = 2
    #: The app could not be loaded or its start-up failed, was cut short, or took too long.
    APP = 3
    #: An address or a certificate could not be had.
    BIND = 4
    #: The stop had to kill a worker that would not end in time.
    KILLED = 5
