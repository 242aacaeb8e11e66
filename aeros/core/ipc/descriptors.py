"""Where descriptors go: out of the way of numbers that mean something."""

from __future__ import annotations

import errno
import fcntl

#: Where copies are put, the first that the limit on open files allows. Lower numbers may be what a bind means (fd://3),
#: or where a program that is started is to find something.
_OUT_OF_THE_WAY = (64, 32, 16, 8)


def put_away(fd: int) -> int:
    """Return a copy of `fd` on a number out of the way, not inherited by programs that are started. Raises OSError."""
    for lowest in _OUT_OF_THE_WAY:
        try:
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError as error:
            # EINVAL: above the limit (RLIMIT_NOFILE); EMFILE: all from there up to the limit are taken.
            if error.errno not in (errno.EINVAL, errno.EMFILE) or lowest == _OUT_OF_THE_WAY[-1]:
                raise
    raise AssertionError("unreachable")
