"""What the supervisor knows: slots, the workers in them, and the target they are measured against."""

from __future__ import annotations

from ...core.record import field, mutable
from .backoff import FailureRate
from .lifecycle import SLOT_EDGES, WORKER_EDGES, SlotState, WorkerState, advance


@mutable
class Worker:
    """One process, never reused. Times are monotonic seconds, 0.0 for "not yet"."""

    ident: int
    slot: int
    generation: int
    cell: int
    nonce: str
    spawned_at: float
    state: WorkerState = WorkerState.STARTING
    pid: int = 0
    #: Made by running the program again for it alone, and not by a fork.
    launched: bool = False
    #: Launched, and its program has not loaded the app yet.
    loading: bool = False
    ready_at: float = 0.0
    #: What it used when it was ready; measured only where memory has a limit.
    ready_rss_bytes: int = 0
    #: Told to accept connections.
    told_to_accept: bool = False
    #: Says that it accepts connections.
    admitted: bool = False
    #: Its last heartbeat as the loop read it, or later where the supervisor itself was held up.
    heartbeat_at: float = 0.0
    #: Why it is to be replaced by one of the same generation; "" while it is not.
    recycle: str = ""
    #: Why it was told to end; "" while it was not.
    retired: str = ""
    retired_at: float = 0.0
    drain_deadline: float = 0.0
    #: Why it was killed by us; "" while it was not.
    killed: str = ""
    killed_at: float = 0.0
    #: What it said of its own failure, before it exits with it.
    failure: str = ""
    traceback: str = ""
    #: How much its loss counts against its slot; see `backoff.weight_of`.
    loss_weight: float = 1.0
    #: The system had no process or descriptor for it.
    refused: bool = False
    #: When it was first seen to have ended without its zygote saying so.
    unreported_at: float = 0.0
    #: The app has written the traceback to its own log already.
    logged: bool = False

    def on(self, event: str) -> None:
        """Take an edge of the worker's state machine. Raises IllegalTransition."""
        self.state = advance(WORKER_EDGES, self.state, event)

    @property
    def alive(self) -> bool:
        """Starting or ready: counts towards what the slot should have."""
        return self.state in (WorkerState.STARTING, WorkerState.READY)

    @property
    def serving(self) -> bool:
        return self.state is WorkerState.READY and self.admitted

    @property
    def fresh(self) -> bool:
        """Alive and not to be replaced."""
        return self.alive and not self.recycle


@mutable
class Slot:
    """A numbered place, 0 to N-1, that a worker fills; two of them while one replaces the other."""

    index: int
    #: The generation this slot serves now; during a reload with a surge limit slots differ.
    generation: int
    state: SlotState = SlotState.EMPTY
    failures: FailureRate = field(default_factory=FailureRate)
    retry_at: float = 0.0
    restarts: int = 0

    def on(self, event: str) -> None:
        """Take an edge of the slot's state machine. Raises IllegalTransition."""
        self.state = advance(SLOT_EDGES, self.state, event)


@mutable
class Target:
    """What the fleet should be. The loop changes it; `reconcile` only compares."""

    workers: int
    #: The generation that serves.
    committed: int
    #: The generation being rolled out, loaded and able to fork; None when no reload is rolling.
    candidate: int | None = None
    #: The most workers beyond N at a time during a reload; None: all at once.
    surge: int | None = None
    #: "" | "graceful" | "now"
    stopping: str = ""
    #: Ready workers are not told to accept: another supervisor still is the server.
    hold: bool = False
    #: Another supervisor has taken over: the workers end as at a reload, for their clients meet a server again.
    upgraded: bool = False
    #: Until when connections are still accepted before a stop (`--drain-delay`); 0.0 when no stop has been asked for.
    last_call_until: float = 0.0
    #: Generations whose zygote can fork at this moment.
    forkable: frozenset[int] = frozenset()
    #: Generations whose workers load the program themselves, and how many do so at a time: more would only take the
    #: processor from each other, until all are late.
    self_loading: frozenset[int] = frozenset()
    loads_at_once: int = 2
    #: Before the first time all workers were ready, worker 0 goes ahead (one traceback, not N) until this time.
    pilot_until: float = 0.0

    @property
    def rounds(self) -> int:
        """Return how often workers that load the program themselves come up after others, until all are there."""
        return -(-self.workers // self.loads_at_once)


@mutable
class Fleet:
    """All slots and all workers that have not been reaped."""

    slots: dict[int, Slot] = field(default_factory=dict)
    workers: dict[int, Worker] = field(default_factory=dict)

    def set_slots(self, target: Target) -> None:
        """Make the slots that `target` asks for; those beyond it empty themselves (see `reconcile`)."""
        for index in range(target.workers):
            if index not in self.slots:
                self.slots[index] = Slot(index, target.committed)

    def settle_on(self, target: Target, generation: int) -> None:
        """A reload is decided: every slot serves `generation` from now on, and no candidate is left."""
        target.committed, target.candidate = generation, None
        for slot in self.slots.values():
            slot.generation = generation

    def in_slot(self, index: int) -> list[Worker]:
        """Return the workers of a slot, oldest first."""
        return [worker for worker in self.workers.values() if worker.slot == index]

    def by_slot(self) -> dict[int, list[Worker]]:
        """Return the workers of each slot that has any, oldest first."""
        found: dict[int, list[Worker]] = {}
        for worker in self.workers.values():
            found.setdefault(worker.slot, []).append(worker)
        return found

    def serving(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.serving]

    def of_generation(self, generation: int) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.generation == generation]
