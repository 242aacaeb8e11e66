"""Does anything of the interpreter's memory break under what apps may do to immortal objects? See scripts/leaks --heap.

The interpreter of the server checks each block of memory that is freed (-X dev, PYTHONMALLOC=debug). Its handlers make
and drop classes, functions and modules, replace the code of functions, and collect garbage. Workers are recycled all
the time, and the program is reloaded. A block that was written beyond its end, or freed twice, ends the process with a
report.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.apps import replace
from tests.helpers.serverproc import ServerProcess

ENVIRONMENT = {"PYTHONMALLOC": "debug", "PYTHONFAULTHANDLER": "1"}
OPTIONS = (
    "-w",
    "2",
    "-b",
    "127.0.0.1:0",
    "--max-requests",
    "250",
    "--max-requests-jitter",
    "50",
    "--drain-timeout",
    "10",
)
RELOADS = 10
#: What an interpreter that has lost hold of its memory writes.
CORRUPTION = re.compile(
    r"Debug memory block|Fatal Python error|SIGSEGV|SIGABRT|SIGBUS|bad (leading|trailing) pad byte|"
    r"refcount is (negative|too small)|corrupted|double free|Traceback|SystemError"
)

APP = '''
"""Handlers that change, drop and make again what is immortal in the zygote."""
import abc, collections, colorsys, dataclasses, enum, fractions, functools, gc, os, quopri, sys, types, typing, weakref
from aeros import WebServer

VERSION = 0


class Loud(type):
    """As pydantic and SQLAlchemy have: a metaclass with a hash and a comparison of its own."""

    calls = 0

    def __hash__(cls):
        Loud.calls += 1
        return 7

    def __eq__(cls, other):
        Loud.calls += 1
        return cls is other


class Base(metaclass=Loud):
    registry = weakref.WeakSet()

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        Base.registry.add(cls)

    def name(self):
        return "base"


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...


def one():
    return 1


def two():
    return 2


def swapped():
    return 0


@functools.lru_cache(maxsize=64)
def cached(value):
    return (value, object())


app = WebServer(__name__)


def classes(number):
    made = type(Base)(f"Made{number}", (Base,), {"name": lambda self: f"made {number}", "slot": [number]})
    assert made().name() == f"made {number}" and made in set(Base.__subclasses__())
    square = type("Square", (Shape,), {"area": lambda self: number})
    assert square().area() == number and isinstance(square(), Shape)
    record = dataclasses.make_dataclass("Row", [("a", int), ("b", typing.Optional[str])], slots=True, weakref_slot=True)
    assert record(1, "x") == record(1, "x")
    colour = enum.Enum("Colour", ["RED", f"C{number}"])
    assert colour.RED.name == "RED"
    pair = collections.namedtuple("Pair", ["left", "right"])
    return [made, square, record, colour, pair]


def functions(number):
    swapped.__code__ = (one if number % 2 else two).__code__
    assert swapped() == (1 if number % 2 else 2)
    swapped.__defaults__ = (number,) if number % 3 == 0 else None
    swapped.__code__ = (lambda *args: 0).__code__
    swapped.note = [number]
    Base.name, kept = (lambda self: "patched"), Base.__dict__["name"]
    assert Base().name() == "patched"
    Base.name = kept
    Base.extra = staticmethod(one)
    del Base.extra
    cached(number % 100)
    if number % 50 == 0:
        cached.cache_clear()
    code = compile(f"def fresh(x, y={number}):\\n    return x + y", "<made>", "exec")
    space = {}
    exec(code, space)
    assert space["fresh"](1) == number + 1
    return space["fresh"]


def modules(number):
    name = f"made_{number % 5}"
    module = types.ModuleType(name)
    exec(f"class Inner:\\n    number = {number}\\n    def __del__(self): pass\\nthing = Inner()", module.__dict__)
    sys.modules[name] = module
    del sys.modules[name]
    # A module of the program's own is dropped and imported again.
    if number % 20 == 0:
        for gone in ("colorsys", "quopri", "fractions"):
            sys.modules.pop(gone, None)
        import colorsys, fractions, quopri
        assert fractions.Fraction(1, 2) + fractions.Fraction(1, 2) == 1


@app.get("/<int:number>")
async def act(number):
    made = classes(number)
    ring = [made]
    ring.append(ring)
    functions(number)
    modules(number)
    del made, ring
    if number % 5 == 0:
        gc.collect()
        assert not [one for one in Base.__subclasses__() if one.__name__ == f"Made{number}"], "the class stays for ever"
    return {"pid": os.getpid(), "version": VERSION}


if __name__ == "__main__":
    app.start(sys.argv[1:])
'''


def run(times: int) -> bool:
    """Ask that often, and return whether every request was answered and nothing broke."""
    folder = Path(tempfile.mkdtemp(prefix="aeros-heap-"))
    program = folder / "app.py"
    program.write_text(APP)
    server = ServerProcess([sys.executable, "-X", "dev", str(program), *OPTIONS], folder, env=ENVIRONMENT)
    try:
        server.ready(2, 90)
        pids, versions = ask(server, program, times)
        code = server.stop(signal.SIGTERM, 60)
        broken = [line for line in server.log.splitlines() if CORRUPTION.search(line)]
        print(f"{times} requests to {len(pids)} workers of {len(versions)} versions on Python {sys.version.split()[0]}")
        print("\n".join(broken) or "  no crash, and no report of corrupted memory")
        return not broken and code == 0
    finally:
        with contextlib.redirect_stdout(sys.stderr):  # it shows the server's log
            server.close()
        shutil.rmtree(folder, ignore_errors=True)


def ask(server: ServerProcess, program: Path, times: int) -> tuple[set[int], set[int]]:
    """Return the workers and the versions of the program that answered; it is changed and reloaded all along."""
    pids, versions = set(), set()
    for number in range(times):
        answer = server.get(f"/{number}", timeout_s=30)
        assert answer.status == 200, answer
        pids.add(answer.json()["pid"])
        versions.add(answer.json()["version"])
        if number % max(1, times // RELOADS) == 0:
            replace(program, APP.replace("VERSION = 0", f"VERSION = {number + 1}"))
            server.handle().reload(timeout=120)
    return pids, versions
