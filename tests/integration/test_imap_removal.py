"""Removal on a real server, with and without UIDPLUS and MOVE (rules 1.3 and 8.2), and the findings of `check`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.config import After
from shared.errors import FolderMissing, RemovalRefused
from shared.mailboxes.imap.mailbox import ImapMailbox
from tests.integration.imap_support import drain, fetch_all, no_token, settings_for
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail

BASE = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ ACL"
CAPABILITIES = {
    "all": "",
    "no MOVE": f"{BASE} UIDPLUS",
    "no UIDPLUS": f"{BASE} MOVE",
    "neither": BASE,
}
ACL = """
mail_plugins = acl
protocol imap {
  mail_plugins = imap_zlib zlib acl imap_acl
}
plugin {
  acl = vfile
}
"""


@pytest.fixture(params=CAPABILITIES)
def server(request: pytest.FixtureRequest, dovecots: Callable[..., Dovecot]) -> Dovecot:
    """A Dovecot that hides some of its capabilities."""
    capability = CAPABILITIES[request.param]
    return dovecots(imap_capability=capability) if capability else dovecots()


def flagged(server: Dovecot, user: object, uids: list[int]) -> None:
    """Flag messages as another client, without an expunge."""
    with ImapMailbox(settings_for(server, user), no_token) as other:  # type: ignore[arg-type]  # a User
        other.list("INBOX")
        other._session._client.add_flags(uids, [b"\\Deleted"])


def test_8_2_delete_keeps_messages_flagged_by_other_clients(server: Dovecot) -> None:
    user = server.user()
    mails = [plain_mail(n) for n in range(30)]
    user.deliver(mails)
    flagged(server, user, [5, 6, 25])
    with ImapMailbox(settings_for(server, user), no_token) as mailbox:
        listed = mailbox.list("INBOX")
        assert len(listed) == 30
        ours = [message for message in listed if message.number not in {5, 6, 25}]
        for start in range(0, len(ours), 10):
            mailbox.remove(ours[start : start + 10])
        mailbox.commit()
        assert [message.number for message in mailbox.list("INBOX")] == [5, 6, 25]
        assert mailbox._session.wire.search(b"DELETED") == {5, 6, 25}
    assert user.left() == [mails[4], mails[5], mails[24]]


def test_1_3_delete(server: Dovecot) -> None:
    user = server.user()
    mails = [plain_mail(n) for n in range(250)]
    user.deliver(mails)
    with ImapMailbox(settings_for(server, user), no_token) as mailbox:
        assert drain(mailbox) == mails
        mailbox.commit()
    assert user.left() == []


@pytest.mark.parametrize("target", ["Archive", "Büro/Ä & Ö"])
def test_1_3_move(server: Dovecot, target: str) -> None:
    user = server.user()
    mails = [plain_mail(n) for n in range(150)]
    user.deliver(mails)
    flagged(server, user, [2])
    with ImapMailbox(settings_for(server, user, after=After.MOVE, move_to=target), no_token) as mailbox:
        if target != "Archive":
            mailbox._session._client.create_folder(target)
        listed = [message for message in mailbox.list("INBOX") if message.number != 2]
        mailbox.remove(listed[:100])
        mailbox.remove(listed[100:])
        mailbox.commit()
        assert [message.number for message in mailbox.list("INBOX")] == [2]
        assert fetch_all(mailbox, mailbox.list(target)) == mails[:1] + mails[2:]


def test_1_3_keep(server: Dovecot) -> None:
    user = server.user()
    user.deliver([plain_mail(1)])
    with ImapMailbox(settings_for(server, user, after=After.KEEP), no_token) as mailbox:
        assert drain(mailbox) == [plain_mail(1)]
    assert user.left() == [plain_mail(1)]


def test_1_3_messages_are_not_marked_as_seen(server: Dovecot) -> None:
    """The folder is selected for writing, so a download could set the flag."""
    user = server.user()
    user.deliver([plain_mail(1)])
    with ImapMailbox(settings_for(server, user), no_token) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX")) == [plain_mail(1)]
    (file,) = user.files()
    assert "S" not in file.name.partition(":2,")[2]


def test_messages_left_flagged_by_a_crash_are_removed(server: Dovecot) -> None:
    """Messages flagged before a crash are listed like any others and removed without a download."""
    user = server.user()
    user.deliver(plain_mail(n) for n in range(5))
    flagged(server, user, [1, 2, 3])
    with ImapMailbox(settings_for(server, user), no_token) as mailbox:
        mailbox.remove(mailbox.list("INBOX")[:3])
        mailbox.commit()
        assert [message.number for message in mailbox.list("INBOX")] == [4, 5]


def test_removing_gone_messages(server: Dovecot) -> None:
    user = server.user()
    user.deliver(plain_mail(n) for n in range(5))
    for after in (After.DELETE, After.MOVE):
        settings = settings_for(server, user, after=after, move_to="Archive" if after is After.MOVE else None)
        with ImapMailbox(settings, no_token) as mailbox, ImapMailbox(settings, no_token) as other:
            listed = mailbox.list("INBOX")
            other.remove(other.list("INBOX")[:2])
            other.commit()
            mailbox.remove(listed[:3] if after is After.DELETE else listed)
            mailbox.commit()
        user.deliver(plain_mail(n) for n in range(5))
    # Of seven messages, the other client moved two and we moved five, none twice.
    assert len(user.files("Archive")) == 7


def test_1_3_a_missing_move_target_is_reported_at_once(server: Dovecot) -> None:
    user = server.user()
    user.deliver([plain_mail(1)])
    with ImapMailbox(settings_for(server, user, after=After.MOVE, move_to="Nowhere"), no_token) as mailbox:
        with pytest.raises(FolderMissing, match="'Nowhere' of MAILBOXES__support__AFTER"):
            mailbox.list("INBOX")
        rights = mailbox.check_folder("INBOX")
        assert rights.messages == 1
        assert "'Nowhere' of MAILBOXES__support__AFTER" in rights.problems[0]
    assert user.left() == [plain_mail(1)]


def test_1_11_rights(dovecots: Callable[..., Dovecot]) -> None:
    """The rights come from MYRIGHTS. A read-only folder is refused before anything is downloaded."""
    server = dovecots(extra=ACL)
    user = server.user()
    user.deliver([plain_mail(1), plain_mail(2)], flags="S")
    target = settings_for(server, user, after=After.MOVE, move_to="Archive")
    with ImapMailbox(target, no_token) as mailbox:
        assert mailbox._session.supports("ACL")
        assert mailbox.check_folder("INBOX").problems == ()
        assert mailbox.check_folder("INBOX").messages == 2
        (user.home / ".Archive").mkdir(exist_ok=True)
        (user.home / ".Archive" / "dovecot-acl").write_text("owner lr\n")
        (user.home / "dovecot-acl").write_text("owner lrs\n")
    with ImapMailbox(target, no_token) as mailbox:
        problems = mailbox.check_folder("INBOX").problems
        assert "no permission to delete" in problems[0]
        assert "right i" in problems[1]
    with ImapMailbox(settings_for(server, user, after=After.KEEP), no_token) as mailbox:
        assert mailbox.check_folder("INBOX").problems == ()
        assert len(drain(mailbox)) == 2
    with ImapMailbox(settings_for(server, user), no_token) as mailbox:
        with pytest.raises(RemovalRefused):
            drain(mailbox)
        with pytest.raises(FolderMissing):
            mailbox.check_folder("Nowhere")
    assert len(user.files()) == 2
    assert all(path.name.endswith(":2,S") for path in user.files())
