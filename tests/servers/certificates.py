"""Certificates for test servers: a CA, certificates that it issued, and self-signed certificates."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = timedelta(days=1)
LOOPBACK_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Pair:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: Key

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def public_pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def key_pem(self) -> bytes:
        return self.key_pem_with(None)

    def key_pem_with(self, password: bytes | None) -> bytes:
        """Return the private key as PEM, encrypted if a password is given."""
        cipher = BestAvailableEncryption(password) if password else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, cipher)

    def pem(self, password: bytes | None = None) -> bytes:
        """Return key and certificate as one PEM text."""
        return self.key_pem_with(password) + self.certificate_pem

    def pfx(self, password: bytes | None = None) -> bytes:
        """Return key and certificate as PKCS #12."""
        cipher = BestAvailableEncryption(password) if password else NoEncryption()
        return serialize_key_and_certificates(b"mailroom", self.key, self.certificate, None, cipher)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write `name.pem` and `name.key` to a folder, and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate_pem)
        key.write_bytes(self.key_pem)
        key.chmod(0o600)
        return certificate, key


class Ca:
    """A certificate authority that is valid during a test run."""

    def __init__(self, name: str = "Mailroom Test CA") -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        builder = _builder(subject, subject, key, datetime.now(UTC) - 400 * DAY, datetime.now(UTC) + 30 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(ca=True), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        self.pair = Pair(builder.sign(key, hashes.SHA256()), key)
        self._key = key

    def write(self, folder: Path) -> Path:
        """Write the CA's certificate as `ca.pem`, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "ca.pem"
        path.write_bytes(self.pair.certificate_pem)
        return path

    def server(self, *names: str, start: timedelta = -DAY, end: timedelta = 10 * DAY) -> Pair:
        """Return a server certificate for the names (default: localhost), valid from now + start until now + end."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.pair.certificate.subject
        builder = _server_builder(names or LOOPBACK_NAMES, issuer, key, start, end)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(authority, critical=False)
        return Pair(builder.sign(self._key, hashes.SHA256()), key)


def self_signed(*names: str) -> Pair:
    """Return a self-signed server certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = names or LOOPBACK_NAMES
    builder = _server_builder(names, _name(names[0]), key, -DAY, 10 * DAY)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def application(*, start: timedelta = -DAY, end: timedelta = 10 * DAY) -> Pair:
    """Return the RSA key and the self-signed certificate of an app registration."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = _name("mailroom app")
    builder = _builder(name, name, key, datetime.now(UTC) + start, datetime.now(UTC) + end)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _server_builder(
    names: tuple[str, ...], issuer: x509.Name, key: Key, start: timedelta, end: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = _builder(_name(names[0]), issuer, key, now + start, now + end)
    builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(_usage(ca=False), critical=True)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
