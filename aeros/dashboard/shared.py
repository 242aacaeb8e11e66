"""The app's own metrics over all workers, the dead ones' included, without a file for each that ever lived.

prometheus-client leaves a file per process behind for ever. Here the files of processes that are gone are added up
into one file of each kind. That must survive being killed at any moment, so what is already added up is decided by
one rename: the new sums and the list of the files in them become true together, and only then are the files removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

#: Values of a file by key, each with its timestamp.
Values = dict[str, tuple[float, float]]

_LEDGER = "ended.json"
_SUMS = "ended"


class SharedMetrics(Collector):
    """Reads a directory of prometheus-client's multiprocess mode; nobody else removes files there."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        # Two scrapes at a time must not add the same files up; nor two dashboards, which there are around an upgrade.
        self._lock = threading.Lock()

    def describe(self) -> list[Metric]:
        """Nothing is known beforehand: names of the app's metrics are the app's affair."""
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            with self._lock, _locked(self._directory):
                self.tidy()
                files = [str(path) for path in self._directory.glob("*.db")]
                merged = list(MultiProcessCollector.merge(files, accumulate=True))  # type: ignore[no-untyped-call]
            yield from merged
        except FileNotFoundError:
            return  # the server is ending, and has removed it

    def tidy(self) -> None:
        """Add the files of ended processes up, and remove them."""
        ledger = self._ledger()
        # Left by a tidying that was cut short: in the sums already, or never part of them.
        for name in ledger["added"]:
            (self._directory / name).unlink(missing_ok=True)
        for path in self._directory.glob(f"*_{_SUMS}-*.db"):
            if path.name not in ledger["sums"]:
                path.unlink(missing_ok=True)
        ended = [path for path in self._directory.glob("*.db") if _ended(path)]
        if ended:
            self._add(ended, ledger)

    def _add(self, ended: list[Path], ledger: dict[str, list[str]]) -> None:
        sums: dict[str, Values] = {}
        for path in [*(self._directory / name for name in ledger["sums"]), *ended]:
            kind = path.stem.rpartition("_")[0]
            if kind.startswith("gauge_") and kind not in ("gauge_sum", "gauge_min", "gauge_max", "gauge_mostrecent"):
                continue  # says how a process is that is no more
            into = sums.setdefault(kind, {})
            for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
                into[key] = _joined(kind, into.get(key), (value, timestamp))
        number = 1 + max((int(name.rpartition("-")[2][:-3]) for name in ledger["sums"]), default=0)
        names = [f"{kind}_{_SUMS}-{number}.db" for kind in sums]
        for name, values in zip(names, sums.values(), strict=True):
            (self._directory / name).unlink(missing_ok=True)
            file = MmapedDict(str(self._directory / name))  # type: ignore[no-untyped-call]
            for key, (value, timestamp) in values.items():
                file.write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
            file.close()  # type: ignore[no-untyped-call]
        done = [path.name for path in ended]
        self._write({"sums": names, "added": [*done, *ledger["sums"]]})
        for name in (*done, *ledger["sums"]):
            (self._directory / name).unlink(missing_ok=True)
        # A later process may get the number of an ended one, and its file is not in the sums.
        self._write({"sums": names, "added": []})

    def _ledger(self) -> dict[str, list[str]]:
        try:
            found: dict[str, list[str]] = json.loads((self._directory / _LEDGER).read_text())
        except FileNotFoundError:
            return {"sums": [], "added": []}
        return found

    def _write(self, ledger: dict[str, list[str]]) -> None:
        draft = self._directory / f"{_LEDGER}.new"
        draft.write_text(json.dumps(ledger))
        draft.replace(self._directory / _LEDGER)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other processes that ask for the same out. Raises FileNotFoundError."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _joined(kind: str, one: tuple[float, float] | None, other: tuple[float, float]) -> tuple[float, float]:
    if one is None:
        return other
    match kind:
        case "gauge_min":
            return min(one, other)
        case "gauge_max":
            return max(one, other)
        case "gauge_mostrecent":
            return max(one, other, key=lambda item: item[1])
    return one[0] + other[0], 0.0


def _ended(path: Path) -> bool:
    pid = path.stem.rpartition("_")[2]
    if not pid.isdigit():
        return False
    with contextlib.suppress(PermissionError):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
    return False
