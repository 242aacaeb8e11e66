"""The last resort of an orphan: a worker whose supervisor died while its event loop was stuck.

A loop that turns sees the end-of-file on its channel and drains; the zygote kills what does not. Should the zygote be
gone as well and the loop be blocked in a handler, the kernel's own notice (SIGIO on the channel) still gets through:
it interrupts sleeps and is looked at between any two bytecodes. No thread is needed, so code in the worker may fork.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket


def guard(channel_fd: int, drain_timeout_s: float) -> None:
    """Have this process end `drain_timeout_s` after the other end of the channel was closed, whatever it does then."""

    def on_io(signum: int, frame: object) -> None:
        line = socket.socket(fileno=os.dup(channel_fd))
        try:
            orphaned = line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            orphaned = False
        except OSError:
            orphaned = True
        finally:
            line.close()
        if orphaned:
            signal.signal(signal.SIGIO, lambda signum, frame: None)
            # Its default action ends the process without asking any Python code.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, max(0.1, drain_timeout_s))

    signal.signal(signal.SIGIO, on_io)
    # A system call of the app that the notice of an ordinary message interrupts is restarted.
    signal.siginterrupt(signal.SIGIO, False)
    fcntl.fcntl(channel_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(channel_fd, fcntl.F_SETFL, fcntl.fcntl(channel_fd, fcntl.F_GETFL) | os.O_ASYNC)
