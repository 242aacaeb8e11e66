"""`core.handshakes` on real sockets: who is connected is served, who comes later is not told that he is."""

from __future__ import annotations

import errno
import select
import socket
import sys

import pytest

from aeros.core.net.handshakes import begin_no_more

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="packet filters are Linux's")


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=8)


def test_connections_there_are_stay_and_new_ones_are_not_made(listener: socket.socket) -> None:
    address = listener.getsockname()
    with listener, socket.create_connection(address, 5) as early, socket.socket() as late:
        assert begin_no_more(listener)
        late.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.connect(address)
        accepted, _ = listener.accept()
        with accepted:
            early.sendall(b"request")
            assert accepted.recv(100) == b"request"
            accepted.sendall(b"answer")
            assert early.recv(100) == b"answer"


def test_whoever_waits_for_an_answer_is_refused_once_the_listener_is_gone(listener: socket.socket) -> None:
    address = listener.getsockname()
    assert begin_no_more(listener)
    with socket.socket() as late:
        late.setblocking(False)
        assert late.connect_ex(address) == errno.EINPROGRESS
        listener.close()
        assert select.select([], [late], [], 10)[1], "the answer to its second try"
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_unix_sockets_have_no_handshakes() -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        assert not begin_no_more(unix)
