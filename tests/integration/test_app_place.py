"""Where the app is, beside its name: --app-dir, --factory, --env-file; and a header for every response."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.serverproc import run_command

SHOP = """
import os
from aeros import WebServer

def create_app():
    app = WebServer(__name__)

    @app.get("/")
    async def index():
        return {"color": os.environ.get("COLOR"), "kept": os.environ.get("KEPT")}

    return app
"""


def test_a_factory_in_another_folder_with_a_file_of_variables(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/shop.py").write_text(SHOP)
    variables = tmp_path / ".vars"
    variables.write_text("COLOR='deep blue'\nKEPT=file\n")
    server = serve(
        argv=[
            *(sys.executable, "-m", "aeros", "run", "shop", "--factory", "--app-dir", "src", "--env-file", ".vars"),
            *("-b", "127.0.0.1:0", "--header", "X-Frame-Options: DENY", "--header", "server:mine"),
        ],
        env={"KEPT": "shell"},
    ).ready()
    answer = server.get()
    assert answer.json() == {"color": "deep blue", "kept": "shell"}
    assert (answer.headers["x-frame-options"], answer.headers["server"]) == ("DENY", "mine")
    variables.write_text("COLOR=red\n")
    assert server.command("reload", str(server.pid)).returncode == 0
    assert server.get().json() == {"color": "red", "kept": "shell"}
    done = server.command("upgrade", str(server.pid), "--", "-b", server.url.partition("//")[2].rstrip("/"))
    assert done.returncode == 0, done.stderr
    server.succeeded_by(int(done.stdout.partition("upgraded: pid ")[2].split()[0]))
    assert server.get().json() == {"color": "red", "kept": "shell"}, "the words that say which app are kept"
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--env-file", "nope"), "--env-file nope: No such file or directory"),
        (("--env-file", "."), "--env-file .: Is a directory"),
        (("--env-file", "words"), "--env-file words: line 1 is not NAME=VALUE"),
        (("--app-dir", "nope"), "--app-dir nope: there is no such directory"),
        (("--header", "x"), "must be NAME:VALUE"),
        (("--header", "Content-Length: 3"), "cannot be content-length"),
        (("--header", "a: b\nc: d"), "line breaks"),
    ],
)
def test_mistakes_are_a_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "words").write_text("just words\n")
    (tmp_path / "shop.py").write_text(SHOP)
    done = run_command([sys.executable, "-m", "aeros", "run", "shop:create_app()", *arguments], tmp_path, tmp_path, 30)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
