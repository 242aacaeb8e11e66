"""Who may see the dashboard, and who may steer with it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from urllib.parse import urlsplit

from quart import Request

from ..core.admin import AdminSettings

COOKIE = "aeros_admin"


class Guard:
    """Decides from a request's headers alone."""

    def __init__(self, settings: AdminSettings) -> None:
        self._token = settings.token.encode()
        self._host = settings.host
        # What the cookie holds opens this dashboard and gives the token away to nobody.
        self.cookie = hmac.new(self._token, b"aeros dashboard cookie", hashlib.sha256).hexdigest()

    def knows_token(self, request: Request) -> bool:
        """Tell whether the request carries the token, or none is needed."""
        if not self._token:
            return True
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        by_header = kind.lower() == "bearer" and _same(given.strip(), self._token)
        return by_header or _same(request.cookies.get(COOKIE, ""), self.cookie.encode())

    def is_token(self, given: str) -> bool:
        """Tell whether `given` is the token."""
        return bool(self._token) and _same(given, self._token)

    def own_host(self, request: Request) -> bool:
        """Tell whether the request names this server as we know it.

        Without a token a page from anywhere could have its own name resolve to 127.0.0.1 and read us from the user's
        browser; with one it cannot, and the name may be any.
        """
        if self._token:
            return True
        try:
            name = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
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
        """Tell whether a command comes from our own page, or from no page at all."""
        origin = request.headers.get("Origin")
        try:
            if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
                return False
        except ValueError:  # http://[
            return False
        return request.headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none")


def _same(given: str, wanted: bytes) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted)
