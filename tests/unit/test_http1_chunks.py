"""The decoder of chunked bodies, against h11 and against itself."""

from __future__ import annotations

import sys

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aeros.worker.http1.chunks import EXTENSIONS_MAX, MAX_CHUNK_LINE, WORK_MAX, ChunkedReader
from aeros.worker.http1.parser import RequestRefused


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.binary(max_size=10), st.data())
def test_chunks_come_out_whole_however_they_are_cut(parts: list[bytes], rest: bytes, data: st.DataObject) -> None:
    sent = chunks(*parts) + rest
    reader = ChunkedReader(1000)
    body = b""
    while sent and not reader.complete:
        size = data.draw(st.integers(1, len(sent)))
        piece, left = reader.feed(sent[:size])
        sent = sent[size:]
        body += piece
    assert reader.complete
    assert body == b"".join(parts)
    assert left + sent == rest


@settings(max_examples=400)
@given(st.binary(max_size=60) | st.text("0123456789abcdefX;=\r\n :", max_size=60).map(str.encode))
def test_no_chunked_garbage_passes_that_h11_refuses(data: bytes) -> None:
    reader = ChunkedReader(1000)
    try:
        body, rest = reader.feed(data)
    except RequestRefused:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    connection.next_event()
    theirs = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            theirs += event.data
            continue
        break
    assert body == theirs
    assert reader.complete == isinstance(event, h11.EndOfMessage)
    if reader.complete:
        assert rest == connection.trailing_data[0]


def test_lines_without_end_are_bounded() -> None:
    reader = ChunkedReader(1000)
    with pytest.raises(RequestRefused):
        for _ in range(MAX_CHUNK_LINE // 100 + 2):
            reader.feed(b"1" * 100)
    reader = ChunkedReader(1000)
    reader.feed(b"0\r\n")
    with pytest.raises(RequestRefused) as error:
        for index in range(200):
            reader.feed(b"x-%d: yyyyyyyy\r\n" % index)
    assert error.value.status == 431


def decoded(reader: ChunkedReader, data: bytes) -> tuple[bytes, bytes]:
    """Feed until nothing is put off any more; return (body, what stands behind its end)."""
    body = b""
    while True:
        piece, data = reader.feed(data)
        body += piece
        if reader.complete or not data:
            return body, data


CHUNK = st.builds(
    lambda data, zeros, upper, extension: (
        (b"0" * zeros + (b"%X" if upper else b"%x") % len(data))[-16:] + extension + b"\r\n" + data + b"\r\n",
        data,
    ),
    # Data that look like what stands between chunks.
    st.one_of(
        st.integers(1, 300).map(lambda size: (b"0\r\n\r\n1\r\nx\r\n" * 30)[:size]),
        st.sampled_from([b"\r", b"\n", b"0", b"\r\n", b"1\r\nx\r\n"]),
    ),
    st.sampled_from([0, 0, 0, 1, 14]),
    st.booleans(),
    st.sampled_from([b""] * 20 + [b";", b"; a = b", b';a="b c"', b";\xff"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(CHUNK, min_size=1, max_size=30), st.integers(1, 40), st.lists(st.integers(1, 3000), max_size=5))
def test_small_chunks_in_a_row_are_read_like_each_by_itself(
    some: list[tuple[bytes, bytes]], times: int, cuts: list[int]
) -> None:
    sent = b"".join(wire for wire, _ in some) * times + b"0\r\nA: b\r\n\r\nrest"
    expected = b"".join(data for _, data in some) * times
    reader, body = ChunkedReader(1000), b""
    for cut in [*cuts, len(sent)]:
        piece, rest = decoded(reader, sent[:cut])
        body += piece
        sent = sent[cut:]
        if reader.complete:
            break
    assert reader.complete
    assert (body, rest + sent) == (expected, b"rest")


@pytest.mark.parametrize(
    "bad",
    [b"1\nx\r\n", b"1\r\nx\n", b"1\r\nxx\r\n", b"1 \r\nx\r\n", b" 1\r\nx\r\n", b"0x1\r\nx\r\n", b"+1\r\nx\r\n",
     b"g\r\nx\r\n", b"00000000000000001\r\nx\r\n", b"\r\n1\r\nx\r\n", b"1\r\nx", b"1;\nx\r\n", b"1\x00\r\nx\r\n",
     b"\xb21\r\nx\r\n"],
)  # fmt: skip
def test_what_is_wrong_is_refused_among_small_chunks_too(bad: bytes) -> None:
    good = b"1\r\nx\r\n" * 200
    with pytest.raises(RequestRefused):
        decoded(ChunkedReader(1000), good + bad + good)


@pytest.mark.parametrize(
    "one", [b"1\r\nx\r\n", b"2;\r\nxx\r\n", b"5\r\nxxxxx\r\n", b"%x\r\n%b\r\n" % (300, b"x" * 300)]
)
def test_one_call_does_a_bounded_amount_of_work(one: bytes) -> None:
    reader = ChunkedReader(1000)
    data = one * 100_000
    body, rest = reader.feed(data)
    assert 0 < len(data) - len(rest) <= 3000 * len(one) + WORK_MAX
    assert len(body) >= 1000


def test_small_chunks_are_taken_apart_in_c() -> None:
    """What Python does does not grow with their number: counted, not timed."""

    def steps(data: bytes) -> int:
        reader, count = ChunkedReader(1000), 0

        def count_up(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += 1

        before = sys.getprofile()
        sys.setprofile(count_up)
        try:
            decoded(reader, data)
        finally:
            sys.setprofile(before)
        return count

    steps(b"1\r\nx\r\n" * 200)  # the pattern is made once
    for sizes in ((1,), (1, 2), (1, 15, 100), (16,)):
        row = b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in sizes)
        chunks = 200_000 // len(row) * len(sizes)
        assert steps(row * (chunks // len(sizes))) < chunks / 10


def test_extensions_may_not_outweigh_the_body() -> None:
    tiny = b"1;" + b"a" * 20 + b"\r\nx\r\n"
    with pytest.raises(RequestRefused) as error:
        decoded(ChunkedReader(1000), tiny * (EXTENSIONS_MAX // 10))
    assert error.value.status == 400
    signed = b"%x;chunk-signature=%b\r\n%b\r\n" % (8192, b"0" * 64, b"x" * 8192)
    body, _ = decoded(ChunkedReader(1000), signed * 200)
    assert len(body) == 200 * 8192


def test_trailers_are_measured_together() -> None:
    fields = b"a:\r\n" * 200
    body, rest = decoded(ChunkedReader(1000), b"0\r\n" + fields + b"\r\nrest")
    assert (body, rest) == (b"", b"rest")
    for end in (b"\r\n", b"b", b"b\r\n"):
        with pytest.raises(RequestRefused) as error:
            decoded(ChunkedReader(1000), b"0\r\n" + fields + fields + end)
        assert error.value.status == 431
    for bad in (b"a :\r\n", b" a:\r\n", b"a\r\n", b"a:\n", b"a:\x00\r\n", b"\r\r\n"):
        with pytest.raises(RequestRefused) as error:
            decoded(ChunkedReader(1000), b"0\r\n" + b"a:\r\n" + bad + b"\r\n")
        assert error.value.status == 400
