"""Warm-up: requests answered in the zygote, before the first fork, so that what they leave in memory is shared.

CPython writes where it only seems to read: reference counts, specialised bytecode, caches of attribute look-ups. What a
worker writes to is its own from then on. What the zygote has written already is shared by all of its workers.

The server's own code and Quart's are warmed with an app of ours, which has no side effects. The user's app is called
only where asked (`warmup`), without its `before_serving`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .compat import knows_quart
from .core.clock import monotonic, show_duration
from .core.immortal import why_mortal
from .core.logs import LineLog
from .core.scoreboard import Scoreboard
from .options import Options
from .worker import context

#: So often that CPython has specialised the bytecode (8 calls in 3.11, fewer later) and filled every cache behind it.
_PASSES = 9
#: A start waits for the rehearsal. Where the program is immortal, one pass leaves behind most of what more would.
_PASSES_OF_REHEARSAL = _PASSES if why_mortal() else 1
#: A page that is slow is not asked again and again for that.
_REPEAT_FOR_S = 0.5
_ANSWER_TIMEOUT_S = 10.0
_HEAD = "Host: localhost\r\nUser-Agent: aeros-warmup\r\nAccept: */*\r\n"


def rehearse(app: Any, options: Options, log: LineLog) -> None:
    """Answer requests with an app of ours that is of the kind `app` is. Costs some 30 ms; nothing stays but memory."""
    try:
        other, requests = _stand_in(app)
        _run(_ask(other, options, requests, log, passes=_PASSES_OF_REHEARSAL, named=False))
    except Exception:  # of a changed Quart, say: no reason not to start
        log.debug(f"the rehearsal failed: {traceback.format_exc()}")


def warm_up(app: Any, options: Options, scoreboard: Scoreboard, log: LineLog) -> None:
    """GET the paths of `warmup` from the app. What fails is said in one warning each, and is no reason not to start."""
    begin = monotonic()
    before = set(threading.enumerate())
    # Handlers may ask who they are: a worker to be, of slot 0.
    context.current = context.WorkerContext(0, 0, os.getpid(), scoreboard)
    try:
        with _alarm(options.boot_timeout_s):
            _run(_ask(app, options, [_get(path) for path in options.warmup], log, passes=_PASSES, named=True))
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


async def _ask(
    app: Any, options: Options, requests: Sequence[bytes], log: LineLog, *, passes: int, named: bool
) -> None:
    from .worker.access import LeanLogger
    from .worker.lane import Lane

    config = options.hypercorn_config()
    # Logs are the workers' to open: a file opened here would be kept by all of them, and never be written to.
    config.accesslog = config.errorlog = None
    config.logger_class = LeanLogger
    config.statsd_host = None
    # Code of the user's (a handler, a class): for workers to run, as the user that they run as.
    config.logconfig = config.logconfig_dict = None
    lane = Lane(app, config, loop=asyncio.get_running_loop())
    for request in requests:
        await _ask_often(lane, request, request.split(b" ", 2)[1].decode() if named else None, passes, log)


async def _ask_often(lane: Any, request: bytes, name: str | None, passes: int, log: LineLog) -> None:
    deadline = monotonic() + _REPEAT_FOR_S
    for _ in range(passes):
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                status = await _answer(lane, request)
        except TimeoutError:
            status = 0
        if name is not None and not 200 <= status < 400:
            what = f"answered {status}" if status else f"did not answer within {show_duration(_ANSWER_TIMEOUT_S)}"
            log.warning(f"the warm-up request GET {name} {what}; before_serving has not run at that time")
            return
        if monotonic() > deadline:
            return


async def _answer(lane: Any, request: bytes) -> int:
    """Let the lane answer `request` on a connection that never was; return the status."""
    from .worker.http1 import HTTP1Connection

    connection = HTTP1Connection(lane)
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


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Interrupt what blocks this thread beyond `seconds` with a TimeoutError. Nobody supervises us yet."""

    def ring(signum: int, frame: object) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


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
    target = quote(path, safe="/?&=%:;,@!$'()*+~[]")
    return f"GET {target} HTTP/1.1\r\n{_HEAD}Connection: close\r\n\r\n".encode()


def _stand_in(app: Any) -> tuple[Any, list[bytes]]:
    """Return an app of the kind `app` is, and what to ask it."""
    if "quart" not in sys.modules or not knows_quart():
        return _plain_asgi, [_get("/"), _POST]
    from quart import Quart, render_template_string, request

    if not isinstance(app, Quart):
        return _plain_asgi, [_get("/"), _POST]
    # A class made of WebServer may want other arguments; Quart's own are those of both.
    kind: type[Quart] = next((base for base in type(app).__mro__ if base.__module__ == f"{__package__}.app"), Quart)
    has_files = _has_folder(app, "static_folder")
    other = kind("aeros", static_folder=_FILES if has_files else None, template_folder=None, instance_path="/")

    async def page(name: str) -> Any:
        match name:
            case "echo":
                return await request.get_data()
            case "form":
                return str((await request.form).get("a"))
            case "stream":
                return _chunks()
            case "template":
                return await render_template_string(_TEMPLATE, title="<b>", items=[{"name": "one"}])
        return {"name": name, "query": request.args.get("q")}

    # One rule for all: each is half a millisecond.
    other.add_url_rule("/<name>", view_func=page, methods=["GET", "POST"])
    paths = ["/aeros?q=1", "/stream", "/no/where"]
    # Dearer than all of these, and of use to some apps only.
    if _has_folder(app, "template_folder"):
        paths.append("/template")
    if has_files:
        paths.append("/static/page.css")
    return other, [*map(_get, paths), _POST, _FORM]


async def _chunks() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield b"chunk"


def _has_folder(app: Any, name: str) -> bool:
    """Whether the app or a blueprint of it has such a folder, and it is there."""
    parts = (app, *app.blueprints.values())
    return any(
        part.root_path and getattr(part, name) and Path(part.root_path, getattr(part, name)).is_dir() for part in parts
    )


async def _plain_asgi(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


#: Files to be sent, and a template of what templates are made of.
_FILES = str(Path(__file__).with_name("dashboard") / "page")
_TEMPLATE = """{% block page %}<h1>{{ title }}</h1>{% if items %}<ul>{% for item in items %}
<li>{{ loop.index }} {{ item.name|upper }} {{ url_for("page", name="one", a=1) }}</li>{% else %}none
{% endfor %}</ul>{% endif %}{% endblock %}"""
_POST = f"POST /echo HTTP/1.1\r\n{_HEAD}Content-Length: 4\r\nConnection: close\r\n\r\nbody".encode()
_FORM = (
    f"POST /form HTTP/1.1\r\n{_HEAD}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n"
    "Connection: close\r\n\r\na=b"
).encode()
