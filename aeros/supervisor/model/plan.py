"""What a server opens and how it is called: decided once, at its start. What a reload may change stands in `policy`.

The supervisor of `aeros run` never sees the app. A child loads it, and tells what the app's own options make of this.
With --run-as that child is another user: what root opens then is what root itself has read (see `agreed`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.ipc.messages import clip
from ...core.log.lines import LEVELS
from ...core.record import as_dict, field_names, record, replace
from ...errors import OptionsError
from .policy import Policy, check_kinds

if TYPE_CHECKING:
    from ...options import Options

#: Of the sentences that a program may give.
_MOST_WARNINGS = 20
_MOST_CHARS = 2000
#: What the program of another user may say otherwise than root: texts and figures that open nothing.
_FREE = frozenset({"name", "worker_class", "backlog", "log_format", "log_level", "ready_min", "warmup", "warnings"})
#: What the others are called in a sentence, where that is not the field's name with hyphens.
_WORDS = {
    "binds": "--bind",
    "bind_by_default": "--bind",
    "insecure_binds": "--insecure-bind",
    "quic_binds": "--quic-bind",
    "tls": "--certfile",
    "access_log": "--access-logfile",
    "error_log": "--error-logfile",
}
#: Fields that are taken from the options as they are.
_SAME = (
    *("worker_class", "backlog", "control", "pid_file", "run_as", "log_format", "log_level", "error_log", "access_log"),
    *("admin", "admin_mode", "admin_token", "admin_write", "admin_details", "ready_min", "app_metrics"),
)


@record
class Plan:
    """All of it is JSON. None: not wanted."""

    #: The app's name.
    name: str
    worker_class: str
    #: As `options.Options` has them.
    binds: list[str]
    insecure_binds: list[str]
    quic_binds: list[str]
    #: Nobody has given a bind, so sockets of systemd's come first.
    bind_by_default: bool
    #: Whether `binds` speak TLS.
    tls: bool
    backlog: int
    #: Of Unix sockets.
    umask: int | None
    user: int | None
    group: int | None
    control: str
    pid_file: str | None
    run_as: str | None
    log_format: str
    log_level: str
    error_log: str | None
    access_log: str | None
    admin: str | None
    admin_mode: int
    admin_token: str | None
    admin_write: bool
    admin_details: str
    ready_min: int
    app_metrics: bool
    #: As --faults has them, "" for none.
    faults: str
    #: Whether the app is sent requests before the first fork.
    warmup: bool
    #: Sentences for the log.
    warnings: list[str]

    @classmethod
    def of(cls, options: Options, name: str, warnings: Sequence[str] = ()) -> Plan:
        """Return what `options` say. name: the app's. warnings: beside those of the options."""
        as_they_are: dict[str, Any] = {key: getattr(options, key) for key in _SAME}
        as_they_are |= {key: options.hypercorn.get(key) for key in ("umask", "user", "group")}
        return cls(
            name=name,
            binds=list(options.binds),
            insecure_binds=list(options.insecure_binds),
            quic_binds=list(options.quic_binds),
            bind_by_default=options.sources.get("bind") == "default",
            tls=_speaks_tls(options),
            faults=str(options.faults) if options.faults is not None else "",
            warmup=bool(options.warmup),
            warnings=[*options.warnings, *warnings],
            **as_they_are,
        )

    @classmethod
    def from_message(cls, told: dict[str, Any]) -> Plan:
        """Return what another process of the family sent. Raises TypeError for what does not fit, ValueError for what
        no option can say."""
        check_kinds(cls, told)
        if any("\0" in value for value in told.values() if isinstance(value, str)):
            raise ValueError("a text cannot have a zero byte")
        plan = cls(**told)
        if plan.log_level.lower() not in LEVELS or plan.log_format not in ("text", "json"):
            raise ValueError(f"no log can be {plan.log_format[:80]!r} at the level {plan.log_level[:80]!r}")
        if not 1 <= plan.backlog <= 65535:
            raise ValueError(f"backlog cannot be {plan.backlog}")
        warnings = [clip(warning, _MOST_CHARS) for warning in plan.warnings[:_MOST_WARNINGS]]
        return replace(plan, name=clip(plan.name, _MOST_CHARS), warnings=warnings)

    def to_message(self) -> dict[str, Any]:
        return as_dict(self)


def agreed(root: tuple[Plan, Policy], told: tuple[Plan, Policy]) -> tuple[Plan, Policy]:
    """Return what a server is started with whose app is another user's.

    root: what root has read before the app was loaded. told: what the app's process makes of it, with the app's own
    options. Raises OptionsError where these want what root alone decides.
    """
    (plan, policy), (its_plan, its_policy) = root, told
    beyond = [*_beyond(plan, its_plan), *its_policy.beyond(policy)]
    if beyond:
        raise OptionsError(
            f"the app's own options ask for other {', '.join(dict.fromkeys(beyond))}: with --run-as root decides these "
            "before the app is loaded; give them on the command line, in the environment or in a configuration file"
        )
    free = {name: getattr(its_plan, name) for name in _FREE}
    return replace(plan, **free), replace(its_policy, tls_files=policy.tls_files)


def _beyond(root: Plan, told: Plan) -> list[str]:
    """Return what of `told` only root decides and has otherwise, in words."""
    names = [name for name in field_names(Plan) if name not in _FREE and name != "admin_token"]
    found = [name for name in names if _absolute(getattr(root, name)) != _absolute(getattr(told, name))]
    # The token is not told to a program of another user, so such a one can only say whether there is one.
    found += ["admin_token"] if bool(root.admin_token) != bool(told.admin_token) else []
    return [_WORDS.get(name, "--" + name.replace("_", "-")) for name in found]


def _absolute(value: Any) -> Any:
    """Return what a field means: paths are written from elsewhere by an app that has changed its directory."""
    if isinstance(value, list):
        return list(map(_absolute, value))
    if isinstance(value, str) and value.startswith("unix:") and not value.startswith("unix:@"):
        return "unix:" + os.path.abspath(value.removeprefix("unix:"))  # noqa: PTH100
    # Words and addresses as well: they stay different where they are.
    return os.path.abspath(value) if isinstance(value, str) else value  # noqa: PTH100


def _speaks_tls(options: Options) -> bool:
    if options.hypercorn.get("certfile"):
        return True
    return options.config_object is not None and options.hypercorn_config().ssl_enabled
