"""What the supervisor itself needs to know of the options: small, and sent along by every new generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.record import as_dict, field, field_names, field_types, record

if TYPE_CHECKING:
    from ..options import Options


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
    #: "auto" or "off": whether a zygote makes the program immortal before it forks.
    immortal: str = "auto"

    @classmethod
    def of(cls, options: Options) -> Policy:
        """Return the supervisor's part of `options`."""
        return cls(**{name: getattr(options, name) for name in field_names(cls)})

    @classmethod
    def from_message(cls, record: dict[str, Any]) -> Policy:
        """Return what another process of the family sent. Raises TypeError for a record that does not fit."""
        for name, type_ in field_types(cls).items():
            value = record.get(name)
            kinds = [_KINDS[kind.partition("[")[0]] for kind in type_.split(" | ")]
            if name in record and not any(isinstance(value, kind) for kind in kinds):
                raise TypeError(f"{name} is a {type(value).__name__}")
        return cls(**record)

    def to_message(self) -> dict[str, Any]:
        return as_dict(self)

    @property
    def total_timeout_s(self) -> float:
        """From the order to end until the kill: drain, the app's own shutdown, and a second for the rest."""
        return self.drain_timeout_s + self.shutdown_timeout_s + 1.0
