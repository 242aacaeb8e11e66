"""Header compression: what other implementations write is read, what is written others read."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aeros.worker.http1.response import ResponseError
from aeros.worker.http2.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault
from aeros.worker.http2.hpack_decoder import TABLE_SIZE, Decoder, FieldsTooLargeError
from aeros.worker.http2.hpack_encoder import NO_TABLE, UNSIZED, CommonFields, encode, response_block, trailers_block

NAMES = st.sampled_from([b":path", b":method", b"cookie", b"x-a", b"x-b", b"content-length", b"a" * 200])
VALUES = st.one_of(st.sampled_from([b"GET", b"/", b"", b"v" * 5000]), st.binary(max_size=300))
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)


@given(st.lists(st.tuples(FIELDS, st.sampled_from([None, 0, 100, TABLE_SIZE]), st.booleans()), max_size=8))
def test_blocks_of_another_encoder_are_read(blocks: list[tuple[list[tuple[bytes, bytes]], int | None, bool]]) -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    for fields, size, huffman in blocks:
        if size is not None:
            encoder.header_table_size = size
        assert decoder.decode(encoder.encode(fields, huffman=huffman), 1 << 20) == fields


@given(FIELDS)
def test_fields_are_read_by_another_decoder(fields: list[tuple[bytes, bytes]]) -> None:
    data = b"".join(encode(*field) for field in fields)
    decoder = hpack.Decoder(max_header_list_size=1 << 20)
    assert [tuple(field) for field in decoder.decode(NO_TABLE + data, raw=True)] == fields
    assert Decoder().decode(data, 1 << 20) == fields


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_whatever_comes_is_read_or_refused(first: bytes, second: bytes) -> None:
    decoder = Decoder()
    for block in (first, second):
        try:
            decoder.decode(block, 4096)
        except ConnectionFault as fault:
            assert fault.code == COMPRESSION_ERROR
        except FieldsTooLargeError:
            pass
        assert decoder._size <= TABLE_SIZE
        assert decoder._size == sum(len(name) + len(value) + 32 for name, value in decoder._entries)


def test_fields_beyond_the_limit_still_change_the_table() -> None:
    encoder, decoder = hpack.Encoder(), Decoder()
    with pytest.raises(FieldsTooLargeError):
        decoder.decode(encoder.encode([(b"x-a", b"b" * 100), (b"x-c", b"d")]), 100)
    assert decoder.decode(encoder.encode([(b"x-c", b"d")]), 100) == [(b"x-c", b"d")]


def test_fields_out_of_all_proportion_end_the_connection() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x7f\x81\x1e" + b"x" * 3968, 5000)
    with pytest.raises(FieldsTooLargeError):
        decoder.decode(b"\xbe" * 17, 5000)
    with pytest.raises(ConnectionFault) as caught:
        decoder.decode(b"\xbe" * 16000, 5000)
    assert caught.value.code == ENHANCE_YOUR_CALM


def test_changes_tell_whether_the_same_bytes_mean_the_same() -> None:
    decoder = Decoder()
    assert decoder.decode(b"\x40\x01a\x01b", 1000) == [(b"a", b"b")]
    before = decoder.changes
    assert decoder.decode(b"\xbe\x00\x01c\x01d", 1000) == [(b"a", b"b"), (b"c", b"d")]
    assert decoder.changes == before
    decoder.decode(b"\x40\x01e\x01f", 1000)
    assert decoder.changes != before
    assert decoder.decode(b"\xbe", 1000) == [(b"e", b"f")]


def common(*fields: tuple[bytes, bytes]) -> CommonFields:
    """The fields that the server adds to each response."""

    class Config:
        def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
            return list(fields)

    return CommonFields(Config())  # type: ignore[arg-type]


def test_responses() -> None:
    headers: list[tuple[str, str]] = [("Content-Type", "text/plain"), ("Content-Length", "3"), ("Connection", "close")]
    for _ in range(2):  # the second time from memory
        block, length = response_block(200, headers, common((b"server", b"s")))
        assert length == 3
        assert Decoder().decode(block, 1000) == [
            (b":status", b"200"),
            (b"content-type", b"text/plain"),
            (b"content-length", b"3"),
            (b"server", b"s"),
        ]
    assert response_block(418, [], common())[1] == UNSIZED
    assert Decoder().decode(trailers_block([(b"X-Sum", b" 1 ")]), 1000) == [(b"x-sum", b"1")]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"a b", b"c")],
        [(b"a", b"b\r\nc: d")],
        [("a", "b\0")],
        [(b"content-length", b"x")],
        [(b"content-length", b"1"), (b"content-length", b"1")],
        [(b"", b"x")],
    ],
)
def test_responses_that_cannot_be_sent(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises((ResponseError, IndexError)):
        response_block(200, headers, common())


def test_an_apps_own_date_and_server_are_the_only_ones() -> None:
    ours = common((b"date", b"d"), (b"server", b"s"))
    for name, left in ((b"Server", b"date"), (b"Date", b"server")):
        block, _ = response_block(200, [(name, b"own")], ours)
        assert Decoder().decode(block, 1000)[1:] == [(name.lower(), b"own"), (left, left[:1])]


def test_what_has_no_body_has_no_length() -> None:
    for status in (204, 304):
        block, _ = response_block(status, [(b"content-length", b"4"), (b"etag", b"x")], common())
        assert Decoder().decode(block, 1000) == [(b":status", b"%d" % status), (b"etag", b"x")]


def test_secrets_are_never_to_be_indexed() -> None:
    assert encode(b"set-cookie", b"a=b")[0] & 0xF0 == 0x10


def test_the_servers_own_fields() -> None:
    from hypercorn.config import Config

    fields = Decoder().decode(CommonFields(Config()).block(), 1000)
    assert [name for name, _ in fields] == [b"date", b"server"]
    assert fields[1][1] == b"aeros"
