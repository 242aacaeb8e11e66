"""What a worker keeps of bodies that handlers await (--body-memory): measured in a real worker, with real clients."""

from __future__ import annotations

import contextlib
import http.client
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually, stays
from tests.helpers.serverproc import ServerProcess
from tests.helpers.wsclient import open_websocket

APP = """
import asyncio, os, sys
GATE = "gate"
from quart import request
from aeros import WebServer

app = WebServer(__name__)

@app.post("/length")
async def length():
    return str(len(await request.get_data()))

@app.post("/slow")
async def slow():
    size = len(await request.get_data())
    while not os.path.exists(GATE):
        await asyncio.sleep(0.05)
    return str(size)

@app.post("/parts")
async def parts():
    size = 0
    async for part in request.body:
        size += len(part)
    return str(size)

@app.get("/")
async def index():
    return "here"

app.start(sys.argv[1:])
"""

MIB = 1 << 20


class Uploads:
    """Many uploads over one connection of HTTP/2, all at the same time: each sends what its windows allow."""

    def __init__(self, server: ServerProcess, path: str, size: int, count: int) -> None:
        assert not isinstance(server.address, str)
        self.socket = socket.create_connection(server.address, 10)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.left: dict[int, int] = {}
        self.answers: dict[int, str] = {}
        self.bodies: dict[int, bytes] = {}
        for _ in range(count):
            stream = self.h2.get_next_available_stream_id()
            head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "a")]
            self.h2.send_headers(stream, [*head, ("content-length", str(size))])
            self.left[stream] = size
        self._flush()

    def _flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def step(self, wait_s: float = 0.2) -> bool:
        """Send what may be sent, and read for a moment; tell whether anything happened."""
        moved = False
        for stream in list(self.left):
            while self.left.get(stream):
                room = min(self.left[stream], self.h2.local_flow_control_window(stream), 16384)
                if room <= 0:
                    break
                self.left[stream] -= room
                self.h2.send_data(stream, bytes(room), end_stream=not self.left[stream])
                moved = True
            if not self.left.get(stream):
                self.left.pop(stream, None)
            self._flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            if selector.select(0 if moved else wait_s):
                data = self.socket.recv(1 << 16)
                assert data, "the server closed"
                moved = True
                for event in self.h2.receive_data(data):
                    self._on(event)
        self._flush()
        return moved

    def _on(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.answers[event.stream_id] = dict(event.headers)[":status"]
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
        elif isinstance(event, h2.events.StreamReset):
            self.left.pop(event.stream_id, None)

    def until_stuck(self) -> None:
        while self.step():
            pass


@contextlib.contextmanager
def uploads(server: ServerProcess, path: str, size: int, count: int) -> Iterator[Uploads]:
    them = Uploads(server, path, size, count)
    with them.socket:
        yield them


def post(server: ServerProcess, path: str, body: bytes) -> str:
    assert not isinstance(server.address, str)
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return f"{answer.status} {answer.read().decode()}"


@pytest.mark.limit_s(120)
def test_many_uploads_of_one_connection_are_read_within_its_share_and_all_come_to_their_end(serve: Serve) -> None:
    server = serve(APP, "--body-memory", "32MB", "--min-data-rate", "0").ready()
    (pid,) = server.ready_pids()
    server.get()
    before = grown = proc.rss_bytes(pid)
    with uploads(server, "/length", 2 * MIB, 100) as them:
        while len(them.answers) < 100 or len(them.bodies) < 100:
            assert them.step(5), f"{len(them.answers)} of 100 answered, then nothing for 5 s"
            grown = max(grown, proc.rss_bytes(pid))
        assert set(them.answers.values()) == {"200"}
        assert set(them.bodies.values()) == {b"2097152"}
    # Its share of 8 MiB, a window for each of 100 streams, and one body joined; 200 MiB without a budget.
    assert (grown - before) / MIB < 60


@pytest.mark.limit_s(120)
def test_while_handlers_have_the_budget_others_wait_and_small_bodies_do_not(serve: Serve, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    server = serve(APP.replace('"gate"', repr(str(gate))), "--body-memory", "16MB", "--min-data-rate", "0").ready()
    (pid,) = server.ready_pids()
    server.get()
    before = proc.rss_bytes(pid)
    with uploads(server, "/slow", 3 * MIB, 40) as them:
        them.until_stuck()
        assert not them.answers
        assert 0 < len(them.left) < 40
        assert post(server, "/length", b"x" * 2000) == "200 2000"
        assert post(server, "/parts", b"x" * 5 * MIB) == f"200 {5 * MIB}"
        assert (proc.rss_bytes(pid) - before) / MIB < 50
        gate.touch()
        eventually(lambda: [them.step(1), len(them.answers) == 40][1], 60.0)
        assert set(them.answers.values()) == {"200"}


TALK = """
import sys
from quart import websocket
from aeros import WebServer

app = WebServer(__name__)

@app.websocket("/ws")
async def talk():
    while True:
        await websocket.send(str(len(await websocket.receive())))

app.start(sys.argv[1:])
"""


def test_messages_of_websockets_that_do_not_end_are_in_the_budget(serve: Serve) -> None:
    server = serve(TALK, "-w", "1", "--body-memory", "32M").ready(1)
    (pid,) = server.ready_pids()
    with contextlib.ExitStack() as stack:

        def opened() -> ClientConnection:
            return stack.enter_context(open_websocket(server.address))

        opened().send("warm")
        before = proc.rss_bytes(pid)
        greedy = [opened() for _ in range(12)]
        senders = [threading.Thread(target=_half, args=(one, 12 * MIB), daemon=True) for one in greedy]
        for sender in senders:
            sender.start()
        eventually(lambda: proc.rss_bytes(pid) - before > 16 * MIB, 20, "the budget used")
        other = opened()

        def bounded() -> bool:
            other.send("abc")
            # 12 half messages of 12 MiB are 144 MiB; a list that grows has room for the next eighth.
            return other.recv(10) == "3" and proc.rss_bytes(pid) - before < 80 * MIB

        stays(bounded, 2.0)
        assert sum(sender.is_alive() for sender in senders) > 6, "most are held"
        for one in greedy:
            one.socket.shutdown(socket.SHUT_RDWR)
    with open_websocket(server.address) as one:
        one.send(bytes(10 * MIB))
        assert one.recv(30) == str(10 * MIB), "there is room again"
    assert server.stop() == 0


def _half(websocket: ClientConnection, size: int) -> None:
    """Send a message of which the end is missing."""
    with contextlib.suppress(ConnectionClosed, OSError):
        websocket.socket.sendall(b"\x82\xff" + (size + 1).to_bytes(8, "big") + bytes(4))
        for _ in range(size >> 16):
            websocket.socket.sendall(bytes(1 << 16))
