"""The warden's process: this file is run as a program, by an interpreter that has nothing else of Aeros (see `warden`).

It learns of each worker by a packet: its pid and how many seconds it may outlive the supervisor, with a pidfd beside.
When the line ends, the supervisor is gone. The workers then drain and end; whoever is still there when its time is over
is killed.
"""

import contextlib
import os
import select
import signal
import socket
import time

#: The descriptor the line is on, and the most that a packet has.
LINE = 3
PACKET_BYTES = 64

Wards = dict[int, tuple[int, float]]


def main() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides, as for all of the family
    poller = select.poll()
    poller.register(LINE, select.POLLIN)
    wards: Wards = {}
    _listen(socket.socket(fileno=LINE), poller, wards)
    _outlive(poller, wards)


def _listen(line: socket.socket, poller: select.poll, wards: Wards) -> None:
    """Learn of workers until the supervisor is gone. wards: pid and seconds, by pidfd."""
    while True:
        for fd, _ in poller.poll():
            if fd != LINE:
                _forget(fd, poller, wards)
                continue
            data, fds, _, _ = socket.recv_fds(line, PACKET_BYTES, 1)
            if not data:
                poller.unregister(LINE)
                return
            pid, seconds = data.split()
            for pidfd in fds:
                wards[pidfd] = int(pid), float(seconds)
                poller.register(pidfd, select.POLLIN)


def _outlive(poller: select.poll, wards: Wards) -> None:
    began = time.monotonic()
    while wards:
        left = min(seconds for _, seconds in wards.values()) - (time.monotonic() - began)
        for fd, _ in poller.poll(max(0.0, left) * 1000.0):
            _forget(fd, poller, wards)
        for fd, (pid, seconds) in list(wards.items()):
            if time.monotonic() - began >= seconds:
                _kill(fd, pid)
                _forget(fd, poller, wards)


def _kill(pidfd: int, pid: int) -> None:
    """End a worker and what it has started. As long as its pidfd has not told its end, the number is its own."""
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # type: ignore[attr-defined,unused-ignore]


def _forget(pidfd: int, poller: select.poll, wards: Wards) -> None:
    poller.unregister(pidfd)
    os.close(pidfd)
    del wards[pidfd]


if __name__ == "__main__":
    main()
