"""What the answers of a POP3 server mean (RFC 1939; response codes: RFC 2449 section 8, RFC 3206)."""

from __future__ import annotations

import re

from shared.errors import (
    AuthenticationError,
    MailboxBusy,
    MailboxError,
    MailroomError,
    printable,
)
from shared.mailboxes.temporary_refusals import is_temporary_refusal, is_throttled, suggested_backoff

_CODE = re.compile(r"\[([A-Za-z0-9/_-]+)[^\]]*\]")
_GONE = re.compile(
    r"no such message|expunged|message (?:\d+ )?(?:is |was )?(?:already )?deleted|message file - it's gone",
    re.IGNORECASE,
)
"""The last one is Courier's (imap/pop3dserver.c)."""


class ProtocolViolation(Exception):
    """The connection broke, ended, or holds what is no POP3. Its text says which."""


class GarbledResponse(ProtocolViolation):
    """The server sent something that is not POP3."""


class NoResponse(ProtocolViolation):
    """The server did not answer in time."""


class InterleavedResponses(ProtocolViolation):
    """A message seems to contain the answers to other commands."""


def code_of(text: str) -> str:
    """The response code that an answer begins with, in upper case; empty if there is none."""
    found = _CODE.match(text.lstrip())
    return found[1].upper() if found else ""


def command_error(text: str, where: str, doing: str, *, login_delay: float | None = None) -> MailroomError:
    """Return the error for `-ERR` to anything but the sign-in.

    Args:
        text: what followed it.
        where: the mailbox and its server.
        doing: what it was an answer to.
        login_delay: seconds between sign-ins, if the server told (RFC 2449 section 6.5).
    """
    if is_temporary_refusal(text):
        wait = login_delay if code_of(text) == "LOGIN-DELAY" else suggested_backoff(text)
        return MailboxBusy(f"{where}: not now: {printable(text)}", retry_after=wait)
    return MailboxError(f"{where}: {doing} was refused: {printable(text) or '-ERR'}")


def sign_in_error(text: str, where: str, remedy: str, *, login_delay: float | None = None) -> MailroomError:
    """Return the error for `-ERR` to USER, PASS or AUTH. The text must not contain a secret any more.

    Args:
        text: what followed it.
        where: the mailbox and its server.
        remedy: the settings to look at.
        login_delay: as above.
    """
    found = command_error(text, where, "sign-in", login_delay=login_delay)
    if isinstance(found, MailboxBusy) or code_of(text) == "SYS/PERM":
        return found
    return AuthenticationError(f"{where}: sign-in was refused: {printable(text) or '-ERR'}; look at {remedy}")


def raise_if_throttled(text: str, where: str) -> None:
    """Return if `-ERR` is about the command alone, and not about the account (Exchange Online).

    Args:
        text: what followed it.
        where: the mailbox and its server.

    Raises:
        MailboxBusy: the server throttles the account, so that every further command would be refused too.
    """
    if is_throttled(text):
        raise MailboxBusy(f"{where}: throttled: {printable(text)}", retry_after=suggested_backoff(text))


def is_gone(text: str) -> bool:
    """Whether `-ERR` to RETR says that the message is there no more."""
    return _GONE.search(text) is not None


def connection_error(error: OSError) -> ProtocolViolation:
    """What an error of `socket` or `ssl` means on a connection that stood."""
    if isinstance(error, TimeoutError):
        return NoResponse("no answer in time")
    # `ssl` gives its own word for it, to those of its errors that OpenSSL has one for.
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    return ProtocolViolation(f"the connection broke: {printable(reason)}")
