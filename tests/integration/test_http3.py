"""HTTP/3, where aioquic is installed: served by every worker, through a reload and an upgrade, counted and shown."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.apps import deploy
from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.serverproc import ServerProcess
from tests.helpers.tls import make_certificate
from tests.integration.test_systemd import free_port
from tests.integration.test_upgrade import upgrade

pytest.importorskip("aioquic", reason="needs aioquic: pip install aioquic")

from tests.helpers.h3client import Line, Tally, ask_many, h3_line, obey


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def tls(tmp_path: Path, port: int) -> tuple[str, ...]:
    certificate, key = make_certificate(tmp_path)
    return ("--certfile", str(certificate), "--keyfile", str(key), "--quic-bind", f"127.0.0.1:{port}")


def version(port: int) -> str:
    async def ask() -> str:
        async with h3_line(("127.0.0.1", port)) as line:
            answer = await line.ask("/")
        return str(json.loads(answer.body)["version"])

    return asyncio.run(ask())


def test_new_connections_meet_the_new_workers(serve: Serve, tmp_path: Path, port: int, tls: tuple[str, ...]) -> None:
    server = serve("full", "-w", "2", *tls, bind=f"127.0.0.1:{port}").ready(2)
    assert version(port) == "v1"
    deploy(tmp_path / "app.py", version="v2")
    server.handle().reload(timeout=60)
    eventually(lambda: version(port) == "v2", 20, "HTTP/3 after a reload")
    deploy(tmp_path / "app.py", version="v3")
    upgrade(server)
    eventually(lambda: version(port) == "v3", 20, "HTTP/3 after an upgrade")
    assert "the new program binds" not in server.log, "TCP and QUIC at one address are no change"
    assert server.stop() == 0


@pytest.mark.limit_s(180)
def test_kept_connections_lose_nothing_in_a_reload(serve: Serve, port: int, tls: tuple[str, ...]) -> None:
    """The client knows nothing of GOAWAY. Each connection stays with its worker, whoever else reads at the port."""
    server = serve(WHO, "-w", "4", "--keep-alive", "10", *tls, bind=f"127.0.0.1:{port}").ready(4)
    old = {str(worker.pid).encode() for worker in server.workers()}

    async def load() -> tuple[Tally, Tally]:
        reload = asyncio.to_thread(server.handle().reload, timeout=60)
        during, _ = await asyncio.gather(ask_many(("127.0.0.1", port), 16, 50, "/pid", pause_s=0.02), reload)
        return during, await ask_many(("127.0.0.1", port), 24, 1, "/pid")

    during, after = asyncio.run(load())
    assert not during.failed, during.failed[:5]
    assert during.served == 16 * 50
    assert len(during.bodies) >= 3, "several workers have connections"
    assert not old & after.bodies.keys(), "new connections come to the new workers"
    assert len(after.bodies) >= 3
    assert server.stop() == 0


def test_a_client_that_knows_goaway_leaves_at_once(serve: Serve, port: int, tls: tuple[str, ...]) -> None:
    server = serve(WHO, "-w", "2", "--keep-alive", "60", *tls, bind=f"127.0.0.1:{port}").ready(2)

    def reload() -> None:
        eventually(lambda: server.status().totals.requests > 0, 25, "an answer of the old workers")
        server.handle().reload(timeout=60)
        eventually(lambda: {worker.generation for worker in server.workers()} == {2}, 25, "the old workers' end")
        eventually(lambda: any(worker.requests for worker in server.workers()), 25, "an answer of a new worker")

    async def load() -> Tally:
        return await obey(("127.0.0.1", port), asyncio.ensure_future(asyncio.to_thread(reload)), "/pid")

    tally = asyncio.run(load())
    assert not tally.failed, tally.failed[:5]
    assert tally.connections == 2, "one with the old worker, one with a new"
    assert len(tally.bodies) == 2
    assert server.stop() == 0


def test_what_is_shown_and_bounded(serve: Serve, port: int, tls: tuple[str, ...], tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    more = ("--max-body-size", "1M", "--request-timeout", "3s", "--access-logfile", str(log), "--load", "worker")
    server = serve(WHO, "-w", "1", *tls, *more, bind=f"127.0.0.1:{port}").ready(1)

    async def talk() -> None:
        async with h3_line(("127.0.0.1", port)) as line:
            await _bodies(line)
            await _in_flight(line, server)
            assert (await line.ask("/late")).status == 504

    asyncio.run(talk())
    totals = server.status().totals
    assert totals.http3_failures == 0
    assert server.workers()[0].in_flight == 0
    eventually(lambda: log.read_text().count("HTTP/3") >= 9, 5, "the access log")
    assert '"GET /pid HTTP/3" 200' in log.read_text()
    second = serve(WHO, "-w", "1", *tls)
    second.expect("cannot bind")
    assert second.wait_exit(30) == 4
    assert f"127.0.0.1:{port}" in second.log
    assert server.stop() == 0


async def _bodies(line: Line) -> None:
    assert (await line.ask("/read", bytes(900_000))).body == b"900000"
    for _ in range(2):
        assert (await line.ask("/nowhere", bytes(900_000))).status == 404, "a body that nobody reads"
        assert (await line.ask("/pid")).status == 200
    assert (await line.ask("/read", bytes(1_100_000))).status == 413
    trailers, answer = line.begin("/read", b"abc", ends=False)
    line.end_with_trailers(trailers)
    await answer.done
    assert answer.body == b"3"


async def _in_flight(line: Line, server: ServerProcess) -> None:
    stream, slow = line.begin("/endless")
    assert (await line.ask("/pid")).status == 200, "a slow one holds nobody up"

    def shown() -> bool:
        found = server.handle().requests()
        return [request.path for request in found] == ["/endless"]

    await asyncio.to_thread(eventually, shown, 10, "the request in the table")
    line.reset(stream)
    await asyncio.to_thread(eventually, lambda: server.workers()[0].in_flight == 0, 10, "the handler to be told")
    assert not slow.done.done() or slow.done.exception()


def test_what_fails_inside_ends_one_connection(serve: Serve, port: int, tls: tuple[str, ...]) -> None:
    server = serve(FAILING, "-w", "1", "-k", "asyncio", *tls, bind=f"127.0.0.1:{port}").ready(1)
    server.expect("a connection of HTTP/3 failed: RuntimeError: on purpose")
    server.expect("HTTP/3 is served again in a moment, after: OSError: on purpose")
    server.expect("Traceback")

    async def fail(path: str) -> None:
        async with h3_line(("127.0.0.1", port)) as other, h3_line(("127.0.0.1", port)) as line:
            assert (await other.ask("/")).status == 200
            with pytest.raises(OSError):
                await line.ask(path)
            assert (await other.ask("/")).status == 200

    for _ in range(2):
        asyncio.run(fail("/fails"))
    assert server.status().totals.http3_failures == 2

    async def break_socket() -> None:
        async with h3_line(("127.0.0.1", port)) as line:
            assert (await line.ask("/breaks")).status == 200, "the client sends again what was lost"

    asyncio.run(break_socket())
    assert version(port) == "v1"
    assert server.status().totals.http3_failures == 3
    assert server.stop() == 0


WHO = """
import asyncio, os, sys
from quart import request
from aeros import WebServer

app = WebServer(__name__)

@app.get("/pid")
async def pid():
    return str(os.getpid())

@app.post("/read")
async def read():
    return str(len(await request.get_data()))

@app.get("/endless")
async def endless():
    async def parts():
        while True:
            yield b"."
            await asyncio.sleep(0.02)
    return parts()

@app.get("/late")
async def late():
    await asyncio.sleep(60)

app.start(sys.argv[1:])
"""

#: Hypercorn's and aioquic's own faults cannot be had at will: this puts one in their place, in its own process. And it
#: has the socket fail as the loop tells it.
FAILING = """
import asyncio, gc, sys
from hypercorn.protocol.h3 import H3Protocol
from aeros import WebServer
from aeros.worker.http3.endpoint import Endpoint

app = WebServer(__name__)
create = H3Protocol._create_stream

async def failing(self, request):
    path = dict(request.headers)[b":path"]
    if path == b"/fails":
        raise RuntimeError("on purpose")
    await create(self, request)

H3Protocol._create_stream = failing

@app.get("/")
async def home():
    return {"version": "v1"}

@app.get("/breaks")
async def breaks():
    for endpoint in [one for one in gc.get_objects() if isinstance(one, Endpoint)]:
        endpoint._transport._fatal_error(OSError("on purpose"))
    return "broken"

app.start(sys.argv[1:])
"""
