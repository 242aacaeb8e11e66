"""A certificate authority for tests: server and client certificates, made in milliseconds."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Writes what it signs into `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
        certificate = self._builder(self._name, self._key, 30)
        certificate = certificate.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        certificate = certificate.add_extension(_SIGNS_CERTIFICATES, critical=True)
        self.certificate = folder / "ca.pem"
        self.certificate.write_bytes(_pem(certificate.sign(self._key, hashes.SHA256())))

    def issue(self, *hosts: str, common_name: str = "", days: float = 30) -> tuple[bytes, bytes, int]:
        """Return (certificate, key, serial) for these names and addresses; negative days: expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name or hosts[0])]
        if common_name:
            attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example, Inc."))
        builder = self._builder(x509.Name(attributes), key, days)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return _pem(certificate), _private(key), certificate.serial_number

    def pair(self, name: str, *hosts: str, common_name: str = "") -> tuple[Path, Path]:
        """Return the files of a new certificate and its key."""
        certificate, key, _ = self.issue(*hosts, common_name=common_name)
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        for path, data in zip(paths, (certificate, key), strict=True):
            replace(path, data)
        return paths

    def bare(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate that does not say which key has signed it, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._plain_builder(subject, key, 30).sign(self._key, hashes.SHA256())
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        for path, data in zip(paths, (_pem(certificate), _private(key)), strict=True):
            replace(path, data)
        return paths

    def context(self, *protocols: str, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """A client that trusts this authority, with a certificate of its own where one is given."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if client is not None:
            context.load_cert_chain(*client)
        return context

    def _plain_builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=60),
            not_valid_after=now + datetime.timedelta(days=days),
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float) -> x509.CertificateBuilder:
        builder = self._plain_builder(subject, key, days)
        # Python 3.13 has OpenSSL verify strictly (RFC 5280): each certificate names the keys it has and is signed with.
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(signer, critical=False)


def replace(path: Path, data: bytes) -> None:
    """Write a file as a careful program does: whole, by a rename."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
