"""Response heads: what h11 would have written, and never what an app should not be able to write."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aeros.worker.http1 import response
from aeros.worker.http1.response import CHUNKED, UNTIL_CLOSE, CommonHeaders, ResponseError, response_head

REASONS = {int(status): status.phrase for status in HTTPStatus}
COMMON = b"date: D\r\nserver: S\r\n"


def ours_once(status: int, headers: list[tuple[bytes, bytes]]) -> tuple[bytes, int, bool]:
    return response_head(status, headers, COMMON, method="GET", version="1.1", keep_alive=True, last=False)


def ours(status: int, headers: list[tuple[bytes, bytes]], **changes: Any) -> tuple[bytes, int, bool]:
    arguments: dict[str, Any] = {"method": "GET", "version": "1.1", "keep_alive": True, "last": False, **changes}
    made = response_head(status, headers, COMMON, **arguments)
    # Once its lines are known the whole head is remembered, and then it is taken from there.
    for common in (COMMON, b"date: E\r\n", COMMON):
        again = response_head(status, headers, common, **arguments)
        assert again == (made[0].replace(COMMON, common), *made[1:]) or COMMON not in made[0]
    return made


def theirs(
    status: int, headers: list[tuple[bytes, bytes]], method: str, version: str, close: bool, last: bool
) -> bytes:
    """Return what Hypercorn's H11Protocol makes h11 write."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(f"{method} / HTTP/{version}\r\nHost: a\r\n".encode())
    connection.receive_data(b"Connection: close\r\n\r\n" if close else b"\r\n")
    connection.next_event()
    more = [(b"date", b"D"), (b"server", b"S"), *([(b"connection", b"close")] if last else [])]
    stripped = [(name.strip(), value.strip()) for name, value in headers]
    return connection.send(h11.Response(status_code=status, headers=[*stripped, *more]))


NAMES = [b"content-length", b"Content-Length", b"transfer-encoding", b"connection", b"x-a", b"X-B", b"set-cookie"]
VALUES = [b"5", b"0", b"chunked", b"close", b"keep-alive", b"keep-alive, x", b"a b", b"", b" padded "]


@settings(max_examples=500)
@given(
    st.sampled_from([200, 201, 204, 206, 301, 304, 404, 500, 599]),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=4),
    st.sampled_from(["GET", "HEAD", "POST", "CONNECT"]),
    st.sampled_from(["1.1", "1.0"]),
    st.booleans(),
    st.booleans(),
)
def test_heads_are_h11s(
    status: int, headers: list[tuple[bytes, bytes]], method: str, version: str, close: bool, last: bool
) -> None:
    try:
        expected = theirs(status, headers, method, version, close, last)
    except h11.LocalProtocolError:
        with pytest.raises(ResponseError):
            ours(status, headers, method=method, version=version, keep_alive=version == "1.1" and not close, last=last)
        return
    try:
        head, _, _ = ours(
            status, headers, method=method, version=version, keep_alive=version == "1.1" and not close, last=last
        )
    except ResponseError:
        # Stricter in one thing: a length said twice, even if it is the same one.
        assert sum(name.lower() == b"content-length" for name, _ in headers) > 1
        return
    line, _, fields = head.partition(b"\r\n")
    assert line == f"HTTP/1.1 {status} {REASONS.get(status, '')}".encode()
    expected = expected.partition(b"\r\n")[2]
    if status in (204, 304) or (method == "CONNECT" and status < 300):
        expected = re.sub(rb"(?i)(content-length|transfer-encoding): [^\r]*\r\n", b"", expected)
    assert fields == expected


@pytest.mark.parametrize(("status", "method"), [(204, "GET"), (304, "GET"), (204, "HEAD"), (200, "CONNECT")])
def test_what_has_no_body_has_no_length(status: int, method: str) -> None:
    for header in ((b"Content-Length", b"4"), (b"Transfer-Encoding", b"chunked")):
        head, remaining, keep_alive = ours(status, [header, (b"x", b"y")], method=method)
        assert head.partition(b"\r\n")[2] == b"x: y\r\n" + COMMON + b"\r\n"
        assert (remaining, keep_alive) == (0, True)


def test_an_apps_own_date_and_server_are_the_only_ones() -> None:
    for name, left in ((b"Server", b"date: D"), (b"date", b"server: S")):
        head, _, _ = ours(200, [(name, b"own"), (b"content-length", b"0")])
        assert head == b"HTTP/1.1 200 OK\r\n%b: own\r\ncontent-length: 0\r\n%b\r\n\r\n" % (name, left)


def test_values_that_are_ever_new_are_not_remembered_with_their_heads() -> None:
    ours(200, [(b"content-length", b"0"), (b"x-fixed", b"1")])
    before = len(response._heads)
    assert before
    for number in range(3000):
        head, _, _ = ours_once(200, [(b"content-length", b"0"), (b"set-cookie", b"session=%d" % number)])
        assert b"set-cookie: session=%d\r\n" % number in head
        ours_once(200, [(b"content-length", b"0"), (b"x-long", b"v" * 300 + b"%d" % number)])
    assert len(response._heads) == before
    for number in range(3000):  # and what comes again and again, in too many kinds, is bounded
        ours(200, [(b"content-length", b"%d" % number)])
    assert len(response._heads) <= response._HEADS_MAX


@example(b"server", b"")
@example(b"Date", b"x")
@given(st.binary(max_size=12), st.binary(max_size=12))
def test_nothing_gets_out_of_its_header_line(name: bytes, value: bytes) -> None:
    try:
        head, _, _ = ours(200, [(name, value), (b"content-length", b"0")])
    except (ValueError, IndexError):
        return
    lines = head.split(b"\r\n")
    expected = 6 if name.lower() in (b"server", b"date") else 7  # the app's own in place of ours
    assert len(lines) == expected
    assert head.count(b"\n") == head.count(b"\r") == expected - 1
    assert b"\0" not in head


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb: c", b"a\rb", b"a\0b", b"a\r\n\r\n<html>"])
def test_injection(value: bytes) -> None:
    with pytest.raises(ResponseError):
        ours(200, [(b"x", value)])


def test_framing() -> None:
    assert ours(200, [(b"content-length", b"7")])[1:] == (7, True)
    assert ours(200, [])[1:] == (CHUNKED, True)
    assert ours(200, [], version="1.0", keep_alive=False)[1:] == (UNTIL_CLOSE, False)
    assert ours(204, [])[1:] == (0, True)
    assert ours(200, [(b"content-length", b"7")], method="HEAD")[1:] == (0, True)
    assert ours(200, [(b"content-length", b"7")], last=True)[1:] == (7, False)
    for status in (100, 199, 1000):
        with pytest.raises(ResponseError):
            ours(status, [])


def test_common_headers_follow_the_clock() -> None:
    made = []

    class Config:
        def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
            made.append(protocol)
            return [(b"n", b"%d" % len(made))]

    common = CommonHeaders(Config())  # type: ignore[arg-type]
    assert {common.block() for _ in range(100)} <= {b"n: 1\r\n", b"n: 2\r\n"}
    common._valid_until -= 10  # the second is over
    count = len(made)
    common.block()
    common._valid_until += 3600  # the wall clock was set back
    common.block()
    assert len(made) == count + 2
