"""Who may see the dashboard, and who may steer with it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from urllib.parse import urlsplit

from quart import Request

from ..core.ipc.dashboard import AdminSettings

#: A browser that has given the token may go on for so long, then it is asked again.
SESSION_S = 12 * 3600
#: From a session nobody can find the token faster than by this many rounds for each guess; some 50 ms of one start.
_ROUNDS = 100_000


class Guard:
    """Decides from a request's headers alone.

    No cookie: a browser sends a cookie to every port of its host (RFC 6265 section 8.5), so whoever serves another port
    could use it. What a session is signed with comes from the token, so it outlives this process and an upgrade.
    """

    def __init__(self, settings: AdminSettings) -> None:
        self._token = settings.token.encode()
        self._host = settings.host
        self._key = hashlib.pbkdf2_hmac("sha256", self._token, b"aeros dashboard", _ROUNDS) if self._token else b""

    def admits(self, request: Request) -> bool:
        """Tell whether the request carries the token or a session, or none is needed."""
        if not self._token:
            return True
        given = _bearer(request)
        return _same(given, self._token) or self._is_session(given)

    def new_session(self, request: Request) -> str:
        """Return what one browser may say instead of the token for some hours; "" if it did not say the token."""
        if not self._token or not _same(_bearer(request), self._token):
            return ""
        facts = f"{int(time.time()) + SESSION_S}.{secrets.token_urlsafe(16)}"
        return f"{facts}.{self._sign(facts)}"

    def own_host(self, request: Request) -> bool:
        """Tell whether the request names this server as we know it.

        Without a token a page from anywhere could have its own name resolve to 127.0.0.1 and read us from the user's
        browser; with one it cannot, and the name may be any.
        """
        if self._token:
            return True
        try:
            name = urlsplit(f"//{_host(request)}").hostname or ""
        except ValueError:
            return False
        if name in ("localhost", self._host):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def same_origin(self, request: Request) -> bool:
        """Tell whether a request comes from our own page, or from no page at all."""
        origin = request.headers.get("Origin")
        try:
            if origin is not None and urlsplit(origin).netloc != _host(request):
                return False
        except ValueError:  # http://[
            return False
        return request.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")

    def _is_session(self, given: str) -> bool:
        facts, _, signature = given.rpartition(".")
        if not _same(signature, self._sign(facts).encode()):
            return False
        return time.time() < int(facts.partition(".")[0])

    def _sign(self, facts: str) -> str:
        return hmac.new(self._key, facts.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _host(request: Request) -> str:
    """Return whom the request is for: a target with a host in it outranks the header (RFC 9112 section 3.2.2)."""
    target = request.scope["raw_path"].decode("latin1")
    return request.headers.get("Host", "") if target.startswith("/") else urlsplit(target).netloc


def _bearer(request: Request) -> str:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if kind.lower() == "bearer" else ""


def _same(given: str, wanted: bytes) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted)
