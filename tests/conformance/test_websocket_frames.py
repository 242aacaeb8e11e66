"""The WebSockets of the lane against what the Autobahn suite asks of a server, and a few things more."""

from __future__ import annotations

import sys
import time
import zlib
from collections import deque
from typing import Any

import pytest
from apps import QUART_FAILS, LeanApp, asgi_app, make_quart
from lane_server import run, served
from websocket_cases import CASES, SECTIONS, Case, frame, read_outcome, run_case, verdict

from aeros.worker.websocket.deflate import Inflater, agree
from aeros.worker.websocket.frames import WORK_MAX, FrameReader, unmask


@pytest.mark.parametrize(("kind", "loop"), [("asgi", "asyncio"), ("asgi", "uvloop"), ("quart", "uvloop")])
@pytest.mark.parametrize("section", SECTIONS, ids=SECTIONS.get)
def test_a_section(section: int, kind: str, loop: str) -> None:
    app = asgi_app if kind == "asgi" else make_quart(LeanApp)
    cases = [case for case in of(section) if kind == "asgi" or case.name not in QUART_FAILS]

    async def check() -> None:
        async with served(app) as server:
            found = {case.name: verdict(case, await run_case(case, server.port)) for case in cases}
            assert not {name: what for name, what in found.items() if what}

    run(check(), loop)


def of(section: int) -> list[Case]:
    return [case for case in CASES if case.section == section]


def events_of(case: Case, *parts: bytes) -> list[Any]:
    agreement = agree([case.offer.encode()]) if case.offer else None
    reader = FrameReader(16 << 20, Inflater(agreement) if agreement is not None else None)
    events: list[Any] = []
    for part in parts:
        events += reader.read(part)
        while reader.more:
            events += reader.read()
    return [*events, reader.fault]


@pytest.mark.parametrize("case", [case for case in CASES if len(case.sent) < 600], ids=lambda case: case.name)
def test_split_at_every_byte(case: Case) -> None:
    whole = events_of(case, case.sent)
    for at in range(1, len(case.sent)):
        assert events_of(case, case.sent[:at], case.sent[at:]) == whole
    assert events_of(case, *(case.sent[at : at + 1] for at in range(len(case.sent)))) == whole


def test_cases_can_fail() -> None:
    """The judge itself: another message, another code or a connection that stays open is no pass."""
    case = of(1)[0]
    head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    assert verdict(case, read_outcome(head, b"\x81\x00\x88\x02\x03\xe8")) == ""
    assert "messages" in verdict(case, read_outcome(head, b"\x81\x01a\x88\x02\x03\xe8"))
    assert "code" in verdict(case, read_outcome(head, b"\x81\x00\x88\x02\x03\xe9"))
    assert "code" in verdict(case, read_outcome(head, b"\x81\x00"))


@pytest.mark.parametrize("size", [*range(10), 399, 400, 401, 4096, 65537])
def test_unmasking(size: int) -> None:
    data, key = bytes(n * 7 % 256 for n in range(size)), b"\x00\x01\xfe\xa5"
    assert unmask(data, key) == bytes(byte ^ key[index % 4] for index, byte in enumerate(data))


def test_a_call_does_so_much_and_no_more() -> None:
    reader = FrameReader(16 << 20)
    events = reader.read(b"\x89\x80abcd" * 43690)
    assert reader.more
    assert len(events) < WORK_MAX / 256 + 1
    while reader.more:
        events += reader.read()
    assert len(events) == 43690 and reader.fault is None


def test_what_is_inflated_is_bounded() -> None:
    agreement = agree([b"permessage-deflate"])
    assert agreement is not None
    case = next(case for case in CASES if case.name.startswith("14.15"))
    reader = FrameReader(1 << 20, Inflater(agreement))
    calls = 0
    assert reader.read(case.sent) == []
    while reader.more:
        calls += 1
        assert reader.read() == []
    assert reader.fault is not None and reader.fault.code == 1009
    assert calls < 8


def floods() -> dict[str, bytes]:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(50 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return {
        "empty fragments": b"\x02\x80abcd" + b"\x00\x80abcd" * 40_000,
        "fragments of a byte": b"\x02\x81\0\0\0\0x" + b"\x00\x81\0\0\0\0x" * 40_000,
        "text fragments of a byte": b"\x01\x81\0\0\0\0x" + b"\x00\x81\0\0\0\0x" * 40_000,
        "pings": b"\x89\x80abcd" * 40_000,
        "empty messages": b"\x82\x80abcd" * 40_000,
        "empty compressed messages": b"\xc2\x81\0\0\0\0\0" * 20_000,
        "a bomb": frame(2, packed, rsv=4),
        "a text bomb": frame(1, packed, rsv=4),
        "ends of streams": frame(2, b"\x03\0" * 40_000, rsv=4),
        "a large frame": frame(2, bytes(15 << 20)),
        "a large text": frame(1, "ü€😀".encode() * (1 << 20)),
    }


def test_no_flood_holds_the_loop() -> None:
    """By processor time, as others use this machine too. A read of a socket brings 256 KiB at most."""
    agreement = agree([b"permessage-deflate"])
    assert agreement is not None
    longest = {}
    for what, flood in floods().items():
        data = flood[: 16 << 20]
        # Who shares the caches makes any reader slow for a moment: the best of three.
        longest[what] = min(_longest_hold(FrameReader(16 << 20, Inflater(agreement)), data) for _ in range(3))
    # Development mode looks at every block of memory that is given and taken.
    assert max(longest.values()) < (0.3 if sys.flags.dev_mode else 0.05), longest


def _longest_hold(reader: FrameReader, data: bytes) -> float:
    """Return the seconds of processor time that the longest read took."""
    parts = deque(data[at : at + (1 << 18)] for at in range(0, len(data), 1 << 18))
    held = []
    while reader.more or (parts and reader.fault is None):
        begun = time.thread_time()
        reader.read(b"" if reader.more else parts.popleft())
        held.append(time.thread_time() - begun)
    return round(max(held), 3)


def test_empty_fragments_are_bounded() -> None:
    reader = FrameReader(1 << 20)
    reader.read(b"\x02\x80abcd" + b"\x00\x80abcd" * 2000)
    assert reader.fault is not None and reader.fault.code == 1008


def test_control_frames_wait_in_little_space() -> None:
    reader = FrameReader(1 << 20)
    for _ in range(3):
        assert reader.read(b"\x82\xff" + (1 << 19).to_bytes(8, "big") + b"abcd" + bytes(1 << 18)) == []
        assert reader.kept < 140
        assert reader.read(bytes(1 << 18)) == [(2, unmask(bytes(1 << 19), b"abcd"))]
