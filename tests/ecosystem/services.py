"""Databases that some cases need, in folders of their own: started empty, ended with the case."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.helpers.conditions import eventually


@contextmanager
def redis(port: int) -> Iterator[None]:
    with (
        _folder() as folder,
        _running(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)], port
        ),
    ):
        yield


@contextmanager
def postgres(port: int) -> Iterator[None]:
    """It refuses to run as root, so there it is nobody's."""
    programs = Path(os.path.realpath(shutil.which("postgres") or "postgres")).parent
    user = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    with _folder() as folder:
        data = folder / "data"
        command = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)  # type: ignore[call-overload]
        command = [
            str(programs / "postgres"),
            "-D",
            str(data),
            "-p",
            str(port),
            "-h",
            "127.0.0.1",
            "-k",
            str(folder),
            "-F",
        ]
        with _running(command, port, cwd=folder, **user):
            yield


SERVICES: dict[str, Callable[[int], AbstractContextManager[None]]] = {"redis-server": redis, "postgres": postgres}


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="aeros-service-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(command: list[str], port: int, **settings: object) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **settings)  # type: ignore[call-overload]
    try:
        eventually(lambda: _answers(port), 30, f"{command[0]} listens")
        yield
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), 5).close()
    return True
