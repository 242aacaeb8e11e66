"""A worker turned against its own family: what it does to the memory they share ends and deceives nobody."""

from __future__ import annotations

import json
import signal
import time

from tests.conftest import Serve
from tests.helpers.conditions import eventually

MEMORY = '''
import fcntl, mmap, os, random, sys
from aeros import WebServer

app = WebServer(__name__)

def shared():
    """Descriptors of the family's memory, by number."""
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if "memfd:aeros" in target:
            yield int(name), target

def tried(call, *args):
    try:
        call(*args)
    except (OSError, ValueError) as error:
        return type(error).__name__
    return "done"

@app.get("/cut")
def cut():
    found = {}
    for fd, name in shared():
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)  # the same user may, and so has one that writes
        for way in (fd, again):
            found[f"{name} {way}"] = [tried(os.ftruncate, way, size) for size in (0, 1 << 40)]
        os.close(again)
    return {name: done for name, done in found.items() if "aeros-worker" not in name}

@app.get("/board")
def board():
    found = []
    for fd, name in shared():
        if "aeros-scoreboard" in name:
            again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
            found.append(tried(mmap.mmap, again, 4096))
            found.append(tried(os.pwrite, again, b"{}", 4096))
            os.close(again)
    return {"found": found}

@app.get("/scribble/<int:seed>")
def scribble(seed):
    """Write all over the cells, in words that mean most."""
    chance = random.Random(seed)
    for fd, name in shared():
        if "aeros-cells" in name:
            cells = mmap.mmap(fd, os.fstat(fd).st_size)
            words = memoryview(cells).cast("Q")
            odd = [0, 1, 2**64 - 1, 2**63, 0x7FF8 << 48, 0x7FF0 << 48, 0xFFF0 << 48, 0x1B5B33316D0A0D00]
            for cell in range(8):
                for word in range(cell * 36864 // 8, (cell + 1) * 36864 // 8):
                    words[word] = chance.choice(odd) if seed else 0
    return {"pid": os.getpid()}

@app.get("/who")
def who():
    return {"pid": os.getpid()}

if __name__ == "__main__":
    app.start(sys.argv[1:])
'''


def test_shared_memory_cannot_be_cut_short(serve: Serve) -> None:
    server = serve(MEMORY, "-w", "2").ready(2)
    found = json.loads(server.get("/cut").body)
    assert any("aeros-scoreboard" in name for name in found)
    assert any("aeros-cells" in name for name in found)
    assert {done for tries in found.values() for done in tries} <= {"PermissionError", "OSError"}, found
    assert server.status().ready_workers == 2
    assert server.stop() == 0


def test_what_the_server_says_of_itself_cannot_be_forged(serve: Serve) -> None:
    server = serve(MEMORY, "-w", "2").ready(2)
    found = json.loads(server.get("/board").body)["found"]
    assert found and set(found) <= {"PermissionError", "OSError"}, found
    # And so in a generation that got the memory by descriptor, not by inheritance.
    server.send_signal(signal.SIGHUP)
    server.settled(2)
    found = json.loads(server.get("/board").body)["found"]
    assert found and set(found) <= {"PermissionError", "OSError"}, found
    assert server.stop() == 0


def test_a_worker_that_scribbles_over_all_figures_harms_nobody(serve: Serve) -> None:
    server = serve(MEMORY, "-w", "3", "--worker-timeout", "2s", "--max-requests", "1000", "--loop-warn", "off").ready(3)
    before = server.ready_pids()
    until = time.monotonic() + 6.0  # longer than three timeouts of a worker
    seed = 0
    while time.monotonic() < until:
        assert server.get(f"/scribble/{seed}").status == 200
        for command in ("status", "requests", "top"):
            argument = ["--once"] if command == "top" else []
            done = server.command(command, str(server.pid), *argument)
            assert "Traceback" not in done.stderr, done.stderr
            assert "\x1b[31m" not in done.stdout
        status = server.status()
        json.dumps(status.to_dict(), allow_nan=False)
        assert status.ready_workers == 3
        seed += 1
    assert server.ready_pids() == before, "nobody was replaced"
    assert {json.loads(server.get("/who").body)["pid"] for _ in range(30)} <= before
    server.send_signal(signal.SIGHUP)
    eventually(lambda: server.status().generation == 2, 20)
    assert server.stop() == 0
