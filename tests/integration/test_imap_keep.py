"""`keep` on servers with unreliable UIDs, and the commands of a session (rules 1.3 and 8.3)."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.config import After
from shared.errors import FolderMissing, MailboxBusy, RemovalRefused
from shared.mailboxes.base import ListedMessage
from shared.mailboxes.imap.mailbox import ImapMailbox
from shared.mailboxes.imap.session import VERSION
from tests.integration.imap_support import MAILS, Peer, ScriptedImap, fetch_all, no_token, opened, refuses, settings_for
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail

DATE = b"17-Jul-2026 02:44:25 +0000"


class Dated(ScriptedImap):
    """A server that reports sizes and dates, and another UIDVALIDITY at each EXAMINE, as Courier does.

    Attributes:
        dates: INTERNALDATE by UID.
        uidnext: the UIDNEXT that SELECT reports.
    """

    def __init__(self, hook: Callable[[Peer, bytes, bytes], bool] | None = None) -> None:
        self.dates: dict[int, bytes] = {}
        self.uidnext: int | None = None
        self.examined = 100
        super().__init__(MAILS, hook)

    def _select(self, command: bytes, peer: Peer, tag: bytes) -> None:
        if self.uidnext is not None:
            peer.send(b"* OK [UIDNEXT %d] next" % self.uidnext)
        super()._select(command, peer, tag)

    def _examine(self, command: bytes, peer: Peer, tag: bytes) -> None:
        self.examined += 1
        peer.send(b"* %d EXISTS" % len(self.messages), b"* OK [UIDVALIDITY %d] for now" % self.examined)
        peer.send(tag + b" OK [READ-ONLY] open")

    def _uid_fetch(self, command: bytes, *rest: object) -> list[bytes]:
        if b"INTERNALDATE" not in command:
            return super()._uid_fetch(command, *rest)
        numbers = {uid: number for number, uid in enumerate(sorted(self.messages), 1)}
        return [
            b'* %d FETCH (UID %d RFC822.SIZE %d INTERNALDATE "%b")'
            % (numbers[uid], uid, len(self.messages[uid]), self.dates.get(uid, DATE))
            for uid in self._uids(command)
        ]


def poll(server: ScriptedImap, above: str | None = None) -> tuple[list[int], str | None]:
    """Open a session, list messages above a watermark, and process all of them."""
    with opened(server, after=After.KEEP) as mailbox:
        numbers = [message.number for message in mailbox.list("INBOX", received=True, above=above)]
        return numbers, mailbox.watermark(numbers)


def test_8_3_a_folder_is_selected_and_not_examined() -> None:
    with Dated() as server:
        first, mark = poll(server)
        assert first == list(MAILS)
        assert mark is not None
        assert mark.startswith("7.10 ")
        assert poll(server, mark) == ([], None)
        with opened(server, after=After.KEEP) as mailbox:
            assert fetch_all(mailbox, mailbox.list("INBOX")) == list(MAILS.values())
            mailbox.commit()
        verbs = {command.split()[0] for command in server.commands}
        assert verbs == {b"CAPABILITY", b"LOGIN", b"SELECT", b"UID", b"LOGOUT"}
        assert not any(b"STORE" in command or b"BODY[]" in command for command in server.commands)


def test_8_3_select_changes_no_flag(dovecot: Dovecot) -> None:
    """The end of the session does not expunge messages that another client flagged as deleted."""
    user = dovecot.user()
    user.deliver([plain_mail(1)], flags="T")
    user.deliver([plain_mail(2)])
    with ImapMailbox(settings_for(dovecot, user, after=After.KEEP), no_token) as mailbox:
        assert len(fetch_all(mailbox, mailbox.list("INBOX"))) == 2
    assert sorted(path.name.partition(":")[2] for path in user.files()) == ["2,", "2,T"]


def test_8_3_a_read_only_folder_can_be_kept() -> None:
    with ScriptedImap(MAILS) as server:
        server.opened = b"[READ-ONLY]"
        assert poll(server)[0] == list(MAILS)
        with opened(server) as mailbox, pytest.raises(RemovalRefused, match="AFTER=keep"):
            mailbox.list("INBOX")


def test_8_3_examine_is_used_after_a_refused_select_only_with_keep() -> None:
    with Dated(refuses(b"NO read only", rb"^SELECT")) as server:
        assert poll(server)[0] == list(MAILS)
        with opened(server) as mailbox, pytest.raises(FolderMissing, match="read only"):
            mailbox.list("INBOX")
    with Dated(refuses(b"NO [UNAVAILABLE] later", rb"^SELECT")) as server:
        with opened(server, after=After.KEEP) as mailbox, pytest.raises(MailboxBusy):
            mailbox.list("INBOX")
        assert server.examined == 100
    with (
        Dated(refuses(b"NO no such folder", rb"^(SELECT|EXAMINE)")) as server,
        opened(server, after=After.KEEP) as mailbox,
        pytest.raises(FolderMissing),
    ):
        mailbox.list("INBOX")


@pytest.mark.parametrize("changed", ["size", "date"])
def test_8_3_a_reused_uid_is_not_hidden_by_the_watermark(changed: str) -> None:
    with Dated() as server:
        _, mark = poll(server)
        server.messages[11] = b"Subject: new\r\n\r\n"
        assert poll(server, mark)[0] == [11]
        if changed == "size":
            server.messages[10] = b"Subject: another under the same UID\r\n\r\n"
        else:
            server.dates[10] = b"18-Jul-2026 02:44:25 +0000"
        assert poll(server, mark)[0] == [*MAILS, 11]
        server.dates[10] = DATE
        server.messages[10] = MAILS[10]
        assert poll(server, mark)[0] == [11]


def test_8_3_the_same_time_in_another_zone_does_not_contradict() -> None:
    with Dated() as server:
        _, mark = poll(server)
        server.dates[10] = b"17-Jul-2026 04:44:25 +0200"
        assert poll(server, mark)[0] == []


def test_8_3_a_deleted_watermark_message_does_not_contradict() -> None:
    with Dated() as server:
        server.uidnext = 11
        _, mark = poll(server)
        del server.messages[10]
        assert poll(server, mark)[0] == []
        server.messages[11] = MAILS[1]
        server.uidnext = 12
        assert poll(server, mark)[0] == [11]


def test_8_3_reused_uids_are_detected_by_uidnext() -> None:
    with Dated() as server:
        server.uidnext = 11
        _, mark = poll(server)
        server.messages = {9: b"Subject: new\r\n\r\n"}
        server.uidnext = 10
        assert poll(server, mark)[0] == [9]


def test_8_3_another_uidvalidity_lists_everything() -> None:
    with Dated() as server:
        _, mark = poll(server)
        server.uidvalidity = b"* OK [UIDVALIDITY 8] new"
        numbers, mark = poll(server, mark)
        assert numbers == list(MAILS)
        assert str(mark).startswith("8.10 ")


def test_an_incomplete_listing_returns_no_watermark() -> None:
    """Otherwise an omitted message would be hidden forever."""

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"SIZE" not in command:
            return False
        peer.send(b"* 1 FETCH (UID 1 RFC822.SIZE 22)", b"* 3 FETCH (UID 3 RFC822.SIZE 22)")
        peer.send(tag + b" NO [SERVERBUG] UID 2 is broken")
        return True

    with ScriptedImap(MAILS, hook) as server:
        assert poll(server) == ([1, 3], None)
    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        mailbox.list("INBOX")
        assert mailbox.key_prefix is None


def test_8_2_a_listing_is_whole_if_it_has_as_many_messages_as_the_folder() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"SEARCH" in command:
            peer.send(b"* SEARCH 1 3", tag + b" OK")
        elif b"SIZE" in command:
            peer.send(b"* 1 FETCH (UID 1 RFC822.SIZE 22)", b"* 3 FETCH (UID 3 RFC822.SIZE 22)", tag + b" OK")
        else:
            return False
        return True

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        assert len(mailbox.list("INBOX")) < len(MAILS)
        assert mailbox.key_prefix is None
    for mails in (MAILS, {}):
        with ScriptedImap(mails) as server, opened(server) as mailbox:
            mailbox.list("INBOX")
            assert mailbox.key_prefix == "7."


@pytest.mark.parametrize("line", [b"* 2 FETCH (RFC822.SIZE 22)", b""])
def test_8_3_a_message_listed_without_a_uid_is_found_by_search(line: bytes) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"SIZE" not in command:
            return False
        listed = [b"* %d FETCH (UID %d RFC822.SIZE %d)" % (uid, uid, len(MAILS[uid])) for uid in MAILS if uid != 2]
        peer.send(*listed, *([line] if line else []), tag + b" OK")
        return True

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        listed = mailbox.list("INBOX")
        assert [message.number for message in listed] == list(MAILS)
        assert listed[1] == ListedMessage("7.2", 2, 0)
        assert fetch_all(mailbox, listed) == list(MAILS.values())


@pytest.mark.parametrize("answer", [b"* ID NIL\r\n%b OK done", b"%b NO never heard of you", b"%b BAD what?"])
def test_1_4_id_is_sent_if_it_is_offered(answer: bytes) -> None:
    """163.com refuses to open folders without it."""

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command.startswith(b"ID "):
            peer.send(answer % tag)
            return True
        if command.startswith((b"SELECT", b"STATUS")) and not any(c.startswith(b"ID ") for c in server.commands):
            peer.send(tag + b" NO SELECT Unsafe Login. Please contact the provider for help")
            return True
        return False

    with ScriptedImap(MAILS, hook, capabilities=b"IMAP4rev1 ID UIDPLUS") as server:
        with opened(server) as mailbox:
            assert len(mailbox.list("INBOX")) == len(MAILS)
        assert f'ID ("name" "Mailroom" "version" "{VERSION}")'.encode() in server.commands
    with ScriptedImap(MAILS) as server, opened(server) as mailbox:
        mailbox.list("INBOX")
        assert not any(command.startswith(b"ID") for command in server.commands)


def test_1_4_the_version_matches_the_project() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION


@pytest.mark.parametrize(
    ("rights", "may_delete"),
    [
        (b'"INBOX" "acdilrsw"', True),
        (b"INBOX lrswipkxtecda", True),
        (b'"INBOX" lrswite', True),
        (b'INBOX "lrsd"', True),
        (b"{5}\r\nINBOX {5}\r\nlrste", True),
        (b'{5}\r\nINBOX "lrsTE"', True),
        (b'"odd \\"name\\"" "lrste"', True),
        (b'"INBOX" "lrs"', False),
        (b'"INBOX" ""', False),
        (b"{5}\r\nINBOX {2}\r\nlr", False),
        (b"INBOX lrstd", False),
        (b"INBOX lrsxd", True),
        (b"INBOX lrsx", False),
    ],
)
def test_1_11_rights_in_every_notation(rights: bytes, may_delete: bool) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command.startswith(b"MYRIGHTS"):
            peer.send(b"* MYRIGHTS " + rights, tag + b" OK done")
            return True
        return False

    with ScriptedImap(MAILS, hook, capabilities=b"IMAP4rev1 UIDPLUS ACL") as server, opened(server) as mailbox:
        problems = mailbox.check_folder("INBOX").problems
        assert any("no permission to delete" in problem for problem in problems) is not may_delete
        assert mailbox.check_folder("INBOX").messages == len(MAILS)
