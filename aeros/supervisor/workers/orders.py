"""New workers: each ordered from the zygote of its generation, or launched."""

from __future__ import annotations

from collections.abc import Callable

from ...core.log.lines import worker_name
from ..model.fleet import Slot, Worker
from ..model.totals import Cells
from ..state.office import Office
from ..system.warden import Warden
from ..zygotes.links import ZygoteLink
from ..zygotes.nursery import Nursery
from ..zygotes.order import Order
from .ends import Ends
from .hearing import Hearing
from .links import WorkerLink
from .slots import Slots
from .telling import Telling


class Orders:
    """links: the lines to all workers. source_of: the zygote that forks for a generation, or the nursery that launches.
    on_loss: told of a worker that could not be made, with a sentence about why."""

    def __init__(
        self,
        office: Office,
        links: dict[int, WorkerLink],
        telling: Telling,
        hearing: Hearing,
        ends: Ends,
        slots: Slots,
        cells: Cells,
        warden: Warden,
        source_of: Callable[[int], ZygoteLink | Nursery],
        on_loss: Callable[[Worker, str], None],
    ) -> None:
        self._office = office
        self._links = links
        self._telling = telling
        self._hearing = hearing
        self._ends = ends
        self._slots = slots
        self._cells = cells
        self._warden = warden
        self._source_of = source_of
        self._on_loss = on_loss
        self._next_ident = 1

    def spawn(self, slot_index: int, generation: int) -> bool:
        """Order a worker from its zygote, or launch it. It exists for us from now on; the pid of a forked one comes
        with the answer. False when that failed, which has been dealt with."""
        slot = self._office.fleet.slots[slot_index]
        cell = self._cells.take()
        if cell is None:
            self._slots.failed(slot, "every cell of the scoreboard is in use")
            return False
        try:
            order = Order.make(self._office.system, self._next_ident, slot_index, generation, cell)
        except OSError as error:
            self._cells.give_back(cell)
            self._cannot_order(slot, generation, error)
            return False
        source = self._source_of(generation)
        if isinstance(source, Nursery):
            return self._expect(order, None, lambda worker: self._launch(worker, order, source))
        with order.theirs:
            return self._expect(
                order, source, lambda worker: self._office.tell(source.channel, order.message, order.fds)
            )

    def adopt(self, order: Order, zygote: ZygoteLink) -> None:
        """Take over a worker that was ordered from its zygote before this supervisor was there."""
        self._cells.claim(order.cell)
        self._expect(order, zygote, lambda worker: None)

    def _expect(self, order: Order, zygote: ZygoteLink | None, send: Callable[[Worker], None]) -> bool:
        """Have the worker exist for us, and send the order. False when that failed, which has been dealt with."""
        worker = Worker(order.ident, order.slot, order.generation, order.cell, order.nonce, order.at)
        self._next_ident = order.ident + 1
        self._office.fleet.workers[worker.ident] = worker
        self._links[worker.ident] = WorkerLink(order.channel, order.file_fd, zygote)
        slot = self._office.fleet.slots[order.slot]
        slot.on("spawn")
        slot.retry_at = 0.0
        self._hearing.begin(worker)
        if zygote is not None:
            zygote.unanswered[worker.ident] = order.at
        try:
            self._telling.certificates(worker)
            self._telling.seat(worker)
            send(worker)
        except OSError as error:
            order.theirs.close()
            if zygote is not None:
                del zygote.unanswered[worker.ident]
            worker.failure, worker.refused = f"{type(error).__name__}: {error}", True
            self._ends.ended(worker, None)
            return False
        return True

    def _launch(self, worker: Worker, order: Order, nursery: Nursery) -> None:
        """Run the program again for it. Raises OSError."""
        birth = nursery.bring_up(order)
        link = self._links[worker.ident]
        link.birth = birth
        # Nobody else can have its number before we reap it.
        link.pidfd = self._office.system.open_pidfd(birth.pid)
        worker.pid, worker.launched, worker.loading = birth.pid, True, birth.loading

        def loaded() -> None:
            worker.loading = False

        birth.on_loaded = loaded
        self._warden.watch(birth.pid, link.pidfd, self._office.policy.drain_timeout_s)

    def _cannot_order(self, slot: Slot, generation: int, error: OSError) -> None:
        """There is nothing to talk to a new worker with: out of descriptors or memory, which may pass."""
        what = f"{worker_name(slot.index, generation, None)} could not be made: {type(error).__name__}: {error}"
        if generation == self._office.target.candidate or not self._office.was_ready:
            # A reload is refused for it, a start ends with it, just as when the fork itself fails.
            stillborn = Worker(0, slot.index, generation, 0, "", self._office.system.monotonic())
            self._on_loss(stillborn, what)
        else:
            self._slots.refused(slot, what)
