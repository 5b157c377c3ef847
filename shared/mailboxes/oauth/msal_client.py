"""Requests access tokens through MSAL: OAuth 2 client credentials, or the app's managed identity.

The secret, the certificate's key, the assertion signed with it and the token never appear in a log or in an exception
and its chain. MSAL logs a response that is not JSON in full; `TokenSession` stops such a response before MSAL sees it.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Final

import msal

from shared.config import MailboxSettings, SignIn
from shared.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectFailed,
    MailroomError,
    ServiceUnavailable,
    Throttled,
    printable,
)
from shared.mailboxes.oauth.client_certificate import certificate_credential
from shared.mailboxes.oauth.http_session import (
    SERVER_ERRORS,
    TOO_MANY_REQUESTS,
    InvalidTokenResponse,
    RequestException,
    RequestsConnectionError,
    TokenSession,
    network_error,
)
from shared.mailboxes.tls import setting_name

DEFAULT_SCOPE_SUFFIX: Final = "/.default"
"""Suffix of a scope that requests all permissions granted to an app at a resource."""

TRANSIENT: Final = frozenset({"temporarily_unavailable", "server_error", "timeout", "request_timeout"})
"""OAuth's transient errors (RFC 6749 section 4.1.2.1), which Microsoft uses at the token endpoint too."""

TRANSIENT_CODES: Final = frozenset({50196, 90006, 90033, 90090})
"""Microsoft's AADSTS codes: loop detected, retryable error, transient error, too many requests in a row."""

_SETTING_BY_CODE: Final = {
    700016: "CLIENT_ID",
    90002: "TENANT_ID",
    900023: "TENANT_ID",
    7000215: "CLIENT_SECRET",
    7000222: "CLIENT_SECRET",
    700027: "CERTIFICATE",
    7000214: "CERTIFICATE",
}
"""The setting to fix, by Microsoft's AADSTS code."""

_TOKEN_LIKE = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]+)*")


class MsalClient:
    """Requests tokens for one sign-in. MSAL caches them until shortly before they expire.

    Args:
        authority: the host of the token service, with `https://`.

    Attributes:
        issued_at: when the service last issued a token, in monotonic seconds.
        issued: that token; empty before the first.
    """

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self._app: Any = None
        self._lock = threading.Lock()
        self.issued_at = 0.0
        self.issued = ""

    def token(self, settings: MailboxSettings, scope: str) -> str:
        """Return a valid token for a scope; see `shared.mailboxes.oauth.token_cache.TokenCache.token`."""
        failure: MailroomError | None = None
        result: dict[str, Any] = {}
        with self._lock:
            try:
                if self._app is None:
                    self._app = self._application(settings)
                if settings.sign_in is SignIn.MANAGED_IDENTITY:
                    result = self._app.acquire_token_for_client(resource=scope.removesuffix(DEFAULT_SCOPE_SUFFIX))
                else:
                    result = self._app.acquire_token_for_client(scopes=[scope])
            except Exception as error:  # noqa: BLE001  every exception is replaced: its text may contain a secret
                failure = token_error(error, settings, self._authority)
            if failure is None and "access_token" in result:
                token = str(result["access_token"])
                if result.get("token_source") != "cache":
                    self.issued_at, self.issued = time.monotonic(), token
                return token
        # Raised outside the `except` block, so that no chain leads to frames that hold the secret.
        failure = failure or authentication_error(result, settings)
        failure.__cause__ = failure.__context__ = None
        raise failure

    def _application(self, settings: MailboxSettings) -> Any:
        if settings.sign_in is SignIn.MANAGED_IDENTITY:
            identity = (
                msal.UserAssignedManagedIdentity(client_id=settings.client_id)
                if settings.client_id
                else msal.SystemAssignedManagedIdentity()
            )
            session = TokenSession(settings)
            session.trust_env = False  # the endpoint is on the same machine: a proxy must not see the request
            return msal.ManagedIdentityClient(identity, http_client=session)
        for name in ("tenant_id", "client_id"):
            if not getattr(settings, name):
                raise ConfigurationError(f"{setting_name(settings, name.upper())} is needed for {settings.sign_in}")
        return msal.ConfidentialClientApplication(
            settings.client_id,
            client_credential=_credential(settings),
            authority=f"{self._authority}/{settings.tenant_id}",
            # The operator chose the authority; MSAL need not verify it at Microsoft's discovery endpoint.
            instance_discovery=False,
            http_client=TokenSession(settings),
        )


def token_error(error: Exception, settings: MailboxSettings, authority: str) -> MailroomError:
    """Return the error for an exception of MSAL or its libraries. Its text may contain a secret and is not repeated."""
    identity = settings.sign_in is SignIn.MANAGED_IDENTITY
    where = f"mailbox {settings.name}: the token service {authority if not identity else 'of the managed identity'}"
    if isinstance(error, MailroomError):
        return error
    status = error.status if isinstance(error, InvalidTokenResponse) else None
    if identity and (
        isinstance(error, RequestsConnectionError | ValueError)
        or (status is not None and status < SERVER_ERRORS and status != TOO_MANY_REQUESTS)
    ):
        return AuthenticationError(
            f"mailbox {settings.name}: no managed identity is available here: {setting_name(settings, 'SIGN_IN')} is "
            "managed-identity, which works in Azure only; assign an identity to the app"
        )
    if isinstance(error, InvalidTokenResponse):
        if error.status == TOO_MANY_REQUESTS:
            return Throttled(f"{where} throttles the app (HTTP {error.status})", retry_after=error.retry_after)
        if error.status >= SERVER_ERRORS:
            return ServiceUnavailable(f"{where} is unavailable (HTTP {error.status})", retry_after=error.retry_after)
        return ConnectFailed(
            f"{where} does not respond like a token service (HTTP {error.status}); check SIGN_IN_AUTHORITY"
        )
    if isinstance(error, RequestException):
        return network_error(error, settings, where)
    if isinstance(error, msal.exceptions.MsalError):
        return ServiceUnavailable(f"{where} sent an invalid response ({type(error).__name__})")
    if isinstance(error, ValueError):
        # MSAL raises it if the authority is not an https address, or if the service does not know the tenant.
        names = f"{setting_name(settings, 'TENANT_ID')} and SIGN_IN_AUTHORITY"
        return AuthenticationError(f"{where} does not know tenant {settings.tenant_id!r}; check {names}")
    return AuthenticationError(f"{where}: no token could be requested ({type(error).__name__})")


def authentication_error(result: dict[str, Any], settings: MailboxSettings) -> MailroomError:
    """Return the error for an error response of the token endpoint (RFC 6749 section 5.2, Microsoft's additions)."""
    kind, text = str(result.get("error") or "no token"), str(result.get("error_description") or "")
    codes = [code for code in result.get("error_codes") or [] if isinstance(code, int)]
    codes = codes or [int(code) for code in re.findall(r"AADSTS(\d+)", text)]
    description = _without_secrets(re.split(r"\s*(?:Trace ID|Correlation ID|Timestamp):", text)[0], settings)
    message = f"mailbox {settings.name}: the token service answers {printable(kind, 60)}"
    message += f" (AADSTS{codes[0]})" if codes and f"AADSTS{codes[0]}" not in description else ""
    message += f": {printable(description, 300)}" if description else ""
    if kind in TRANSIENT or TRANSIENT_CODES.intersection(codes):
        return ServiceUnavailable(message)
    default = {SignIn.CLIENT_SECRET: "CLIENT_SECRET", SignIn.MANAGED_IDENTITY: "SIGN_IN"}.get(
        settings.sign_in, "CERTIFICATE"
    )
    name = next((_SETTING_BY_CODE[code] for code in codes if code in _SETTING_BY_CODE), default)
    if name == "CERTIFICATE" and settings.certificate_file is not None:
        name = "CERTIFICATE_FILE"
    return AuthenticationError(f"{message}; check {setting_name(settings, name)}")


def _credential(settings: MailboxSettings) -> str | dict[str, str]:
    if settings.sign_in is SignIn.CERTIFICATE:
        return certificate_credential(settings)
    if settings.client_secret is None or not settings.client_secret.get_secret_value():
        raise ConfigurationError(f"{setting_name(settings, 'CLIENT_SECRET')} is needed for {settings.sign_in}")
    return settings.client_secret.get_secret_value()


def _without_secrets(text: str, settings: MailboxSettings) -> str:
    """Remove secrets from a response. A token service should not repeat them; this is a second safeguard."""
    for secret in (settings.client_secret, settings.certificate_password):
        if secret is not None and secret.get_secret_value():
            text = text.replace(secret.get_secret_value(), "…")
    return _TOKEN_LIKE.sub("…", text)
