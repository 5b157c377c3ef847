"""Translation of Microsoft Graph's error responses and of connection errors into Mailroom's errors."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from typing import Final

import httpx

from shared.backoff import parse_retry_after
from shared.config import MailboxSettings
from shared.errors import (
    AccessRefused,
    AuthenticationError,
    ConnectFailed,
    ConnectionLost,
    FolderMissing,
    MailboxBusy,
    MailboxError,
    MailroomError,
    TlsRefused,
    printable,
)
from shared.mailboxes.tls import certificate_error, setting_name

BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, NOT_ALLOWED, GONE = 400, 401, 403, 404, 405, 410
TOO_MANY_REQUESTS, NOT_IMPLEMENTED, GATEWAY_TIMEOUT = 429, 501, 504

BUSY: Final = frozenset({429, 502, 503, 504})
"""Statuses that mean "try later". 429 and 503 often have a `Retry-After` (Graph: throttling guidance)."""

SERVER_ERRORS: Final = 500
"""The lowest status of a server error."""

NO_SUCH_MAILBOX: Final = frozenset(
    {"ErrorInvalidUser", "ErrorNonExistentMailbox", "MailboxNotEnabledForRESTAPI", "Request_ResourceNotFound"}
)
"""Codes of a 404 that is about the mailbox, not about a folder or a message."""

PERMANENTLY_UNREADABLE: Final = frozenset(
    {
        "ErrorMimeContentConversionFailed",
        "ErrorContentConversionFailed",
        "ErrorMimeContentInvalid",
        "ErrorUnsupportedMimeConversion",
        "ErrorCorruptData",
        "ErrorItemCorrupt",
    }
)
"""Codes with which Graph permanently refuses a message's content, such as opaque S/MIME, which has no MIME form."""

SYNC_STATE_LOST: Final = frozenset({"syncstatenotfound", "syncstateinvalid", "resyncrequired"})
"""Codes of an expired delta link, in lower case: start over (Graph: delta query overview)."""

_NO_SEGMENT = re.compile(r"resource not found for the segment", re.IGNORECASE)
"""How Graph's OData layer refuses an unknown path (observed as 400 BadRequest)."""


class GraphResponseError(Exception):
    """A response with a status of 400 or more. Does not leave `shared.mailboxes`.

    Attributes:
        status: HTTP status.
        code: Graph's error code; empty if the response is not Graph's JSON.
        text: Graph's message, made printable.
        retry_after: seconds that Graph asks to wait, or None.
    """

    def __init__(self, status: int, code: str = "", text: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status} {code}: {text}")
        self.status = status
        self.code = code
        self.text = text
        self.retry_after = retry_after

    @classmethod
    def from_response(cls, response: httpx.Response) -> GraphResponseError:
        """Return the error in a response whose body was read."""
        code = text = ""
        try:
            error = json.loads(response.content)["error"]
            code, text = printable(error["code"], 80), printable(error.get("message") or "", 300)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        return cls(response.status_code, code, text, parse_retry_after(response.headers.get("Retry-After")))

    @property
    def is_gone(self) -> bool:
        """Whether the requested folder, message or subscription does not exist, or no longer exists."""
        return self.status == NOT_FOUND and self.code not in NO_SUCH_MAILBOX

    @property
    def is_permanent(self) -> bool:
        """Whether Graph will never return this message's content."""
        return self.status != NOT_FOUND and self.code in PERMANENTLY_UNREADABLE

    @property
    def is_state_lost(self) -> bool:
        """Whether a delta link has expired."""
        return self.status == GONE or self.code.lower() in SYNC_STATE_LOST

    @property
    def has_retry_after(self) -> bool:
        """Whether Graph is busy and says when to come back."""
        return self.status in BUSY and self.retry_after is not None

    @property
    def suggests_smaller_request(self) -> bool:
        """Whether a request for less may succeed: 504, or a server error that does not say when to come back."""
        if self.status == GATEWAY_TIMEOUT:
            return True
        return self.status >= SERVER_ERRORS and self.status != NOT_IMPLEMENTED and self.retry_after is None

    @property
    def lacks_action(self) -> bool:
        """Whether the server does not have the requested action, for any message."""
        if self.status in (NOT_ALLOWED, NOT_IMPLEMENTED):
            return True
        return self.status in (BAD_REQUEST, NOT_FOUND) and _NO_SEGMENT.search(self.text) is not None

    @property
    def may_lack_action(self) -> bool:
        """Whether a 404 may be about the action and not the message: Exchange's codes begin with `Error`."""
        return self.status == NOT_FOUND and not self.code.startswith("Error") and self.code not in NO_SUCH_MAILBOX


def graph_error(
    error: Exception, settings: MailboxSettings, activity: str, *, folder: str | None = None
) -> MailroomError:
    """Return the Mailroom error for an exception that a Graph request raised.

    Args:
        error: the exception. A `MailroomError` is returned unchanged.
        settings: the mailbox's settings.
        activity: what Mailroom was doing, for the text: "listing INBOX".
        folder: the folder that is missing if the response is 404.
    """
    if isinstance(error, MailroomError):
        return error
    context = f"mailbox {settings.name}: {activity} through Microsoft Graph"
    if isinstance(error, GraphResponseError):
        return _response_error(error, settings, context, folder)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return _connection_error(error, settings, context)
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return ConnectFailed(f"{context}: the URL is not valid; check GRAPH_ENDPOINT")
    if isinstance(error, httpx.TimeoutException):
        return ConnectionLost(f"{context}: no response in time")
    if isinstance(error, httpx.HTTPError | httpx.StreamError):
        return ConnectionLost(f"{context}: the connection broke ({type(error).__name__})")
    if isinstance(error, ValueError | KeyError | TypeError):
        return ConnectionLost(f"{context}: the response is not Microsoft Graph's; check GRAPH_ENDPOINT")
    return MailboxError(f"{context}: failed ({type(error).__name__})")


def _response_error(
    error: GraphResponseError, settings: MailboxSettings, context: str, folder: str | None
) -> MailroomError:
    detail = f"{error.code or f'HTTP {error.status}'}: {error.text}" if error.text else error.code
    detail = detail or f"HTTP {error.status}"
    if error.status in BUSY:
        return MailboxBusy(f"{context}: the server asks to come back later ({detail})", retry_after=error.retry_after)
    if error.status == UNAUTHORIZED:
        return AuthenticationError(
            f"{context}: the token is refused ({detail}); check SIGN_IN_AUTHORITY and GRAPH_ENDPOINT"
        )
    if error.status == FORBIDDEN:
        return AccessRefused(
            f"{context}: the app lacks permission ({detail}); grant it the application permission Mail.ReadWrite for "
            f"{settings.mailbox_address} (docs/how-to/office365.md)"
        )
    if error.status == NOT_FOUND and error.code in NO_SUCH_MAILBOX:
        name = setting_name(settings, "SHARED_MAILBOX" if settings.shared_mailbox else "ADDRESS")
        return MailboxError(
            f"{context}: the mailbox {settings.mailbox_address} does not exist ({detail}); check {name}"
        )
    if error.status == NOT_FOUND and folder is not None:
        return FolderMissing(f"{context}: the folder {folder!r} does not exist ({detail})")
    return MailboxError(f"{context}: refused ({detail})")


def _connection_error(error: Exception, settings: MailboxSettings, context: str) -> MailroomError:
    for cause in _cause_chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TlsRefused(f"{context}: {settings.host}: {certificate_error(cause, settings)}")
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            reason = getattr(cause, "reason", None) or cause  # only OpenSSL's own errors have a reason
            return TlsRefused(f"{context}: {settings.host}: TLS cannot be trusted ({printable(reason)})")
    return ConnectFailed(
        f"{context}: {settings.host}:{settings.port} cannot be reached ({type(error).__name__}); check GRAPH_ENDPOINT "
        "and the network"
    )


def _cause_chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
