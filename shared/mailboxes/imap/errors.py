"""What an IMAP server, imaplib, imapclient, TLS and the network raise or answer, as Mailroom's own errors.

`mapped_errors` is the one place that turns foreign exceptions, and the three of this module, into those of
`shared.errors`. Response codes are those of RFC 5530 and RFC 3501 section 7.1.
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
"""Codes that say "later" of themselves. [SERVERBUG] and [LIMIT] are not among them: one bad message may cause them."""

BUSY_AT_THE_END = BUSY_CODES | {"LIMIT", "OVERQUOTA"}
"""Codes of a BYE that mean "later": a limit then is one on connections or bandwidth, and passes."""

MISSING_CODES = frozenset({"NONEXISTENT", "TRYCREATE", "NOPERM"})

_CODE = re.compile(r"\[([A-Za-z][A-Za-z0-9-]*)[^\]]*\]")
_BYTES = r"""b'(?:[^'\\]|\\.)*'|b"(?:[^"\\]|\\.)*\""""
_LITERALS = re.compile(rf"\[(?:(?:{_BYTES})(?:, )?)+\]|(?:bytearray\()(?:{_BYTES})\)|(?<!\w)(?:{_BYTES})", re.DOTALL)
"""Python's notation of bytes, alone or as a list, as imaplib and imapclient put it into their errors."""

_UNAVAILABLE = re.compile(r"server unavailable\. \d+", re.IGNORECASE)
"""Exchange's answer to any command while the mailbox's back end cannot be reached."""

_NOT_CONNECTED = re.compile(r"authenticated but not connected", re.IGNORECASE)
_DEAD = re.compile(
    r"\[(?:AUTHENTICATIONFAILED|AUTHORIZATIONFAILED|EXPIRED)\b|AccessTokenExpired|"
    r"(?:token|session|credentials?)\b.{0,24}\bexpired|session invalidated",
    re.IGNORECASE,
)


class CommandRejected(Exception):
    """The server answered NO or BAD to a command.

    Attributes:
        command: what was asked, without anything secret.
        status: `NO` or `BAD`.
        text: what the server said.
    """

    def __init__(self, command: str, status: str, text: str) -> None:
        super().__init__(f"{status} to {command}: {text}")
        self.command = command
        self.status = status
        self.text = text

    @property
    def code(self) -> str:
        """The response code, in upper case; empty if there is none."""
        return code_of(self.text)


class ServerBye(Exception):
    """The server ended the session and said why.

    Attributes:
        text: what it said.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class ProtocolViolation(Exception):
    """The stream ended, or holds what is no IMAP."""


class SessionDied(ConnectionLost):
    """The server says that the session's sign-in is not good any more: a fresh token may help."""


def code_of(text: str) -> str:
    """The response code in a server's answer, in upper case; empty if there is none."""
    found = _CODE.search(text)
    return found[1].upper() if found else ""


def server_text(error: object) -> str:
    """Return the text of an exception of imaplib or imapclient as the server sent it, without Python's notation."""

    def decoded(found: re.Match[str]) -> str:
        parts = re.findall(_BYTES, found[0], re.DOTALL)
        try:
            return " ".join(ast.literal_eval(part).decode("utf-8", "replace") for part in parts)
        except (ValueError, SyntaxError):
            return found[0]

    return _LITERALS.sub(decoded, str(error))


def session_error(text: str, where: str) -> MailroomError | None:
    """Return the error if an answer is about the session or the account, whatever the command was; else None.

    Args:
        text: what the server answered with NO or BAD.
        where: the mailbox and its server.
    """
    if is_throttled(text):
        return MailboxBusy(f"{where}: throttled: {printable(text)}", retry_after=suggested_backoff(text))
    if _NOT_CONNECTED.search(text):
        return AccessRefused(
            f"{where}: the sign-in works, but Exchange opens no mailbox: {printable(text)}; check that "
            f"{_setting(where, 'ADDRESS')} or {_setting(where, 'SHARED_MAILBOX')} names the right mailbox and that the "
            "account has the FullAccess permission; if both are right, Exchange throttles the account: poll less often"
        )
    if _DEAD.search(text):
        return SessionDied(f"{where}: the sign-in is not good any more: {printable(text)}")
    return None


def mapped_errors(error: Exception, where: str) -> MailroomError:
    """The error of `shared.errors` that a caller can act on.

    Args:
        error: what came from below; one of ours is given back as it is.
        where: the mailbox and its server, for the text.
    """
    if isinstance(error, MailroomError):
        return error
    if isinstance(error, ServerBye):
        return _ended(error.text, where)
    if isinstance(error, CommandRejected):
        return _answered(error, where)
    if isinstance(error, imaplib.IMAP4.readonly):
        return read_only(where, server_text(error))
    if isinstance(error, imaplib.IMAP4.abort):
        return _ended(server_text(error), where)
    if isinstance(error, imaplib.IMAP4.error):
        return _answered(CommandRejected("a command", "NO", server_text(error)), where)
    if isinstance(error, TimeoutError):
        return ConnectionLost(f"{where}: no answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsRefused(f"{where}: the certificate is not trusted: {printable(error.verify_message)}")
    if isinstance(error, OSError | EOFError | ProtocolViolation):
        return ConnectionLost(f"{where}: the connection broke: {printable(error) or type(error).__name__}")
    return ConnectionLost(f"{where}: the server's answer cannot be read ({type(error).__name__})")


def sign_in_error(text: str, where: str) -> MailroomError:
    """What a refusal to LOGIN or AUTHENTICATE means; the text must hold no secret any more."""
    if is_temporary_refusal(text):
        return MailboxBusy(f"{where}: not now: {printable(text)}", retry_after=suggested_backoff(text))
    return AuthenticationError(f"{where}: sign-in refused: {printable(text)}; look at the mailbox's sign-in settings")


def sign_in_ended(text: str, where: str) -> MailroomError:
    """Return the error for a BYE, or a lost connection, at the greeting or during the sign-in."""
    if is_temporary_refusal(text):
        return MailboxBusy(f"{where}: not now: {printable(text)}", retry_after=suggested_backoff(text))
    return _ended(text, where)


def read_only(where: str, text: str) -> RemovalRefused:
    """Return the error for a folder that may only be read although mail is to be removed from it."""
    return RemovalRefused(f"{where}: the folder may only be read ({printable(text)}); set AFTER=keep or grant rights")


def folder_error(error: Exception, folder: str, setting: str, where: str) -> MailroomError:
    """What a refusal to open or to find a folder means.

    Args:
        error: what came from below.
        folder: its name.
        setting: the setting that names it.
        where: the mailbox and its server.
    """
    plain = isinstance(error, imaplib.IMAP4.error) and not isinstance(error, imaplib.IMAP4.abort)
    if plain or isinstance(error, CommandRejected):
        text = error.text if isinstance(error, CommandRejected) else server_text(error)
        about_session = session_error(text, where)
        if about_session is not None:
            return about_session
        if is_temporary_refusal(text):
            return MailboxBusy(f"{where}: folder {folder!r} cannot be opened now: {printable(text)}")
        return FolderMissing(
            f"{where}: folder {folder!r} of {setting} is missing or may not be opened: {printable(text)}"
        )
    return mapped_errors(error, where)


def removal_error(error: CommandRejected, target: str | None, where: str) -> MailroomError:
    """What a refusal to delete or to move means."""
    if error.code in BUSY_CODES or _UNAVAILABLE.search(error.text) or session_error(error.text, where) is not None:
        return _answered(error, where)
    if target is not None and error.code in MISSING_CODES:
        return FolderMissing(
            f"{where}: folder {target!r} of AFTER is missing or may not be written: {printable(error)}"
        )
    return RemovalRefused(f"{where}: {printable(error)}")


def _answered(error: CommandRejected, where: str) -> MailroomError:
    about_session = session_error(error.text, where)
    if about_session is not None:
        return about_session
    if error.code in BUSY_CODES | {"OVERQUOTA"} or _UNAVAILABLE.search(error.text):
        return MailboxBusy(f"{where}: not now: {printable(error.text)}")
    return MailboxError(f"{where}: the server answered {printable(error)}")


def _setting(where: str, name: str) -> str:
    mailbox = re.match(r"mailbox (\S+) at ", where)
    return f"MAILBOXES__{mailbox[1]}__{name}" if mailbox else name


def _ended(text: str, where: str) -> MailroomError:
    if is_throttled(text):
        return MailboxBusy(f"{where}: throttled: {printable(text)}", retry_after=suggested_backoff(text))
    if _DEAD.search(text):
        return SessionDied(f"{where}: the server ended the session: {printable(text)}")
    if code_of(text) in BUSY_AT_THE_END:
        return MailboxBusy(f"{where}: the server ended the session: {printable(text)}")
    return ConnectionLost(f"{where}: the server ended the session: {printable(text)}")
