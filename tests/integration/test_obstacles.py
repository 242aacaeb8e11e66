"""Programs that cannot be served: each is refused by name, in one sentence, before anything says "ready".

gevent, eventlet and quart-trio are stand-ins in the test's folder, with the names that the real ones have.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.apps import replace
from tests.conftest import Serve

APP = """
import sys
from aeros import WebServer
LINE
app = WebServer(__name__)

@app.get("/")
async def home():
    return {"ok": True}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""
#: The line of the program -> the module that it imports, and that module's text.
PATCHED = {
    "gevent": ("gevent/monkey.py", "done = []\ndef is_anything_patched():\n    return bool(done)\n"),
    "gevent, an old one": ("gevent/monkey.py", "done = saved = {}\n"),
    "eventlet": ("eventlet/patcher.py", "done = already_patched = {}\n"),
}
PATCH = {
    "gevent": "from gevent import monkey; monkey.done.append('os')",
    "gevent, an old one": "from gevent import monkey; monkey.done['os'] = {}",
    "eventlet": "from eventlet import patcher; patcher.done['os'] = True",
}
TRIO = """
import sys
from quart_trio import QuartTrio
from aeros.start import start

app = QuartTrio()
if __name__ == "__main__":
    start(LAYERS, sys.argv[1:], {})
"""


def lay(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.parent.joinpath("__init__.py").touch()
    path.write_text(text)


def lay_trio(folder: Path) -> None:
    text = "class QuartTrio:\n    async def __call__(self, scope, receive, send): ...\n\n"
    text += "class Middle:\n    def __init__(self, app): self.app = app\n"
    text += "    async def __call__(self, scope, receive, send): ...\n"
    (folder / "quart_trio.py").write_text(text)


@pytest.mark.parametrize("library", PATCHED)
def test_a_patched_program_is_refused_at_the_start(serve: Serve, tmp_path: Path, library: str) -> None:
    lay(tmp_path, *PATCHED[library])
    server = serve(APP.replace("LINE", PATCH[library]))
    server.expect("aeros: ")
    assert server.wait_exit(20) == 3
    assert len(server.log.strip().splitlines()) == 1, server.log
    assert library.partition(",")[0] in server.log
    assert "monkey patching" in server.log


@pytest.mark.parametrize("library", PATCHED)
def test_imported_and_not_used_it_is_no_matter(serve: Serve, tmp_path: Path, library: str) -> None:
    lay(tmp_path, *PATCHED[library])
    server = serve(APP.replace("LINE", PATCH[library].partition(";")[0]), "-w", "1").ready(1)
    assert server.get().status == 200
    assert server.stop() == 0


def test_a_reload_to_a_patched_program_is_refused_by_name(serve: Serve, tmp_path: Path) -> None:
    lay(tmp_path, *PATCHED["gevent"])
    server = serve(APP.replace("LINE", ""), "-w", "1").ready(1)
    server.expect("monkey patching", "reload")
    replace(tmp_path / "app.py", APP.replace("LINE", PATCH["gevent"]))
    result = server.command("reload", str(server.pid))
    assert result.returncode != 0
    assert "gevent has patched" in result.stderr
    assert server.get().status == 200
    assert server.stop() == 0


@pytest.mark.parametrize("layers", ["app", "Middle(app)", "Middle(Middle(app))"])
def test_an_app_of_trio_is_refused_also_within_a_middleware(serve: Serve, tmp_path: Path, layers: str) -> None:
    lay_trio(tmp_path)
    server = serve(TRIO.replace("LAYERS", layers).replace("import QuartTrio", "import QuartTrio, Middle"))
    server.expect("aeros: ")
    assert server.wait_exit(20) == 3
    assert len(server.log.strip().splitlines()) == 1, server.log
    assert "Trio's event loop" in server.log


def test_aeros_run_refuses_an_app_of_trio(serve: Serve, tmp_path: Path) -> None:
    lay_trio(tmp_path)
    (tmp_path / "shop.py").write_text("from quart_trio import QuartTrio\napp = QuartTrio()\n")
    server = serve(argv=[sys.executable, "-m", "aeros", "run", "shop:app", "-b", "127.0.0.1:0"])
    server.expect("aeros: ")
    assert server.wait_exit(20) == 3
    assert "QuartTrio" in server.log


IN_LOOP = """
import asyncio, sys
from aeros import WebServer
app = WebServer(__name__)

async def main():
    app.start(sys.argv[1:])

LINE
"""


@pytest.mark.parametrize("line", ["asyncio.run(main())", "import uvloop; uvloop.run(main())"])
def test_a_blocking_start_in_a_running_loop_is_refused(serve: Serve, line: str) -> None:
    server = serve(IN_LOOP.replace("LINE", line))
    server.expect("aeros: ")
    assert server.wait_exit(20) == 2
    assert len(server.log.strip().splitlines()) == 1, server.log
    assert "block=False" in server.log
    assert "asyncio.to_thread" in server.log


THE_ADVICE = IN_LOOP.replace(
    "    app.start(sys.argv[1:])",
    """    with app.start(sys.argv[1:], block=False) as server:
        def wait():
            print(server.url, file=sys.stderr, flush=True)
            server.wait()
        await asyncio.to_thread(wait)""",
)


def test_what_the_sentence_advises_works_and_ends_with_ctrl_c(serve: Serve) -> None:
    import signal

    server = serve(THE_ADVICE.replace("LINE", "asyncio.run(main())"), "-w", "1")
    server.expect("KeyboardInterrupt", "Traceback", "supervisor")
    server.serving()
    server.send_signal(signal.SIGINT)
    server.wait_exit(20)
    server.family_gone()
