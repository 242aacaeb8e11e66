"""From everything that was given to one frozen Options: precedence, and what must fit together."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..core.process.origin import INTERNAL_PREFIX
from ..core.record import record
from ..errors import OptionsError
from . import files
from .cpus import usable_cpus
from .development import development, project_files
from .given import Given, Layer, contradiction, convert, from_mapping, join, shorten
from .model import Options
from .spec import ENV_PREFIX, Option, nearest
from .table import BY_NAME, OPTIONS
from .values import AUTO, is_loopback, join_host_port, split_host_port

if TYPE_CHECKING:
    from hypercorn.config import Config

#: What other servers and hosting services set for the number of workers.
_WEB_CONCURRENCY = "WEB_CONCURRENCY"
#: What hosting services set for the port that they send requests to.
_PORT = "PORT"


def resolve(
    arguments: str | Sequence[str] | None = None,
    keywords: Mapping[str, object] | None = None,
    *,
    config: Config | str | None = None,
    constructor: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Options:
    """Return the options of a server from all there is, the first of these that names an option deciding it:

    1. `arguments` ("-w 2", or a list) and `keywords` (workers=2), which must not contradict each other; then, with
       `dev`, what is for development
    2. `environ` (None: the process's): AEROS_<OPTION>; WEB_CONCURRENCY for workers. An empty one is not set
    3. the file, module or Config object named by `config`, --config, AEROS_CONFIG or the constructor
    4. `constructor`: what WebServer(…) was given
    5. the defaults, and PORT: with nothing else about an address, 0.0.0.0:$PORT

    Every value is checked, also one that is then outranked: a mistake that is silent today is an outage
    tomorrow.
    Raises OptionsError, one sentence. Runs the user's code only for a configuration in Python; prints
    nothing.
    """
    return gather(arguments, keywords, config=config, constructor=constructor, environ=environ).options()


@record(eq=False)
class Gathered:
    """What was given: each value is checked, and whether they fit together is not."""

    _given: Layer
    _config_object: Config | None
    _warnings: list[str]

    def value(self, name: str) -> object:
        """Return the value of an option as `given`, or its default."""
        return self._given[name].value if name in self._given else BY_NAME[name].default_value()

    def options(self) -> Options:
        """Return all options. Raises OptionsError for what does not fit together."""
        return _options(self._given, self._config_object, [*self._warnings, *_check(self._given)])


def gather(
    arguments: str | Sequence[str] | None = None,
    keywords: Mapping[str, object] | None = None,
    *,
    config: Config | str | None = None,
    constructor: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    read: Callable[[object], tuple[Layer, Config | None]] = files.load,
) -> Gathered:
    """As `resolve`, without putting it together. read: reads what `config` names."""
    warnings: list[str] = []
    told: Layer = {}
    if arguments is not None:
        told, notes = _from_arguments(arguments)
        warnings += notes
    told = join(told, _mapping(keywords, "keywords", "keyword"))
    if config is not None:
        told = join(told, {"config": convert(BY_NAME["config"], config, "config", "keyword")})
    variables = os.environ if environ is None else environ
    environment, notes = _from_environment(variables, told)
    warnings += notes
    built = _mapping(constructor, "constructor", "constructor")

    named = next((layer["config"] for layer in (told, environment, built) if "config" in layer), None)
    filed, config_object = read(named.value) if named is not None else ({}, None)

    layers = [told, environment, filed, built]
    for layer in layers:
        _refuse_two_addresses(layer)
    dev = next((layer["dev"].value for layer in layers if "dev" in layer), False)
    if dev:
        # Above a file that is meant for production: who develops says otherwise in this very command.
        layers.insert(1, development())
    given: Layer = {}
    for layer in reversed(layers):
        given |= layer
    if dev:
        given |= project_files(given.get("watch"))
    if address := _bind(layers) or _hosted(given, variables):
        given["bind"] = address
    return Gathered(given, config_object, warnings)


def _from_arguments(arguments: str | Sequence[str]) -> tuple[Layer, list[str]]:
    # Most servers start without arguments, or with none that matter to import argparse for.
    if arguments in ("", [], ()):
        return {}, []
    from .parse import from_arguments

    return from_arguments(arguments)


def _mapping(given: Mapping[str, object] | None, name: str, source: str) -> Layer:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise OptionsError(f"{name} must be a mapping of options, not {shorten(given)}")
    where = " (given to the constructor)" if source == "constructor" else ""
    known: Mapping[str, Option] = BY_NAME
    if not given.keys() <= BY_NAME.keys():
        # Hypercorn is imported only to learn whether a newer one knows the name.
        known = {**files.hypercorn_options(), **BY_NAME}
    return from_mapping(given, source, where=where, known=known)


def _from_environment(environ: Mapping[str, str], told: Layer) -> tuple[Layer, list[str]]:
    """Return what the environment says, and a warning for each AEROS_ variable that is no option.

    A warning and no error: the variable may be the next release's, set for a whole fleet of machines.
    """
    layer: Layer = {}
    warnings = []
    known = {ENV_PREFIX + name.upper(): option for name, option in BY_NAME.items()}
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith(ENV_PREFIX) or variable.startswith(INTERNAL_PREFIX):
            continue
        option = known.get(variable)
        if option is None:
            near = nearest(variable, known)
            warnings.append(
                f"{variable} is set, but is no option of Aeros" + (f"; did you mean {near}?" if near else "")
            )
        elif text.strip():
            layer = join({option.name: _variable(option, variable, text)}, layer)
    # Not looked at unless it decides: it may be meant for another server and hold anything.
    if "workers" not in layer and "workers" not in told and environ.get(_WEB_CONCURRENCY, "").strip():
        option = BY_NAME["workers"]
        layer["workers"] = _variable(option, _WEB_CONCURRENCY, environ[_WEB_CONCURRENCY])
    return layer, warnings


def _variable(option: Option, variable: str, text: str) -> Given:
    # No address or name holds a comma or a space, so both part the items of a list.
    raw: object = text.replace(",", " ").split() if option.kind == "list" else text
    return convert(option, raw, variable, f"environment {variable}")


# -- addresses


def _refuse_two_addresses(layer: Layer) -> None:
    for half in ("host", "port"):
        if "bind" in layer and half in layer:
            raise contradiction(layer["bind"], layer[half])


def _bind(layers: Sequence[Layer]) -> Given | None:
    """Return the one bind that host and port amount to, or None where they were not given or do not decide.

    A half that is missing comes from the layers below, be it the half of a bind: AEROS_PORT=9000 over a
    file's bind = "0.0.0.0:8000" is 0.0.0.0:9000. Over several addresses or a Unix socket it means nothing,
    and is refused.
    """
    halves: Layer = {}
    for layer in layers:
        for half in ("host", "port"):
            if half in layer:
                halves.setdefault(half, layer[half])
        if len(halves) == 2:
            break
        if "bind" in layer:
            if not halves:
                return None
            below = layer["bind"]
            addresses = below.value if isinstance(below.value, tuple) else ()
            parts = split_host_port(addresses[0]) if len(addresses) == 1 else None
            if parts is None:
                raise contradiction(next(iter(halves.values())), below)
            for half, value in zip(("host", "port"), parts, strict=True):
                halves.setdefault(half, Given(BY_NAME[half], value, below.spelled, below.source))
            break
    if not halves:
        return None
    # The first in the dict is of the highest rank.
    first = next(iter(halves.values()))
    host, port = (halves[half].value if half in halves else BY_NAME[half].default for half in ("host", "port"))
    return Given(BY_NAME["bind"], (join_host_port(str(host), int(str(port))),), first.spelled, first.source)


def _hosted(given: Layer, environ: Mapping[str, str]) -> Given | None:
    """Return the address that a hosting service means by PORT, where nobody says another; None: nobody means any."""
    text = environ.get(_PORT, "").strip()
    if not text or given.keys() & {"bind", "host", "port"}:
        return None
    port = _variable(BY_NAME["port"], _PORT, text)
    return Given(BY_NAME["bind"], (join_host_port("0.0.0.0", int(str(port.value))),), _PORT, port.source)


# -- combinations


def _check(given: Layer) -> list[str]:
    """Return warnings for options without effect. Raises OptionsError for what does not fit together."""

    def value(name: str) -> Any:
        return given[name].value if name in given else None

    for one, other in (("certfile", "keyfile"), ("keyfile", "certfile")):
        if value(one) is not None and value(other) is None:
            raise OptionsError(
                f"{given[one].spelled} needs --{other} as well; a PEM file that holds both is given twice",
                option=one,
            )
    tls = value("certfile") is not None
    for name, instead in (("quic_bind", ""), ("insecure_bind", "; without TLS, use --bind")):
        if value(name) and not tls:
            raise OptionsError(f"{given[name].spelled} needs --certfile and --keyfile{instead}", option=name)
    if value("quic_bind"):
        if any(bind.startswith("unix:") for bind in value("quic_bind")):
            raise OptionsError(f"{given['quic_bind'].spelled} cannot be a Unix socket: QUIC is UDP", option="quic_bind")
        if find_spec("aioquic") is None:
            raise OptionsError(
                f"{given['quic_bind'].spelled} needs aioquic, which is not installed: pip install aioquic",
                option="quic_bind",
            )
    if value("max_requests_jitter") and value("max_requests") is None:
        raise OptionsError(f"{given['max_requests_jitter'].spelled} needs --max-requests", option="max_requests_jitter")
    if value("admin") is not None:
        _check_admin(given)
    _refuse_twice(given, ("bind", "insecure_bind"))
    _refuse_twice(given, ("quic_bind",))

    return [
        f"{given[name].spelled} has no effect without --certfile and --keyfile"
        for name in ("ca_certs", "verify_mode", "verify_flags", "keyfile_password", "ciphers", "sni")
        if value(name) is not None and not tls
    ] + [
        f"{given[name].spelled} has no effect without --admin"
        for name in ("admin_mode", "admin_token", "admin_write", "ready_min", "app_metrics")
        if value(name) and value("admin") is None
    ]


def _check_admin(given: Layer) -> None:
    admin = given["admin"]
    address = str(admin.value)
    token = given["admin_token"].value if "admin_token" in given else None
    if not is_loopback(address) and token is None:
        raise OptionsError(
            f"{admin.spelled} {admin.value} can be reached from other machines and needs a token: set "
            "AEROS_ADMIN_TOKEN, or use 127.0.0.1",
            option="admin",
        )
    mode = given["admin_mode"].value if "admin_mode" in given else BY_NAME["admin_mode"].default
    write = given.get("admin_write")
    # Every user of this machine can connect to loopback, and so can the app: both could steer the server.
    closed = address.startswith("unix:") and not int(str(mode)) & 0o002
    if write is not None and write.value and token is None and not closed:
        where = "with that mode any user" if address.startswith("unix:") else "any user of this machine"
        raise OptionsError(
            f"{write.spelled} needs a token, since {where} can connect to {admin.value}: set AEROS_ADMIN_TOKEN, or "
            "use --admin unix:/path, with a mode that is closed to others",
            option="admin_write",
        )
    if find_spec("prometheus_client") is None:
        raise OptionsError(
            f"{admin.spelled} needs prometheus-client, which is not installed: pip install prometheus-client",
            option="admin",
        )


def _refuse_twice(given: Layer, names: Sequence[str]) -> None:
    seen: dict[str, Given] = {}
    for name in names:
        option = given.get(name)
        for address in option.value if option is not None and isinstance(option.value, tuple) else ():
            # Each port 0 is another port.
            if address in seen and not address.endswith(":0"):
                raise OptionsError(f"{option} names {address} twice", option=name)
            assert option is not None
            seen[address] = option


# -- the result


def _options(given: Layer, config_object: Config | None, warnings: Sequence[str]) -> Options:
    fields: dict[str, Any] = {}
    further: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for option in OPTIONS:
        item = given.get(option.name)
        if item is not None:
            sources[option.name] = item.source
        elif option.field is not None:
            sources[option.name] = "default"
        if option.field is not None:
            value = item.value if item is not None else option.default_value()
            if isinstance(value, logging.Logger) and option.hypercorn is not None:
                further[option.hypercorn] = value
                value = None
            fields[option.field] = value
        elif item is not None and option.hypercorn is not None:
            further[option.hypercorn] = item.value
    for name, item in given.items():
        # What only the installed Hypercorn knows; see files.hypercorn_options.
        if name not in BY_NAME:
            further[name] = item.value
            sources[name] = item.source
    if fields["workers"] == AUTO:
        cpus = usable_cpus()
        fields["workers"] = cpus.count
        sources["workers"] += f", auto: {cpus.why}"
    return Options(
        **fields,
        hypercorn=MappingProxyType(further),
        config_object=config_object,
        sources=MappingProxyType(sources),
        warnings=tuple(warnings),
    )
