"""What a zygote gives the worker it forks."""

from __future__ import annotations

from ..record import record


@record
class WorkerSeed:
    """What a new worker process is born with. The descriptors are its own to close. born_at: monotonic seconds, from
    which its time to get ready counts."""

    ident: int
    slot: int
    generation: int
    cell: int
    nonce: str
    channel_fd: int
    #: See core.worker_file.
    file_fd: int
    born_at: float
    #: Whether this process has loaded the program itself, instead of being forked from one that has.
    alone: bool = False
