"""POP3 against a real Dovecot."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.config import After, MailboxSettings, SignIn, Tls
from shared.errors import AuthenticationError, MailboxError, RemovalRefused, TlsRefused
from shared.mailboxes.factory import open_mailbox
from shared.mailboxes.oauth.token_cache import TokenCache
from shared.mailboxes.pop3.mailbox import Pop3Mailbox
from tests.integration.pop3_support import LIMIT, content_of, drain, fetch_all, in_batches, no_token
from tests.servers.dovecot import MASTER, MASTER_PASSWORD, Dovecot, User
from tests.servers.mail import hostile_bodies, plain_mail
from tests.servers.settings import pop3_settings

WAYS = (Tls.IMPLICIT, Tls.STARTTLS, Tls.NONE)


def settings_for(dovecot: Dovecot, user: User, tls: Tls) -> MailboxSettings:
    port = dovecot.pop3s if tls is Tls.IMPLICIT else dovecot.pop3
    return pop3_settings(dovecot, user, tls=tls, port=port)


@pytest.fixture
def user(dovecot: Dovecot) -> User:
    return dovecot.user()


@pytest.mark.parametrize("tls", WAYS)
def test_1_1_hostile_messages_are_downloaded_byte_for_byte(dovecot: Dovecot, user: User, tls: Tls) -> None:
    mails = list(hostile_bodies().values())
    user.deliver(mails)
    with Pop3Mailbox(settings_for(dovecot, user, tls), no_token) as mailbox:
        listed = mailbox.list("INBOX")
        batches = mailbox.fetch(in_batches(listed), max_bytes=LIMIT)
        contents = [result.content for batch in batches for result in batch if result.content is not None]
        assert [content.sha256 for content in contents] == [hashlib.sha256(mail).hexdigest() for mail in mails]
        for content in contents:
            content.close()
        assert fetch_all(mailbox, listed, count=2) == mails


def test_an_empty_message_and_a_message_without_a_final_line_end(dovecot: Dovecot, user: User) -> None:
    """The server ends every line; its bytes are stored unchanged."""
    user.deliver([b"", b"Subject: x\r\n\r\nno end", b"Subject: y\r\n\r\nend\r\n"])
    with Pop3Mailbox(settings_for(dovecot, user, Tls.IMPLICIT), no_token) as mailbox:
        contents = fetch_all(mailbox, mailbox.list("INBOX"))
    assert contents == [b"\r\n", b"Subject: x\r\n\r\nno end\r\n", b"Subject: y\r\n\r\nend\r\n"]


def test_500_messages_are_downloaded_once_and_deleted(dovecot: Dovecot, user: User) -> None:
    mails = [plain_mail(n, size=500 + 37 * n) for n in range(500)]
    user.deliver(mails)
    with Pop3Mailbox(settings_for(dovecot, user, Tls.IMPLICIT), no_token) as mailbox:
        assert mailbox.commit_every == 500
        assert drain(mailbox, count=37) == mails
        assert not user.left()
        assert list(mailbox.list("INBOX")) == []


def test_8_2_numbers_are_read_again_after_commit(dovecot: Dovecot, user: User) -> None:
    mails = [plain_mail(n) for n in range(6)]
    user.deliver(mails)
    with Pop3Mailbox(settings_for(dovecot, user, Tls.NONE), no_token) as mailbox:
        first = mailbox.list("INBOX")
        mailbox.remove(first[:3])
        mailbox.commit()
        second = mailbox.list("INBOX")
        assert [m.number for m in second] == [1, 2, 3]
        assert [m.key for m in second] == [m.key for m in first[3:]]
        mailbox.remove(second[:1])
        mailbox.commit()
    assert user.left() == mails[4:]


def test_8_2_a_number_of_an_earlier_session_is_refused(dovecot: Dovecot, user: User) -> None:
    """Number 1 is another message in the later session."""
    mails = [plain_mail(n) for n in range(4)]
    user.deliver(mails)
    with Pop3Mailbox(settings_for(dovecot, user, Tls.NONE), no_token) as mailbox:
        old = mailbox.list("INBOX")
        mailbox.remove(old[:1])
        mailbox.commit()
        mailbox.list("INBOX")
        with pytest.raises(RemovalRefused):
            mailbox.remove(old[1:2])
    assert user.left() == mails[1:]


def test_8_1_a_session_that_breaks_before_quit_delivers_again(dovecot: Dovecot, user: User) -> None:
    mails = [plain_mail(n) for n in range(10)]
    user.deliver(mails)
    settings = settings_for(dovecot, user, Tls.IMPLICIT)
    dying = Pop3Mailbox(settings, no_token)
    listed = dying.list("INBOX")
    assert fetch_all(dying, listed) == mails
    dying.remove(listed)
    dying.close()
    with Pop3Mailbox(settings, no_token) as mailbox:
        again = mailbox.list("INBOX")
        assert [m.key for m in again] == [m.key for m in listed]
        assert drain(mailbox) == mails
    assert not user.left()


def test_1_3_keep_preserves_messages_and_keys(dovecot: Dovecot, user: User) -> None:
    mails = [plain_mail(n) for n in range(5)]
    user.deliver(mails)
    settings = pop3_settings(dovecot, user, after=After.KEEP)
    keys = []
    for _ in range(2):
        with Pop3Mailbox(settings, no_token) as mailbox:
            listed = mailbox.list("INBOX")
            keys.append([m.key for m in listed])
            assert fetch_all(mailbox, listed) == mails
            mailbox.commit()
            with pytest.raises(RemovalRefused):
                mailbox.remove(mailbox.list("INBOX"))
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 5
    assert user.left() == mails


def test_1_11_received_is_the_topmost_received_header(dovecot: Dovecot, user: User) -> None:
    user.deliver([plain_mail(n) for n in range(70)])
    with Pop3Mailbox(settings_for(dovecot, user, Tls.IMPLICIT), no_token) as mailbox:
        listed = mailbox.list("INBOX", received=True)
        assert len(listed) == 70
        assert listed[0].received == datetime(2026, 11, 1, 0, 0, tzinfo=UTC)
        assert listed[69].received == datetime(2026, 11, 14, 1, 9, tzinfo=UTC)
        assert mailbox.list("INBOX")[0].received is None


def test_1_11_check_folder_counts_and_changes_nothing(dovecot: Dovecot, user: User) -> None:
    mails = [plain_mail(n) for n in range(3)]
    user.deliver(mails)
    with Pop3Mailbox(settings_for(dovecot, user, Tls.IMPLICIT), no_token) as mailbox:
        rights = mailbox.check_folder("INBOX")
    assert (rights.folder, rights.messages, rights.problems) == ("INBOX", 3, ())
    assert user.left() == mails


def test_deletions_are_sent_while_later_messages_are_outstanding(dovecot: Dovecot, user: User) -> None:
    mails = [plain_mail(n, size=30_000) for n in range(300)]
    user.deliver(mails)
    with Pop3Mailbox(settings_for(dovecot, user, Tls.NONE), no_token) as mailbox:
        assert drain(mailbox, count=10) == mails
    assert not user.left()


def test_an_unfinished_fetch_leaves_a_usable_session(dovecot: Dovecot, user: User) -> None:
    mails = [plain_mail(n, size=50_000) for n in range(60)]
    user.deliver(mails)
    with Pop3Mailbox(settings_for(dovecot, user, Tls.IMPLICIT), no_token) as mailbox:
        listed = mailbox.list("INBOX")
        fetching = mailbox.fetch(in_batches(listed, 5), max_bytes=LIMIT)
        first = next(fetching)
        assert [content_of(result) for result in first] == mails[:5]
        fetching.close()
        assert fetch_all(mailbox, listed) == mails
        mailbox.remove(listed[:5])
        mailbox.commit()
    assert user.left() == mails[5:]


def test_1_4_wrong_password_is_refused_without_the_password(dovecot: Dovecot, user: User) -> None:
    settings = pop3_settings(dovecot, user, password=SecretStr("wr0ng-secret"))
    with pytest.raises(AuthenticationError) as caught:
        Pop3Mailbox(settings, no_token)
    text = str(caught.value)
    assert "MAILBOXES__support__PASSWORD" in text
    assert "AUTH" in text or "Authentication failed" in text
    assert "wr0ng-secret" not in text


def test_1_5_shared_mailbox_by_master_user(dovecot: Dovecot, user: User) -> None:
    mails = [plain_mail(1)]
    user.deliver(mails)
    settings = pop3_settings(
        dovecot,
        user,
        address=f"{MASTER}@example.com",
        username=MASTER,
        password=SecretStr(MASTER_PASSWORD),
        shared_mailbox=user.name,
        shared_login="{shared}*{username}",
    )
    with Pop3Mailbox(settings, no_token) as mailbox:
        assert drain(mailbox) == mails


def token_settings(dovecot: Dovecot, user: User) -> MailboxSettings:
    return pop3_settings(dovecot, user, sign_in=SignIn.CLIENT_SECRET, password=None)


def test_1_4_xoauth2_with_a_good_token(dovecot: Dovecot, user: User) -> None:
    mails = [plain_mail(n) for n in range(3)]
    user.deliver(mails)
    with Pop3Mailbox(token_settings(dovecot, user), lambda: dovecot.token(user.address)) as mailbox:
        assert drain(mailbox) == mails


@pytest.mark.parametrize("kind", ["expired", "of another key", "of another user", "no token"])
def test_1_4_xoauth2_refuses_a_bad_token_without_showing_it(dovecot: Dovecot, user: User, kind: str) -> None:
    tokens = {
        "expired": dovecot.token(user.address, lifetime=-60),
        "of another key": dovecot.token(user.address, key=b"x" * 32),
        "of another user": dovecot.token(dovecot.user().address),
        "no token": "nonsense",
    }
    with pytest.raises(AuthenticationError) as caught:
        Pop3Mailbox(token_settings(dovecot, user), lambda: tokens[kind])
    assert tokens[kind] not in str(caught.value)
    assert "POP.AccessAsApp" in str(caught.value)


def test_8_3_an_expired_token_is_renewed_at_the_next_session(dovecot: Dovecot, user: User) -> None:
    mails = [plain_mail(n) for n in range(4)]
    user.deliver(mails)
    good, dead = dovecot.token(user.address), dovecot.token(user.address, lifetime=-60)
    issued_tokens = iter([good, dead, good, good])
    with Pop3Mailbox(token_settings(dovecot, user), lambda: next(issued_tokens)) as mailbox:
        listed = mailbox.list("INBOX")
        mailbox.remove(listed[:2])
        mailbox.commit()
        assert drain(mailbox) == mails[2:]


def test_8_3_an_expired_token_is_tried_twice_at_most(dovecot: Dovecot, user: User) -> None:
    token_calls = itertools.count()

    def token() -> str:
        return dovecot.token(user.address, lifetime=-60 - next(token_calls))

    with pytest.raises(AuthenticationError):
        Pop3Mailbox(token_settings(dovecot, user), token)
    assert next(token_calls) == 3


def test_open_mailbox_opens_pop3(dovecot: Dovecot, user: User) -> None:
    user.deliver([plain_mail(1)])
    with open_mailbox(settings_for(dovecot, user, Tls.IMPLICIT), TokenCache()) as mailbox:
        assert mailbox.folders == ("INBOX",)
        assert len(mailbox.list("INBOX")) == 1


def test_a_missing_folder_is_reported(dovecot: Dovecot, user: User) -> None:
    with Pop3Mailbox(settings_for(dovecot, user, Tls.NONE), no_token) as mailbox, pytest.raises(MailboxError):
        mailbox.list("Archive")


def test_1_2_without_offered_stls_no_password_is_sent(dovecots: Callable[..., Dovecot]) -> None:
    plain = dovecots(tls=False)
    user = plain.user()
    with pytest.raises(TlsRefused, match="does not offer STLS"):
        Pop3Mailbox(settings_for(plain, user, Tls.STARTTLS), no_token)
    assert user.name not in plain.log()


def test_1_7_a_message_over_the_limit_is_oversized_and_others_are_delivered(
    dovecot: Dovecot, user: User, tmp_path: Path
) -> None:
    mails = [plain_mail(1), plain_mail(2, size=300_000), plain_mail(3)]
    user.deliver(mails)
    with Pop3Mailbox(settings_for(dovecot, user, Tls.NONE), no_token) as mailbox:
        (batch,) = mailbox.fetch([mailbox.list("INBOX")], max_bytes=100_000)
        assert [(result.oversized, result.content is None) for result in batch] == [
            (False, False),
            (True, True),
            (False, False),
        ]
        assert [content_of(result) for result in batch] == [mails[0], None, mails[2]]
