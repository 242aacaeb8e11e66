"""Certificates and keys as the family hands them around: read once, checked, and passed on as a file without a name.

The supervisor reads them, since it may be the only one who is allowed to. Workers get a descriptor and build their
SSL context from what is in it, so all of them serve the same pair, and none ever meets a half-written file.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..record import as_dict, record
from ..shared.anonymous import anonymous_file, finished_file

#: The most of one file that is read: a mistaken path must not fill the memory.
_MAX_BYTES = 1 << 20

_REASONS = {
    "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
    "KEY_TYPE_MISMATCH": "the key does not belong to the certificate",
    "NO_CIPHER_MATCH": "none of the ciphers is known",
    "BAD_DECRYPT": "the password of the key is wrong, or there is none",
    "BAD_PASSWORD_READ": "the password of the key is wrong, or there is none",
}


class CertificateError(Exception):
    """A certificate and key cannot be used; the text is a sentence that names both."""


def explain(error: ssl.SSLError) -> str:
    """Return why OpenSSL refused a pair, for people."""
    # Python's own "No cipher can be selected." carries no reason at all.
    reason = getattr(error, "reason", None) or ("NO_CIPHER_MATCH" if "cipher" in str(error) else "")
    return _REASONS.get(reason, "one of them is not a PEM file as OpenSSL reads it")


@record
class Pair:
    """One certificate and key. name: the host it is for (SNI), "*.example.com" too; "" for all others."""

    name: str
    certfile: str
    keyfile: str


@record
class TLSFiles:
    """What a server's TLS is made of. Paths are absolute; the first pair is the one without a name."""

    pairs: tuple[Pair, ...]
    ca_certs: str | None
    password: str | None
    watch: bool

    @classmethod
    def from_message(cls, record: Mapping[str, Any]) -> TLSFiles:
        """Return what `to_message` was made of. Raises TypeError or KeyError for a record that does not fit."""
        rest = {name: value for name, value in record.items() if name != "pairs"}
        return cls(pairs=tuple(Pair(**pair) for pair in record["pairs"]), **rest)

    def to_message(self) -> dict[str, Any]:
        return as_dict(self)

    @property
    def paths(self) -> list[str]:
        found = [path for pair in self.pairs for path in (pair.certfile, pair.keyfile)]
        return [*found, self.ca_certs] if self.ca_certs else found

    def signature(self) -> tuple[object, ...]:
        """Return what changes when a file is written, replaced, or a symlink on the way to it is switched."""
        return tuple(_signature(path) for path in self.paths)

    def read(self) -> bytes:
        """Return all of it as one record for the workers, checked. Raises CertificateError."""
        pairs = [{"name": pair.name, "cert": _read(pair.certfile), "key": _read(pair.keyfile)} for pair in self.pairs]
        ca = _read(self.ca_certs) if self.ca_certs else ""
        for pair, text in zip(self.pairs, pairs, strict=True):
            _check(pair, text["cert"], text["key"], self.password)
        if ca:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=ca)
            except (ssl.SSLError, ValueError):
                raise CertificateError(f"cannot use {self.ca_certs}: it holds no certificates in PEM form") from None
        # With --run-as a worker of a later generation is told the password nowhere else; it gets the key all the same.
        return json.dumps({"pairs": pairs, "ca": ca, "password": self.password}).encode()


def _signature(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a string from one process to another, looked at once a second
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_BYTES).decode("latin1")
    except OSError as error:
        raise CertificateError(f"cannot read {path}: {error.strerror}") from None


def _check(pair: Pair, certificate: str, key: str, password: str | None) -> None:
    # In a context that is thrown away: one whose load failed may be left with a new certificate and an old key.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = f"certificate {pair.certfile} with key {pair.keyfile}"
    with readable(certificate, key) as (certfile, keyfile):
        try:
            # Without a password OpenSSL would ask on the terminal.
            context.load_cert_chain(certfile, keyfile, password or "")
        except ssl.SSLError as error:
            raise CertificateError(f"cannot use {names}: {_why(pair, certificate, key, password, error)}") from None
        except (OSError, ValueError) as error:
            raise CertificateError(f"cannot use {names}: {error}") from None


def _why(pair: Pair, certificate: str, key: str, password: str | None, error: ssl.SSLError) -> str:
    """Return what is wrong with a pair. OpenSSL says "PEM lib" of most mistakes, so the files are looked at."""
    if getattr(error, "reason", None):
        return explain(error)
    if "CERTIFICATE-----" not in certificate:
        return f"{pair.certfile} holds no certificate in PEM form"
    if "PRIVATE KEY-----" not in key:
        return f"{pair.keyfile} holds no private key in PEM form"
    if "-----BEGIN ENCRYPTED" not in key and ",ENCRYPTED" not in key:  # PKCS #8, and RFC 1421's Proc-Type: 4,ENCRYPTED
        return explain(error)
    if not password:
        return "the key is encrypted, and no password was given: set AEROS_KEYFILE_PASSWORD"
    return "the key is encrypted with another password than the one given (keyfile_password)"


def expiry(certificate: str) -> float | None:
    """Return when the first certificate of a PEM text ends, in seconds since 1970; None where nobody can tell."""
    decode = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
    if decode is None:
        return None
    with readable(certificate) as (path,), contextlib.suppress(Exception):
        return float(ssl.cert_time_to_seconds(decode(path)["notAfter"]))
    return None


def expired(record: bytes, files: TLSFiles, now: float | None = None) -> str:
    """Return a sentence about the first certificate in `record` that has expired, or "". now: as time.time()."""
    now = time.time() if now is None else now
    for pair, text in zip(files.pairs, unpack(record)[0], strict=True):
        ends = expiry(text["cert"])
        if ends is not None and ends < now:
            return f"certificate {pair.certfile} expired on {time.strftime('%Y-%m-%d', time.gmtime(ends))}"
    return ""


def store(record: bytes) -> int:
    """Return the descriptor of a file without a name that holds `record`, and that no worker can change for another."""
    return finished_file("aeros-tls", record)


def with_ticket_secret(record: bytes, secret: bytes) -> bytes:
    """Return a record that also has what the workers make their ticket keys of (see core.net.tickets)."""
    return json.dumps({**json.loads(record), "tickets": secret.hex()}).encode()


def ticket_secret(record: bytes) -> bytes:
    """Return it; b"" where the record has none."""
    return bytes.fromhex(json.loads(record).get("tickets", ""))


def unpack(record: bytes) -> tuple[Sequence[Mapping[str, str]], str]:
    """Return the pairs (name, cert, key, as PEM) and the CA certificates of a record."""
    loaded = json.loads(record)
    return loaded["pairs"], loaded["ca"]


def password(record: bytes) -> str | None:
    """Return the password of the keys of a record, None where they have none."""
    found = json.loads(record).get("password")
    return found if isinstance(found, str) else None


def load(fd: int) -> bytes:
    """Return the record in the file of `fd`, wherever that stands."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


@contextlib.contextmanager
def readable(*texts: str) -> Iterator[list[str]]:
    """Give paths at which `texts` can be read meanwhile: OpenSSL's own functions want files."""
    fds: list[int] = []
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"  # noqa: PTH112
    try:
        for text in texts:
            fds.append(anonymous_file("aeros-pem"))
            os.write(fds[-1], text.encode("latin1"))
            os.lseek(fds[-1], 0, os.SEEK_SET)
        yield [f"{folder}/{fd}" for fd in fds]
    finally:
        for fd in fds:
            os.close(fd)
