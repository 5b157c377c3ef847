"""What an IMAP server, imaplib, imapclient, TLS and the network raise or answer, as Mailroom's own errors.

Everything that talks IMAP raises foreign exceptions or the three of this module; `mapped` is the one place that makes
`shared.errors` of them. Response codes are those of RFC 5530 and RFC 3501 section 7.1.
"""

from __future__ import annotations

import imaplib
import re
import ssl

from shared.errors import (
    ConnectionLost,
    FolderMissing,
    MailboxBusy,
    MailboxFailed,
    MailroomError,
    RemovalRefused,
    SignInRefused,
    TlsRefused,
    quoted,
)

BUSY_CODES = frozenset({"UNAVAILABLE", "INUSE", "THROTTLED"})
"""Codes that say "later" of themselves. [SERVERBUG] and [LIMIT] are not among them: one bad message may cause them."""

BUSY_WHEN_SIGNING_IN = BUSY_CODES | {"LIMIT", "OVERQUOTA"}
"""Before a folder is open, a limit is one on connections or bandwidth, and passes."""

MISSING_CODES = frozenset({"NONEXISTENT", "TRYCREATE", "NOPERM"})

_CODE = re.compile(r"\[([A-Za-z][A-Za-z0-9-]*)[^\]]*\]")
_DEAD = re.compile(
    r"\[(?:AUTHENTICATIONFAILED|AUTHORIZATIONFAILED|EXPIRED)\b|AccessTokenExpired|"
    r"(?:token|session|credentials?)\b.{0,24}\bexpired|session invalidated",
    re.IGNORECASE,
)


class Answered(Exception):
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


class Bye(Exception):
    """The server ended the session and said why.

    Attributes:
        text: what it said.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Broken(Exception):
    """The stream ended, or holds what is no IMAP."""


class SessionDied(ConnectionLost):
    """The server says that the session's sign-in is not good any more: a fresh token may help."""


def code_of(text: str) -> str:
    """The response code in a server's answer, in upper case; empty if there is none."""
    found = _CODE.search(text)
    return found[1].upper() if found else ""


def mapped(error: Exception, where: str) -> MailroomError:
    """The error of `shared.errors` that a caller can act on.

    Args:
        error: what came from below; one of ours is given back as it is.
        where: the mailbox and its server, for the text.
    """
    if isinstance(error, MailroomError):
        return error
    if isinstance(error, Bye):
        return _ended(error.text, where)
    if isinstance(error, Answered):
        return _answered(error, where)
    if isinstance(error, imaplib.IMAP4.readonly):
        return RemovalRefused(f"{where}: the folder may only be read ({quoted(error)}); set AFTER=keep or grant rights")
    if isinstance(error, imaplib.IMAP4.abort):
        return _ended(str(error), where)
    if isinstance(error, imaplib.IMAP4.error):
        return _answered(Answered("a command", "NO", str(error)), where)
    if isinstance(error, TimeoutError):
        return ConnectionLost(f"{where}: no answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsRefused(f"{where}: the certificate is not trusted: {quoted(error.verify_message)}")
    if isinstance(error, OSError | EOFError | Broken):
        return ConnectionLost(f"{where}: the connection broke: {quoted(error) or type(error).__name__}")
    return ConnectionLost(f"{where}: the server's answer cannot be read ({type(error).__name__})")


def sign_in_error(text: str, where: str) -> MailroomError:
    """What a refusal to LOGIN or AUTHENTICATE means; the text must hold no secret any more."""
    if code_of(text) in BUSY_WHEN_SIGNING_IN:
        return MailboxBusy(f"{where}: not now: {quoted(text)}")
    return SignInRefused(f"{where}: sign-in refused: {quoted(text)}; look at the mailbox's sign-in settings")


def folder_error(error: Exception, folder: str, setting: str, where: str) -> MailroomError:
    """What a refusal to open or to find a folder means.

    Args:
        error: what came from below.
        folder: its name.
        setting: the setting that names it.
        where: the mailbox and its server.
    """
    plain = isinstance(error, imaplib.IMAP4.error) and not isinstance(error, imaplib.IMAP4.abort)
    if plain or isinstance(error, Answered):
        text = error.text if isinstance(error, Answered) else str(error)
        if code_of(text) in BUSY_CODES or _DEAD.search(text):
            return mapped(Answered("a command", "NO", text), where)
        return FolderMissing(f"{where}: folder {folder!r} of {setting} is missing or may not be opened: {quoted(text)}")
    return mapped(error, where)


def removal_error(error: Answered, target: str | None, where: str) -> MailroomError:
    """What a refusal to delete or to move means."""
    if error.code in BUSY_CODES or _DEAD.search(error.text):
        return _answered(error, where)
    if target is not None and error.code in MISSING_CODES:
        return FolderMissing(f"{where}: folder {target!r} of AFTER is missing or may not be written: {quoted(error)}")
    return RemovalRefused(f"{where}: {quoted(error)}")


def _answered(error: Answered, where: str) -> MailroomError:
    if _DEAD.search(error.text):
        return SessionDied(f"{where}: the sign-in is not good any more: {quoted(error.text)}")
    if error.code in BUSY_CODES | {"OVERQUOTA"}:
        return MailboxBusy(f"{where}: not now: {quoted(error.text)}")
    return MailboxFailed(f"{where}: the server answered {quoted(error)}")


def _ended(text: str, where: str) -> MailroomError:
    if _DEAD.search(text):
        return SessionDied(f"{where}: the server ended the session: {quoted(text)}")
    if code_of(text) in BUSY_WHEN_SIGNING_IN:
        return MailboxBusy(f"{where}: the server ended the session: {quoted(text)}")
    return ConnectionLost(f"{where}: the server ended the session: {quoted(text)}")
