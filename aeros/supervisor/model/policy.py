"""What the supervisor itself needs to know of the options: small, and sent along by every new generation.

With --run-as the program that a reload runs is another user than the supervisor. Its word changes figures; what the
supervisor opens, hands over and takes orders for stays as whoever started the server had it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ...core.record import as_dict, field, field_names, field_types, record, replace
from ...core.shared.scoreboard import MAX_WORKERS
from ...errors import ReloadFailed

if TYPE_CHECKING:
    from ...options import Options


#: What a field may be as JSON has it, by the names in the annotations.
_KINDS: dict[str, Any] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "dict": dict,
    "list": list,
    "str": str,
    "None": type(None),
}

#: The longest time that an option can say (options.units).
_LONGEST_S = 366 * 86400.0
_MOST = {"workers": MAX_WORKERS, "reload_surge": MAX_WORKERS, "max_rss_bytes": 2**62}
_LEAST = {"workers": 1, "reload_surge": 1, "max_rss_bytes": 0}
#: What a program of another user cannot change by a reload, and what to call it.
_OF_THE_START = {
    "tls_files": "TLS files",
    "log_files": "log files",
    "use_reloader": "--reload",
    "watch": "--watch",
    "dev": "--dev",
    "debug_faults": "--debug-faults",
    "proctitle": "--proctitle",
}


@record
class Policy:
    """Times in seconds, sizes in bytes; None or 0 turns a limit off."""

    workers: int
    boot_timeout_s: float
    worker_timeout_s: float
    drain_timeout_s: float
    shutdown_timeout_s: float
    max_lifetime_s: float | None
    max_rss_bytes: int | None
    reload_surge: int | None
    use_reloader: bool
    drain_delay_s: float = 0.0
    debug_faults: bool = False
    #: What TLS is made of, as core.certificates.TLSFiles writes it; None without TLS.
    tls_files: dict[str, Any] | None = None
    #: Absolute paths of the logs that are files.
    log_files: list[str] = field(default_factory=list)
    loop_warn_s: float = 0.0
    #: The program's name in process titles; "": no titles.
    proctitle: str = ""
    #: "auto", "fork" or "worker": how workers get the app (see `load`).
    load: str = "auto"
    #: "auto" or "off": whether a zygote makes the program immortal before it forks.
    immortal: str = "auto"
    #: With use_reloader: patterns of files, beside the program's modules, whose change is a reason for a reload.
    watch: list[str] = field(default_factory=list)
    #: Whether somebody works on the program: its workers are told what came of a reload.
    dev: bool = False

    @classmethod
    def of(cls, options: Options) -> Policy:
        """Return the supervisor's part of `options`."""
        return cls(**{name: getattr(options, name) for name in field_names(cls)})

    @classmethod
    def from_message(cls, record: dict[str, Any]) -> Policy:
        """Return what another process of the family sent. Raises TypeError for a record that does not fit, ValueError
        for a value that no option can have."""
        check_kinds(cls, record)
        for name in field_types(cls).keys() & record.keys():
            if not _possible(name, record[name]):
                raise ValueError(f"{name} cannot be {str(record[name])[:80]}")
        return cls(**record)

    def allowed(self, running: Policy) -> Policy:
        """Return the part of what a new program asks for that is its to ask for where it runs as another user than we
        do. running: the policy now. Raises ReloadFailed where it asks for more."""
        if beyond := self.beyond(running):
            raise ReloadFailed(
                f"the new program asks for other {', '.join(beyond)}: with --run-as these are as whoever started the "
                "server has them; use aeros upgrade or a restart to change them"
            )
        return replace(self, tls_files=running.tls_files)

    def beyond(self, start: Policy) -> list[str]:
        """Return what of this, the policy of a program that another user runs, only whoever started the server decides
        and had otherwise in `start`; in words."""
        # As messages have them: a tuple is a list there.
        mine, its = (json.loads(json.dumps(as_dict(policy))) for policy in (self, start))
        for known in (mine, its):
            # A password is not told to programs of other users, so theirs cannot say it.
            files = known["tls_files"] or {}
            # A list in what came as a message, a tuple in what did not.
            known["tls_files"] = {**files, "pairs": list(files.get("pairs", ())), "password": None}
        return [words for name, words in _OF_THE_START.items() if mine[name] != its[name]]

    def to_message(self) -> dict[str, Any]:
        return as_dict(self)

    @property
    def total_timeout_s(self) -> float:
        """From the order to end until the kill: drain, the app's own shutdown, and a second for the rest."""
        return self.drain_timeout_s + self.shutdown_timeout_s + 1.0


def check_kinds(cls: type, told: dict[str, Any]) -> None:
    """Raise TypeError where a value that was `told` for a field of the record `cls` is of another type, ValueError for
    a list of something else than texts."""
    for name, type_ in field_types(cls).items():
        if name not in told:
            continue  # it has a default, or what was told does not fit
        value = told[name]
        kinds = [_KINDS[kind.partition("[")[0]] for kind in type_.split(" | ")]
        if not any(isinstance(value, kind) for kind in kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f"{name} is a {type(value).__name__}")
        if "[str]" in type_ and not all(isinstance(item, str) for item in value):
            raise ValueError(f"{name} cannot be {str(value)[:80]}")


def _possible(name: str, value: Any) -> bool:
    """Whether an option can say that. NaN is nowhere between two numbers."""
    if name.endswith("_s") and value is not None:
        return bool(0 <= value <= _LONGEST_S)
    if name in _MOST and value is not None:
        return bool(_LEAST[name] <= value <= _MOST[name])
    if isinstance(value, list):
        return all(isinstance(item, str) and "\0" not in item for item in value)
    return not isinstance(value, str) or len(value) <= 200
