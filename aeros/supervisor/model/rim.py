"""Where supervisor and zygotes meet the system: the calls that `--faults` can make fail there.

Each module of the rim sees `os`, `socket` or `signal` through a stand-in that has the named calls replaced. The app,
the workers and the standard library keep the real ones, and without the option none of this exists.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ...core.faults import Dice, FaultPlan
from ...core.ipc import channel
from ...core.log import lines as logs
from ...core.log import sink
from ...core.process import signalling as process
from ...core.shared import anonymous
from ..control import pidfile
from ..control import socket as control
from ..system import launch
from ..zygotes import loader

#: (call, module that makes it, the module it is made through, its name there)
_PLACES: tuple[tuple[str, ModuleType, str, str], ...] = (
    ("fork", process, "os", "fork"),
    ("pidfd", process, "os", "pidfd_open"),
    ("kill", process, "signal", "pidfd_send_signal"),
    ("spawn", launch, "os", "posix_spawn"),
    ("pipe", loader, "os", "pipe"),
    ("socketpair", channel, "socket", "socketpair"),
    ("dup", channel, "os", "dup"),
    ("memfd", anonymous, "os", "memfd_create"),
    ("open", logs, "os", "open"),
    ("open", pidfile, "os", "open"),
    ("write", sink, "os", "write"),
    ("accept", control, "accept", ""),
)


class _StandIn:
    """A module with some of its functions replaced."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class Rim:
    """The faults of one process and of those it forks. `arm` puts them in, `disarm` takes them out."""

    def __init__(self, plan: FaultPlan, role: str) -> None:
        self.dice = Dice(plan, role)
        self._before: list[tuple[ModuleType, str, Any]] = []

    def arm(self) -> None:
        """Have the calls of the plan fail from now on."""
        for call, module, name, inner in _PLACES:
            if call not in self.dice.calls:
                continue
            real = getattr(module, name)
            if not inner:
                self._put(module, name, real, self.dice.loaded(call, real))
                continue
            stand_in = real if isinstance(real, _StandIn) else _StandIn(real)
            setattr(stand_in, inner, self.dice.loaded(call, getattr(real, inner)))
            if stand_in is not real:
                self._put(module, name, real, stand_in)

    def _put(self, module: ModuleType, name: str, real: Any, instead: Any) -> None:
        self._before.append((module, name, real))
        setattr(module, name, instead)

    def disarm(self) -> None:
        """Everything as it was: for workers, and for a program that goes on after its server."""
        while self._before:
            module, name, real = self._before.pop()
            setattr(module, name, real)

    def enter(self, role: str) -> None:
        """In a process just forked: decide anew."""
        self.dice.enter(role)

    def describe(self) -> str:
        """Return the warning that the log begins with."""
        return f"system calls fail on purpose (--faults {self.dice.plan}): never do this to a server that matters"
