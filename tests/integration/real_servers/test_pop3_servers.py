"""The same scenarios on every POP3 server (rules 1.2 to 1.4, 8.2)."""

from __future__ import annotations

import pytest

from shared.config import Tls
from shared.mailboxes.pop3.mailbox import Pop3Mailbox
from tests.integration.pop3_support import content_of, no_token
from tests.integration.real_servers.conftest import MakeMailbox
from tests.integration.real_servers.mails import FEW, MAILS, all_without_mbox_fields
from tests.servers.accounts import Account
from tests.servers.mail import plain_mail
from tests.servers.mailutils import Mailutils


def test_1_1_drain_stores_the_bytes_that_another_client_reads(pop3_account: Account, make_mailbox: MakeMailbox) -> None:
    pop3_account.deliver(MAILS)
    expected = all_without_mbox_fields(pop3_account.read_pop3())
    mailbox = make_mailbox(pop3_account, "pop3")
    assert mailbox.poll().collected == len(MAILS)
    assert all_without_mbox_fields(mailbox.stored()) == expected
    assert pop3_account.read_pop3() == []
    assert mailbox.poll().collected == 0


def test_1_1_large_messages_one_after_the_other(pop3_account: Account, make_mailbox: MakeMailbox) -> None:
    """WildDuck writes the responses to later commands into a message that is still being sent."""
    mails = [plain_mail(n, size=200_000 + n) for n in range(5)]
    pop3_account.deliver(mails)
    expected = all_without_mbox_fields(pop3_account.read_pop3())
    mailbox = make_mailbox(pop3_account, "pop3")
    while mailbox.poll().collected:
        pass
    assert pop3_account.read_pop3() == []
    assert all_without_mbox_fields(mailbox.stored()) == expected
    assert len(mailbox.results()) == len(mails)


def test_1_1_header_fields_in_utf_8(pop3_account: Account, make_mailbox: MakeMailbox) -> None:
    """Courier sends them to clients that sent UTF8, and a substitute to others (RFC 6856 section 2)."""
    head = "From: a@example.net\r\nTo: support@example.com\r\nSubject: Grüße aus Köln\r\n\r\n".encode()
    mails = [head + b"text\r\n", head + b"more\r\n"]
    pop3_account.deliver(mails)
    mailbox = make_mailbox(pop3_account, "pop3")
    assert mailbox.poll().collected == 2
    assert all_without_mbox_fields(mailbox.stored()) == sorted(mails)


def test_1_3_keep_downloads_nothing_twice(pop3_account: Account, make_mailbox: MakeMailbox) -> None:
    pop3_account.deliver(FEW[:5])
    expected = all_without_mbox_fields(pop3_account.read_pop3())
    mailbox = make_mailbox(pop3_account, "pop3", AFTER="keep")
    assert mailbox.poll().collected == 5
    for _ in range(2):
        drained = mailbox.poll()
        assert (drained.collected, mailbox.downloads) == (0, 5)
    assert all_without_mbox_fields(mailbox.stored()) == expected
    pop3_account.deliver(FEW[5:])
    assert mailbox.poll().collected == 1
    assert mailbox.downloads == 6
    assert len(mailbox.results()) == 6
    assert len(pop3_account.read_pop3()) == 6


def test_1_3_a_message_whose_size_changes_gets_no_second_result(
    mailutils: Mailutils, make_mailbox: MakeMailbox
) -> None:
    """The first RETR adds a Status field. Another size under the same UIDL is another arrival
    (docs/explanation/receipts.md).
    """
    account = mailutils.account()
    account.deliver(FEW)
    mailbox = make_mailbox(account, "pop3", AFTER="keep")
    assert [mailbox.poll().collected for _ in range(3)] == [6, 6, 0]
    assert len(mailbox.results()) == 6


def test_1_3_keep_then_delete_removes_without_another_download(
    pop3_account: Account, make_mailbox: MakeMailbox
) -> None:
    pop3_account.deliver(FEW)
    expected = all_without_mbox_fields(pop3_account.read_pop3())
    mailbox = make_mailbox(pop3_account, "pop3", AFTER="keep")
    assert mailbox.poll().collected == 6
    mailbox.values["AFTER"] = "delete"
    drained = mailbox.poll()
    assert (drained.collected, drained.removed, mailbox.downloads) == (0, 6, 6)
    assert pop3_account.read_pop3() == []
    assert all_without_mbox_fields(mailbox.stored()) == expected
    assert len(mailbox.results()) == 6


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
def test_1_2_stls_and_tls(pop3_account: Account, make_mailbox: MakeMailbox, tls: Tls) -> None:
    port = pop3_account.pop3s if tls is Tls.IMPLICIT else pop3_account.pop3
    pop3_account.deliver(FEW)
    expected = all_without_mbox_fields(pop3_account.read_pop3())
    mailbox = make_mailbox(pop3_account, "pop3", TLS=tls.value, PORT=str(port))
    assert mailbox.poll().collected == 6
    assert all_without_mbox_fields(mailbox.stored()) == expected
    assert pop3_account.read_pop3() == []


def test_1_4_a_wrong_password_is_refused(pop3_account: Account, make_mailbox: MakeMailbox) -> None:
    pop3_account.deliver(FEW)
    mailbox = make_mailbox(pop3_account, "pop3", PASSWORD="wr0ng-secret")
    error = mailbox.failing_poll()
    assert "mailbox support" not in error, "the text is shown beside the name"
    assert "MAILBOXES__support__PASSWORD" in error
    assert "wr0ng-secret" not in error
    assert mailbox.app().health.get("support").refused
    assert mailbox.receipts() == []
    assert len(pop3_account.read_pop3()) == 6


@pytest.mark.parametrize("pop3_server", ["dovecot", "courier", "wildduck"], indirect=True)
def test_8_2_another_client_deletes_after_the_listing(pop3_account: Account, make_mailbox: MakeMailbox) -> None:
    """An IMAP client may delete what a POP3 session has listed: these servers do not lock the maildrop against IMAP."""
    pop3_account.deliver(FEW)
    expected = pop3_account.read_pop3()
    stored: dict[int, bytes] = {}
    with Pop3Mailbox(pop3_account.pop3_settings(), no_token) as session:
        listed = session.list("INBOX")
        with pop3_account.client("INBOX") as other:
            other.store("3", "+FLAGS.SILENT", "(\\Deleted)")
            other.expunge()
        pop3_account.deliver([plain_mail(99)])
        for batch in session.fetch([listed], max_bytes=1_000_000):
            contents = {fetched.listed.number: content_of(fetched) for fetched in batch}
            stored |= {number: content for number, content in contents.items() if content is not None}
        session.remove([message for message in listed if message.number in stored])
        session.commit()
    assert {1, 2, 4, 5, 6} <= set(stored)
    assert all(content == expected[number - 1] for number, content in stored.items())
    mailbox = make_mailbox(pop3_account, "pop3")
    assert mailbox.poll().collected == 1
    assert [b"Message-ID: <99@example.net>" in mail for mail in mailbox.stored()] == [True]
    assert pop3_account.read_pop3() == []
