"""A family that is played: the real supervisor over processes, a system and a clock that the test moves.

Everything of the supervisor is the product's own: its loop, decisions, fleet, reloads, control line and messages, over
real socket pairs. Only the system is played: spawning, signals, reaping, the clock, and what zygotes, programs
and workers say. Each of these does nothing by itself; the test says who acts, and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import heapq
import os
import selectors
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

from aeros.core.exitcodes import ExitCode
from aeros.core.ipc.channel import Bounds, Channel, ChannelClosed, channel_pair
from aeros.core.ipc.messages import (
    Accepting,
    Answer,
    Arrived,
    Command,
    Draining,
    Exited,
    Fork,
    Forked,
    ForkFailed,
    ForkZygote,
    Go,
    Goodbye,
    Loaded,
    Message,
    ProtocolError,
    Ready,
    Retire,
    RetireZygote,
    Welcome,
    ZygoteForked,
    ZygoteForkFailed,
)
from aeros.core.log.lines import LineLog
from aeros.core.shared.anonymous import anonymous_file
from aeros.core.shared.scoreboard import HEARTBEAT, PID, REQUESTS, Scoreboard
from aeros.supervisor import loop
from aeros.supervisor.model.fleet import Target
from aeros.supervisor.model.policy import Policy
from aeros.supervisor.state.office import Office
from aeros.supervisor.system.kin import Kin
from aeros.supervisor.system.launch import CommandLine
from aeros.supervisor.system.system import System, T
from aeros.supervisor.system.warden import Warden
from aeros.supervisor.zygotes import links
from aeros.supervisor.zygotes import order as orders
from aeros.supervisor.zygotes.load import FORK, WORKER, Load
from aeros.version import __version__
from tests.helpers.proc import open_fds

#: Above any number the kernel gives (PID_MAX_LIMIT), so that a signal that slips through hits nobody.
_FIRST_PID = 10_000_000
SUPERVISOR = 1


class Violation(AssertionError):
    """The supervisor did what it must never do."""


class PlayedLoop(asyncio.SelectorEventLoop):
    """Its time stands still until the test moves it, and it never waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.alarms: list[float] = []
        self.heard = _Heard()
        super().__init__(self.heard)
        self.trouble: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.trouble.append(context))

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        heapq.heappush(self.alarms, when)
        return super().call_at(when, *args, **kwargs)

    def turn(self) -> None:
        """Let everything happen that can happen now."""
        quiet = 0
        for _ in range(2000):
            self.heard.events = 0
            # Documented of stop(): one round without waiting.
            self.call_soon(self.stop)
            self.run_forever()
            quiet = 0 if self.heard.events else quiet + 1
            # A callback, what it scheduled, and the task that this wakes.
            if quiet == 4:
                return
        raise Violation("the supervisor's loop does not come to rest")

    def next_alarm(self) -> float | None:
        while self.alarms and self.alarms[0] <= self.now:
            heapq.heappop(self.alarms)
        return self.alarms[0] if self.alarms else None


class _Heard(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    events = 0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        # The loop's own pipe to itself is always there; what it says counts as well.
        self.events += len(found)
        return found


class Memory(LineLog):
    """The log, kept."""

    def __init__(self) -> None:
        super().__init__("", level="debug")
        self.lines: list[str] = []

    def write(self, level: str, text: str, fields: dict[str, Any]) -> None:
        self.lines.append(f"{level}: {text}")


class Process:
    """running, then a zombie until its parent reaps it, then gone."""

    def __init__(self, system: PlayedSystem, parent: int, pid: int = 0) -> None:
        """pid: of the process that becomes this one; 0: a new one."""
        self.system = system
        self.parent = parent
        self.pid = pid or system.new_pid()
        system.processes[self.pid] = self
        self.state = "running"
        self.status = 0
        self.born_at = system.loop.now
        self.channel: Channel

    @property
    def running(self) -> bool:
        return self.state == "running"

    def say(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Tell the supervisor, which may be past listening."""
        try:
            self.channel.send(message, fds)
        except ChannelClosed:
            pass

    def say_bytes(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.channel._sock.send(data)

    def hear(self) -> list[tuple[Message, list[int]]]:
        """What the supervisor has told; an empty list also when it has let go."""
        heard: list[tuple[Message, list[int]]] = []
        while True:
            try:
                heard += self.channel.receive()
            except ChannelClosed:
                self.deserted = True
                return heard
            if not heard or not _readable(self.channel):
                return heard

    deserted = False

    def end(self, status: int) -> None:
        if not self.running:
            return
        self.state, self.status = "zombie", status
        self.channel.close()
        self.system.orphan_children(self.pid)
        parent = self.system.processes.get(self.parent)
        if parent is None or not parent.running:
            self.parent = SUPERVISOR


def _readable(channel: Channel) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(channel.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))


class PlayedWorker(Process):
    """One worker process."""

    def __init__(
        self, system: PlayedSystem, parent: int, order: Fork, channel_fd: int, file_fd: int, pid: int = 0
    ) -> None:
        super().__init__(system, parent, pid)
        self.file_fd = file_fd
        self.order = order
        self.channel = Channel(_own(channel_fd), "the supervisor")
        self.said_ready = self.accepting = self.told_to_go = self.told_to_retire = self.drained = False
        #: Its loop is blocked: it neither hears nor beats.
        self.blocked = False
        #: It gave the supervisor a reason to end it.
        self.guilty = False
        self.served = 0
        self.retire_reason = ""
        self.cell = system.scoreboard.cell(order.cell)
        self.cell.words[PID] = self.pid
        self.beat()

    def __repr__(self) -> str:
        return f"worker slot={self.order.slot} gen={self.order.generation} pid={self.pid}"

    def beat(self) -> None:
        if self.running and not self.blocked:
            now_ns = int(self.system.loop.now * 1e9)
            self.cell.words[HEARTBEAT] = now_ns
            os.pwrite(self.file_fd, now_ns.to_bytes(8, "little"), 0)

    def silent_s(self) -> float:
        """Seconds since its last heartbeat."""
        return float(self.system.loop.now - self.cell.words[HEARTBEAT] / 1e9)

    def serve(self, requests: int) -> None:
        if self.running and self.accepting and not self.deserted:
            self.cell.words[REQUESTS] += requests
            self.served += requests
            self.system.requests += requests

    def listen(self) -> None:
        """Take in what it was told; it acts on it later, and not while it is blocked."""
        if not self.running or self.deserted:
            return
        for message, fds in self.hear():
            for fd in fds:
                os.close(fd)
            match message:
                case Go():
                    self.told_to_go = True
                case Retire():
                    self.told_to_retire, self.retire_reason = True, message.reason
                    self.system.watch.told_to_retire(self)

    @property
    def can_act(self) -> bool:
        if not self.running or self.blocked:
            return False
        if self.told_to_retire or self.deserted:
            return True
        return not self.said_ready or (self.told_to_go and not self.accepting)

    def act(self) -> None:
        """The next thing a worker does that is well."""
        if self.deserted:
            self.end(0)
        elif self.told_to_retire:
            if self.accepting:
                self.accepting = False
                self.say(Draining())
            else:
                self.say(Goodbye(self.retire_reason, 0))
                self.end(0)
        elif not self.said_ready:
            self.said_ready = True
            self.say(Ready(self.pid, self.order.generation, self.order.nonce, self.system.loop.now - self.born_at))
        else:
            self.accepting = True
            self.say(Accepting())

    def end(self, status: int) -> None:
        if self.running:
            os.close(self.file_fd)
        super().end(status)


class PlayedZygote(Process):
    """One zygote, or a program on its way to become one; or, where workers load the app themselves, one of these."""

    def __init__(self, system: PlayedSystem, parent: int, generation: int, channel_fd: int) -> None:
        super().__init__(system, parent)
        self.generation = generation
        self.channel = Channel(_own(channel_fd), "the supervisor")
        self.loaded = self.arrived = self.welcomed = self.retiring = False
        self.stuck = False
        self.stderr = -1
        self.orders: list[tuple[Message, list[int]]] = []
        self.policy: dict[str, Any] = system.policy.to_message()
        self.load = system.load

    def __repr__(self) -> str:
        return f"zygote gen={self.generation} pid={self.pid}"

    def listen(self) -> None:
        if not self.running or self.deserted:
            return
        for message, fds in self.hear():
            match message:
                case Welcome():
                    self.generation, self.welcomed = message.generation, True
                    self.load = message.load or self.load
                    for fd in fds:
                        os.close(fd)
                case RetireZygote():
                    self.retiring = True
                case Fork() | ForkZygote():
                    self.orders.append((message, fds))

    @property
    def children(self) -> list[Process]:
        return [one for one in self.system.processes.values() if one.parent == self.pid and one.state != "reaped"]

    @property
    def can_act(self) -> bool:
        if not self.running or self.stuck:
            return False
        dead = any(child.state == "zombie" for child in self.children)
        done = ((self.retiring and self.loaded) or self.deserted) and not any(
            isinstance(child, PlayedWorker) for child in self.children
        )
        return bool(self.orders) or dead or not self.loaded or done

    def act(self, how: str = "well") -> None:
        """Obey one order, or report one exit, or go one step on its own way. how: well, refused (by the system), hook
        (an app's hook raises), quiet (dies before it can tell)."""
        if self.deserted and not self.children:
            self.end(0)
        elif not self.loaded and not self.arrived and self.stderr >= 0:
            self.arrived = True
            self.say(Arrived(self.pid, __version__))
        elif not self.loaded and (self.welcomed or self.stderr < 0):
            self._let_go_of_stderr()
            self.loaded = True
            self.say(Loaded(self.pid, self.generation, self.policy, [], self.load))
        elif self.orders:
            message, fds = self.orders.pop(0)
            if isinstance(message, Fork) and self.load == WORKER:
                self._become(message, fds)
            elif isinstance(message, Fork):
                self._fork(message, fds, how)
            elif isinstance(message, ForkZygote):
                self._copy(message, fds, how)
        elif zombies := [child for child in self.children if child.state == "zombie"]:
            zombies[0].state = "reaped"
            if isinstance(zombies[0], PlayedWorker):
                self.say(Exited(zombies[0].pid, zombies[0].status))
        elif self.retiring and not any(isinstance(child, PlayedWorker) for child in self.children):
            self.end(0)

    def _become(self, order: Fork, fds: list[int]) -> None:
        self.channel.close()
        PlayedWorker(self.system, self.parent, order, *fds, self.pid)

    def _fork(self, order: Fork, fds: list[int], how: str) -> None:
        channel_fd, file_fd = fds
        if how in ("refused", "hook"):
            os.close(channel_fd)
            os.close(file_fd)
            number = errno.EAGAIN if how == "refused" else 0
            self.say(ForkFailed(order.worker, number, "no more processes" if number else "ValueError: x", ""))
            return
        worker = PlayedWorker(self.system, self.pid, order, channel_fd, file_fd)
        if how == "quiet":
            self.end(signal.SIGKILL)
            return
        with open(os.devnull) as stand_in:  # noqa: PTH123
            self.say(Forked(order.worker, worker.pid, 1), (stand_in.fileno(),))

    def _copy(self, order: ForkZygote, fds: list[int], how: str) -> None:
        if how in ("refused", "hook"):
            self.say(ZygoteForkFailed(order.generation, "no more processes"))
            os.close(fds[0])
            return
        copy = PlayedZygote(self.system, self.pid, order.generation, fds[0])
        copy.load = self.load
        if how == "quiet":
            self.end(signal.SIGKILL)
        else:
            self.say(ZygoteForked(copy.pid))

    def _let_go_of_stderr(self) -> None:
        if self.stderr >= 0:
            os.close(self.stderr)
            self.stderr = -1

    def end(self, status: int) -> None:
        if self.running:
            self._let_go_of_stderr()
            for _, fds in self.orders:
                for fd in fds:
                    os.close(fd)
            self.orders.clear()
        super().end(status)


class Client:
    """One control client: every command it gives is to be answered once."""

    def __init__(self, family: Family) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        family.supervisor.control.adopt(Channel(theirs, "a control client"))
        self.channel = Channel(ours, "the supervisor")
        self.asked: dict[int, str] = {}
        self.answered: dict[int, Answer] = {}
        self.closed = False

    def ask(self, verb: str, **arguments: Any) -> int:
        number = len(self.asked) + 1
        self.asked[number] = verb
        try:
            self.channel.send(Command(number, verb, arguments))
        except ChannelClosed:
            self.closed = True
        return number

    def listen(self) -> None:
        while not self.closed:
            try:
                heard = self.channel.receive()
            except ChannelClosed:
                self.closed = True
                return
            if not heard:
                return
            for message, _ in heard:
                assert isinstance(message, Answer)
                if message.request in self.answered:
                    raise Violation(f"{self.asked[message.request]} answered twice")
                if message.request not in self.asked:
                    raise Violation(f"an answer to nothing: {message}")
                self.answered[message.request] = message

    @property
    def open_questions(self) -> list[str]:
        return [verb for number, verb in self.asked.items() if number not in self.answered]


class Watch:
    """What a worker must never experience; the model fills it in."""

    def told_to_retire(self, worker: PlayedWorker) -> None: ...

    def killed(self, worker: PlayedWorker) -> None: ...


class PlayedSystem(System):
    """What the supervisor's system calls meet instead of the system."""

    def __init__(self, loop: PlayedLoop, scoreboard: Scoreboard, policy: Policy, watch: Watch) -> None:
        self.loop = loop
        self.scoreboard = scoreboard
        self.policy = policy
        self.watch = watch
        self.processes: dict[int, Process] = {}
        self.requests = 0
        #: How the workers of programs that are run from now on get the app.
        self.load = FORK
        #: Calls that fail at present: "descriptors", "spawn".
        self.short_of: set[str] = set()

    def new_pid(self) -> int:
        return _FIRST_PID + len(self.processes)

    def orphan_children(self, pid: int) -> None:
        for one in self.processes.values():
            if one.parent == pid and one.state != "reaped":
                one.parent = SUPERVISOR

    @property
    def zombies(self) -> list[Process]:
        """Those the supervisor itself has to reap."""
        return [one for one in self.processes.values() if one.state == "zombie" and one.parent == SUPERVISOR]

    def running(self, kind: type[Process] = Process) -> list[Any]:
        return [one for one in self.processes.values() if one.running and isinstance(one, kind)]

    # --- the calls

    def monotonic(self) -> float:
        return self.loop.time()

    def warden(self, log: LineLog) -> Warden:
        return _NoWarden(log)

    def open_pidfd(self, pid: int) -> int:
        return os.open(os.devnull, os.O_RDONLY)

    def kill(self, pid: int, signum: int) -> None:
        process = self.processes.get(pid)
        if pid <= 1 or process is None or process.state == "reaped":
            raise ProcessLookupError(errno.ESRCH, "no such process")
        if process.running and signum in (signal.SIGKILL, signal.SIGABRT):
            if isinstance(process, PlayedWorker):
                self.watch.killed(process)
            process.end(signum)

    def kill_group(self, pid: int, signum: int) -> None:
        self.kill(pid, signum)

    def send_signal(self, pid: int, pidfd: int | None, signum: int) -> bool:
        try:
            self.kill(pid, signum)
        except ProcessLookupError:
            return False
        return True

    def recognise(self, pid: int, told: int | None, teller: int, teller_pidfd: int | None, *, strict: bool) -> Kin:
        process = self.processes.get(pid)
        if process is not None and process.state != "reaped" and process.parent == teller:
            return Kin(True, told)
        if process is None or process.state == "reaped" or self.has_ended(teller, teller_pidfd):
            return Kin(False)
        raise ProtocolError(f"it says that process {pid} is its child, which is not so")

    def has_ended(self, pid: int, pidfd: int | None) -> bool:
        process = self.processes.get(pid)
        return process is None or not process.running

    def reap(self, pid: int, *, with_group: bool = False, say: Callable[[str], None] | None = None) -> int | None:
        process = self.processes.get(pid)
        if process is None or process.parent != SUPERVISOR or process.state == "reaped":
            raise ChildProcessError(errno.ECHILD, "no child processes")
        if process.running:
            return None
        process.state = "reaped"
        return process.status

    def ended_child(self) -> int:
        return next((one.pid for one in self.zombies), 0)

    def launch(
        self,
        command: CommandLine,
        channel_fd: int,
        stderr_fd: int,
        variable: str,
        environ: Mapping[str, str] | None = None,
    ) -> int:
        if "spawn" in self.short_of:
            raise OSError(errno.EAGAIN, "no more processes")
        program = PlayedZygote(self, SUPERVISOR, 0, os.dup(channel_fd))
        program.stderr = os.dup(stderr_fd)
        return program.pid

    def channel_pair(
        self, there: str, bounds: Bounds | None = None, *, identified: bool = False
    ) -> tuple[Channel, socket.socket]:
        """Without `identified`: the kernel says that all of the played are this one process."""
        self._need_descriptors()
        return super().channel_pair(there, bounds)

    def memory_file(self, make: Callable[[], T]) -> T:
        self._need_descriptors()
        return make()

    def pipe(self) -> tuple[int, int]:
        self._need_descriptors()
        return os.pipe()

    def _need_descriptors(self) -> None:
        if "descriptors" in self.short_of:
            raise OSError(errno.EMFILE, "too many open files")


class _NoWarden(Warden):
    """It only matters once the supervisor is killed, which is not played."""

    def watch(self, pid: int, pidfd: int | None, seconds: float) -> None: ...


class _Certificates:
    """As the supervisor holds them: a file that each worker is given, and again when it was renewed."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.renewed = False

    def take(self, generation: int, files: object) -> None: ...

    def fd_of(self, generation: int) -> int | None:
        return self.fd

    def look(self, now: float, generation: int, alive: object) -> bool:
        renewed, self.renewed = self.renewed, False
        return renewed


class Family:
    """One server. `close` undoes everything and tells what is left open."""

    def __init__(
        self,
        policy: Policy,
        *,
        why_not: str = "",
        tls: bool = False,
        pilot: bool = False,
        watch: Watch | None = None,
        load: str = FORK,
    ) -> None:
        self.descriptors_before = open_fds()
        self.loop = PlayedLoop()
        self.policy = policy
        self.log = Memory()
        self.scoreboard = Scoreboard.create(128)
        self.system = PlayedSystem(self.loop, self.scoreboard, policy, watch or Watch())
        self.system.load = load
        link, ordered = self._found(pilot) if load == FORK else (None, None)
        command = CommandLine("python", ("python", "app.py"), "/", why_not)
        target = Target(policy.workers, committed=1, surge=policy.reload_surge)
        self.office = Office(policy, [], self.scoreboard, self.log, command, target, self.system)
        self._certificate_fd = anonymous_file("certificates") if tls else -1
        if tls:
            self.office.certificates = _Certificates(self._certificate_fd)  # type: ignore[assignment]
        self.announced = 0
        self.supervisor = loop.Supervisor(self.office, link, self._announce, "off", pilot=ordered, load=Load(load))
        self.clients: list[Client] = []
        self.task = self.loop.create_task(self.supervisor.run())
        self.turn()

    def _found(self, pilot: bool) -> tuple[links.ZygoteLink, orders.Order | None]:
        """The first zygote, with its first order if `pilot`."""
        channel, theirs = channel_pair("the zygote")
        ordered = orders.order_pilot(self.system, channel) if pilot else None
        if ordered is not None:
            ordered.theirs.close()
        self.first = PlayedZygote(self.system, SUPERVISOR, 1, theirs.detach())
        return links.ZygoteLink(1, channel, pid=self.first.pid), ordered

    def _announce(self, _: loop.Supervisor) -> None:
        self.announced += 1

    @property
    def over(self) -> bool:
        return self.task.done()

    @property
    def exit_code(self) -> ExitCode:
        return self.task.result()

    def renew_certificates(self) -> None:
        if isinstance(self.office.certificates, _Certificates):
            self.office.certificates.renewed = True

    # --- moving on

    def turn(self) -> None:
        """Let the supervisor do all it can now, and everybody take in what it said."""
        for _ in range(4):
            if self.system.zombies and not self.over:
                self.loop.call_soon(self.supervisor.on_signal, signal.SIGCHLD)
            self.loop.turn()
            if self.loop.trouble:
                raise Violation(f"the supervisor's loop: {self.loop.trouble}")
            for process in self.system.running():
                process.listen()
            for client in self.clients:
                client.listen()
            if not self.system.zombies:
                return

    def signal(self, signum: int) -> None:
        if not self.over:
            self.loop.call_soon(self.supervisor.on_signal, signum)
            self.turn()

    def pass_time(self, seconds: float, *, supervisor_runs: bool = True, others_run: bool = True) -> None:
        """Move the clock, alarm by alarm."""
        until = self.loop.now + seconds
        while self.loop.now < until:
            alarm = self.loop.next_alarm() if supervisor_runs else None
            self.loop.now = min(until, alarm if alarm is not None else until)
            if others_run:
                for worker in self.system.running(PlayedWorker):
                    worker.beat()
            if supervisor_runs and not self.over:
                self.turn()
        self.turn()

    def behave(self, rounds: int = 50) -> None:
        """Everybody does what there is to do, until there is nothing more at this moment."""
        for _ in range(rounds):
            able = [one for one in self.system.running() if one.can_act]
            for one in able:
                if one.running and one.can_act:
                    one.act()
            self.turn()
            if not any(one.can_act for one in self.system.running()):
                return

    # --- the end

    def close(self) -> list[str]:
        """Let go of everything; the names of descriptors that were left open."""
        if not self.over:
            self.task.cancel()
            self.loop.turn()
        for link in self.supervisor.workforce.links.values():
            link.close()
        for zygote in self.supervisor.generations.sources.zygotes:
            zygote.channel.close()
            zygote.close()
        for process in self.system.running():
            process.end(signal.SIGKILL)
        for client in self.clients:
            client.channel.close()
        self.loop.close()
        self.scoreboard.close()
        if self._certificate_fd >= 0:
            os.close(self._certificate_fd)
        # The mapping of a scoreboard lives as long as the last cell anybody still has.
        left = {fd: what for fd, what in open_fds().items() if "aeros-cells" not in what}
        return [f"{fd} {what}" for fd, what in left.items() if fd not in self.descriptors_before]


def _own(fd: int) -> socket.socket:
    end = socket.socket(fileno=fd)
    end.setblocking(False)
    return end
