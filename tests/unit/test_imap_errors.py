"""Every exception is mapped to the right error of `shared.errors`."""

from __future__ import annotations

import imaplib
import inspect
import socket
import ssl

import imapclient.exceptions
import pytest

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
)
from shared.mailboxes.imap import errors as imap_errors
from shared.mailboxes.imap.errors import (
    CommandRejected,
    ProtocolViolation,
    ServerBye,
    SessionExpired,
    code_of,
    folder_error,
    interrupted_sign_in_error,
    map_error,
    removal_error,
    server_text,
    sign_in_error,
)

WHERE = "mailbox support at mx.example:993"


def exception_classes() -> list[type[Exception]]:
    """Return every exception class of imaplib, imapclient, ssl and socket, and of the wire."""
    places = (imaplib.IMAP4, imapclient.exceptions, ssl, socket, imap_errors)
    classes = {
        member
        for module in places
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, Exception) and not issubclass(member, MailroomError)
    }
    more = (ConnectionResetError, BrokenPipeError, EOFError, ValueError, UnicodeDecodeError, IndexError, KeyError)
    return sorted(classes | set(more), key=lambda member: member.__name__)


def instance(kind: type[Exception]) -> Exception:
    if kind is CommandRejected:
        return CommandRejected("UID FETCH 1", "NO", "no")
    if kind is UnicodeDecodeError:
        return UnicodeDecodeError("ascii", b"\xff", 0, 1, "reason")
    error = kind("something")
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "expired"
    return error


@pytest.mark.parametrize("kind", exception_classes())
def test_every_class_is_mapped(kind: type[Exception]) -> None:
    for error in (
        map_error(instance(kind), WHERE),
        folder_error(instance(kind), "INBOX", "FOLDERS", WHERE),
    ):
        assert isinstance(error, MailboxError)
        assert str(error).startswith(WHERE)


def test_the_list_of_exception_classes_is_complete() -> None:
    assert {imaplib.IMAP4.abort, imapclient.exceptions.ProtocolError, ssl.SSLError, TimeoutError, ServerBye} <= set(
        exception_classes()
    )


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (imaplib.IMAP4.abort("socket error: EOF"), ConnectionLost),
        (imaplib.IMAP4.abort("[UNAVAILABLE] restart"), MailboxBusy),
        (imaplib.IMAP4.abort("Session invalidated - AccessTokenExpired"), SessionExpired),
        (imaplib.IMAP4.readonly("not writable"), RemovalRefused),
        (imaplib.IMAP4.error("NO [INUSE] sawing"), MailboxBusy),
        (imaplib.IMAP4.error("NO whatever"), MailboxError),
        (imapclient.exceptions.ProtocolError("what?"), MailboxError),
        (ServerBye("[UNAVAILABLE] shutting down"), MailboxBusy),
        (ServerBye("[ALERT] Too many simultaneous connections"), ConnectionLost),
        (ServerBye("[OVERQUOTA] bandwidth"), MailboxBusy),
        (ServerBye("Your token has expired"), SessionExpired),
        (ServerBye("[AUTHENTICATIONFAILED] revoked"), SessionExpired),
        (ServerBye("idle for too long"), ConnectionLost),
        (CommandRejected("UID FETCH 1", "NO", "[EXPIRED] over"), SessionExpired),
        (CommandRejected("UID FETCH 1", "NO", "[SERVERBUG] oops"), MailboxError),
        (CommandRejected("UID FETCH 1", "NO", "[THROTTLED] slowly"), MailboxBusy),
        (CommandRejected("UID FETCH 1", "BAD", "[LIMIT] too long"), MailboxError),
        (CommandRejected("UID FETCH 1", "BAD", "Server Unavailable. 15"), MailboxBusy),
        (
            CommandRejected("UID FETCH 1", "NO", "[OVERQUOTA] Account exceeded command or bandwidth limits."),
            MailboxBusy,
        ),
        (CommandRejected("UID FETCH 1", "NO", "[LIMIT] UID FETCH Rate limit hit."), MailboxBusy),
        (TimeoutError("timed out"), ConnectionLost),
        (ConnectionResetError("reset"), ConnectionLost),
        (ssl.SSLError("bad record"), ConnectionLost),
        (ProtocolViolation("no IMAP"), ConnectionLost),
        (ValueError("read of closed file"), ConnectionLost),
    ],
)
def test_errors_by_exception(error: Exception, becomes: type[MailroomError]) -> None:
    assert type(map_error(error, WHERE)) is becomes


def test_own_errors_are_returned_unchanged() -> None:
    error = TlsRefused("no")
    assert map_error(error, WHERE) is error
    assert folder_error(error, "INBOX", "FOLDERS", WHERE) is error


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("[AUTHENTICATIONFAILED] no", AuthenticationError),
        ("[AUTHORIZATIONFAILED] no", AuthenticationError),
        ("[EXPIRED] no", AuthenticationError),
        ("LOGIN failed.", AuthenticationError),
        ("[unavailable] later", MailboxBusy),
        ("[INUSE] later", MailboxBusy),
        ("[LIMIT] later", MailboxBusy),
    ],
)
def test_1_9_sign_in_errors(text: str, becomes: type[MailroomError]) -> None:
    assert type(sign_in_error(text, WHERE, "the settings")) is becomes


def test_folder_errors() -> None:
    def kind(error: Exception) -> type[MailroomError]:
        return type(folder_error(error, "Büro", "FOLDERS", WHERE))

    assert kind(imaplib.IMAP4.error("select failed: [NONEXISTENT] no")) is FolderMissing
    assert kind(imaplib.IMAP4.error("select failed: no such folder")) is FolderMissing
    assert kind(imaplib.IMAP4.error("select failed: [INUSE] later")) is MailboxBusy
    assert kind(imaplib.IMAP4.error("select failed: [EXPIRED] over")) is SessionExpired
    assert kind(imaplib.IMAP4.abort("EOF")) is ConnectionLost
    assert kind(imaplib.IMAP4.readonly("INBOX is not writable")) is RemovalRefused
    text = str(folder_error(CommandRejected("STATUS", "NO", "no"), "Büro", "FOLDERS", WHERE))
    assert "'Büro' of MAILBOXES__support__FOLDERS" in text


def test_removal_errors() -> None:
    def kind(text: str, target: str | None = None) -> type[MailroomError]:
        return type(removal_error(CommandRejected("UID MOVE 1", "NO", text), target, WHERE))

    assert kind("[TRYCREATE] no") is RemovalRefused
    assert kind("[TRYCREATE] no", "Archive") is FolderMissing
    assert kind("[OVERQUOTA] full", "Archive") is RemovalRefused
    assert kind("[UNAVAILABLE] later") is MailboxBusy
    assert kind("Server Unavailable. 15", "Archive") is MailboxBusy
    assert kind("[EXPIRED] over") is SessionExpired


def test_server_texts_are_made_printable_and_short() -> None:
    text = str(map_error(ServerBye("evil\r\n\x1b[31m" + "x" * 5_000), WHERE))
    assert "\x1b" not in text
    assert "\n" not in text
    assert len(text) < 400


def test_response_codes() -> None:
    assert code_of("NO [TryCreate] x") == "TRYCREATE"
    assert code_of("[COPYUID 1 2 3] x") == "COPYUID"
    assert code_of("nothing [ here ]") == ""


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("b'[UNAVAILABLE] Temporary failure'", "[UNAVAILABLE] Temporary failure"),
        ("LOGIN command error: BAD [b'[UNAVAILABLE] Service']", "LOGIN command error: BAD [UNAVAILABLE] Service"),
        ("select failed: [b'it\\'s', b\"so\"]", "select failed: it's so"),
        ("command: SELECT => b'caf\\xc3\\xa9 \\\\ \\xff'", "command: SELECT => café \\ \ufffd"),
        ("unexpected: bytearray(b'x')", "unexpected: x"),
        ("[ALERT] Bob's mailbox and club'b'", "[ALERT] Bob's mailbox and club'b'"),
        ("ends with b'", "ends with b'"),
    ],
)
def test_python_notation_of_bytes_is_removed(text: str, becomes: str) -> None:
    assert server_text(text) == becomes
    assert server_text(imaplib.IMAP4.error(text)) == becomes


def test_no_error_contains_python_notation() -> None:
    raw = imaplib.IMAP4.error(b"[NONEXISTENT] Unknown folder \xe9")
    for error in (
        map_error(raw, WHERE),
        map_error(imaplib.IMAP4.abort(b"going down"), WHERE),
        map_error(imaplib.IMAP4.readonly(b"INBOX"), WHERE),
        folder_error(raw, "INBOX", "FOLDERS", WHERE),
    ):
        assert "b'" not in str(error)
    assert "Unknown folder" in str(folder_error(raw, "INBOX", "FOLDERS", WHERE))


def test_throttling_is_busy_for_the_suggested_backoff() -> None:
    text = "Request is throttled. Suggested Backoff Time: 299961 milliseconds"
    for error in (
        map_error(CommandRejected("UID FETCH 1", "BAD", text), WHERE),
        map_error(ServerBye(text), WHERE),
        map_error(imaplib.IMAP4.error(f"command error: BAD [b'{text}']"), WHERE),
        folder_error(CommandRejected("SELECT", "NO", text), "INBOX", "FOLDERS", WHERE),
        removal_error(CommandRejected("UID STORE 1", "BAD", text), None, WHERE),
        removal_error(CommandRejected("UID MOVE 1", "NO", text), "Archive", WHERE),
        sign_in_error(text, WHERE, "the settings"),
        interrupted_sign_in_error(text, WHERE),
    ):
        assert isinstance(error, MailboxBusy)
        assert error.retry_after == pytest.approx(299.961)


def test_a_sign_in_without_a_mailbox_names_the_settings() -> None:
    text = "User is authenticated but not connected."
    for error in (
        map_error(CommandRejected("UID FETCH 1", "BAD", text), WHERE),
        map_error(imaplib.IMAP4.error(f"LIST command error: BAD [b'{text}']"), WHERE),
        folder_error(CommandRejected("SELECT", "BAD", text), "INBOX", "FOLDERS", WHERE),
        removal_error(CommandRejected("UID STORE 1", "BAD", text), None, WHERE),
    ):
        assert type(error) is AccessRefused
        assert "MAILBOXES__support__SHARED_MAILBOX" in str(error)
        assert "FullAccess" in str(error)
        assert "throttles" in str(error)


def test_a_folder_that_is_temporarily_refused_is_not_missing() -> None:
    for text in ("Server Unavailable. 15", "[SERVERBUG] Internal error occurred. Refer to server log", "[LIMIT] later"):
        assert type(folder_error(CommandRejected("SELECT", "NO", text), "INBOX", "FOLDERS", WHERE)) is MailboxBusy
