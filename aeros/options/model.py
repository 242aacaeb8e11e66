"""Options: the one frozen value all settings become."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..core.record import field, field_names, record
from ..errors import OptionsError
from .hosts import HostNames
from .spec import Option
from .table import BY_HYPERCORN, OPTIONS

if TYPE_CHECKING:
    from hypercorn.config import Config

    from ..core.faults import FaultPlan


@record(kw_only=True)
class Options:
    """Everything a server was told, checked and complete. Made by `resolve`; a reload makes a new one.

    Names end with their unit: `_s` seconds (monotonic), `_bytes` bytes. What each one means stands in its row
    of table.py and in the reference.
    """

    #: Full spellings only: "host:port", "[ipv6]:port", "unix:path" or "fd://number".
    binds: tuple[str, ...]
    #: Beside binds with TLS; empty without TLS.
    insecure_binds: tuple[str, ...]
    quic_binds: tuple[str, ...]
    backlog: int

    workers: int
    worker_class: Literal["uvloop", "asyncio"]
    http: Literal["lane", "hypercorn"]
    http2: bool
    load: Literal["auto", "fork", "worker"]
    lifespan: Literal["auto", "on", "off"]
    immortal: Literal["auto", "off"]
    threads: int
    #: None: as many extra workers as there are workers.
    reload_surge: int | None
    dev: bool
    use_reloader: bool
    #: Patterns of further files.
    watch: tuple[str, ...]
    refresh: bool
    #: Paths, each with its query string.
    warmup: tuple[str, ...]
    memory_merge: bool

    boot_timeout_s: float
    #: 0: never.
    worker_timeout_s: float
    loop_warn_s: float
    slow_request_s: float
    #: Between being told to stop and closing the listeners.
    drain_delay_s: float
    drain_timeout_s: float
    #: For the app's lifespan shutdown, after the drain.
    shutdown_timeout_s: float
    keep_alive_timeout_s: float

    #: Whose forwarding headers are believed, and which: addresses, networks, "unix", "*".
    forwarded_allow: tuple[str, ...]
    forwarded_header: Literal["x-forwarded", "forwarded"]
    #: Whose connections begin with a PROXY header.
    proxy_protocol: tuple[str, ...]

    #: None: that limit is off, here and in the next lines.
    header_timeout_s: float | None
    min_data_rate: int | None
    write_timeout_s: float | None
    request_timeout_s: float | None
    max_request_line_bytes: int
    max_request_fields: int
    max_body_size_bytes: int | None
    body_memory_bytes: int | None
    max_connections: int | None
    max_concurrency: int | None
    #: None: half of max_concurrency; with queue_timeout_s, no limit.
    request_queue: int | None
    queue_timeout_s: float | None

    max_requests: int | None
    max_requests_jitter: int
    max_lifetime_s: float | None
    max_rss_bytes: int | None

    #: "auto", "off" or a path.
    control: str
    log_format: Literal["text", "json"]
    #: Upper case.
    log_level: str
    #: "-" (stdout), a path, or None: no access log of ours. A Logger object stands in hypercorn["accesslog"]
    #: instead.
    access_log: str | None
    access_log_format: str
    #: "-" (stderr), a path, or None. A Logger object stands in hypercorn["errorlog"] instead.
    error_log: str | None
    pid_file: str | None
    #: "auto", "off" or a name.
    proctitle: str
    faults: FaultPlan | None
    debug_faults: bool

    request_id: bool
    #: "name: value", the name in lower case.
    headers: tuple[str, ...]

    #: "user" or "user:group"; None: whoever starts the server.
    run_as: str | None

    #: "host=cert:key", the host in lower case.
    sni: tuple[str, ...]
    tls_watch: bool

    #: "host:port" or "unix:path", or None: no dashboard.
    admin: str | None
    admin_mode: int
    admin_token: str | None
    admin_write: bool
    admin_details: Literal["on", "off"]
    ready_min: int
    app_metrics: bool

    #: Every further attribute of Hypercorn's Config that was set, by its name there. Read-only.
    hypercorn: Mapping[str, Any] = field(hash=False)
    #: The user's own Config object, if one was given. Never changed.
    config_object: Config | None = field(compare=False)
    #: Where each value came from, by the option's name: "argument", "environment AEROS_WORKERS", "default", …
    sources: Mapping[str, str] = field(compare=False)
    #: Sentences for the log: nothing is wrong enough to stop for.
    warnings: tuple[str, ...] = field(compare=False)

    @property
    def tls(self) -> bool:
        """Whether `binds` and `quic_binds` speak TLS."""
        return self.hypercorn.get("certfile") is not None and self.hypercorn.get("keyfile") is not None

    @property
    def log_files(self) -> list[str]:
        """The absolute paths of the logs that are files."""
        absolute = os.path.abspath
        return [absolute(path) for path in (self.access_log, self.error_log) if path and path != "-"]

    @property
    def tls_files(self) -> dict[str, Any] | None:
        """What TLS is made of, as core.certificates.TLSFiles writes it, with absolute paths; None without TLS."""
        if not self.tls:
            return None
        from ..core.net.certificates import Pair, TLSFiles

        absolute = os.path.abspath
        named = [entry.partition("=")[::2] for entry in self.sni]
        pairs = [("", self.hypercorn["certfile"], self.hypercorn["keyfile"])]
        pairs += [(name, *paths.partition(":")[::2]) for name, paths in named]
        ca = self.hypercorn.get("ca_certs")
        return TLSFiles(
            tuple(Pair(name, absolute(certificate), absolute(key)) for name, certificate, key in pairs),
            absolute(ca) if ca else None,
            self.hypercorn.get("keyfile_password"),
            self.tls_watch,
        ).to_message()

    def hypercorn_config(self) -> Config:
        """Return a Config for Hypercorn's serve loop with every option applied; a fresh one at each call.

        It is a copy of the user's own object, class kept, where one was given. `workers` is 1, since with
        more Hypercorn sets SO_REUSEPORT and a second server would share the port unnoticed. `max_requests` is
        None and its jitter 0, since a worker that stops by itself leaves before its replacement is ready.
        Raises OptionsError if the user's class refuses a value.
        """
        import copy

        from hypercorn.config import Config

        config = Config() if self.config_object is None else copy.copy(self.config_object)
        # A logger made before would go on writing to the old targets.
        config._log = None
        for name, value in self._for_hypercorn().items():
            try:
                setattr(config, name, list(value) if isinstance(value, tuple) else value)
            except Exception as error:
                kind = f"{type(config).__module__}.{type(config).__qualname__}"
                raise OptionsError(f"{kind} refuses {name}: {type(error).__name__}: {error}") from error
        config.server_names = HostNames(config.server_names)
        pairs = [header.partition(": ")[::2] for header in self.headers]
        config.further_headers = [(name.encode(), value.encode()) for name, value in pairs]  # type: ignore[attr-defined]
        if not self.http2:
            config.alpn_protocols = [name for name in config.alpn_protocols if name != "h2"] or ["http/1.1"]
        return config

    def describe_changes(self, other: Options) -> list[str]:
        """Return one line for each option that would change from these options to the other ones."""
        lines = []
        for option in OPTIONS:
            before, after = self._value(option), other._value(option)
            if before != after:
                # A secret that changed would read "*** -> ***".
                text = "changed" if option.secret else f"{option.show(before)} -> {option.show(after)}"
                lines.append(f"{option.name}: {text}")
        # What came from a Hypercorn newer than the table.
        for name in sorted((self.hypercorn.keys() | other.hypercorn.keys()) - BY_HYPERCORN.keys()):
            if self.hypercorn.get(name) != other.hypercorn.get(name):
                lines.append(f"{name}: {self.hypercorn.get(name)} -> {other.hypercorn.get(name)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return all options by name with plain values, fit for JSON. Secrets are masked."""
        result: dict[str, Any] = {}
        for option in OPTIONS:
            if option.field is not None or option.hypercorn in self.hypercorn:
                result[option.field or option.name] = _plain(option, self._value(option))
        return result

    def __repr__(self) -> str:
        """Return what differs from the defaults; no secret is ever shown."""
        shown = [
            f"{option.field or option.name}={_plain(option, self._value(option))!r}"
            for option in OPTIONS
            if (option.field is not None or option.hypercorn in self.hypercorn)
            and self.sources.get(option.name) != "default"
        ]
        return f"Options({', '.join(shown)})"

    def _value(self, option: Option) -> object:
        if option.field is not None:
            return self.hypercorn.get(option.hypercorn or "", getattr(self, option.field))
        return self.hypercorn.get(option.hypercorn, option.default) if option.hypercorn else None

    def _for_hypercorn(self) -> dict[str, Any]:
        applied = {
            option.hypercorn: getattr(self, option.field)
            for option in OPTIONS
            if option.hypercorn is not None and option.field is not None
        }
        # Last, for a Logger object given as access or error log.
        applied |= self.hypercorn
        return applied | {"workers": 1, "max_requests": None, "max_requests_jitter": 0}


#: The fields that are options, and not about them.
FIELDS = tuple(
    name for name in field_names(Options) if name not in ("hypercorn", "config_object", "sources", "warnings")
)


def _plain(option: Option, value: object) -> object:
    if option.secret and value is not None:
        return "***"
    if isinstance(value, tuple):
        return list(value)
    # Enums of ssl are ints; JSON would show their numbers.
    return value if value is None or type(value) in (bool, int, float, str) else option.show(value)
