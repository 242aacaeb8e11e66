"""--lifespan: an app that raises in its start-up, and apps of other shapes than `async def app`."""

from __future__ import annotations

import pytest

from tests.conftest import Serve

PROGRAM = """
import sys

async def answer(scope, receive, send):
    if scope["type"] == "lifespan":
        if "--raise" in given:
            raise RuntimeError("no database")
        while True:
            message = await receive()
            print(message["type"], file=sys.stderr, flush=True)
            await send({"type": message["type"] + ".complete"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})

class Plain:
    def __call__(self, scope, receive, send):
        return answer(scope, receive, send)

class Two:
    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        await answer(self.scope, receive, send)

given = [word for word in sys.argv if word in ("--raise", "--plain", "--two", "--lambda")]
app = answer
if "--plain" in given:
    app = Plain()
if "--two" in given:
    app = Two
if "--lambda" in given:
    app = lambda scope, receive, send: answer(scope, receive, send)

if __name__ == "__main__":
    import aeros.start
    sys.exit(aeros.start.start(app, [word for word in sys.argv[1:] if word not in given], {}))
"""


def test_auto_serves_and_logs_the_traceback(serve: Serve) -> None:
    server = serve(PROGRAM, "-w", "1", "--raise").ready(1)
    server.expect("lifespan", "Traceback", "RuntimeError")
    server.wait_log(r"raised in its lifespan start-up and is served without one: RuntimeError: no database")
    server.wait_log(r'raise RuntimeError\("no database"\)')
    assert server.get().body == b"served"
    assert server.stop() == 0


def test_on_does_not_serve(serve: Serve) -> None:
    server = serve(PROGRAM, "-w", "1", "--raise", "--lifespan", "on")
    server.expect("no database", "Traceback", "")
    assert server.wait_exit() == 3
    assert "RuntimeError: no database" in server.log
    assert 'raise RuntimeError("no database")' in server.log


def test_off_does_not_call(serve: Serve) -> None:
    server = serve(PROGRAM, "-w", "1", "--raise", "--lifespan", "off").ready(1)
    assert server.get().body == b"served"
    assert server.stop() == 0
    assert "no database" not in server.log


@pytest.mark.parametrize("shape", ["--plain", "--two", "--lambda"])
def test_apps_of_other_shapes(serve: Serve, shape: str) -> None:
    server = serve(PROGRAM, "-w", "1", shape, "--lifespan", "on").ready(1)
    assert server.get().body == b"served"
    assert server.stop() == 0
    assert "lifespan.startup" in server.log
    assert "lifespan.shutdown" in server.log
