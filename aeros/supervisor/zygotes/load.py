"""How the workers of a generation get the program: forked from a process that has it, or each runs it itself.

A fork is sooner and shares memory, but it takes no thread along. Where a library's own threads are alive, whoever uses
that library in a forked worker waits for them for ever (see `core.threads`). A wait for ever is worse than memory.
"""

from __future__ import annotations

import threading

from ...core.process.threads import native_threads
from ...core.record import field, record
from ...core.text import one_line
from ...options import usable_cpus

AUTO, FORK, WORKER = "auto", "fork", "worker"

#: Of libraries, and of each one's name, in a message.
_MAX_NAMES = 20
_MAX_NAME_CHARS = 100
#: Libraries whose Python threads notice a fork: they look at the pid, or start their thread anew.
_HARMLESS = frozenset({"ddtrace", "opentelemetry", "pymongo", "sentry_sdk"})


@record
class Load:
    """What was chosen for one generation. how: FORK or WORKER."""

    how: str
    #: The libraries whose threads a fork would leave behind, each with their number: "_polars_runtime (4 threads)".
    threads: list[str] = field(default_factory=list)
    #: Sentences for the log.
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def from_message(cls, how: str, threads: list[str]) -> Load:
        """Return what another process of the family has chosen. Its words are shown, so they are kept short."""
        names = [str(name)[:_MAX_NAME_CHARS] for name in threads[:_MAX_NAMES]]
        return cls(WORKER if how == WORKER else FORK, list(map(one_line, names)))


def choose(wanted: str, why_not_again: str = "") -> Load:
    """Return how the workers get the program that this process has loaded. Called last thing before the first fork:
    importing a library starts no thread of its own, using it does, and so may warm-up requests.

    wanted: AUTO, FORK or WORKER. why_not_again: the reason that the program cannot be run again, "" if it can.
    """
    if wanted == WORKER:
        return Load(WORKER)
    threads = lost_threads()
    if not threads:
        return Load(FORK)
    were, their = ("were", "their") if len(threads) > 1 else ("was", "its")
    used = (
        f"{', '.join(threads)} {were} used while the app was loaded, and {their} threads do not exist in forked workers"
    )
    later = "use it for the first time in @app.after_fork or before_serving instead"
    if wanted == FORK:
        return Load(FORK, threads, [f"{used}: whoever uses it there may wait for ever (--load fork); {later}"])
    if why_not_again:
        instead = f"no worker can load the app itself, because {why_not_again}"
        return Load(FORK, threads, [f"{used}: whoever uses it there may wait for ever; {instead}; {later}"])
    instead = "so each worker loads the app itself, which takes more memory and a longer start"
    return Load(WORKER, threads, [f"{used}, {instead}; {later}, or say --load fork if you know better"])


def lost_threads() -> list[str]:
    """Return the libraries whose threads a fork of this process would leave behind, each with their number."""
    return [str(found) for found in native_threads() if not found.harmless]


def loads_at_once() -> int:
    """Return how many workers may load the program at a time."""
    return max(2, usable_cpus().count)


def unsafe_threads() -> list[str]:
    """Return the names of the Python threads of this process that a fork would leave behind, but for those of libraries
    that are known to notice it."""
    mine = (threading.current_thread(), threading.main_thread())
    return sorted(thread.name for thread in threading.enumerate() if thread not in mine and not _is_harmless(thread))


def warn_of_threads(names: list[str], how: str, *, in_supervisor: bool, beside: bool = True) -> list[str]:
    """Return a sentence about these Python threads of the program whose workers are to be made, if there are any.
    in_supervisor: it is the program of the first start, whose process becomes the supervisor. beside: whether there is
    such a process beside this one."""
    if not names:
        return []
    count = f"{len(names)} live thread{'s' if len(names) > 1 else ''} ({', '.join(names)})"
    if how == WORKER:
        twice = f"the program has {count}: they run in each worker, and here in the supervisor as well"
        return [f"{twice}; start them in @app.after_fork instead"] if in_supervisor else []
    here = "here, in the supervisor, they run on, with this code also after a reload"
    if not in_supervisor and not beside:
        here = "they run on in this zygote, until the next reload ends it"
    elif not in_supervisor:
        here = "they run in the new zygote, beside those of the first start in the supervisor, so jobs may run twice"
    return [
        f"forking a program with {count}: they do not exist in the workers, and locks they hold stay locked there; "
        f"{here}; start them in @app.after_fork instead"
    ]


def _is_harmless(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    modules = (type(thread).__module__, getattr(target, "__module__", None) or "")
    return any(module.partition(".")[0] in _HARMLESS for module in modules)
