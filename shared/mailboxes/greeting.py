"""Recognise the wrong server behind a port: by its greeting, or by its silence.

An IMAP, POP3 or SMTP server without TLS greets at once. A server that expects TLS from the start waits for the client's
handshake, so a client that waits for a greeting would time out.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import Final

from shared.config import MailboxSettings, Tls
from shared.config.presets import DEFAULT_PORTS
from shared.errors import ConnectFailed, TlsRefused
from shared.mailboxes.tls import NOT_TLS_REASONS, context_for, setting_name

GREETING_PATIENCE: Final = 3.0
"""Seconds without a greeting after which a second connection tries TLS. A slow server may still greet later."""

PROBE_TIMEOUT: Final = 5.0
"""Seconds for the second connection, and again for its handshake."""

_GREETINGS: Final = (
    (re.compile(rb"\* (?:OK|PREAUTH|BYE)\b", re.IGNORECASE), "IMAP"),
    (re.compile(rb"(?:\+OK|-ERR)\b", re.IGNORECASE), "POP3"),
    (re.compile(rb"220[ -]"), "SMTP"),
)


def foreign_greeting_error(settings: MailboxSettings, greeting: bytes) -> ConnectFailed | None:
    """Return the error for the greeting of a server of another protocol; None if it is not recognised as one.

    Args:
        settings: the mailbox's settings.
        greeting: the first line that the server sent.
    """
    server = next((name for pattern, name in _GREETINGS if pattern.match(greeting)), None)
    expected = settings.protocol.upper()
    if server is None or server == expected:
        return None
    fix = f"{setting_name(settings, 'PORT')} to the server's {expected} port ({_default_port(settings)})"
    if server != "SMTP":
        fix = f"{setting_name(settings, 'PROTOCOL')}={server.lower()}, or {fix}"
    return ConnectFailed(
        f"mailbox {settings.name} at {settings.host}:{settings.port}: the server greets as {server}, not as "
        f"{expected}; set {fix}"
    )


def await_greeting(settings: MailboxSettings, connection: socket.socket) -> None:
    """Wait for the first byte of a greeting without TLS. If there is none, find out whether the port expects TLS.

    Nothing is read from the connection. If the server is silent for another reason, this returns, and the caller waits
    for the greeting as long as its timeout allows. Call it inside `connecting`.

    Raises:
        TlsRefused: the server expects TLS from the start.
    """
    timeout = connection.gettimeout()
    connection.settimeout(GREETING_PATIENCE if timeout is None else min(GREETING_PATIENCE, timeout))
    try:
        connection.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        if _expects_tls(settings, PROBE_TIMEOUT if timeout is None else min(PROBE_TIMEOUT, timeout)):
            raise TlsRefused(
                f"mailbox {settings.name} at {settings.host}:{settings.port}: the server expects TLS from the start at "
                f"this port; set {setting_name(settings, 'TLS')}={Tls.IMPLICIT}, or {setting_name(settings, 'PORT')} "
                f"to its port without it ({_default_port(settings)})"
            ) from None
    finally:
        connection.settimeout(timeout)


def _expects_tls(settings: MailboxSettings, timeout: float) -> bool:
    """Return whether a TLS handshake on a second connection is answered; its certificate may be untrusted."""
    try:
        with (
            socket.create_connection((settings.host, settings.port), timeout) as plain,
            context_for(settings).wrap_socket(plain, server_hostname=settings.host),
        ):
            return True
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return False
    except ssl.SSLError as error:
        return error.reason not in NOT_TLS_REASONS
    except OSError:
        return False


def _default_port(settings: MailboxSettings) -> int:
    """Return the usual port of the mailbox's protocol with its kind of TLS."""
    return DEFAULT_PORTS[settings.protocol, settings.tls]
