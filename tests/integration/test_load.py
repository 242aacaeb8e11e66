"""Workers that load the app themselves: chosen where a fork would hang, or asked for. All else is as with forks."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.apps import deploy, replace, source_of
from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually
from tests.helpers.http import Connection
from tests.helpers.load import KeepAliveGet, Load, NewConnectionGet
from tests.helpers.nativepool import build
from tests.helpers.serverproc import ServerProcess

#: An app that uses a library with threads of its own when it is loaded (or not: "ctypes" alone), and in a handler.
POOLED = """
import ctypes, os
from aeros import WebServer
VERSION = "v1"
POOL = ctypes.CDLL(os.environ["TESTPOOL"])
AT_IMPORT = POOL.twice(4)
app = WebServer(__name__)

@app.get("/")
async def home():
    return {"twice": POOL.twice(21), "at_import": AT_IMPORT, "version": VERSION, "pid": os.getpid()}

if __name__ == "__main__":
    import sys
    app.start(sys.argv[1:])
"""
NAMED = r"libtestpool \(3 threads\) was used while the app was loaded"
DRAIN_S = 2


def pooled(serve: Serve, folder: Path, *arguments: str, text: str = POOLED, **how: object) -> ServerProcess:
    server = serve(text, *arguments, env={"TESTPOOL": str(build(folder))}, **how)
    server.expect("libtestpool")
    return server


def alone(serve: Serve, *arguments: str, app: str = "full", **how: object) -> ServerProcess:
    return serve(app, "--load", "worker", *arguments, **how)


# --- what is chosen, and what is said of it


@pytest.mark.limit_s(180)
def test_a_library_whose_threads_a_fork_would_lose_goes_on_working(serve: Serve, tmp_path: Path) -> None:
    """L1: today every worker that uses it hangs for ever, without a word."""
    server = pooled(serve, tmp_path, "-w", "2").ready(2)
    for _ in range(6):
        answer = json.loads(server.get(timeout_s=20).body)
        assert (answer["twice"], answer["at_import"]) == (42, 8)
    assert len(server.log.split("libtestpool")) == 2, "said once"
    assert NAMED.replace("\\", "") in server.log
    assert "so each worker loads the app itself" in server.log
    status = server.status()
    assert (status.load, status.threads) == ("worker", ("libtestpool (3 threads)",))
    assert "each worker loads the app itself: libtestpool (3 threads)" in server.command("status").stdout
    assert "each worker loads the app itself: libtestpool (3 threads)" in server.command("doctor").stdout
    victim = json.loads(server.get().body)["pid"]
    server.expect("died: SIGKILL")
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in server.ready_pids() and len(server.ready_pids()) == 2, 30)
    replace(tmp_path / "app.py", source_of(POOLED).replace("v1", "v2"))
    server.handle().reload()
    answer = json.loads(server.get(timeout_s=20).body)
    assert (answer["twice"], answer["version"]) == (42, "v2")
    assert server.status().load == "worker"
    server.settled(2)
    assert server.stop() == 0


@pytest.mark.limit_s(180)
def test_each_generation_finds_out_for_itself(serve: Serve, tmp_path: Path) -> None:
    """Forked until new code uses the library while it is loaded, and again once that is mended."""
    unused = POOLED.replace("POOL.twice(4)", "8")
    server = pooled(serve, tmp_path, "-w", "2", text=unused).ready(2)
    assert (server.status().load, server.status().threads) == ("fork", ())
    assert json.loads(server.get(timeout_s=20).body)["twice"] == 42, "first used in a worker, which is no matter"
    for text, load in ((POOLED, "worker"), (unused, "fork"), (POOLED, "worker")):
        replace(tmp_path / "app.py", text)
        server.handle().reload()
        assert server.status().load == load
        assert json.loads(server.get(timeout_s=20).body)["twice"] == 42
    server.settled(4)
    assert server.stop() == 0


def test_who_says_fork_gets_it_with_a_warning(serve: Serve, tmp_path: Path) -> None:
    server = pooled(serve, tmp_path, "-w", "1", "--load", "fork").ready(1)
    server.wait_log(NAMED + ".*whoever uses it there may wait for ever")
    assert (server.status().load, server.status().threads) == ("fork", ("libtestpool (3 threads)",))
    assert "may hang in libtestpool" in server.command("doctor").stdout


def test_a_program_that_cannot_be_run_again_is_forked_with_a_warning(serve: Serve, tmp_path: Path) -> None:
    library = build(tmp_path)
    server = serve(argv=[sys.executable, "-", "-b", "127.0.0.1:0"], stdin=POOLED, env={"TESTPOOL": str(library)})
    server.expect("libtestpool")
    server.ready(1)
    server.wait_log("no worker can load the app itself, because the program was read from standard input")


def test_and_worker_is_refused_for_it(serve: Serve) -> None:
    server = serve(argv=[sys.executable, "-", "-b", "127.0.0.1:0", "--load", "worker"], stdin=source_of("plain"))
    server.expect("--load worker")
    assert server.wait_exit() == 2
    assert "--load worker runs the program again for each worker, which cannot be done" in server.log
    assert "Traceback" not in server.log


def test_threads_that_warm_up_requests_start_count(serve: Serve, tmp_path: Path) -> None:
    unused = POOLED.replace("POOL.twice(4)", "8")
    server = pooled(serve, tmp_path, "-w", "1", "--warmup", "/", text=unused).ready(1)
    assert server.status().load == "worker"
    assert json.loads(server.get(timeout_s=20).body)["twice"] == 42


def test_threads_that_a_hook_brings_into_the_zygote_are_named(serve: Serve, tmp_path: Path) -> None:
    unused = POOLED.replace("POOL.twice(4)", "8")
    hook = "@app.before_fork\ndef use():\n    POOL.twice(1)\n\n"
    server = pooled(serve, tmp_path, "-w", "2", text=unused.replace("if __name__", hook + "if __name__")).ready(2)
    server.wait_log(r"libtestpool \(3 threads\): used by a hook in the zygote")
    assert server.log.count("libtestpool") == 1


def test_hooks_that_nobody_can_call_are_named(serve: Serve, tmp_path: Path) -> None:
    server = alone(serve, app="hooks", env={"TESTAPP_EVENTS": str(tmp_path / "events")})
    server.expect("nobody calls @app.before_fork and @app.worker_exit")
    server.ready(1)
    server.wait_log("each worker loads the app itself, so nobody calls @app.before_fork and @app.worker_exit")


# --- a life


@pytest.mark.limit_s(240)
def test_reloads_good_and_broken_under_load(serve: Serve, tmp_path: Path) -> None:
    server = alone(serve, "-w", "2").ready(2)
    server.expect("reload refused", "Traceback", "SyntaxError", "RuntimeError", "worker slot=0 gen=")
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        deploy(tmp_path / "app.py", version="v2")
        assert server.handle().reload().generation == 2
        replace(tmp_path / "app.py", "def broken(:\n")
        refused = server.command("reload")
        assert refused.returncode == 1
        assert "SyntaxError" in refused.stderr + refused.stdout
        replace(tmp_path / "app.py", "raise RuntimeError('no')\n" + source_of("full", "v3"))
        assert "RuntimeError: no" in (done := server.command("reload")).stderr + done.stdout
        deploy(tmp_path / "app.py", version="v4")
        assert server.handle().reload().generation == 5
        tally.assert_nothing_failed()
    server.settled(5)
    assert json.loads(server.get("/").body)["version"] == "v4"
    assert server.stop() == 0


@pytest.mark.limit_s(180)
def test_scaling_recycling_and_restarting(serve: Serve) -> None:
    server = alone(serve, "-w", "1").ready(1)
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        server.handle().scale(3)
        before = {worker.pid for worker in server.settled(1).workers}
        assert len(before) == 3
        server.handle().restart()
        eventually(lambda: not before & server.ready_pids() and len(server.ready_pids()) == 3, 60)
        server.handle().scale(1)
        server.settled(1)
        tally.assert_nothing_failed()
    assert server.stop() == 0


@pytest.mark.limit_s(180)
def test_kills_cost_only_what_was_in_flight(serve: Serve) -> None:
    server = alone(serve, "-w", "2").ready(2)
    server.expect("died: SIGKILL")
    for _ in range(2):
        for victim in server.ready_pids():
            os.kill(victim, signal.SIGKILL)
        eventually(lambda v=victim: len(server.ready_pids() - {v}) == 2, 60)  # type: ignore[misc]
        assert server.get().status == 200
    assert not proc.zombies(server.family)
    assert server.stop() == 0


def test_a_worker_killed_while_it_loads(serve: Serve, tmp_path: Path) -> None:
    """Its program is a child of the supervisor from the first moment on, and known by its pid."""
    server = alone(serve, "-w", "1").ready(1)
    server.expect("died", "ended with SIGKILL before it reached start")
    wait = "import pathlib, time\nif not pathlib.Path('go').exists():\n    time.sleep(60)\n"
    replace(tmp_path / "app.py", f"{wait}{source_of('full')}")
    (victim,) = server.ready_pids()
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: [worker.pid for worker in server.workers("starting")], 10)
    (loading,) = server.workers("starting")
    assert server.command("stack", "0").returncode == 2, "it cannot be asked, and must not die of it"
    (tmp_path / "go").touch()
    os.kill(loading.pid, signal.SIGKILL)
    server.wait_log("ended with SIGKILL before it reached start")
    eventually(lambda: len(server.ready_pids()) == 1, 30)
    assert server.stop() == 0


@pytest.mark.limit_s(180)
def test_code_that_breaks_later_is_a_crash_loop_that_heals(serve: Serve, tmp_path: Path) -> None:
    """A new worker runs what is on the disk. Whatever that is, the others serve, and the log says what is wrong."""
    server = alone(serve, "-w", "2").ready(2)
    server.expect("worker slot=", "Traceback", "ValueError", "File ", "raise ")
    replace(tmp_path / "app.py", "raise ValueError('not this one')\n")
    (victim, other) = server.ready_pids()
    os.kill(victim, signal.SIGKILL)
    server.wait_log("ended with exit code 1 before it reached start.*ValueError: not this one.*replaced in", count=2)
    assert server.get().status == 200
    assert server.ready_pids() == {other}
    deploy(tmp_path / "app.py")
    server.handle().reload()
    assert len(server.settled(2).workers) == 2
    assert server.stop() == 0


@pytest.mark.limit_s(120)
def test_a_program_that_hangs_while_a_worker_loads_it(serve: Serve, tmp_path: Path) -> None:
    server = alone(serve, "-w", "1", "--boot-timeout", "6").ready(1)
    server.expect("worker slot=0", "Fatal Python error", "File ", "Current thread", "Extension modules")
    replace(tmp_path / "app.py", "import time\ntime.sleep(600)\n")
    (victim,) = server.ready_pids()
    os.kill(victim, signal.SIGKILL)
    server.wait_log("was killed: not ready 6 s after its launch", 30)
    assert 'app.py", line 2' in server.log, "its stack"
    deploy(tmp_path / "app.py")
    server.ready(1)
    assert server.stop() == 0


# --- the first start


def test_a_start_that_fails_in_the_worker_says_why_and_exits_with_3(serve: Serve, tmp_path: Path) -> None:
    """Of `python app.py`, where the first import went well and that of a worker does not."""
    once = "from pathlib import Path\nif Path('once').exists():\n    raise LookupError('only once')\n"
    server = alone(serve, "-w", "3", app=f"{once}Path('once').touch()\n{source_of('full')}")
    server.expect("Traceback", "LookupError", "File ", "raise ", "the server cannot start")
    assert server.wait_exit(30) == 3
    assert "LookupError: only once" in server.log
    assert server.log.count("the server cannot start") == 1
    server.family_gone()


@pytest.mark.limit_s(120)
def test_aeros_run(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(source_of("full"))
    argv = [sys.executable, "-m", "aeros", "run", "mine:app", "-b", "127.0.0.1:0", "-w", "2", "--load", "worker"]
    server = serve(argv=argv).ready(2)
    server.handle().reload()
    server.settled(2)
    assert server.get().status == 200
    assert server.stop() == 0


def test_a_stop_while_workers_load(serve: Serve, tmp_path: Path) -> None:
    slow = "import os, time\nif 'TESTAPP_SLOW' in os.environ:\n    time.sleep(60)\nos.environ['TESTAPP_SLOW'] = '1'\n"
    server = alone(serve, "-w", "2", app=slow + source_of("full"))
    # Supervisor, warden, and two workers on their way.
    eventually(lambda: len(server.family) == 4, 20)
    assert server.stop(deadline_s=5) == 0
    server.family_gone()


# --- hooks, files, ends


@pytest.mark.limit_s(120)
def test_on_reload_runs_in_the_worker_of_slot_0(serve: Serve, tmp_path: Path) -> None:
    hook = """
@app.on_reload
def told(outcome):
    print("told of", outcome.generation, outcome.ok, app.worker.slot, flush=True)
"""
    text = source_of("full").replace("if __name__", hook + "\nif __name__")
    server = alone(serve, "-w", "2", app=text).ready(2)
    server.handle().reload()
    eventually(lambda: "told of 2 True 0" in server.stdout, 10)
    assert server.stdout.count("told of") == 1


@pytest.mark.limit_s(120)
def test_changed_files_are_noticed(serve: Serve, tmp_path: Path) -> None:
    server = alone(serve, "-w", "2", "--reload").ready(2)
    deploy(tmp_path / "app.py", version="v2")
    server.wait_log("changed: app.py", 20)
    server.settled(2)
    deploy(tmp_path / "app.py", version="v3")
    server.settled(3)
    assert json.loads(server.get("/").body)["version"] == "v3"


@pytest.mark.limit_s(120)
@pytest.mark.parametrize("how", ["blocks in Python", "is stopped"])
def test_nobody_outlives_a_killed_supervisor(serve: Serve, how: str) -> None:
    server = alone(serve, "-w", "2", "--drain-timeout", str(DRAIN_S), "--shutdown-timeout", "1").ready(2)
    server.expect("supervisor", "Fatal Python error", "Traceback")
    with Connection(server.address) as connection:
        if how == "is stopped":
            os.kill(min(server.ready_pids()), signal.SIGSTOP)
        else:
            connection.send(connection.head("GET", "/block?s=600"))
            eventually(lambda: sum(worker.in_flight for worker in server.workers()) >= 1, 10)
        server.send_signal(signal.SIGKILL)
        server.family_gone(DRAIN_S + 1 + 2.5)


def test_nor_does_one_that_blocks_in_code_that_is_not_pythons(serve: Serve, tmp_path: Path) -> None:
    """Where neither its loop nor the interpreter comes to look at anything any more."""
    held = '@app.get("/held")\nasync def held():\n    ctypes.PyDLL(POOL._name).hold()\n\n'
    text = POOLED.replace("if __name__", held + "if __name__")
    server = pooled(serve, tmp_path, "-w", "1", "--drain-timeout", str(DRAIN_S), "--shutdown-timeout", "1", text=text)
    server.ready(1)
    server.expect("supervisor")
    with Connection(server.address) as connection:
        connection.send(connection.head("GET", "/held"))
        eventually(lambda: sum(worker.in_flight for worker in server.workers()) == 1, 10)
        server.send_signal(signal.SIGKILL)
        server.family_gone(DRAIN_S + 1 + 2.5)


def test_a_lost_warden_is_there_again(serve: Serve) -> None:
    server = alone(serve, "-w", "1", "--drain-timeout", str(DRAIN_S), "--shutdown-timeout", "1").ready(1)
    server.expect("supervisor")

    def warden() -> int:
        return next((pid for pid in server.family if "warden" in proc.command(pid)), 0)

    first = warden()
    assert first
    os.kill(first, signal.SIGKILL)
    eventually(lambda: warden() not in (0, first), 10, "another one")
    (worker,) = server.ready_pids()
    os.kill(worker, signal.SIGSTOP)
    server.send_signal(signal.SIGKILL)
    server.family_gone(DRAIN_S + 1 + 2.5)


@pytest.mark.limit_s(180)
def test_an_upgrade(serve: Serve, tmp_path: Path) -> None:
    server = alone(serve, "-w", "2").ready(2)
    with Load(server.address, (KeepAliveGet, NewConnectionGet)) as tally:
        deploy(tmp_path / "app.py", version="v2")
        done = server.command("upgrade")
        assert done.returncode == 0, done.stderr
        tally.assert_nothing_failed()
    server.wait_exit()
    server.succeeded_by(int(re.findall(r"upgraded: pid (\d+) serves", done.stdout)[0]))
    server.ready(2)
    assert json.loads(server.get("/").body)["version"] == "v2"
    assert server.status().load == "worker"
