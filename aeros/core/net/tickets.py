"""TLS session tickets that every worker takes, whichever of them gave the ticket.

OpenSSL makes ticket keys for each SSL context, and Python's `ssl` cannot set them. So the keys are set by OpenSSL's own
function, on the pointer that is the first field of every context of CPython, in all versions named here.
"""

from __future__ import annotations

import hashlib
import secrets
import ssl
import sys
from functools import cache
from typing import Any

from ..record import mutable

LIFETIME_S = 24 * 3600.0
"""So long one secret is used, as Go does. A ticket is good for two hours by itself (OpenSSL's default)."""

_SECRET_BYTES = 32
#: A name (16), and keys for HMAC-SHA256 and AES-256 (32 each): ssl/ssl_local.h of OpenSSL 1.1.1 to 3.6.
_KEYS_BYTES = 80
#: SSL_CTRL_SET_TLSEXT_TICKET_KEYS of openssl/ssl.h.
_SET_KEYS = 59
#: PySSLContext of Modules/_ssl.c begins with its SSL_CTX * in all of these. A wrong pointer would crash, so others are
#: not tried.
_KNOWN = range(11, 16)


@mutable
class Secret:
    """What the keys of all workers are made of. The supervisor keeps it; a worker gets it with the certificates."""

    value: bytes
    #: When the next one is due, in monotonic seconds.
    until: float

    def bequest(self, now: float) -> dict[str, Any]:
        """Return what goes to a supervisor that is to succeed this one."""
        return {"secret": self.value.hex(), "left_s": max(0.0, self.until - now)}

    @classmethod
    def inherited(cls, bequest: object, now: float) -> Secret:
        """Return what the supervisor before this one had; a new one if it had none, or another kind."""
        try:
            value, left_s = bytes.fromhex(bequest["secret"]), float(bequest["left_s"])  # type: ignore[index]
        except (TypeError, ValueError, KeyError):
            return cls.new(now)
        if len(value) != _SECRET_BYTES or not 0 <= left_s <= LIFETIME_S:
            return cls.new(now)
        return cls(value, now + left_s)

    @classmethod
    def new(cls, now: float) -> Secret:
        return cls(secrets.token_bytes(_SECRET_BYTES), now + LIFETIME_S)


def share_tickets(context: ssl.SSLContext, secret: bytes, *facts: object) -> bool:
    """Have `context` take the tickets of every other with the same secret and facts. False: not possible here.

    facts: whatever decides who is let in, and as whom the server speaks. A resumed session skips the certificates of
    both sides, so a ticket of other facts must not be taken.
    """
    if (control := _control()) is None:
        return False
    import ctypes

    digest = hashlib.sha256(repr(facts).encode()).digest()
    keys = hashlib.shake_256(secret + digest).digest(_KEYS_BYTES)
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    return bool(control(pointer, _SET_KEYS, _KEYS_BYTES, keys) == 1)


def can_share() -> bool:
    """Whether this Python lets ticket keys be set."""
    return _control() is not None


@cache
def _control() -> Any:
    """Return OpenSSL's SSL_CTX_ctrl, of the library that `ssl` uses; None where it cannot be reached.

    A Python with OpenSSL linked into it may hide the function.
    """
    if sys.implementation.name != "cpython" or sys.version_info[1] not in _KNOWN:
        return None
    try:
        import _ssl
        import ctypes

        # Looked up in `_ssl` and what it is linked to, or in the program itself.
        library = ctypes.CDLL(getattr(_ssl, "__file__", None))
        library.OpenSSL_version.restype = ctypes.c_char_p
        if library.OpenSSL_version(0) != ssl.OPENSSL_VERSION.encode():
            return None
        control = library.SSL_CTX_ctrl
    except (ImportError, OSError, AttributeError):
        return None
    control.restype = ctypes.c_long
    control.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
    return control
