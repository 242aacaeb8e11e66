"""Whose native threads are alive in this process, by library: a fork would leave them behind.

A library in C, C++ or Rust that made threads of its own (polars, onnxruntime, everything on libgomp) waits for them for
ever in a forked child, where they do not exist. Python does not know these threads. Linux shows them as tasks of the
process, and nearly all are named "python", so each is asked for the library that began it: the address of its first
function stands at the beginning of its stack.
"""

from __future__ import annotations

import os
import re
import threading
import time
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from mmap import PAGESIZE
from pathlib import Path

from ..clock import monotonic
from ..record import record

_TASKS = Path("/proc/self/task")
#: What stands between a library and the thread it begins: the C library, the loader and the runtime of C++. They are
#: at the beginning of the stack as well, and say nothing.
_RUNTIMES = re.compile(r"(libc|ld|ld-linux.*|ld-musl.*|libpthread|libstdc\+\+|libgcc_s|libc\+\+.*)[-.]")
#: Of a stack so much is read, from where its thread sleeps towards its beginning: nearly all sleep near that.
_STACK_BYTES = 256 * 1024
#: How long an address is.
_WORD = array("L").itemsize
#: What glibc and musl have behind the thread's control block; the address of its first function is in there.
_DESCRIPTOR_BYTES = 2560
#: A thread that runs at this moment has no stack to read. Those of OpenBLAS and OpenMP go round in circles for a tenth
#: of a second after their work; after this time the name must do.
_LOOK_FOR_S = 0.3
_LOOK_EVERY_S = 0.005

#: Libraries that can go on in a forked child, as each was tried (use, fork, the same use): they notice the fork
#: (pthread_atfork), or look at the pid. By the beginning of the file's name. Not ddtrace (4.16): it notices the fork,
#: but then ends its old exporter in the child, which now and then hangs for ever. scripts/ecosystem found that.
_HARMLESS_LIBRARIES = ("libopenblas", "libscipy_openblas", "libarrow", "_duckdb", "tokenizers", "_memray")
#: Threads that a library has for its housekeeping alone, by the name it gives them: of jemalloc (the library that it is
#: part of is pyarrow's or polars's), and polars's that spills to disk.
_HARMLESS_NAMES = ("jemalloc_bg_thd", "polars-ooc-clea")


@record
class NativeThreads:
    """The threads of one library. harmless: it also works in a forked child, where they do not exist."""

    library: str
    count: int
    harmless: bool

    def __str__(self) -> str:
        return f"{self.library} ({self.count} thread{'s' if self.count != 1 else ''})"


def native_threads() -> list[NativeThreads]:
    """Return the threads alive in this process that Python did not make, by library; [] where there are none, or where
    the system does not show them (not Linux). Takes some milliseconds, and up to a third of a second where threads are
    busy."""
    try:
        tasks = [int(name) for name in os.listdir(_TASKS)]  # noqa: PTH208 - names are enough
    except OSError:
        return []
    # The main thread has the number of the process, also where a fork has just given it another (which threading of
    # 3.13 does not notice).
    known = {thread.native_id for thread in threading.enumerate()} | {os.getpid()}
    others = [task for task in tasks if task not in known]
    if not others:
        return []
    mappings = _Mappings.of_this_process()
    owners = _owners(others, mappings)
    native = ((task, path) for task, path in owners.items() if path not in mappings.python)
    found = Counter(filter(None, (_judged(task, path) for task, path in native)))
    return [NativeThreads(library, count, harmless) for (library, harmless), count in sorted(found.items())]


def _owners(tasks: Iterable[int], mappings: _Mappings) -> dict[int, str]:
    """Return the path of the library that began each of these threads; "" where that cannot be told."""
    owners: dict[int, str] = {}
    left, deadline = list(tasks), monotonic() + _LOOK_FOR_S
    while left:
        running = []
        for task in left:
            try:
                said = (_TASKS / str(task) / "syscall").read_text().split()
                if len(said) < 2:  # "running"
                    running.append(task)
                else:  # the number of the system call, its arguments, the stack pointer, the address of the instruction
                    owners[task] = _first_function(int(said[-2], 16), mappings)
            except (OSError, ValueError):
                owners[task] = ""  # a sandbox that does not show it, or the thread has ended
        if running and monotonic() >= deadline:
            return owners | dict.fromkeys(running, "")
        left = running
        if left:
            time.sleep(_LOOK_EVERY_S)
    return owners


def _judged(task: int, path: str) -> tuple[str, bool] | None:
    """Return the name of the library, or else of the thread, and whether it is harmless. None: the thread has ended."""
    try:
        name = (_TASKS / str(task) / "comm").read_text().strip()
    except OSError:
        return None
    library = _short_name(path) or name
    harmless = name in _HARMLESS_NAMES or library.startswith(_HARMLESS_LIBRARIES)
    return library if harmless else _with_package(library, path), harmless


def _first_function(stack_pointer: int, mappings: _Mappings) -> str:
    """Return the library whose function is nearest to the beginning of the stack; "" if there is none."""
    end = min(mappings.end_of(stack_pointer), stack_pointer + _STACK_BYTES)
    start = stack_pointer & -_WORD
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        memory.seek(start)
        data = memory.read(end - start)
    words = array("L", data[: len(data) - len(data) % _WORD])
    return _outermost(words[: _length(words, start)], mappings)


def _outermost(words: Iterable[int], mappings: _Mappings) -> str:
    """Return the library whose code the last of these words points to; "" if none does."""
    for word in reversed(tuple(words)):
        # The thread's descriptor also has the size of its stack, 0x801000 say. In a Python that is linked to a fixed
        # place (Debian's, from 0x400000 on) that is an address of code as well. Sizes are whole pages. Code hardly ever
        # is, and a library that is missed here is met again further down, where its function is under way.
        path = mappings.code_at(word) if word % PAGESIZE else ""
        if path and not _RUNTIMES.match(os.path.basename(path)):  # noqa: PTH119
            return path
    return ""


def _length(words: array[int], start: int) -> int:
    """Return how many of the words are the stack's: beyond it memory of others may follow without a gap.

    On x86-64 a thread's control block, which lies above its stack, has its own address as the first and third word
    (glibc: tcb and self). Elsewhere all are taken.
    """
    for index in range(len(words) - 2):
        address = start + index * _WORD
        if words[index] == address and words[index + 2] == address:
            return index + _DESCRIPTOR_BYTES // _WORD
    return len(words)


def _short_name(path: str) -> str:
    """Return the file's name without what builds add to it: "libgomp" of "libgomp-a34b3233.so.1.0.0"."""
    name = os.path.basename(path)  # noqa: PTH119
    return re.sub(r"(-[0-9a-f]{8,})?(\.(abi3|cpython|cp|pypy)[^/]*)?\.so(\..*)?$", "", name)


def _with_package(library: str, path: str) -> str:
    """Return the name with that of the package it is in, where it says little alone: "_native of ddtrace"."""
    inside = re.search(r"/(?:site|dist)-packages/([a-z]\w*)/", path)
    return f"{library} of {inside[1]}" if inside and library.startswith("_") else library


class _Mappings:
    """What lies where in the memory of this process."""

    def __init__(self, lines: Iterable[str], python: Iterable[int]) -> None:
        self._starts: list[int] = []
        #: Of each mapping its end, and its path if it is code.
        self._about: list[tuple[int, str]] = []
        for line in lines:
            span, permissions, *rest = line.split(maxsplit=5)
            first, _, after = span.partition("-")
            path = rest[3].strip() if len(rest) > 3 and "x" in permissions else ""
            self._starts.append(int(first, 16))
            self._about.append((int(after, 16), path if path.startswith("/") else ""))
        #: The interpreter's own code: threads that `_thread` made, which threading does not know, begin there.
        self.python = {self.code_at(address) for address in python} - {""}

    @classmethod
    def of_this_process(cls) -> _Mappings:
        return cls(Path("/proc/self/maps").read_text().splitlines(), [_address_in_python()])

    def _at(self, address: int) -> tuple[int, str]:
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self._about[index][0]:
            return self._about[index]
        return 0, ""

    def code_at(self, address: int) -> str:
        """Return the file whose code is at `address`, "" if none is."""
        return self._at(address)[1]

    def end_of(self, address: int) -> int:
        """Return where the mapping that `address` is in ends. Raises ValueError where there is none."""
        end = self._at(address)[0]
        if not end:
            raise ValueError(f"nothing is mapped at {address:#x}")
        return end


def _address_in_python() -> int:
    """Return the address of a function of the interpreter's own, be that a program or a library."""
    import ctypes

    return ctypes.cast(ctypes.pythonapi.Py_GetVersion, ctypes.c_void_p).value or 0
