"""Memory of a program as people write them (`benchmarks.program`), and what reloads leave of old generations."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from . import client, proc
from .client import Request
from .servers import Plan, Running, running
from .tell import say

KINDS = ("aeros", "aeros run", "uvicorn")
PROGRAM = "benchmarks.program"
WORKERS = 4
REQUESTS = 600
DATA_MB = 100
RELOADS = 3
ASKED = (
    Request("POST", "/orders", b'{"customer": "Ann", "amount": 5}', "application/json"),
    Request("GET", "/authors"),
    Request("GET", "/search?text=7&limit=5"),
    Request("GET", "/page"),
    Request("GET", "/text"),
)


def measure(kinds: Sequence[str]) -> dict[str, Any]:
    """Return {"rows": [{server, pss_kb, private_kb}], "reloads": {server: [kilobytes of PSS]}}."""
    rows = [_one(kind) for kind in kinds]
    return {"rows": rows, "reloads": {kind: _reloaded(kind) for kind in kinds if kind.startswith("aeros")}}


def _one(kind: str) -> dict[str, Any]:
    with running(kind, Plan(workers=WORKERS, program=PROGRAM)) as server:
        workers = client.reach_every_worker(server, WORKERS, mixed=ASKED)
        client.send_mixed(server, REQUESTS, mixed=ASKED)
        private = sum(proc.memory([pid]).private for pid in workers) // len(workers)
        row: dict[str, Any] = {"server": kind, "pss_kb": server.memory().pss, "private_kb": private}
    say(f"{kind:12} PSS {row['pss_kb'] / 1024:6.1f} MB, private {row['private_kb'] / 1024:5.1f} MB a worker")
    return row


def _reloaded(kind: str) -> list[int]:
    """The family's PSS at the start and after each reload, with data that is read at import."""
    os.environ["PROGRAM_DATA_MB"] = str(DATA_MB)
    try:
        with running(kind, Plan(workers=WORKERS, program=PROGRAM)) as server:
            found = [_asked_pss(server)]
            for _ in range(RELOADS):
                old = client.pids_answering(server, WORKERS)
                os.kill(server.pid, signal.SIGHUP)
                client.wait_for(lambda old=old: not old & set(server.pids), 60.0, 0.05)  # type: ignore[misc]
                found.append(_asked_pss(server))
    finally:
        del os.environ["PROGRAM_DATA_MB"]
    shown = ", ".join(f"{kilobytes / 1024:.0f}" for kilobytes in found)
    say(f"{kind:12} with {DATA_MB} MB of data, at the start and after each reload: {shown} MB")
    return found


def _asked_pss(server: Running) -> int:
    client.reach_every_worker(server, WORKERS, mixed=ASKED)
    time.sleep(2.0)  # the old generation's zygotes end, and the spare is made
    return server.memory().pss


def table(data: dict[str, Any]) -> list[str]:
    """Return the result as the lines of a Markdown table."""
    rows, reloads = data["rows"], data["reloads"]
    peer = next((row["pss_kb"] for row in rows if row["server"] == "uvicorn"), None)
    lines = [
        "| server | PSS | times uvicorn | private, each worker | with 100 MB of data: PSS at the start "
        "| after three reloads |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        ratio = f"{row['pss_kb'] / peer:.2f}" if peer else ""
        cells = [row["server"], f"{row['pss_kb'] / 1024:.0f} MB", ratio, f"{row['private_kb'] / 1024:.1f} MB"]
        found = reloads.get(row["server"])
        cells += (
            [f"{found[0] / 1024:.0f} MB", f"{found[-1] / 1024:.0f} MB, {found[-1] / found[0]:.2f} times"]
            if found
            else ["", ""]
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines
