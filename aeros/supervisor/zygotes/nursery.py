"""Where the workers of a generation come from that load the program themselves: launched by the supervisor, one by one.

A nursery stands where a zygote's line stands. It runs the program again for each order, as a reload does. The program
reaches start(), says that it has arrived, is told that it is a worker and which, loads, and serves. What a zygote would
report, the supervisor knows first-hand: it has started the process, and reaps it.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.ipc.channel import Channel, ChannelClosed, close_fds
from ...core.ipc.messages import Arrived, ForkFailed, Loaded, LoadFailed, Logged, Message, ProtocolError, clip
from ...core.process.signalling import describe_exit
from ...core.record import field, mutable
from ...version import __version__
from ..state.office import Office
from .links import Flood, ZygoteLink
from .load import WORKER
from .loader import Loader, run_again
from .order import Order


def other_version(message: Arrived) -> str | None:
    """Return why a program that has arrived cannot be of this server, None if it can."""
    if message.aeros_version == __version__:
        return None
    return f"has Aeros {clip(message.aeros_version, 80)}, and this server is {__version__}: aeros upgrade changes it"


class Birth:
    """A worker on its way, from its launch until it has loaded the app."""

    def __init__(self, office: Office, order: Order, pid: int, channel: Channel, loader: Loader | None) -> None:
        """loader: None for a program that has loaded the app already, and only gets its order."""
        self.pid = pid
        #: Why it cannot be a worker: a sentence and a traceback.
        self._failure: tuple[str, str] | None = None
        #: Told once what becomes of it.
        self.on_loaded: Callable[[], None] = lambda: None
        self._office = office
        self._order = order
        self._channel = channel
        self._loader = loader
        self._said = Flood()
        if loader is not None:
            loader.what = "its program"
        self._arrived = loader is None
        office.loop.add_reader(channel.fileno(), self._on_readable)

    @property
    def loading(self) -> bool:
        return self._loader is not None

    # --- what it says ----------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        try:
            received = self._channel.receive()
            close_fds(received)  # it has none to send
            self._said.count(len(received), self._channel, self._office.system.monotonic())
            for message, _ in received:
                self._hear(message)
        except ChannelClosed:
            self._office.forget(self._channel)  # it serves, or has ended; how it ended says why
        except ProtocolError as error:
            self.fail(str(error))
        self._office.poke()

    def _hear(self, message: Message) -> None:
        match message:
            case Arrived() if message.pid == self.pid and not self._arrived:
                self._arrived = True
                self._welcome(message)
            case Loaded() if message.pid == self.pid and self._arrived and self._loader is not None:
                self._loader.succeeded()
                self._loader = None
                self.on_loaded()
            case LoadFailed():
                self.fail(message.reason, message.traceback)
            case ForkFailed():
                self.fail(message.reason)
            case Logged():
                self._office.recent.hear(message.text)
            case _:
                raise ProtocolError(f"the program of a worker sent a {type(message).__name__}")

    def _welcome(self, message: Arrived) -> None:
        """Tell it what it is: a worker, and which."""
        order = self._order
        if (reason := other_version(message)) is not None:
            self.fail(f"its program {reason}")
            return
        try:
            self._office.welcome(self._channel, order.generation, WORKER)
            self._office.tell(self._channel, order.message, order.fds)
        except OSError as error:
            self.fail(f"{type(error).__name__}: {error}")
        finally:
            order.theirs.close()

    def fail(self, reason: str, traceback: str = "") -> None:
        """It cannot be a worker: end it."""
        self._failure = self._failure or (clip(reason, 2000), clip(traceback))
        self.kill()

    # --- its end ---------------------------------------------------------------------------------------------

    def abort(self, why: str) -> None:
        """Have it print its stack and end."""
        if self._loader is not None:
            self._loader.abort(why)

    def kill(self) -> None:
        """End it and whatever it has started."""
        if self._loader is not None:
            self._loader.kill()

    def explain(self, status: int) -> tuple[str, str, bool]:
        """Return why it ended while it loaded: a sentence, a traceback or what it printed, and whether that is logged.
        status: as waitpid gives it."""
        assert self._loader is not None
        self._loader.close()
        reason, said, logged = self._loader.explain(status)
        if self._failure is not None:
            return *self._failure, False
        if self._arrived:
            reason = f"its program ended with {describe_exit(status)} while it loaded the app"
        return reason, said, logged

    def close(self) -> None:
        """It has ended, or is no business of ours any more: let go of what goes with it."""
        self._office.forget(self._channel)
        self._order.theirs.close()
        if self._loader is not None:
            self._loader.close()
            self._loader = None


@mutable(eq=False)
class Nursery:
    """Of one generation."""

    office: Office
    generation: int
    #: The process that was to be a zygote, and found out that workers load the app themselves. It has done so, and
    #: becomes the first of them.
    firstborn: ZygoteLink | None = None
    #: Told when the firstborn has its order.
    on_taken: Callable[[ZygoteLink], None] = field(default=lambda link: None)

    def bring_up(self, order: Order) -> Birth:
        """Start the process of a worker. Raises OSError; then nothing was started."""
        first, self.firstborn = self.firstborn, None
        if first is not None and not first.retired and first.channel.fileno() != -1:
            self.office.tell(first.channel, order.message, order.fds)
            order.theirs.close()
            self.on_taken(first)
            first.close()
            return Birth(self.office, order, first.pid, first.channel, None)
        loader, channel = run_again(self.office, self.generation, self.office.command)
        return Birth(self.office, order, loader.pid, channel, loader)
