"""What the parts of the supervisor share: the state of the server, and the bell that wakes its loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...core.exitcodes import ExitCode
from ...core.ipc.channel import Channel, ChannelClosed
from ...core.ipc.messages import Message, Welcome
from ...core.log.lines import LineLog
from ...core.net.certificates import TLSFiles
from ...core.net.listener import Listener
from ...core.process.streams import standard
from ...core.record import field, mutable
from ...core.shared.scoreboard import Scoreboard
from ..model.fleet import Fleet, Target
from ..model.policy import Policy
from ..sockets.certificates import Certificates
from ..sockets.datagrams import Datagrams
from ..system.launch import CommandLine
from ..system.system import System
from .recent_log import RecentLog
from .route_book import RouteBook


@mutable
class Office:
    """One per supervisor. Only code called from the supervisor's loop touches it."""

    policy: Policy
    listeners: list[Listener]
    scoreboard: Scoreboard
    log: LineLog
    command: CommandLine
    target: Target
    system: System = field(default_factory=System)
    recent: RecentLog = field(default_factory=RecentLog)
    routes: RouteBook = field(default_factory=RouteBook)
    fleet: Fleet = field(default_factory=Fleet)
    certificates: Certificates = field(init=False)
    datagrams: Datagrams = field(init=False)
    #: All workers have been ready once: from now on failures are survived instead of ending the start.
    was_ready: bool = False
    #: Another supervisor is on its way to take over.
    upgrading: bool = False
    exit_code: ExitCode = ExitCode.OK
    #: The summary in the scoreboard is out of date.
    dirty: bool = True
    #: Answers that wait until the scoreboard shows what they speak of.
    answers: list[Callable[[], None]] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop = field(init=False)
    bell: asyncio.Event = field(init=False)

    def __post_init__(self) -> None:
        self.certificates = Certificates(self.log, self.system)
        self.datagrams = Datagrams(self.listeners)

    def open(self) -> None:
        """Called first thing inside the loop."""
        self.loop = asyncio.get_running_loop()
        self.bell = asyncio.Event()

    def poke(self) -> None:
        """Something changed: have the loop look again."""
        self.dirty = True
        self.bell.set()

    def publish(self, summary: Callable[[], dict[str, Any]]) -> None:
        """Bring the scoreboard up to date, then give the answers that waited for it."""
        if self.dirty:
            self.dirty = False
            self.scoreboard.write_summary(summary())
            self.scoreboard.write_roster([worker.cell for worker in self.fleet.serving()])
        answers, self.answers = self.answers, []
        for answer in answers:
            answer()

    def take_certificates(self, generation: int, policy: Policy) -> None:
        """Read what `generation` serves TLS with, if it does. Raises CertificateError."""
        self.certificates.take(generation, TLSFiles.from_message(policy.tls_files) if policy.tls_files else None)

    def first_error(self, code: ExitCode) -> None:
        """Note why the server will have failed; later reasons do not overwrite the first."""
        if self.exit_code is ExitCode.OK:
            self.exit_code = code

    def tell(self, channel: Channel, message: Message, fds: Sequence[int] = ()) -> None:
        """Send without waiting. A process that is gone is noticed by its exit, not here. Raises OSError when `fds` had
        to be copied and there are no descriptors left."""
        with contextlib.suppress(ChannelClosed):
            channel.send(message, fds)
            if channel.pending:
                self.loop.add_writer(channel.fileno(), self._flush, channel)

    def welcome(
        self, channel: Channel, generation: int, load: str = "", environment: Mapping[str, str] | None = None
    ) -> None:
        """Tell a program that has arrived what it is, and give it what the family shares. environment: variables that
        it has not been started with. Raises OSError."""
        fds = [
            self.scoreboard.fd,
            self.scoreboard.cells_fd,
            standard(2),
            *(listener.sock.fileno() for listener in self.listeners),
        ]
        described = [listener.describe() for listener in self.listeners]
        self.tell(channel, Welcome(generation, os.getpid(), len(fds), described, load, dict(environment or {})), fds)

    def _flush(self, channel: Channel) -> None:
        done = True
        with contextlib.suppress(ChannelClosed):
            done = channel.flush()
        if done:
            self.loop.remove_writer(channel.fileno())

    def forget(self, channel: Channel) -> None:
        """Stop watching a channel and close it."""
        if channel.fileno() != -1:
            self.loop.remove_reader(channel.fileno())
            self.loop.remove_writer(channel.fileno())
            channel.close()
