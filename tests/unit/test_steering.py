"""The kernel hands each datagram to the seat in its connection id, and new connections to those that accept."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from aeros.core.net.steering import CID_BYTES, can_steer, new_cid, steer

pytestmark = pytest.mark.skipif(not can_steer(), reason="only Linux has groups that a program steers")
SEATS = 5


@pytest.fixture(params=["127.0.0.1", "::1"])
def group(request: pytest.FixtureRequest) -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    for _ in range(SEATS):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(sockets[0].getsockname() if sockets else (request.param, 0))
        sock.settimeout(0.5)
        sockets.append(sock)
    yield sockets
    for sock in sockets:
        sock.close()


def where(group: list[socket.socket], *datagrams: bytes) -> list[int]:
    """The seats at which the datagrams arrive, one after the other, each from another client."""
    found = []
    for datagram in datagrams:
        with socket.socket(group[0].family, socket.SOCK_DGRAM) as client:
            client.sendto(datagram, group[0].getsockname())
        got = [seat for seat, sock in enumerate(group) if _has(sock, datagram)]
        assert len(got) == 1, got
        found += got
    return found


def _has(sock: socket.socket, datagram: bytes) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(65536) == datagram  # on loopback it is there when sendto returns
    except BlockingIOError:
        return False


def long_header(cid: bytes) -> bytes:
    return b"\xc3\0\0\0\x01" + bytes([len(cid)]) + cid + b"\x08" + os.urandom(8) + bytes(1200)


def short_header(cid: bytes) -> bytes:
    return b"\x43" + cid + os.urandom(40)


def test_connections_keep_their_seat_whoever_accepts(group: list[socket.socket]) -> None:
    for accepting in ([0], [1, 3], [4, 2, 0]):
        steer(group[0], accepting)
        for seat in range(SEATS):
            cids = [new_cid(seat) for _ in range(4)]
            assert len({*cids}) == 4 and {len(cid) for cid in cids} == {CID_BYTES}
            assert where(group, *map(long_header, cids), *map(short_header, cids)) == [seat] * 8


def test_new_connections_meet_those_that_accept(group: list[socket.socket]) -> None:
    steer(group[0], [1, 3, 4])
    for size in (8, CID_BYTES, 20):
        begun = [long_header(os.urandom(size)) for _ in range(60)]
        seats = where(group, *begun)
        assert {*seats} == {1, 3, 4}
        assert where(group, *begun[:5]) == seats[:5], "all datagrams of one go to the same"


def test_what_is_no_quic_is_delivered_somewhere(group: list[socket.socket]) -> None:
    steer(group[0], [2])
    where(group, b"x", b"\xff", b"\xc3\0\0", b"", short_header(new_cid(SEATS + 3)), long_header(new_cid(0xFFFF)))
