"""Every error that Mailroom raises on purpose, by what its caller is to do.

    MailroomError
    ├── TransientError           a service is ill or busy: later, and nothing is counted against anybody
    │   ├── ServiceUnavailable   storage or a network answers badly, or not at all
    │   │   └── Throttled        it says so itself, and often for how long (429, 503, Retry-After)
    │   ├── MailboxBusy          [IN-USE], [LOGIN-DELAY], [SYS/TEMP]: the server says "not now" (RFC 2449, RFC 3206)
    │   ├── WriteConflict        somebody else wrote the record between our reading and our writing
    │   └── LeaseLost            another worker may hold this mailbox by now
    ├── MessageError             give up on this message, go on with the next
    │   ├── MessageMissing       the receipt or the raw bytes of an announced message are not there
    │   └── MessageUnreadable    what is stored cannot be worked on
    ├── MailboxError             give up on this mailbox for now; counted, backed off from, shown in `status`
    │   ├── ConnectFailed        no connection: name, address, port, time-out
    │   ├── TlsRefused           no TLS that can be trusted: certificate, name, or TLS not offered
    │   ├── AuthenticationError  the server or the token service rejected the credentials
    │   ├── AccessRefused        signed in, and the right to do this is missing (Graph: 403)
    │   ├── FolderMissing        a collected folder or a move target is not there or may not be opened
    │   ├── RemovalRefused       the server would not delete or move; what is stored stays stored
    │   └── ConnectionLost       the connection or the protocol broke in the middle
    │       └── CommitUncertain  it broke while removals were committed: no failure, the next listing shows which count
    └── ConfigurationError       nothing will help but other settings

No error's text holds a secret or a message's content: what is put in is names of mailboxes, hosts and settings, and
what a server answered (`printable` makes that printable and short).
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
]


class MailroomError(Exception):
    """The root. Nothing raises it itself."""


class TransientError(MailroomError):
    """A service is ill or busy; the same work may succeed later.

    Attributes:
        retry_after: seconds that the service asked to wait, or None if it named none.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ServiceUnavailable(TransientError):
    """Storage or a network answers badly, or not at all."""


class Throttled(ServiceUnavailable):
    """The service says that it is asked too much."""


class MailboxBusy(TransientError):
    """The mail server says "not now": no failure of the mailbox (RFC 2449 section 8, RFC 3206)."""


class WriteConflict(TransientError):
    """A conditional write found another etag than it was told."""


class LeaseLost(TransientError):
    """The lease is not ours for certain any more: stop before the next removal."""


class MessageError(MailroomError):
    """This message cannot be processed; the ones behind it can."""


class MessageMissing(MessageError):
    """The receipt or the raw bytes of an announced message are not there."""


class MessageUnreadable(MessageError):
    """What is stored cannot be worked on."""


class MailboxError(MailroomError):
    """This mailbox cannot be drained now."""


class ConnectFailed(MailboxError):
    """No connection could be made."""


class TlsRefused(MailboxError):
    """No TLS that can be trusted."""


class AuthenticationError(MailboxError):
    """The credentials were rejected."""


class AccessRefused(MailboxError):
    """The sign-in works, and the right to do this is missing."""


class FolderMissing(MailboxError):
    """A folder is not there, or may not be opened."""


class RemovalRefused(MailboxError):
    """The server would not delete or move."""


class ConnectionLost(MailboxError):
    """The connection, or the protocol on it, broke in the middle."""


class CommitUncertain(ConnectionLost):
    """The answer to the commit was lost: the removals may count or not, and the next listing shows which do."""


class ConfigurationError(MailroomError):
    """The settings are wrong.

    Attributes:
        faults: every fault found, each with the setting's name and the remedy.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def printable(answer: bytes | str | object, limit: int = 200) -> str:
    """What a server answered, made printable, on one line and at most `limit` characters long."""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


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
