"""docs/reliability.md, written from what `scripts/faults` found; `--tests` prints the tests of the catalogue instead."""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from .catalogue import CATALOGUE, Entry

ROOT = Path(__file__).resolve().parents[2]
FOUND = ROOT / ".faults"
PAGE = ROOT / "docs/reliability.md"
PEERS = ("aeros", "gunicorn", "uvicorn", "hypercorn", "granian")

_HEAD = """# Reliability

What goes wrong is brought about on purpose, in automatic tests, with clients that ask all the time. This page is written by
`scripts/faults` from what those tests found; the figures are those of one run.

"n of m failed" counts the requests of the background clients during the fault. Where it is not 0, they were in flight in
the worker that was killed. Every test also fails on a process or a zombie left behind, and on a line at warning or above in the log that
it did not expect.
"""

_PEERS = """
## Beside other servers

The same fault, done to a fresh server with two workers, its other settings as they come, while one client asks on new connections.
A failed request is one without a whole answer within 2 s.
"""

_PROMISES = """
## In numbers

What is promised, and what `python -m tests.faults.promises` found. The load is four clients: one keeps its connection, one makes a new one each
time, one asks for what takes half a second, one uploads slowly.

| | Promised | Found |
|---|---|---|
"""

_SOAK = """
## All at once

`scripts/soak --minutes 30 --seed N` does random faults to one server under load: kills of workers and zygotes, SIGSTOP, blocked
loops, good and bad reloads, bursts of SIGHUP, scaling, slow clients, resets, processes without descriptors, a full disk. It fails unless
full strength returns after each, only requests in flight in lost workers failed, descriptors, memory, threads and
processes stay bounded, and the totals of the status match what the clients counted.
"""


def tests() -> list[str]:
    """The tests of the catalogue, each once, as pytest takes them."""
    return list(dict.fromkeys(f"tests/{name}" for entry in CATALOGUE for name in entry.tests))


def results_of(entry: Entry, found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was found by the tests of an entry; a parametrised test counts with all of its cases."""
    return [
        result
        for name in entry.tests
        for node, result in found.items()
        if node == f"tests/{name}" or node.startswith((f"tests/{name}[", f"tests/{name}::"))
    ]


def figure(results: list[dict[str, Any]]) -> str:
    """One cell of the table."""
    if not results:
        return "not run"
    bad = [result["outcome"] for result in results if result.get("outcome") != "passed"]
    if bad:
        return f"**{bad[0]}**"
    parts = []
    requests = sum(result.get("requests", 0) for result in results)
    if requests:
        parts.append(f"{sum(result.get('failed', 0) for result in results)} of {requests} failed")
    parts += [note for result in results for note in result.get("notes", [])][:3]
    return "survived" + (f": {'; '.join(parts)}" if parts else "")


def table(found: dict[str, Any]) -> str:
    lines = ["| | Fault | What must happen | Aeros | Test |", "|---|---|---|---|---|"]
    for entry in CATALOGUE:
        if entry.why_not:
            lines.append(f"| {entry.number} | {entry.fault} | {entry.expected} | not tested: {entry.why_not} | |")
            continue
        names = ", ".join(f"`{name.rpartition('::')[2]}`" for name in entry.tests)
        got = figure(results_of(entry, found))
        lines.append(f"| {entry.number} | {entry.fault} | {entry.expected} | {got} | {names} |")
    return "\n".join(lines)


def peers_table(peers: dict[str, Any]) -> str:
    versions = peers["versions"]
    head = " | ".join(f"{name.capitalize()} {versions[name]}" for name in PEERS)
    lines = [f"| Fault | {head} |", "|---" * (len(PEERS) + 1) + "|"]
    for injection, by_name in peers["results"].items():
        cells = " | ".join(by_name.get(name, "not run") for name in PEERS)
        lines.append(f"| {injection.capitalize()} | {cells} |")
    return "\n".join(lines)


def read(name: str) -> dict[str, Any]:
    path = FOUND / name
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def main() -> None:
    if "--tests" in sys.argv:
        print("\n".join(tests()))
        return
    found, peers = read("tests.json"), read("peers.json")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    when = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit}, Python {platform.python_version()}"
    soaks = FOUND / "soak.txt"
    parts = [_HEAD, f"Written {when}.", "\n## The catalogue\n", table(found)]
    if peers:
        parts += [_PEERS, peers_table(peers)]
    promises = read("promises.json")
    if promises:
        rows = [f"| {name} | {promised} | {figure} |" for name, (promised, figure) in promises.items()]
        parts.append(_PROMISES + "\n".join(rows))
    parts += [_SOAK, *([f"```text\n{soaks.read_text().strip()}\n```"] if soaks.exists() else [])]
    PAGE.write_text("\n".join(parts).rstrip("\n") + "\n")
    print(f"{PAGE.relative_to(ROOT)} written")


if __name__ == "__main__":
    main()
