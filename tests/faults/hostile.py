"""Hostile clients: the attacks, the tests that make them, and docs/hostile.md written from what these measured.

python -m tests.faults.hostile --tests      the tests, as pytest takes them
python -m tests.faults.hostile FOUND.json   writes the page from pytest's --faults-report
"""

from __future__ import annotations

import datetime
import json
import platform
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs/hostile.md"

HOSTILE = "test_hostile.py::"
SLOW = "test_slowhttptest.py::test_slowhttptest"
FLOODS = HOSTILE + "test_floods_in_one_request"
HTTP2 = HOSTILE + "test_http2_floods"
MORE = "test_hostile_http2.py::test_more_floods"

#: The attack, and the test or the case of a test that makes it; by the beginning of its name.
ATTACKS = (
    ("Slow heads, 200 connections, 1 s allowed", HOSTILE + "test_slow_heads"),
    ("Slow heads by slowhttptest, 400 connections", SLOW + "[slow heads"),
    ("Slow bodies by slowhttptest", SLOW + "[slow bodies"),
    ("Slow reading by slowhttptest", SLOW + "[slow reading"),
    ("Ranges by slowhttptest", SLOW + "[ranges"),
    ("Connections that never send", HOSTILE + "test_connections_that_never_send"),
    ("20 clients that ask for 20 MB each and read nothing", HOSTILE + "test_clients_that_read_nothing"),
    ("A URI of 50 MB", FLOODS + "[a URI"),
    ("50 MB of header fields", FLOODS + "[50 MB of header"),
    ("One header of 50 MB", FLOODS + "[one header"),
    ("Chunk extensions of 50 MB", FLOODS + "[chunk extensions"),
    ("Trailers of 50 MB", FLOODS + "[trailers"),
    ("A body of 50 MB where 1 MB is allowed", FLOODS + "[a body"),
    ("The same in chunks", FLOODS + "[a chunked body"),
    ("1,000,000 pipelined requests", HOSTILE + "test_pipelined_requests[1000000]"),
    ("3000 connections that are reset", HOSTILE + "test_resets"),
    ("More connections than descriptors", HOSTILE + "test_more_connections_than_descriptors"),
    ("Garbage instead of TLS", HOSTILE + "test_garbage_instead_of_tls"),
    ("100 clients of TLS 1.2 that renegotiate", HOSTILE + "test_tls_renegotiation"),
    ("HTTP/2 rapid reset", HTTP2 + "[rapid reset]"),
    ("HTTP/2 CONTINUATION flood", HTTP2 + "[CONTINUATION]"),
    ("HTTP/2 SETTINGS flood", HTTP2 + "[SETTINGS]"),
    ("HTTP/2 PING flood", HTTP2 + "[PING]"),
    ("HTTP/2 PRIORITY flood", HTTP2 + "[PRIORITY]"),
    ("HTTP/2 empty DATA flood", HTTP2 + "[empty DATA]"),
    ("HTTP/2 WINDOW_UPDATE flood", MORE + "[WINDOW_UPDATE]"),
    ("HTTP/2 frames of 16 MB", MORE + "[frames of 16 MB]"),
    ("HPACK bombs", HTTP2 + "[HPACK bomb]"),
)

_HEAD = """# Hostile clients

Each attack goes to a real server with one worker. All the while a well-behaved client asks on new connections, as fast
as it gets answers, and every one of its requests must be answered. The worker must be the same one afterwards, and its
memory within the bound in brackets. Where the attack is on TLS or on the descriptors, no such client runs beside it.
Written by `scripts/faults hostile`. WebSockets: see `tests/faults/test_hostile.py`.
"""


def row(attack: str, test: str, found: dict[str, Any]) -> str:
    results = [found[node] for node in found if node.startswith(f"tests/faults/{test}")]
    if not results:
        return f"| {attack} | not run | | |"
    if any(result.get("outcome") != "passed" for result in results):
        return f"| {attack} | **failed** | | |"
    notes = [note for result in results for note in result["notes"]]
    memory = next((note.removeprefix("memory ") for note in notes if note.startswith("memory ")), "")
    polite = next((note.removeprefix("polite client ") for note in notes if note.startswith("polite client ")), "")
    others = [re.sub(r"^[^:]*: ", "", note) for note in notes if not note.startswith(("memory ", "polite client "))]
    failed = sum(result.get("failed", 0) for result in results)
    asked = sum(result.get("requests", 0) for result in results)
    polite += f"; {failed} of {asked} failed" if asked else ""
    return f"| {attack} | {'; '.join(others)} | {memory} | {polite} |"


def main() -> int:
    if "--tests" in sys.argv:
        print("\n".join(f"tests/faults/{name}" for name in sorted({test.partition("::")[0] for _, test in ATTACKS})))
        return 0
    found = json.loads(Path(sys.argv[1]).read_text())
    when = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, Python {platform.python_version()}"
    lines = [_HEAD, f"{when}.\n", "| Attack | What became of it | Memory | Well-behaved client |", "|---|---|---|---|"]
    lines += [row(attack, test, found) for attack, test in ATTACKS]
    # Another script's, see benchmarks.bytes.
    kept = re.search(r"\n## What a byte costs\n.*", PAGE.read_text(), re.DOTALL)
    PAGE.write_text("\n".join(lines) + "\n" + (kept[0] if kept is not None else ""))
    print("docs/hostile.md written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
