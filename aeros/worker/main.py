"""A worker process, from its fork to its exit."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import random
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

from ..core.clock import monotonic
from ..core.ipc.channel import Channel, ChannelClosed
from ..core.ipc.messages import Failed, Logged, clip
from ..core.log.lines import LineLog
from ..core.log.spoken import speak_json
from ..core.process.signalling import (
    DUMP_SIGNAL,
    FAMILY_SIGNALS,
    STACK_SIGNAL,
    USER_SIGNALS,
    ignore_politely,
    leave_to_the_app,
    reset_signals,
)
from ..core.shared.scoreboard import Scoreboard, heartbeat_every_s
from ..titles import Title
from . import context
from .accept.fairness import Turn
from .assembly import http1_factory, make_service
from .debugging import copies
from .debugging.breakpoints import Breakpoints
from .debugging.keys import Keys
from .farewell import Farewell
from .http1.response import name_server
from .lane.limits import Limits
from .lifeline import guard
from .lifespan import Lifespan
from .report.figures import Figures
from .report.heartbeat import Heartbeat
from .report.log_files import WorkerLogs
from .report.requests_table import InFlightTable
from .report.stacks_on_signal import answer_by_signal
from .sending import send
from .serving import Serving

if TYPE_CHECKING:
    from hypercorn.config import Config

    from ..core.ipc.seed import WorkerSeed
    from ..core.net.listener import Listener
    from ..options import Options
    from .accept.proxy_protocol import ProxyHeaders
    from .hosted import HostedApp
    from .lane.forwarded import Forwarded
    from .lane.service import Service


def run_worker(
    seed: WorkerSeed,
    hosted: HostedApp,
    options: Options,
    config: Config,
    listeners: list[Listener],
    scoreboard: Scoreboard,
    log: LineLog,
) -> NoReturn:
    """Be worker `seed.slot` until told to end; then end this process. Called in the forked child, or in a process that
    has loaded the program for this one worker.

    config: Hypercorn's, of these options; this process's own to change.
    """
    worker = _Worker(seed, hosted, options, config, listeners, scoreboard, log)
    leave = worker.farewell.leave
    try:
        hosted.after_fork()
    except Exception as error:
        leave(_report(worker.channel, "after_fork", error))
    try:
        _run(worker.serve(), options.worker_class, leave, debug=bool(options.hypercorn.get("debug")))
    except SystemExit as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        log.error(f"the app called sys.exit({error.code!r}) in {where.name} ({where.filename}:{where.lineno})")
        worker.farewell.leave_by(error)
    except Exception as error:
        leave(_report(worker.channel, "serving", error))


class _Worker:
    """What makes one worker, and where its parts are put together."""

    def __init__(
        self,
        seed: WorkerSeed,
        hosted: HostedApp,
        options: Options,
        config: Config,
        listeners: list[Listener],
        scoreboard: Scoreboard,
        log: LineLog,
    ) -> None:
        """Make this process a worker."""
        self._seed = seed
        self._hosted = hosted
        self._options = options
        self._config = config
        self._listeners = listeners
        self._scoreboard = scoreboard
        self._log = log
        self._pid = pid = os.getpid()
        _settle(seed)
        self._place = f"worker slot={seed.slot} gen={seed.generation}"
        log.who = f"{self._place} pid={pid}"
        log.facts = {"worker": seed.slot, "generation": seed.generation}
        if options.log_format == "json":
            speak_json(log.facts)
        self._title = Title(options.proctitle)
        self._title.show(f"{self._place} starting")
        self._cell = scoreboard.cell(seed.cell)
        self._cell.begin(pid, seed.generation, int(seed.born_at * 1e9))
        copies.watch()
        context.current = context.WorkerContext(seed.slot, seed.generation, pid, scoreboard)
        self.channel = channel = Channel(socket.socket(fileno=seed.channel_fd), "the supervisor")
        channel.setblocking(False)
        log.tap = _tap(channel)
        guard(seed.channel_fd, options.drain_timeout_s)
        self.farewell = Farewell(
            options.shutdown_timeout_s, lambda why: _tell(channel, Failed("shutdown", why, "", False))
        )
        if seed.alone:  # loading the app has taken some of its time
            config.startup_timeout = max(0.1, options.boot_timeout_s - (monotonic() - seed.born_at))

    async def serve(self) -> int:
        """Serve until told to end; return the exit code."""
        seed, options, log = self._seed, self._options, self._log
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(options.threads, thread_name_prefix="aeros"))
        lines = WorkerLogs(self._config, options.log_format, seed.slot, seed.generation, log)
        figures = Figures(
            self._cell, _request_limit(options), lambda: serving.request_retirement("max_requests reached")
        )
        tables = InFlightTable(self._cell), InFlightTable(self._cell, websockets=True)
        service = self._make_service(loop, figures, *tables)
        connections = service.connections
        answer_by_signal(loop, connections.served, seed.file_fd)
        if seed.ident == 1 and self._hosted.obstacle is not None:
            log.info(self._hosted.obstacle)  # once: the first worker of all says it
        if options.admin is not None:
            self._count_routes(loop, service)
        if options.slow_request_s:
            from .report.slow_requests import SlowRequests

            SlowRequests(loop, connections.under_way, options.slow_request_s, log).start()

        def on_beat() -> None:
            tables[0].complete(figures.in_flight, connections.under_way())
            tables[1].complete(len(connections.websockets), connections.websockets)
            self._title.show(f"{self._place} {serving.state} {figures.describe()}")

        every_s = heartbeat_every_s(options.loop_warn_s)
        heartbeat = Heartbeat(loop, self._cell, seed.file_fd, on_beat, every_s, log.info)
        _install_breakpoints(options, self._scoreboard, heartbeat, log)
        serving = Serving(
            self._hosted,
            self._config,
            self._listeners,
            self.channel,
            service,
            self._make_protocol(service),
            Turn(self._scoreboard, seed.cell),
            figures,
            heartbeat,
            log,
            identity=(self._pid, seed.generation, seed.nonce),
            on_shutdown=self.farewell.begin,
            reopen_logs=lines.reopen,
            born_at=seed.born_at,
            lifespan=Lifespan(options.lifespan, log),
            proxy_headers=_proxy_headers(loop, options, log),
        )
        if options.use_reloader:
            _watch(serving, options, self.channel if seed.alone and seed.slot == 0 else None)
        # Somebody may know only our pid. Ask to be replaced first, then end: nothing is lost that way.
        loop.add_signal_handler(signal.SIGTERM, serving.request_retirement, "SIGTERM")
        return await serving.run()

    def _count_routes(self, loop: asyncio.AbstractEventLoop, service: Service) -> None:
        """For the dashboard."""
        from .report.route_figures import RouteFigures

        figures, channel = RouteFigures(), self.channel
        service.count_routes(figures)
        if self._options.admin_details == "on":
            self._hosted.watch_exceptions(figures.note)

        figures.tell_by(loop, lambda: not channel.pending, lambda told: send(loop, channel, told))

    def _make_service(
        self,
        loop: asyncio.AbstractEventLoop,
        figures: Figures,
        table: InFlightTable,
        websocket_table: InFlightTable,
    ) -> Service:
        name_server(self._config)
        return make_service(
            self._hosted.app,
            self._config,
            loop=loop,
            direct=self._hosted.direct,
            counters=figures,
            table=table,
            websocket_table=websocket_table,
            forwarded=_forwarded(self._options),
            limits=Limits.of(self._options),
            request_ids=self._options.request_id,
        )

    def _make_protocol(self, service: Service) -> Callable[[], asyncio.Protocol]:
        """Return the factory of the protocols that connections begin with."""
        if self._options.http == "lane":
            return http1_factory(service)
        from .hypercorn.connection import hypercorn_protocol_factory

        return hypercorn_protocol_factory(service)


def _tap(channel: Channel) -> Callable[[str], None]:
    """Return what gives the supervisor a copy of each event in this worker's log."""
    thread = threading.get_ident()

    def tell(line: str) -> None:
        # A channel is one thread's. That the supervisor is gone is noticed elsewhere.
        if threading.get_ident() == thread:
            with contextlib.suppress(ChannelClosed):
                channel.send(Logged(clip(line)))

    return tell


def _forwarded(options: Options) -> Forwarded | None:
    if not options.forwarded_allow:
        return None
    from .lane.forwarded import Forwarded

    return Forwarded(options.forwarded_allow, options.forwarded_header)


def _watch(serving: Serving, options: Options, channel: Channel | None) -> None:
    """Look at the source files. channel: to the supervisor, if it is to hear of changes from here."""
    from .watch import report_to, watch_sources

    loop = asyncio.get_running_loop()
    if channel is not None:
        watch_sources(loop, options.watch, report_to(channel))
    if options.dev:
        watch_sources(loop, options.watch, lambda changed: serving.outdated.begin())


def _proxy_headers(loop: asyncio.AbstractEventLoop, options: Options, log: LineLog) -> ProxyHeaders | None:
    if not options.proxy_protocol:
        return None
    from .accept.proxy_protocol import ProxyHeaders

    return ProxyHeaders(loop, options.proxy_protocol, log.info)


def _request_limit(options: Options) -> int | None:
    """Return the number of requests after which this worker asks to be replaced."""
    if options.max_requests is None:
        return None
    return options.max_requests + random.randint(0, options.max_requests_jitter)


def _install_breakpoints(options: Options, scoreboard: Scoreboard, heartbeat: Heartbeat, log: LineLog) -> None:
    """Have breakpoint() and input() ask at the terminal."""

    def supervisor_pid() -> int:
        return int(scoreboard.read_summary()["pid"])

    Breakpoints(Keys(options.workers, supervisor_pid, heartbeat.patience.holding), log.warning).install()


def _settle(seed: WorkerSeed) -> None:
    """Make the forked copy a process of its own: group, signals, randomness, stack dumps."""
    # Its own group: Ctrl+C in the terminal is the supervisor's to interpret, and what the worker starts can be
    # ended with it.
    os.setpgid(0, 0)
    reset_signals(FAMILY_SIGNALS)
    ignore_politely((signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, STACK_SIGNAL))
    leave_to_the_app(USER_SIGNALS)
    # Here, and not on standard error: the supervisor reads it at the worker's end, and logs it whole.
    faulthandler.enable(file=seed.file_fd)
    faulthandler.register(DUMP_SIGNAL, file=seed.file_fd, all_threads=True)
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    # The thread of sync_to_async, if the program used it before the fork, does not exist here; its executor
    # would wait for it for ever.
    asgiref_sync = sys.modules.get("asgiref.sync")
    if asgiref_sync is not None:
        asgiref_sync.SyncToAsync.single_thread_executor = ThreadPoolExecutor(1)


def _run(
    main: Coroutine[Any, Any, int], worker_class: str, leave: Callable[[int], NoReturn], *, debug: bool
) -> NoReturn:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if worker_class == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    runner = asyncio.Runner(debug=debug, loop_factory=factory)
    with runner:
        loop = runner.get_loop()
        loop.set_exception_handler(_on_loop_exception)
        try:
            code = runner.run(main)
        except SystemExit as error:
            if copies.is_one:  # before the loop is closed, which is the worker's too
                copies.leave(error)
            raise
        # Threads that do not end must not keep the process: they are told, not waited for.
        executor = getattr(loop, "_default_executor", None)
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
        # Before the loop is closed: a handler may have something to do in it still.
        leave(code)


def _on_loop_exception(loop: asyncio.AbstractEventLoop, details: dict[str, Any]) -> None:
    import ssl

    if not isinstance(details.get("exception"), ssl.SSLError):  # a failed handshake is the client's affair
        loop.default_exception_handler(details)


def _report(channel: Channel, stage: str, error: BaseException) -> int:
    text = "".join(traceback.format_exception(error))
    _tell(channel, Failed(stage, clip(f"{type(error).__name__}: {error}", 2000), clip(text), False))
    return 3


def _tell(channel: Channel, message: Failed) -> None:
    # Nobody to tell: the supervisor is gone.
    with contextlib.suppress(ChannelClosed):
        channel.send(message)
