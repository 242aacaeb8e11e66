"""The two examples of the documentation Aeros started from, and the mistake in the second, explained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import Serve
from tests.helpers.serverproc import environment


def test_both_spellings_are_the_same_objects(tmp_path: Path) -> None:
    code = """
import Aeros, Aeros.misc, aeros, aeros.misc
from Aeros import WebServer
from Aeros.misc import jsonify, sync_to_async, async_to_sync, render_template
assert Aeros.WebServer is aeros.WebServer is WebServer
assert Aeros.misc.jsonify is aeros.misc.jsonify is jsonify
assert Aeros.misc.sync_to_async is aeros.misc.sync_to_async
import quart
assert issubclass(WebServer, quart.Quart)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment(tmp_path, "none"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_second_example_names_the_call_that_was_not_awaited(serve: Serve) -> None:
    server = serve("seed_second", bind=None).ready(1)
    server.expect("sync_method", "Traceback", "Exception on request", "TypeError")
    answer = server.get()
    assert answer.status == 500
    good = server.get("/awaited")
    assert good.json() == {"response": "ok"}
    assert server.stop() == 0
    assert "sync_method" in server.log
    assert "await" in server.log
    assert "never awaited" not in server.log, "no coroutine-never-awaited noise"
    assert server.log.count("Traceback (most recent call last)") <= 1


def test_in_the_test_client_the_error_is_the_same(runtime_dir: Path) -> None:
    import asyncio

    from aeros import WebServer
    from aeros.misc import jsonify, sync_to_async
    from aeros.quart.versions import knows_quart

    app = WebServer("example")
    # Quart shows the error when testing; 0.20 when errors are to propagate, but not when testing.
    app.testing = knows_quart()
    app.config["PROPAGATE_EXCEPTIONS"] = True

    @sync_to_async
    def sync_method() -> str:
        return "ok"

    @app.route("/")
    async def home():  # type: ignore[no-untyped-def]
        return jsonify({"response": sync_method()})

    @app.route("/awaited")
    async def awaited():  # type: ignore[no-untyped-def]
        return jsonify({"response": await sync_method()})

    async def main() -> None:
        client = app.test_client()
        refused = await client.get("/")
        assert refused.status_code == 500
        text = await refused.get_data(as_text=True)
        assert "sync_method() was called but not awaited" in text
        response = await client.get("/awaited")
        assert await response.get_json() == {"response": "ok"}

    asyncio.run(main())
    import gc

    gc.collect()  # warnings are errors here: a coroutine never awaited would show now
