"""Access tokens for mailboxes that are signed in to by OAuth (rule 1.4).

MSAL is imported when the first token is asked for: an app whose mailboxes all have passwords never pays for it.
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
"""What IMAP and POP3 at Exchange Online want a token for."""

YOUNG: Final = 60.0
"""Seconds up to which a token that was refused is not worth another: the next would fare no better."""


def xoauth2(user: str, token: str) -> bytes:
    """What SASL XOAUTH2 sends, before base64: the mailbox to open and a token that may open it."""
    return f"user={user}\x01auth=Bearer {token}\x01\x01".encode()


class TokenCache:
    """Gives access tokens, and keeps those that are still good, for as long as the process lives.

    Mailboxes with the same app registration share their token. May be used from several threads.

    Args:
        authority: the host that issues them, as `SIGN_IN_AUTHORITY` names it; each mailbox's `TENANT_ID` follows it.
        graph_endpoint: Microsoft Graph, whose host is what its tokens are for.
    """

    def __init__(self, authority: str = DEFAULT_AUTHORITY, graph_endpoint: str = GLOBAL_GRAPH) -> None:
        self._authority = authority.rstrip("/")
        self._graph_scope = graph_scope(graph_endpoint)
        self._lock = threading.Lock()
        self._key = secrets.token_bytes(32)
        self._services: dict[str, MsalClient] = {}

    def token(self, settings: MailboxSettings) -> str:
        """A token that is good now for this mailbox's sign-in: from memory, or a new one.

        Raises:
            AuthenticationError: the token service rejects the app, its secret or its certificate.
            ConfigurationError: a setting for it is missing, or its certificate cannot be read.
            ConnectFailed, TlsRefused: the token service cannot be reached or trusted.
            ServiceUnavailable: it is ill, or asked too much (`Throttled`).
        """
        scope = self._graph_scope if settings.protocol is MailProtocol.GRAPH else EXCHANGE_SCOPE
        return self._service(settings).token(settings, scope)

    def forget(self, settings: MailboxSettings, refused: str | None = None) -> bool:
        """Drop this mailbox's token, which its server refused; True if a new one may do.

        Args:
            settings: the mailbox's.
            refused: the token, if it is known. Another that was issued since, at another's wish, is not dropped.

        Returns:
            Whether there is a newer one already, or the refused one was old.
        """
        with self._lock:
            known = self._services.get(self._fingerprint(settings))
            if refused is not None and known is not None and known.issued not in ("", refused):
                return True
            service = self._services.pop(self._fingerprint(settings), None)
        return service is not None and time.monotonic() - service.issued_at > YOUNG

    def _service(self, settings: MailboxSettings) -> MsalClient:
        from shared.mailboxes.oauth.msal_client import MsalClient  # noqa: PLC0415  see the module's docstring

        if settings.sign_in is SignIn.PASSWORD:
            raise ConfigurationError(f"{setting_name(settings, 'SIGN_IN')}={settings.sign_in} gives no access token")
        name = self._fingerprint(settings)
        with self._lock:
            service = self._services.get(name)
            if service is None:
                service = self._services[name] = MsalClient(self._authority)
        return service

    def _fingerprint(self, settings: MailboxSettings) -> str:
        """Which sign-in it is. Keyed, and the key is never written: nothing can be guessed from it."""
        secret = settings.client_secret, settings.certificate, settings.certificate_password
        parts = (
            *(settings.sign_in, settings.tenant_id or "", settings.client_id or "", str(settings.ca_file or "")),
            *("" if one is None else one.get_secret_value() for one in secret),
            _stamp(settings),
        )
        return hmac.new(self._key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()


def graph_scope(endpoint: str) -> str:
    """What a token for Microsoft Graph is asked for: everything that was granted at the endpoint's host."""
    where = urlsplit(endpoint)
    return f"{where.scheme}://{where.netloc}/.default"


def _stamp(settings: MailboxSettings) -> str:
    """Changes when the certificate's file does, so that a new certificate is used without a restart."""
    if settings.certificate_file is None:
        return ""
    try:
        state = settings.certificate_file.stat()
    except OSError:
        return str(settings.certificate_file)
    return f"{settings.certificate_file}:{state.st_mtime_ns}:{state.st_size}:{state.st_ino}"
