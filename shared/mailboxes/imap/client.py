"""Open an imapclient connection. A port that expects TLS from the start is noticed within seconds."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from imapclient import IMAPClient, SocketTimeout
from imapclient.imap4 import IMAP4WithTimeout

from shared.config import MailboxSettings
from shared.mailboxes.greeting import await_greeting


def open_client(settings: MailboxSettings, context: ssl.SSLContext | None, timeout: SocketTimeout) -> IMAPClient:
    """Connect, and read the greeting.

    Args:
        settings: the mailbox's settings.
        context: the context of implicit TLS; None: the connection begins without TLS.
        timeout: the timeouts.

    Raises:
        TlsRefused: the server expects TLS from the start.
    """
    if context is None:
        return _PlainClient(settings, timeout)
    return IMAPClient(settings.host, settings.port, ssl=True, ssl_context=context, timeout=timeout)


class _PlainClient(IMAPClient):  # type: ignore[misc]  # imapclient has no types
    """A client whose connection begins without TLS."""

    def __init__(self, settings: MailboxSettings, timeout: SocketTimeout) -> None:
        self._settings = settings
        super().__init__(settings.host, settings.port, ssl=False, timeout=timeout)

    def _create_IMAP4(self) -> Any:  # noqa: N802  imapclient's name
        return _PlainImap4(self._settings, self._timeout.connect)


class _PlainImap4(IMAP4WithTimeout):  # type: ignore[misc]  # imapclient has no types
    """The connection of such a client."""

    def __init__(self, settings: MailboxSettings, timeout: float) -> None:
        self._settings = settings
        super().__init__(settings.host, settings.port, timeout)

    def _create_socket(self, timeout: float | None = None) -> socket.socket:
        connection: socket.socket = super()._create_socket(timeout)
        try:
            await_greeting(self._settings, connection)
        except BaseException:
            connection.close()
            raise
        return connection
