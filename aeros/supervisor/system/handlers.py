"""The signals that the server answers: handed to whoever leads the process at the moment, everything put back later."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

from ...core.record import field, mutable

HANDLED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)


def block() -> set[int]:
    """Have signals wait: one between a fork and the handlers must not meet those of the program. Return the mask from
    before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


@mutable
class Handlers:
    """handler: called from inside the loop, with the number."""

    loop: asyncio.AbstractEventLoop
    handler: Callable[[int], None] = field(default=lambda number: None)
    #: What nobody has answered yet.
    kept: list[int] = field(default_factory=list)

    def keep(self, number: int) -> None:
        """Leave it to the next handler."""
        self.kept.append(number)

    def pause(self) -> None:
        """Keep them all until there is a handler again."""
        self.handler = self.keep

    def hand_to(self, handler: Callable[[int], None]) -> None:
        """Let `handler` have them from now on, those that were kept first."""
        self.handler = handler
        kept, self.kept = self.kept, []
        for number in kept:
            # A timer and not call_soon: those come before the first step of the task that is about to be run.
            self.loop.call_later(0, handler, number)


@contextlib.contextmanager
def handing(loop: asyncio.AbstractEventLoop, mask: set[int]) -> Iterator[Handlers]:
    """Hand signals to the loop, which were blocked until now. mask: what is blocked afterwards."""
    hand = Handlers(loop)
    wakeup = signal.set_wakeup_fd(-1)
    previous = {number: signal.getsignal(number) for number in HANDLED}
    for number in HANDLED:
        loop.add_signal_handler(number, lambda number=number: hand.handler(number))  # type: ignore[misc]
    signal.pthread_sigmask(signal.SIG_SETMASK, [number for number in mask if number not in HANDLED])
    try:
        yield hand
    finally:
        for number, handler in previous.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.set_wakeup_fd(wakeup)
