"""TLS connections to mail servers, always verified (rule 1.2), and the errors of their failures.

All connections use one kind of context, which no setting can weaken: the machine's root certificates, at least TLS 1.2,
the host name checked. `CA_FILE` adds a private CA.

Python keeps nothing of a certificate that failed verification. Requesting the certificate again without verification
would be an unverified connection. OpenSSL's message callback shows the handshake as it happens, so the certificate can
be described in the error. That callback is not a public part of `ssl`; without it the error has fewer details.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from shared.config import MailboxSettings, SignIn, Tls
from shared.config.presets import DEFAULT_PORTS
from shared.errors import ConfigurationError, ConnectFailed, MailroomError, TlsRefused, printable

if TYPE_CHECKING:
    from cryptography import x509

CONNECT_TIMEOUT: Final = 30.0
"""Seconds for the connection, and again for the TLS handshake."""

SELF_SIGNED, CHAIN_SELF_SIGNED, NO_ISSUER, UNVERIFIED_LEAF, INVALID_CA = 18, 19, 20, 21, 79
NOT_YET_VALID, EXPIRED, WRONG_HOST, WRONG_IP = 9, 10, 62, 64
"""OpenSSL's X509_V_ERR_… codes, as in `SSLCertVerificationError.verify_code`."""

CERTIFICATE_MESSAGE: Final = 11
"""The handshake message that carries the server's chain (RFC 5246 section 7.4.2, RFC 8446 section 4.4.2)."""

MAX_NAMES: Final = 8
"""Names of a certificate that an error lists."""

NOT_TLS_REASONS: Final = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
)
"""OpenSSL's reasons of a handshake whose response is not TLS."""

_TOO_OLD = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE")

_certificate_message: ContextVar[bytes | None] = ContextVar("certificate_message", default=None)


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The parts of a server's certificate that an error describes.

    Attributes:
        names: its DNS names and IP addresses, at most `MAX_NAMES`.
        issuer: the issuer's distinguished name.
        not_before: start of its validity.
        not_after: end of its validity.
    """

    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime


def setting_name(settings: MailboxSettings, name: str) -> str:
    """Return the full name of a mailbox's setting: `MAILBOXES__support__HOST`."""
    return f"MAILBOXES__{settings.name}__{name}"


def implicit_tls_fix(settings: MailboxSettings) -> str:
    """Return what to change if a server does not offer TLS after the greeting, for the error's text."""
    return (
        f"set {setting_name(settings, 'TLS')}={Tls.IMPLICIT} and {setting_name(settings, 'PORT')} to the server's TLS "
        f"port ({DEFAULT_PORTS[settings.protocol, Tls.IMPLICIT]}), if it has one"
    )


def sign_in_fix(settings: MailboxSettings, protocol: str) -> str:
    """Return what to check after a refused sign-in, for the error's text.

    Args:
        settings: the mailbox's settings.
        protocol: `IMAP` or `POP`, as in the name of the app's permission.
    """
    if settings.sign_in is SignIn.PASSWORD:
        return f"{setting_name(settings, 'USERNAME')} and {setting_name(settings, 'PASSWORD')}"
    return f"{setting_name(settings, 'ADDRESS')} and the app's permission for the mailbox ({protocol}.AccessAsApp)"


def context_for(settings: MailboxSettings) -> ssl.SSLContext:
    """Return a context that trusts the machine's root certificates and the mailbox's `CA_FILE`.

    Raises:
        ConfigurationError: `CA_FILE` cannot be read, or contains no certificate.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_file is not None:
        name = setting_name(settings, "CA_FILE")
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"{name}: {settings.ca_file} contains no certificates in PEM form ({error.reason})"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{name}: {settings.ca_file} cannot be read: {error.strerror}") from None
    _record_certificates(context)
    return context


@contextmanager
def connecting(settings: MailboxSettings) -> Iterator[None]:
    """Map errors of the connection, of the handshake and of the greeting to errors of `shared.errors`.

    Raises:
        TlsRefused: the certificate or the protocol version is not trusted.
        ConnectFailed: the connection failed, or was closed at once.
    """
    forget_peer()
    try:
        yield
    except (OSError, EOFError, UnicodeError) as error:
        raise connection_error(settings, error) from error
    finally:
        forget_peer()


def connect_socket(settings: MailboxSettings, *, timeout: float = CONNECT_TIMEOUT) -> socket.socket:
    """Connect to the mailbox's server, with TLS if `TLS` is `implicit`.

    Args:
        settings: the mailbox's settings.
        timeout: seconds for the connection, and again for the handshake. The socket keeps it.

    Raises:
        ConnectFailed, TlsRefused, ConfigurationError: see `shared.errors`.
    """
    context = context_for(settings) if settings.tls is Tls.IMPLICIT else None
    with connecting(settings):
        plain = socket.create_connection((settings.host, settings.port), timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain if context is None else wrap_socket(plain, context, settings)


def wrap_socket(plain: socket.socket, context: ssl.SSLContext, settings: MailboxSettings) -> ssl.SSLSocket:
    """Start TLS on a connected socket; close the socket if that fails. Call it inside `connecting`."""
    try:
        return context.wrap_socket(plain, server_hostname=settings.host)
    except BaseException:
        plain.close()
        raise


def connection_error(settings: MailboxSettings, error: OSError | EOFError | UnicodeError) -> MailroomError:
    """Return the error for an exception of `socket` or `ssl` while connecting."""
    where = f"mailbox {settings.name}: {settings.host}:{settings.port}"
    host, port = setting_name(settings, "HOST"), setting_name(settings, "PORT")
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsRefused(f"{where}: {certificate_error(error, settings)}")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TlsRefused(f"{where}: {_handshake_error(error, settings)}")
    if isinstance(error, socket.gaierror):
        return ConnectFailed(f"{where}: the host name is unknown ({error.strerror}); check {host}")
    if isinstance(error, ConnectionRefusedError):
        return ConnectFailed(f"{where}: the connection was refused; check {host} and {port}")
    if isinstance(error, TimeoutError):
        return ConnectFailed(f"{where}: no answer in time; check {host} and {port}, and the firewalls in between")
    if isinstance(error, EOFError | ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return ConnectFailed(
            f"{where}: the server closed the connection at once; check {port} and {setting_name(settings, 'TLS')}"
        )
    if isinstance(error, UnicodeError) or error.errno == errno.EINVAL:
        return ConnectFailed(f"{where}: invalid host name; check {host}")
    return ConnectFailed(f"{where}: no connection: {printable(error.strerror or type(error).__name__)}; check {host}")


def certificate_error(error: ssl.SSLCertVerificationError, settings: MailboxSettings) -> str:
    """Return why the server's certificate was rejected, and the fix."""
    trust = f"name its CA's certificate in {setting_name(settings, 'CA_FILE')} if you trust it"
    code, peer = error.verify_code, peer_certificate()
    if code == SELF_SIGNED:
        return f"its certificate is self-signed; {trust}"
    if code == CHAIN_SELF_SIGNED:
        return f"its certificate comes from a CA that this machine does not trust; {trust}"
    if code in (NO_ISSUER, UNVERIFIED_LEAF):
        issuer = f" ({peer.issuer})" if peer else ""
        return f"its certificate's issuer{issuer} is not known to this machine; {trust}"
    if code == EXPIRED:
        since = f" on {peer.not_after:%Y-%m-%d %H:%M} UTC" if peer else ""
        return f"its certificate expired{since}; the server needs a new certificate"
    if code == NOT_YET_VALID:
        until = f" until {peer.not_before:%Y-%m-%d %H:%M} UTC" if peer else ""
        return f"its certificate is not valid yet{until}; check the system time of both machines"
    if code in (WRONG_HOST, WRONG_IP):
        names = f"for {', '.join(peer.names) or 'no name at all'}" if peer else "for another name"
        return f"its certificate is {names}, not for {settings.host!r}; check {setting_name(settings, 'HOST')}"
    return f"its certificate is not trusted: {printable(error.verify_message)}; {trust}"


def forget_peer() -> None:
    """Forget the certificate of the last handshake in this thread."""
    _certificate_message.set(None)


def peer_certificate() -> PeerCertificate | None:
    """Return the certificate of the last handshake in this thread; None if there was none or it is unparseable."""
    message = _certificate_message.get()
    try:
        return None if message is None else _parse_certificate(message)
    except Exception:  # noqa: BLE001  the certificate is untrusted input, and only used for an error's text
        return None


def _handshake_error(error: ssl.SSLError, settings: MailboxSettings) -> str:
    reason = getattr(error, "reason", None) or ""
    if reason in NOT_TLS_REASONS:
        tls, port = setting_name(settings, "TLS"), setting_name(settings, "PORT")
        default = DEFAULT_PORTS[settings.protocol, Tls.IMPLICIT]
        return (
            f"the server does not begin with TLS at this port; set {tls}={Tls.STARTTLS}, or {port} to the server's TLS "
            f"port ({default})"
        )
    if any(word in reason for word in _TOO_OLD):
        return "the server does not support TLS 1.2 or newer, and older versions are never used"
    return f"the TLS handshake failed: {printable(reason or error)}"


def _record_certificates(context: ssl.SSLContext) -> None:
    """Record the certificate of each handshake of this context, in the thread that the handshake runs in."""
    if hasattr(context, "_msg_callback"):
        context._msg_callback = _on_message  # noqa: SLF001  see the module's docstring


def _on_message(connection: Any, direction: str, _version: Any, _content: Any, kind: Any, data: bytes) -> None:
    if kind == CERTIFICATE_MESSAGE and direction == "read":
        _certificate_message.set(bytes(data))
        # Removed after the certificate: called for every record, it would cost a seventh of a drain's processor time.
        connection.context._msg_callback = None  # noqa: SLF001  see the module's docstring


def _parse_certificate(message: bytes) -> PeerCertificate:
    from cryptography import x509  # noqa: PLC0415  slow to load; only a check reads certificates

    # Type and length, in TLS 1.3 an empty context, the list's length, the first certificate's length, the certificate.
    start = 5 if message[4] == 0 and _length(message, 5) == len(message) - 8 else 4
    size = _length(message, start + 3)
    certificate = x509.load_der_x509_certificate(message[start + 6 : start + 6 + size])
    return PeerCertificate(
        _names(certificate)[:MAX_NAMES],
        certificate.issuer.rfc4514_string(),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


def _length(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 3], "big")


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509  # noqa: PLC0415  slow to load; only a check reads certificates

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    dns = names.get_values_for_type(x509.DNSName)
    return (*dns, *(str(address) for address in names.get_values_for_type(x509.IPAddress)))
