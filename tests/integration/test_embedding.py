"""Acceptance 8: block=False inside a host program: a handle, bounded time, and nothing of the host changed.

These servers run as children of the test process itself; that it comes out of it as it went in is the point.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.http import address_of, get

pytestmark = pytest.mark.usefixtures("runtime_dir")


def make_app() -> Any:
    from aeros import WebServer

    app = WebServer("embedded")

    @app.get("/")
    async def home() -> dict[str, object]:
        return {"pid": os.getpid(), "generation": app.worker.generation, "version": "v1"}

    return app


def host_state() -> dict[str, object]:
    """Everything about this process that a server must leave alone."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return {
        "descriptors": sorted(proc.open_fds().items()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "kernel threads": proc.thread_count(),
        "children": sorted(proc.children(os.getpid())),
        "handlers": handlers,
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "wakeup": _wakeup_fd(),
        "directory": Path.cwd(),
    }


def _wakeup_fd() -> int | None:
    if threading.current_thread() is not threading.main_thread():
        return None
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


def differences(before: dict[str, object], after: dict[str, object]) -> dict[str, object]:
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


@pytest.fixture
def _nothing_left() -> Iterator[None]:
    before = set(proc.children(os.getpid()))
    yield
    left = set(proc.children(os.getpid())) - before
    proc.kill_all(left)
    assert not left, f"children left: {[proc.command(pid) for pid in left]}"


def cycle(app: Any) -> float:
    """Start, one request, stop; the seconds it took."""
    begun = time.monotonic()
    server = app.start("-w 1", port=0, block=False)
    try:
        assert get(address_of(server.url)).json()["pid"] in {worker.pid for worker in server.status().workers}
    finally:
        server.stop()
    return time.monotonic() - begun


def in_main_thread(app: Any, times: int) -> list[float]:
    return [cycle(app) for _ in range(times)]


def in_side_thread(app: Any, times: int) -> list[float]:
    took: list[float] = []
    thread = threading.Thread(target=lambda: took.extend(cycle(app) for _ in range(times)))
    thread.start()
    thread.join(80)
    assert not thread.is_alive()
    return took


def in_running_loop(app: Any, times: int) -> list[float]:
    async def main() -> list[float]:
        took = []
        for _ in range(times):
            took.append(cycle(app))
            await asyncio.sleep(0)
        return took

    return asyncio.run(main())


PLACES: dict[str, Callable[[Any, int], list[float]]] = {
    "main thread": in_main_thread,
    "side thread": in_side_thread,
    "running loop": in_running_loop,
}


def cycles_change_nothing(place: str, times: int) -> None:
    run = PLACES[place]
    app = make_app()
    cycle(app)  # what is loaded lazily once is no leak
    before = host_state()
    took = run(app, times)
    assert len(took) == times
    after = eventually(lambda: host_state() if not differences(before, host_state()) else None, 3, "as it was")
    assert differences(before, after) == {}


@pytest.mark.usefixtures("_nothing_left")
@pytest.mark.parametrize("place", PLACES)
def test_cycles_leave_the_host_as_it_was(place: str) -> None:
    cycles_change_nothing(place, 10)


@pytest.mark.slow
@pytest.mark.limit_s(240)
@pytest.mark.usefixtures("_nothing_left")
@pytest.mark.parametrize("place", PLACES)
def test_fifty_cycles_leave_the_host_as_it_was(place: str) -> None:
    cycles_change_nothing(place, 50)


@pytest.mark.usefixtures("_nothing_left")
def test_the_handle_tells_and_does_everything() -> None:
    from aeros.errors import ServerStopped

    app = make_app()
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    with app.start("-w 2", port=0, block=False) as server:
        assert {number: signal.getsignal(number) for number in signal.valid_signals()} == handlers
        address = address_of(server.url)
        assert isinstance(address, tuple)
        assert address[1] > 0
        assert len(server.addresses) == 1
        assert server.pid != os.getpid()
        status = server.status()
        assert status.pid == server.pid
        assert [worker.state for worker in status.workers] == ["ready", "ready"]

        server.scale(3)
        eventually(lambda: [worker.state for worker in server.status().workers] == ["ready"] * 3, 10)
        server.scale(1)
        eventually(lambda: len(server.status().workers) == 1, 10)

        (old,) = server.status().workers
        server.restart(slot=0)
        eventually(
            lambda: [worker.pid for worker in server.status().workers if worker.state == "ready"] != [old.pid],
            10,
        )
        assert get(address).status == 200

        result = server.reload(timeout=30)
        assert result.ok
        assert server.status().generation == 2
        assert get(address).json()["generation"] == 2
    server.stop()  # twice is once
    assert server.status().state == "stopped"
    assert server.status().workers == ()
    with pytest.raises(ServerStopped):
        server.scale(2)


@pytest.mark.usefixtures("_nothing_left")
def test_an_exception_inside_the_block_stops_the_server_and_passes() -> None:
    app = make_app()
    with pytest.raises(LookupError, match="on purpose"), app.start("-w 1", port=0, block=False) as server:
        raise LookupError("on purpose")
    assert not proc.alive(server.pid)


@pytest.mark.usefixtures("_nothing_left")
def test_wait_returns_when_the_server_ends() -> None:
    app = make_app()
    server = app.start("-w 1", port=0, block=False)
    ended = []
    waiter = threading.Thread(target=lambda: ended.append(server.wait()))
    waiter.start()
    os.kill(server.pid, signal.SIGTERM)
    waiter.join(15)
    assert not waiter.is_alive()
    assert ended == [0]


@pytest.mark.usefixtures("_nothing_left")
def test_two_apps_at_the_same_time() -> None:
    with (
        make_app().start("-w 1", port=0, block=False) as one,
        make_app().start("-w 1", port=0, block=False) as two,
    ):
        assert one.pid != two.pid
        pids = {get(address_of(server.url)).json()["pid"] for server in (one, two)}
        assert len(pids) == 2


@pytest.mark.usefixtures("_nothing_left")
def test_starting_the_same_app_twice_is_refused() -> None:
    from aeros.errors import StateError

    app = make_app()
    with app.start("-w 1", port=0, block=False) as server:
        with pytest.raises(StateError):
            app.start("-w 1", port=0, block=False)
        assert get(address_of(server.url)).status == 200


@pytest.mark.usefixtures("_nothing_left")
def test_options_errors_from_python() -> None:
    from aeros.errors import OptionsError

    app = make_app()
    before = host_state()
    for wrong in ("-w two", "-w -1", "--no-such-option", "--workerz 2", "-k trio", "-b nowhere:port"):
        with pytest.raises(OptionsError):
            app.start("-b 127.0.0.1:0 " + wrong, block=False)
    with pytest.raises(OptionsError, match="workers"):
        app.start(wokers=2, port=0, block=False)
    assert differences(before, host_state()) == {}


@pytest.mark.usefixtures("_nothing_left")
def test_a_busy_port_raises_bind_error() -> None:
    from aeros.errors import BindError

    with make_app().start("-w 1", port=0, block=False) as server:
        _, port = address_of(server.url)
        with pytest.raises(BindError, match=str(port)) as caught:
            make_app().start("-w 1", port=int(port), block=False)
        assert str(server.pid) in str(caught.value)


HOST = """
import os, signal, sys, threading, time
from aeros import WebServer

app = WebServer(__name__)

@app.get("/")
async def home():
    return {"pid": os.getpid(), "generation": 1, "version": "v1"}

if __name__ == "__main__":
    server = app.start("-w 2", port=0, block=False)
    print(server.url, flush=True)
    HOW
"""


@pytest.mark.parametrize("how", ["pass", "os._exit(9)", "os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(4)"])
def test_a_host_that_ends_without_stopping_leaves_nothing(serve: Serve, how: str) -> None:
    server = serve(HOST.replace("HOW", how), bind=None)
    server.expect("host", "supervisor")
    code = server.wait_exit(20)
    assert code == {"pass": 0, "os._exit(9)": 9, "raise SystemExit(4)": 4}.get(how, -9)
    server.family_gone(8)


def test_live_threads_at_the_fork_are_named_in_one_warning(serve: Serve) -> None:
    busy = 'threading.Thread(target=time.sleep, args=(600,), name="metrics-pusher", daemon=True).start()\n    '
    server = serve(HOST.replace("    server =", "    " + busy + "server =").replace("HOW", "server.stop()"), bind=None)
    server.expect("metrics-pusher")
    assert server.wait_exit(30) == 0
    assert server.log.count("metrics-pusher") == 1, server.log
    if sys.version_info >= (3, 12):
        assert "DeprecationWarning" not in server.log
