r"""Removal through another folder: MOVE that is refused, `\Trash`, and deletion on Gmail (rules 1.3 and 8.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import pytest

from shared.config import After
from shared.errors import ConnectionLost, FolderMissing, MailboxBusy, RemovalRefused
from shared.mailboxes.imap.mailbox import ImapMailbox
from tests.integration.imap_support import MAILS, Hook, Peer, ScriptedImap, drain, no_token, opened, settings_for
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail

GMAIL = b"IMAP4rev1 UNSELECT SPECIAL-USE UIDPLUS MOVE X-GM-EXT-1"
TRASH = b'"[Gmail]/Trash"'


class Folders(ScriptedImap):
    """A server with several folders, COPY and MOVE. Like on Gmail, an EXPUNGE outside the trash may archive.

    Attributes:
        folders: the messages of all folders but the inbox, by quoted name: UID to bytes.
        special: attributes by quoted name, as LIST reports them.
        archived: messages that were expunged outside the trash.
        tells_copies: COPY and MOVE answer with COPYUID.
    """

    def __init__(self, hook: Hook | None = None, capabilities: bytes = GMAIL, *, tells_copies: bool = True) -> None:
        self.folders: dict[bytes, dict[int, bytes]] = {TRASH: {}, b'"Archive"': {}}
        self.special = {TRASH: rb"\HasNoChildren \Trash", b'"Archive"': rb"\HasNoChildren"}
        self.archived: list[bytes] = []
        self.tells_copies = tells_copies
        self.current = b'"INBOX"'
        self.next_uid = 501
        super().__init__(MAILS, hook, capabilities=capabilities)
        self.inbox = self.messages

    def _select(self, command: bytes, peer: Peer, tag: bytes) -> None:
        name = command.partition(b" ")[2]
        if name != b'"INBOX"' and name not in self.folders:
            peer.send(tag + b" NO [NONEXISTENT] no such folder")
            return
        self.current, self.deleted = name, set()
        self.messages = self.folders.get(name, self.inbox)
        super()._select(command, peer, tag)

    def _list(self, command: bytes, *_: object) -> list[bytes]:
        names = [b'* LIST (%b) "/" %b' % (flags, name) for name, flags in self.special.items()]
        return [rb'* LIST (\Noselect \Trash) "/" "[Gmail]"', b'* LIST () "/" {7}\r\nodd"one', *names]

    def copy(self, uids: Collection[int], name: bytes) -> bytes:
        """Copy messages of the selected folder; return the text of the response."""
        existing = [uid for uid in sorted(uids) if uid in self.messages]
        copies = range(self.next_uid, self.next_uid + len(existing))
        self.next_uid += len(existing)
        self.folders[name] |= {copy: self.messages[uid] for copy, uid in zip(copies, existing, strict=True)}
        if not existing or not self.tells_copies:
            return b"done"
        sets = [b",".join(b"%d" % uid for uid in some_uids) for some_uids in (existing, copies)]
        return b"[COPYUID 7 %b %b] done" % (sets[0], sets[1])

    def _uid_copy(self, command: bytes, peer: Peer, tag: bytes) -> None:
        name = command.split(b" ", 3)[3]
        peer.send(tag + b" OK " + self.copy(self._uids(command), name))

    def _uid_move(self, command: bytes, peer: Peer, tag: bytes) -> None:
        uids, name = self._uids(command), command.split(b" ", 3)[3]
        text = self.copy(uids, name)
        for uid in uids:
            del self.messages[uid]
        peer.send(tag + b" OK " + text)

    def _uid_expunge(self, command: bytes, *rest: object) -> list[bytes]:
        if self.current != TRASH:
            self.archived += [self.messages[uid] for uid in self._uids(command) if uid in self.deleted]
        return super()._uid_expunge(command, *rest)

    def _uid_fetch(self, command: bytes, *rest: object) -> list[bytes]:
        if b"X-GM-MSGID" not in command:
            return super()._uid_fetch(command, *rest)
        return [b"* 1 FETCH (X-GM-MSGID %d UID %d)" % (self.gmail_id(uid), uid) for uid in self._uids(command)]

    def _uid_search(self, command: bytes, *rest: object) -> list[bytes]:
        if b"X-GM-MSGID" not in command:
            return super()._uid_search(command, *rest)
        gmail_ids = {int(number) for number in re.findall(rb"X-GM-MSGID (\d+)", command)}
        assert command.count(b"OR ") == len(gmail_ids) - 1
        return [b"* SEARCH" + b"".join(b" %d" % uid for uid in self.messages if self.gmail_id(uid) in gmail_ids)]

    def gmail_id(self, uid: int) -> int:
        return 1_800_000_000_000_000_000 + hash(self.messages[uid]) % 1_000_000_000


def hook_for(pattern: bytes, answer: Callable[[bytes], bytes | None]) -> Hook:
    """Return a hook that responds to matching commands; None leaves them to the server."""

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        text = answer(command) if re.search(pattern, command) else None
        if text is not None:
            peer.send(tag + b" " + text)
        return text is not None

    return hook


@pytest.mark.parametrize("tells_copies", [True, False])
@pytest.mark.parametrize("capabilities", [GMAIL, GMAIL.replace(b"MOVE ", b""), GMAIL.replace(b"SPECIAL-USE", b"XLIST")])
def test_1_3_delete_on_gmail_removes_permanently(capabilities: bytes, tells_copies: bool) -> None:
    others = {400: b"Subject: deleted by another client\r\n\r\n"}
    with Folders(capabilities=capabilities, tells_copies=tells_copies or b"MOVE" not in capabilities) as server:
        server.folders[TRASH] |= others
        with opened(server) as mailbox:
            assert drain(mailbox, count=3) == list(MAILS.values())
            assert mailbox.list("INBOX") == []
            assert mailbox.check_folder("INBOX").notes == ()
        assert server.inbox == {}
        assert server.folders[TRASH] == others
        assert server.archived == [] or b"MOVE" not in capabilities


def test_1_3_the_session_stays_in_its_folder_after_a_commit() -> None:
    with Folders() as server, opened(server) as mailbox:
        listed = mailbox.list("INBOX")
        mailbox.remove(listed[:2])
        mailbox.commit()
        assert server.current == b'"INBOX"'
        mailbox.remove(listed[2:4])
        mailbox.commit()
        assert list(server.inbox) == list(range(5, 11))
        assert server.folders[TRASH] == {}


def test_1_3_check_reports_gmail_without_a_visible_trash() -> None:
    with Folders() as server:
        server.special[TRASH] = rb"\HasNoChildren"
        with opened(server) as mailbox:
            (note,) = mailbox.check_folder("INBOX").notes
            assert "MAILBOXES__support__AFTER=delete may only archive" in note
            assert "Show in IMAP" in note
            assert mailbox.check_folder("INBOX").problems == ()
            drain(mailbox)
        assert server.inbox == {}
        assert server.archived == list(MAILS.values())


def test_1_3_check_reports_gmail_without_uidplus() -> None:
    with Folders(capabilities=b"IMAP4rev1 X-GM-EXT-1 MOVE") as server, opened(server) as mailbox:
        assert "may only archive" in mailbox.check_folder("INBOX").notes[0]
        drain(mailbox)
        assert server.inbox == server.folders[TRASH] == {}


def test_1_3_messages_in_the_trash_itself_are_deleted() -> None:
    with Folders() as server:
        server.folders[TRASH] = {3: MAILS[3]}
        with opened(server, folders=("[Gmail]/Trash",)) as mailbox:
            assert drain(mailbox, "[Gmail]/Trash") == [MAILS[3]]
        assert server.folders[TRASH] == {}
        with opened(server, after=After.TRASH) as mailbox:
            assert "MAILBOXES__support__FOLDERS" in mailbox.check_folder("[Gmail]/Trash").problems[0]
            with pytest.raises(RemovalRefused, match="FOLDERS"):
                mailbox.list("[Gmail]/Trash")


def test_1_3_delete_on_other_servers_deletes_in_place() -> None:
    with Folders(capabilities=b"IMAP4rev1 UIDPLUS MOVE SPECIAL-USE") as server, opened(server) as mailbox:
        drain(mailbox)
        assert server.inbox == server.folders[TRASH] == {}
        assert not any(command.startswith((b"LIST", b"UID MOVE")) for command in server.commands)


def test_1_3_messages_that_stay_in_the_trash_are_reported() -> None:
    hook = hook_for(rb"^UID EXPUNGE", lambda _command: b"OK did it")
    with Folders(hook) as server, opened(server) as mailbox, pytest.raises(RemovalRefused, match="cannot be deleted"):
        drain(mailbox)


@pytest.mark.parametrize("point", [rb'^SELECT "\[Gmail\]/Trash"', rb"^UID STORE", rb"^UID EXPUNGE"])
def test_1_3_a_connection_that_ends_between_move_and_expunge(point: bytes) -> None:
    cut: list[bytes] = []

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not cut and re.search(point, command):
            cut.append(command)
            peer.hang_up()
            return True
        return False

    with Folders(hook) as server, opened(server) as mailbox:
        assert drain(mailbox) == list(MAILS.values())
        assert server.inbox == server.folders[TRASH] == {}
        assert server.connections == 2


@pytest.mark.parametrize("capabilities", [b"IMAP4rev1 UIDPLUS MOVE", b"IMAP4rev1 UIDPLUS", b"IMAP4rev1", GMAIL])
def test_1_3_trash_moves_to_the_trash(capabilities: bytes) -> None:
    with Folders(capabilities=capabilities) as server, opened(server, after=After.TRASH) as mailbox:
        assert drain(mailbox) == list(MAILS.values())
        assert server.inbox == {}
        assert list(server.folders[TRASH].values()) == list(MAILS.values())
        assert mailbox.check_folder("INBOX").problems == ()


def test_1_3_a_missing_trash_folder_names_the_setting() -> None:
    with Folders() as server:
        server.special.clear()
        with opened(server, after=After.TRASH) as mailbox:
            with pytest.raises(FolderMissing, match=r"MAILBOXES__support__AFTER=move:FOLDER"):
                mailbox.list("INBOX")
            assert "MAILBOXES__support__AFTER=trash" in mailbox.check_folder("INBOX").problems[0]
        assert server.inbox == MAILS


def test_1_3_trash_on_a_real_server(dovecot: Dovecot) -> None:
    user = dovecot.user()
    user.deliver([plain_mail(n) for n in range(5)])
    with ImapMailbox(settings_for(dovecot, user, after=After.TRASH), no_token) as mailbox:
        assert mailbox.check_folder("INBOX").problems == ()
        assert len(drain(mailbox)) == 5
        assert mailbox.list("INBOX") == []
    with ImapMailbox(settings_for(dovecot, user, after=After.KEEP), no_token) as mailbox:
        assert drain(mailbox, "Gelöschte Elemente") == [plain_mail(n) for n in range(5)]


@pytest.mark.parametrize("answer", [b"NO [CANNOT] not here", b"BAD unknown command", b"NO MOVE failed"])
@pytest.mark.parametrize("uidplus", [b" UIDPLUS", b""])
def test_8_2_a_refused_move_falls_back_to_copy(answer: bytes, uidplus: bytes) -> None:
    hook = hook_for(rb"^UID MOVE", lambda _command: answer)
    with Folders(hook, b"IMAP4rev1 MOVE" + uidplus) as server:
        with opened(server, after=After.MOVE, move_to="Archive") as mailbox:
            assert drain(mailbox, count=3) == list(MAILS.values())
        assert server.inbox == {}
        assert list(server.folders[b'"Archive"'].values()) == list(MAILS.values())
        assert sum(command.startswith(b"UID MOVE") for command in server.commands) == 1


@pytest.mark.parametrize("removed", [0, 2, 4])
@pytest.mark.parametrize("again", [True, False])
def test_8_2_a_partial_move_copies_no_message_twice(removed: int, again: bool) -> None:
    """The server copies four messages, reports them, removes some of them from the folder, and then refuses."""
    first: list[bytes] = []

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not command.startswith(b"UID MOVE") or (first and not again):
            return False
        if not first:
            text = server.copy([1, 2, 3, 4], b'"Archive"')
            peer.send(b"* OK " + text)
            for uid in range(1, removed + 1):
                del server.messages[uid]
                peer.send(b"* 1 EXPUNGE")
        first.append(command)
        peer.send(tag + b" NO it broke off")
        return True

    with Folders(hook, b"IMAP4rev1 UIDPLUS MOVE") as server:
        with opened(server, after=After.MOVE, move_to="Archive") as mailbox:
            drain(mailbox)
        assert server.inbox == {}
        assert sorted(server.folders[b'"Archive"'].values()) == sorted(MAILS.values())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"NO [TRYCREATE] no such folder", FolderMissing),
        (b"NO [OVERQUOTA] full", RemovalRefused),
        (b"NO [UNAVAILABLE] later", MailboxBusy),
        (b"NO Request is throttled. Suggested Backoff Time: 1000 milliseconds", MailboxBusy),
        (b"NO [EXPIRED] token", ConnectionLost),
    ],
)
def test_8_2_a_refusal_that_applies_to_copy_too_is_raised(answer: bytes, error: type[Exception]) -> None:
    with Folders(hook_for(rb"^UID MOVE", lambda _command: answer), b"IMAP4rev1 UIDPLUS MOVE") as server:
        with opened(server, after=After.MOVE, move_to="Archive") as mailbox, pytest.raises(error):
            drain(mailbox)
        assert not any(command.startswith(b"UID COPY") for command in server.commands)
        assert server.inbox == MAILS
