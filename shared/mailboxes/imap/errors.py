"""Maps the responses of an IMAP server and the exceptions of imaplib, imapclient, TLS and sockets to errors.

`map_error` alone turns these exceptions, and the three of this module, into those of `shared.errors`. Response codes
are defined by RFC 5530 and RFC 3501 section 7.1.
"""

from __future__ import annotations

import ast
import imaplib
import re
import ssl

from shared.errors import (
    AccessRefused,
    AuthenticationError,
    ConnectionLost,
    FolderMissing,
    MailboxBusy,
    MailboxError,
    MailroomError,
    RemovalRefused,
    TlsRefused,
    printable,
)
from shared.mailboxes.temporary_refusals import is_temporary_refusal, is_throttled, suggested_backoff

BUSY_CODES = frozenset({"UNAVAILABLE", "INUSE", "THROTTLED"})
"""Codes that always mean "later". [SERVERBUG] and [LIMIT] are not included, since one bad message may cause them."""

BUSY_BYE_CODES = BUSY_CODES | {"LIMIT", "OVERQUOTA"}
"""Codes of a BYE that mean "later": a limit then concerns connections or bandwidth, and is temporary."""

MISSING_CODES = frozenset({"NONEXISTENT", "TRYCREATE", "NOPERM"})

_CODE = re.compile(r"\[([A-Za-z][A-Za-z0-9-]*)[^\]]*\]")
_BYTES = r"""b'(?:[^'\\]|\\.)*'|b"(?:[^"\\]|\\.)*\""""
_LITERALS = re.compile(rf"\[(?:(?:{_BYTES})(?:, )?)+\]|(?:bytearray\()(?:{_BYTES})\)|(?<!\w)(?:{_BYTES})", re.DOTALL)
"""Python's notation of bytes, alone or in a list, as in the errors of imaplib and imapclient."""

_UNAVAILABLE = re.compile(r"server unavailable\. \d+", re.IGNORECASE)
"""Exchange's response to any command while it cannot reach the mailbox's back end."""

_NOT_CONNECTED = re.compile(r"authenticated but not connected", re.IGNORECASE)
_EXPIRED = re.compile(
    r"\[(?:AUTHENTICATIONFAILED|AUTHORIZATIONFAILED|EXPIRED)\b|AccessTokenExpired|"
    r"(?:token|session|credentials?)\b.{0,24}\bexpired|session invalidated",
    re.IGNORECASE,
)


class CommandRejected(Exception):
    """A NO or BAD response to a command.

    Attributes:
        command: the command, without secrets.
        status: `NO` or `BAD`.
        text: the text of the response.
    """

    def __init__(self, command: str, status: str, text: str) -> None:
        super().__init__(f"{status} to {command}: {text}")
        self.command = command
        self.status = status
        self.text = text

    @property
    def code(self) -> str:
        """The response code in upper case; empty if there is none."""
        return code_of(self.text)


class ServerBye(Exception):
    """A BYE, with which the server ended the session.

    Attributes:
        text: the text of the response.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ProtocolViolation(Exception):
    """The end of the stream, or data that is not IMAP."""


class SessionExpired(ConnectionLost):
    """A response that reports an expired sign-in: a new token may help."""


def code_of(text: str) -> str:
    """Return the response code of a response in upper case; empty if there is none."""
    match = _CODE.search(text)
    return match[1].upper() if match else ""


def server_text(error: object) -> str:
    """Return the text of an exception of imaplib or imapclient as the server sent it, without Python's notation."""

    def decode(match: re.Match[str]) -> str:
        parts = re.findall(_BYTES, match[0], re.DOTALL)
        try:
            return " ".join(ast.literal_eval(part).decode("utf-8", "replace") for part in parts)
        except (ValueError, SyntaxError):
            return match[0]

    return _LITERALS.sub(decode, str(error))


def session_error(text: str, where: str) -> MailroomError | None:
    """Return the error if a response concerns the session or the account, whatever the command was; else None.

    Args:
        text: the text after NO or BAD.
        where: the mailbox and its server.
    """
    if is_throttled(text):
        return MailboxBusy(f"{where}: throttled: {printable(text)}", retry_after=suggested_backoff(text))
    if _NOT_CONNECTED.search(text):
        return AccessRefused(
            f"{where}: the sign-in works, but Exchange opens no mailbox: {printable(text)}; check that "
            f"{_setting(where, 'ADDRESS')} or {_setting(where, 'SHARED_MAILBOX')} names the right mailbox and that the "
            "account has the FullAccess permission; if so, Exchange throttles the account: poll less often"
        )
    if _EXPIRED.search(text):
        return SessionExpired(f"{where}: the sign-in has expired: {printable(text)}")
    return None


def map_error(error: Exception, where: str) -> MailroomError:
    """Return the error of `shared.errors` for an exception.

    Args:
        error: the exception. An error of `shared.errors` is returned unchanged.
        where: the mailbox and its server, for the text.
    """
    if isinstance(error, MailroomError):
        return error
    if isinstance(error, ServerBye):
        return _session_end_error(error.text, where)
    if isinstance(error, CommandRejected):
        return _rejection_error(error, where)
    if isinstance(error, imaplib.IMAP4.readonly):
        return read_only_error(where, server_text(error))
    if isinstance(error, imaplib.IMAP4.abort):
        return _session_end_error(server_text(error), where)
    if isinstance(error, imaplib.IMAP4.error):
        return _rejection_error(CommandRejected("a command", "NO", server_text(error)), where)
    if isinstance(error, TimeoutError):
        return ConnectionLost(f"{where}: no answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsRefused(f"{where}: the certificate is not trusted: {printable(error.verify_message)}")
    if isinstance(error, OSError | EOFError | ProtocolViolation):
        return ConnectionLost(f"{where}: the connection broke: {printable(error) or type(error).__name__}")
    return ConnectionLost(f"{where}: the server's response is unparseable ({type(error).__name__})")


def sign_in_error(text: str, where: str, fix: str) -> MailroomError:
    """Return the error for a refused LOGIN or AUTHENTICATE. The text must no longer contain a secret.

    Args:
        text: the text after NO or BAD.
        where: the mailbox and its server.
        fix: what the operator should check, for the error's text.
    """
    if is_temporary_refusal(text):
        return MailboxBusy(f"{where}: not now: {printable(text)}", retry_after=suggested_backoff(text))
    return AuthenticationError(f"{where}: sign-in refused: {printable(text)}; check {fix}")


def interrupted_sign_in_error(text: str, where: str) -> MailroomError:
    """Return the error for a BYE, or a lost connection, at the greeting or during the sign-in."""
    if is_temporary_refusal(text):
        return MailboxBusy(f"{where}: not now: {printable(text)}", retry_after=suggested_backoff(text))
    return _session_end_error(text, where)


def read_only_error(where: str, text: str) -> RemovalRefused:
    """Return the error for a read-only folder from which messages must be removed."""
    return RemovalRefused(
        f"{where}: the folder is read-only ({printable(text)}); set {_setting(where, 'AFTER')}=keep, or grant "
        "write permission"
    )


def folder_error(error: Exception, folder: str, setting: str, where: str) -> MailroomError:
    """Return the error for a folder that cannot be opened or found.

    Args:
        error: the exception.
        folder: the folder's name.
        setting: the setting that names it.
        where: the mailbox and its server.
    """
    rejected = isinstance(error, imaplib.IMAP4.error) and not isinstance(error, imaplib.IMAP4.abort)
    if rejected or isinstance(error, CommandRejected):
        text = error.text if isinstance(error, CommandRejected) else server_text(error)
        about_session = session_error(text, where)
        if about_session is not None:
            return about_session
        if is_temporary_refusal(text):
            return MailboxBusy(f"{where}: folder {folder!r} cannot be opened now: {printable(text)}")
        name = _setting(where, setting)
        return FolderMissing(f"{where}: folder {folder!r} of {name} is missing or may not be opened: {printable(text)}")
    return map_error(error, where)


def removal_error(error: CommandRejected, target: str | None, where: str) -> MailroomError:
    """Return the error for a refused deletion or move."""
    if error.code in BUSY_CODES or _UNAVAILABLE.search(error.text) or session_error(error.text, where) is not None:
        return _rejection_error(error, where)
    if target is not None and error.code in MISSING_CODES:
        name = _setting(where, "AFTER")
        return FolderMissing(f"{where}: folder {target!r} of {name} is missing or not writable: {printable(error)}")
    return RemovalRefused(
        f"{where}: {printable(error)}; allow the account to remove messages, or set {_setting(where, 'AFTER')}=keep"
    )


def _rejection_error(error: CommandRejected, where: str) -> MailroomError:
    about_session = session_error(error.text, where)
    if about_session is not None:
        return about_session
    if error.code in BUSY_CODES | {"OVERQUOTA"} or _UNAVAILABLE.search(error.text):
        return MailboxBusy(f"{where}: not now: {printable(error.text)}")
    return MailboxError(f"{where}: the server answered {printable(error)}")


def _setting(where: str, name: str) -> str:
    mailbox = re.match(r"mailbox (\S+) at ", where)
    return f"MAILBOXES__{mailbox[1]}__{name}" if mailbox else name


def _session_end_error(text: str, where: str) -> MailroomError:
    if is_throttled(text):
        return MailboxBusy(f"{where}: throttled: {printable(text)}", retry_after=suggested_backoff(text))
    if _EXPIRED.search(text):
        return SessionExpired(f"{where}: the server ended the session: {printable(text)}")
    if code_of(text) in BUSY_BYE_CODES:
        return MailboxBusy(f"{where}: the server ended the session: {printable(text)}")
    return ConnectionLost(f"{where}: the server ended the session: {printable(text)}")
