"""Which system a process calls: the real one, or with `--faults` one that refuses on purpose."""

from __future__ import annotations

from .system import System


def system_for(faults: object, role: str) -> System:
    """Return it for one process. faults: as the option has them, "" or None for none. role: which process; the same
    seed and role give the same faults."""
    if not faults:
        return System()
    from ...core.faults import parse
    from .faulty import FaultySystem

    return FaultySystem(parse(str(faults)), role)
