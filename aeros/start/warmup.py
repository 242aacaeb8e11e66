"""Warm-up: requests answered in the zygote, before the first fork, so that what they leave in memory is shared.

CPython writes where it only seems to read: reference counts, specialised bytecode, caches of attribute look-ups. What a
worker writes to is its own from then on. What the zygote has written already is shared by all of its workers.

The app is called only where asked (`warmup`), without its `before_serving`. An app of ours, in its place, was called
once: it kept a worker 0.45 MB of 6.4 MB smaller, but receivers of Quart's signals and tracers that wrap Quart's classes
saw requests that no client had made.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from ..core.clock import monotonic, show_duration
from ..core.log.lines import LineLog
from ..core.process.bounded import bounded
from ..core.shared.scoreboard import Scoreboard
from ..options import Options
from ..worker import context

#: So often that CPython has specialised the bytecode (8 calls in 3.11, fewer later) and filled every cache behind it.
_PASSES = 9
#: A page that is slow is not asked again and again for that.
_REPEAT_FOR_S = 0.5
_ANSWER_TIMEOUT_S = 10.0
_HEAD = "Host: localhost\r\nUser-Agent: aeros-warmup\r\nAccept: */*\r\n"


def warm_up(app: Any, options: Options, scoreboard: Scoreboard, log: LineLog) -> None:
    """GET the paths of `warmup` from the app. What fails is said in one warning each, and is no reason not to start."""
    begin = monotonic()
    before = set(threading.enumerate())
    # Handlers may ask who they are: a worker to be, of slot 0.
    context.current = context.WorkerContext(0, 0, os.getpid(), scoreboard)
    try:
        with bounded(options.boot_timeout_s, TimeoutError):  # nobody supervises us yet
            _run(_ask(app, options, log))
    except TimeoutError:
        log.warning(f"the warm-up was given up after {show_duration(options.boot_timeout_s)} (--boot-timeout)")
    finally:
        context.current = None
    _forget(app)
    _end_thread_of_sync_to_async()
    started = [thread.name for thread in threading.enumerate() if thread not in before]
    if started:
        log.warning(f"the warm-up left threads behind ({', '.join(started)}): they do not exist in the workers")
    log.debug(f"warmed up with {len(options.warmup)} paths in {show_duration(round(monotonic() - begin, 3))}")


async def _ask(app: Any, options: Options, log: LineLog) -> None:
    from ..quart.direct import direct_path
    from ..worker.assembly import make_service
    from ..worker.report.access_log import LeanLogger

    config = options.hypercorn_config()
    # Logs are the workers' to open: a file opened here would be kept by all of them, and never be written to.
    config.accesslog = config.errorlog = None
    config.logger_class = LeanLogger
    config.statsd_host = None
    # Code of the user's (a handler, a class): for workers to run, as the user that they run as.
    config.logconfig = config.logconfig_dict = None
    service = make_service(app, config, loop=asyncio.get_running_loop(), direct=direct_path)
    for path in options.warmup:
        await _ask_often(service, path, log)


async def _ask_often(service: Any, path: str, log: LineLog) -> None:
    request = _get(path)
    deadline = monotonic() + _REPEAT_FOR_S
    for _ in range(_PASSES):
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                status = await _answer(service, request)
        except TimeoutError:
            status = 0
        if not 200 <= status < 400:
            what = f"answered {status}" if status else f"did not answer within {show_duration(_ANSWER_TIMEOUT_S)}"
            log.warning(f"the warm-up request GET {_target(path)} {what}; before_serving has not run at that time")
            return
        if monotonic() > deadline:
            return


async def _answer(service: Any, request: bytes) -> int:
    """Answer `request` on a connection that never was; return the status."""
    from ..worker.http1.connection import HTTP1Connection

    connection = HTTP1Connection(service)
    transport = _Transport()
    connection.connection_made(transport)
    try:
        connection.data_received(request)
        await transport.closed
    finally:
        connection.connection_lost(None)
    words = bytes(transport.head).split(b" ", 2)
    return int(words[1]) if len(words) > 1 else 0


class _Transport(asyncio.Transport):
    """The client's side of a connection, in memory. Every request says `Connection: close`."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.head = bytearray()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "socket":
            return _Socket
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def write(self, data: Any) -> None:
        if len(self.head) < 16:
            self.head += data[:16]

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.closed.done()

    def close(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def get_write_buffer_size(self) -> int:
        return 0


class _Socket:
    family = socket.AF_INET


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` in a loop that leaves nothing behind: no thread, descriptor or signal handler.

    The plain loop, as uvloop's would take the signals; how fast it is does not matter here.
    """
    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(main)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_ANSWER_TIMEOUT_S))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def _end_thread_of_sync_to_async() -> None:
    module = sys.modules.get("asgiref.sync")
    if module is not None:
        module.SyncToAsync.single_thread_executor.shutdown()
        module.SyncToAsync.single_thread_executor = ThreadPoolExecutor(1)


def _forget(app: Any) -> None:
    """Routes may still be added in `before_serving`, which Quart forbids after the first request."""
    if hasattr(app, "_got_first_request"):
        app._got_first_request = False


def _get(path: str) -> bytes:
    return f"GET {_target(path)} HTTP/1.1\r\n{_HEAD}Connection: close\r\n\r\n".encode()


def _target(path: str) -> str:
    return quote(path, safe="/?&=%:;,@!$'()*+~[]")
