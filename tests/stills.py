"""scripts/screenshots: type what a reader would type under `aeros dev`, and draw the terminal as docs/dev.svg."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.text import Text

from .helpers.conditions import eventually
from .helpers.serverproc import REPOSITORY, ServerProcess
from .helpers.terminal import CTRL_C, Terminal

APP = """from aeros import WebServer

app = WebServer(__name__)


@app.route("/")
async def home():
    return {"response": "hello"}
"""


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def recorded(folder: Path) -> str:
    """Return what the terminal shows: a request, a save, a path that is none, a save that is broken, its mending."""
    file = folder / "app.py"
    file.write_text(APP)
    with Terminal() as terminal:
        argv = [str(Path(sys.executable).with_name("aeros")), "dev", "--port", "0"]
        server = ServerProcess(
            argv, folder, env={"NO_COLOR": "", "FORCE_COLOR": "1", "TERM": "xterm-256color"}, preexec=terminal.preexec()
        )
        try:
            found = eventually(lambda: re.search(r"serves app at (http://\S+?)\s", terminal.shown), 30)
            url = found[1]
            assert status_of(f"{url}/") == 200
            for number, text in enumerate((APP.replace("hello", "world"), APP + "def broken(:\n", APP), start=2):
                file.write_text(text)
                eventually(lambda number=number: f"generation {number} serves" in terminal.shown, 30)
                assert status_of(f"{url}/") == (500 if "broken" in text else 200)
                if number == 2:
                    assert status_of(f"{url}/nowhere") == 404
            eventually(lambda: terminal.shown.count("ended (reload)") == 3, 30)
            terminal.press(CTRL_C)
            eventually(lambda: server.popen.poll() is not None, 30)
        finally:
            server.close()
        return terminal.shown.replace(url, "http://127.0.0.1:8000").replace(str(folder), "/srv/shop")


def drawn(shown: str) -> str:
    """Return the text with its colours as SVG. It asks no other host for a font, and takes the reader's own."""
    lines = [line for line in shown.replace("\r", "").splitlines() if "ready in" not in line and "ended (" not in line]
    text = "\n".join(["\x1b[1m$ aeros dev\x1b[0m", *lines])
    console = Console(record=True, width=max(len(Text.from_ansi(line)) for line in lines) + 1, file=io.StringIO())
    console.print(Text.from_ansi(text), highlight=False)
    svg = console.export_svg(title="aeros dev", unique_id="aeros")
    return re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL).replace("Fira Code", "ui-monospace")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="aeros-still-") as folder:
        (REPOSITORY / "docs/dev.svg").write_text(drawn(recorded(Path(folder))))
    print(f"docs/dev.svg written by pid {os.getpid()}")


if __name__ == "__main__":
    main()
