"""The PROXY protocol's parser: examples of the specification, and anything at all."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeros.worker.accept import proxy_protocol
from aeros.worker.accept.proxy_protocol import (
    SIGNATURE,
    V1_MAX,
    V2_MAX,
    Announced,
    HeaderRefused,
    ProxyHeaders,
    read_v1,
    read_v2,
    v2_length,
)

PORTS = st.integers(0, 65535)
V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)


def v2(command: int, family: int, rest: bytes) -> bytes:
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(rest)) + rest


def split(header: bytes) -> Announced | None:
    return read_v2(header[:16], header[16:])


@given(st.one_of(st.tuples(st.just("TCP4"), V4, V4), st.tuples(st.just("TCP6"), V6, V6)), PORTS, PORTS)
def test_version_1_gives_back_what_was_written(parts, source_port, target_port) -> None:
    kind, source, target = parts
    line = f"PROXY {kind} {source} {target} {source_port} {target_port}\r\n".encode()
    assert read_v1(line) == ((str(source), source_port), (str(target), target_port))


@given(st.one_of(st.tuples(V4, V4), st.tuples(V6, V6)), PORTS, PORTS, st.binary(max_size=300))
def test_version_2_gives_back_what_was_written_whatever_tlvs_follow(addresses, source_port, target_port, tlvs) -> None:
    source, target = addresses
    family = 0x11 if source.version == 4 else 0x21
    rest = source.packed + target.packed + struct.pack("!HH", source_port, target_port) + tlvs
    assert split(v2(1, family, rest)) == ((str(source), source_port), (str(target), target_port))


@pytest.mark.parametrize("line", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n", b"PROXY UNKNOWN x\r\n"])
def test_version_1_unknown(line: bytes) -> None:
    assert read_v1(line) is None


@pytest.mark.parametrize("family", [0x00, 0x12, 0x22, 0x31, 0x32])
def test_version_2_of_no_tcp_client(family: int) -> None:
    assert split(v2(1, family, b"x" * 20)) is None


@pytest.mark.parametrize("family", [0x00, 0x11, 0xFF])
def test_version_2_local_says_nothing_whatever_it_carries(family: int) -> None:
    assert split(v2(0, family, b"junk")) is None


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1\xb2 192.0.2.2 1 2\r\n",
        b"PROXY UNKNOWN " + b"x" * V1_MAX + b"\r\n",
    ],
)
def test_version_1_refuses(line: bytes) -> None:
    with pytest.raises(HeaderRefused):
        read_v1(line)


@pytest.mark.parametrize(
    "header",
    [
        v2(1, 0x11, b"x" * 11),
        v2(1, 0x21, b"x" * 35),
        v2(1, 0x13, b"x" * 40),
        v2(1, 0x41, b"x" * 40),
        v2(2, 0x11, b"x" * 12),
        v2(1, 0x11, b"x" * 12)[:-1],
        SIGNATURE + b"\x11\x11\0\x0c" + b"x" * 12,
        v2(1, 0x11, b"x" * (V2_MAX + 1)),
    ],
)
def test_version_2_refuses(header: bytes) -> None:
    with pytest.raises(HeaderRefused):
        split(header)


@given(st.binary(max_size=120), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ::1 "]))
def test_version_1_of_any_bytes_is_read_or_refused(data: bytes, start: bytes) -> None:
    try:
        announced = read_v1(start + data + b"\r\n")
    except HeaderRefused:
        return
    if announced is not None:
        for host, port in announced:
            assert ipaddress.ip_address(host)
            assert 0 <= port < 65536


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=80))
def test_version_2_of_any_bytes_is_read_or_refused(start: bytes, rest: bytes) -> None:
    try:
        announced = read_v2(SIGNATURE + start, rest)
    except HeaderRefused:
        return
    assert len(rest) == v2_length(SIGNATURE + start)
    assert announced is None or start[0] == 0x21


# -- off a socket


def read_off(pieces: list[bytes]) -> tuple[object, bytes, list[str]]:
    """What is read when the pieces come one by one, what is left on the socket, and what was said of a refusal."""
    said: list[str] = []

    async def run() -> tuple[object, bytes]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            task = asyncio.create_task(ProxyHeaders(asyncio.get_running_loop(), ["unix"], said.append).read(ours))
            for piece in pieces:
                theirs.sendall(piece)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            theirs.shutdown(socket.SHUT_WR)
            try:
                announced: object = await task
            except OSError as error:
                return error, b""
            return announced, ours.recv(65536)

    return *asyncio.run(run()), said


HEADERS = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", (("192.0.2.1", 1), ("192.0.2.2", 2))),
    (b"PROXY UNKNOWN\r\n", None),
    (
        v2(1, 0x11, bytes([192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2]) + b"\x04\0\x01x"),
        (("192.0.2.1", 1), ("192.0.2.2", 2)),
    ),
    (v2(0, 0, b""), None),
]


@pytest.mark.parametrize(("header", "announced"), HEADERS)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_not_a_byte_behind_the_header_is_taken(header: bytes, announced: object, step: int) -> None:
    stream = header + b"GET / HTTP/1.1\r\n\r\n"
    found, left, said = read_off([stream[at : at + step] for at in range(0, len(stream), step)])
    assert (found, left, said) == (announced, b"GET / HTTP/1.1\r\n\r\n", [])


@pytest.mark.parametrize(
    "stream", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0", b"PROXY " + b"x" * 200]
)
def test_what_is_no_header_is_refused_with_a_reason(stream: bytes) -> None:
    found, _, said = read_off([stream])
    assert isinstance(found, OSError)
    assert len(said) == 1
    assert "--proxy-protocol" in said[0]


@pytest.mark.parametrize("stream", [b"", b"PROXY TCP4 192.0", SIGNATURE, v2(1, 0x11, b"x" * 12)[:-1]])
def test_a_peer_that_leaves_half_way_is_no_news(stream: bytes) -> None:
    found, _, said = read_off([stream])
    assert isinstance(found, OSError)
    assert said == []


def test_a_header_that_does_not_come_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_protocol, "DEADLINE_S", 0.05)
    said: list[str] = []

    async def run() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.sendall(b"PROXY TCP4")
            with pytest.raises(OSError, match="did not come"):
                await ProxyHeaders(asyncio.get_running_loop(), ["unix"], said.append).read(ours)

    asyncio.run(run())
    assert len(said) == 1
