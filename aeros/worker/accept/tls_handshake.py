"""A TLS handshake that fails: the client gets the alert (RFC 8446 section 6.2), the operator a line and a count.

Both event loops drop the alert that OpenSSL has written: they close the connection without sending what is left. So
the SSLObject that they make is one of ours, which sends it. It finds its connection by a context variable, since the
loops make it some turns later, in the context of the task that has accepted the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
import ssl
from collections.abc import Callable
from typing import Any

from ...core.clock import monotonic, show_duration

LINGER_S = 1.0
"""How long a client that was refused may take to read why. What it sends meanwhile is dropped: unread, it would make
the kernel reset the connection, and the alert could be lost."""

LINE_EVERY_S = 10.0
"""Each reason gets one line in this time, with the number of those that got none."""

_REASONS_MOST = 64

_TEXT = b"This port speaks HTTPS, and the request came as plain HTTP. Ask again with https://.\n"
_PLAIN_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_TEXT), _TEXT)
)

_WORDS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client sent no certificate, and --verify-mode is CERT_REQUIRED",
    "HTTP_REQUEST": "the client speaks plain HTTP",
}
#: What RFC 5280 asks of certificates, and OpenSSL checks only with X509_V_FLAG_X509_STRICT (x509_vfy.h: 76 to 92).
_STRICT = range(76, 93)

_current: contextvars.ContextVar[Handshake] = contextvars.ContextVar("handshake")


class Handshake:
    """One connection's handshake, for as long as it may fail."""

    __slots__ = ("_connection", "_plain_http", "begun", "left")

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._plain_http = False
        #: Whether the client has sent anything. One that only looks whether the port is open does not.
        self.begun = False
        #: The connection of a client that is still to read why it was refused.
        self.left: socket.socket | None = None
        _current.set(self)

    def refuse(self, error: ssl.SSLError, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        """Tell the client, before the loop closes the connection: a duplicate stays open until it has read it."""
        self._plain_http = _is_plain_http(error, incoming)
        answer = _PLAIN_HTTP if self._plain_http else outgoing.read()
        if answer:
            with contextlib.suppress(OSError):
                self._connection.send(answer)
                self.left = self._connection.dup()
                self.left.shutdown(socket.SHUT_WR)

    async def linger(self, loop: asyncio.AbstractEventLoop) -> None:
        """Return when the client has gone, or had its time."""
        left, self.left = self.left, None
        if left is None:
            return
        left.setblocking(False)
        with left, contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while await loop.sock_recv(left, 65536):
                    pass

    def why(self, error: Exception, timeout_s: float) -> str:
        """Return why it failed, in words."""
        if self._plain_http:
            return _WORDS["HTTP_REQUEST"]
        if isinstance(error, ssl.SSLError):
            return explain(error)
        if isinstance(error, (ConnectionAbortedError, TimeoutError)):
            return f"it was not done within {show_duration(timeout_s)} (--ssl-handshake-timeout)"
        return "the client left before it was done"


class WatchedTLS(ssl.SSLObject):
    """A connection's TLS that says so if its handshake fails."""

    _handshake: Handshake | None
    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO

    @classmethod
    def _create(cls, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> WatchedTLS:
        made: WatchedTLS = super()._create(incoming, outgoing, *args, **kwargs)  # type: ignore[misc]
        made._handshake = _current.get(None)
        made._incoming, made._outgoing = incoming, outgoing
        return made

    def do_handshake(self) -> None:
        handshake = self._handshake
        if handshake is not None and self._incoming.pending:
            handshake.begun = True
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if handshake is not None:
                handshake.refuse(error, self._incoming, self._outgoing)
            raise
        self._handshake = None


class Failures:
    """Counts the handshakes that failed, and writes lines about them."""

    def __init__(self, count: Callable[[], None], say: Callable[[str], None]) -> None:
        self._count = count
        self._say = say
        #: By reason: when it was said last, and how many failed for it since.
        self._said: dict[str, tuple[float, int]] = {}

    def add(self, peer: str, why: str) -> None:
        """peer: the client's address."""
        self._count()
        now = monotonic()
        said_at, unsaid = self._said.pop(why, (now - LINE_EVERY_S, 0))
        if now - said_at < LINE_EVERY_S:
            self._said[why] = said_at, unsaid + 1
            return
        if len(self._said) >= _REASONS_MOST:
            del self._said[next(iter(self._said))]
        self._said[why] = now, 0
        more = f" ({unsaid} more for this reason since the last such line)" if unsaid else ""
        self._say(f"TLS handshake with {peer} failed: {why}{more}")


def peer_of(connection: socket.socket) -> str:
    """Return the client's address as a log shows it."""
    try:
        peer = connection.getpeername()
    except OSError:
        return "a client that is gone"
    return show_peer(peer) if isinstance(peer, tuple) else "a client of the Unix socket"


def show_peer(peer: tuple[Any, ...]) -> str:
    """Return an address and a port as one text."""
    host = f"[{peer[0]}]" if ":" in peer[0] else peer[0]
    return f"{host}:{peer[1]}"


def explain(error: ssl.SSLError) -> str:
    """Return what OpenSSL found wrong, in words."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        strict = ""
        if error.verify_code in _STRICT:
            strict = (
                ". Python checks this strictly since 3.13 (ssl.VERIFY_X509_STRICT): make the certificate anew, or set"
                " --verify-flags VERIFY_X509_TRUSTED_FIRST"
            )
        return f"the client's certificate is refused: {error.verify_message}{strict}"
    if reason in _WORDS:
        return _WORDS[reason]
    words = reason.replace("_", " ").lower() or str(error)
    _, alert, said = words.partition(" alert ")
    return f"the client ended it with the alert: {said}" if alert else words


def _is_plain_http(error: ssl.SSLError, incoming: ssl.MemoryBIO) -> bool:
    """Tell whether the client sent a request of HTTP/1. OpenSSL knows GET, HEAD, POST and PUT; of others it has read a
    few bytes and left the rest."""
    if error.reason == "HTTP_REQUEST":
        return True
    return error.reason == "WRONG_VERSION_NUMBER" and b" HTTP/1." in incoming.read().partition(b"\n")[0]
