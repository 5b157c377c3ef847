"""Load the certificate of an app registration: PEM or PFX, in a setting or a file, encrypted or not.

The configuration loads each certificate to check it, and a sign-in loads it to use it. The errors are `InvalidValue`
and hold no content; the libraries' own messages may quote it.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from cryptography.x509 import Certificate, load_pem_x509_certificates
from pydantic import SecretStr

from shared.errors import InvalidValue

PEM = b"-----BEGIN "
"""Part of every PEM text, and of no PFX file."""


@dataclass(frozen=True, slots=True)
class AppCertificate:
    """The certificate of an app registration.

    Attributes:
        certificate: the public part, uploaded to the app registration.
        key: the private key.
    """

    certificate: Certificate
    key: RSAPrivateKey = field(repr=False)

    def check_dates(self) -> None:
        """Check that the certificate is valid now. Unlike every other rule, this one changes while the app runs.

        Raises:
            InvalidValue: it has expired, or is not valid yet.
        """
        now, start, end = datetime.now(UTC), self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        if now > end:
            raise InvalidValue(f"expired on {end:%Y-%m-%d %H:%M} UTC; upload and configure a new one")
        if now < start:
            raise InvalidValue(f"not valid until {start:%Y-%m-%d %H:%M} UTC; wait, or configure another one")


def load_certificate(source: SecretStr | Path, password: SecretStr | None) -> AppCertificate:
    r"""Load the certificate and the private key of an app registration.

    Args:
        source: a file; or PEM text, in which `\n` may replace a line end, or PFX in base64.
        password: the private key's password; None: it is not encrypted.

    Raises:
        InvalidValue: the certificate cannot be read or used.
    """
    data = _read(source)
    secret = None if password is None else password.get_secret_value().encode("utf-8", "replace")
    key, certificates = (_load_pem if PEM in data else _load_pfx)(data, secret)
    return _matching_pair(key, certificates)


def _read(source: SecretStr | Path) -> bytes:
    if isinstance(source, SecretStr):
        data = source.get_secret_value().replace(r"\n", "\n").encode("utf-8", "replace")
        try:
            return data if PEM in data else base64.b64decode(b"".join(data.split()), validate=True)
        except ValueError:
            fix = "paste the whole PEM text, or the output of base64 -w0 FILE.pfx"
            raise InvalidValue(f"is neither PEM nor PFX in base64; {fix}") from None
    if not source.is_file():
        raise InvalidValue("names a file that does not exist; give the path of a PEM or PFX file")
    try:
        return source.read_bytes()
    except OSError:
        raise InvalidValue("names a file that cannot be read; allow the app to read it") from None


def _load_pem(data: bytes, password: bytes | None) -> tuple[object, list[Certificate]]:
    """Return the private key, of any kind, and the certificates."""
    try:
        certificates = load_pem_x509_certificates(data)
    except ValueError:
        raise InvalidValue("has no certificate in PEM; put the certificate and its private key into it") from None
    try:
        return load_pem_private_key(data, password), certificates
    except TypeError:
        detail = "is not encrypted; remove" if password is not None else "is encrypted; set"
        raise InvalidValue(f"has a private key that {detail} CERTIFICATE_PASSWORD") from None
    except (ValueError, UnsupportedAlgorithm):
        detail = "has no private key that can be opened; check it, and CERTIFICATE_PASSWORD"
        raise InvalidValue(detail) from None


def _load_pfx(data: bytes, password: bytes | None) -> tuple[object, list[Certificate]]:
    """Return the private key, of any kind, and the certificates."""
    try:
        bundle = load_pkcs12(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidValue("cannot be opened as PFX; check it, and CERTIFICATE_PASSWORD") from None
    certificates = [entry.certificate for entry in (bundle.cert, *bundle.additional_certs) if entry is not None]
    if bundle.key is None or not certificates:
        raise InvalidValue("has no certificate with its private key; export both into the PFX")
    return bundle.key, certificates


def _matching_pair(key: object, certificates: list[Certificate]) -> AppCertificate:
    """Return the private key with the certificate that belongs to it: others of the chain may precede it."""
    if not isinstance(key, RSAPrivateKey):
        raise InvalidValue("has a private key that is not an RSA key, which sign-in needs; create an RSA key")
    for certificate in certificates:
        # The chain may have certificates whose keys the library does not know.
        with suppress(ValueError, UnsupportedAlgorithm):
            if certificate.public_key() == key.public_key():
                return AppCertificate(certificate, key)
    raise InvalidValue("has no certificate that belongs to its private key; put the key's own certificate into it")
