"""A program that has loaded its app becomes a zygote of the supervisor that has run it.

What becomes a zygote here becomes a worker instead where workers load the app themselves; see `supervisor.zygote`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel, ChannelClosed
from ..core.ipc.messages import Arrived, LoadFailed, Message, ProtocolError, Secrets, Welcome, clip
from ..core.log.lines import LineLog
from ..core.log.spoken import speak_json
from ..core.net.listener import Listener
from ..core.process.signalling import die_with_parent
from ..core.record import replace
from ..core.shared.scoreboard import Scoreboard
from ..errors import AerosError
from ..options import Options, secrets
from ..options.mistakes import mistaken
from ..supervisor.model.policy import Policy
from ..supervisor.system.choice import system_for
from ..supervisor.zygotes.load import WORKER, Load
from ..supervisor.zygotes.zygote import Zygote
from ..version import __version__
from .check_tls import check_tls
from .output import flush_output, give_up, have_stderr
from .own_log import make_log
from .program import AppProgram
from .served import served_app

#: How long a new program waits for the supervisor to say what it is to be.
WELCOME_TIMEOUT_S = 10.0


def become_zygote(line: Channel, app: Any, resolved: Callable[[], Options], *, app_in_supervisor: bool) -> NoReturn:
    """This program has done its part, which was to load the app. resolved: returns its options. app_in_supervisor:
    whether the supervisor has loaded it too, as its first program has."""
    _learn_secrets(line)
    try:
        options = resolved()
        app = served_app(app, options)
        mistaken(options)
        if options.run_as is None:
            check_tls(options)  # else the supervisor does; the key may not be ours to read
        log = make_log(options)
    except AerosError as error:
        with contextlib.suppress(ChannelClosed):
            line.send(LoadFailed(clip(str(error), 2000), ""))
        line.close()
        give_up(error)
    answer = await_welcome(line, Arrived(os.getpid(), __version__))
    if answer is None:
        sys.exit(int(ExitCode.FAILURE))
    Welcomed(line, *answer).serve(app, options, log, app_in_supervisor=app_in_supervisor)


def _learn_secrets(line: Channel) -> None:
    """Take what the supervisor said before the program was there, if it had to."""
    with contextlib.suppress(ChannelClosed, ProtocolError):
        message, _ = line.first(0.0) or (None, [])
        if isinstance(message, Secrets):
            secrets.learn(message.values)


def await_welcome(
    line: Channel, arrived: Message, timeout_s: float = WELCOME_TIMEOUT_S
) -> tuple[Welcome, list[int]] | None:
    """Say that the program has `arrived`; return what it is to be. None: nothing, since the supervisor has given it up
    or is gone."""
    try:
        line.setblocking(True)
        line.send(arrived)
        message, fds = line.first(timeout_s) or (None, [])
        if isinstance(message, Welcome):
            return message, fds
    except (ChannelClosed, ProtocolError):
        pass
    line.close()
    return None


class Welcomed:
    """A program that knows what it is to be."""

    def __init__(self, line: Channel, welcome: Welcome, fds: list[int]) -> None:
        self._line = line
        self._welcome = welcome
        self._alone = welcome.load == WORKER
        if not self._alone:
            # From here on we outlive a supervisor that dies, to end our workers in good order.
            die_with_parent(0)
        flush_output()
        board_fd, cells_fd, stderr_fd, *listener_fds = fds
        have_stderr(stderr_fd)
        self.listeners = [Listener.adopt(fd, told) for fd, told in zip(listener_fds, welcome.listeners, strict=True)]
        self._scoreboard = Scoreboard(board_fd, cells_fd, writable=True)

    def serve(self, app: Any, options: Options, log: LineLog, *, app_in_supervisor: bool) -> NoReturn:
        """Be the zygote, or the worker, until the end. app_in_supervisor: see `become_zygote`."""
        with contextlib.suppress(OSError):
            log.reopen()  # standard error may have been the loader's pipe until now
        if options.log_format == "json":
            speak_json()
        secrets.hide()  # those that the program has set itself, as from a file
        secrets.forget()
        options = replace(options, admin_token=None)
        program = AppProgram(app, options, self.listeners, self._scoreboard, log)
        generation = self._welcome.generation
        # What could not be loaded cannot say where it wants to be served.
        unsaid = self._alone or getattr(app, "failed", False)
        notes = [] if unsaid else _changed_binds(options, self.listeners)
        system = system_for(options.faults, f"zygote gen={generation}")
        system.attach(log)
        load = Load(WORKER) if self._alone else None
        about = (self._line, generation, Policy.of(options), program, log, notes, load, system)
        Zygote(*about, original=True, app_in_supervisor=app_in_supervisor).run()


def _changed_binds(options: Options, listeners: list[Listener]) -> list[str]:
    wanted = [*options.binds, *options.insecure_binds, *options.quic_binds]
    have = [listener.bind for listener in listeners]
    if options.sources.get("bind") == "default" and all(bind.startswith("fd://") for bind in have):
        return []  # sockets of systemd's, which the first run took for want of a bind
    # Once each: TCP and QUIC may have the same address, and one bind several listeners.
    wanted, have = list(dict.fromkeys(wanted)), list(dict.fromkeys(have))
    if wanted == have:
        return []
    return [f"the new program binds {', '.join(wanted)}; a reload keeps {', '.join(have)} (upgrade to change)"]
