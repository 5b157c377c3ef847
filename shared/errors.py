"""Every error that Mailroom raises on purpose, grouped by what the caller has to do.

    MailroomError
    ├── TransientError           a service is unavailable or busy: retry later, no failure is counted
    │   ├── ServiceUnavailable   storage or a network service responds with an error, or does not respond
    │   │   └── Throttled        the service limits requests, often with a delay (429, 503, Retry-After)
    │   ├── MailboxBusy          [IN-USE], [LOGIN-DELAY], [SYS/TEMP]: the server says "not now" (RFC 2449, RFC 3206)
    │   ├── WriteConflict        another process wrote the record between our read and our write
    │   └── LeaseLost            another worker may hold this mailbox by now
    ├── MessageError             dead-letter this message, and go on with the next
    │   ├── MessageMissing       the receipt or the raw bytes of the message in a route request are missing
    │   └── MessageUnreadable    the stored data cannot be processed
    ├── MailboxError             stop draining this mailbox for now; counted, with a backoff, shown in `status`
    │   ├── ConnectFailed        no connection: name, address, port, timeout
    │   ├── TlsRefused           no trusted TLS: certificate, name, or TLS not offered
    │   ├── AuthenticationError  the server or the token service rejected the credentials
    │   ├── AccessRefused        signed in, but without the necessary right (Graph: 403)
    │   ├── FolderMissing        a configured folder or a move target does not exist or may not be opened
    │   ├── RemovalRefused       the server refused to delete or move; the stored messages stay stored
    │   └── ConnectionLost       the connection or the protocol broke
    │       └── CommitUncertain  it broke during the commit of removals: no failure, the next listing shows the result
    └── ConfigurationError       only other settings help

The text of an error contains no secret and no message content. It consists of names of mailboxes, hosts and settings,
and of servers' responses, made printable and short by `printable`.
"""

from __future__ import annotations

__all__ = [
    "AccessRefused",
    "AuthenticationError",
    "CommitUncertain",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionLost",
    "FolderMissing",
    "InvalidValue",
    "LeaseLost",
    "MailboxBusy",
    "MailboxError",
    "MailroomError",
    "MessageError",
    "MessageMissing",
    "MessageUnreadable",
    "RemovalRefused",
    "ServiceUnavailable",
    "Throttled",
    "TlsRefused",
    "TransientError",
    "WriteConflict",
    "printable",
    "without_mailbox",
]


class MailroomError(Exception):
    """The base class, which is never raised itself."""


class TransientError(MailroomError):
    """A failure that a retry may cure.

    Attributes:
        retry_after: the seconds that the service asked to wait; None: it did not say.
        status: the HTTP status of the service's response; None: there was no response, or no HTTP.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class ServiceUnavailable(TransientError):
    """A storage or network service that responds with an error, or does not respond."""


class Throttled(ServiceUnavailable):
    """A service that limits the number of requests."""


class MailboxBusy(TransientError):
    """A mail server that says "not now"; not a failure of the mailbox (RFC 2449 section 8, RFC 3206)."""


class WriteConflict(TransientError):
    """A conditional write whose etag was not the current one."""


class LeaseLost(TransientError):
    """A lease that is not certainly held any more: stop before the next removal."""


class MessageError(MailroomError):
    """A message that cannot be processed; the next messages can."""


class MessageMissing(MessageError):
    """A message in a route request whose receipt or raw bytes are missing."""


class MessageUnreadable(MessageError):
    """Stored data that cannot be processed."""


class MailboxError(MailroomError):
    """A mailbox that cannot be drained now."""


class ConnectFailed(MailboxError):
    """A connection that could not be made."""


class TlsRefused(MailboxError):
    """A server without TLS that can be trusted."""


class AuthenticationError(MailboxError):
    """Credentials that were rejected."""


class AccessRefused(MailboxError):
    """A sign-in that succeeded but lacks a necessary right."""


class FolderMissing(MailboxError):
    """A folder that does not exist or may not be opened."""


class RemovalRefused(MailboxError):
    """A deletion or a move that the server refused."""


class ConnectionLost(MailboxError):
    """A connection that broke, or whose protocol was violated."""


class CommitUncertain(ConnectionLost):
    """A lost response to the commit of removals. The next listing shows which removals took effect."""


class ConfigurationError(MailroomError):
    """Missing or invalid settings.

    Attributes:
        errors: every configuration error, each with the setting's name and how to fix it.
    """

    def __init__(self, *errors: str) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def printable(response: bytes | str | object, limit: int = 200) -> str:
    """Return a server's response as one printable line of at most `limit` characters."""
    text = response.decode("utf-8", "replace") if isinstance(response, bytes) else str(response)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def without_mailbox(error: BaseException | str, mailbox: str) -> str:
    """Return an error's text without the mailbox at its beginning, for a sentence that names the mailbox already.

    Args:
        error: the error; it may begin with `mailbox NAME: `, `mailbox NAME, FOLDER: ` or `mailbox NAME at HOST: `.
        mailbox: the mailbox's name.
    """
    text = str(error)
    for separator in (": ", ", ", " at "):
        text = text.removeprefix(f"mailbox {mailbox}{separator}")
    return text


class InvalidValue(ValueError):
    """A text that is not a valid value of a setting; `shared.config` turns it into a configuration error.

    Attributes:
        detail: the sentence that follows the value: what is wrong with it, and the fix.
        value: the value to show before `detail`, unless it turns out to hold a secret; None: no value is shown.
    """

    def __init__(self, detail: str, value: str | None = None) -> None:
        # The value is not an argument: a traceback must not show it.
        super().__init__(detail)
        self.detail = detail
        self.value = value
