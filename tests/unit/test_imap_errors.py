"""Everything foreign becomes one of ours, and the right one."""

from __future__ import annotations

import imaplib
import inspect
import socket
import ssl

import imapclient.exceptions
import pytest

from shared.errors import (
    ConnectionLost,
    FolderMissing,
    MailboxBusy,
    MailboxFailed,
    MailroomError,
    RemovalRefused,
    SignInRefused,
    TlsRefused,
)
from shared.mailboxes.imap import errors as imap_errors
from shared.mailboxes.imap.errors import (
    Answered,
    Broken,
    Bye,
    SessionDied,
    code_of,
    folder_error,
    mapped,
    removal_error,
    sign_in_error,
)

WHERE = "mailbox support at mx.example:993"


def foreign() -> list[type[Exception]]:
    """Every exception class of imaplib, imapclient, ssl and socket, and those of the wire."""
    places = (imaplib.IMAP4, imapclient.exceptions, ssl, socket, imap_errors)
    found = {
        each
        for place in places
        for each in vars(place).values()
        if inspect.isclass(each) and issubclass(each, Exception) and not issubclass(each, MailroomError)
    }
    more = (ConnectionResetError, BrokenPipeError, EOFError, ValueError, UnicodeDecodeError, IndexError, KeyError)
    return sorted(found | set(more), key=lambda each: each.__name__)


def instance(kind: type[Exception]) -> Exception:
    if kind is Answered:
        return Answered("UID FETCH 1", "NO", "no")
    if kind is UnicodeDecodeError:
        return UnicodeDecodeError("ascii", b"\xff", 0, 1, "reason")
    error = kind("something")
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "expired"
    return error


@pytest.mark.parametrize("kind", foreign())
def test_every_class_is_mapped(kind: type[Exception]) -> None:
    for error in (
        mapped(instance(kind), WHERE),
        folder_error(instance(kind), "INBOX", "FOLDERS", WHERE),
    ):
        assert isinstance(error, MailboxFailed)
        assert str(error).startswith(WHERE)


def test_there_are_classes_to_map() -> None:
    assert {imaplib.IMAP4.abort, imapclient.exceptions.ProtocolError, ssl.SSLError, TimeoutError, Bye} <= set(foreign())


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (imaplib.IMAP4.abort("socket error: EOF"), ConnectionLost),
        (imaplib.IMAP4.abort("[UNAVAILABLE] restart"), MailboxBusy),
        (imaplib.IMAP4.abort("Session invalidated - AccessTokenExpired"), SessionDied),
        (imaplib.IMAP4.readonly("not writable"), RemovalRefused),
        (imaplib.IMAP4.error("NO [INUSE] sawing"), MailboxBusy),
        (imaplib.IMAP4.error("NO whatever"), MailboxFailed),
        (imapclient.exceptions.ProtocolError("what?"), MailboxFailed),
        (Bye("[UNAVAILABLE] shutting down"), MailboxBusy),
        (Bye("[ALERT] Too many simultaneous connections"), ConnectionLost),
        (Bye("[OVERQUOTA] bandwidth"), MailboxBusy),
        (Bye("Your token has expired"), SessionDied),
        (Bye("[AUTHENTICATIONFAILED] revoked"), SessionDied),
        (Bye("idle for too long"), ConnectionLost),
        (Answered("UID FETCH 1", "NO", "[EXPIRED] over"), SessionDied),
        (Answered("UID FETCH 1", "NO", "[SERVERBUG] oops"), MailboxFailed),
        (Answered("UID FETCH 1", "NO", "[THROTTLED] slowly"), MailboxBusy),
        (Answered("UID FETCH 1", "BAD", "[LIMIT] too long"), MailboxFailed),
        (TimeoutError("timed out"), ConnectionLost),
        (ConnectionResetError("reset"), ConnectionLost),
        (ssl.SSLError("bad record"), ConnectionLost),
        (Broken("no IMAP"), ConnectionLost),
        (ValueError("read of closed file"), ConnectionLost),
    ],
)
def test_what_becomes_what(error: Exception, becomes: type[MailroomError]) -> None:
    assert type(mapped(error, WHERE)) is becomes


def test_ours_stay_as_they_are() -> None:
    error = TlsRefused("no")
    assert mapped(error, WHERE) is error
    assert folder_error(error, "INBOX", "FOLDERS", WHERE) is error


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("[AUTHENTICATIONFAILED] no", SignInRefused),
        ("[AUTHORIZATIONFAILED] no", SignInRefused),
        ("[EXPIRED] no", SignInRefused),
        ("LOGIN failed.", SignInRefused),
        ("[unavailable] later", MailboxBusy),
        ("[INUSE] later", MailboxBusy),
        ("[LIMIT] later", MailboxBusy),
    ],
)
def test_1_9_sign_in(text: str, becomes: type[MailroomError]) -> None:
    assert type(sign_in_error(text, WHERE)) is becomes


def test_folders() -> None:
    def kind(error: Exception) -> type[MailroomError]:
        return type(folder_error(error, "Büro", "FOLDERS", WHERE))

    assert kind(imaplib.IMAP4.error("select failed: [NONEXISTENT] no")) is FolderMissing
    assert kind(imaplib.IMAP4.error("select failed: no such folder")) is FolderMissing
    assert kind(imaplib.IMAP4.error("select failed: [INUSE] later")) is MailboxBusy
    assert kind(imaplib.IMAP4.error("select failed: [EXPIRED] over")) is SessionDied
    assert kind(imaplib.IMAP4.abort("EOF")) is ConnectionLost
    assert kind(imaplib.IMAP4.readonly("INBOX is not writable")) is RemovalRefused
    assert "'Büro' of FOLDERS" in str(folder_error(Answered("STATUS", "NO", "no"), "Büro", "FOLDERS", WHERE))


def test_removals() -> None:
    def kind(text: str, target: str | None = None) -> type[MailroomError]:
        return type(removal_error(Answered("UID MOVE 1", "NO", text), target, WHERE))

    assert kind("[TRYCREATE] no") is RemovalRefused
    assert kind("[TRYCREATE] no", "Archive") is FolderMissing
    assert kind("[OVERQUOTA] full", "Archive") is RemovalRefused
    assert kind("[UNAVAILABLE] later") is MailboxBusy
    assert kind("[EXPIRED] over") is SessionDied


def test_what_a_server_says_is_made_printable_and_short() -> None:
    text = str(mapped(Bye("evil\r\n\x1b[31m" + "x" * 5_000), WHERE))
    assert "\x1b" not in text
    assert "\n" not in text
    assert len(text) < 400


def test_codes() -> None:
    assert code_of("NO [TryCreate] x") == "TRYCREATE"
    assert code_of("[COPYUID 1 2 3] x") == "COPYUID"
    assert code_of("nothing [ here ]") == ""
