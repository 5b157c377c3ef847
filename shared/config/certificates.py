"""Check whether certificates in settings can be used. Each function returns the error, without any content, or None.

The package that reads certificates is imported when the first is checked: a worker that starts for a notification
checks none.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from pathlib import Path

PEM = b"-----BEGIN "
"""Part of every PEM text, and of no PFX file."""

_UNREADABLE = "names a file that cannot be read; allow the app to read it"


def ca_file_error(path: Path) -> str | None:
    """Check a file of certificates to trust."""
    if not path.is_file():
        return "names a file that does not exist; give the path of a PEM file"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        return "names a file without a certificate in PEM; convert it with openssl x509 -outform PEM"
    except OSError:
        return _UNREADABLE
    return None


def certificate_file_error(path: Path, password: str | None) -> str | None:
    """Check a file that holds a certificate and its private key, as PEM or PFX."""
    if not path.is_file():
        return "names a file that does not exist; give the path of a PEM or PFX file"
    try:
        data = path.read_bytes()
    except OSError:
        return _UNREADABLE
    return _content_error(data, password)


def certificate_error(text: str, password: str | None) -> str | None:
    """Check PEM text, or PFX in base64."""
    if PEM in text.encode():
        return _content_error(text.encode(), password)
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return "is neither PEM nor PFX in base64; paste the whole PEM text, or the output of base64 -w0 FILE.pfx"
    return _content_error(data, password)


def _content_error(data: bytes, password: str | None) -> str | None:
    """Check a certificate with its private key. The libraries' messages are left out: they may quote the content."""
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12  # noqa: PLC0415

    secret = password.encode() if password is not None else None
    if PEM in data:
        return _pem_error(data, secret)
    try:
        bundle = load_pkcs12(data, secret)
    except (ValueError, TypeError):
        return "cannot be opened as PFX; check it, and CERTIFICATE_PASSWORD"
    return None if bundle.key and bundle.cert else "has no certificate with its private key; export both into the PFX"


def _pem_error(data: bytes, secret: bytes | None) -> str | None:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        x509.load_pem_x509_certificates(data)
    except ValueError:
        return "has no certificate in PEM; put the certificate and its private key into it"
    try:
        load_pem_private_key(data, secret)
    except TypeError:
        if secret is None:
            return "has an encrypted private key; set CERTIFICATE_PASSWORD"
        return "has a private key that is not encrypted; remove CERTIFICATE_PASSWORD"
    except (ValueError, UnsupportedAlgorithm):
        return "has no private key that can be opened; check it, and CERTIFICATE_PASSWORD"
    return None
