"""CPU per request, requests a second and delay, row by row, server after server in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from . import load
from .load import Http, LoadError, Sample
from .servers import PEERS, Plan, Running, ServerFailedError, all_running, get
from .statistics import Summary, paired_ratio
from .tell import note, say

KINDS = ("aeros", *PEERS)
_WARM_UP_S = 1.0


@dataclass(frozen=True)
class Row:
    """One row of the table: what is asked, over which protocol."""

    name: str
    about: str
    run: Callable[[Running, float], Sample]
    plan: Plan


def _http(what: Http) -> Callable[[Running, float], Sample]:
    return lambda server, seconds: load.wrk(server, what, seconds)


_PLAIN = Plan()
_FORM = "application/x-www-form-urlencoded"
_BYTES = "application/octet-stream"
ROWS = {
    row.name: row
    for row in (
        Row("json", "GET, a small JSON object", _http(Http()), _PLAIN),
        Row("path", "GET with two path parts and a query", _http(Http(path="/hello/ann/7?from=bob&n=3")), _PLAIN),
        Row("echo-1k", "POST, 1 KiB echoed", _http(Http("POST", "/echo", b"x" * 1024, _BYTES)), _PLAIN),
        Row(
            "echo-1m",
            "POST, 1 MiB echoed",
            _http(Http("POST", "/echo", b"x" * 1048576, _BYTES, connections=16)),
            _PLAIN,
        ),
        Row("form", "POST, a small form", _http(Http("POST", "/form", b"name=Ann&email=ann%40x.org", _FORM)), _PLAIN),
        Row("template", "GET, a Jinja template with a loop", _http(Http(path="/template")), _PLAIN),
        Row("stream", "GET, ten chunks of 1 KiB", _http(Http(path="/stream")), _PLAIN),
        Row("large", "GET, 100 KiB", _http(Http(path="/large")), _PLAIN),
        Row("text", "GET, plain text", _http(Http(path="/text")), _PLAIN),
        Row("static", "GET, a 10 KiB file", _http(Http(path="/static/style.css")), _PLAIN),
        Row("def", "GET, a handler that is a plain def", _http(Http(path="/def")), _PLAIN),
        Row("close", "GET, a connection for each request", _http(Http(close=True)), _PLAIN),
        Row("pipelined", "GET, 16 requests at a time", _http(Http(path="/json", depth=16)), _PLAIN),
        Row("websocket", "a 64-byte message there and back", load.websocket, _PLAIN),
        Row("tls", "GET over TLS", _http(Http()), Plan(tls=True)),
        Row(
            "http2",
            "GET over HTTP/2 with TLS, 4 streams each on 16 connections",
            lambda server, seconds: load.h2load(server, "/json", seconds),
            Plan(tls=True, http2=True),
        ),
    )
}


def measure(kinds: Sequence[str], rows: Sequence[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Return {"rounds", "seconds", "rows": {row: {server: {"cpu_us": [...], "rps": [...], ...}}}}."""
    results: dict[str, Any] = {}
    for plan in dict.fromkeys(ROWS[name].plan for name in rows):
        with all_running(kinds, plan) as servers:
            for server in servers.values():
                _expect_sound(server)
            for name in (name for name in rows if ROWS[name].plan == plan):
                results[name] = _row(ROWS[name], servers, rounds, seconds)
    return {"rounds": rounds, "seconds": seconds, "rows": {name: results[name] for name in rows}}


def _expect_sound(server: Running) -> None:
    """Raise ServerFailedError if the server does not give the app's answers."""
    expected = (("/json", b'"response"'), ("/template", b"AEROS &amp; OTHERS"), ("/static/style.css", b".rule-1"))
    for path, part in expected:
        answer = get(server, path)
        if b" 200 " not in answer[:20] or part not in answer:
            raise ServerFailedError(f"{server.name} answered {path} with {answer[:200]!r}")


def _row(row: Row, servers: dict[str, Running], rounds: int, seconds: float) -> dict[str, Any]:
    note(f"{row.name}: {row.about}")
    able, results = list(servers), {name: _columns() for name in servers}
    for name, server in servers.items():
        try:
            row.run(server, _WARM_UP_S)
        except LoadError as error:
            able.remove(name)
            results[name] = {"unable": str(error)}
            note(f"  {name}: {error}")
    for number in range(rounds):
        # Another order each time, so that nobody always comes after the same neighbour.
        for name in able[number % len(able) :] + able[: number % len(able)]:
            _once(row, servers[name], seconds, results[name])
    for line in lines_of(row.name, results):
        say(line)
    return results


def _columns() -> dict[str, Any]:
    return {"cpu_us": [], "rps": [], "p50_us": [], "p99_us": [], "p999_us": [], "failed": 0}


def _once(row: Row, server: Running, seconds: float, columns: dict[str, Any]) -> None:
    time.sleep(0.2)  # what the load before left to do belongs to it
    before = server.cpu_s()
    sample = row.run(server, seconds)
    server.check()
    cpu_s = server.cpu_s() - before
    columns["cpu_us"].append(cpu_s / sample.requests * 1e6)
    columns["rps"].append(sample.per_second)
    figures = asdict(sample)
    for name in ("p50_us", "p99_us", "p999_us"):
        columns[name].append(figures[name])
    columns["failed"] += sample.failed


def lines_of(row: str, results: dict[str, Any]) -> list[str]:
    """Return one line per server for the reader."""
    lines = []
    for server, columns in results.items():
        if "unable" in columns:
            lines.append(f"{row:10} {server:10} unable: {columns['unable']}")
            continue
        cpu, rps = Summary.of(columns["cpu_us"]), Summary.of(columns["rps"])
        line = (
            f"{row:10} {server:10} {cpu.median:8.1f} us CPU +-{cpu.spread:4.0%} {rps.median:9.0f}/s +-{rps.spread:4.0%}"
            f"  p50/99/99.9 {_delays(columns):>20} ms"
        )
        if columns["failed"]:
            line += f"  {columns['failed']} FAILED"
        ours = results.get("aeros", {})
        if server != "aeros" and ours.get("cpu_us"):
            line += f"  aeros/it {paired_ratio(ours['cpu_us'], columns['cpu_us']).median:.2f} CPU"
            line += f" {paired_ratio(ours['rps'], columns['rps']).median:.2f} rate"
        lines.append(line)
    return lines


def table(data: dict[str, Any]) -> list[str]:
    """Return the result as the lines of Markdown tables: CPU, then rate and delay."""
    rows: dict[str, Any] = data["rows"]
    servers = list(next(iter(rows.values())))
    peers = [server for server in servers if server != "aeros"]
    lines = [
        "| CPU per request, us | aeros | " + " | ".join(f"{peer} | ratio" for peer in peers) + " |",
        "|---|--:|" + "--:|--:|" * len(peers),
    ]
    for name, results in rows.items():
        cells = [_cell(results["aeros"], "cpu_us")]
        for peer in peers:
            cells += [_cell(results[peer], "cpu_us"), _ratio(results, peer, "cpu_us")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| requests a second; p50 / p99 / p99.9 in ms | " + " | ".join(servers) + " |"]
    lines.append("|---|" + "--:|" * len(servers))
    for name, results in rows.items():
        lines.append(f"| {name} | " + " | ".join(_rate(results[server]) for server in servers) + " |")
    return lines


def _cell(columns: dict[str, Any], name: str) -> str:
    if "unable" in columns:
        return "no"
    summary = Summary.of(columns[name])
    return f"{summary.median:.0f} ±{summary.spread:.0%}"


def _ratio(results: dict[str, Any], peer: str, name: str) -> str:
    if "unable" in results[peer] or "unable" in results["aeros"]:
        return ""
    ratio = paired_ratio(results["aeros"][name], results[peer][name]).median
    return f"**{ratio:.2f}**" if ratio < 1 else f"{ratio:.2f}"


def _rate(columns: dict[str, Any]) -> str:
    if "unable" in columns:
        return "no"
    failed = f"; {columns['failed']} failed" if columns["failed"] else ""
    return f"{Summary.of(columns['rps']).median:.0f}; {_delays(columns)}{failed}"


def _delays(columns: dict[str, Any]) -> str:
    """Return p50 / p99 / p99.9 in milliseconds; wrk cannot tell them for every pipelined load, and says 0."""
    medians = [Summary.of(columns[name]).median / 1000 for name in ("p50_us", "p99_us", "p999_us")]
    return " / ".join(f"{value:.1f}" if value else "?" for value in medians)
