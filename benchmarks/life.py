"""Boot, recovery, reload, balance, idle: what a server does beside answering."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from . import client, proc
from .servers import PEERS, ROOT, Plan, Running, ServerFailedError, running
from .statistics import Summary, paired_ratio, skew
from .tell import note, say

_BASELINE = "import quart, hypercorn, uvloop"
_LOST = "the server ended"
_HOLD_S = 2.5


def boot(kinds: Sequence[str], rounds: int) -> dict[str, Any]:
    """Seconds from the command to the first 200, 2 workers, against the imports nobody can do without."""
    times: dict[str, list[float]] = {name: [] for name in ("imports", *kinds)}
    for number in range(rounds + 1):
        taken = {"imports": _import_s()}
        for kind in kinds:
            with running(kind, Plan(), settle=False) as server:
                taken[kind] = server.boot_s
        if number:  # the first round fills the disk cache
            for name, seconds in taken.items():
                times[name].append(seconds)
    for name, values in times.items():
        summary, ratio = Summary.of(values), paired_ratio(values, times["imports"])
        say(f"boot {name:20} {summary.median * 1000:7.0f} ms +-{summary.spread:4.0%}  {ratio.median:5.2f}")
    return {"rounds": rounds, "seconds": times}


def _import_s() -> float:
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", _BASELINE], check=True, cwd=ROOT)
    return time.monotonic() - begin


def recovery(kinds: Sequence[str], rounds: int) -> dict[str, Any]:
    """Milliseconds from SIGKILL of a worker until its replacement answers.

    Two workers, and the other one is held in a blocking handler, so that only the replacement can answer.
    """
    results: dict[str, Any] = {}
    for kind in kinds:
        times: list[float] = []
        ended = 0
        while len(times) < rounds:
            try:
                with running(kind, Plan()) as server:
                    while len(times) < rounds:
                        times.append(_kill_one(server))
            except (ServerFailedError, OSError) as error:
                ended += 1
                note(f"  {kind}: {error}"[:200])
                if ended > 2:
                    break
        results[kind] = {"seconds": times, "ended": ended}
        if times:
            summary = Summary.of(times)
            say(
                f"recovery {kind:20} median {summary.median * 1000:6.1f} ms  ({summary.low * 1000:.1f} to "
                f"{summary.high * 1000:.1f}, {len(times)} kills{f', {ended} times the server ended' if ended else ''})"
            )
        else:
            say(f"recovery {kind:20} {_LOST}")
    return {"rounds": rounds, "servers": results}


def _kill_one(server: Running) -> float:
    pids = sorted(client.pids_answering(server, 2))
    if len(pids) < 2:
        raise ServerFailedError(f"{server.name}: only {len(pids)} of 2 workers answer")
    victim = pids[0]
    held_until = time.monotonic() + _HOLD_S
    holding = client.hold(server, pids[1], _HOLD_S)
    try:
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        taken = client.first_answer_s(server, 4, killed, {*pids}, 15.0)
    finally:
        for line in holding:
            line.close()
    server.check()
    if taken is None:
        raise ServerFailedError(f"{server.name}: nobody answered within 15 s")
    time.sleep(max(0.0, held_until - time.monotonic()) + 0.5)  # nothing is left of this kill
    return taken


def reload(kinds: Sequence[str], rounds: int) -> dict[str, Any]:
    """SIGHUP under load, 2 workers, 8 clients: failed requests, and the longest time without any answer."""
    results: dict[str, Any] = {}
    for kind in kinds:
        try:
            with running(kind, Plan()) as server:
                results[kind] = _reloads(server, rounds)
        except ServerFailedError as error:
            note(str(error)[:300])
            results[kind] = {"ended": True}
            say(f"reload {kind:20} {_LOST}")
            continue
        found = results[kind]
        say(
            f"reload {kind:20} {found['failed']} of {found['requests']} failed in {rounds} reloads, longest gap "
            f"{found['gap_s'] * 1000:.0f} ms, new workers everywhere after {Summary.of(found['seconds']).median:.2f} s"
        )
    return {"rounds": rounds, "servers": results}


def _reloads(server: Running, rounds: int) -> dict[str, Any]:
    seconds = []
    with client.SteadyLoad(server) as tally:
        time.sleep(1.0)
        for _ in range(rounds):
            old = client.pids_answering(server, 2)
            begin = time.monotonic()
            os.kill(server.pid, signal.SIGHUP)
            client.wait_for(lambda old=old: not old & set(server.pids), 30.0, 0.05)  # type: ignore[misc]
            seconds.append(time.monotonic() - begin)
            server.check()
            time.sleep(1.0)
    return {
        "requests": tally.answered + tally.failed,
        "failed": tally.failed,
        "failures": dict(tally.failures),
        "gap_s": tally.longest_gap_s,
        "seconds": seconds,
    }


def balance(kinds: Sequence[str], rounds: int, connections: int = 64) -> dict[str, Any]:
    """Connections opened in a burst, per worker; skew is the busiest worker's share over the fair one."""
    rows = []
    for workers in (4, 8):
        for kind in kinds:
            with running(kind, Plan(workers=workers)) as server:
                counts = []
                for _ in range(rounds):
                    found = client.burst(server, connections)
                    counts.append(sorted([*found.values(), *[0] * (workers - len(found))], reverse=True))
                    time.sleep(0.3)
            skews = [skew(each) for each in counts]
            rows.append({"server": kind, "workers": workers, "counts": counts, "skews": skews})
            summary = Summary.of(skews)
            say(
                f"balance {kind:20} {workers} workers  busiest/fair median {summary.median:.2f}, worst "
                f"{summary.high:.2f}  e.g. {counts[0]}"
            )
    return {"connections": connections, "rows": rows}


def idle(kinds: Sequence[str], workers: int, seconds: float) -> dict[str, Any]:
    """What supervising costs while nothing happens: CPU and wake-ups of the supervisor, and of the whole family."""
    results: dict[str, Any] = {}
    for kind in kinds:
        with running(kind, Plan(workers=workers)) as server:
            time.sleep(3.0)
            pids = server.pids
            before = (proc.run_s(server.pid), proc.switches(server.pid), server.cpu_s())
            time.sleep(seconds)
            after = (proc.run_s(server.pid), proc.switches(server.pid), server.cpu_s())
            found = {
                "supervisor": (after[0] - before[0]) / seconds,
                "wake_ups": (after[1] - before[1]) / seconds,
                "family": (after[2] - before[2]) / seconds,
                "processes": len(pids),
            }
        results[kind] = found
        say(
            f"idle {kind:20} {workers} workers  supervisor {found['supervisor']:.3%} of a core, "
            f"{found['wake_ups']:.1f} wake-ups/s; all {found['processes']} processes {found['family']:.2%}"
        )
    return {"workers": workers, "seconds": seconds, "servers": results}


RECOVERY_KINDS = ("aeros", "uvicorn", "gunicorn", "gunicorn --preload", "granian", "hypercorn")
KINDS = ("aeros", *PEERS)
