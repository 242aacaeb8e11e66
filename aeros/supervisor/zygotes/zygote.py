"""The zygote: has the app, no loop and no thread; forks a worker when told, reaps its workers, reports.

Where a fork would leave native threads of the app behind (see `load`), it does not fork but becomes the worker itself.

It runs no user code but the `before_fork`, `worker_exit` and `on_reload` hooks. When the supervisor is gone it
gives its workers their drain time, kills what is left, and ends: it is the one process of the family that is
never too busy to notice.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from errno import EMFILE
from functools import partial
from typing import NoReturn, Protocol

from ...core.clock import monotonic, show_duration
from ...core.ipc.channel import Channel, ChannelClosed
from ...core.ipc.messages import (
    Exited,
    FilesChanged,
    Fork,
    Forked,
    ForkFailed,
    ForkZygote,
    Loaded,
    Logged,
    Message,
    ProtocolError,
    ReloadOutcome,
    ReopenLogs,
    RetireZygote,
    ZygoteForked,
    ZygoteForkFailed,
    clip,
)
from ...core.ipc.seed import WorkerSeed
from ...core.log.lines import LineLog
from ...core.memory.sharing import is_settled, settle_memory
from ...core.process.bounded import Overdue, bounded
from ...core.process.exit_handlers import disown, run_exit_handlers
from ...core.process.signalling import (
    FAMILY_SIGNALS,
    USER_SIGNALS,
    describe_exit,
    die_with_parent,
    ignore_politely,
    leave_to_the_app,
    reset_signals,
)
from ...core.record import field, mutable, replace
from ...core.sources import SourceFiles
from ...titles import Title
from ..model.policy import Policy
from ..system.system import System
from .children import Children
from .load import FORK, WORKER, Load, choose, lost_threads, unsafe_threads, warn_of_threads

#: How long a hook about what has happened may take: whoever it is told to waits outside.
_HOOK_S = 5.0
#: After the supervisor's death workers get their drain time, and this much to be killed and reaped.
_LAST_REAP_S = 1.0


class Program(Protocol):
    """The app as the zygote sees it: what a worker does, and the user's hooks."""

    def preload(self) -> None:
        """Import what every worker will need. Runs no code of the app's."""

    def warm_up(self) -> None:
        """Send the app the requests it was to have before the first fork. Ends within the boot timeout."""

    def run_worker(self, seed: WorkerSeed) -> NoReturn:
        """Be a worker until it is told to end, then end the process."""

    def warn_of_hooks(self) -> list[str]:
        """Return a sentence about hooks that nobody calls where workers load the app themselves, if it has any."""

    def before_fork(self, slot: int, generation: int) -> None: ...

    def after_exit(self, slot: int, generation: int, pid: int, how: str) -> None: ...

    def after_reload(self, outcome: ReloadOutcome) -> None: ...

    def close_listeners(self) -> None: ...


@mutable
class Zygote:
    """One zygote process. `run` never returns."""

    channel: Channel
    generation: int
    policy: Policy
    program: Program
    log: LineLog
    #: What the supervisor should tell the user of the new program's options.
    notes: Sequence[str] = ()
    #: How workers get the app, where that is known already; None: to be found out once it is loaded.
    load: Load | None = None
    system: System = field(default_factory=System)
    #: Whether this process loaded the app itself. A copy leaves it to the original to tidy what the app made then.
    original: bool = False
    #: Whether the supervisor has loaded the app as well, with `python app.py`.
    app_in_supervisor: bool = True
    _children: Children = field(init=False)
    _retiring: bool = False
    _tidy_s: float = 0.0
    _watched: SourceFiles | None = None

    def __post_init__(self) -> None:
        self._children = Children(self.system, self.log)

    def run(self) -> NoReturn:
        """Serve the supervisor until told to retire, then end the process. Never raises."""
        code = 1
        self._tidy_s = self.policy.shutdown_timeout_s
        try:
            load = self._prepare()
            notes = [*self.notes, *load.warnings]
            policy = self.policy.to_message()
            self.channel.send(Loaded(os.getpid(), self.generation, policy, notes, load.how, load.threads))
            self._serve()
            code = 0
        except ChannelClosed:
            self._outlive_supervisor()
            code = 0
        except BaseException:
            self.log.error("zygote failed", traceback=traceback.format_exc())
        finally:
            if self.original:
                run_exit_handlers(self._tidy_s, self._give_up_tidying)
            _leave(code)

    def _give_up_tidying(self, where: str) -> NoReturn:
        self.log.warning(
            f"zygote gen={self.generation}: the program's exit handlers (atexit) were not done within "
            f"{show_duration(self._tidy_s)}; the one that holds up is {where}"
        )
        _leave(1)

    def _prepare(self) -> Load:
        self.log.tap = self._tell
        self._title = Title(self.policy.proctitle)
        loads_itself = self.load is not None and self.load.how == WORKER
        self._title.show(f"worker gen={self.generation} loading" if loads_itself else f"zygote gen={self.generation}")
        self._wake_read, self._wake_write = socket.socketpair()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        # SIGTTIN and SIGTTOU are blocked by `founding`, no more.
        reset_signals((*FAMILY_SIGNALS, signal.SIGTTIN, signal.SIGTTOU))
        # Whoever kills by name or presses Ctrl+C hits the zygote too; only the supervisor decides.
        ignore_politely((signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT))
        leave_to_the_app(USER_SIGNALS)
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        self.channel.setblocking(True)
        # Of a copy of another zygote all is settled already, and a collection would only unshare what it looks at.
        if not is_settled():
            threads = unsafe_threads()
            self.program.preload()
            self.program.warm_up()
            if self.load is None:
                self.load = self._choose(threads)
            if self.load.how == FORK:
                settle_memory(self.log, immortal=self.policy.immortal == "auto")
        gc.freeze()
        load = self.load = self.load or Load(FORK)
        if self.policy.use_reloader and load.how == FORK:
            self._watched = SourceFiles(self.policy.watch)
        return load

    def _choose(self, threads: list[str]) -> Load:
        """Find out how workers are to get the app, which this process has loaded and warmed up. threads: see `load`."""
        load = choose(self.policy.load)
        more = warn_of_threads(threads, load.how, in_supervisor=False, beside=self.app_in_supervisor)
        if load.how == WORKER:
            more += self.program.warn_of_hooks()
        return replace(load, warnings=[*load.warnings, *more])

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(self.channel.fileno(), select.POLLIN)
        poller.register(self._wake_read.fileno(), select.POLLIN)
        watched = self._watched
        if watched is not None and watched.fileno() >= 0:
            poller.register(watched.fileno(), select.POLLIN)
        look_at = 0.0  # at once: it may have been saved while it was imported
        while not (self._retiring and not self._children):
            stirred = False
            for fd, _ in poller.poll(max(0.0, look_at - monotonic()) * 1000 if watched is not None else None):
                if fd == self.channel.fileno():
                    for message, fds in self.channel.receive():
                        self._obey(message, fds)
                elif watched is not None and fd == watched.fileno():
                    stirred = watched.settled()
                else:
                    self._drain_wakeups()
            self._reap()
            if watched is not None and (stirred or monotonic() >= look_at):
                look_at = monotonic() + watched.every_s
                if changed := watched.changed():
                    self.channel.send(FilesChanged(changed))

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_read.recv(4096):
                pass

    def _obey(self, message: Message, fds: list[int]) -> None:
        match message:
            case Fork() | ForkZygote() if len(fds) < message.fds:
                self._without_descriptors(message, fds)
            case Fork():
                self._fork_worker(message, *fds)
            case ForkZygote():
                self._fork_zygote(message.generation, fds[0])
            case ReloadOutcome():
                self._hook(lambda: self.program.after_reload(message), "on_reload")
            case ReopenLogs():
                with contextlib.suppress(OSError):
                    self.log.reopen(message.kept)
            case RetireZygote():
                self._retiring = True
                self._title.show(f"zygote gen={self.generation} retiring")
                self.program.close_listeners()
            case _:
                raise ProtocolError(f"the supervisor sent a zygote a {type(message).__name__}")

    def _without_descriptors(self, order: Fork | ForkZygote, fds: list[int]) -> None:
        """The app has used up this process's descriptors, so the order's own could not be received."""
        for fd in fds:
            os.close(fd)
        reason = f"OSError: {os.strerror(EMFILE)} in the zygote; the program holds too many open files"
        if isinstance(order, Fork):
            self.channel.send(ForkFailed(order.worker, EMFILE, reason, ""))
        else:
            self.channel.send(ZygoteForkFailed(order.generation, reason))

    def _fork_worker(self, order: Fork, channel_fd: int, file_fd: int) -> None:
        alone = self.load is not None and self.load.how == WORKER
        born_at = order.at if alone else monotonic()
        about = (order.worker, order.slot, order.generation, order.cell, order.nonce)
        seed = WorkerSeed(*about, channel_fd, file_fd, born_at, alone)
        if alone:
            self._become_worker(seed)
        try:
            self.program.before_fork(order.slot, order.generation)
            self._look_at_threads()
            _flush_output()
            pid = self.system.fork()
        except BaseException as error:
            errno = error.errno or 0 if isinstance(error, OSError) else 0
            reason = f"{type(error).__name__}: {error}"
            self.channel.send(ForkFailed(order.worker, errno, clip(reason, 2000), clip(traceback.format_exc())))
            os.close(channel_fd)
            os.close(file_fd)
            return
        if pid == 0:
            self._become_worker(seed)
        os.close(channel_fd)
        os.close(file_fd)
        pidfd = self._children.add(pid, order.slot, order.generation)
        self.channel.send(Forked(order.worker, pid, int(pidfd is not None)), [pidfd] if pidfd is not None else [])

    def _look_at_threads(self) -> None:
        """Say once that a hook of the app's has brought threads into this process, which its workers will not have."""
        if self.load is not None and not self.load.threads and (threads := lost_threads()):
            self.load = replace(self.load, threads=threads)
            self.log.warning(
                f"{', '.join(threads)}: used by a hook in the zygote, and these threads do not exist in forked "
                "workers: whoever uses it there may wait for ever; use it in @app.after_fork instead"
            )

    def _become_worker(self, seed: WorkerSeed) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            # From here on its channel tells it that the supervisor is gone, and it ends in good order.
            die_with_parent(0)
            self._forget_supervisor_side()
            if not seed.alone:
                disown()
            self.system.leave()
            self.program.run_worker(seed)
        except BaseException:
            self.log.error(f"worker slot={seed.slot} gen={seed.generation} failed", traceback=traceback.format_exc())
        finally:
            _leave(1)

    def _fork_zygote(self, generation: int, channel_fd: int) -> None:
        try:
            pid = self.system.fork()
        except OSError as error:
            # Said before the channel's end can be seen, or the copy would seem to have died.
            self.channel.send(ZygoteForkFailed(generation, f"{type(error).__name__}: {error}"))
            os.close(channel_fd)
            return
        if pid == 0:
            self._become_zygote(generation, channel_fd)
        os.close(channel_fd)
        self._children.add_copy(pid)
        self.channel.send(ZygoteForked(pid))

    def _become_zygote(self, generation: int, channel_fd: int) -> NoReturn:
        self._forget_supervisor_side()
        copy = Zygote(
            Channel(socket.socket(fileno=channel_fd), "the supervisor"),
            generation,
            self.policy,
            self.program,
            self.log,
            load=self.load,
            system=self.system,
        )
        self.system.enter(f"zygote gen={generation}, a copy")
        copy.run()

    def _forget_supervisor_side(self) -> None:
        """In a child just forked: give up what belongs to this zygote alone."""
        self.log.tap = None
        self.channel.close()
        self._wake_read.close()
        self._wake_write.close()
        if self._watched is not None:
            self._watched.close()
            self._watched = None
        self._children.forget()

    def _reap(self) -> None:
        for child, status in self._children.reap():
            self.channel.send(Exited(child.pid, status))
            tell = partial(self.program.after_exit, child.slot, child.generation, child.pid, describe_exit(status))
            self._hook(tell, "worker_exit")

    def _hook(self, call: Callable[[], None], name: str) -> None:
        try:
            with bounded(_HOOK_S):
                call()
        except Overdue:
            self.log.error(
                f"the app's {name} hook was not done within {show_duration(_HOOK_S)} and is ended: workers are forked, "
                "and the server stops, only between hooks",
                traceback=traceback.format_exc(),
            )
        except Exception:
            self.log.error(f"the app's {name} hook failed", traceback=traceback.format_exc())

    def _tell(self, line: str) -> None:
        """Let the supervisor have a copy of what was logged. That it is gone is noticed elsewhere."""
        with contextlib.suppress(ChannelClosed):
            self.channel.send(Logged(clip(line)))

    def _outlive_supervisor(self) -> None:
        """The supervisor is gone. Workers have seen it too and drain; whoever does not end is killed."""
        deadline = monotonic() + self.policy.drain_timeout_s
        with contextlib.suppress(ChannelClosed):
            self._wait_for_children(deadline)
        self._children.kill()
        with contextlib.suppress(ChannelClosed):
            self._wait_for_children(monotonic() + _LAST_REAP_S)
        self._tidy_s = min(self._tidy_s, max(_LAST_REAP_S, deadline - monotonic()))

    def _wait_for_children(self, deadline: float) -> None:
        while self._children and (left := deadline - monotonic()) > 0:
            select.select([self._wake_read], [], [], left)
            self._drain_wakeups()
            for _ in self._children.reap(quiet=True):
                pass


def _flush_output() -> None:
    """Buffered output would otherwise be written once by every child."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _leave(code: int) -> NoReturn:
    """End without waiting for threads, and as a copy without the program's exit handlers."""
    _flush_output()
    os._exit(code)
