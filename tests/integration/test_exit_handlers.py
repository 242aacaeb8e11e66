"""atexit in workers and zygotes: all handlers run, and what the family shares is tidied once, by who made it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Serve
from tests.helpers import proc
from tests.helpers.conditions import eventually

#: Notes in a file which process ran which handler, and whether what all share was still there.
PROGRAM = """
import asyncio, atexit, multiprocessing, os, shutil, sys, tempfile, time
from pathlib import Path
from aeros import WebServer

def note(what):
    with open("notes", "a") as notes:
        notes.write(f"{os.getpid()} {what} {shared()}\\n")

def shared():
    return Path(folder.name).is_dir() and Path(made).is_dir() and helper.is_alive()

def helps():
    time.sleep(600)

folder = tempfile.TemporaryDirectory(dir=".", prefix="folder-")
made = tempfile.mkdtemp(dir=".", prefix="made-")
atexit.register(shutil.rmtree, made)
if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    manager = multiprocessing.Manager()
    helper = multiprocessing.Process(target=helps, daemon=True)
    helper._check_closed = lambda: None
    helper.start()
    helper.is_alive = lambda pid=helper.pid: Path(f"/proc/{pid}/stat").exists()
    atexit.register(note, "import")
app = WebServer(__name__)

@app.before_serving
async def up():
    app.own = tempfile.TemporaryDirectory(dir=".", prefix="own-")
    atexit.register(note, "serving")

@app.after_serving
async def down():
    note("down")

@app.get("/")
async def home():
    return {"pid": os.getpid(), "shared": shared()}

@app.get("/exit/<how>")
async def leave(how):
    code = {"none": None, "text": "what it says"}.get(how, how if not how.isdigit() else int(how))
    asyncio.get_running_loop().call_soon(sys.exit, code)  # no request's own affair
    await asyncio.sleep(10)

if __name__ == "__main__":
    app.start(sys.argv[1:])
"""


def notes(folder: Path) -> list[tuple[int, str, bool]]:
    lines = (folder / "notes").read_text().splitlines() if (folder / "notes").exists() else []
    return [(int(pid), what, shared == "True") for pid, what, shared in map(str.split, lines)]


def of(folder: Path, pid: int) -> list[str]:
    return [what for noted, what, _ in notes(folder) if noted == pid]


def folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


IN_ORDER = ["down", "serving", "import"]


@pytest.mark.parametrize("end", ["stop", "reload", "recycle", "scale", "SIGTERM to the worker", "upgrade"])
def test_handlers_run_at_every_end(serve: Serve, tmp_path: Path, end: str) -> None:
    """And leave alone what the others still use."""
    server = serve(PROGRAM, "-w", "2").ready(2)
    pids = server.ready_pids()
    victim = next(worker.pid for worker in server.workers() if worker.slot == 1)
    gone = pids
    match end:
        case "reload":
            server.handle().reload()
        case "recycle":
            server.handle().restart(1)
            gone = {victim}
        case "scale":
            server.handle().scale(1)
            gone = {victim}
        case "SIGTERM to the worker":
            os.kill(victim, signal.SIGTERM)
            gone = {victim}
        case "upgrade":
            server.succeeded_by(server.handle().upgrade(timeout=40).pid)
    if end != "stop":
        eventually(lambda: not any(map(proc.alive, gone)), 20, "the end of the workers")
        assert server.get().json()["shared"], "the others' things were taken away"
    server.stop() if server.pid == server.popen.pid else server.handle().stop()
    for pid in pids:
        assert of(tmp_path, pid) == IN_ORDER
    assert all(shared for pid, _, shared in notes(tmp_path) if pid != server.pid)
    eventually(lambda: folders(tmp_path) == [], 5, "nothing left")
    server.family_gone()


def test_every_generation_tidies_up_after_itself(serve: Serve, tmp_path: Path) -> None:
    server = serve(PROGRAM, "-w", "1").ready(1)
    for generation in (2, 3, 4):
        server.handle().reload()
        server.settled(generation)
    # One folder of each kind of the first generation, which the supervisor itself has, and of the latest.
    eventually(lambda: len([name for name in folders(tmp_path) if name.startswith("folder-")]) == 2, 10, "two left")
    eventually(lambda: len([name for name in folders(tmp_path) if name.startswith("made-")]) == 2, 10, "two left")
    assert server.get().json()["shared"]
    zygotes_and_workers = len(server.family)
    assert server.stop() == 0
    assert folders(tmp_path) == []
    server.family_gone()
    ran = [pid for pid, what, _ in notes(tmp_path) if what == "import"]
    # Four workers, the zygotes of the generations 2 to 4, and the program itself; no copy of a zygote.
    assert len(ran) == len(set(ran)) == 8, zygotes_and_workers


@pytest.mark.parametrize(("how", "code"), [("3", 3), ("none", 0), ("text", 1)])
def test_an_app_that_calls_sys_exit(serve: Serve, tmp_path: Path, how: str, code: int) -> None:
    server = serve(PROGRAM, "-w", "1").ready(1)
    (pid,) = server.ready_pids()
    assert server.get(f"/exit/{how}").status == 500
    server.wait_log(rf"worker slot=0 gen=1 pid={pid} died: exit code {code}")
    server.expect(
        r"Task exception was never retrieved",
        r"Traceback",
        r"the app called sys\.exit",
        rf"died: exit code {code}",
        r"exited",
    )
    assert of(tmp_path, pid)[-2:] == ["serving", "import"]
    eventually(lambda: server.ready_pids() not in (set(), {pid}), 10, "a new worker")
    assert server.get().json()["shared"]
    assert server.stop() == 0


def test_handlers_run_after_a_start_that_failed(serve: Serve, tmp_path: Path) -> None:
    """What watches errors has one to send."""
    program = PROGRAM.replace(
        "    app.own =", '    atexit.register(note, "sent")\n    raise RuntimeError("no database")\n    app.own ='
    )
    server = serve(program, "-w", "1")
    server.expect("no database", "")
    assert server.wait_exit() == 3
    assert "sent" in [what for _, what, _ in notes(tmp_path)]


def test_a_killed_worker_runs_none(serve: Serve, tmp_path: Path) -> None:
    server = serve(PROGRAM, "-w", "1").ready(1)
    (pid,) = server.ready_pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: server.ready_pids() not in (set(), {pid}), 10, "a new worker")
    server.expect(f"pid={pid} died: SIGKILL")
    assert of(tmp_path, pid) == []
    assert server.stop() == 0


@pytest.mark.parametrize("where", ["worker", "zygote"])
def test_a_handler_that_hangs_is_bounded(serve: Serve, tmp_path: Path, where: str) -> None:
    hangs = f"""
def hangs():
    supervisor = int(Path("supervisor").read_text())
    role = "supervisor" if os.getpid() == supervisor else "zygote" if os.getppid() == supervisor else "worker"
    if role == {where!r}:
        note("hangs")
        time.sleep(600)

if not Path("supervisor").exists():
    Path("supervisor").write_text(str(os.getpid()))
atexit.register(hangs)
folder ="""
    server = serve(PROGRAM.replace("\nfolder =", hangs), "-w", "1", "--shutdown-timeout", "1").ready(1)
    server.handle().reload()
    server.settled(2)
    server.expect(r"exit handlers \(atexit\) were not done within 1 s")
    server.stop()
    assert "hangs" in [what for _, what, _ in notes(tmp_path)]
    server.wait_log(r"exit handlers \(atexit\) were not done within 1 s.* hangs \(.*app\.py:\d+\)")
    if where == "worker":
        server.family_gone()
    else:  # what the handlers behind it would have ended
        server.expected_leftovers = server.family
