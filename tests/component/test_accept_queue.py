"""The accept queue as the kernel tells it, of real sockets nobody accepts from."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from aeros.core.net.accept_queue import accept_queue
from aeros.core.net.listener import Listener
from aeros.core.shared.scoreboard import MAX_QUEUES, Scoreboard
from aeros.supervisor.sockets.queues import publish_queues
from tests.helpers.conditions import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TCP_INFO of a listener is Linux's")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_connections_nobody_accepts_are_counted(family: int, host: str) -> None:
    board = Scoreboard.create(1)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        listener.bind((host, 0))
        listener.listen(7)
        listeners = [Listener(listener, "", "insecure")]
        publish_queues(listeners, board)
        assert board.read_queue(0) == (0, 7)
        for _ in range(3):
            stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
        eventually(lambda: accept_queue(listener) == (3, 7), 2)
        publish_queues(listeners, board)
        assert board.read_queue(0) == (3, 7)
        listener.accept()[0].close()
        assert accept_queue(listener) == (2, 7)
    publish_queues(listeners, board)
    assert board.read_queue(0) is None, "a closed listener has no queue"
    board.close()


def test_where_nothing_tells_nothing_is_said(tmp_path: Path) -> None:
    board = Scoreboard.create(1)
    with socket.socket(socket.AF_UNIX) as plain, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quic:
        plain.bind(str(tmp_path / "socket"))
        plain.listen(3)
        publish_queues([Listener(plain, "", "insecure"), Listener(quic, "", "quic")] * MAX_QUEUES, board)
        assert [board.read_queue(index) for index in (0, 1, MAX_QUEUES)] == [None, None, None]
    board.close()
