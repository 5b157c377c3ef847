"""Remembers the certificate that a server showed, so that the refusal of it can say what was in it.

Python keeps nothing of a certificate that failed, and asking the server for it again without verifying would be a
connection that nobody wants to see. OpenSSL's message callback sees the handshake as it is. That callback is not a
public part of `ssl`; where it is missing, an error says a little less.
"""

from __future__ import annotations

import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509

CERTIFICATE: Final = 11
"""The handshake message that carries the server's chain (RFC 5246 section 7.4.2, RFC 8446 section 4.4.2)."""

_MOST_NAMES = 8

_shown: ContextVar[bytes | None] = ContextVar("shown", default=None)


@dataclass(frozen=True, slots=True)
class Peer:
    """What matters of a server's certificate.

    Attributes:
        names: what it is for: DNS names and addresses.
        issuer: who issued it.
        not_before: from when on it is valid.
        not_after: until when.
    """

    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime


def watch(context: ssl.SSLContext) -> None:
    """Have the certificates of this context's handshakes remembered, in the thread that they run in."""
    if hasattr(context, "_msg_callback"):
        context._msg_callback = _see  # noqa: SLF001  see the module's docstring


def forget_peer() -> None:
    """Forget what was seen."""
    _shown.set(None)


def peer_certificate() -> Peer | None:
    """What the last server showed in this thread; None if nothing was seen or it cannot be read."""
    message = _shown.get()
    try:
        return None if message is None else _read(message)
    except Exception:  # noqa: BLE001  whatever a server sent: it is only told of
        return None


def _see(connection: Any, direction: str, _version: Any, _content: Any, kind: Any, data: bytes) -> None:
    if kind == CERTIFICATE and direction == "read":
        _shown.set(bytes(data))
        # That was all. Called for every record, it would cost a seventh of a drain's processor time.
        connection.context._msg_callback = None  # noqa: SLF001  see the module's docstring


def _read(message: bytes) -> Peer:
    # Type and length, in TLS 1.3 an empty context, the length of the list, the length of the first, the first.
    start = 5 if message[4] == 0 and _length(message, 5) == len(message) - 8 else 4
    size = _length(message, start + 3)
    certificate = x509.load_der_x509_certificate(message[start + 6 : start + 6 + size])
    return Peer(
        _names(certificate)[:_MOST_NAMES],
        certificate.issuer.rfc4514_string(),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


def _length(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "big")


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    dns = names.get_values_for_type(x509.DNSName)
    return (*dns, *(str(address) for address in names.get_values_for_type(x509.IPAddress)))
