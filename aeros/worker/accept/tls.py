"""TLS in a worker: the context for new connections, SNI, and what the app may know of a client's certificate."""

from __future__ import annotations

import copy
import ssl
from typing import TYPE_CHECKING, Any

from ...core.net.certificates import password, readable, ticket_secret, unpack
from ...core.net.tickets import share_tickets
from .tls_handshake import WatchedTLS

if TYPE_CHECKING:
    from hypercorn.config import Config

_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
#: Short names of RFC 4514; what is not here is written as OpenSSL calls it.
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}

_cipher_numbers: dict[str, int] = {}


def make_context(config: Config, record: bytes) -> ssl.SSLContext | None:
    """Return a context made of the certificates in `record` as `config` wants it.

    A new one for each renewal: one that serves already could be left half changed, and its session tickets would
    bring clients back to the certificate they saw first.
    """
    pairs, ca = unpack(record)
    config = copy.copy(config)
    # An encrypted key has been tried with this password by now; without one OpenSSL would ask on the terminal.
    config.keyfile_password = password(record) or ""
    made = [(pair["name"], _context(config, pair["cert"], pair["key"], ca)) for pair in pairs]
    default = made[0][1]
    if default is not None:
        default.sslobject_class = WatchedTLS
        if secret := ticket_secret(record):
            # Tickets are the affair of the context that a connection begins with, whatever SNI chooses.
            share_tickets(default, secret, *_decisive(default, config, pairs, ca))
    if default is not None and len(made) > 1:
        names = {name: context for name, context in made[1:] if context is not None}
        default.sni_callback = lambda connection, name, context: _choose(connection, name, names)
    return default


def _context(config: Config, certificate: str, key: str, ca: str) -> ssl.SSLContext | None:
    config = copy.copy(config)
    with readable(certificate, key, ca) as (certfile, keyfile, ca_certs):
        config.certfile, config.keyfile = certfile, keyfile
        if ca:
            config.ca_certs = ca_certs
        context = config.create_ssl_context()
        if context is not None:
            # A handshake costs the server more than the client, who could ask for one after another on one connection.
            # OpenSSL refuses by itself since 3.0, not before.
            context.options |= ssl.OP_NO_RENEGOTIATION
        return context


def _decisive(context: ssl.SSLContext, config: Config, pairs: Any, ca: str) -> tuple[object, ...]:
    """Return what a ticket stands for: it is all that a client shows instead of a handshake with certificates."""
    certificates = [(pair["name"], pair["cert"]) for pair in pairs]
    protocol = context.minimum_version, context.options, config.ciphers, config.alpn_protocols
    return certificates, ca, int(context.verify_mode), int(context.verify_flags), protocol


def _choose(connection: Any, name: str | None, contexts: dict[str, ssl.SSLContext]) -> None:
    """Answer with the certificate of the name the client asks for: exact, else of its wildcard, else the default."""
    if name is not None:
        name = name.lower()
        chosen = contexts.get(name) or contexts.get("*." + name.partition(".")[2])
        if chosen is not None:
            connection.context = chosen


def tls_extension(connection: Any) -> dict[str, Any]:
    """Return scope["extensions"]["tls"] of the ASGI TLS extension for one connection. connection: an SSLObject.

    server_cert is None, which the extension allows: the ssl module does not tell.
    """
    chain, name = [], None
    certificate = connection.getpeercert(binary_form=True)
    if certificate:
        chain = [ssl.DER_cert_to_PEM_cert(certificate)]
        # Empty where nothing was verified (CERT_NONE), but then no certificate was asked for either.
        name = distinguished_name(connection.getpeercert().get("subject", ()))
    cipher = connection.cipher()
    if cipher is not None and cipher[0] not in _cipher_numbers:
        _cipher_numbers.update((known["name"], known["id"] & 0xFFFF) for known in connection.context.get_ciphers())
    return {
        "server_cert": None,
        "client_cert_chain": chain,
        "client_cert_name": name,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(connection.version() or ""),
        "cipher_suite": _cipher_numbers.get(cipher[0]) if cipher is not None else None,
    }


def distinguished_name(subject: Any) -> str:
    """Return the subject of a certificate, as ssl gives it, in the form of RFC 4514: "CN=alice,O=Example"."""
    parts = []
    for group in reversed(subject):
        parts.append("+".join(f"{_SHORT.get(kind, kind)}={_escape(value)}" for kind, value in group))
    return ",".join(parts)


def _escape(value: str) -> str:
    escaped = "".join("\\" + c if c in '\\,+"<>;=' else "\\00" if c == "\0" else c for c in value)
    if escaped.startswith(("#", " ")):
        escaped = "\\" + escaped
    if escaped.endswith(" ") and len(value) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped
