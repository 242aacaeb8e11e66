"""A server that is started with closed standard streams: 0, 1 and 2 are /dev/null then, in every process of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import aeros
from tests.apps import source_of
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.http import address_of, get
from tests.helpers.serverproc import START_S, ServerProcess


def _close(fds: Sequence[int]) -> Callable[[], None]:
    def close() -> None:
        for fd in fds:
            os.close(fd)

    return close


def _ready(server: ServerProcess, family: int) -> None:
    """Wait without its log, which it may have no place for."""

    def ready() -> bool:
        assert server.running
        try:
            return server.status().state == "ready" and len(server.family) == family
        except aeros.ControlError as error:
            raise LookupError(str(error)) from error

    eventually(ready, START_S, f"a family of {family}")


@pytest.mark.parametrize("closed", [(0, 1, 2), (1,), (2,)])
def test_closed_streams_are_dev_null(serve: Serve, closed: tuple[int, ...]) -> None:
    server = serve("full", "-w", "1", "--access-logfile", "-", "--admin", "127.0.0.1:0", preexec=_close(closed))
    _ready(server, 5)
    given = {0: "/dev/null", 1: str(server.stdout_path), 2: str(server.stderr_path)}
    wanted = {fd: "/dev/null" if fd in closed else where for fd, where in given.items()}

    def check() -> None:
        for pid in server.family:
            links = proc.open_fds(pid)
            assert {fd: links.get(fd) for fd in range(3)} == wanted, proc.command(pid)

    check()
    address = address_of(server.status().addresses[0])
    assert get(address).status == 200
    assert server.command("reload").returncode == 0
    _ready(server, 5)
    check()
    assert get(address).status == 200
    assert server.stop() == 0
    assert (len(server.stdout.splitlines()), "GET / " in server.stdout) == ((0, False) if 1 in closed else (2, True))
    assert ("stopping: SIGTERM" in server.log) == (2 not in closed)


@pytest.mark.parametrize("number", [1, 2])
def test_what_was_opened_in_place_of_a_stream_is_left_alone(serve: Serve, tmp_path: Path, number: int) -> None:
    """By the program, before it imported Aeros: a database, say."""
    program = "database = open('data', 'wb', 0)\n" + source_of("full")
    server = serve(program, "-w", "1", "--access-logfile", "-", preexec=_close([number]))
    _ready(server, 4)
    data = str(tmp_path / "data")
    assert proc.open_fds(server.pid)[number] == data
    address = address_of(server.status().addresses[0])
    assert get(address).status == 200
    assert server.command("reload").returncode == 0
    _ready(server, 4)
    assert get(address).status == 200
    assert server.stop() == 0
    assert Path(data).read_bytes() == b""
