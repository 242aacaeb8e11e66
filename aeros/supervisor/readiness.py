"""Who waits for the server to be ready, to be the server, or to end; and why it never will be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..core.exitcodes import ExitCode
from ..errors import AerosError, AppLoadError, ServerStopped
from .model.lifecycle import WorkerState
from .state.office import Office
from .upgrade.successor import Succession

#: A start that fails at once fails before the program that is to be told has asked; it asks as soon as it can.
_OWNER_ASKS_S = 5.0


class Readiness:
    """Only code called from the supervisor's loop touches it."""

    def __init__(
        self,
        office: Office,
        announce: Callable[[], None],
        dashboard_awaited: Callable[[], bool],
        succession: Succession | None,
    ) -> None:
        """announce: called once, when all workers are ready. dashboard_awaited: whether an upgrade is to wait for the
        dashboard a little longer. succession: to be told that this supervisor can take over."""
        self._office = office
        self._announce = announce
        self._dashboard_awaited = dashboard_awaited
        self._succession = succession
        #: Whether this supervisor is the server, or still to succeed another.
        self._settled = succession is None
        self._ready_waiters: list[Callable[[AerosError | None], None]] = []
        self._settle_waiters: list[Callable[[], None]] = []
        self._stop_waiters: list[Callable[[ExitCode], None]] = []
        self._failure: tuple[str, str] | None = None
        #: Until when the program that started this server is given time to ask what became of it; 0.0 once it has.
        self.owner_asks_until = 0.0

    @property
    def failed(self) -> bool:
        """Whether the start has failed."""
        return self._failure is not None

    def fail(self, reason: str, traceback: str) -> None:
        """The start has failed."""
        self._failure = (reason, traceback)

    def expect_owner(self) -> None:
        """The program that started this server is to be told what became of it."""
        self.owner_asks_until = self._office.system.monotonic() + _OWNER_ASKS_S

    # --- who waits -------------------------------------------------------------------------------------------

    def when_ready(self, call: Callable[[AerosError | None], None]) -> None:
        """Call back once all workers are ready, with None, or with why they never will be."""
        self._ready_waiters.append(call)
        self.owner_asks_until = 0.0
        self._office.poke()

    def when_settled(self, call: Callable[[], None]) -> None:
        """Call back once this supervisor is the server, and not still to succeed another."""
        if self._settled:
            call()
        else:
            self._settle_waiters.append(call)

    def when_stopped(self, call: Callable[[ExitCode], None]) -> None:
        """Call back with the exit code as the last thing before the end."""
        self._stop_waiters.append(call)

    # --- what they wait for ----------------------------------------------------------------------------------

    def check(self) -> None:
        """Tell whoever waits, if all workers are ready."""
        office, target = self._office, self._office.target
        if self._succession is not None and target.hold:
            ready = {worker.slot for worker in office.fleet.workers.values() if worker.state is WorkerState.READY}
            if len(ready) >= target.workers and not self._dashboard_awaited() and not target.stopping:
                self._succession.ready()
            return
        if len({worker.slot for worker in office.fleet.serving() if worker.slot < target.workers}) < target.workers:
            return
        if any(worker.slot >= target.workers and worker.alive for worker in office.fleet.workers.values()):
            return
        if not office.was_ready:
            office.was_ready = True
            office.dirty = True
            self._announce()
            if self._succession is not None:
                self._succession.accepting()
        waiters, self._ready_waiters = self._ready_waiters, []
        office.answers += [partial(waiter, None) for waiter in waiters]

    def settle(self) -> None:
        """This supervisor is the server from now on."""
        self._settled = True
        waiters, self._settle_waiters = self._settle_waiters, []
        for waiter in waiters:
            waiter()

    def conclude(self) -> None:
        """The server ends: whoever still waits is told."""
        for told in self._stop_waiters:
            told(self._office.exit_code)
        for waiter in self._ready_waiters:
            waiter(self._why_never())

    def _why_never(self) -> AerosError:
        if self._failure is not None:
            return AppLoadError(self._failure[0], traceback=self._failure[1])
        return ServerStopped("the server has stopped")
