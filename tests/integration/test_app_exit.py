"""sys.exit() in a handler: a 500 for that request, named in the log; the others and the worker go on."""

from __future__ import annotations

import threading

import pytest
from websockets.exceptions import ConnectionClosed

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Answer
from tests.helpers.wsclient import close_code, open_websocket

QUART = """
import asyncio, sys
from aeros import WebServer
from quart import websocket

app = WebServer(__name__)

@app.get("/plain")
def plain():
    sys.exit(3)

@app.get("/async")
async def asynchronous():
    sys.exit("a text")

@app.get("/slow")
async def slow():
    await asyncio.sleep(2)
    return "done"

@app.websocket("/ws")
async def ws():
    await websocket.accept()
    sys.exit(4)

class Middleware:
    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        await self.inner(scope, receive, send)

if "--wrapped" in sys.argv:
    sys.argv.remove("--wrapped")
    app.asgi_app = Middleware(app.asgi_app)
if __name__ == "__main__":
    app.start(sys.argv[1:])
"""

ASGI = """
import asyncio, sys

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("none here")
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        sys.exit(4)
    if scope["path"] == "/slow":
        await asyncio.sleep(2)
    elif scope["path"] == "/plain":
        await asyncio.get_running_loop().run_in_executor(None, sys.exit, 3)
    elif scope["path"] == "/async":
        sys.exit("a text")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})

if __name__ == "__main__":
    from aeros.cli.command_line import main
    sys.exit(main(["run", "app:app", *sys.argv[1:]]))
"""

CASES = pytest.mark.parametrize(
    ("program", "args"),
    [(QUART, ()), (QUART, ("--wrapped",)), (QUART, ("--http", "hypercorn")), (ASGI, ())],
    ids=["quart", "quart-wrapped", "quart-hypercorn", "asgi"],
)


@CASES
def test_sys_exit_in_a_handler_fails_that_request_alone(serve: Serve, program: str, args: tuple[str, ...]) -> None:
    server = serve(program, "-w", "1", *args).ready(1)
    server.expect(r"SystemExit", r"sys\.exit", "Traceback", "Exception on request", "lifespan")
    (pid,) = server.ready_pids()
    answers: list[Answer] = []
    beside = threading.Thread(target=lambda: answers.append(server.get("/slow")))
    beside.start()
    eventually(lambda: sum(worker.in_flight for worker in server.workers()) == 1, 10)
    assert server.get("/plain").status == 500
    server.wait_log("/plain")
    assert server.get("/async").status == 500
    server.wait_log("/async")
    beside.join(20)
    assert [answer.status for answer in answers] == [200]
    assert server.ready_pids() == {pid}
    assert server.stop() == 0


@pytest.mark.parametrize("program", [QUART, ASGI], ids=["quart", "asgi"])
def test_sys_exit_in_a_websocket_closes_that_alone(serve: Serve, program: str) -> None:
    server = serve(program, "-w", "1").ready(1)
    server.expect(r"sys\.exit", "lifespan", "Traceback")
    (pid,) = server.ready_pids()
    with open_websocket(server.address) as client, pytest.raises(ConnectionClosed) as closed:
        client.recv(10)
    assert close_code(closed.value) in (1011, 1006, None)
    server.wait_log(r"the app called sys\.exit\(4\) in \w+ \(.*\), in WebSocket /ws")
    assert server.ready_pids() == {pid}
    assert server.get("/slow").status == 200
    assert server.stop() == 0
