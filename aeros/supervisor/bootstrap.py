"""The start of a family: this process becomes its supervisor.

With `python app.py` the program is loaded here, and the first zygote is forked from this process. With `aeros run` a
child loads it (see `zygotes.first_load`), and becomes the first zygote itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel
from ..core.log.lines import LineLog
from ..core.memory.collector import paused
from ..core.memory.sharing import settle_memory
from ..core.net.listener import Listener
from ..core.process.privileges import Account
from ..core.process.signalling import become_subreaper, children_of
from ..core.record import field, mutable
from ..core.shared.scoreboard import Scoreboard
from ..errors import StartError
from .model.policy import Policy
from .state.recent_log import RecentLog
from .system import handlers
from .system.launch import CommandLine
from .system.system import System
from .zygotes.links import ZYGOTE_BOUNDS, ZygoteLink
from .zygotes.load import FORK, WORKER, Load, choose, loads_at_once, unsafe_threads, warn_of_threads
from .zygotes.order import Order, order_pilot
from .zygotes.zygote import Program, Zygote

if TYPE_CHECKING:
    from .control.dashboard import AdminChild
    from .control.systemd import Notifier
    from .loop import Supervisor
    from .system.handlers import Handlers
    from .upgrade.inheritance import Estate
    from .upgrade.successor import Succession


@mutable
class Setup:
    """What a supervisor is made of. Everything that can fail has been done."""

    policy: Policy
    listeners: list[Listener]
    scoreboard: Scoreboard
    log: LineLog
    command: CommandLine
    #: Called once, when all workers are ready.
    announce: Callable[[Supervisor], None]
    #: Where the control socket is to be.
    control: str
    #: What an upgrade passes on.
    estate: Estate
    admin: AdminChild | None = None
    notifier: Notifier | None = None
    system: System = field(default_factory=System)
    #: The line to the program that started this server beside itself.
    owner: Channel | None = None
    #: The line to the supervisor that this one is to succeed.
    succession: Succession | None = None
    #: Called in a child that is forked, for what is the supervisor's alone.
    in_child: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Have the log go through the system meanwhile, which fails on purpose with --faults."""
        if warning := self.system.describe():
            self.log.warning(warning)
        self.system.attach(self.log)
        try:
            yield
        finally:
            self.system.leave()

    def let_go(self) -> None:
        """In the first zygote, forked from this process: give up what is the supervisor's alone, root too."""
        self.system.enter("zygote gen=1")
        self.scoreboard.give_up_board()
        if self.admin is not None:
            self.admin.leave()
        self.command.secrets.clear()
        self.in_child()
        if self.succession is not None:
            self.succession.channel.close()
        if self.owner is not None:
            self.owner.close()
        if self.command.account is not None:
            give_up_root(self.command.account, self.log)


@mutable
class First:
    """Where the first workers come from. zygote: None where they load the program themselves."""

    zygote: ZygoteLink | None
    #: How they get the app; None: the zygote will say.
    load: Load | None = None
    #: The first worker, where the zygote finds it ordered.
    pilot: Order | None = None


def found(setup: Setup, program: Program, load: Load | None = None) -> ExitCode:
    """Fork the first zygote from this process, if there is to be one; supervise until the end; return the exit code.

    For the main thread of a process without a running loop. Its signal handlers are as before afterwards.
    load: how the workers get the app; None: found out here. Raises StartError when the system refuses the zygote.
    """
    recent = RecentLog()
    setup.log.tap = recent.add
    others = children()
    mask = handlers.block()
    with head_of_family(mask), setup.attached():
        first = _first(setup, program, _prepare(setup, program, load))
        import_supervisor()  # the zygote and the first worker come up meanwhile, and need none of it
        # Not before the fork: a selector is shared by fork, and what the child closes would be gone from the parent's.
        loop = asyncio.SelectorEventLoop()
        with contextlib.closing(loop), handlers.handing(loop, mask) as hand:
            return supervise(setup, first, hand, recent, others)


@contextlib.contextmanager
def head_of_family(mask: set[int]) -> Iterator[None]:
    """Reap what the family leaves behind. Afterwards this process is as before. mask: of its signals."""
    become_subreaper()
    try:
        yield
    finally:
        gc.unfreeze()
        become_subreaper(False)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def import_supervisor() -> None:
    """Import what only the supervisor needs."""
    with paused():
        from . import loop  # noqa: F401


def supervise(setup: Setup, first: First, hand: Handlers, recent: RecentLog, others: Sequence[int]) -> ExitCode:
    """Be the supervisor until the end; return the exit code. others: pids of children that are not ours to reap."""
    from .loop import Supervisor
    from .model.fleet import Target
    from .state.office import Office

    policy, succession = setup.policy, setup.succession
    target = Target(policy.workers, committed=1, surge=policy.reload_surge, loads_at_once=loads_at_once())
    if succession is not None:
        target.hold = True
        if succession.inheritance.workers_asked == policy.workers and succession.inheritance.workers_now:
            target.workers = succession.inheritance.workers_now  # scaled by hand, and the program says nothing new
    office = Office(policy, setup.listeners, setup.scoreboard, setup.log, setup.command, target, setup.system, recent)
    if succession is not None:
        office.certificates.inherit_tickets(succession.inheritance.tickets)
        office.datagrams.others = set(succession.inheritance.seats)
    supervisor = Supervisor(
        office,
        first.zygote,
        setup.announce,
        setup.control,
        setup.admin,
        setup.notifier,
        setup.estate,
        succession,
        first.pilot,
        first.load,
    )
    hand.hand_to(supervisor.on_signal)
    return hand.loop.run_until_complete(supervisor.run(setup.owner, others))


def _prepare(setup: Setup, program: Program, load: Load | None) -> Load:
    """Have everything ready that the family will need before the first fork: the pages stay shared by all of it, the
    supervisor included. Return how the workers get the app."""
    if load is None and setup.policy.load == WORKER:
        load = Load(WORKER)
    threads = unsafe_threads()
    if load is None or load.how == FORK:
        program.preload()
    if load is None:
        program.warm_up()
        load = choose(setup.policy.load, setup.command.why_not)
    elif load.how == FORK and not load.threads:  # else a library that it uses might wait for threads that are gone
        program.warm_up()
    warnings = [*load.warnings, *warn_of_threads(threads, load.how, in_supervisor=True)]
    if load.how == WORKER:
        warnings += program.warn_of_hooks()
    for warning in warnings:
        setup.log.warning(warning)
    return load


def _first(setup: Setup, program: Program, load: Load) -> First:
    """Fork the first zygote, if there is to be one. Raises StartError; then nothing is left of it."""
    if load.how != FORK:
        return First(None, load)
    settle_memory(setup.log, immortal=setup.policy.immortal == "auto" and setup.owner is None)
    try:
        return _fork_zygote(setup, program, load)
    except OSError as error:
        raise StartError(f"cannot start the first process: {error.strerror}") from None


def _fork_zygote(setup: Setup, program: Program, load: Load) -> First:
    """Raises OSError; then nothing is left of it."""
    channel, theirs = setup.system.channel_pair("the zygote", ZYGOTE_BOUNDS)
    pilot = order_pilot(setup.system, channel)
    try:
        pid = setup.system.fork()
    except OSError:
        channel.close()
        theirs.close()
        if pilot is not None:
            pilot.close()
        raise
    if pid == 0:
        channel.close()
        if pilot is not None:
            pilot.close()  # to be received as any other
        setup.let_go()
        line = Channel(theirs, "the supervisor")
        Zygote(line, 1, setup.policy, program, setup.log, load=load, system=setup.system).run()
    theirs.close()
    if pilot is not None:
        pilot.theirs.close()
    return First(ZygoteLink(1, channel, pid, setup.system.open_pidfd(pid)), load, pilot)


def give_up_root(account: Account, log: LineLog) -> None:
    """Become `account`, or end: the app must never run as root because of a mistake."""
    try:
        account.become()
    except BaseException as error:
        log.critical(f"cannot become {account.name}: {error}; the app is not run as root instead")
        os._exit(1)


def children() -> list[int]:
    """Return the pids of processes this one had started before: they are the program's to reap, not ours."""
    with contextlib.suppress(OSError):
        return children_of(os.getpid())
    with contextlib.suppress(Exception):
        import psutil

        return [child.pid for child in psutil.Process(os.getpid()).children()]
    return []
