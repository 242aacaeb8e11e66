"""Play a page: write its files, type its commands, compare what they print with what the page shows.

    python -m tests.docs.play PAGE …             says where a page and the program differ
    python -m tests.docs.play --update PAGE …    writes the outputs of now into the page

A command that begins with `aeros run` or ends with `&` runs on while the next ones are typed. Ports that the pages
name are exchanged for free ones. All figures count as equal. `…` stands for any text, a line of `…` for any lines.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from .blocks import PAGES, ROOT, Block, Command, blocks_of, commands_of

PORTS = ("8000", "8001", "8002", "8080", "9000", "5678")
PLACE = "/srv/shop"  # what the pages call the folder in which their commands are typed
SERVES = re.compile(r" workers? on (uvloop|asyncio), supervisor pid ")
BIN = Path(sys.executable).parent


def plain(text: str) -> str:
    """Return text without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?", "TIME", text)
    text = re.sub(r"\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT|\d\d/\w{3}/\d{4}:[\d:]+", "TIME", text)
    text = re.sub(r"0x[0-9a-f]+", "ADDRESS", text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "ID", text)
    text = re.sub(r"\d+(\.\d+)?", "0", text)
    text = re.sub(r"0 (ms|s|us|min)\b|(?<=  )-(?=  )", "0 s", text)
    return re.sub(r"[ \t]+", " ", text).strip()


def same(shown: str, printed: str) -> bool:
    """Whether a page may show this for what was printed."""
    pattern = re.escape(plain(shown).replace("\n…\n", "…").replace("\n…", "…").replace("…\n", "…"))
    return re.fullmatch(pattern.replace("…", "(?s:.*)"), plain(printed)) is not None


def runs_on(command: str) -> bool:
    """Whether a command is a server, which goes on while the next commands are typed."""
    return re.match(r"(\w+=\S+ )*aeros (run|dev)\b", command) is not None or command.endswith("&")


def missing_lines(shown: str, printed: str) -> list[str]:
    """Return the lines of the page that the log has not."""
    lines = printed.splitlines()
    return [
        line
        for line in shown.splitlines()
        if line.strip() not in ("", "…") and not any(same(line, each) for each in lines)
    ]


class Session:
    """A shell in a folder of its own, as the reader of one page has it."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.folder = Path(tempfile.mkdtemp(prefix="aeros-page-"))
        (self.folder / "run").mkdir(mode=0o700)
        self.ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
        self.code = 0  # of the command before
        self.servers: list[tuple[str, subprocess.Popen[bytes], Path]] = []
        names = ("HOME", "LANG", "TERM", "USER")
        self.environment = {name: os.environ[name] for name in names if name in os.environ}
        self.environment |= {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "200",
        }
        (self.folder / ".curlrc").write_text("silent\nshow-error\n")
        self.environment["CURL_HOME"] = str(self.folder)
        self.place = self.folder / "shop"
        self.place.mkdir()

    def close(self) -> None:
        for _, process, _ in self.servers:
            self._end(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def here(self, text: str) -> str:
        """Return a text of the page with the ports and the folder of this run."""
        for port, free in self.ports.items():
            text = re.sub(rf"(?<![\w.]){port}(?!\w)", free, text)
        return text.replace(PLACE, str(self.place))

    def there(self, text: str) -> str:
        """Return a text of this run as the page would show it."""
        for port, free in self.ports.items():
            text = text.replace(free, port)
        text = text.replace(str(self.place), PLACE).replace(str(BIN.parent), f"{PLACE}/.venv")
        return text.replace(f"{ROOT}/", "").replace("\r", "")

    def write(self, block: Block) -> None:
        path = self.place / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(block.text))

    def type(self, command: Command) -> str:
        """Return what the command prints, as the page would show it."""
        text = self.here(command.text)
        if text == "echo $?":
            return str(self.code)
        if runs_on(text):
            return self.there(self._serve(text.removesuffix("&"))).rstrip()
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=self.place,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        self.code = done.returncode
        return self.there(done.stdout.decode(errors="replace")).rstrip()

    def log(self) -> str:
        return "\n".join(self.there(path.read_text(errors="replace")) for _, _, path in self.servers)

    def _serve(self, text: str) -> str:
        port = _port_of(text)
        for other, process, _ in self.servers:
            if other == port:
                self._end(process)
        path = self.folder / f"log{len(self.servers)}"
        with path.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {text}" if "=" not in text.split(" ", 1)[0] else text],
                cwd=self.place,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.servers.append((port, process, path))
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if SERVES.search(path.read_text()) or process.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(0.15)  # the line or two that follow
        return path.read_text()

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _free_ports(count: int) -> list[str]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in sockets]


def _port_of(command: str) -> str:
    found = re.search(r"(?:-b|--bind|--port)[ =](?:[\w.]+:)?(\d+)\b", command)
    return found[1] if found else "default"


def play(page: Path, *, update: bool = False) -> list[str]:
    """Return a sentence for each difference between the page and the program."""
    session = Session(page)
    session.environment["AEROS_PORT"] = session.ports["8000"]
    complaints: list[str] = []
    text = page.read_text()
    try:
        blocks = blocks_of(page)
        written: dict[str, Block] = {}
        for block in blocks:
            if block.title and not block.title.startswith("/") and block.mark != "part":
                written.setdefault(block.title, block)
        for block in written.values():  # a page may show a command before the file that it needs
            session.write(block)
        for block in blocks:
            if block.title in written and written[block.title] != block:
                session.write(block)
            elif block.language == "console" and block.mark != "not run":
                text = _console(session, block, text, complaints)
            elif block.mark == "log":
                _log(session, block, complaints)
    finally:
        session.close()
    if update and text != page.read_text():
        page.write_text(text)
    return complaints


def _console(session: Session, block: Block, text: str, complaints: list[str]) -> str:
    made, typed = block.text, 0
    for command in commands_of(block):
        if command.as_root or command.text.startswith(("cd ", "source ")):
            continue
        printed = session.type(command)
        until = time.monotonic() + 10
        while command.text.startswith("curl http") and not same(command.output, printed) and time.monotonic() < until:
            time.sleep(0.2)  # what a save set off, such as a reload, takes a moment
            printed = session.type(command)
        lines = re.escape("$ " + command.text).replace("\\ \\ ", r"[\\\n ]+ ")
        found = re.compile(lines).search(made, typed)
        typed = found.end() if found else typed
        missing = missing_lines(command.output, printed)
        fits = not missing if runs_on(command.text) else same(command.output, printed)
        if not fits:
            complaints.append(
                f"{block.where}: $ {command.text}\n--- the page\n{command.output}\n--- the program\n{printed}"
            )
        if not fits and not runs_on(command.text):
            rest = made[typed:].removeprefix("\n" + command.output if command.output else "")
            made = made[:typed] + ("\n" + printed if printed else "") + rest
    return text.replace(block.text, made) if made != block.text else text


def _log(session: Session, block: Block, complaints: list[str]) -> None:
    until = time.monotonic() + 5
    while True:
        log = session.log()
        missing = missing_lines(block.text, log)
        if not missing:
            return
        if time.monotonic() > until:
            complaints.append(f"{block.where}: not in the log:\n" + "\n".join(missing) + f"\n--- the log\n{log}")
            return
        time.sleep(0.1)


def main() -> int:
    update = "--update" in sys.argv
    named = [Path(name).resolve() for name in sys.argv[1:] if name != "--update"]
    bad = 0
    for page in named or PAGES:
        for complaint in play(page, update=update):
            bad += 1
            print(complaint, end="\n\n")
    return 1 if bad and not update else 0


if __name__ == "__main__":
    sys.exit(main())
