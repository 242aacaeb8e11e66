"""Memory: proportional set size (PSS) of the whole family, for several numbers of workers.

One server at a time, so that none helps to pay for another's shared pages.
"""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from typing import Any

from . import client, proc
from .servers import PEERS, Plan, running
from .tell import say

KINDS = ("aeros", "aeros --warmup", *PEERS, "gunicorn --preload")
COUNTS = (1, 2, 4, 8, 16)
REQUESTS = 10_000


def measure(kinds: Sequence[str], counts: Sequence[int], requests: int) -> dict[str, Any]:
    """Return {"requests": …, "rows": [{server, workers, pss_kb, anonymous_kb, …}]} of those that answered."""
    rows = []
    for count in counts:
        for kind in kinds:
            try:
                rows.append(_one(kind, count, requests))
            except (OSError, http.client.HTTPException) as error:
                say(f"{kind:20} {count:3} workers  it did not answer: {error}")
    return {"requests": requests, "rows": rows}


def _one(kind: str, workers: int, requests: int) -> dict[str, Any]:
    with running(kind, Plan(workers=workers)) as server:
        idle = server.memory()
        reached = client.reach_every_worker(server, workers)
        for _ in range(0, requests, 1000):
            client.send_mixed(server, 1000)
        pids = server.pids
        total = proc.memory(pids)
        parts = {pid: proc.memory([pid]).pss for pid in pids}
    say(
        f"{kind:20} {workers:3} workers  PSS {total.pss / 1024:7.1f} MB  (anonymous {total.anonymous / 1024:7.1f}; "
        f"before any request {idle.pss / 1024:7.1f}; {len(reached)} workers reached; {len(pids)} processes)"
    )
    return {
        "server": kind,
        "workers": workers,
        "pss_kb": total.pss,
        "anonymous_kb": total.anonymous,
        "idle_pss_kb": idle.pss,
        "reached": len(reached),
        "processes": len(pids),
        "parts_kb": list(parts.values()),
    }


def per_worker_kb(rows: Sequence[dict[str, Any]], server: str) -> float | None:
    """Return what one more worker costs: the slope between the smallest and the largest family."""
    points = sorted((row["workers"], row["pss_kb"]) for row in rows if row["server"] == server)
    if len(points) < 2:
        return None
    (few, little), (many, much) = points[0], points[-1]
    return float((much - little) / (many - few))


def table(data: dict[str, Any]) -> list[str]:
    """Return the result as the lines of a Markdown table."""
    rows = data["rows"]
    counts = sorted({row["workers"] for row in rows})
    servers = list(dict.fromkeys(row["server"] for row in rows))
    pss = {(row["server"], row["workers"]): row["pss_kb"] / 1024 for row in rows}
    lines = [
        "| server | "
        + " | ".join(f"{count} w" for count in counts)
        + " | each further worker | Aeros/it at 4 | with --warmup |",
        "|---|" + "--:|" * (len(counts) + 3),
    ]
    for server in servers:
        cells = [f"{pss[server, count]:.0f}" if (server, count) in pss else "" for count in counts]
        slope = per_worker_kb(rows, server)
        cells.append(f"{slope / 1024:.1f}" if slope is not None else "")
        for ours in ("aeros", "aeros --warmup"):
            ratio = pss[ours, 4] / pss[server, 4] if (ours, 4) in pss and (server, 4) in pss else None
            cells.append("" if ratio is None or server.startswith("aeros") else f"{ratio:.2f}")
        lines.append(f"| {server} | " + " | ".join(cells) + " |")
    return lines
