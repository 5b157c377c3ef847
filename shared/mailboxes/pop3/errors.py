"""Maps the responses of a POP3 server to errors (RFC 1939; response codes: RFC 2449 section 8, RFC 3206)."""

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
"""The last alternative is Courier's (imap/pop3dserver.c)."""


class ProtocolViolation(Exception):
    """A broken or ended connection, or data that is not POP3. The text says which."""


class GarbledResponse(ProtocolViolation):
    """Data that is not POP3."""


class NoResponse(ProtocolViolation):
    """A response that did not arrive in time."""


class InterleavedResponses(ProtocolViolation):
    """A message that seems to contain the responses to other commands."""


def code_of(text: str) -> str:
    """Return the response code at the start of a response, in upper case; empty if there is none."""
    match = _CODE.match(text.lstrip())
    return match[1].upper() if match else ""


def command_error(text: str, where: str, action: str, *, login_delay: float | None = None) -> MailroomError:
    """Return the error for `-ERR` to any command but the sign-in.

    Args:
        text: the text after `-ERR`.
        where: the mailbox and its server.
        action: the refused action, for the error's text.
        login_delay: minimum seconds between sign-ins, if the server reports it (RFC 2449 section 6.5).
    """
    if is_temporary_refusal(text):
        retry_after = login_delay if code_of(text) == "LOGIN-DELAY" else suggested_backoff(text)
        return MailboxBusy(f"{where}: not now: {printable(text)}", retry_after=retry_after)
    return MailboxError(f"{where}: {action} was refused: {printable(text) or '-ERR'}")


def sign_in_error(text: str, where: str, fix: str, *, login_delay: float | None = None) -> MailroomError:
    """Return the error for `-ERR` to USER, PASS or AUTH. The text must no longer contain a secret.

    Args:
        text: the text after `-ERR`.
        where: the mailbox and its server.
        fix: what the operator should check, for the error's text.
        login_delay: as for `command_error`.
    """
    error = command_error(text, where, "sign-in", login_delay=login_delay)
    if isinstance(error, MailboxBusy) or code_of(text) == "SYS/PERM":
        return error
    return AuthenticationError(f"{where}: sign-in was refused: {printable(text) or '-ERR'}; check {fix}")


def raise_if_throttled(text: str, where: str) -> None:
    """Raise an error if `-ERR` concerns the account and not the command alone (Exchange Online).

    Args:
        text: the text after `-ERR`.
        where: the mailbox and its server.

    Raises:
        MailboxBusy: the server throttles the account, so every further command would be refused too.
    """
    if is_throttled(text):
        raise MailboxBusy(f"{where}: throttled: {printable(text)}", retry_after=suggested_backoff(text))


def is_gone(text: str) -> bool:
    """Return whether `-ERR` to RETR says that the message no longer exists."""
    return _GONE.search(text) is not None


def connection_error(error: OSError) -> ProtocolViolation:
    """Return the error for an exception of `socket` or `ssl` on an established connection."""
    if isinstance(error, TimeoutError):
        return NoResponse("no answer in time")
    # `ssl` has a reason of its own for the errors that OpenSSL names.
    reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
    return ProtocolViolation(f"the connection broke: {printable(reason)}")
