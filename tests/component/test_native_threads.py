"""Whose native threads are alive: told by the stacks of real threads of real libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aeros.core.process import threads
from tests.helpers.nativepool import build

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the threads of a process")

ASK = """
import ctypes, json, os, sys, threading, time
from aeros.core.process import threads
def tell():
    print(json.dumps([[found.library, found.count, found.harmless] for found in threads.native_threads()]))
"""


def told(program: str, *arguments: object) -> list[list[object]]:
    """What a process says of its threads that runs `program`, and then asks."""
    command = [sys.executable, "-c", ASK + program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found: list[list[object]] = json.loads(done.stdout)
    return found


USE = "pool = ctypes.CDLL(sys.argv[1]); assert pool.twice(21) == 42\n"


def test_a_library_is_named_once_it_was_used(tmp_path: Path) -> None:
    library = build(tmp_path)
    assert told("ctypes.CDLL(sys.argv[1])\ntell()", library) == []
    assert told(USE + "tell()", library) == [["libtestpool", 3, False]]


def test_threads_of_python_are_not_native(tmp_path: Path) -> None:
    """Also not those that `_thread` makes, which threading does not know."""
    own = """
import _thread
over = threading.Event()
threading.Thread(target=over.wait, daemon=True).start()
_thread.start_new_thread(over.wait, ())
deadline = time.monotonic() + 20
while len(os.listdir("/proc/self/task")) < 3 and time.monotonic() < deadline:
    time.sleep(0.01)
assert len(os.listdir("/proc/self/task")) >= 3
"""
    assert told(own + "tell()") == []
    assert told(own + USE + "tell()", build(tmp_path)) == [["libtestpool", 3, False]]


def test_what_a_build_adds_to_a_name_is_no_part_of_it(tmp_path: Path) -> None:
    assert told(USE + "tell()", build(tmp_path, "libtestpool-8a3c01de")) == [["libtestpool", 3, False]]
    assert told(USE + "tell()", build(tmp_path, "_pool.cpython-313-x86_64-linux-gnu")) == [["_pool", 3, False]]


def test_a_name_that_says_little_has_its_package(tmp_path: Path) -> None:
    folder = tmp_path / "site-packages" / "ddtrace" / "internal"
    folder.mkdir(parents=True)
    assert told(USE + "tell()", build(folder, "_native.abi3")) == [["_native of ddtrace", 3, False]]


@pytest.mark.parametrize("name", ["libscipy_openblas64_-6bb31eeb", "libopenblasp-r0", "libarrow"])
def test_libraries_that_notice_a_fork_are_harmless(tmp_path: Path, name: str) -> None:
    ((library, count, harmless),) = told(USE + "tell()", build(tmp_path, name))
    assert name.startswith(str(library))
    assert (count, harmless) == (3, True)


def test_the_size_of_a_stack_is_no_address_of_code() -> None:
    """Debian's Python is linked to a fixed, low place, where a size such as 0x801000 would be code."""
    mappings = threads._Mappings(
        [
            "00420000-00a10000 r-xp 00020000 08:01 1 /usr/bin/python3.15",
            "7f0000000000-7f0000010000 r-xp 00000000 08:01 2 /usr/lib/libtestpool.so",
            "7f1000000000-7f1000100000 r-xp 00000000 08:01 3 /usr/lib/libc.so.6",
        ],
        [0x500010],
    )
    assert threads._outermost([0x7F0000000186, 0x7F1000000DB8, 0, 0x801000], mappings) == "/usr/lib/libtestpool.so"
    assert threads._outermost([0x7F0000000186, 0x7F1000000DB8, 0x500010], mappings) == "/usr/bin/python3.15"


def test_a_forked_child_has_none_of_them(tmp_path: Path) -> None:
    child = "if os.fork() == 0:\n    tell()\n    sys.stdout.flush()\n    os._exit(0)\nos.wait()\n"
    assert told(USE + child, build(tmp_path)) == []


def test_where_the_system_shows_no_stacks_threads_go_by_their_names(tmp_path: Path) -> None:
    """In a sandbox, say. What is not known is taken for harmful: it decides between two ways that both serve."""
    hidden = """
from pathlib import Path
folder = Path(sys.argv[2])
for task in os.listdir("/proc/self/task"):
    (folder / task).mkdir()
    (folder / task / "comm").write_text("jemalloc_bg_thd" if len(os.listdir(folder)) == 2 else "python")
threads._TASKS = folder
"""
    folder = tmp_path / "task"
    folder.mkdir()
    found = told(USE + hidden + "tell()", build(tmp_path), folder)
    assert sum(int(str(count)) for _, count, _ in found) == 3
    names = {(str(library), harmless) for library, _, harmless in found}
    assert names <= {("jemalloc_bg_thd", True), ("python", False)}


def test_where_the_system_shows_no_tasks_nothing_is_said() -> None:
    assert told("threads._TASKS = threads.Path('/no/such/place')\ntell()") == []
