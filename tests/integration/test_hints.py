"""What a start or a reload says of mistakes whose own message leads astray."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from tests.apps import replace
from tests.conftest import Serve

APP = """
import sys
from aeros import WebServer
AT_IMPORT
app = WebServer(__name__)

@app.before_serving
async def bind():
    import asyncio
    IN_WORKER

@app.get("/")
async def home():
    return {"ok": True}

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""
AT_IMPORT = "import socket; kept = socket.socket(); kept.bind(('127.0.0.1', PORT)); kept.listen()"
IN_WORKER = "app.kept = await asyncio.start_server(print, '127.0.0.1', PORT)"


@pytest.mark.parametrize("place", ["AT_IMPORT", "IN_WORKER"])
def test_a_reload_refused_for_a_port_of_the_programs_own_says_how_to_share_it(
    serve: Serve, tmp_path: Path, place: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    text = APP.replace(place, {"AT_IMPORT": AT_IMPORT, "IN_WORKER": IN_WORKER}[place].replace("PORT", port))
    text = text.replace("AT_IMPORT", "").replace("IN_WORKER", "pass")
    server = serve(text, "-w", "1").ready(1)
    server.expect("reload", "worker", "Traceback", "File", "OSError", "ddress already in use")
    replace(tmp_path / "app.py", text)
    result = server.command("reload", str(server.pid))
    assert result.returncode != 0
    assert "reuse_port=True" in result.stderr, result.stderr
    assert server.get().status == 200
    assert server.stop() == 0


def refused(serve: Serve, name: str) -> str:
    server = serve(argv=[sys.executable, "-m", "aeros", "run", name, "-b", "127.0.0.1:0"])
    server.expect("aeros: ")
    assert server.wait_exit(20) == 3
    return server.log


def test_a_file_with_the_name_of_a_module_of_pythons(serve: Serve, tmp_path: Path) -> None:
    assert "hides" not in refused(serve, "types:app")
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "zipimport.py").write_text("app = None\n")
    server = serve(argv=[sys.executable, "-m", "aeros", "run", "zipimport:app", "-b", "127.0.0.1:0"], cwd=folder)
    server.expect("aeros: ")
    assert server.wait_exit(20) == 3
    assert "is Python's own, which hides zipimport.py" in server.log


def test_a_module_under_src(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "src" / "shop").mkdir(parents=True)
    (tmp_path / "src" / "shop" / "__init__.py").write_text("app = None\n")
    assert "PYTHONPATH=src" in refused(serve, "shop:app")
