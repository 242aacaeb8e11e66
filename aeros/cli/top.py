"""`aeros top`: a live view of one server in the terminal, with keys to steer it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live

from ..core.clock import monotonic
from ..core.record import field, mutable
from ..core.text import json_text
from ..errors import AerosError, ReloadFailed, ServerStopped
from ..server import Server, connect
from ..status.records import ServerStatus
from .rates import rates
from .top_view import View

_HELP = "? help  r reload  + - scale  up/down select  R restart  i requests  s stack  q quit"
_SHORT_HELP = "? help  q quit"
_KEYS = """up, down (k, j)  select a worker
i, enter         its requests in flight, as they come and go
s                its stack: where each thread and task is
R                replace it
r                reload: load the code anew, replace all workers
+, -             one worker more, one fewer
esc              back
q                quit

req/s, p50, p95, p99: of the time between two looks. 5xx, restarts: since the worker
or the slot began. busy: requests in flight. lag: how late the event loop was.
loop: how much of the time it was busy. pss: memory, shared pages by their share."""


@mutable
class Top:
    """Reads the status again and again. The keys act on connections of their own, so the view never waits for them."""

    server: Server
    interval_s: float
    _at: float = 0.0
    _status: ServerStatus | None = None
    _messages: list[str] = field(default_factory=list)
    _busy: str = ""
    #: The slot whose requests are shown.
    _followed: int | None = None

    def look(self) -> View:
        """Return a new view. Raises ServerStopped when the server has ended."""
        now, status = monotonic(), self.server.status()
        if status.state == "stopped":
            raise ServerStopped("the server has stopped")
        whole, each = rates(self._status, status, now - self._at)
        self._status, self._at = status, now
        return View(status, whole, each)

    def once(self, *, as_json: bool) -> None:
        """Print one view, of the interval after the first look."""
        self.look()
        select.select([], [], [], self.interval_s)
        self._print(self.look(), as_json)

    def stream(self) -> None:
        """Print one JSON object per interval until interrupted."""
        self.look()
        while True:
            select.select([], [], [], self.interval_s)
            self._print(self.look(), as_json=True)

    def _print(self, view: View, as_json: bool) -> None:
        if as_json:
            rate = {"rates": view.whole.to_dict(), "rates_by_pid": {str(p): r.to_dict() for p, r in view.each.items()}}
            print(json_text({**view.status.to_dict(), **rate}), flush=True)
            return
        console = Console()
        view.selected = -1
        console.print(view.render(console.width))

    def watch(self, terminal: TextIO) -> None:
        """Show the live view on the terminal until q is pressed, or the server has ended."""
        console = Console()
        view = self.look()
        with _keys(terminal) as read_key, Live(console=console, screen=True, auto_refresh=False) as live:
            due = monotonic() + self.interval_s
            while True:
                view.message = self._busy or (self._messages[-1] if self._messages else "")
                width, height = console.size
                help_line = _HELP if width >= len(_HELP) else _SHORT_HELP
                live.update(view.render(width, help_line, height), refresh=True)
                key = read_key(max(0.0, due - monotonic()))
                if key == "q":
                    return
                if key:
                    self._press(key, view)
                if monotonic() >= due:
                    due = monotonic() + self.interval_s
                    view = self._fresh(view)

    def _fresh(self, view: View) -> View:
        """Return the view of now, with what the user chose in the one before."""
        fresh = self.look()
        pid = view.worker.pid if view.worker is not None else 0
        places = [index for index, worker in enumerate(fresh.status.workers) if worker.pid == pid]
        last = max(0, len(fresh.status.workers) - 1)
        fresh.selected = places[0] if places else min(view.selected, last)
        fresh.detail = view.detail
        if self._followed is not None:
            fresh.detail = self._requests_of(self._followed)
        return fresh

    def _requests_of(self, slot: int) -> tuple[str, str]:
        assert self._status is not None
        workers = [worker for worker in self._status.workers if worker.slot == slot]
        mine = [request for request in self.server.requests() if request.slot == slot]
        websockets = sum(worker.websockets for worker in workers)
        open_now = f", WebSockets ({websockets})" if websockets else ""
        in_flight = sum(worker.in_flight for worker in workers)
        title = f"requests in flight ({in_flight}){open_now} in slot {slot}, live; esc: back"
        return title, "\n".join(str(request) for request in mine) or "none"

    def _press(self, key: str, view: View) -> None:
        worker, target = view.worker, view.status.target_workers
        if key in ("up", "k", "down", "j"):
            step = -1 if key in ("up", "k") else 1
            view.selected = max(0, min(len(view.status.workers) - 1, view.selected + step))
            view.detail = self._followed = None
        elif key == "?":
            view.detail, self._followed = ("keys; esc: back", _KEYS), None
        elif key == "escape":
            view.detail = self._followed = None
            self._messages.clear()
        elif key == "r":
            self._begin("reloading", lambda server: f"generation {server.reload().generation} serves")
        elif key in ("+", "=", "-"):
            number = max(1, target + (-1 if key == "-" else 1))

            def scale(server: Server) -> str:
                server.scale(number)
                return f"{number} worker{'s' if number != 1 else ''} ready"

            self._begin(f"scaling to {number}", scale)
        elif worker is not None and key == "R":
            slot = worker.slot
            self._begin(f"restarting slot {slot}", lambda server: f"restarting slot {server.restart(slot)[0]}")
        elif worker is not None and key in ("i", "enter"):
            self._followed = worker.slot
            view.detail = self._requests_of(worker.slot)
        elif worker is not None and key == "s":
            self._followed = None
            try:
                view.detail = (f"stack of slot {worker.slot}; esc: back", str(self.server.stack(worker.slot)))
            except AerosError as error:
                self._messages.append(str(error))

    def _begin(self, what: str, action: Callable[[Server], str]) -> None:
        """Do it beside the view, one thing at a time."""
        if self._busy:
            self._messages.append(f"still {self._busy}")
            return
        self._busy = f"{what} ..."

        def work() -> None:
            try:
                other = connect(self.server.pid)
                try:
                    self._messages.append(action(other))
                finally:
                    other.close()
            except ReloadFailed as error:
                self._messages.append(f"reload refused: {error}\n{error.traceback}".rstrip())
            except AerosError as error:
                self._messages.append(str(error))
            finally:
                self._busy = ""

        threading.Thread(target=work, name="aeros-top", daemon=True).start()


_SEQUENCES = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\r": "enter", "\n": "enter"}
_KEY = re.compile(r"\x1b(?:[\[O][0-9;]*[A-Za-z~])?|[^\x1b]")


@contextlib.contextmanager
def _keys(terminal: TextIO) -> Iterator[Callable[[float], str]]:
    """Read single keys: the function waits so many seconds at most, and returns "" where none was pressed."""
    fd = terminal.fileno()
    before: list[Any] = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    pressed: list[str] = []
    # A terminal that gets another size wakes the select below, which Python would begin again by itself.
    resized, wake = os.pipe()
    os.set_blocking(wake, False)
    old_wakeup, old_handler = signal.set_wakeup_fd(wake), signal.signal(signal.SIGWINCH, lambda *_: None)

    def read(timeout_s: float) -> str:
        if not pressed:
            ready, _, _ = select.select([fd, resized], [], [], timeout_s)
            if resized in ready:
                os.read(resized, 64)
            if fd not in ready:
                return ""
            text = os.read(fd, 64).decode("utf-8", "replace")
            pressed.extend(_KEY.findall(text) or ["q"])  # nothing to read: the terminal is gone
        key = pressed.pop(0)
        return _SEQUENCES.get(key, "escape" if key[0] == "\x1b" else key)

    try:
        yield read
    finally:
        signal.set_wakeup_fd(old_wakeup)
        signal.signal(signal.SIGWINCH, old_handler)
        os.close(resized)
        os.close(wake)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def run(server: Server, *, interval_s: float, once: bool, as_json: bool) -> None:
    """Show `server`; see `aeros top --help`. Without a terminal on both sides it prints one view."""
    top = Top(server, interval_s)
    try:
        if once or (not as_json and not _is_terminal()):
            top.once(as_json=as_json)
        elif as_json:
            top.stream()
        else:
            top.watch(sys.stdin)
    except ServerStopped:
        print("the server has stopped")
