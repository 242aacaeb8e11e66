"""What workers say of themselves. Nothing of it is believed that the supervisor can know better."""

from __future__ import annotations

from collections.abc import Callable

from ...core.clock import show_duration
from ...core.ipc.channel import ChannelClosed
from ...core.ipc.messages import (
    MAX_REASON_CHARS,
    Accepting,
    Draining,
    Failed,
    FilesChanged,
    Goodbye,
    Logged,
    Message,
    Profiled,
    ProtocolError,
    Ready,
    Routes,
    WantsRetirement,
    clip,
)
from ...status.usage import rss_bytes
from ..model.fleet import Worker
from ..model.lifecycle import WorkerState
from ..state.office import Office
from .links import WorkerLink
from .names import facts_of, name_of
from .telling import Telling


class Hearing:
    """links: the lines to all workers. on_change: told of a worker's generation, its pid and the source files that
    it found changed."""

    def __init__(
        self,
        office: Office,
        links: dict[int, WorkerLink],
        telling: Telling,
        on_change: Callable[[int, int, list[str]], None],
    ) -> None:
        self._office = office
        self._log = office.log
        self._links = links
        self._telling = telling
        self._on_change = on_change

    def begin(self, worker: Worker) -> None:
        """Listen to it from now on."""
        self._office.loop.add_reader(self._links[worker.ident].channel.fileno(), self._on_readable, worker)

    def _on_readable(self, worker: Worker) -> None:
        self._read(worker)
        self._office.poke()

    def _read(self, worker: Worker) -> None:
        link = self._links[worker.ident]
        try:
            messages = link.channel.receive()
            link.said.count(len(messages), link.channel, self._office.system.monotonic())
            for message, _ in messages:
                self._hear(worker, message)
        except ChannelClosed:
            # Its exit is reported by its zygote. Until then there is nothing more to read here.
            self._stop_reading(worker)
        except ProtocolError as error:
            self._end_liar(worker, error)

    def _stop_reading(self, worker: Worker) -> None:
        link = self._links[worker.ident]
        link.over = True
        if not link.closed:
            self._office.loop.remove_reader(link.channel.fileno())

    def _end_liar(self, worker: Worker, error: ProtocolError) -> None:
        self._log.error(f"{name_of(worker)}: {error}", **facts_of(worker))
        self._stop_reading(worker)  # what follows in the line is of no account, its last words included
        self._telling.kill(worker, "it sent garbage", dump=False)

    def last_words(self, worker: Worker) -> None:
        """Take in what a worker that has ended had still said."""
        link = self._links[worker.ident]
        if link.over or link.closed:
            return
        try:
            for message, _ in link.channel.receive():
                self._hear(worker, message)
        except ChannelClosed:
            pass
        except ProtocolError as error:
            self._log.error(f"{name_of(worker)}: {error}", **facts_of(worker))

    def _hear(self, worker: Worker, message: Message) -> None:
        match message:
            case Ready() if worker.state is WorkerState.READY:
                raise ProtocolError("it says twice that it is ready")
            case Ready():
                # By nonce, not by pid or path: an answer of an earlier worker must never count.
                if (message.generation, message.nonce) != (worker.generation, worker.nonce):
                    raise ProtocolError("it claims to be another worker")
                self._ready(worker, message)
            case Accepting() if not worker.told_to_accept:
                raise ProtocolError("it accepts connections without being told to")
            case Accepting():
                worker.admitted = True
            case Draining():
                worker.admitted = False
                if worker.state is WorkerState.READY and not worker.recycle:
                    self._telling.recycle(worker, "it stopped accepting, unasked")
            case Failed():
                failure = message.reason if message.stage == "serving" else f"{message.stage}: {message.reason}"
                worker.failure = clip(failure, MAX_REASON_CHARS)
                worker.traceback, worker.logged = clip(message.traceback), message.logged
            case Logged():
                self._office.recent.hear(message.text)
            case Profiled():
                self._telling.profiles.hear(worker, message)
            case Routes():
                self._office.routes.hear(message, worker.slot)
            case FilesChanged() if worker.launched:
                self._on_change(worker.generation, worker.pid, message.paths)
            case WantsRetirement():
                if not worker.recycle:
                    self._telling.recycle(worker, clip(message.reason, MAX_REASON_CHARS))
            case Goodbye():
                if message.cut:
                    cut = f"{message.cut} connection{'s' if message.cut != 1 else ''}"
                    self._log.info(f"{name_of(worker)} cut {cut} when its time to drain was over", **facts_of(worker))
            case _:
                raise ProtocolError(f"it sent a {type(message).__name__}")

    def _ready(self, worker: Worker, message: Ready) -> None:
        """It has said that it can accept."""
        if not worker.pid:
            self._links[worker.ident].early = message  # who it is, its zygote says
            return
        if message.pid != worker.pid:
            raise ProtocolError(f"it claims to be process {message.pid}")
        worker.on("ready")
        worker.ready_at = worker.heartbeat_at = self._office.system.monotonic()
        if self._office.policy.max_rss_bytes:
            worker.ready_rss_bytes = rss_bytes(worker.pid)
        self._log.info(f"{name_of(worker)} ready in {show_duration(message.boot_s)}", **facts_of(worker))

    def identified(self, worker: Worker) -> None:
        """Its zygote has said who it is: what it has said before counts now."""
        early = self._links[worker.ident].early
        if early is None:
            return
        try:
            self._ready(worker, early)
        except ProtocolError as error:
            self._end_liar(worker, error)
