"""The HTTP session that MSAL asks for tokens with: time-outs, `CA_FILE` besides the roots, answers checked."""

from __future__ import annotations

from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema, RequestException, SSLError, Timeout

from shared.config import MailboxSettings
from shared.errors import ConfigurationError, ConnectFailed, MailroomError, ServiceUnavailable, TlsRefused
from shared.mailboxes.tls import context_for, setting_name

__all__ = ["InvalidTokenResponse", "RequestException", "RequestsConnectionError", "TokenSession", "network_error"]

TIMEOUTS: Final = (30.0, 60.0)
"""Seconds for the connection, and for any silence after it."""

TOO_MANY, SERVER_FAULTS, LONGEST_WAIT = 429, 500, 3600.0


class InvalidTokenResponse(RequestException):
    """The token service answered, and with nothing that MSAL could use.

    It is one of requests' own kind, so that MSAL goes on with a token that is old and still good.

    Attributes:
        status: of HTTP.
        retry_after: seconds that the service asked to wait, if it did.
    """

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after = retry_after


class TokenSession(requests.Session):
    """A session for one mailbox's token service.

    It trusts the machine's roots, what `REQUESTS_CA_BUNDLE` and `SSL_CERT_FILE` name, and `CA_FILE`; proxies are taken
    from the environment, as everywhere.
    """

    def __init__(self, settings: MailboxSettings) -> None:
        super().__init__()
        self.mount("https://", _Adapter(settings))

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As requests has it, with a time-out, and no answer that would be logged as it is or taken for a refusal."""
        kwargs.setdefault("timeout", TIMEOUTS)
        answer = super().request(*args, **kwargs)
        if answer.status_code == TOO_MANY or answer.status_code >= SERVER_FAULTS:
            raise InvalidTokenResponse(answer.status_code, _seconds(answer.headers.get("Retry-After")))
        try:
            understood = isinstance(answer.json(), dict)
        except ValueError:
            understood = False
        if not understood:
            raise InvalidTokenResponse(answer.status_code) from None
        return answer


class _Adapter(HTTPAdapter):
    def __init__(self, settings: MailboxSettings) -> None:
        self._context = context_for(settings)
        super().__init__(max_retries=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)


def network_error(error: RequestException, settings: MailboxSettings, where: str) -> MailroomError:
    """What an exception of requests means. Its text holds the address that was asked, and nothing that was sent.

    Args:
        error: what came from requests.
        settings: whose sign-in it was.
        where: the mailbox and its token service, for the text.
    """
    if isinstance(error, SSLError):
        ca = setting_name(settings, "CA_FILE")
        return TlsRefused(f"{where} has no certificate that this machine trusts; name its CA in {ca} if you trust it")
    if isinstance(error, Timeout):
        return ServiceUnavailable(f"{where} does not answer in time")
    if isinstance(error, MissingSchema | InvalidSchema | InvalidURL):
        return ConfigurationError(f"{where} is no address that can be asked; look at SIGN_IN_AUTHORITY")
    if isinstance(error, RequestsConnectionError):
        return ConnectFailed(f"{where} cannot be reached; look at SIGN_IN_AUTHORITY and at the way there")
    return ServiceUnavailable(f"{where} answers badly ({type(error).__name__})")


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else min(max(float(text), 0.0), LONGEST_WAIT)
    except ValueError:
        return None
