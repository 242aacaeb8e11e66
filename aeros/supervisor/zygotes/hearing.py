"""What zygotes say, and programs on their way to become one. Nothing of it is believed that can be looked up."""

from __future__ import annotations

import os
from collections import deque

from ...core.ipc.channel import ChannelClosed, close_fds
from ...core.ipc.messages import (
    MAX_REASON_CHARS,
    Arrived,
    Exited,
    FilesChanged,
    Forked,
    ForkFailed,
    Loaded,
    LoadFailed,
    Logged,
    Message,
    ProtocolError,
    ZygoteForked,
    ZygoteForkFailed,
    clip,
)
from ...core.process.signalling import working_directory
from ..state.office import Office
from ..system.kin import Kin
from .links import ZygoteLink
from .nursery import other_version
from .protocols import Reloads, Reports
from .sources import Sources
from .zygotes import Zygotes


class Hearing:
    """reports: who hears what is said of workers."""

    def __init__(self, office: Office, sources: Sources, zygotes: Zygotes, reloads: Reloads, reports: Reports) -> None:
        self._office = office
        self._sources = sources
        self._zygotes = zygotes
        self._reloads = reloads
        self._reports = reports

    def begin(self, zygote: ZygoteLink) -> None:
        """Listen to it from now on."""
        self._office.loop.add_reader(zygote.channel.fileno(), self.on_readable, zygote)

    def on_readable(self, zygote: ZygoteLink) -> None:
        """Take in what it has said."""
        received: deque[tuple[Message, list[int]]] = deque()
        try:
            received += zygote.channel.receive()
            zygote.said.count(len(received), zygote.channel, self._office.system.monotonic())
            while received:
                message, fds = received.popleft()
                try:
                    self._hear(zygote, message, fds)
                finally:
                    close_fds([(message, fds)])
            if zygote.channel.holds_strays:
                raise ProtocolError("it sent a descriptor that goes with no message")
        except ChannelClosed:
            self._zygotes.gone(zygote)
        except ProtocolError as error:
            close_fds(received)
            self._end_liar(zygote, error)
        self._office.poke()

    def _end_liar(self, zygote: ZygoteLink, error: ProtocolError) -> None:
        self._office.log.error(f"{zygote.name}: {error}; it is ended")
        if self._reloads.is_for(zygote.generation):
            self._reloads.fail(f"{zygote.name} was ended: {error}")
        self._zygotes.kill(zygote)

    def _hear(self, zygote: ZygoteLink, message: Message, fds: list[int]) -> None:
        """Do what follows from a message. fds: closed by the caller, but for those that are taken out of it."""
        match message:
            case Arrived():
                self._welcome(zygote, message)
            case Loaded():
                self._loaded(zygote, message)
            case LoadFailed():
                self._reloads.load_failed(zygote, message)
            case Logged():
                self._office.recent.hear(message.text)
            case FilesChanged():
                self._reloads.files_changed(zygote.generation, zygote.pid, message.paths)
            case Forked() | ForkFailed() | Exited():
                self._hear_of_worker(zygote, message, fds)
            case ZygoteForked() | ZygoteForkFailed():
                self._hear_of_copy(zygote, message, fds)
            case _:
                raise ProtocolError(f"it sent a {type(message).__name__}")

    def _hear_of_worker(self, zygote: ZygoteLink, message: Forked | ForkFailed | Exited, fds: list[int]) -> None:
        match message:
            case Exited() if not (1 < message.pid < 2**31 and 0 <= message.status <= 0xFFFF):
                raise ProtocolError(f"it reports that process {message.pid} has ended with the status {message.status}")
            case Exited():
                self._reports.reaped(zygote, message.pid, message.status)
            case _ if message.worker not in zygote.unanswered:
                raise ProtocolError(f"it speaks of a worker {message.worker} that it was not told to fork")
            case Forked():
                self._reports.forked(zygote, message, self._recognise(zygote, message.pid, fds))
            case ForkFailed():
                del zygote.unanswered[message.worker]
                self._reports.fork_failed(message)

    def _hear_of_copy(self, zygote: ZygoteLink, message: ZygoteForked | ZygoteForkFailed, fds: list[int]) -> None:
        if not zygote.copies:
            raise ProtocolError("it speaks of a copy that it was not told to make")
        if isinstance(message, ZygoteForked):
            self._copied(zygote.copies.popleft(), self._recognise(zygote, message.pid, fds), message.pid)
        else:
            self._zygotes.drop_copy(zygote.copies.popleft())
            self._zygotes.no_copy(message.generation, clip(message.reason, MAX_REASON_CHARS))

    def _recognise(self, zygote: ZygoteLink, pid: int, fds: list[int]) -> Kin:
        """Return what becomes of the zygote's word that `pid` is a new child of its. Takes the pidfd out of `fds` if it
        is kept. Raises ProtocolError for a lie."""
        # 0, -1 and 1 mean other things to those that send signals.
        if not 1 < pid < 2**31 or len(fds) > 1:
            raise ProtocolError(f"it speaks of process {pid} with {len(fds)} descriptors")
        if self._reports.knows(pid) or any(other.pid == pid for other in self._sources.zygotes):
            raise ProtocolError(f"it calls process {pid} new, which is not so")
        told = fds[0] if fds else None
        strict = self._office.command.account is not None
        kin = self._office.system.recognise(pid, told, zygote.pid, zygote.pidfd, strict=strict)
        if kin.pidfd is not None and kin.pidfd == told:
            fds.clear()
        return kin

    def _welcome(self, zygote: ZygoteLink, message: Arrived) -> None:
        """The program that was run again has reached start()."""
        if message.pid != zygote.pid or zygote.arrived or zygote.loaded:
            raise ProtocolError(f"it says that it has arrived as process {message.pid}")
        zygote.arrived, zygote.directory = True, working_directory(message.pid)
        if (reason := other_version(message)) is not None:
            self._reloads.fail(f"the new program {reason}")
            return
        self._office.welcome(zygote.channel, zygote.generation)

    def _copied(self, copy: ZygoteLink, kin: Kin, pid: int) -> None:
        """A zygote says who the copy is that it has made of itself."""
        if kin.there and copy in self._sources.zygotes:
            copy.pid, copy.pidfd = pid, kin.pidfd
            if copy.early is not None:
                try:
                    self._loaded(copy, copy.early)
                except ProtocolError as error:
                    self._end_liar(copy, error)
        elif kin.pidfd is not None:
            os.close(kin.pidfd)
        # else it has ended already, which its channel will say

    def _loaded(self, zygote: ZygoteLink, message: Loaded) -> None:
        """The zygote can fork."""
        if not zygote.pid:
            zygote.early = message  # who it is, the zygote says that made it
            return
        if (message.pid, message.generation) != (zygote.pid, zygote.generation) or zygote.loaded:
            raise ProtocolError(f"it says that it is process {message.pid}, with generation {message.generation}")
        zygote.loaded = True
        if self._office.target.stopping:
            self._zygotes.retire(zygote)
        else:
            self._reloads.loaded(zygote, message)
