"""Access log lines with Hypercorn's format and atoms, for a fraction of the price.

Hypercorn builds every atom for every request and copies the whole of os.environ while at it. Here an atom is made
when the format asks for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from hypercorn.asyncio.statsd import StatsdLogger
from hypercorn.logging import Logger
from hypercorn.statsd import StatsdLogger as BaseStatsdLogger

from ...core.text import quoted

if TYPE_CHECKING:
    from hypercorn.config import Config

#: What an exchange adds to the scope of a request that is over, for its line.
ROUTE, SENT = "aeros.route", "aeros.sent"

Access = Callable[[Any, Any, float], Coroutine[Any, Any, None]]


class Atoms(dict[str, Any]):
    """The atoms of one request; an atom is computed when it is first read, and unknown ones are "-".

    request: the ASGI scope. response: the start message, or None for a request that got no whole response.
    """

    def __init__(self, request: Any, response: Any, request_time: float) -> None:
        # Not empty from the start: logging takes an empty mapping for no arguments at all.
        super().__init__(l="-")
        self.request = request
        self.response = response
        self.request_time = request_time

    def __missing__(self, key: str) -> Any:
        make = _ATOMS.get(key)
        value: Any = "-"
        if make is not None:
            value = make(self)
        elif key.startswith("{"):
            value = self.header(key.lower())
        if value.__class__ is str and not (value.isprintable() and '"' not in value and "\\" not in value):
            # As nginx does it: no request may end a field in quotes, or the line, and begin another.
            value = quoted(value)
        self[key] = value
        return value

    def header(self, key: str) -> str:
        """Return what "{name}i" (of the request), "{name}o" (of the response) or "{name}e" (environment) means, as it
        was sent; "-" for nothing."""
        name, kind = key[1:-2], key[-2:]
        if kind == "}e":
            return next((value for variable, value in os.environ.items() if variable.lower() == name), "-")
        headers: Any = ()
        if kind == "}i":
            headers = self.request["headers"]
        elif kind == "}o" and self.response is not None:
            headers = self.response.get("headers", ())
        found = "-"
        wanted = name.encode("latin1", "replace")
        for header, value in headers:
            if bytes(header).lower() == wanted:
                found = bytes(value).decode("latin1")  # the last one wins, as in Hypercorn's dict
        return found


def _client(atoms: Atoms) -> str | None:
    client = atoms.request.get("client")
    if client is None:
        return None
    if len(client) == 2:
        return f"{client[0]}:{client[1]}"
    return client[0] if len(client) == 1 else f"<???{client}???>"


def _method(atoms: Atoms) -> str:
    return atoms.request["method"] if atoms.request["type"] == "http" else "GET"


def _query(atoms: Atoms) -> str:
    query: str = atoms.request["query_string"].decode("utf-8", "surrogateescape")
    return query


def _path_and_query(atoms: Atoms) -> str:
    query = _query(atoms)
    return f"{atoms.request['path']}?{query}" if query else str(atoms.request["path"])


def _protocol(atoms: Atoms) -> str:
    version = atoms.request.get("http_version")
    return f"HTTP/{version}" if version else "ws"


def _status(atoms: Atoms) -> str:
    return "-" if atoms.response is None else str(atoms.response["status"])


def _phrase(atoms: Atoms) -> str:
    if atoms.response is None:
        return "-"
    try:
        return HTTPStatus(atoms.response["status"]).phrase
    except ValueError:
        return f"<???{atoms.response['status']}???>"


def route_of(scope: Mapping[str, Any]) -> str | None:
    """Return the route that the framework has left in the scope: FastAPI and Starlette, Litestar."""
    route = getattr(scope.get("route"), "path", None) or scope.get("path_template")
    return route if isinstance(route, str) else None


def fields(atoms: Atoms) -> dict[str, Any]:
    """Return what a JSON line says of a request beside its text."""
    request, response = atoms.request, atoms.response
    size = atoms.header("{content-length}o")
    request_id = atoms.header("{x-request-id}i")
    return {
        # The context that logs is not always that of the request, which has the id as well.
        "request_id": None if request_id == "-" else request_id,
        "method": _method(atoms),
        "path": request["path"],
        "route": request.get(ROUTE) or route_of(request),
        "query": _query(atoms),
        "protocol": _protocol(atoms),
        "status": None if response is None else response["status"],
        "duration_ms": round(atoms.request_time * 1000, 3),
        "bytes": int(size) if size.isdecimal() else request.get(SENT),
        "client": _client(atoms),
    }


def _tls_client(atoms: Atoms) -> str:
    extension = atoms.request.get("extensions", {}).get("tls") or {}
    return extension.get("client_cert_name") or "-"


_ATOMS: dict[str, Callable[[Atoms], Any]] = {
    "h": _client,
    "t": lambda _: time.strftime("[%d/%b/%Y:%H:%M:%S %z]"),
    "r": lambda atoms: f"{_method(atoms)} {atoms.request['path']} {_protocol(atoms)}",
    "R": lambda atoms: f"{_method(atoms)} {_path_and_query(atoms)} {_protocol(atoms)}",
    "s": _status,
    "st": _phrase,
    "S": lambda atoms: atoms.request["scheme"],
    "m": _method,
    "U": lambda atoms: atoms.request["path"],
    "Uq": _path_and_query,
    "q": _query,
    "H": _protocol,
    "b": lambda atoms: atoms.header("{content-length}o"),
    "B": lambda atoms: atoms.header("{content-length}o"),
    "f": lambda atoms: atoms.header("{referer}i"),
    "a": lambda atoms: atoms.header("{user-agent}i"),
    "T": lambda atoms: int(atoms.request_time),
    "D": lambda atoms: int(atoms.request_time * 1_000_000),
    "L": lambda atoms: f"{atoms.request_time:.6f}",
    "p": lambda _: f"<{os.getpid()}>",
    # Not Hypercorn's: whose certificate the client showed, as in the ASGI TLS extension.
    "tls": _tls_client,
}


class LeanLogger(Logger):
    """Hypercorn's Logger with atoms made on demand; set it as `config.logger_class`."""

    def atoms(self, request: Any, response: Any, request_time: float) -> Mapping[str, str]:
        return Atoms(request, response, request_time)


class LeanStatsdLogger(StatsdLogger):
    """Hypercorn's StatsdLogger with atoms made on demand; for when `config.statsd_host` is set."""

    def atoms(self, request: Any, response: Any, request_time: float) -> Mapping[str, str]:
        return Atoms(request, response, request_time)


def access_logger(config: Config) -> Access | None:
    """Return what to await at the end of each request, or None where nothing would come of it.

    A logger whose `access` or `atoms` somebody replaced is called as it is.
    """
    log = config.log
    kind = type(log)
    if kind.access is Logger.access:
        if log.access_logger is None:
            return None
        if kind.atoms is not Logger.atoms:
            return log.access
        logger, line = log.access_logger, log.access_log_format

        async def access(request: Any, response: Any, request_time: float) -> None:
            logger.info(line, Atoms(request, response, request_time))

        return access
    if kind is StatsdLogger and isinstance(log, BaseStatsdLogger) and log.access_logger is not None:
        lean = LeanStatsdLogger.__new__(LeanStatsdLogger)
        lean.__dict__ = log.__dict__  # one socket and one set of handlers, whichever of the two is asked
        return lean.access
    return log.access
