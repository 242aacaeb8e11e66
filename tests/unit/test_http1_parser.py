"""The head parser, against an independent reader."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aeros.worker.http1.parser import Head, HeadParser, RequestRefused, refuses_early

GOOD = b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-One:  two \t\r\n\r\n"


def parse(data: bytes) -> Head:
    return HeadParser().parse(data)


def refused(data: bytes) -> int:
    with pytest.raises(RequestRefused) as error:
        parse(data)
    return error.value.status


def test_a_head_is_taken_apart() -> None:
    head = parse(GOOD)
    assert (head.method, head.path, head.raw_path, head.query_string) == ("GET", "/a b", b"/a%20b", b"c=d")
    assert head.headers == [(b"host", b"x"), (b"x-one", b"two")]
    assert (head.version, head.host, head.keep_alive, head.size) == ("1.1", b"x", True, len(GOOD))
    assert not head.has_body


def test_equal_heads_are_parsed_once() -> None:
    parser = HeadParser()
    first = parser.parse(GOOD)
    assert parser.parse(bytes(bytearray(GOOD))) is first
    assert parser.parse(GOOD.replace(b"two", b"six")) is not first
    assert parser.parse(GOOD) is not first


@pytest.mark.parametrize(
    "target", [b"http://a]/", b"http://[zz]/", b"http://[::1/", b"http:///x", b"http://u@a/", b"ftp://a/", b"*"]
)
def test_a_target_that_is_none_is_refused(target: bytes) -> None:
    assert refused(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n") == 400


@pytest.mark.parametrize(
    ("target", "raw_path", "path", "query", "host"),
    [
        (b"http://b/x", b"/x", "/x", b"", b"b"),
        (b"HTTP://b:80/a%3Fb%23c;d=e?f=%3F#g", b"/a%3Fb%23c;d=e", "/a?b#c;d=e", b"f=%3F", b"b:80"),
        (b"https://[::1]/admin", b"/admin", "/admin", b"", b"[::1]"),
        (b"http://b", b"/", "/", b"", b"b"),
        (b"http://b?c", b"/", "/", b"c", b"b"),
        (b"ws://b//x", b"//x", "//x", b"", b"b"),
        (b"/x#y?z", b"/x", "/x", b"", b"a"),
        (b"/http://b/x", b"/http://b/x", "/http://b/x", b"", b"a"),
    ],
)
def test_the_app_gets_the_path_and_the_host_of_a_target(
    target: bytes, raw_path: bytes, path: str, query: bytes, host: bytes
) -> None:
    parser = HeadParser()
    fields = b" HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n"
    for _ in range(2):  # no target's host becomes that of another request with the same fields
        head = parser.parse(b"GET " + target + fields)
        assert (head.raw_path, head.path, head.query_string, head.host) == (raw_path, path, query, host)
        assert [value for name, value in head.headers if name == b"host"] == [host]
        other = parser.parse(b"GET /other" + fields)
        assert (other.raw_path, other.host, other.headers) == (b"/other", b"a", [(b"x", b"y"), (b"host", b"a")])


def test_options_may_ask_about_the_server() -> None:
    for target in (b"*", b"http://a"):
        assert parse(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n").path == "*"


def test_the_parser_recovers_after_bodies_and_upgrades() -> None:
    parser = HeadParser()
    for extra in (
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: upgrade\r\nUpgrade: x\r\n",
    ):
        head = parser.parse(b"POST / HTTP/1.1\r\nHost: x\r\n" + extra + b"\r\n")
        assert head.has_body == (b"upgrade" not in extra)
        assert parser.parse(GOOD).method == "GET"


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n", "websocket"),
        (b"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n", "websocket"),
        (b"Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", "websocket"),
        (b"Connection: close\r\nUpgrade: websocket\r\n", ""),
        (b"Upgrade: h2c\r\n", ""),
        (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", ""),
        (b"Upgrade: h2c\r\nContent-Length: 0\r\n", ""),
        (b"Connection: upgrade\r\nUpgrade: foo\r\n", ""),
    ],
)
def test_upgrades(extra: bytes, expected: str) -> None:
    assert parse(b"GET / HTTP/1.1\r\nHost: x\r\n" + extra + b"\r\n").upgrade == expected


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 300 + b"\r\n", 431),
    ],
)
def test_refusals(data: bytes, status: int) -> None:
    assert refused(data) == status


def test_raw_names() -> None:
    head = HeadParser(raw_names=True).parse(GOOD)
    assert head.headers[1] == (b"X-One", b"two")
    assert head.host == b"x"


def test_early_refusal() -> None:
    assert refuses_early(b"\x16\x03\x01")
    assert refuses_early(b"GET / HTTP/1.1\nHost")
    assert not refuses_early(b"GET / HTTP/1.1\r\nHost")
    assert not refuses_early(b"GET / HTTP/1.1\r")


TOKEN = st.sampled_from(
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"X-A", b"host", b"Expect", b"x y", b""]
)
VALUE = st.one_of(
    st.sampled_from(
        [b"a", b"chunked", b"5", b"5, 5", b"close", b"gzip, chunked", b"", b"a:80", b"+5", b"100-continue"]
    ),
    st.binary(max_size=6),
)
SEPARATOR = st.sampled_from([b": ", b":", b" : ", b":\t", b""])
END = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n "])
REQUEST_LINE = st.one_of(
    st.builds(
        lambda method, target, version: method + b" " + target + b" " + version,
        st.sampled_from([b"GET", b"POST", b"HEAD", b"CONNECT", b"FOO", b"get"]),
        st.one_of(st.sampled_from([b"/", b"*", b"http://a/", b"a:80", b"/a b"]), st.binary(max_size=4)),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b"ICE/1.0"]),
    ),
    st.binary(max_size=10),
)
HEAD_BYTES = st.builds(
    lambda line, fields: line + b"\r\n" + b"".join(a + b + c + d for a, b, c, d in fields) + b"\r\n",
    REQUEST_LINE,
    st.lists(st.tuples(TOKEN, SEPARATOR, VALUE, END), max_size=5),
)


@settings(max_examples=600, deadline=None)
@given(HEAD_BYTES)
def test_what_is_taken_is_what_h11_takes(data: bytes) -> None:
    """Never looser than h11, and the same to the letter where both take a head."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return
    data = data[: end + 4]
    try:
        head = parse(data)
    except RequestRefused:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    assert head.method.encode() == request.method
    target = request.target.partition(b"#")[0]
    if target[:1] == b"/":
        assert head.raw_path + (b"?" + head.query_string if b"?" in target else b"") == target
        assert head.headers == list(request.headers)
    assert head.version.encode() == request.http_version
    assert not connection.trailing_data[0]
    event = connection.next_event()
    if isinstance(event, h11.EndOfMessage) or (event is h11.PAUSED and not head.has_body):
        assert not head.has_body
    else:
        assert event is h11.NEED_DATA or event is h11.PAUSED
    if not head.upgrade and head.method != "CONNECT":
        assert head.keep_alive == (connection.our_state is not h11.MUST_CLOSE and connection._cstate.keep_alive)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(HEAD_BYTES, st.sampled_from([GOOD, GOOD.replace(b"/a", b"/b"), GOOD.replace(b"1.1", b"1.0")])),
        max_size=4,
    )
)
@example([b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", GOOD])
@example([b"GET * HTTP/1.0\r\n\r\n", GOOD])
def test_a_parser_has_no_memory_that_shows(heads: list[bytes]) -> None:
    """Remembering equal heads and equal fields changes nothing."""

    def facts(parser: HeadParser, data: bytes) -> object:
        try:
            head = parser.parse(data)
        except RequestRefused as error:
            return error.status
        return [getattr(head, name) for name in Head.__slots__ if name != "text_headers"]

    parser = HeadParser()
    for data in heads:
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            data = data[: end + 4]  # noqa: PLW2901
            assert facts(parser, data) == facts(HeadParser(), data)


def test_the_method_decides_about_an_upgrade_each_time() -> None:
    parser = HeadParser()
    fields = b"Host: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert parser.parse(b"POST / HTTP/1.1\r\n" + fields).upgrade == ""
    assert parser.parse(b"GET / HTTP/1.1\r\n" + fields).upgrade == "websocket"
