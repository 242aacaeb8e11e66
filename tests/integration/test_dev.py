"""aeros dev, as somebody who works on an app meets it."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.serverproc import ServerProcess

APP = """
import time
from quart import Quart, render_template
app = Quart(__name__)
time.sleep({load_s})

@app.get("/")
async def home():
    return "{word}"

@app.get("/page")
async def page():
    return await render_template("page.html")

@app.get("/boom")
async def boom():
    raise RuntimeError("boom")
"""


def write(folder: Path, word: str, load_s: float = 0.0, more: str = "") -> None:
    (folder / "app.py").write_text(APP.format(word=word, load_s=load_s) + more)


def dev(serve: Serve, folder: Path, *args: str) -> ServerProcess:
    server = serve(argv=[sys.executable, "-m", "aeros", "dev", "-b", "127.0.0.1:0", *args], cwd=folder)
    return server.ready(1)


def body(server: ServerProcess, path: str = "/") -> str:
    return server.get(path, timeout_s=40).body.decode()


def test_what_is_saved_is_what_answers(serve: Serve, tmp_path: Path) -> None:
    write(tmp_path, "one")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.html").write_text("first page")
    server = dev(serve, tmp_path)
    assert body(server) == "one"
    assert body(server, "/page?x=1") == "first page"
    assert "<div>boom</div>" in body(server, "/boom")  # the framework's own page
    for line in (r"200 GET / \d+\.\d ms", r"200 GET /page\?x=1 ", r"500 GET /boom ", "^RuntimeError: boom"):
        server.wait_log(line)

    # Who asks while the new code loads waits for it, and nobody gets the old one after it.
    write(tmp_path, "two", load_s=1.0)
    answers, longest = [], 0.0
    while not answers or answers[-1] != "two":
        asked = time.monotonic()
        answers.append(body(server))
        longest = max(longest, time.monotonic() - asked)
    assert set(answers) <= {"one", "two"}
    assert longest > 0.5
    assert [body(server) for _ in range(5)] == ["two"] * 5

    (tmp_path / "templates" / "page.html").write_text("second page")
    eventually(lambda: body(server, "/page") == "second page", 30)
    server.wait_log("changed: page.html")
    (tmp_path / ".env").write_text("A=1")
    server.wait_log(r"changed: \.env")
    server.expect("boom", "Error", "Traceback")
    assert server.stop(signal.SIGINT) == 0


def test_where_the_app_is_holds_at_every_reload(serve: Serve, tmp_path: Path) -> None:
    """All three are relative, and the program that loads the next code has been started ahead."""
    code = tmp_path / "project" / "code"
    code.mkdir(parents=True)
    variables = tmp_path / "project" / "vars"
    variables.write_text("COLOR=blue\n")
    colour = '\n@app.get("/color")\nasync def color():\n    import os\n    return os.environ["COLOR"]\n'
    write(code, "one", more=colour)
    server = dev(serve, tmp_path, "app", "--chdir", "project", "--app-dir", "code", "--env-file", "vars")
    assert (body(server), body(server, "/color")) == ("one", "blue")
    for word in ("two", "three"):
        write(code, word, more=colour)
        eventually(lambda word=word: body(server) == word, 30)
    variables.write_text("COLOR=red\n")
    eventually(lambda: body(server, "/color") == "red", 30)
    assert server.stop(signal.SIGINT) == 0


def test_an_error_is_a_page_until_it_is_mended(serve: Serve, tmp_path: Path) -> None:
    write(tmp_path, "one", more="\ndef broken(:\n")
    server = dev(serve, tmp_path)  # begins broken
    server.expect("SyntaxError", "ValueError", "ERROR in app", "Traceback", "cannot be imported", "start-up")
    failed = server.get("/")
    assert failed.status == 500
    told = json.loads(failed.body)
    assert "SyntaxError" in told["error"]
    assert any("def broken(:" in line for line in told["traceback"])
    with Connection(server.address) as browser:
        page = browser.request("GET", "/x", headers={"Accept": "text/html, */*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "def broken(:" in page.text
    assert server.log.count("SyntaxError: invalid syntax") == 2  # the sentence, and the end of its traceback

    write(tmp_path, "two")
    eventually(lambda: body(server) == "two", 30)
    write(tmp_path, "three", more="\n@app.before_serving\nasync def up():\n    raise ValueError('no <db>')\n")
    eventually(lambda: "no <db>" in body(server), 30)
    write(tmp_path, "four")
    eventually(lambda: body(server) == "four", 30)


def test_a_program_of_its_own_develops_too(serve: Serve, tmp_path: Path) -> None:
    text = APP.replace("Quart(__name__)", "__import__('aeros').WebServer(__name__)")
    program = "\nif __name__ == '__main__':\n    app.start(dev=True, port=0)\n"
    path = tmp_path / "shop.py"
    path.write_text(text.format(word="one", load_s=0) + program)
    server = serve(argv=[sys.executable, "shop.py"], cwd=tmp_path).ready(1)
    assert body(server) == "one"
    server.expect("NameError", "Traceback", "reload refused")
    path.write_text(text.format(word="two", load_s=0) + "\nundefined_name\n" + program)
    eventually(lambda: "NameError: name 'undefined_name' is not defined" in body(server), 30)
    path.write_text(text.format(word="three", load_s=0) + program)
    eventually(lambda: body(server) == "three", 30)


def test_a_page_follows_the_code_and_a_stream_does_not_hold_up_the_end(serve: Serve, tmp_path: Path) -> None:
    write(tmp_path, "<p>one</p>")
    server = dev(serve, tmp_path, "--refresh")
    got = server.get("/")
    assert b"new EventSource" in got.body
    assert int(got.headers["content-length"]) == len(got.body)
    with Connection(server.address) as browser:
        browser.send(b"GET /_aeros/refresh HTTP/1.1\r\nHost: a\r\n\r\n")
        assert browser.read_head()[1]["content-type"] == "text/event-stream"
        server.expect("cut 1 connection")
        assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("arguments", [["run"], ["dev"]])
def test_without_an_app_it_says_what_to_write(serve: Serve, tmp_path: Path, arguments: list[str]) -> None:
    server = serve(argv=[sys.executable, "-m", "aeros", *arguments], cwd=tmp_path)
    assert server.wait_exit() == 2
    assert "say module:app" in server.log
