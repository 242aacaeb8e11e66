"""The app's own prometheus-client metrics, shared by all workers through files in a directory of this server.

prometheus-client's multiprocess mode keeps every value in a mapped file named after the process, so nothing is lost
when a worker is killed. It is switched on when prometheus-client is imported; here it can also be switched on
afterwards, because the program has imported it by the time it reaches start().
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

from ..errors import StartError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

#: The directory this process has to remove, "" if there is none.
_made = ""
#: The one it made last: a second server of the same program uses it again.
_last = ""


def share() -> str:
    """Turn the multiprocess mode on for this program and all that is forked from it; return the directory.

    A directory that the environment names already is used, and never removed. Raises StartError.
    """
    global _made, _last  # noqa: PLW0603 - there is one environment, too
    directory = os.environ.get(VARIABLE, "")
    if directory and directory == _last:
        _made = directory
        os.makedirs(directory, 0o700, exist_ok=True)  # noqa: PTH103
        return directory
    if directory:
        if not os.path.isdir(directory):  # noqa: PTH112
            raise StartError(f"{VARIABLE} is set to {directory}, which is not a directory")
        return directory
    try:
        _made = _last = tempfile.mkdtemp(prefix="aeros-metrics-")
    except OSError as error:
        raise StartError(
            f"--app-metrics needs a temporary directory: {error.strerror}; set TMPDIR, or {VARIABLE} to a directory"
        ) from None
    os.environ[VARIABLE] = _made
    if "prometheus_client" in sys.modules:
        _convert()
    return _made


def _convert() -> None:
    """Move the metrics that exist into files. What they counted while the program was being imported is forgotten."""
    import prometheus_client
    from prometheus_client import metrics, values

    try:
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        for collector in {id(item): item for item in prometheus_client.REGISTRY._names_to_collectors.values()}.values():
            if isinstance(collector, metrics.MetricWrapperBase):
                for metric in (collector, *getattr(collector, "_metrics", {}).values()):
                    if metric._is_observable():
                        metric._metric_init()
    except AttributeError as error:
        raise StartError(
            f"--app-metrics does not know this version of prometheus-client ({error}); set {VARIABLE} to an empty "
            "directory before the program starts instead"
        ) from None


def join(directory: str) -> None:
    """Use the directory that the supervisor has made, in a program that was loaded before there was one."""
    if directory and os.environ.get(VARIABLE) != directory:
        os.environ[VARIABLE] = directory
        if "prometheus_client" in sys.modules:
            _convert()


def made() -> str:
    """Return the directory this process has to remove, "" if there is none."""
    return _made


def environment() -> dict[str, str]:
    """Return what a program that is run again needs, so that prometheus-client finds the directory at its import."""
    return {VARIABLE: _made} if _made else {}


def adopt(directory: str) -> None:
    """The directory is this process's to remove from now on."""
    global _made  # noqa: PLW0603
    _made = directory


def forget() -> None:
    """The directory is another process's to remove."""
    global _made  # noqa: PLW0603
    _made = ""


def remove() -> None:
    """Remove the directory, if this process made it."""
    directory = _made
    forget()
    if directory:
        shutil.rmtree(directory, ignore_errors=True)
