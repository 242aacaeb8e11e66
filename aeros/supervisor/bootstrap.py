"""The founding of a family: the first zygote is forked, then this process becomes the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel, channel_pair
from ..core.log.lines import LineLog
from ..core.memory.collector import paused
from ..core.memory.sharing import settle_memory
from ..core.net.listener import Listener
from ..core.process.privileges import Account
from ..core.process.signalling import become_subreaper, fork, open_pidfd
from ..core.shared.scoreboard import Scoreboard
from ..errors import StartError
from .model.policy import Policy
from .state.recent_log import RecentLog
from .system.launch import CommandLine
from .zygotes.links import ZYGOTE_BOUNDS, ZygoteLink
from .zygotes.load import FORK, WORKER, Load, choose, loads_at_once, unsafe_threads, warn_of_threads
from .zygotes.order import Order, order_pilot
from .zygotes.zygote import Program, Zygote

if TYPE_CHECKING:
    from .control.dashboard import AdminChild
    from .control.systemd import Notifier
    from .loop import Supervisor
    from .model.rim import Rim
    from .upgrade.inheritance import Estate
    from .upgrade.successor import Succession

_HANDLED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)


def found(
    *,
    program: Program,
    policy: Policy,
    listeners: list[Listener],
    scoreboard: Scoreboard,
    log: LineLog,
    command: CommandLine,
    announce: Callable[[Supervisor], None],
    control: str,
    owner: Channel | None = None,
    in_child: Callable[[], None] = lambda: None,
    rim: Rim | None = None,
    admin: AdminChild | None = None,
    notifier: Notifier | None = None,
    estate: Estate | None = None,
    succession: Succession | None = None,
    load: Load | None = None,
) -> ExitCode:
    """Fork the first zygote from this process, if there is to be one; supervise until the end; return the exit code.

    For the main thread of a process without a running loop. Its signal handlers are as before afterwards.
    in_child: called in the zygote, to let go of what is the supervisor's alone. estate: what an upgrade passes on.
    succession: the line to the supervisor that this one is to succeed. load: how the workers get the app; None: found
    out here. Raises StartError when the system refuses the zygote.
    """
    recent = RecentLog()
    log.tap = recent.add
    before = _children()
    if rim is not None:
        log.warning(rim.describe())
        rim.arm()

    def let_go() -> None:
        if rim is not None:
            rim.enter("zygote gen=1")
        scoreboard.give_up_board()
        if admin is not None:
            admin.leave()
        command.secrets.clear()
        in_child()
        if succession is not None:
            succession.channel.close()
        if owner is not None:
            owner.close()
        if command.account is not None:
            _give_up_root(command.account, log)

    # A signal between the fork and the handlers must wait for the handlers, not meet those of the program.
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    load = _prepare(program, policy, log, command, load)
    become_subreaper()
    try:
        first = pilot = None
        if load.how == FORK:
            settle_memory(log, immortal=policy.immortal == "auto" and owner is None)
            first, pilot = _fork_zygote(program, policy, log, load, rim, let_go)
    except OSError as error:
        gc.unfreeze()
        become_subreaper(False)
        raise _refused(error, previous_mask, rim) from None
    # The zygote and the first worker come up meanwhile, and need none of it.
    with paused():
        from .loop import Supervisor
        from .model.fleet import Target
        from .state.office import Office

    target = Target(policy.workers, committed=1, surge=policy.reload_surge, loads_at_once=loads_at_once())
    if succession is not None:
        target.hold = True
        if succession.inheritance.workers_asked == policy.workers and succession.inheritance.workers_now:
            target.workers = succession.inheritance.workers_now  # scaled by hand, and the program says nothing new

    office = Office(policy, listeners, scoreboard, log, command, target, recent)
    if succession is not None:
        office.certificates.inherit_tickets(succession.inheritance.tickets)
        office.datagrams.others = set(succession.inheritance.seats)
    supervisor = Supervisor(office, first, announce, control, admin, notifier, estate, succession, pilot, load)
    # Not before the fork: a selector is shared by fork, and what the child closes would be gone from the parent's.
    loop = asyncio.SelectorEventLoop()
    try:
        with _signals(loop, supervisor, previous_mask):
            return loop.run_until_complete(supervisor.run(owner, before))
    finally:
        loop.close()
        gc.unfreeze()
        become_subreaper(False)
        if rim is not None:
            rim.disarm()


def _prepare(program: Program, policy: Policy, log: LineLog, command: CommandLine, load: Load | None) -> Load:
    """Have everything ready that the family will need before the first fork: the pages stay shared by all of it, the
    supervisor included. Return how the workers get the app."""
    if load is None and policy.load == WORKER:
        load = Load(WORKER)
    threads = unsafe_threads()
    if load is None or load.how == FORK:
        program.preload()
    if load is None:
        program.warm_up()
        load = choose(policy.load, command.why_not)
    elif load.how == FORK and not load.threads:  # else a library that it uses might wait for threads that are gone
        program.warm_up()
    warnings = [*load.warnings, *warn_of_threads(threads, load.how, in_supervisor=True)]
    if load.how == WORKER:
        warnings += program.warn_of_hooks()
    for warning in warnings:
        log.warning(warning)
    return load


def _fork_zygote(
    program: Program, policy: Policy, log: LineLog, load: Load, rim: Rim | None, let_go: Callable[[], None]
) -> tuple[ZygoteLink, Order | None]:
    """Fork the first zygote; return our line to it, and the first worker, which it finds ordered. let_go: called in the
    zygote, for what is the supervisor's alone. Raises OSError; then nothing is left of it."""
    channel, theirs = channel_pair("the zygote", ZYGOTE_BOUNDS)
    pilot = order_pilot(channel)
    try:
        pid = fork()
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
        let_go()
        Zygote(Channel(theirs, "the supervisor"), 1, policy, program, log, load=load, rim=rim).run()
    theirs.close()
    if pilot is not None:
        pilot.theirs.close()
    return ZygoteLink(1, channel, pid, open_pidfd(pid)), pilot


def _refused(error: OSError, mask: set[int], rim: Rim | None) -> StartError:
    """Put everything back, and say why there is no zygote."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if rim is not None:
        rim.disarm()
    return StartError(f"cannot start the first process: {error.strerror}")


def _give_up_root(account: Account, log: LineLog) -> None:
    """Become `account`, or end: the app must never run as root because of a mistake."""
    try:
        account.become()
    except BaseException as error:
        log.critical(f"cannot become {account.name}: {error}; the app is not run as root instead")
        os._exit(1)


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, supervisor: Supervisor, mask: set[int]) -> Iterator[None]:
    """Hand signals to the supervisor's loop; put everything back afterwards."""
    wakeup = signal.set_wakeup_fd(-1)
    previous = {number: signal.getsignal(number) for number in _HANDLED}
    for number in _HANDLED:
        loop.add_signal_handler(number, supervisor.on_signal, number)
    signal.pthread_sigmask(signal.SIG_SETMASK, [number for number in mask if number not in _HANDLED])
    try:
        yield
    finally:
        for number, handler in previous.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.set_wakeup_fd(wakeup)


def _children() -> list[int]:
    """Return the pids of processes this one had started before: they are the program's to reap, not ours."""
    with contextlib.suppress(OSError):
        return [
            int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
        ]
    with contextlib.suppress(Exception):
        import psutil

        return [child.pid for child in psutil.Process(os.getpid()).children()]
    return []
