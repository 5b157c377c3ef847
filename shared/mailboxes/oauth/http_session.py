"""The HTTP session through which MSAL requests tokens: timeouts, `CA_FILE`, checked responses."""

from __future__ import annotations

from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, RequestException, SSLError, Timeout

from shared.backoff import parse_retry_after
from shared.config import MailboxSettings
from shared.errors import ConfigurationError, ConnectFailed, MailroomError, ServiceUnavailable, TlsRefused
from shared.mailboxes.tls import context_for, setting_name

__all__ = ["InvalidTokenResponse", "RequestException", "RequestsConnectionError", "TokenSession", "network_error"]

TIMEOUTS: Final = (30.0, 60.0)
"""Seconds for the connection, and for any silence after it."""

TOO_MANY_REQUESTS, SERVER_ERRORS = 429, 500
"""An HTTP status, and the first status of the server's errors (RFC 6585 section 4, RFC 9110 section 15.6)."""


class InvalidTokenResponse(RequestException):
    """A response of the token service that MSAL cannot use.

    It derives from an exception of requests, so that MSAL goes on with an older token that is still valid.

    Attributes:
        status: the HTTP status.
        retry_after: seconds that the service asks to wait; None if it does not say.
    """

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after = retry_after


class TokenSession(requests.Session):
    """A session with one mailbox's token service.

    It trusts the machine's root certificates, those that `REQUESTS_CA_BUNDLE` and `SSL_CERT_FILE` name, and `CA_FILE`.
    Proxies come from the environment.
    """

    def __init__(self, settings: MailboxSettings) -> None:
        super().__init__()
        self.mount("https://", _Adapter(settings))

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request with a timeout and return a response that is a JSON object.

        Raises:
            InvalidTokenResponse: any other response, which MSAL would log in full or take for a refusal.
        """
        kwargs.setdefault("timeout", TIMEOUTS)
        response = super().request(*args, **kwargs)
        if response.status_code == TOO_MANY_REQUESTS or response.status_code >= SERVER_ERRORS:
            raise InvalidTokenResponse(response.status_code, parse_retry_after(response.headers.get("Retry-After")))
        try:
            is_object = isinstance(response.json(), dict)
        except ValueError:
            is_object = False
        if not is_object:
            raise InvalidTokenResponse(response.status_code) from None
        return response


class _Adapter(HTTPAdapter):
    def __init__(self, settings: MailboxSettings) -> None:
        self._context = context_for(settings)
        super().__init__(max_retries=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)


def network_error(error: RequestException, settings: MailboxSettings, where: str) -> MailroomError:
    """Return the error for an exception of requests. Its text contains nothing of the request but the address.

    Args:
        error: the exception.
        settings: the mailbox's settings.
        where: the mailbox and its token service, for the text.
    """
    if isinstance(error, SSLError):
        ca = setting_name(settings, "CA_FILE")
        return TlsRefused(
            f"{where}: its certificate is not trusted by this machine; name its CA in {ca} if you trust it"
        )
    if isinstance(error, Timeout):
        return ServiceUnavailable(f"{where} did not answer in time")
    if isinstance(error, MissingSchema | InvalidSchema | InvalidURL):
        return ConfigurationError(f"{where} is not a valid URL; check SIGN_IN_AUTHORITY")
    if isinstance(error, RequestsConnectionError):
        return ConnectFailed(f"{where} cannot be reached; check SIGN_IN_AUTHORITY, the proxy and the firewall")
    return ServiceUnavailable(f"{where} sent an invalid response ({type(error).__name__})")
