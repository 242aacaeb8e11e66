"""Real nginx and real HAProxy in front of two instances: rolling restarts lose nothing, and the client is known."""

from __future__ import annotations

import http.client
import json
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.conftest import Serve
from tests.helpers.balancers import Balancer, free_port, haproxy, nginx
from tests.helpers.conditions import eventually
from tests.helpers.h2client import H2Connection
from tests.helpers.http import Connection
from tests.helpers.load import KeepAlivePost, Load
from tests.helpers.serverproc import ServerProcess
from tests.helpers.tls import client_context, make_certificate

BOTH = pytest.mark.parametrize("balancer", [nginx, haproxy])
SPOOFED = {
    "x-forwarded-for": "6.6.6.6",
    "x-forwarded-host": "evil.org",
    "x-forwarded-prefix": "/x",
    "forwarded": "for=6.6.6.6",
}
DELAY_S = 2.0
EVENTS = """
import asyncio, sys, time
from aeros import WebServer
app = WebServer(__name__)

@app.get("/events")
async def events():
    async def stream():
        for _ in range(8):
            await asyncio.sleep(0.3)
            yield f"data: {time.monotonic()}\\n\\n"
    return stream(), 200, {"content-type": "text/event-stream"}

@app.get("/")
async def home():
    return "ok"

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


def instance(serve: Serve, bind: str, *args: str) -> ServerProcess:
    return serve("proxied", "-w", "1", "--keep-alive-timeout", "75s", *args, bind=bind).ready(1)


def rolling_restarts(serve: Serve, make: Callable[[str, str], Balancer], times: int, at_least: int) -> None:
    binds = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    args = ("--forwarded-allow", "127.0.0.1", "--drain-delay", f"{DELAY_S}s")
    servers = [instance(serve, bind, *args) for bind in binds]
    with make(*binds) as balancer, Load(balancer.address, [KeepAlivePost] * 6, pause_s=0.001) as tally:
        for _ in range(times):
            for number, bind in enumerate(binds):
                assert servers[number].stop(signal.SIGTERM, 30) == 0
                pids = {servers[number].pid}
                servers[number] = instance(serve, bind, *args)
                fresh = {worker.pid for worker in servers[number].workers()} - pids
                # Not the next one before this one has its share again: a rollout waits for readiness too.
                eventually(lambda new=fresh: new & tally.pids(), 20, "answers of the restarted instance")
        eventually(lambda: len(tally.records) >= at_least, 600, f"{at_least} requests")
    tally.assert_nothing_failed(at_least)
    print(f"{make.__name__}: {times} rolling restarts, {tally.summary()}, slowest {tally.slowest_s():.3f} s")


@BOTH
def test_a_rolling_restart_loses_nothing(serve: Serve, balancer: Callable[[str, str], Balancer]) -> None:
    rolling_restarts(serve, balancer, 1, 1000)


@pytest.mark.slow
@pytest.mark.limit_s(1500)
@BOTH
def test_twenty_rolling_restarts_lose_nothing_of_100_000_requests(
    serve: Serve, balancer: Callable[[str, str], Balancer]
) -> None:
    rolling_restarts(serve, balancer, 20, 100_000)


@BOTH
def test_events_are_passed_on_at_once(serve: Serve, balancer: Callable[[str, str], Balancer]) -> None:
    bind = f"127.0.0.1:{free_port()}"
    serve(EVENTS, "-w", "1", bind=bind).ready(1)
    with balancer(bind, bind) as front:
        host, port = front.address
        asked = http.client.HTTPConnection(host, int(port), timeout=20)
        asked.request("GET", "/events")
        answer = asked.getresponse()
        late_s = [time.monotonic() - float(line[6:]) for line in answer if line.startswith(b"data: ")]
        asked.close()
    assert len(late_s) == 8
    # A balancer that waits for more holds back every one for 200 ms; a busy machine delays some.
    assert sorted(late_s)[len(late_s) // 2] < 0.15, late_s
    print(f"{balancer.__name__}: events late by {min(late_s) * 1e3:.1f} to {max(late_s) * 1e3:.1f} ms")


@BOTH
@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_the_app_sees_the_client(serve: Serve, balancer: Callable[[str, str], Balancer], unix: bool) -> None:
    if unix:
        path = str(Path(tempfile.mkdtemp(prefix="aeros-test-")) / "app.sock")
        bind, upstream, allowed = f"unix:{path}", ("unix@" if balancer is haproxy else "unix:") + path, "unix"
    else:
        bind = upstream = f"127.0.0.1:{free_port()}"
        allowed = "127.0.0.1"
    server = instance(serve, bind, "--forwarded-allow", allowed)
    with balancer(upstream, upstream) as front, Connection(front.address) as connection:
        host = f"localhost:{front.address[1]}"
        head = connection.head("GET", "/seen", headers=SPOOFED)
        connection.send(head.replace(b"host: localhost", f"host: {host}".encode()))
        seen = connection.read_answer(time.monotonic()).json()
        assert (seen["client"], seen["scheme"], seen["root"]) == ("127.0.0.1", "http", "")
        assert seen["host"] == host
        assert "6.6.6.6" not in json.dumps(seen)
        assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
        with connect(f"ws://127.0.0.1:{front.address[1]}/ws", proxy=None) as websocket:
            assert json.loads(websocket.recv())["client"] == "127.0.0.1"
    assert server.stop() == 0


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy_announces_the_client_ahead_of_tls(serve: Serve, tmp_path: Path, version: str) -> None:
    cert, key = make_certificate(tmp_path)
    bind = f"127.0.0.1:{free_port()}"
    log = tmp_path / "access.log"
    args = [
        "--certfile",
        str(cert),
        "--keyfile",
        str(key),
        "--proxy-protocol",
        "127.0.0.1",
        "--access-logfile",
        str(log),
    ]
    instance(serve, bind, *args)
    with haproxy(bind, bind, "aeros-tls-passthrough.cfg", {" send-proxy-v2": f" {version}"}) as front:
        with H2Connection(front.address, client_context(cert, "h2")) as connection:
            own_port = connection.socket.getsockname()[1]
            seen = connection.get("/seen").json()
        assert (seen["http"], seen["client"], seen["scheme"]) == ("2", "127.0.0.1", "https")
        with Connection(front.address, tls=client_context(cert, "http/1.1")) as plain:
            assert plain.request("GET", "/seen").status == 200
    # HAProxy and the client are both 127.0.0.1 here; the port tells them apart.
    eventually(lambda: f"127.0.0.1:{own_port} " in log.read_text(), 5, "the client's own port in the access log")
