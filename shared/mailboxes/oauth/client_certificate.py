"""The certificate of an app registration: PEM or PFX, in a setting or a file, encrypted or not."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from shared.config import MailboxSettings
from shared.errors import AuthenticationError, ConfigurationError, MailroomError
from shared.mailboxes.tls import setting_name


@dataclass(frozen=True, slots=True)
class AppCertificate:
    """A certificate with its private key.

    Attributes:
        certificate: the public part, uploaded to the app registration.
        key: the private key.
    """

    certificate: x509.Certificate
    key: RSAPrivateKey = field(repr=False)

    def as_credential(self) -> dict[str, str]:
        """Return MSAL's form. MSAL signs with PS256 and identifies the certificate by its SHA-256 thumbprint."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return {
            "private_key": key.decode("ascii"),
            "public_certificate": self.certificate.public_bytes(Encoding.PEM).decode("ascii"),
        }


def load_app_certificate(settings: MailboxSettings) -> AppCertificate:
    """Load the mailbox's certificate from `CERTIFICATE` or `CERTIFICATE_FILE`.

    Raises:
        ConfigurationError: the certificate is missing, neither PEM nor PFX, encrypted with another password, or
            without its RSA key.
        AuthenticationError: the certificate has expired, or is not valid yet.
    """
    name, data = _read_setting(settings)
    password = settings.certificate_password.get_secret_value().encode() if settings.certificate_password else None
    failure: MailroomError
    try:
        loaded = _from_pem(data, password) if b"-----BEGIN" in data else _from_pfx(data, password)
    except _UnusableCertificate as error:
        failure = ConfigurationError(f"{name}: {error}")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's own text may depend on the key, and is not repeated.
        password_name = setting_name(settings, "CERTIFICATE_PASSWORD")
        reason = "is encrypted" if password is None and "encrypted" in str(error).lower() else "cannot be read"
        failure = ConfigurationError(f"{name}: {reason}, or {password_name} is not its password")
    else:
        return _check_validity(loaded, name)
    failure.__cause__ = failure.__context__ = None
    raise failure


class _UnusableCertificate(ValueError):
    """A certificate that was read, but cannot be used for a sign-in."""


def _read_setting(settings: MailboxSettings) -> tuple[str, bytes]:
    """Return the name of the setting that holds the certificate, and the certificate's bytes."""
    if settings.certificate is not None:
        name, text = setting_name(settings, "CERTIFICATE"), settings.certificate.get_secret_value().encode()
        if b"-----BEGIN" in text:
            # An environment variable may contain "\n" spelled out in place of line ends.
            return name, text.replace(b"\\n", b"\n")
        try:
            return name, base64.b64decode(b"".join(text.split()), validate=True)
        except binascii.Error:
            pass
        raise ConfigurationError(
            f"{name}: is neither PEM nor a PFX in base64; paste the whole PEM text, or the output of base64 -w0"
        )
    name = setting_name(settings, "CERTIFICATE_FILE")
    if settings.certificate_file is None:
        raise ConfigurationError(f"{setting_name(settings, 'CERTIFICATE')} or {name} is needed for {settings.sign_in}")
    try:
        return name, settings.certificate_file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name}: {settings.certificate_file} cannot be read: {error.strerror}") from None


def _from_pfx(data: bytes, password: bytes | None) -> AppCertificate:
    bundle = load_pkcs12(data, password)
    if bundle.key is None or bundle.cert is None:
        raise _UnusableCertificate("the PFX contains no certificate with its private key; export both")
    return AppCertificate(bundle.cert.certificate, _rsa(bundle.key))


def _from_pem(data: bytes, password: bytes | None) -> AppCertificate:
    if b"PRIVATE KEY-----" not in data:
        raise _UnusableCertificate("the PEM contains no private key; add it")
    if b"BEGIN CERTIFICATE-----" not in data:
        raise _UnusableCertificate("the PEM contains no certificate; add it")
    encrypted = b"ENCRYPTED" in data
    key = _rsa(load_pem_private_key(data, password if encrypted else None))
    for certificate in x509.load_pem_x509_certificates(data):
        if _public(certificate.public_key()) == _public(key.public_key()):
            return AppCertificate(certificate, key)
    raise _UnusableCertificate("none of its certificates belongs to its private key")


def _rsa(key: object) -> RSAPrivateKey:
    if not isinstance(key, RSAPrivateKey):
        raise _UnusableCertificate("its private key is not an RSA key, the only kind that the token service accepts")
    return key


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]  # all kinds of public key have this method


def _check_validity(loaded: AppCertificate, name: str) -> AppCertificate:
    now, certificate = datetime.now(UTC), loaded.certificate
    if now > certificate.not_valid_after_utc:
        raise AuthenticationError(
            f"{name}: expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; upload and configure a new one"
        )
    if now < certificate.not_valid_before_utc:
        raise AuthenticationError(f"{name}: not valid until {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    return loaded
