"""Connection and sign-in: TLS, passwords, tokens, shared mailboxes, and secrecy."""

from __future__ import annotations

import base64
import logging
import ssl
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.config import SignIn, Tls
from shared.errors import AuthenticationError, ConnectFailed, ConnectionLost, MailboxBusy, MailboxError, TlsRefused
from shared.mailboxes.imap.mailbox import ImapMailbox
from tests.integration.imap_support import Peer, ScriptedImap, drain, fetch_all, no_token, settings_for
from tests.servers.certificates import Ca
from tests.servers.dovecot import MASTER, MASTER_PASSWORD, Dovecot
from tests.servers.mail import plain_mail

SECRET = "s3cret-password"


def server_context(ca: Ca, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ca.server().write(folder, "scripted"))
    return context


@pytest.mark.parametrize("tls", list(Tls))
def test_1_1_every_kind_of_tls(dovecot: Dovecot, tls: Tls) -> None:
    user = dovecot.user()
    user.deliver([plain_mail(1)])
    port = dovecot.imaps if tls is Tls.IMPLICIT else dovecot.imap
    with ImapMailbox(settings_for(dovecot, user, tls=tls, port=port), no_token) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX")) == [plain_mail(1)]


@pytest.mark.parametrize("tls", [Tls.IMPLICIT, Tls.STARTTLS])
def test_1_2_an_unknown_issuer_is_refused(dovecot: Dovecot, tls: Tls) -> None:
    port = dovecot.imaps if tls is Tls.IMPLICIT else dovecot.imap
    with pytest.raises(TlsRefused, match="localhost"):
        ImapMailbox(settings_for(dovecot, dovecot.user(), tls=tls, port=port, ca_file=None), no_token)


def test_1_2_without_offered_starttls_nothing_is_sent(dovecots: Callable[..., Dovecot]) -> None:
    plain = dovecots(tls=False)
    with pytest.raises(TlsRefused, match="does not offer STARTTLS"):
        ImapMailbox(settings_for(plain, plain.user(), tls=Tls.STARTTLS, port=plain.imap), no_token)
    with ScriptedImap() as server:
        with pytest.raises(TlsRefused):
            ImapMailbox(server.settings(tls=Tls.STARTTLS), no_token)
        assert not [c for c in server.commands if c.startswith((b"LOGIN", b"AUTHENTICATE"))]


def test_1_2_after_refused_starttls_nothing_is_sent() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command == b"STARTTLS":
            peer.send(tag + b" NO not today")
        return command == b"STARTTLS"

    with ScriptedImap(hook=hook, capabilities=b"IMAP4rev1 STARTTLS") as server:
        with pytest.raises(TlsRefused, match="STARTTLS refused"):
            ImapMailbox(server.settings(tls=Tls.STARTTLS), no_token)
        assert not [c for c in server.commands if c.startswith((b"LOGIN", b"AUTHENTICATE"))]


def test_1_2_bytes_before_the_handshake_are_discarded(ca: Ca, ca_file: Path, tmp_path: Path) -> None:
    """Plain text that an attacker appends to the STARTTLS response must not count as received under TLS."""

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command != b"STARTTLS":
            return False
        serial = int(tag[4:])
        forged = b"".join(b"%b%d OK forged\r\n" % (tag[:4], serial + n) for n in range(1, 9))
        peer.raw(
            b"* CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN FORGED\r\n"
            + tag
            + b" OK go\r\n* CAPABILITY IMAP4rev1 FORGED\r\n"
            + forged
        )
        assert server._context is not None
        peer.start_tls(server._context)
        return True

    context = server_context(ca, tmp_path)
    with ScriptedImap({1: b"x"}, hook, capabilities=b"IMAP4rev1 STARTTLS UIDPLUS", context=context) as server:
        with ImapMailbox(server.settings(tls=Tls.STARTTLS, ca_file=ca_file), no_token) as mailbox:
            assert mailbox._session.supports("UIDPLUS")
            assert not mailbox._session.supports("FORGED")
            assert drain(mailbox) == [b"x"]
        assert server.messages == {}


def test_1_2_a_session_that_is_signed_in_before_tls_is_refused() -> None:
    with ScriptedImap(greeting=b"* PREAUTH come in", capabilities=b"IMAP4rev1 STARTTLS") as server:
        with pytest.raises(TlsRefused):
            ImapMailbox(server.settings(tls=Tls.STARTTLS), no_token)
        with pytest.raises(AuthenticationError, match="PREAUTH"):
            ImapMailbox(server.settings(), no_token)


@pytest.mark.parametrize(
    ("greeting", "error"),
    [
        (b"* BYE [UNAVAILABLE] too many connections", MailboxBusy),
        (b"* BYE go away", MailboxError),
        (b"+OK POP3 ready", MailboxError),
        (b"220 mail ESMTP", MailboxError),
    ],
)
def test_invalid_greetings(greeting: bytes, error: type[Exception]) -> None:
    with ScriptedImap(greeting=greeting) as server, pytest.raises(error, match="localhost"):
        ImapMailbox(server.settings(), no_token)


def test_a_refused_connection(dovecot: Dovecot) -> None:
    with pytest.raises(ConnectFailed, match="localhost"):
        ImapMailbox(settings_for(dovecot, dovecot.user(), tls=Tls.NONE, port=1), no_token)


@pytest.mark.parametrize("password", ['a"b\\c d', "(){%*]", "žluťoučký", " "])
def test_1_4_passwords_are_sent_correctly(password: str) -> None:
    """The password is parsed as a server would, from LOGIN and from SASL PLAIN."""
    seen: list[str] = []

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command.startswith(b"LOGIN "):
            seen.append(command.decode("ascii"))
        elif command == b"AUTHENTICATE PLAIN":
            peer.raw(b"+ \r\n")
            seen.append(base64.b64decode(peer.stream.readline()).decode())
            peer.send(tag + b" OK in")
            return True
        return False

    with ScriptedImap(hook=hook, capabilities=b"IMAP4rev1 AUTH=PLAIN") as server:
        settings = server.settings(password=SecretStr(password), username='some\\one "x"')
        ImapMailbox(settings, no_token).close()
    if password.isascii():
        escaped = password.replace("\\", "\\\\").replace('"', '\\"')
        assert seen == [f'LOGIN "some\\\\one \\"x\\"" "{escaped}"']
    else:
        assert seen == [f'\0some\\one "x"\0{password}']


@pytest.mark.parametrize(
    ("password", "capabilities"),
    [("ü", b"IMAP4rev1"), ("x", b"IMAP4rev1 LOGINDISABLED"), ("x\r\nA1 NOOP", b"IMAP4rev1")],
)
def test_1_4_passwords_that_cannot_be_sent(password: str, capabilities: bytes) -> None:
    with ScriptedImap(capabilities=capabilities) as server:
        with pytest.raises(AuthenticationError, match="PASSWORD"):
            ImapMailbox(server.settings(password=SecretStr(password)), no_token)
        assert server.commands[-1] in (b"CAPABILITY", b"LOGOUT")


def test_1_9_a_wrong_password(dovecot: Dovecot) -> None:
    fix = "check MAILBOXES__support__USERNAME and MAILBOXES__support__PASSWORD$"
    with pytest.raises(AuthenticationError, match=rf"AUTHENTICATIONFAILED.*; {fix}") as caught:
        ImapMailbox(settings_for(dovecot, dovecot.user(), password=SecretStr("wrong-and-secret")), no_token)
    assert "wrong-and-secret" not in str(caught.value)


def test_1_9_a_refused_token_names_the_address_and_the_permission(dovecot: Dovecot) -> None:
    settings = settings_for(dovecot, dovecot.user(), sign_in=SignIn.CLIENT_SECRET, password=None)
    fix = r"check MAILBOXES__support__ADDRESS and the app's permission for the mailbox \(IMAP.AccessAsApp\)$"
    with pytest.raises(AuthenticationError, match=fix) as caught:
        ImapMailbox(settings, lambda: "a-secret-token")
    assert "a-secret-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"NO [UNAVAILABLE] Temporary authentication failure", MailboxBusy),
        (b"NO [LIMIT] too many sessions", MailboxBusy),
        (b"NO [ALERT] Too many simultaneous connections. (Failure)", MailboxBusy),
        (b"NO Server Unavailable. 15", MailboxBusy),
        (b"NO Temporary authentication failure (rate-limit)", MailboxBusy),
        (b"BAD [UNAVAILABLE] Service temporarily unavailable", MailboxBusy),
        (b"BAD Request is throttled. Suggested Backoff Time: 5000 milliseconds", MailboxBusy),
        (b"NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", AuthenticationError),
        (b"NO Too many bad auth attempts", AuthenticationError),
        (b"NO [ALERT] Your account is locked", AuthenticationError),
        (b"NO LOGIN failed.", AuthenticationError),
        (b"NO [EXPIRED] password", AuthenticationError),
        (b'BAD what is LOGIN "support" "s3cret-password"', AuthenticationError),
        (b"", ConnectionLost),
    ],
)
def test_answers_to_login(answer: bytes, error: type[Exception]) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not command.startswith(b"LOGIN"):
            return False
        if answer:
            peer.send(tag + b" " + answer)
        else:
            peer.hang_up()
        return True

    with ScriptedImap(hook=hook) as server, pytest.raises(error) as raised:
        ImapMailbox(server.settings(), no_token)
    assert raised.type is error
    assert "b'" not in str(raised.value)
    assert_unseen(raised.value)


@pytest.mark.parametrize(
    "text", [b"[ALERT] Too many simultaneous connections. (Failure)", b"Temporary authentication failure (rate-limit)"]
)
@pytest.mark.parametrize("when", ["greeting", "bye", "token"])
def test_1_9_a_temporary_refusal_is_not_about_the_credentials(text: bytes, when: str) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command == b"AUTHENTICATE XOAUTH2":
            peer.raw(b"+ \r\n")
            peer.stream.readline()
            peer.send(tag + b" NO " + text)
        elif command.startswith(b"LOGIN"):
            peer.send(b"* BYE " + text)
            peer.hang_up()
        else:
            return False
        return True

    greeting = b"* BYE " + text if when == "greeting" else b"* OK hello"
    sign_in = SignIn.CLIENT_SECRET if when == "token" else SignIn.PASSWORD
    with ScriptedImap(hook=hook, greeting=greeting) as server, pytest.raises(MailboxBusy) as raised:
        ImapMailbox(server.settings(sign_in=sign_in), lambda: f"t0ken-{SECRET}")
    assert text.decode()[:20] in str(raised.value)


def assert_unseen(error: BaseException, secret: str = SECRET) -> None:
    """Assert that no text of the error and no frame of its traceback contains the secret."""
    assert secret not in "".join(traceback.format_exception(error))
    chain: list[BaseException | None] = [error, error.__cause__, error.__context__]
    assert chain[1:] == [None, None]
    frame = error.__traceback__
    while frame is not None:
        if "shared" in frame.tb_frame.f_code.co_filename:
            assert secret not in repr(frame.tb_frame.f_locals)
        frame = frame.tb_next


def test_1_4_list_parser(dovecot: Dovecot) -> None:
    user = dovecot.user()
    user.deliver([plain_mail(1)])
    settings = settings_for(dovecot, user, sign_in=SignIn.CLIENT_SECRET, password=None)
    with ImapMailbox(settings, lambda: dovecot.token(user.address)) as mailbox:
        assert len(mailbox.list("INBOX")) == 1
    for token in (dovecot.token(user.address, lifetime=-60), dovecot.token(user.address, key=b"x" * 32), "rubbish"):
        with pytest.raises(AuthenticationError, match="sign-in refused") as raised:
            ImapMailbox(settings, lambda token=token: token)  # type: ignore[misc]  # bound early
        assert_unseen(raised.value, token)


def test_1_4_a_challenge_with_a_refusal_gets_an_empty_response() -> None:
    """XOAUTH2 requires an empty line; a server that waits for it would otherwise not send its refusal."""
    answers: list[bytes] = []

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command != b"AUTHENTICATE XOAUTH2":
            return False
        peer.raw(b"+ \r\n")
        answers.append(base64.b64decode(peer.stream.readline()))
        peer.send(b"+ " + base64.b64encode(b'{"status":"400","schemes":"bearer"}'))
        answers.append(peer.stream.readline())
        peer.send(tag + b" NO [AUTHENTICATIONFAILED] invalid token")
        return True

    with ScriptedImap(hook=hook) as server, pytest.raises(AuthenticationError, match="invalid token") as raised:
        ImapMailbox(server.settings(sign_in=SignIn.CLIENT_SECRET), lambda: f"t0ken-{SECRET}")
    assert answers == [b"user=support@example.com\x01auth=Bearer t0ken-s3cret-password\x01\x01", b"\r\n"]
    assert_unseen(raised.value)


def test_1_5_shared_mailboxes(dovecot: Dovecot) -> None:
    """With a password, a master user and a login template; with a token, `user=` is the shared mailbox's address."""
    shared = dovecot.user()
    shared.deliver([plain_mail(1)])
    by_password = settings_for(
        dovecot,
        shared,
        username=MASTER,
        password=SecretStr(MASTER_PASSWORD),
        shared_mailbox=shared.name,
        shared_login="{shared}*{username}",
    )
    with ImapMailbox(by_password, no_token) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX")) == [plain_mail(1)]
    by_token = settings_for(
        dovecot, shared, address="primary@example.com", sign_in=SignIn.CLIENT_SECRET, shared_mailbox=shared.address
    )
    with ImapMailbox(by_token, lambda: dovecot.token(shared.address)) as mailbox:
        assert len(mailbox.list("INBOX")) == 1


def test_secrets_are_not_logged(
    dovecot: Dovecot, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    user = dovecot.user()
    token = dovecot.token(user.address)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("imapclient").setLevel(logging.DEBUG)
        with ImapMailbox(settings_for(dovecot, user), no_token) as mailbox:
            mailbox.list("INBOX")
            kept = repr(vars(mailbox._session._client._imap))
        by_token = settings_for(dovecot, user, sign_in=SignIn.CLIENT_SECRET, password=None)
        with ImapMailbox(by_token, lambda: token) as mailbox:
            mailbox.list("INBOX")
            kept += repr(vars(mailbox._session._client._imap))
        with pytest.raises(AuthenticationError):
            ImapMailbox(settings_for(dovecot, user, password=SecretStr(user.password + "x")), no_token)
    seen = caplog.text + "".join(capfd.readouterr()) + kept
    encoded = base64.b64encode(f"user={user.address}\x01auth=Bearer {token}".encode())[:40].decode()
    assert user.password not in seen
    assert token not in seen
    assert encoded not in seen
