"""One sign-in's way to its access tokens, through MSAL: OAuth 2 client credentials, or the app's managed identity.

Never in a log, an exception or a chain of them: the secret, the certificate's key, the assertion made with it, a token.
MSAL logs an answer that is no JSON in full; such an answer is stopped before MSAL sees it.
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
from shared.mailboxes.oauth.client_certificate import app_certificate
from shared.mailboxes.oauth.http_session import (
    SERVER_FAULTS,
    TOO_MANY,
    InvalidTokenResponse,
    RequestException,
    RequestsConnectionError,
    TokenSession,
    network_error,
)
from shared.mailboxes.tls import setting_name

EVERYTHING: Final = "/.default"
"""How a scope ends that stands for all that an app was granted at a resource."""

TRANSIENT: Final = frozenset({"temporarily_unavailable", "server_error", "timeout", "request_timeout"})
"""OAuth's names for "later" (RFC 6749 section 4.1.2.1, which Microsoft uses at the token endpoint too)."""

TRANSIENT_CODES: Final = frozenset({50196, 90006, 90033, 90090})
"""Microsoft's: a loop was seen, a retryable error, a transient error, too many in a row."""

_REMEDY: Final = {
    700016: "CLIENT_ID",
    90002: "TENANT_ID",
    900023: "TENANT_ID",
    7000215: "CLIENT_SECRET",
    7000222: "CLIENT_SECRET",
    700027: "CERTIFICATE",
    7000214: "CERTIFICATE",
}
_TOKEN_LIKE = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]+)*")


class MsalClient:
    """Asks for tokens, and keeps the last while it is good.

    Args:
        authority: the host of the token service, with `https://`.

    Attributes:
        issued_at: when the service last issued a token, on the monotonic clock.
        issued: that token; empty before the first.
    """

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self._app: Any = None
        self._lock = threading.Lock()
        self.issued_at = 0.0
        self.issued = ""

    def token(self, settings: MailboxSettings, scope: str) -> str:
        """A token that is good now for a scope; see `shared.mailboxes.oauth.token_cache.TokenCache.token`."""
        failure: MailroomError | None = None
        result: dict[str, Any] = {}
        with self._lock:
            try:
                if self._app is None:
                    self._app = self._application(settings)
                if settings.sign_in is SignIn.MANAGED_IDENTITY:
                    result = self._app.acquire_token_for_client(resource=scope.removesuffix(EVERYTHING))
                else:
                    result = self._app.acquire_token_for_client(scopes=[scope])
            except Exception as error:  # noqa: BLE001  none may get out as it is: see below
                failure = token_error(error, settings, self._authority)
            if failure is None and "access_token" in result:
                token = str(result["access_token"])
                if result.get("token_source") != "cache":
                    self.issued_at, self.issued = time.monotonic(), token
                return token
        # Raised out here, so that no chain leads to frames that hold the secret.
        failure = failure or authentication_error(result, settings)
        failure.__cause__ = failure.__context__ = None
        raise failure

    def _application(self, settings: MailboxSettings) -> Any:
        if settings.sign_in is SignIn.MANAGED_IDENTITY:
            one = settings.client_id
            identity = msal.UserAssignedManagedIdentity(client_id=one) if one else msal.SystemAssignedManagedIdentity()
            session = TokenSession(settings)
            session.trust_env = False  # the endpoint is the machine's own: no proxy is to see what is sent there
            return msal.ManagedIdentityClient(identity, http_client=session)
        for name in ("tenant_id", "client_id"):
            if not getattr(settings, name):
                raise ConfigurationError(f"{setting_name(settings, name.upper())} is needed for {settings.sign_in}")
        return msal.ConfidentialClientApplication(
            settings.client_id,
            client_credential=_credential(settings),
            authority=f"{self._authority}/{settings.tenant_id}",
            # The host was chosen by the operator: nobody else is asked whether it is a good one.
            instance_discovery=False,
            http_client=TokenSession(settings),
        )


def token_error(error: Exception, settings: MailboxSettings, authority: str) -> MailroomError:
    """What an exception of MSAL, or of what it stands on, means. Its own text may hold a secret: it is not repeated."""
    identity = settings.sign_in is SignIn.MANAGED_IDENTITY
    where = f"mailbox {settings.name}: the token service {authority if not identity else 'of the managed identity'}"
    if isinstance(error, MailroomError):
        return error
    badly = error.status if isinstance(error, InvalidTokenResponse) else None
    if identity and (
        isinstance(error, RequestsConnectionError | ValueError)
        or (badly is not None and badly < SERVER_FAULTS and badly != TOO_MANY)
    ):
        return AuthenticationError(
            f"mailbox {settings.name}: there is no managed identity here: {setting_name(settings, 'SIGN_IN')} is "
            "managed-identity, which works in Azure, once the app has an identity, and nowhere else"
        )
    if isinstance(error, InvalidTokenResponse):
        if error.status == TOO_MANY:
            return Throttled(f"{where} is asked too much", retry_after=error.retry_after)
        if error.status >= SERVER_FAULTS:
            return ServiceUnavailable(f"{where} is ill (HTTP {error.status})", retry_after=error.retry_after)
        return ConnectFailed(
            f"{where} does not answer as a token service (HTTP {error.status}); look at SIGN_IN_AUTHORITY"
        )
    if isinstance(error, RequestException):
        return network_error(error, settings, where)
    if isinstance(error, msal.exceptions.MsalError):
        return ServiceUnavailable(f"{where} answers badly ({type(error).__name__})")
    if isinstance(error, ValueError):
        # MSAL: the authority is no https address, or the service knows no such tenant.
        names = f"{setting_name(settings, 'TENANT_ID')} and SIGN_IN_AUTHORITY"
        return AuthenticationError(f"{where} does not know tenant {settings.tenant_id!r}; look at {names}")
    return AuthenticationError(f"{where} could not be asked ({type(error).__name__})")


def authentication_error(result: dict[str, Any], settings: MailboxSettings) -> MailroomError:
    """What an error answer of the token endpoint means (RFC 6749 section 5.2, with Microsoft's additions)."""
    kind, text = str(result.get("error") or "no token"), str(result.get("error_description") or "")
    codes = [code for code in result.get("error_codes") or [] if isinstance(code, int)]
    codes = codes or [int(code) for code in re.findall(r"AADSTS(\d+)", text)]
    told = _without_secrets(re.split(r"\s*(?:Trace ID|Correlation ID|Timestamp):", text)[0], settings)
    said = f"mailbox {settings.name}: the token service answers {printable(kind, 60)}"
    said += f" (AADSTS{codes[0]})" if codes and f"AADSTS{codes[0]}" not in told else ""
    said += f": {printable(told, 300)}" if told else ""
    if kind in TRANSIENT or TRANSIENT_CODES.intersection(codes):
        return ServiceUnavailable(said)
    default = {SignIn.CLIENT_SECRET: "CLIENT_SECRET", SignIn.MANAGED_IDENTITY: "SIGN_IN"}.get(
        settings.sign_in, "CERTIFICATE"
    )
    name = next((_REMEDY[code] for code in codes if code in _REMEDY), default)
    if name == "CERTIFICATE" and settings.certificate_file is not None:
        name = "CERTIFICATE_FILE"
    return AuthenticationError(f"{said}; look at {setting_name(settings, name)}")


def _credential(settings: MailboxSettings) -> str | dict[str, str]:
    if settings.sign_in is SignIn.CERTIFICATE:
        return app_certificate(settings).as_credential()
    if settings.client_secret is None or not settings.client_secret.get_secret_value():
        raise ConfigurationError(f"{setting_name(settings, 'CLIENT_SECRET')} is needed for {settings.sign_in}")
    return settings.client_secret.get_secret_value()


def _without_secrets(text: str, settings: MailboxSettings) -> str:
    """A service does not repeat what it was sent. Nothing rests on that."""
    for secret in (settings.client_secret, settings.certificate_password):
        if secret is not None and secret.get_secret_value():
            text = text.replace(secret.get_secret_value(), "…")
    return _TOKEN_LIKE.sub("…", text)
