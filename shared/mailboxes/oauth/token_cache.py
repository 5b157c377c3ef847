"""Access tokens for mailboxes with an OAuth sign-in (rule 1.4).

MSAL is imported when the first token is requested, so an app whose mailboxes all have passwords never loads it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from shared.config import MailboxSettings, MailProtocol, SignIn
from shared.config.presets import GLOBAL_GRAPH
from shared.errors import ConfigurationError
from shared.mailboxes.tls import setting_name

if TYPE_CHECKING:
    from shared.mailboxes.oauth.msal_client import MsalClient

DEFAULT_AUTHORITY: Final = "https://login.microsoftonline.com"

EXCHANGE_SCOPE: Final = "https://outlook.office365.com/.default"
"""Scope of tokens for IMAP and POP3 at Exchange Online."""

MIN_TOKEN_AGE: Final = 60.0
"""Age in seconds below which a refused token is not replaced: a new token would be refused as well."""


def xoauth2(user: str, token: str) -> bytes:
    """Return the SASL XOAUTH2 response before base64: the mailbox to open and a token that may open it."""
    return f"user={user}\x01auth=Bearer {token}\x01\x01".encode()


class TokenCache:
    """A cache of access tokens that lives as long as the process.

    Mailboxes with the same app registration share a token. Thread-safe.

    Args:
        authority: the host that issues tokens (`SIGN_IN_AUTHORITY`). Each mailbox's `TENANT_ID` is appended to it.
        graph_endpoint: Microsoft Graph, whose host is the audience of its tokens.
    """

    def __init__(self, authority: str = DEFAULT_AUTHORITY, graph_endpoint: str = GLOBAL_GRAPH) -> None:
        self._authority = authority.rstrip("/")
        self._graph_scope = graph_scope(graph_endpoint)
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)
        self._clients: dict[str, MsalClient] = {}

    def token(self, settings: MailboxSettings) -> str:
        """Return a valid token for this mailbox's sign-in, from the cache or newly issued.

        Raises:
            AuthenticationError: the token service rejects the app, its secret or its certificate.
            ConfigurationError: a setting is missing, or the certificate cannot be read.
            ConnectFailed, TlsRefused: the token service is unreachable or untrusted.
            ServiceUnavailable: the token service is unavailable or throttles the app (`Throttled`).
        """
        scope = self._graph_scope if settings.protocol is MailProtocol.GRAPH else EXCHANGE_SCOPE
        return self._client(settings).token(settings, scope)

    def forget(self, settings: MailboxSettings, refused: str | None = None) -> bool:
        """Drop this mailbox's token, which its server refused, and return whether a new token may be accepted.

        Args:
            settings: the mailbox's settings.
            refused: the refused token, if known. A token issued since then for another mailbox is not dropped.

        Returns:
            True if a newer token exists already, or if the refused one was old enough to have expired.
        """
        with self._lock:
            fingerprint = self._fingerprint(settings)
            client = self._clients.get(fingerprint)
            if refused is not None and client is not None and client.issued not in ("", refused):
                return True
            client = self._clients.pop(fingerprint, None)
        return client is not None and time.monotonic() - client.issued_at > MIN_TOKEN_AGE

    def _client(self, settings: MailboxSettings) -> MsalClient:
        from shared.mailboxes.oauth.msal_client import MsalClient  # noqa: PLC0415  see the module's docstring

        if settings.sign_in is SignIn.PASSWORD:
            raise ConfigurationError(
                f"{setting_name(settings, 'SIGN_IN')}={settings.sign_in} does not use access tokens"
            )
        fingerprint = self._fingerprint(settings)
        with self._lock:
            client = self._clients.get(fingerprint)
            if client is None:
                client = self._clients[fingerprint] = MsalClient(self._authority)
        return client

    def _fingerprint(self, settings: MailboxSettings) -> str:
        """Return an identifier of the sign-in. The random key never leaves the process, so it reveals nothing."""
        credentials = settings.client_secret, settings.certificate, settings.certificate_password
        parts = (
            *(settings.sign_in, settings.tenant_id or "", settings.client_id or "", str(settings.ca_file or "")),
            *("" if secret is None else secret.get_secret_value() for secret in credentials),
            _file_version(settings),
        )
        return hmac.new(self._key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()


def graph_scope(endpoint: str) -> str:
    """Return the scope of tokens for Microsoft Graph: all permissions granted at the endpoint's host."""
    url = urlsplit(endpoint)
    return f"{url.scheme}://{url.netloc}/.default"


def _file_version(settings: MailboxSettings) -> str:
    """Return a text that changes with the certificate file, so that a new certificate is used without a restart."""
    if settings.certificate_file is None:
        return ""
    try:
        state = settings.certificate_file.stat()
    except OSError:
        return str(settings.certificate_file)
    return f"{settings.certificate_file}:{state.st_mtime_ns}:{state.st_size}:{state.st_ino}"
