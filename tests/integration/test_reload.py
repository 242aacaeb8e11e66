"""Acceptance 2: a reload brings the new code and drops nothing, for one worker as for several."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.apps import HANGING, deploy, replace, source_of
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import Watch, eventually
from tests.helpers.http import Connection
from tests.helpers.load import MIXED, KeepAliveGet, Load, NewConnectionGet, SlowGet, SlowUpload
from tests.helpers.serverproc import ServerProcess
from tests.helpers.wsclient import EchoClient


def reload_under_load(server: ServerProcess, program: Path, workers: int, reloads: int, gap_s: float) -> None:
    """SIGHUP again and again with new code each time, under every kind of client; nothing may fail."""
    with (
        Watch(lambda: len(server.ready_pids())) as ready,
        EchoClient(server.address) as echo,
        Load(server.address, MIXED) as tally,
    ):
        for number in range(2, reloads + 2):
            next_at = time.monotonic() + gap_s
            version = f"v{number}"
            before = server.ready_pids()
            deploy(program, version=version)
            server.send_signal(signal.SIGHUP)
            eventually(lambda old=before: not old & server.ready_pids(), 30, f"new workers for {version}")
            server.settled()
            settled_at = time.monotonic()
            eventually(lambda since=settled_at: len(tally.seen(since)) > 0, 10, "requests after the reload")
            eventually(lambda at=next_at: time.monotonic() >= at, gap_s + 1)
            assert tally.versions(settled_at) == {version}, "two versions serve at a settled moment"
        eventually(lambda: len(echo.endings) >= reloads, 15, f"{reloads} WebSocket endings: {echo.endings}")
    tally.assert_nothing_failed(at_least=20 * reloads)
    # A client that connects again at once may meet another old worker that has not heard of its end yet.
    assert set(echo.codes) == {1012}
    assert reloads <= len(echo.codes) <= reloads * workers
    assert not echo.faults
    assert not ready.errors
    assert min(ready.values) >= workers, f"ready workers fell to {min(ready.values)}"  # type: ignore[type-var]


@pytest.mark.parametrize("workers", [1, 2])
def test_reloads_under_load_drop_nothing(serve: Serve, tmp_path: Path, workers: int) -> None:
    server = serve("full", "-w", str(workers)).ready(workers)
    supervisor_threads = proc.thread_count(server.pid)
    reload_under_load(server, tmp_path / "app.py", workers, reloads=3, gap_s=0)
    assert proc.thread_count(server.pid) == supervisor_threads
    assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.limit_s(300)
@pytest.mark.parametrize("workers", [1, 4])
def test_ten_reloads_two_seconds_apart(serve: Serve, tmp_path: Path, workers: int) -> None:
    server = serve("full", "-w", str(workers)).ready(workers)
    reload_under_load(server, tmp_path / "app.py", workers, reloads=10, gap_s=2)
    assert server.stop() == 0


def test_reload_with_the_plain_asyncio_loop(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "2", "-k", "asyncio").ready(2)
    reload_under_load(server, tmp_path / "app.py", 2, reloads=2, gap_s=0)
    assert server.stop() == 0


def test_a_draining_worker_answers_keep_alive_connections_and_says_close(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1", "--drain-timeout", "20", "--keep-alive", "30").ready(1)
    with Connection(server.address) as connection:
        old = connection.request("GET", "/").json()["pid"]
        deploy(tmp_path / "app.py", version="v2")
        server.send_signal(signal.SIGHUP)
        eventually(lambda: server.get().json()["version"] == "v2", 30, "the new code answers")
        assert not connection.idle_closed(), "an idle connection was cut by the drain"
        # The new worker answers a moment before the old one is told to drain.
        answers = []

        def told() -> bool:
            answers.append(connection.request("GET", "/"))
            return answers[-1].says_close

        eventually(told, 5, "an answer that says close")
        assert {(answer.status, answer.json()["pid"]) for answer in answers} == {(200, old)}
        eventually(connection.idle_closed, 5, "the connection closed after the last answer")
    eventually(lambda: not proc.alive(old), 10, "the old worker gone once nothing holds it")
    assert server.stop() == 0


def test_an_idle_connection_keeps_its_keep_alive_time_through_a_drain(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1", "--drain-timeout", "20", "--keep-alive", "3").ready(1)
    with Connection(server.address) as connection:
        connection.request("GET", "/")
        idle_since = time.monotonic()
        deploy(tmp_path / "app.py", version="v2")
        server.send_signal(signal.SIGHUP)
        eventually(connection.idle_closed, 15, "the end of the keep-alive time")
        assert time.monotonic() - idle_since > 2.5
    server.settled()
    assert server.stop() == 0


@pytest.mark.parametrize("kind", ["slow", "upload"])
def test_what_is_under_way_ends_on_the_worker_it_began_on(serve: Serve, tmp_path: Path, kind: str) -> None:
    server = serve("full", "-w", "1", "--drain-timeout", "20").ready(1)
    (old,) = server.ready_pids()
    with Connection(server.address) as connection:
        if kind == "slow":
            connection.send(connection.head("GET", "/slow?s=2"))
        else:
            connection.send(connection.head("POST", "/upload", 1000) + b"x" * 500)
        eventually(lambda: sum(worker.in_flight for worker in server.workers()) == 1, 5, "the request in flight")
        deploy(tmp_path / "app.py", version="v2")
        server.send_signal(signal.SIGHUP)
        eventually(lambda: server.get().json()["version"] == "v2", 30, "the new code answers")
        if kind == "upload":
            connection.send(b"x" * 500)
        answer = connection.read_answer()
    assert answer.status == 200
    assert (answer.json()["pid"], answer.json()["version"]) == (old, "v1")
    assert server.stop() == 0


def test_stop_closes_websockets_with_1001_and_reload_with_1012(serve: Serve) -> None:
    server = serve("full", "-w", "1").ready(1)
    with EchoClient(server.address) as echo:
        server.handle().reload(timeout=30)
        eventually(lambda: echo.codes == [1012], 10, f"1012, not {echo.codes}")
        eventually(lambda: echo.opened == 2, 10, "connected again")
        echo.over.set() if server.stop() else None
        eventually(lambda: len(echo.codes) == 2, 10, "the second ending")
        assert echo.codes[1] == 1001


def test_a_burst_of_hups_collapses(serve: Serve, tmp_path: Path) -> None:
    """Catalogue 24: a hundred requests to reload are a few reloads, and the newest code wins."""
    server = serve("full", "-w", "2").ready(2)
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        for number in range(2, 102):
            deploy(tmp_path / "app.py", version=f"v{number}")
            server.send_signal(signal.SIGHUP)
            time.sleep(number % 6 * 0.005)  # the spacing is the injection: 0 to 25 ms
        eventually(lambda: server.get().json()["version"] == "v101", 40, "the newest code answers")
        status = server.settled()
    tally.assert_nothing_failed()
    assert status.generation < 20, f"{status.generation} generations for one burst"
    assert server.stop() == 0


def test_the_newest_request_wins_over_a_reload_under_way(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "1").ready(1)
    program = tmp_path / "app.py"
    replace(program, HANGING + source_of("full", "v2"))
    server.complete(1)
    server.send_signal(signal.SIGHUP)
    eventually((tmp_path / "loading").exists, 10, "the new program under way")
    deploy(program, version="v3")
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.get().json()["version"] == "v3", 30, "the newest code answers")
    server.settled()
    server.complete(1)
    assert server.stop() == 0


@pytest.mark.parametrize("phase", ["loading", "starting"])
def test_a_stop_in_the_middle_of_a_reload_wins(serve: Serve, tmp_path: Path, phase: str) -> None:
    server = serve("full", "-w", "2").ready(2)
    hold = {
        "loading": HANGING + source_of("full", "v2"),
        "starting": source_of("full", "v2").replace('note("before_serving")', "await asyncio.Event().wait()"),
    }[phase]
    replace(tmp_path / "app.py", hold)
    server.send_signal(signal.SIGHUP)
    if phase == "loading":
        eventually((tmp_path / "loading").exists, 10, "the new program under way")
    else:
        eventually(lambda: server.workers("starting"), 20, "workers of the new program starting")
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 6
    server.family_gone(1)


def test_what_is_asked_after_reload_returned_is_answered_by_the_new_code(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "3").ready(3)
    for number in range(2, 6):
        deploy(tmp_path / "app.py", version=f"v{number}")
        server.handle().reload(timeout=30)
        assert {server.get().json()["version"] for _ in range(30)} == {f"v{number}"}
    assert server.stop() == 0


def test_surge_bounds_the_extra_workers(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "3", "--reload-surge", "1").ready(3)
    with (
        Watch(server.workers, pause_s=0.01) as watch,
        Load(server.address, (NewConnectionGet,)) as tally,
    ):
        deploy(tmp_path / "app.py", version="v2")
        server.handle().reload(timeout=40)
        server.settled()
    tally.assert_nothing_failed()
    assert max(len(workers) for workers in watch.values) <= 4  # type: ignore[arg-type]
    ready = [sum(worker.state == "ready" for worker in workers) for workers in watch.values]  # type: ignore[attr-defined]
    assert min(ready) >= 3, "capacity fell below the target"
    assert server.get().json()["version"] == "v2"
    assert server.stop() == 0


def test_reload_result_and_status_tell_of_it(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "2").ready(2)
    deploy(tmp_path / "app.py", version="v2")
    server.handle().reload(timeout=30)
    status = server.settled()
    assert status.generation == 2
    assert status.last_reload is not None
    assert status.last_reload.ok
    server.wait_log(r"worker slot=0 gen=2 pid=\d+")
    assert server.stop() == 0


def footprint(server: ServerProcess) -> tuple[int, int, int]:
    """The same after any number of reloads: processes, the supervisor's descriptors and threads."""
    return len(server.family), len(proc.open_fds(server.pid)), proc.thread_count(server.pid)


def good_and_bad_reloads(server: ServerProcess, program: Path, times: int, gap_s: float) -> None:
    """Every third one cannot be imported."""
    for number in range(times):
        next_at = time.monotonic() + gap_s
        if number % 3 == 2:
            replace(program, "raise RuntimeError('bad on purpose')\n")
        else:
            deploy(program, version=f"v{number}")
        server.send_signal(signal.SIGHUP)
        if gap_s:
            eventually(lambda at=next_at: time.monotonic() >= at, gap_s + 1)
        else:
            server.wait_log(r"(?i)reload.*(done|complete|commit|kept|refused|failed|over)", count=number + 1)
    deploy(program, version="last")
    server.handle().reload(timeout=30)
    server.settled()


def test_reloads_leave_nothing_behind(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "2").ready(2)
    server.expect("reload", "bad on purpose", "Traceback")
    program = tmp_path / "app.py"
    server.handle().reload(timeout=30)
    server.settled()
    server.complete(2)
    before = footprint(server)
    for number in range(6):
        if number % 3 == 2:
            replace(program, "raise RuntimeError('bad on purpose')\n")
            assert server.command("reload", str(server.pid)).returncode == 1
        else:
            deploy(program, version=f"v{number}")
            assert server.command("reload", str(server.pid)).returncode == 0
    server.settled()
    eventually(
        lambda: all(now <= then for now, then in zip(footprint(server), before, strict=True)),
        10,
        f"the footprint {before} again, not {footprint(server)}",
    )
    assert proc.zombies(server.family) == set()
    assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.limit_s(600)
def test_two_hundred_reloads_good_and_bad_leave_nothing_behind(serve: Serve, tmp_path: Path) -> None:
    server = serve("full", "-w", "2").ready(2)
    server.expect("reload", "bad on purpose", "Traceback")
    program = tmp_path / "app.py"
    with Load(server.address, (KeepAliveGet, NewConnectionGet, SlowGet, SlowUpload), pause_s=0.05) as tally:
        good_and_bad_reloads(server, program, 20, gap_s=1)
        before, memory = footprint(server), proc.rss_bytes(server.pid)
        good_and_bad_reloads(server, program, 180, gap_s=1)
        eventually(lambda: footprint(server) == before, 15, f"the footprint {before} again")
    tally.assert_nothing_failed(at_least=1000)
    assert proc.rss_bytes(server.pid) - memory < 4 << 20, "the supervisor's memory grows with reloads"
    assert proc.zombies(server.family) == set()
    assert server.stop() == 0
