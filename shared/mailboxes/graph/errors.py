"""What Microsoft Graph's refusals and a broken connection to it mean, as our errors."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

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

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, GONE, BAD_REQUEST, TOO_MANY = 401, 403, 404, 410, 400, 429
BUSY: Final = frozenset({429, 502, 503, 504})
"""Statuses that say "not now"; the first and the third often say for how long (Graph: throttling guidance)."""
SERVER_FAULTS: Final = 500

NO_SUCH_MAILBOX: Final = frozenset(
    {"ErrorInvalidUser", "ErrorNonExistentMailbox", "MailboxNotEnabledForRESTAPI", "Request_ResourceNotFound"}
)
NEVER_READABLE: Final = frozenset(
    {
        "ErrorMimeContentConversionFailed",
        "ErrorContentConversionFailed",
        "ErrorMimeContentInvalid",
        "ErrorUnsupportedMimeConversion",
        "ErrorCorruptData",
        "ErrorItemCorrupt",
    }
)
"""Codes that a message's content answers with for good: opaque S/MIME, for one, cannot be turned into MIME."""

STATE_LOST: Final = frozenset({"syncstatenotfound", "syncstateinvalid", "resyncrequired"})
"""Codes of a delta link that is no longer known, in lower case: start over (Graph: delta query overview)."""

NOT_ALLOWED, NOT_IMPLEMENTED, GATEWAY_TIMEOUT = 405, 501, 504

_NO_SEGMENT = re.compile(r"resource not found for the segment", re.IGNORECASE)
"""How Graph's OData layer refuses a path that it does not know (observed as 400 BadRequest)."""

LONGEST_WAIT: Final = 3600.0


class GraphResponseError(Exception):
    """Graph answered with a status of 400 or more. Does not leave `shared.mailboxes`.

    Attributes:
        status: of HTTP.
        code: Graph's name for it; empty if the answer was none of Graph's.
        text: in Graph's words, made printable.
        retry_after: seconds that it asks to wait, if it does.
    """

    def __init__(self, status: int, code: str = "", text: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status} {code}: {text}")
        self.status = status
        self.code = code
        self.text = text
        self.retry_after = retry_after

    @classmethod
    def from_error(cls, response: httpx.Response) -> GraphResponseError:
        """From a response whose body was read."""
        code = text = ""
        try:
            error = json.loads(response.content)["error"]
            code, text = printable(error["code"], 80), printable(error.get("message") or "", 300)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        return cls(response.status_code, code, text, _seconds(response.headers.get("Retry-After")))

    @property
    def is_gone(self) -> bool:
        """What was asked for is not there, or not any more."""
        return self.status == NOT_FOUND and self.code not in NO_SUCH_MAILBOX

    @property
    def is_for_good(self) -> bool:
        """The content of a message will never be given out."""
        return self.status != NOT_FOUND and self.code in NEVER_READABLE

    @property
    def is_state_lost(self) -> bool:
        """A delta link is not known any more."""
        return self.status == GONE or self.code.lower() in STATE_LOST

    @property
    def says_when(self) -> bool:
        """It is a "not now" that tells when to come back."""
        return self.status in BUSY and self.retry_after is not None

    @property
    def is_too_much(self) -> bool:
        """Whether a request for less may succeed: 504, or a server error that does not say when to come back."""
        if self.status == GATEWAY_TIMEOUT:
            return True
        return self.status >= SERVER_FAULTS and self.status != NOT_IMPLEMENTED and self.retry_after is None

    @property
    def lacks_action(self) -> bool:
        """Whether the server does not have the action that was asked for, whatever message it was about."""
        if self.status in (NOT_ALLOWED, NOT_IMPLEMENTED):
            return True
        return self.status in (BAD_REQUEST, NOT_FOUND) and _NO_SEGMENT.search(self.text) is not None

    @property
    def may_lack_action(self) -> bool:
        """Whether a 404 may be about the action and not the message: Exchange's own codes begin with `Error`."""
        return self.status == NOT_FOUND and not self.code.startswith("Error") and self.code not in NO_SUCH_MAILBOX


def graph_error(error: Exception, settings: MailboxSettings, doing: str, *, folder: str | None = None) -> MailroomError:
    """What an exception means that came while Graph was asked.

    Args:
        error: whatever it was.
        settings: the mailbox's.
        doing: what was being done, for the text: "listing INBOX".
        folder: what is missing if the answer is 404.
    """
    if isinstance(error, MailroomError):
        return error
    where = f"mailbox {settings.name}: {doing} through Microsoft Graph"
    if isinstance(error, GraphResponseError):
        return _answer(error, settings, where, folder)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return _no_connection(error, settings, where)
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return ConnectFailed(f"{where}: this is no address that can be asked; look at GRAPH_ENDPOINT")
    if isinstance(error, httpx.TimeoutException):
        return ConnectionLost(f"{where}: no answer in time")
    if isinstance(error, httpx.HTTPError | httpx.StreamError):
        return ConnectionLost(f"{where}: the connection broke ({type(error).__name__})")
    if isinstance(error, ValueError | KeyError | TypeError):
        return ConnectionLost(f"{where}: the answer is none of Microsoft Graph's; look at GRAPH_ENDPOINT")
    return MailboxError(f"{where}: failed ({type(error).__name__})")


def _answer(answer: GraphResponseError, settings: MailboxSettings, where: str, folder: str | None) -> MailroomError:
    told = f"{answer.code or f'HTTP {answer.status}'}: {answer.text}" if answer.text else answer.code
    told = told or f"HTTP {answer.status}"
    if answer.status in BUSY:
        return MailboxBusy(f"{where}: it asks to come back later ({told})", retry_after=answer.retry_after)
    if answer.status == UNAUTHORIZED:
        return AuthenticationError(
            f"{where}: the token is refused ({told}); look at SIGN_IN_AUTHORITY and GRAPH_ENDPOINT"
        )
    if answer.status == FORBIDDEN:
        return AccessRefused(
            f"{where}: the app may not ({told}); give it the application permission Mail.ReadWrite for "
            f"{settings.mailbox_address} (docs/how-to/office365.md)"
        )
    if answer.status == NOT_FOUND and answer.code in NO_SUCH_MAILBOX:
        name = setting_name(settings, "SHARED_MAILBOX" if settings.shared_mailbox else "ADDRESS")
        return MailboxError(f"{where}: there is no mailbox {settings.mailbox_address} ({told}); look at {name}")
    if answer.status == NOT_FOUND and folder is not None:
        return FolderMissing(f"{where}: there is no folder {folder!r} ({told})")
    return MailboxError(f"{where}: refused ({told})")


def _no_connection(error: Exception, settings: MailboxSettings, where: str) -> MailroomError:
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TlsRefused(f"{where}: {settings.host}: {certificate_error(cause, settings)}")
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            why = getattr(cause, "reason", None) or cause  # one that OpenSSL did not make has none
            return TlsRefused(f"{where}: {settings.host}: no TLS that can be trusted ({printable(why)})")
    return ConnectFailed(
        f"{where}: {settings.host}:{settings.port} cannot be reached ({type(error).__name__}); look at GRAPH_ENDPOINT "
        "and at the way there"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _seconds(text: str | None) -> float | None:
    """Retry-After: seconds, or a date (RFC 9110 section 10.2.3)."""
    if text is None:
        return None
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(wait, 0.0), LONGEST_WAIT) if wait == wait else None  # noqa: PLR0124  not a number
