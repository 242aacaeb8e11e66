"""The two ways a test's server begins: forked from the test with its app object, or run by the app's name."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from ..core.clock import monotonic
from ..errors import ControlError, NotAServerError, OptionsError, StartError
from ..options.given import unknown
from ..options.table import BY_NAME
from ..quart import direct
from ..server import Server, connect
from ..start.serving import serve
from ..supervisor.bootstrap import import_supervisor

_LOOK_S = 0.01


def fork(app: Any, arguments: str | Sequence[str] | None, options: Mapping[str, Any], log: Path) -> Server:
    """Serve an app object; return the handle when all workers are ready. Raises AerosError."""
    _import_ahead()
    with _writing_to(log):
        return serve(app, arguments, block=False, **options)


def _import_ahead() -> None:
    """Import what the processes of a server would each import after the fork: it is most of what a start takes."""
    import_supervisor()
    direct.preload()
    for name in ("main", "http2.websocket"):
        import_module(f"aeros.worker.{name}")


@contextlib.contextmanager
def _writing_to(log: Path) -> Iterator[None]:
    """What is forked meanwhile has the file as its output. This process gets its own streams back."""
    before = sys.stdout, sys.stderr
    for stream in before:
        stream.flush()
    kept = [(fd, os.dup(fd)) for fd in (1, 2)]
    with log.open("ab", buffering=0) as file:
        for fd, _ in kept:
            os.dup2(file.fileno(), fd)
    # pytest has put streams of its own in their place, which write somewhere else.
    sys.stdout, sys.stderr = _stream(1), _stream(2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = before
        for fd, copy in kept:
            os.dup2(copy, fd)
            os.close(copy)


def _stream(fd: int) -> TextIO:
    return open(fd, "w", buffering=1, closefd=False, encoding="utf-8", errors="backslashreplace")


def run(name: str, arguments: Sequence[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Run `aeros run name …` in the working directory, with its control socket in `folder`."""
    # The kernel's "parent" is the thread that starts the child; another one than the main thread may end early.
    parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
    # What the tests can import, the server can. Two versions of a module within a second must not share a .pyc.
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    control = ("--control", str(folder / "control.sock"))
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "aeros.testing.program", str(parent), name, *arguments, *control],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


def handle_of(process: subprocess.Popen[bytes], folder: Path, timeout_s: float) -> Server:
    """Return the handle of what `run` has started, when all workers are ready. Raises StartError."""
    deadline = monotonic() + timeout_s
    while monotonic() < deadline:
        if (code := process.poll()) is not None:
            raise StartError(f"the server did not start (exit code {code})")
        with contextlib.suppress(NotAServerError, OSError):
            server = connect(folder / "control.sock")
            try:
                server.wait_ready(max(0.1, deadline - monotonic()))
            except ControlError as error:
                server.close()
                raise StartError(f"the server did not start: {error}") from None
            return server
        time.sleep(_LOOK_S)
    raise StartError(f"the server did not start within {timeout_s:g} s")


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Return keywords as arguments of the command line. Raises OptionsError."""
    words = []
    for name, value in options.items():
        option = BY_NAME.get(name)
        if option is None:
            raise unknown(name, BY_NAME)
        flag = next((flag for flag in reversed(option.arguments) if flag.startswith("--")), None)
        if flag is None:
            raise OptionsError(f"{name} cannot be given for an app by its name: it has no argument", option=name)
        if option.kind == "switch":
            words += [flag] if value else []
        else:
            several = option.kind == "list" and not isinstance(value, str)
            words += [f"{flag}={item}" for item in (value if several else [value])]
    return words
