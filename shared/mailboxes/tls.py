"""Connections that are verified (rule 1.2), and what their failures mean, for both mail protocols.

There is one context and no way to make it trust less: the machine's roots, TLS 1.2 at least, the host's name checked.
A private CA is added by `CA_FILE`.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from shared.config import MailboxSettings, Tls
from shared.errors import ConfigurationError, ConnectFailed, MailroomError, TlsRefused, printable
from shared.mailboxes.tls_witness import forget_peer, peer_certificate, watch

CONNECT_TIMEOUT = 30.0
"""Seconds for the connection, and for the TLS handshake."""

SELF_SIGNED, CHAIN_SELF_SIGNED, NO_ISSUER, UNVERIFIED_LEAF, INVALID_CA = 18, 19, 20, 21, 79
NOT_YET_VALID, EXPIRED, WRONG_HOST, WRONG_IP = 9, 10, 62, 64
"""What OpenSSL calls X509_V_ERR_…, as in `SSLCertVerificationError.verify_code`."""

_NO_TLS_THERE = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
)
_TOO_OLD = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE")


def setting_name(settings: MailboxSettings, name: str) -> str:
    """What a mailbox's setting is called where it is set: `MAILBOXES__support__HOST`."""
    return f"MAILBOXES__{settings.name}__{name}"


def context_for(settings: MailboxSettings) -> ssl.SSLContext:
    """A context that trusts the machine's roots, and the mailbox's `CA_FILE` besides.

    Raises:
        ConfigurationError: `CA_FILE` cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca_file is not None:
        name = setting_name(settings, "CA_FILE")
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"{name}: {settings.ca_file} holds no certificates in PEM form ({error.reason})"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{name}: {settings.ca_file} cannot be read: {error.strerror}") from None
    watch(context)
    return context


@contextmanager
def connecting(settings: MailboxSettings) -> Iterator[None]:
    """Turn what goes wrong while connecting, in the handshake or before the greeting, into one of our errors.

    Raises:
        TlsRefused: the certificate or the protocol is not to be trusted.
        ConnectFailed: no connection, or one that broke at once.
    """
    forget_peer()
    try:
        yield
    except (OSError, EOFError, UnicodeError) as error:
        raise connection_error(settings, error) from error
    finally:
        forget_peer()


def connect_socket(settings: MailboxSettings, *, timeout: float = CONNECT_TIMEOUT) -> socket.socket:
    """A connection to the mailbox's server, with TLS if it is `implicit`.

    Args:
        settings: which server.
        timeout: seconds for the connection, and again for the handshake. The socket keeps it.

    Raises:
        ConnectFailed, TlsRefused, ConfigurationError: as they say.
    """
    context = context_for(settings) if settings.tls is Tls.IMPLICIT else None
    with connecting(settings):
        plain = socket.create_connection((settings.host, settings.port), timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain if context is None else wrap_socket(plain, context, settings)


def wrap_socket(plain: socket.socket, context: ssl.SSLContext, settings: MailboxSettings) -> ssl.SSLSocket:
    """TLS over a connection that is there; it is closed if that fails. To be called inside `connecting`."""
    try:
        return context.wrap_socket(plain, server_hostname=settings.host)
    except BaseException:
        plain.close()
        raise


def connection_error(settings: MailboxSettings, error: OSError | EOFError | UnicodeError) -> MailroomError:
    """What an error of `socket` or `ssl` means while a connection is being made."""
    where = f"mailbox {settings.name}: {settings.host}:{settings.port}"
    host, port = setting_name(settings, "HOST"), setting_name(settings, "PORT")
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsRefused(f"{where}: {certificate_error(error, settings)}")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return TlsRefused(f"{where}: {_handshake_fault(error, settings)}")
    if isinstance(error, socket.gaierror):
        return ConnectFailed(f"{where}: the name is not known ({error.strerror}); look at {host}")
    if isinstance(error, ConnectionRefusedError):
        return ConnectFailed(f"{where}: nobody listens there; look at {host} and {port}")
    if isinstance(error, TimeoutError):
        return ConnectFailed(f"{where}: no answer in time; look at {host} and {port}, and at firewalls between")
    if isinstance(error, EOFError | ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return ConnectFailed(
            f"{where}: the server cut the connection at once; look at {port} and {setting_name(settings, 'TLS')}"
        )
    if isinstance(error, UnicodeError) or error.errno == errno.EINVAL:
        return ConnectFailed(f"{where}: this is no host name; look at {host}")
    return ConnectFailed(f"{where}: no connection: {printable(error.strerror or type(error).__name__)}; look at {host}")


def certificate_error(error: ssl.SSLCertVerificationError, settings: MailboxSettings) -> str:
    """What is wrong with the server's certificate, and what helps."""
    trust = f"name its CA's certificate in {setting_name(settings, 'CA_FILE')} if you trust it"
    code, peer = error.verify_code, peer_certificate()
    if code == SELF_SIGNED:
        return f"its certificate is self-signed; {trust}"
    if code == CHAIN_SELF_SIGNED:
        return f"its certificate comes from a CA that this machine does not trust; {trust}"
    if code in (NO_ISSUER, UNVERIFIED_LEAF):
        by = f" ({peer.issuer})" if peer else ""
        return f"its certificate's issuer{by} is not known to this machine; {trust}"
    if code == EXPIRED:
        since = f" on {peer.not_after:%Y-%m-%d %H:%M} UTC" if peer else ""
        return f"its certificate expired{since}; the server needs a new one"
    if code == NOT_YET_VALID:
        since = f" until {peer.not_before:%Y-%m-%d %H:%M} UTC" if peer else ""
        return f"its certificate is not valid yet{since}; look at the clocks of both machines"
    if code in (WRONG_HOST, WRONG_IP):
        names = f"for {', '.join(peer.names) or 'no name at all'}" if peer else "for another name"
        return f"its certificate is {names}, not for {settings.host!r}; look at {setting_name(settings, 'HOST')}"
    return f"its certificate is not trusted: {printable(error.verify_message)}; {trust}"


def _handshake_fault(error: ssl.SSLError, settings: MailboxSettings) -> str:
    reason = getattr(error, "reason", None) or ""
    if reason in _NO_TLS_THERE:
        names = f"{setting_name(settings, 'TLS')} and {setting_name(settings, 'PORT')}"
        return f"the server does not speak TLS at this port; look at {names}"
    if any(word in reason for word in _TOO_OLD):
        return "the server does not speak TLS 1.2 or newer, and nothing older is used"
    return f"the TLS handshake failed: {printable(reason or error)}"
