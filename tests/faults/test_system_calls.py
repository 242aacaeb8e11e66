"""System calls that fail: out of processes, descriptors or memory, in the supervisor and its zygotes."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from aeros.core.faults import Dice, FaultPlan, parse
from tests.apps import deploy
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.figures import Report
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet

REFUSED = (r"worker slot=\d", "spare zygote", "on purpose", "reload refused", "the system refuses", "control: ")


def faulty(text: str) -> dict[str, str]:
    return {"AEROS_FAULTS": text}


def limit(pid: int, kind: int, soft: int) -> tuple[int, int]:
    """Set the soft limit of a process; what it was before."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (soft, before[1]))
    return before


@pytest.mark.parametrize(("text", "told"), [("fork=EAGAIN", "first process"), ("socketpair=EMFILE", "first process")])
def test_a_start_without_processes_or_descriptors_is_one_sentence(serve: Serve, text: str, told: str) -> None:
    server = serve("full", "-w", "2", env=faulty(text))
    server.expect("on purpose")
    assert server.wait_exit() == 1
    assert told in server.log
    assert "Traceback" not in server.log


def test_a_wrong_plan_is_one_sentence(serve: Serve) -> None:
    server = serve("full", env=faulty("fork=EAGAIN:7"))
    assert server.wait_exit() == 2
    assert "AEROS_FAULTS must give fork a probability" in server.log


def seed_for(
    text: str, role: str, call: str, wanted: Sequence[bool], clean: Sequence[tuple[str, str, int]] = ()
) -> int:
    """The first seed with which `call` of the process `role` goes as wanted (True: it succeeds), one throw after the
    other; and with which those of `clean` (role, call, how often) succeed."""
    for seed in range(1_000_000):
        plan = parse(f"{text},seed={seed}")
        if goes(plan, role, call, len(wanted)) == list(wanted) and all(
            all(goes(plan, other, name, times)) for other, name, times in clean
        ):
            return seed
    raise AssertionError("no such seed")


def goes(plan: FaultPlan, role: str, call: str, times: int) -> list[bool]:
    perhaps = Dice(plan, role).loaded(call, lambda: None)
    seen = []
    for _ in range(times):
        try:
            perhaps()
            seen.append(True)
        except OSError:
            seen.append(False)
    return seen


@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
def test_forks_that_fail_are_tried_again_once_a_second_and_others_serve(
    serve: Serve, error: str, report: Report
) -> None:
    """Catalogue 11 and 12: no spin, no give-up, full strength when the shortage is over."""
    text = f"fork={error}:0.5"
    # Two workers and the spare are made, then three forks in a row fail.
    wanted = [True] * 3 + [False] * 3 + [True] * 3
    seed = seed_for(text, "zygote gen=1", "fork", wanted, [("supervisor", "fork", 1)])
    server = serve("full", "-w", "2", env=faulty(f"{text},seed={seed}")).ready(2)
    server.expect(*REFUSED)
    server.complete(2)
    victim, other = sorted(server.ready_pids())
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        ticks = proc.cpu_ticks(server.pid)
        begun = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: server.status().state == "degraded", 5)
        server.ready(2)
        took = time.monotonic() - begun
        ticks = proc.cpu_ticks(server.pid) - ticks
    assert other in server.ready_pids()
    assert server.log.count("could not be made") == 3
    assert 2.5 < took < 8
    assert ticks < 40, f"{ticks} ticks of CPU in {took:.1f} s"
    assert len(tally.failures) <= 2, tally.summary()
    report.note(f"1 attempt per second and slot, {ticks * 10} ms CPU in {took:.1f} s")
    assert server.stop() == 0


@pytest.mark.slow
def test_a_spare_zygote_that_cannot_be_made_is_tried_again_later(serve: Serve) -> None:
    text = "fork=EAGAIN:0.5"
    seed = seed_for(text, "zygote gen=1", "fork", [True, True, False, True, True], [("supervisor", "fork", 1)])
    server = serve("full", "-w", "2", env=faulty(f"{text},seed={seed}")).ready(2)
    server.expect(*REFUSED)
    server.wait_log("no spare zygote could be made", 5)
    server.complete(2)
    assert server.log.count("no spare zygote") == 1
    assert server.stop() == 0


def test_the_supervisor_out_of_descriptors_serves_reaps_recovers_and_stops(
    serve: Serve, tmp_path: Path, report: Report
) -> None:
    """Catalogue 14, with the kernel's own limit."""
    server = serve("full", "-w", "2").ready(2)
    server.expect(*REFUSED)
    server.complete(2)
    victim, other = sorted(server.ready_pids())
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        before = limit(server.pid, resource.RLIMIT_NOFILE, 3)
        ticks, begun = proc.cpu_ticks(server.pid), time.monotonic()
        os.kill(victim, signal.SIGKILL)
        server.wait_log("could not be made", 10, count=2)
        deploy(tmp_path / "app.py", "full", "v2")
        server.send_signal(signal.SIGHUP)
        server.wait_log("reload refused", 10)
        assert not proc.zombies({server.pid})
        ticks, seconds = proc.cpu_ticks(server.pid) - ticks, time.monotonic() - begun
        assert ticks <= 50 + 20 * seconds, f"{ticks} ticks in {seconds:.1f} s: it spins"
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
        server.ready(2)
        server.send_signal(signal.SIGHUP)
        server.settled(3)
        eventually(lambda: "v2" in tally.versions(), 10)
    assert other not in server.ready_pids()
    assert len(tally.failures) <= 2, tally.summary()
    report.note(f"{ticks * 10} ms CPU in {seconds:.1f} s without descriptors")
    assert server.stop() == 0


@pytest.mark.limit_s(120)
def test_an_hour_of_bad_luck_in_short(serve: Serve, tmp_path: Path, report: Report) -> None:
    """Catalogue 56: every call of the rim fails now and then, under load, kills and reloads."""
    calls = "fork=EAGAIN:0.15,spawn=ENOMEM:0.1,socketpair=EMFILE:0.08,memfd=EMFILE:0.05,pipe=EMFILE:0.1"
    calls += ",accept=EMFILE:0.2,pidfd=EMFILE:0.2,kill=EPERM:0.2,write=ENOSPC:0.05,dup=EMFILE:0.3"
    # The fork fails more often than what else a start cannot do without, and the dice are the same for all.
    seed = seed_for(calls, "zygote gen=1", "fork", [True] * 3, [("supervisor", "fork", 12)])
    server = serve("full", "-w", "3", env=faulty(f"{calls},seed={seed}")).ready(3)
    server.expect(*REFUSED, "log lines? w(as|ere) lost")  # writes fail too, on purpose
    reloads = 0
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        for step in range(12):
            if step % 3 == 2:
                deploy(tmp_path / "app.py", "full", f"v{step}")
                server.send_signal(signal.SIGHUP)
                reloads += 1
            else:
                with contextlib.suppress(ProcessLookupError):  # it may have met its end meanwhile
                    os.kill(min(server.ready_pids()), signal.SIGKILL)
            begun = tally.ok
            eventually(lambda begun=begun: tally.ok > begun + 20, 15)
            eventually(lambda: server.status().state == "ready", 30)
    refused = [failure for failure in tally.failures if failure.outcome == "refused"]
    assert not refused
    assert len(tally.failures) <= 8 * 2, tally.summary()
    assert server.popen.poll() is None
    eventually(lambda: not proc.zombies(server.family), 5, "no zombies")
    report.note(f"seed {seed}: {server.log.count('on purpose') - 1} failures shown, {reloads} reloads, 8 kills")
    assert server.stop() == 0
