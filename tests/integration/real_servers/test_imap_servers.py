"""The same scenarios on every IMAP server (rules 1.2 to 1.4, 8.2)."""

from __future__ import annotations

import imaplib
import time

import pytest

from shared.config import After, Tls
from shared.errors import RemovalRefused
from shared.intake.placeholders import Placeholder, find_placeholder
from shared.mailboxes.imap.mailbox import ImapMailbox
from shared.mailboxes.spool import Content
from tests.integration.imap_support import LIMIT, content_of, drain, fetch_all, in_batches, no_token
from tests.integration.real_servers.conftest import IMAP_SERVERS, MakeMailbox, Server
from tests.integration.real_servers.mailbox_fixture import MailboxFixture
from tests.integration.real_servers.mails import FEW, MAILS, all_without_mbox_fields, without_mbox_fields
from tests.servers.accounts import Account, quoted, succeed
from tests.servers.courier import Courier
from tests.servers.cyrus import Cyrus
from tests.servers.mail import plain_mail
from tests.servers.mailutils import Mailutils
from tests.servers.wildduck import WildDuck


def test_1_1_drain_stores_the_bytes_that_another_client_reads(imap_account: Account, make_mailbox: MakeMailbox) -> None:
    imap_account.deliver(MAILS)
    expected = sorted(imap_account.read())
    mailbox = make_mailbox(imap_account, "imap")
    assert mailbox.poll().collected == len(MAILS)
    assert mailbox.stored() == expected
    assert imap_account.read() == []
    assert mailbox.poll().collected == 0


def test_1_3_keep_downloads_nothing_twice_and_changes_no_flag(imap_account: Account, make_mailbox: MakeMailbox) -> None:
    imap_account.deliver(FEW[:3], flags="(\\Flagged)")
    imap_account.deliver(FEW[3:5])
    _open_once(imap_account)
    mailbox = make_mailbox(imap_account, "imap", AFTER="keep")
    assert mailbox.poll().collected == 5
    flags = imap_account.flags()
    assert flags == [{"\\Flagged"}] * 3 + [set()] * 2
    for _ in range(2):
        drained = mailbox.poll()
        assert (drained.collected, mailbox.downloads) == (0, 5)
    imap_account.deliver(FEW[5:])
    assert mailbox.poll().collected == 1
    assert mailbox.downloads == 6
    assert imap_account.flags() == [*flags, set()]
    assert len(mailbox.results()) == 6
    assert all_without_mbox_fields(mailbox.stored()) == all_without_mbox_fields(imap_account.read())


def test_1_3_keep_in_a_folder_that_no_other_client_has_opened(
    imap_server: Server, imap_account: Account, make_mailbox: MakeMailbox
) -> None:
    folder = imap_server.folder("Invoices")
    imap_account.create(folder)
    imap_account.deliver(FEW[:4], folder=folder)
    mailbox = make_mailbox(imap_account, "imap", AFTER="keep", FOLDERS=folder)
    assert mailbox.poll().collected == 4
    if imap_server.name == "mailutils":
        mailbox.poll()  # it adds a header field to each message with its UID, so that each grows once
    quiet = mailbox.downloads
    for _ in range(2):
        assert mailbox.poll().collected == 0
    assert mailbox.downloads == quiet
    imap_account.deliver(FEW[4:], folder=folder)
    assert mailbox.poll().collected >= 2
    assert len(mailbox.results()) == 6


def test_1_3_keep_then_delete_removes_without_another_download(
    imap_account: Account, make_mailbox: MakeMailbox
) -> None:
    imap_account.deliver(FEW)
    _open_once(imap_account)
    mailbox = make_mailbox(imap_account, "imap", AFTER="keep")
    assert mailbox.poll().collected == 6
    mailbox.values["AFTER"] = "delete"
    drained = mailbox.poll()
    assert (drained.collected, drained.removed, mailbox.downloads) == (0, 6, 6)
    assert imap_account.read() == []
    assert len(mailbox.results()) == 6


def test_1_3_move_to_a_nested_folder_with_a_name_outside_ascii(
    imap_server: Server, imap_account: Account, make_mailbox: MakeMailbox
) -> None:
    target = imap_server.folder("Büro", "Ä & Ö")
    imap_account.create(target)
    imap_account.deliver(FEW)
    expected = imap_account.read()
    mailbox = make_mailbox(imap_account, "imap", AFTER=f"move:{target}")
    assert mailbox.poll().removed == 6
    assert imap_account.read() == []
    assert all_without_mbox_fields(imap_account.read(target)) == all_without_mbox_fields(expected)
    assert mailbox.stored() == sorted(expected)
    assert mailbox.poll().collected == 0


def test_1_3_keep_in_a_folder_that_an_mta_delivers_to_on_courier(courier: Courier, make_mailbox: MakeMailbox) -> None:
    """At EXAMINE Courier uses the time as UIDVALIDITY; at SELECT it stores a UIDVALIDITY."""
    account = courier.account()
    courier.receive(account, FEW[:4])
    mailbox = make_mailbox(account, "imap", AFTER="keep")
    assert mailbox.poll().collected == 4
    for _ in range(2):
        _wait_for_the_next_second()
        assert mailbox.poll().collected == 0
    assert mailbox.downloads == 4
    courier.receive(account, FEW[4:])
    assert mailbox.poll().collected == 2
    assert mailbox.poll().collected == 0
    assert mailbox.downloads == 6
    assert len(mailbox.receipts()) == len(mailbox.results()) == 6
    assert account.flags() == [set()] * 6


def test_1_3_keep_in_a_folder_that_an_mta_delivers_to_on_mailutils(
    mailutils: Mailutils, make_mailbox: MakeMailbox
) -> None:
    """At EXAMINE Mailutils uses the time as UIDVALIDITY; SELECT stores one, until an MTA delivers again.

    Storing a UID adds a header field, so the message grows once. Nothing is downloaded without a reason, and what is
    downloaded again gets no second result.
    """
    account = mailutils.account()
    mailbox = make_mailbox(account, "imap", AFTER="keep")
    for delivery in (FEW[:4], FEW[4:]):
        mailutils.receive(account, delivery)
        mailbox.poll()
        mailbox.poll()
        for _ in range(2):
            _wait_for_the_next_second()
            assert mailbox.poll().collected == 0
    assert len(mailbox.results()) == 6
    assert account.flags() == [set()] * 6


def test_1_3_a_reused_uid_hides_no_message(courier: Courier, make_mailbox: MakeMailbox) -> None:
    """Courier forgets the UIDs of an EXAMINE: after a deletion, the next new message gets the same UID."""
    account = courier.account()
    courier.receive(account, FEW[:4])
    mailbox = make_mailbox(account, "imap", AFTER="keep")
    assert mailbox.poll().collected == 4
    with account.pop3_client() as client:
        client.dele(4)
    courier.receive(account, FEW[4:5])
    assert mailbox.poll().collected == 1
    assert len(mailbox.results()) == 5


def test_1_3_move_that_is_offered_and_refused(wildduck: WildDuck, make_mailbox: MakeMailbox) -> None:
    """COPY, STORE and EXPUNGE do the same."""
    account = wildduck.account(move=False)
    account.create("Done")
    account.deliver(FEW)
    expected = account.read()
    mailbox = make_mailbox(account, "imap", AFTER="move:Done")
    assert mailbox.poll().removed == 6
    assert (account.read(), account.read("Done")) == ([], expected)
    assert mailbox.stored() == sorted(expected)


def test_1_2_starttls(imap_account: Account, make_mailbox: MakeMailbox) -> None:
    _drains_over(Tls.STARTTLS, imap_account.imap, imap_account, make_mailbox)


@pytest.mark.parametrize("imap_server", [name for name in IMAP_SERVERS if name != "hoodiecrow"], indirect=True)
def test_1_2_implicit_tls(imap_account: Account, make_mailbox: MakeMailbox) -> None:
    """Hoodiecrow is excluded, since it has one port per account."""
    _drains_over(Tls.IMPLICIT, imap_account.imaps, imap_account, make_mailbox)


def test_1_4_a_wrong_password_is_refused(imap_account: Account, make_mailbox: MakeMailbox) -> None:
    imap_account.deliver(FEW)
    mailbox = make_mailbox(imap_account, "imap", PASSWORD="wr0ng-secret")
    error = mailbox.failing_poll()
    assert "MAILBOXES__support__PASSWORD" in error
    assert "sign-in" in error
    assert "wr0ng-secret" not in error
    assert mailbox.app().health.get("support").refused
    assert mailbox.receipts() == []
    assert len(imap_account.read()) == 6


def test_8_2_another_client_deletes_while_messages_are_fetched_and_removed(imap_account: Account) -> None:
    """No message is lost or mixed up; the next drain downloads the rest."""
    new = plain_mail(99)
    imap_account.deliver(plain_mail(n) for n in range(40))
    expected = imap_account.read()
    expunged = [expected[2], expected[25], expected[35]]
    stored: list[bytes] = []
    with ImapMailbox(imap_account.imap_settings(), no_token) as mailbox, imap_account.client("INBOX") as other:
        listed = mailbox.list("INBOX")
        mails = {message.number: mail for message, mail in zip(listed, expected, strict=True)}
        for batch in mailbox.fetch(in_batches(listed, 10), max_bytes=LIMIT):
            if not stored:
                _expunge(other, [listed[n].number for n in (2, 25, 35)])
                imap_account.deliver([new])
            contents = [content_of(fetched) for fetched in batch]
            for fetched, content in zip(batch, contents, strict=True):
                assert content in (mails[fetched.listed.number], None) or _is_placeholder(content)
            stored += [content for content in contents if content is not None and not _is_placeholder(content)]
            mailbox.remove([fetched.listed for fetched in batch if fetched.content is not None])
        mailbox.commit()
    assert len(stored) >= 37
    remaining = imap_account.read()
    assert set(expected) - set(remaining) - set(expunged) <= set(stored)
    assert without_mbox_fields(remaining[-1]) == new
    with ImapMailbox(imap_account.imap_settings(), no_token) as mailbox:
        assert without_mbox_fields(drain(mailbox)[-1] or b"") == new
    assert imap_account.read() == []


def test_8_2_messages_deleted_before_the_download_are_gone(imap_account: Account) -> None:
    """Courier sends a placeholder text in place of the message."""
    imap_account.deliver(FEW)
    expected = imap_account.read()
    with ImapMailbox(imap_account.imap_settings(), no_token) as mailbox, imap_account.client("INBOX") as other:
        listed = mailbox.list("INBOX")
        _expunge(other, [listed[2].number])
        contents = fetch_all(mailbox, listed)
    assert contents[2] in (None, expected[2]) or _is_placeholder(contents[2])
    assert contents[:2] + contents[3:] == expected[:2] + expected[3:]


def test_1_11_an_account_with_all_rights_has_no_problems(
    imap_server: Server, imap_account: Account, make_mailbox: MakeMailbox
) -> None:
    target = imap_server.folder("Done")
    imap_account.create(target)
    imap_account.deliver(FEW)
    with ImapMailbox(imap_account.imap_settings(after=After.MOVE, move_to=target), no_token) as mailbox:
        rights = mailbox.check_folder("INBOX")
    assert (rights.messages, rights.problems) == (6, ())


def test_1_11_without_the_right_to_delete_on_cyrus(cyrus: Cyrus) -> None:
    account = cyrus.account()
    account.deliver(FEW)
    cyrus.set_rights(account, "lrs")
    _is_refused(account)


def test_1_11_without_the_right_to_delete_on_courier(courier: Courier) -> None:
    account = courier.account()
    account.deliver(FEW)
    with account.client() as client:
        # An owner keeps the rights to list and to administer.
        succeed(client.setacl("INBOX", "owner", "alrsw"))
    _is_refused(account)


def test_8_1_a_full_target_loses_nothing_on_cyrus(cyrus: Cyrus, make_mailbox: MakeMailbox) -> None:
    """The target folder has a separate quota, so MOVE and COPY are refused."""
    account = cyrus.account()
    account.create("INBOX/Done")
    with cyrus.admin() as client:
        succeed(client.setquota(quoted(f"user/{account.name}/Done"), "(STORAGE 1)"))
    account.deliver(FEW)
    _nothing_is_lost(account, make_mailbox(account, "imap", AFTER="move:INBOX/Done"), "INBOX/Done")


def test_8_1_a_full_account_loses_nothing_on_courier(courier: Courier, make_mailbox: MakeMailbox) -> None:
    """COPY needs space for a second copy until the first is expunged."""
    account = courier.account(quota=sum(map(len, FEW)) + 1_000)
    account.create("INBOX.Done")
    account.deliver(FEW)
    with account.client() as client:
        assert client.append("INBOX", "", "", FEW[0])[0] == "NO"
    _nothing_is_lost(account, make_mailbox(account, "imap", AFTER="move:INBOX.Done"), "INBOX.Done")


def _drains_over(tls: Tls, port: int, account: Account, make_mailbox: MakeMailbox) -> None:
    account.deliver(FEW)
    expected = sorted(account.read())
    mailbox = make_mailbox(account, "imap", TLS=tls.value, PORT=str(port))
    assert mailbox.poll().collected == 6
    assert mailbox.stored() == expected
    assert account.read() == []


def _nothing_is_lost(account: Account, mailbox: MailboxFixture, target: str) -> None:
    expected = account.read()
    for _ in range(2):
        error = mailbox.failing_poll()
        assert target in error
    assert mailbox.stored() == sorted(expected)
    assert len(mailbox.results()) == 6
    assert mailbox.downloads == 6
    assert account.read() == expected
    assert account.read(target) == []


def _is_refused(account: Account) -> None:
    """Assert that `check` names the missing right, and that a drain ends before the download."""
    with ImapMailbox(account.imap_settings(), no_token) as mailbox:
        (problem,) = mailbox.check_folder("INBOX").problems
        assert "no permission to delete" in problem
    with ImapMailbox(account.imap_settings(), no_token) as mailbox, pytest.raises(RemovalRefused):
        drain(mailbox)
    assert len(account.read()) == 6
    with ImapMailbox(account.imap_settings(after=After.KEEP), no_token) as mailbox:
        assert mailbox.check_folder("INBOX").problems == ()
        assert len(drain(mailbox)) == 6


def _open_once(account: Account) -> None:
    """Select the INBOX for writing: Mailutils then stores UIDs and flags in the header, so sizes stay the same."""
    with account.client("INBOX"):
        pass


def _wait_for_the_next_second() -> None:
    """Wait up to a second: Courier uses the time as UIDVALIDITY if it has stored none."""
    second = int(time.time())
    while int(time.time()) == second:
        time.sleep(0.01)


def _expunge(client: imaplib.IMAP4, uids: list[int]) -> None:
    succeed(client.uid("STORE", ",".join(map(str, uids)), "+FLAGS.SILENT", "(\\Deleted)"))
    succeed(client.expunge())


def _is_placeholder(content: bytes | None) -> bool:
    """Return whether the content is a server's placeholder for a deleted message."""
    kind = find_placeholder(Content.from_bytes(content)) if content is not None else None
    return kind is not None and kind[0] is Placeholder.GONE
