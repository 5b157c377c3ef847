"""Greetings and sign-in responses of scripted POP3 servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import SecretStr

from shared.config import SignIn
from shared.errors import (
    AuthenticationError,
    ConnectFailed,
    MailboxBusy,
    MailboxError,
    MailroomError,
)
from shared.mailboxes.pop3.mailbox import Pop3Mailbox
from tests.integration.pop3_support import SHORT, drain, fetch_all, scripted_mailbox
from tests.servers.mail import plain_mail
from tests.servers.scripted import Peer, Scripted, ScriptedPop3, answers
from tests.servers.settings import mailbox_settings

MAILS = [(f"key{n}", plain_mail(n)) for n in range(8)]
BODIES = [data for _, data in MAILS]


SIGN_IN_ANSWERS = [
    (b"-ERR [IN-USE] Do you have another POP session running?", MailboxBusy),
    (b"-ERR [LOGIN-DELAY] wait", MailboxBusy),
    (b"-ERR [SYS/TEMP] server is down", MailboxBusy),
    (b"-ERR [sys/temp] in lower case", MailboxBusy),
    (b"-ERR maildrop already locked", MailboxBusy),
    # UW ipop3d, hMailServer, qpopper, MDaemon, Courier, Exchange, Gmail, Dovecot
    (b"-ERR Can't get lock.  Mailbox in use", MailboxBusy),
    (b"-ERR Your mailbox is already locked", MailboxBusy),
    (b"-ERR [IN-USE] /var/spool/mail/.support.pop lock busy!  Is another session active? (11)", MailboxBusy),
    (b"-ERR Maildrop already locked", MailboxBusy),
    (b"-ERR Temporary problem, please try again later", MailboxBusy),
    (b"-ERR Your account is temporarily unavailable (+t bit set on home directory).", MailboxBusy),
    (b"-ERR Server Unavailable. 21", MailboxBusy),
    (b"-ERR [ALERT] Too many simultaneous connections. (Failure)", MailboxBusy),
    (b"-ERR Temporary authentication failure. [mail:2026-11-23 12:00:00]", MailboxBusy),
    (b"-ERR [SYS/PERM] mailbox is broken", MailboxError),
    (b"-ERR Your account is locked after too many failures, try again later", AuthenticationError),
    (b"-ERR Authentication failed.", AuthenticationError),
    (b"-ERR [SYS/PERM] Your account is not enabled for POP access, try again later", MailboxError),
    (b"-ERR [AUTH] invalid password", AuthenticationError),
    (b"-ERR [AUTH] maildrop already locked", AuthenticationError),
    (b"-ERR Logon failure: unknown user name or bad password.", AuthenticationError),
    (b"-ERR", AuthenticationError),
]


@pytest.mark.parametrize(("answer", "kind"), SIGN_IN_ANSWERS)
def test_1_9_responses_to_pass(answer: bytes, kind: type[MailroomError]) -> None:
    with ScriptedPop3(hook=answers(PASS=answer)) as server, pytest.raises(kind) as caught:
        scripted_mailbox(server)
    assert caught.type is kind


@pytest.mark.parametrize("command", ["USER", "PASS"])
def test_a_repeated_line_does_not_reveal_the_password(command: str) -> None:
    hook = answers(**{command: b"-ERR what is PASS s3cret-pw?"})
    with ScriptedPop3(hook=hook) as server, pytest.raises(AuthenticationError) as caught:
        scripted_mailbox(server)
    assert "s3cret-pw" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("command", ["USER", "PASS"])
def test_1_9_the_suggested_backoff_of_exchange_is_kept(command: str) -> None:
    hook = answers(**{command: b"-ERR Request is throttled. Suggested Backoff Time: 299999 milliseconds"})
    with ScriptedPop3(hook=hook) as server, pytest.raises(MailboxBusy) as caught:
        scripted_mailbox(server)
    assert caught.value.retry_after == pytest.approx(299.999)


def test_1_9_the_login_delay_is_reported() -> None:
    hook = answers(PASS=b"-ERR [LOGIN-DELAY] too soon")
    capabilities = [b"USER", b"LOGIN-DELAY 900"]
    with ScriptedPop3(hook=hook, capabilities=capabilities) as server, pytest.raises(MailboxBusy) as caught:
        scripted_mailbox(server)
    assert caught.value.retry_after == 900


@pytest.mark.parametrize(
    ("greeting", "kind"),
    [
        (b"-ERR [SYS/TEMP] come later", MailboxBusy),
        (b"-ERR Too many connections from your address, try later", MailboxBusy),
        (b"-ERR Server temporarily unavailable", MailboxBusy),
        (b"-ERR go away", MailboxError),
        (b"220 mx.example.com ESMTP", ConnectFailed),
        (b"* OK IMAP4rev1", ConnectFailed),
    ],
)
def test_greetings(greeting: bytes, kind: type[MailroomError]) -> None:
    with ScriptedPop3(greeting=greeting) as server, pytest.raises(kind) as caught:
        scripted_mailbox(server)
    assert caught.type is kind


def test_a_greeting_without_an_end_is_not_pop3() -> None:
    with Scripted(lambda peer: peer.raw(b"x" * 300_000)) as server, pytest.raises(ConnectFailed, match="no POP3"):
        scripted_mailbox(server)


def test_1_4_the_token_is_sent_on_a_second_line() -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        if command == b"AUTH XOAUTH2":
            peer.send(b"+ ")
            # user=support@example.com^Aauth=Bearer t0k^A^A
            assert peer.line() == b"dXNlcj1zdXBwb3J0QGV4YW1wbGUuY29tAWF1dGg9QmVhcmVyIHQwawEB"
            peer.send(b"+OK User successfully authenticated.")
            return True
        return False

    with ScriptedPop3(MAILS, hook) as server:
        mailbox = open_with_token(server, lambda: "t0k")
        assert drain(mailbox) == BODIES
        mailbox.close()


def test_1_4_a_refused_token_gets_an_empty_response_and_is_not_revealed() -> None:
    responses: list[bytes] = []

    def hook(peer: Peer, command: bytes) -> bool:
        if command != b"AUTH XOAUTH2":
            return False
        peer.send(b"+")
        token = peer.line()
        peer.send(b"+ eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiQmVhcmVyIn0=")
        responses.append(peer.line())
        peer.send(b"-ERR Authentication failure: " + token)
        return True

    with ScriptedPop3(MAILS, hook) as server, pytest.raises(AuthenticationError) as caught:
        open_with_token(server, lambda: "t0k")
    assert responses == [b""]
    assert "status 401" in str(caught.value)
    assert "dXNlcj1z" not in str(caught.value)


def open_with_token(server: Scripted, tokens: Callable[[], str]) -> Pop3Mailbox:
    settings = mailbox_settings(port=server.port, sign_in=SignIn.CLIENT_SECRET, password=None)
    return Pop3Mailbox(settings, tokens, timeouts=SHORT)


def test_sasl_plain_without_user() -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        if command == b"AUTH PLAIN":
            peer.send(b"+ ")
            assert peer.line() == b"AHN1cHBvcnRAZXhhbXBsZS5jb20AczNjcmV0LXB3"
            peer.send(b"+OK")
            return True
        return False

    with ScriptedPop3(MAILS, hook, capabilities=[b"SASL PLAIN", b"UIDL"]) as server:
        with scripted_mailbox(server) as mailbox:
            assert fetch_all(mailbox, mailbox.list("INBOX")) == BODIES
        assert b"USER support@example.com" not in server.commands


def test_a_password_with_a_line_break_is_not_sent() -> None:
    with ScriptedPop3() as server:
        with pytest.raises(AuthenticationError):
            scripted_mailbox(server, password=SecretStr("a\r\nDELE 1"))
        assert server.commands == [b"CAPA"]


WRAPPED = b"From: postmaster\r\nSubject: cannot be shown to this client\r\n\r\n"


class NeedsUtf8(ScriptedPop3):
    """A server that, like Courier, sends a substitute for messages with 8-bit headers unless the client sent UTF8.

    Args:
        valid: whether UTF8 is accepted, by whether the client has signed in.
        announced: the capabilities that CAPA lists, likewise.
    """

    def __init__(self, valid: dict[bool, bool], announced: dict[bool, tuple[bytes, ...]]) -> None:
        self.valid, self.announced = valid, announced
        self.signed_in = self.in_utf8 = False
        super().__init__(MAILS[:1], self._hook)

    def _hook(self, peer: Peer, command: bytes) -> bool:
        if command == b"UTF8":
            self.in_utf8 = self.in_utf8 or self.valid[self.signed_in]
            peer.send(b"+OK UTF8 enabled" if self.valid[self.signed_in] else b"-ERR Invalid command.")
        elif command == b"CAPA":
            peer.send(b"+OK", b"USER", b"UIDL", b"PIPELINING", *self.announced[self.signed_in], b".")
        elif command == b"RETR 1" and not self.in_utf8:
            peer.send(b"+OK")
            peer.body(WRAPPED)
        else:
            self.signed_in = self.signed_in or command.startswith(b"PASS")
            return False
        return True


BOTH: dict[bool, tuple[bytes, ...]] = {False: (b"UTF8 USER",), True: (b"UTF8 USER",)}


@pytest.mark.parametrize(
    ("valid", "announced", "responses"),
    [
        ({False: True, True: False}, BOTH, 1),
        ({False: True, True: False}, {False: (b"UTF8",), True: ()}, 1),
        ({False: False, True: True}, BOTH, 2),
        ({False: False, True: True}, {False: (), True: (b"utf8 user",)}, 1),
    ],
)
def test_1_1_utf8_is_sent_if_offered(
    valid: dict[bool, bool], announced: dict[bool, tuple[bytes, ...]], responses: int
) -> None:
    with NeedsUtf8(valid, announced) as server:
        with scripted_mailbox(server) as mailbox:
            assert drain(mailbox) == BODIES[:1]
        assert server.commands.count(b"UTF8") == responses
        assert server.messages == []


def test_1_1_a_server_that_refuses_utf8_is_drained() -> None:
    with NeedsUtf8({False: False, True: False}, BOTH) as server, scripted_mailbox(server) as mailbox:
        assert drain(mailbox) == [WRAPPED]


def test_1_1_utf8_is_not_sent_if_not_offered() -> None:
    with ScriptedPop3(MAILS) as server, scripted_mailbox(server):
        assert b"UTF8" not in server.commands
