"""`aeros run`: fork first, and load the app in the child. This process becomes a supervisor that never sees the app.

So its memory is its own: no thread of the app's runs here, nothing of the first generation stays after a reload, and
with --run-as no line of the app's runs as root.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel, channel_pair
from ..core.ipc.messages import Founding, Loading
from ..core.process import streams
from ..core.process.signalling import fork, open_pidfd
from ..errors import AppLoadError, StartError
from ..supervisor.bootstrap import First, Setup, children, head_of_family, import_supervisor, supervise
from ..supervisor.control.systemd import Notifier, take_variables
from ..supervisor.model.plan import Plan, agreed
from ..supervisor.model.policy import Policy
from ..supervisor.sockets.activation import take as take_activated
from ..supervisor.state.recent_log import RecentLog
from ..supervisor.system import handlers
from ..supervisor.system.handlers import Handlers
from ..supervisor.system.launch import CommandLine
from ..supervisor.system.summons import UPGRADE_VARIABLE
from ..supervisor.system.summons import take as take_summons
from ..supervisor.upgrade.inheritance import Inheritance
from ..supervisor.zygotes.first_load import FirstLoad, LoadStopped
from ..supervisor.zygotes.links import ZYGOTE_BOUNDS, ZygoteLink
from . import app_metrics
from .first import end_with
from .first_program import FirstProgram
from .next_supervisor import explaining, succeed
from .output import flush_output
from .prepare import Preparation, check_load


def run(name: str, arguments: Sequence[str], load: Callable[[str], Any], kept: Sequence[str] | None) -> int:
    """Serve the app called `name`, which `load` returns, until the end. kept: the words of the command line that say
    so. Raises AerosError; ends the program where the server has failed."""
    streams.secure()
    to_old = take_summons(UPGRADE_VARIABLE, os.environ)
    with explaining(to_old) if to_old is not None else contextlib.nullcontext():
        return _Start(name, arguments, load, kept, to_old).run()


class _Start:
    """One start, from the fork to the supervisor's end."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        load: Callable[[str], Any],
        kept: Sequence[str] | None,
        to_old: Channel | None,
    ) -> None:
        """to_old: the line to the supervisor that this one is to succeed, if there is one."""
        self._name = name
        self._arguments = arguments
        self._load = load
        self._kept = kept
        self._to_old = to_old
        # Out of the environment before the fork: neither the app nor what it runs is to speak for the server.
        self._activated = take_activated(os.environ)
        self._service = take_variables(os.environ)
        self._others = children()
        self._led = False

    def run(self) -> int:
        mask = handlers.block()
        try:
            with head_of_family(mask):
                line, pid = self._fork(mask)
                import_supervisor()  # while the child loads the app
                # Not before the fork: a selector is shared by it.
                loop = asyncio.SelectorEventLoop()
                with contextlib.closing(loop), handlers.handing(loop, mask) as hand:
                    return self._lead(FirstLoad(line, pid, self._name, hand), hand)
        except LoadStopped:
            return 0

    def _fork(self, mask: set[int]) -> tuple[Channel, int]:
        """Return the line to the child that loads the app, and its pid."""
        ours, theirs = channel_pair("the program", ZYGOTE_BOUNDS, identified=True)
        flush_output()
        parent = os.getpid()
        try:
            pid = fork()
        except OSError as error:
            ours.close()
            theirs.close()
            raise StartError(f"cannot start the first process: {error.strerror}") from None
        if pid == 0:
            ours.close()
            if self._to_old is not None:
                self._to_old.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            line = Channel(theirs, "the supervisor")
            inherited = [fd for _, fd in self._activated.sockets]
            program = FirstProgram(line, self._name, self._load, inherited, shows_hangs=self._to_old is not None)
            program.run(self._arguments, parent)
        theirs.close()
        ours.only_from = pid  # what it starts in turn has inherited its end
        return ours, pid

    def _lead(self, first: FirstLoad, hand: Handlers) -> int:
        if self._to_old is not None:
            hand.loop.add_signal_handler(signal.SIGABRT, first.abort)
        founding = first.founding()
        hand.loop.remove_signal_handler(signal.SIGABRT)
        try:
            return self._supervise(first, founding, hand)
        except BaseException:
            if not self._led:
                first.end()
            raise

    def _supervise(self, first: FirstLoad, founding: Founding, hand: Handlers) -> int:
        assert first.loading is not None
        plan, policy = self._agreed(first.loading, founding)
        command = CommandLine.of_this_process(self._name, self._kept)
        check_load(policy, command)
        lead = partial(self._be_supervisor, first, hand)
        if self._to_old is None:
            return end_with(self._prepare(plan, policy, None).supervise(command, lead))

        def prepare(inheritance: Inheritance) -> tuple[Preparation, Callable[[Setup], ExitCode]]:
            return self._prepare(plan, policy, inheritance), lead

        return succeed(self._to_old, plan, policy, prepare, command)

    def _agreed(self, loading: Loading, founding: Founding) -> tuple[Plan, Policy]:
        """Return what the server is started with. Raises AppLoadError, OptionsError."""
        try:
            told = Plan.from_message(founding.plan), Policy.from_message(founding.policy)
            if not loading.plan:
                return told
            return agreed((Plan.from_message(loading.plan), Policy.from_message(loading.policy)), told)
        except (TypeError, ValueError) as error:
            raise AppLoadError(f"{self._name} asks for what cannot be: {error}") from None

    def _prepare(self, plan: Plan, policy: Policy, inheritance: Inheritance | None) -> Preparation:
        prepared = Preparation(plan, policy, self._activated, inheritance)
        predecessor = inheritance.pid if inheritance is not None else 0
        prepared.notifier = Notifier.of(self._service, prepared.log, predecessor)
        return prepared

    def _be_supervisor(self, first: FirstLoad, hand: Handlers, setup: Setup) -> ExitCode:
        self._led = True
        link = ZygoteLink(
            1, first.channel, first.pid, open_pidfd(first.pid), arrived=True, environment=app_metrics.environment()
        )
        recent = RecentLog()
        setup.log.tap = recent.add
        with setup.attached():
            return supervise(setup, First(link), hand, recent, self._others)
