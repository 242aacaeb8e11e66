"""scripts/http2: sends every case of h2cases to a server and writes docs/http2.md."""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..apps import source_of
from .h2cases import CASES, accepted, outcome
from .serverproc import REPOSITORY, ServerProcess

_HEAD = """# HTTP/2, case by case

Written by `scripts/http2`. Each case is raw frames on a connection of its own, behind preface and SETTINGS
(`tests/helpers/h2cases.py`). It covers the ground of h2spec and goes by its rule: where a connection error is due,
ending the connection will do, and where a stream error is due, one of the connection.
`tests/conformance/test_http2.py` holds these results. Sections are those of RFC 9113, and of RFC 7541 behind "hpack".
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "app.py").write_text(source_of("full"))
        server = ServerProcess([sys.executable, "app.py", "-b", "127.0.0.1:0", "-w", "1"], Path(folder)).ready(1)
        try:
            with ThreadPoolExecutor(16) as pool:
                found = list(pool.map(lambda case: outcome(server.address, case), CASES))
        finally:
            server.close()
    right = sum(what in accepted(case) for case, what in zip(CASES, found, strict=True))
    lines = [_HEAD, f"{right} of {len(CASES)} cases as the RFCs have it.\n"]
    lines += ["| Section | What the client sends | What came back | |", "|---|---|---|---|"]
    for case, what in zip(CASES, found, strict=True):
        verdict = "" if what in accepted(case) else f"**not** {' or '.join(sorted(accepted(case)))}"
        lines.append(f"| {case.section} | {case.what} | {what} | {verdict} |")
    (REPOSITORY / "docs" / "http2.md").write_text("\n".join(lines) + "\n")
    print(f"docs/http2.md written: {right} of {len(CASES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
