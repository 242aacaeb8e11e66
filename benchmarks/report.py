"""The results as docs/benchmarks.md and docs/benchmarks.svg."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import memory, real, speed
from .plot import bars
from .servers import KINDS, ROOT, Plan
from .statistics import Summary, paired_ratio
from .tell import note

_RESULTS = ROOT / ".bench" / "results.json"
_TEMPLATE = Path(__file__).parent / "page.md"
_PAGE = ROOT / "docs" / "benchmarks.md"
_PLOT = ROOT / "docs" / "benchmarks.svg"
_PACKAGES = ("aeros", "quart", "hypercorn", "uvicorn", "gunicorn", "granian", "uvloop", "httptools", "zttp")


def keep(what: str, data: Any, arguments: Sequence[str]) -> None:
    """Remember a result for the report, with what it was measured on."""
    results = _load()
    results[what] = {
        "data": data,
        "command": " ".join(["scripts/bench", *arguments]),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
    }
    results["machine"] = machine()
    _RESULTS.parent.mkdir(exist_ok=True)
    _RESULTS.write_text(json.dumps(results, indent=1))


def _load() -> dict[str, Any]:
    return dict(json.loads(_RESULTS.read_text())) if _RESULTS.exists() else {}


def _commit() -> str:
    done = subprocess.run(["git", "log", "-1", "--format=%h"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def machine() -> dict[str, str]:
    """Return what the figures depend on, without saying whose machine it is."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "CPU": f"{len(os.sched_getaffinity(0))} x {model}",
        "memory": f"{pages / 2**30:.0f} GiB",
        "kernel": f"Linux {'.'.join(platform.release().split('.')[:2])}",
        "Python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def table_of(what: str, data: Any) -> list[str]:
    """Return a result as Markdown."""
    return _TABLES[what](data)


def _boot_table(data: dict[str, Any]) -> list[str]:
    lines = ["| | median | spread | times the imports |", "|---|--:|--:|--:|"]
    for name, values in data["seconds"].items():
        summary, ratio = Summary.of(values), paired_ratio(values, data["seconds"]["imports"])
        shown = '`python -c "import quart, hypercorn, uvloop"`' if name == "imports" else name
        lines.append(f"| {shown} | {summary.median * 1000:.0f} ms | ±{summary.spread:.0%} | {ratio.median:.2f} |")
    return lines


def _recovery_table(data: dict[str, Any]) -> list[str]:
    lines = ["| server | median | fastest | slowest | kills |", "|---|--:|--:|--:|--:|"]
    for name, found in data["servers"].items():
        if not found["seconds"]:
            lines.append(f"| {name} | the server ended | | | |")
            continue
        summary = Summary.of([value * 1000 for value in found["seconds"]])
        lines.append(
            f"| {name} | {summary.median:.0f} ms | {summary.low:.0f} ms | {summary.high:.0f} ms | {summary.count} |"
        )
    return lines


def _reload_table(data: dict[str, Any]) -> list[str]:
    lines = [
        "| server | requests | failed | longest time without any answer | new workers everywhere after |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, found in data["servers"].items():
        if found.get("ended"):
            lines.append(f"| {name} | the server ended | | | |")
            continue
        lines.append(
            f"| {name} | {found['requests']} | {found['failed']} | {found['gap_s'] * 1000:.0f} ms | "
            f"{Summary.of(found['seconds']).median:.2f} s |"
        )
    return lines


def _balance_table(data: dict[str, Any]) -> list[str]:
    lines = ["| server | workers | busiest/fair, median | worst | an example |", "|---|--:|--:|--:|---|"]
    for row in data["rows"]:
        summary = Summary.of(row["skews"])
        counts = " ".join(str(count) for count in row["counts"][0])
        lines.append(f"| {row['server']} | {row['workers']} | {summary.median:.2f} | {summary.high:.2f} | {counts} |")
    return lines


def _idle_table(data: dict[str, Any]) -> list[str]:
    lines = [
        f"| server, {data['workers']} workers | supervisor's CPU | its wake-ups a second | CPU of all processes |",
        "|---|--:|--:|--:|",
    ]
    for name, found in data["servers"].items():
        lines.append(
            f"| {name} | {found['supervisor']:.3%} of a core | {found['wake_ups']:.1f} | {found['family']:.2%} |"
        )
    return lines


_TABLES: dict[str, Callable[[Any], list[str]]] = {
    "memory": memory.table,
    "program": real.table,
    "speed": speed.table,
    "boot": _boot_table,
    "recovery": _recovery_table,
    "reload": _reload_table,
    "balance": _balance_table,
    "idle": _idle_table,
}


def write() -> None:
    """Write the page and the plot from what has been measured."""
    results = _load()
    text = _TEMPLATE.read_text()
    machine_line = ", ".join(f"{name} {value}" for name, value in results.get("machine", {}).items())
    text = text.replace("<!-- machine -->", f"The machine of this run: {machine_line}.")
    text = text.replace("<!-- rows -->", "\n".join(f"- `{row.name}`: {row.about}" for row in speed.ROWS.values()))
    text = text.replace("<!-- commands -->", "\n".join(f"    {kind.shown(Plan())}" for kind in KINDS.values()))
    for what in _TABLES:
        kept = results.get(what)
        lines = (
            [*table_of(what, kept["data"]), "", f"`{kept['command']}`, {kept['date']}, at {kept['commit']}."]
            if kept
            else ["Not run."]
        )
        text = text.replace(f"<!-- table {what} -->", "\n".join(lines))
    _PAGE.parent.mkdir(exist_ok=True)
    _PAGE.write_text(text)
    if "speed" in results:
        _PLOT.write_text(_plot(results["speed"]["data"]["rows"]))
    note(f"wrote {_PAGE.relative_to(ROOT)} and {_PLOT.relative_to(ROOT)}")


def _plot(rows: dict[str, Any]) -> str:
    groups = {
        name: {
            server: paired_ratio(columns["cpu_us"], results["uvicorn"]["cpu_us"]).median
            for server, columns in results.items()
            if columns.get("cpu_us") and results["uvicorn"].get("cpu_us")
        }
        for name, results in rows.items()
        if "uvicorn" in results
    }
    return bars("CPU per request, relative to uvicorn (shorter is better)", groups)
