"""start(): from a program with an app to a server. Decides what this process is to become."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.exitcodes import ExitCode
from ..core.ipc.channel import Channel, ChannelClosed, channel_pair
from ..core.ipc.messages import (
    Arrived,
    Heir,
    Inherit,
    LoadFailed,
    Message,
    ProtocolError,
    Secrets,
    Unfit,
    Welcome,
    clip,
)
from ..core.log.lines import LineLog
from ..core.net.certificates import CertificateError, TLSFiles, explain
from ..core.net.listener import Listener
from ..core.process import streams
from ..core.process.files import give_folder, make_logs
from ..core.process.interpreter import untested, why_no_interpreter
from ..core.process.origin import directory_of_start
from ..core.process.privileges import Account, find_account, may_become, readable_by
from ..core.process.signalling import die_with_parent, fork, reset_signals
from ..core.record import replace
from ..core.shared.scoreboard import Scoreboard
from ..core.text import one_line, several_lines
from ..errors import AerosError, BindError, OptionsError, StartError, StateError
from ..options import Options, resolve, secrets
from ..options.mistakes import mistaken
from ..server import Server, connect
from ..status.reader import StatusReader
from ..status.records import ServerStatus
from ..status.requests import RequestInFlight
from ..supervisor.bootstrap import found
from ..supervisor.control.pidfile import PidFile
from ..supervisor.control.systemd import Notifier
from ..supervisor.model.policy import Policy
from ..supervisor.sockets.activation import take as take_activated
from ..supervisor.sockets.listeners import bind_admin, bind_all, close_all, split_host_port
from ..supervisor.system.launch import CommandLine
from ..supervisor.system.summons import CHANNEL_VARIABLE, UPGRADE_VARIABLE
from ..supervisor.system.summons import take as take_summons
from ..supervisor.upgrade.inheritance import Estate, Inheritance
from ..supervisor.zygotes.load import FORK, WORKER, Load, choose, loads_at_once, unsafe_threads, warn_of_threads
from ..supervisor.zygotes.zygote import Zygote
from ..titles import program_label
from ..version import __version__
from ..worker import context
from ..worker.context import WorkerContext
from . import app_metrics
from .check_app import asgi_app
from .program import AppProgram

if TYPE_CHECKING:
    from hypercorn.config import Config

    from ..supervisor.control.dashboard import AdminChild
    from ..supervisor.loop import Supervisor
    from ..supervisor.model.rim import Rim
    from ..supervisor.upgrade.successor import Succession

#: How long a new generation waits for the supervisor to say what it is to be.
_WELCOME_TIMEOUT_S = 10.0

_NOT_IN_A_LOOP = (
    "start() blocks until the server has stopped, and was called in a running event loop, which would stand still "
    "meanwhile: call it outside of asyncio.run(), or use start(block=False) there, which returns a handle, and then "
    "`await asyncio.to_thread(handle.wait)`"
)


def check(constructor: Mapping[str, object]) -> None:
    """Raise OptionsError if the defaults given to WebServer(…) cannot be used."""
    resolve(constructor=constructor, environ={})


def start(
    app: Any,
    arguments: str | Sequence[str] | None,
    keywords: Mapping[str, object],
    *,
    config: Config | str | None = None,
    constructor: Mapping[str, object] | None = None,
    block: bool = True,
    program: str = "",
) -> int | Server:
    """Serve `app`; see `WebServer.start`. program: what `aeros run` was told to serve, if it was: its
    name in process titles, and what stays of the command line when an upgrade gives it other arguments.
    """
    _check_moment()
    if block and _in_running_loop():
        _give_up(StateError(_NOT_IN_A_LOOP))
    streams.secure()

    def resolved() -> Options:
        environ = secrets.environment()
        options = resolve(arguments, keywords, config=config, constructor=constructor, environ=environ)
        wanted = program if program and options.proctitle == "auto" else options.proctitle
        return replace(options, proctitle=program_label(wanted, _app_name(app)))

    try:
        to_zygote = take_summons(CHANNEL_VARIABLE, os.environ)
        to_heir = take_summons(UPGRADE_VARIABLE, os.environ)
    except StartError as error:
        _give_up(error)
    if to_zygote is not None:
        _learn_secrets(to_zygote)
        _become_zygote(to_zygote, app, resolved)
    if to_heir is not None:
        with _explaining(to_heir):
            options = resolved()
            app = asgi_app(app)
            return _supervise_next(to_heir, app, options, block, program)
    try:
        options = resolved()
        app = asgi_app(app)
        if block and _can_supervise():
            return _supervise_here(app, options, program)
        server = _supervise_beside(app, options)
    except AerosError as error:
        if not block:
            raise
        _give_up(error)
    return server if not block else _watch(server)


def server_of_worker(worker: WorkerContext) -> Server:
    """Return the handle of the server this worker belongs to: status from memory, commands by the control socket."""
    return _ServerFromWithin(worker)  # type: ignore[return-value]


# --- the moment --------------------------------------------------------------------------------------------------


def _check_moment() -> None:
    if context.current is not None:
        raise StateError(
            f"start() was called inside a worker (slot {context.current.slot}); a worker cannot start another server"
        )


def _can_supervise() -> bool:
    """Whether this thread may become the supervisor: signals are the main thread's, and it needs its own loop."""
    return threading.current_thread() is threading.main_thread() and not _in_running_loop()


def _in_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# --- first start -------------------------------------------------------------------------------------------------


class _Preparation:
    """What both ways of starting need before the first fork. Everything that can fail, fails here."""

    def __init__(self, app: Any, options: Options, inheritance: Inheritance | None = None) -> None:
        self.account = _account(options)
        self.log = make_log(options, self.account)
        self.notifier: Notifier | None = None
        for warning in (*options.warnings, *mistaken(options)):
            self.log.warning(warning)
        _check_tls(options)
        _check_reach(self.account, self.log)
        self.policy = Policy.of(options)
        self.pid_file, self.same_pid_file = _pid_file(options, inheritance)
        activated = take_activated(os.environ)
        if activated.why_not:
            self.log.info(f"no sockets are taken from systemd: {activated.why_not}")
        try:
            self.listeners = bind_all(options, activated, inheritance)
        except BaseException:
            self.drop_pid_file()
            raise
        try:
            self.admin = _admin(options, app, self.account, inheritance) if options.admin else None
        except BaseException:
            close_all(self.listeners)
            self.drop_pid_file()
            raise
        self.scoreboard = Scoreboard.create()
        self.options = replace(options, admin_token=None)  # the dashboard has it, and no zygote
        self.program = AppProgram(app, self.options, self.listeners, self.scoreboard, self.log)
        self.app = app
        if sentence := untested():
            self.log.warning(sentence)
        #: How the workers get the app, where that is found out before the supervisor is founded.
        self.load: Load | None = None

    def drop_pid_file(self) -> None:
        """Remove the pid file; not one that is still another supervisor's."""
        if self.pid_file is not None and self.same_pid_file:
            self.pid_file.forget()
        elif self.pid_file is not None:
            self.pid_file.remove()

    def settle(self) -> None:
        """What was inherited is ours."""
        self.same_pid_file = False
        if self.pid_file is not None:
            self.pid_file.write()

    def found(
        self, command: CommandLine, owner: Channel | None = None, succession: Succession | None = None
    ) -> ExitCode:
        """Become the supervisor until the end."""
        if self.pid_file is not None and succession is None:
            self.pid_file.write()
        known = secrets.hide()
        environment = {name: value for name, value in command.environment.items() if name not in known}
        environment |= app_metrics.environment()
        command = replace(command, account=self.account, environment=environment, secrets=known)
        try:
            return found(
                program=self.program,
                policy=self.policy,
                listeners=self.listeners,
                scoreboard=self.scoreboard,
                log=self.log,
                command=command,
                announce=self.announce,
                control=self.options.control,
                owner=owner,
                in_child=self._in_child,
                rim=_rim(self.options, "supervisor"),
                admin=self.admin,
                notifier=self.notifier,
                estate=Estate(self.pid_file, app_metrics.made(), app_metrics.forget),
                succession=succession,
                load=self.load,
            )
        except StartError:
            close_all([*self.listeners, *([self.admin.listener] if self.admin is not None else [])])
            raise
        finally:
            secrets.restore()
            self.drop_pid_file()
            app_metrics.remove()

    def _in_child(self) -> None:
        """The first zygote, which has this process's memory, keeps neither the pid file nor the secrets."""
        if self.pid_file is not None:
            self.pid_file.forget()
        secrets.forget()

    def announce(self, supervisor: Supervisor) -> None:
        """Say once, in at most five lines, what runs where and how to steer it."""
        pid, workers = os.getpid(), supervisor.office.target.workers
        name = _app_name(self.app)
        places = ", ".join(supervisor.addresses)
        plural = "s" if workers != 1 else ""
        self.log.info(f"Aeros {__version__} serves {name} at {places}", addresses=supervisor.addresses)
        self.log.info(f"{workers} worker{plural} on {self.options.worker_class}, supervisor pid {pid}")
        steer = f"aeros reload {pid}, or SIGHUP" if supervisor.control.path else f"kill -HUP {pid}"
        if self.admin is not None:
            self.log.info(f"dashboard: {self.admin.address}", admin=self.admin.address)
        self.log.info(f"reload: {steer}; stop: Ctrl+C or SIGTERM")


def _pid_file(options: Options, inheritance: Inheritance | None) -> tuple[PidFile | None, bool]:
    """Return the pid file, and whether it is another supervisor's still. Raises StartError."""
    if not options.pid_file:
        return None, False
    if inheritance is not None and os.path.abspath(options.pid_file) == inheritance.pid_file:  # noqa: PTH100
        inherited = PidFile.inherit(options.pid_file, inheritance.pid_file_fd)
        if inherited is not None:
            inheritance.pid_file_fd = -1
            return inherited, True
    return PidFile(options.pid_file), False


def _admin(options: Options, app: Any, account: Account | None, inheritance: Inheritance | None) -> AdminChild:
    from ..core.ipc.dashboard import AdminSettings
    from ..supervisor.control.dashboard import AdminChild

    if reason := why_no_interpreter():
        raise OptionsError(
            f"--admin starts the dashboard in a Python interpreter of its own, but {reason}; leave it out, and look at "
            "the server with `aeros top`",
            option="admin",
        )

    listener = bind_admin(options, inheritance)
    address = options.admin or ""
    host = "" if address.startswith("unix:") else split_host_port(address)[0]
    name = _app_name(app)
    directory = app_metrics.share() if options.app_metrics else ""
    if directory and account is not None:
        try:
            give_folder(directory, account)
        except OSError as error:
            raise StartError(f"cannot give {directory} to {account.name}: {error.strerror}") from None
    token = options.admin_token or ""
    settings = AdminSettings(name, host, token, options.admin_write, options.ready_min, directory, options.proctitle)
    return AdminChild(listener, settings)


def _app_name(app: Any) -> str:
    return getattr(app, "name", "") or type(app).__name__


def _supervise_here(app: Any, options: Options, program: str) -> int:
    """This process becomes the supervisor; the way a program on a command line is served."""
    command = CommandLine.of_this_process(program)
    _check_load(options, command)
    preparation = _Preparation(app, options)
    # Only here is this process the service itself, and not a part of it that started a server of its own.
    preparation.notifier = Notifier.take(os.environ, preparation.log)
    code = preparation.found(command)
    if code is not ExitCode.OK:
        sys.exit(int(code))
    return 0


def _supervise_next(channel: Channel, app: Any, options: Options, block: bool, program: str) -> int:
    """This process succeeds the supervisor that ran it, if all goes well."""
    if not block or not _can_supervise():
        raise StateError(
            "the new program starts its server with block=False or in a thread: such a server is a "
            "child of its program and cannot succeed another; stop the old one and start it anew"
        )
    from ..supervisor.upgrade.successor import Succession

    inheritance = _await_inheritance(channel, options)
    try:
        preparation = _Preparation(app, options, inheritance)
    finally:
        inheritance.let_go()
    preparation.notifier = Notifier.take(os.environ, preparation.log, predecessor=inheritance.pid)
    preparation.notifier.muted = True

    def settle() -> None:
        preparation.settle()
        app_metrics.adopt(inheritance.metrics_directory or app_metrics.made())

    succession = Succession(channel, inheritance, settle, same_pid_file=preparation.same_pid_file)
    code = preparation.found(CommandLine.of_this_process(program), succession=succession)
    if code is not ExitCode.OK:
        sys.exit(int(code))
    return 0


def _supervise_beside(app: Any, options: Options) -> Server:
    """A child becomes the supervisor; the way a test, a notebook or a bigger program is served."""
    command = CommandLine.of_this_process()
    if not command.why_not:
        command = replace(command, why_not="the server was started with block=False, so its program is not run again")
    _check_load(options, command)
    preparation = _Preparation(app, options)
    # Here, where the threads are: the child that becomes the supervisor has none of them.
    load = choose(options.load, command.why_not)
    for warning in [*load.warnings, *warn_of_threads(unsafe_threads(), load.how, in_supervisor=True)]:
        preparation.log.warning(warning)
    preparation.load = replace(load, warnings=[])
    ours, theirs = channel_pair("the supervisor")
    _flush_output()
    pid = fork()
    if pid == 0:
        code = int(ExitCode.FAILURE)
        try:
            ours.close()
            # Ctrl+C is for the program that started us; it decides what becomes of the server.
            os.setsid()
            reset_signals()
            asyncio._set_running_loop(None)
            theirs.setblocking(False)
            code = int(preparation.found(command, Channel(theirs, "the program")))
        except BaseException:
            import traceback

            preparation.log.critical("the supervisor failed", traceback=traceback.format_exc())
        finally:
            os._exit(code)
    theirs.close()
    for listener in preparation.listeners:
        listener.sock.close()
    if preparation.admin is not None:
        preparation.admin.listener.sock.close()
        app_metrics.forget()
    preparation.scoreboard.close()
    if preparation.pid_file is not None:
        preparation.pid_file.forget()
    preparation.log.close()
    return _wait_until_ready(ours, pid)


def _check_load(options: Options, command: CommandLine) -> None:
    """Raise OptionsError if workers are to load a program themselves that cannot be run again."""
    if options.load == WORKER and command.why_not:
        raise OptionsError(
            f"--load worker runs the program again for each worker, which cannot be done: {command.why_not}",
            option="load",
        )


def _wait_until_ready(channel: Channel, pid: int) -> Server:
    server = Server(channel, child_pid=pid)
    try:
        server.wait_ready()
    except AerosError as error:
        code = server.wait()
        server.close()
        if isinstance(error, StartError):
            raise
        raise StartError(f"the server did not start (exit code {code})", exit_code=_as_exit_code(code)) from None
    except BaseException:
        server.stop(now=True)
        server.close()
        raise
    return server


def _as_exit_code(code: int) -> ExitCode:
    with contextlib.suppress(ValueError):
        return ExitCode(code)
    return ExitCode.FAILURE


def _watch(server: Server) -> int:
    """Block in a thread: the supervisor is a child, and we wait for it."""
    try:
        code = server.wait()
    except KeyboardInterrupt:
        code = server.stop()
    finally:
        server.close()
    if code:
        sys.exit(code)
    return 0


def _give_up(error: AerosError) -> Any:
    """End the program with the error's own exit code, and one line instead of a traceback."""
    sys.stdout.flush()
    traceback = getattr(error, "traceback", "")
    text = one_line(f"aeros: {error}") + (f"\n{several_lines(traceback)}" if traceback else "")
    print(text, file=sys.stderr)  # noqa: T201
    sys.exit(int(error.exit_code))


def _account(options: Options) -> Account | None:
    """Return whom the app runs as; None: as we do. Raises OptionsError."""
    if options.run_as is None:
        return None
    account = find_account(options.run_as)
    if not may_become(account):
        raise OptionsError(f"--run-as {options.run_as} needs the server to be started by root", option="run_as")
    return account


def _check_reach(account: Account | None, log: LineLog) -> None:
    """Warn of what the app's user will miss."""
    program = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-", "-c") else ""
    for path in filter(None, (directory_of_start(), sys.executable, program)):
        if account is not None and not readable_by(account, path):
            log.warning(f"{account.name} may not read {path}: reloads will fail, and what is imported later may")


def _check_tls(options: Options) -> None:
    """Try the certificate now: every worker would fail on it, later and N times."""
    if not options.tls:
        return
    assert options.tls_files is not None
    try:
        TLSFiles.from_message(options.tls_files).read()
        options.hypercorn_config().create_ssl_context()
    except CertificateError as error:
        raise BindError(str(error)) from None
    except ssl.SSLError as error:
        certificate = options.hypercorn["certfile"]
        raise BindError(f"cannot use certificate {certificate}: {explain(error)}") from None


def make_log(options: Options, account: Account | None = None) -> LineLog:
    """Return Aeros's own log as `options` want it, and see to it that workers can open theirs.

    account: whom the app runs as. Raises OptionsError when a file cannot be written.
    """
    error_log, access_log = options.error_log or "", options.access_log or ""
    name, path = "error_log", error_log
    try:
        log = LineLog(error_log, level=options.log_level.lower(), log_format=options.log_format, account=account)
        name, path = "access_log", access_log
        if path not in ("", "-"):
            make_logs([path], account)
    except OSError as error:
        raise OptionsError(
            f"cannot write the log {path} (--{name.replace('_', '-')}file): {error.strerror}", option=name
        ) from None
    return log


def _rim(options: Options, role: str) -> Rim | None:
    """Return what makes system calls fail on purpose; without --faults nothing of it is imported."""
    if options.faults is None:
        return None
    from ..supervisor.model.rim import Rim

    return Rim(options.faults, role)


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _have_stderr(fd: int) -> None:
    """Take the server's standard error for ours, which was a pipe to the supervisor until now."""
    if streams.is_ours(2):
        os.dup2(fd, 2)
    os.close(fd)


# --- the next supervisor -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _explaining(channel: Channel) -> Iterator[None]:
    """Tell the supervisor that is to be succeeded why that comes to nothing, and end."""

    def explain(reason: str, traceback: str, *, logged: bool) -> None:
        facts = {"reason": clip(reason, 2000), "traceback": clip(traceback), "logged": logged}
        with contextlib.suppress(ChannelClosed, OSError):
            channel.setblocking(True)
            channel.send(Unfit(facts))
        channel.close()

    try:
        yield
    except AerosError as error:
        # The old supervisor says it, for both.
        explain(str(error), getattr(error, "traceback", ""), logged=False)
        sys.exit(int(error.exit_code))
    except Exception as error:
        import traceback

        explain(f"{type(error).__name__}: {error}", traceback.format_exc(), logged=True)
        raise


def _await_inheritance(channel: Channel, options: Options) -> Inheritance:
    """Ask for what the old supervisor has, and have its standard error. Raises StartError."""
    warm_up_s = options.boot_timeout_s if options.warmup else 0.0
    # Workers that may load the program themselves come up some at a time.
    rounds = 1 if options.load == FORK else -(-options.workers // loads_at_once())
    facts = {
        "aeros": __version__,
        "python": platform.python_version(),
        "prepare_s": warm_up_s + rounds * options.boot_timeout_s,
    }
    found: tuple[Message, list[int]] | None = None
    try:
        channel.setblocking(True)
        channel.send(Heir(os.getpid(), facts))
        found = channel.first(_WELCOME_TIMEOUT_S)
    except ChannelClosed:
        pass
    except ProtocolError as error:
        raise StartError(f"the supervisor before this one is not understood: {error}") from None
    message, fds = found if found is not None else (None, [])
    if not isinstance(message, Inherit):
        sys.exit(int(ExitCode.FAILURE))  # the upgrade was given up, or the old supervisor is gone
    _flush_output()
    _have_stderr(fds[0])
    try:
        return Inheritance.from_message(message.facts, fds[1:])
    except ValueError as error:
        raise StartError(str(error)) from None


# --- a later generation ------------------------------------------------------------------------------------------


def _become_zygote(channel: Channel, app: Any, resolved: Callable[[], Options]) -> None:
    """Never returns: this program has done its part, which was to load the app. resolved: returns its options.

    What becomes a zygote here becomes a worker instead where workers load the app themselves; see `supervisor.zygote`.
    """
    try:
        options = resolved()
        app = asgi_app(app)
        mistaken(options)
        if options.run_as is None:
            _check_tls(options)  # else the supervisor does; the key may not be ours to read
        log = make_log(options)
    except AerosError as error:
        with contextlib.suppress(ChannelClosed):
            channel.send(LoadFailed(clip(str(error), 2000), ""))
        channel.close()
        _give_up(error)
    welcome, fds = _await_welcome(channel)
    if welcome.load != WORKER:
        # From here on we outlive a supervisor that dies, to end our workers in good order.
        die_with_parent(0)
    _flush_output()
    board_fd, cells_fd, stderr_fd, *listener_fds = fds
    _have_stderr(stderr_fd)
    with contextlib.suppress(OSError):
        log.reopen()  # it was the loader's pipe until now
    listeners = [Listener.adopt(fd, record) for fd, record in zip(listener_fds, welcome.listeners, strict=True)]
    scoreboard = Scoreboard(board_fd, cells_fd, writable=True)
    secrets.hide()  # those that the program has set itself, as from a file
    secrets.forget()
    program = AppProgram(app, replace(options, admin_token=None), listeners, scoreboard, log)
    alone = welcome.load == WORKER
    notes = [] if alone else _changed_binds(options, listeners)
    rim = _rim(options, f"zygote gen={welcome.generation}")
    if rim is not None:
        rim.arm()
    load = Load(WORKER) if alone else None
    Zygote(channel, welcome.generation, Policy.of(options), program, log, notes, load, rim, original=True).run()


def _learn_secrets(channel: Channel) -> None:
    """Take what the supervisor said before the program was there, if it had to."""
    with contextlib.suppress(ChannelClosed, ProtocolError):
        message, _ = channel.first(0.0) or (None, [])
        if isinstance(message, Secrets):
            secrets.learn(message.values)


def _await_welcome(channel: Channel) -> tuple[Welcome, list[int]]:
    try:
        channel.setblocking(True)
        channel.send(Arrived(os.getpid(), __version__))
        message, fds = channel.first(_WELCOME_TIMEOUT_S) or (None, [])
        if isinstance(message, Welcome):
            return message, fds
    except (ChannelClosed, ProtocolError):
        pass
    channel.close()
    sys.exit(int(ExitCode.FAILURE))  # the supervisor has given this generation up, or is gone


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


# --- seen from a worker ------------------------------------------------------------------------------------------


class _ServerFromWithin:
    """What `app.server` is in a worker: the same questions, answered from shared memory; commands by the socket."""

    def __init__(self, worker: WorkerContext) -> None:
        self._scoreboard = worker.scoreboard
        self._reader = StatusReader(worker.scoreboard)

    @property
    def pid(self) -> int:
        return int(self._scoreboard.read_summary()["pid"])

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(self._scoreboard.read_summary().get("addresses", ()))

    @property
    def running(self) -> bool:
        return True

    def status(self) -> ServerStatus:
        return self._reader.read()

    def requests(self) -> tuple[RequestInFlight, ...]:
        return self._reader.requests()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        path = self._scoreboard.read_summary().get("control", "")
        if not path:
            raise StateError(f"server.{name} needs the control socket, and this server has none (--control off?)")
        return getattr(connect(path), name)
