"""What trusted proxies say of the client: X-Forwarded-* or RFC 7239's Forwarded, whichever was chosen.

Only one of the two families is believed. A proxy sets the one it knows and passes the other through as the client wrote
it, so that believing both would let any client choose its address. What is not believed is taken out of the headers,
for apps that read them by themselves.

The client is the rightmost address that is no trusted proxy: all that stands left of it is the client's own word. What
cannot be read ends the walk there, and nothing that is wrong is more than ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..accept.peers import Peers, read_address

MAX_HOPS = 32
"""How many proxies are walked through; a longer list is somebody's attempt to keep us busy."""

Headers = list[tuple[bytes, bytes]]
Client = tuple[str, int]

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?P<port>:[0-9]{1,5})?")
# No empty segment: a prefix of "//elsewhere" would make every redirect of the app lead there.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?")
_NODE = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<four>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?")
_PAIR = re.compile(r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;= \t]+))[ \t]*""")

_OURS = frozenset(b"x-forwarded-" + name for name in (b"for", b"proto", b"host", b"port", b"prefix"))
_STANDARD = frozenset((b"forwarded",))


class Told(NamedTuple):
    """What is known of a request from the proxies it came through; None or "" where nothing is."""

    client: Client | None
    scheme: str | None = None
    host: str | None = None
    prefix: str = ""


class Forwarded:
    """Reads the forwarding headers of requests. header: "x-forwarded" or "forwarded", the one that is believed."""

    __slots__ = ("_believed", "_standard", "peers")

    def __init__(self, allowed: Sequence[str], header: str) -> None:
        self.peers = Peers(allowed)
        self._standard = header == "forwarded"
        self._believed = _STANDARD if self._standard else _OURS

    def read(self, headers: Headers, client: Client | None) -> tuple[Told | None, Headers]:
        """Return what the headers tell, or None where nothing is believed, and the headers the app may see.

        client: who sent the request to us; None on a Unix socket. The list is the given one where nothing is to go.
        """
        trusted = self.peers.include(client[0] if client is not None else None)
        found: dict[bytes, list[str]] = {}
        kept: Headers | None = None
        for index, (name, value) in enumerate(headers):
            lower = name.lower()
            if lower not in _STANDARD and not lower.startswith(b"x-forwarded-"):
                if kept is not None:
                    kept.append((name, value))
            elif trusted and lower in self._believed:
                found.setdefault(lower, []).append(value.decode("latin1"))
                if kept is not None:
                    kept.append((name, value))
            elif trusted and lower not in _STANDARD | _OURS:  # such as X-Forwarded-User
                if kept is not None:
                    kept.append((name, value))
            elif kept is None:
                kept = headers[:index]
        told = None
        if found:
            told = self._from_standard(found, client) if self._standard else self._from_ours(found, client)
        return told, headers if kept is None else kept

    def rewrite(self, scope: dict[str, Any]) -> None:
        """Make an ASGI scope, of HTTP or a WebSocket, the one the client would have made without proxies."""
        told, scope["headers"] = self.read(scope["headers"], scope.get("client"))
        if told is None:
            return
        scope["client"] = told.client
        if told.scheme is not None:
            scope["scheme"] = (
                {"http": "ws", "https": "wss"}[told.scheme] if scope["type"] == "websocket" else told.scheme
            )
        if told.host is not None:
            scope["headers"] = with_host(scope["headers"], told.host)
        if told.prefix and scope["path"].startswith("/"):
            scope["root_path"] = told.prefix
            scope["path"] = told.prefix + scope["path"]
            scope["raw_path"] = told.prefix.encode() + scope["raw_path"]

    def _from_ours(self, found: dict[bytes, list[str]], client: Client | None) -> Told:
        lists = {name[12:]: [item.strip() for item in ",".join(values).split(",")] for name, values in found.items()}
        hops = lists.get(b"for", [])
        client, at = self._walk([_node(item) for item in hops[-MAX_HOPS:]], client)

        def said(name: bytes) -> str:
            """The word of the proxy that saw the client, if each added one; else that of the nearest."""
            values = lists.get(name, [""])
            return values[at] if at is not None and len(values) == len(hops) else values[-1]

        host = _host(said(b"host"))
        port = said(b"port")
        # 80 and 443: a proxy that ended TLS for the next one says the port it was reached at, not the client's.
        if re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536 and int(port) not in (80, 443):
            host = host or ""
            if not host or _HOST.fullmatch(host)["port"] is None:  # type: ignore[index]
                host = f"{host}:{int(port)}"
        prefix = said(b"prefix")
        if len(prefix) > 256 or not _PREFIX.fullmatch(prefix) or "/.." in prefix:
            prefix = ""
        return Told(client, _SCHEMES.get(said(b"proto").lower()), host, prefix.rstrip("/"))

    def _from_standard(self, found: dict[bytes, list[str]], client: Client | None) -> Told:
        elements: list[dict[str, str]] = []
        # Line by line: a quote which a client has left open must not swallow what a proxy wrote behind it.
        for line in found[b"forwarded"]:
            read = _elements(line)
            elements = [] if read is None else elements + read
        elements = elements[-MAX_HOPS:]
        client, at = self._walk([_node(element.get("for", "")) for element in elements], client)
        element = elements[at] if at is not None else (elements[-1] if elements else {})
        return Told(client, _SCHEMES.get(element.get("proto", "").lower()), _host(element.get("host", "")))

    def _walk(self, hops: list[Client | None], client: Client | None) -> tuple[Client | None, int | None]:
        """Return the rightmost hop that is no trusted proxy, and its index from the end (None: it is `client`)."""
        at = None
        for index, hop in enumerate(reversed(hops), 1):
            if hop is None:
                break
            client, at = hop, -index
            if not self.peers.include(hop[0]):
                break
        return client, at


def with_host(headers: Headers, host: str) -> Headers:
    """Return the headers with another Host. A host of ":8443" changes the port alone, where there is none yet."""
    value = host.encode("ascii")
    if host.startswith(":"):
        old = next((item for name, item in headers if name.lower() == b"host"), b"")
        match = _HOST.fullmatch(old.decode("latin1"))
        if match is None or match["port"] is not None:
            return headers
        value = old + value
    return [(b"host", value), *(pair for pair in headers if pair[0].lower() != b"host")]


def _host(text: str) -> str | None:
    return text if _HOST.fullmatch(text) else None


def _node(text: str) -> Client | None:
    """Return address and port (0 where none is given) of "192.0.2.1", "192.0.2.1:80", "2001:db8::1" or "[…]:80"."""
    match = _NODE.fullmatch(text)
    address = read_address(text if match is None else match["six"] or match["four"] or "")
    if address is None or (match is not None and match["six"] and address.version == 4 and ":" not in match["six"]):
        return None
    port = int(match["port"]) if match is not None and match["port"] else 0
    return (str(address), port) if port < 65536 else None


def _elements(line: str) -> list[dict[str, str]] | None:
    """Return the elements of one Forwarded line (RFC 7239, section 4), or None where it is not well-formed."""
    elements: list[dict[str, str]] = [{}]
    at = 0
    while True:
        match = _PAIR.match(line, at)
        if match is None:
            return None
        name, quoted, token = match.groups()
        if name.lower() in elements[-1]:
            return None
        elements[-1][name.lower()] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        at = match.end()
        if at == len(line):
            return elements
        if line[at] == ",":
            elements.append({})
        elif line[at] != ";":
            return None
        at += 1
