"""What no well-behaved server does: replies out of order, data between everything, endings in the middle, refusals."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from shared.errors import (
    ConnectionLost,
    MailboxBusy,
    MailboxFailed,
    ServiceUnavailable,
)
from shared.mailboxes import imap_fetch
from shared.mailboxes.imap import RECOVERIES
from shared.mailboxes.spool import Budget, Spool
from tests.integration.imap_support import (
    LIMIT,
    MAILS,
    Peer,
    ScriptedImap,
    drain,
    fetch_all,
    in_batches,
    is_fetch,
    opened,
    refuses,
)


def test_completions_out_of_order() -> None:
    waiting: list[tuple[bytes, bytes]] = []

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not is_fetch(command):
            return False
        waiting.append((tag, command))
        if len(waiting) == 2:
            # Data in one heap, backwards, and the answers the wrong way round.
            for uid in (4, 3, 2, 1):
                peer.send(server.body(uid, uid))
            peer.send(waiting[1][0] + b" OK second", waiting[0][0] + b" OK first")
            waiting.clear()
        return True

    with ScriptedImap({uid: MAILS[uid] for uid in range(1, 5)}, hook) as server, opened(server) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX"), count=2) == [MAILS[uid] for uid in range(1, 5)]


def test_data_that_comes_after_its_own_completion() -> None:
    """A server that merges two commands may give the first one's data with the second's."""
    waiting: list[bytes] = []

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command) and len(waiting) < 2:
            waiting.append(tag)
            if len(waiting) == 2:
                peer.send(waiting[0] + b" OK early", *(server.body(u, u) for u in (1, 2, 3, 4)), tag + b" OK late")
            return True
        return False

    with ScriptedImap({uid: MAILS[uid] for uid in range(1, 5)}, hook) as server, opened(server) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX"), count=2) == [MAILS[uid] for uid in range(1, 5)]


def test_unsolicited_data_everywhere() -> None:
    noise = (
        b"* 23 EXISTS",
        b"* 4 EXPUNGE",
        b"* 1 FETCH (FLAGS (\\Seen) UID 1)",
        b"* 2 FETCH (UID 2 FLAGS (\\Deleted $Label[1]))",
        b"* OK [ALERT] be careful (with {3} braces",
        b"* FLAGS (\\Seen)",
        b"* 0 RECENT",
        b"* VANISHED 1",
        b'* LIST () "/" {3}\r\na b',
        b"* NO a warning",
    )

    # The odd messages carry one more literal behind their body: `{2}` counts the `) ` that follows it.
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not is_fetch(command):
            if command.startswith(b"UID"):
                peer.send(*noise)
            return False
        for uid in server._uids(command):
            data = MAILS[uid]
            peer.send(*noise, b"* 1 FETCH (FLAGS (\\Seen) BODY[] {%d}" % len(data))
            peer.raw(data)
            peer.send(b' X-LABELS ("a \\"b" {2}', b"))) UID %d)" % uid if uid % 2 else b"xy) UID %d)" % uid)
        peer.send(*noise, tag + b" OK done")
        return True

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        assert drain(mailbox, count=3) == list(MAILS.values())
        assert server.messages == {}


def test_quoted_and_absent_bodies() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not is_fetch(command):
            return False
        peer.send(
            b'* 1 FETCH (UID 1 BODY[] "From: \\"A\\" <a@b.example>  x\\\\y (z")',
            b"* 2 FETCH (BODY[] NIL UID 2)",
            b'* 3 FETCH (UID 3 BODY[] "")',
            b"* 4 FETCH (UID 4 BODY[] {0}",
            b")",
            tag + b" OK done",
        )
        return True

    with ScriptedImap({1: b"x", 2: b"x", 3: b"x", 4: b""}, hook) as server, opened(server) as mailbox:
        (batch,) = mailbox.fetch([mailbox.list("INBOX")], max_bytes=LIMIT)
        assert batch[0].content is not None
        assert batch[0].content.data == b'From: "A" <a@b.example>  x\\y (z'
        # A server that says of a message that it has bytes, and gives none, has not given it.
        assert [one.content for one in batch[1:3]] == [None, None]
        assert all(one.refused and "gave nothing" in one.refused for one in batch[1:3])
        assert batch[3].content is not None
        assert batch[3].content.size == 0


def test_1_8_one_bad_message_in_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command) and 5 in server._uids(command):
            for uid in server._uids(command):
                if uid < 5:
                    peer.send(server.body(uid, uid))
            peer.send(tag + b" NO [SERVERBUG] Internal error occurred")
            return True
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        batches = list(mailbox.fetch(in_batches(mailbox.list("INBOX")), max_bytes=LIMIT))
        got = {one.listed.number: one for batch in batches for one in batch}
        assert [uid for uid, one in got.items() if one.content is None] == [5]
        assert got[5].refused is not None
        assert "SERVERBUG" in got[5].refused
        assert "mailbox support" in caplog.text
        assert "UID 5 of folder 'INBOX'" in caplog.text
        assert mailbox.list("INBOX")[4].number == 5


def test_1_8_a_message_that_breaks_the_connection_each_time() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command) and 5 in server._uids(command):
            peer.raw(b"* 5 FETCH (UID 5 BODY[] {500}\r\nSubject")
            peer.hang_up()
            return True
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        batches = list(mailbox.fetch(in_batches(mailbox.list("INBOX"), 4), max_bytes=LIMIT))
        got = {one.listed.number: one for batch in batches for one in batch}
        assert list(got) == list(MAILS)
        assert [uid for uid, one in got.items() if one.content is None] == [5]
        assert got[5].refused is not None
        assert "broke each time" in got[5].refused
        assert server.connections == 4


@pytest.mark.parametrize("ending", [b"", b"* BYE going down\r\n"])
def test_8_3_a_connection_that_ends_in_the_middle_of_a_message(ending: bytes) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command):
            peer.raw(ending or b"* 1 FETCH (UID 1 BODY[] {500}\r\nSubject: cut")
            peer.hang_up()
            return True
        return False

    with ScriptedImap({1: MAILS[1], 2: MAILS[2], 3: MAILS[3]}, hook) as server, opened(server) as mailbox:
        fetching = mailbox.fetch([mailbox.list("INBOX")], max_bytes=LIMIT)
        with pytest.raises(ConnectionLost, match="support at localhost"):
            list(fetching)
        assert server.connections == 1 + RECOVERIES
        assert len(server.messages) == 3


def test_8_3_a_connection_that_ends_once_is_made_again() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command) and server.connections == 1 and 5 in server._uids(command):
            peer.hang_up()
            return True
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        assert drain(mailbox, count=3) == list(MAILS.values())
        assert server.connections == 2
        assert server.messages == {}


def test_8_3_uidvalidity_that_changed_between_two_connections() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if is_fetch(command):
            server.uidvalidity = b"* OK [UIDVALIDITY 8] other"
            peer.hang_up()
            return True
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        fetching = mailbox.fetch([mailbox.list("INBOX")], max_bytes=LIMIT)
        with pytest.raises(ConnectionLost, match="UIDVALIDITY"):
            next(fetching)


def test_no_uidvalidity() -> None:
    with ScriptedImap(MAILS) as server, opened(server) as mailbox:
        server.uidvalidity = b"* OK nothing"
        with pytest.raises(MailboxFailed, match="UIDVALIDITY"):
            mailbox.list("INBOX")


def test_busy_is_no_failure() -> None:
    for answer in (b"NO [UNAVAILABLE] later", b"NO [INUSE] later"):
        with (
            ScriptedImap(MAILS, refuses(answer, rb"BODY\.PEEK")) as server,
            opened(server) as mailbox,
            pytest.raises(MailboxBusy),
        ):
            fetch_all(mailbox, mailbox.list("INBOX"))


def test_listing_oddities() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"RFC822.SIZE" not in command:
            return False
        peer.send(
            b'* 3 FETCH (RFC822.SIZE 30 UID 3 INTERNALDATE " 7-Jul-2026 02:44:25 -0700")',
            b"* 1 FETCH (UID 1 RFC822.SIZE 10)",
            b"* 1 FETCH (UID 1 RFC822.SIZE 10)",
            b'* 2 FETCH (FLAGS (\\Deleted) UID 2 RFC822.SIZE 20 INTERNALDATE "nonsense")',
            b"* 4 FETCH (UID 4)",
            tag + b" NO [EXPUNGEISSUED] some are gone",
        )
        return True

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        listed = mailbox.list("INBOX", received=True)
        assert [(m.key, m.number, m.size) for m in listed] == [
            ("7.1", 1, 10),
            ("7.2", 2, 20),
            ("7.3", 3, 30),
            ("7.4", 4, 0),
        ]
        assert listed[1].received is None
        assert listed[2].received is not None
        assert listed[2].received.isoformat() == "2026-07-07T02:44:25-07:00"


def test_listing_that_is_refused() -> None:
    with (
        ScriptedImap(MAILS, refuses(b"NO cannot", rb"SIZE")) as server,
        opened(server) as mailbox,
        pytest.raises(MailboxFailed, match="cannot"),
    ):
        mailbox.list("INBOX")


def test_a_message_in_pieces() -> None:
    """The server's size is too large, too small, or right to the octet; it may give less than asked at a time."""
    data = bytes(range(251)) * 21_000
    for told in (len(data), len(data) * 2, len(data) // 1_048_576 * 1_048_576, 4_500_000):
        for cut in (1_048_576, 700_001):

            def hook(peer: Peer, tag: bytes, command: bytes, told: int = told, cut: int = cut) -> bool:
                if b"SIZE" in command:
                    peer.send(b"* 1 FETCH (UID 1 RFC822.SIZE %d)" % told, tag + b" OK")
                    return True
                piece = re.search(rb"<(\d+)\.(\d+)>", command)
                if piece is None:
                    return False
                start, count = int(piece[1]), min(int(piece[2]), cut)
                part = data[start : start + count]
                peer.send(b"* 1 FETCH (BODY[]<%d> {%d}" % (start, len(part)))
                peer.raw(part)
                peer.send(b" UID 1)", tag + b" OK")
                return True

            with ScriptedImap({1: data}, hook) as server, opened(server) as mailbox:
                assert fetch_all(mailbox, mailbox.list("INBOX")) == [data], (told, cut)
                assert not [c for c in server.commands if is_fetch(c) and b"<" not in c]


@pytest.mark.parametrize("how", ["refused", "whole", "whole without origin"])
def test_a_server_that_knows_no_pieces(how: str) -> None:
    data = b"0123456789abcde\n" * 300_000

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not re.search(rb"<\d", command):
            return False
        if how == "refused":
            peer.send(tag + b" BAD no partial fetch")
        else:
            part = data if how == "whole" else data[:1_000]
            peer.send(b"* 1 FETCH (UID %b BODY[] {%d}" % (command.split()[2], len(part)))
            peer.raw(part)
            peer.send(b")", tag + b" OK")
        return True

    with ScriptedImap({1: data, 2: data}, hook) as server, opened(server) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX")) == [data, data]
        assert sum(b"<" in c for c in server.commands) == 1


def test_1_7_larger_than_told_and_than_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sizes = {1: 100, 2: 3_000_000, 3: 6_000_000, 4: 100}
    told = {1: 100, 2: 100, 3: 5_000_000, 4: 100}
    messages = {uid: b"x" * size for uid, size in sizes.items()}

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"SIZE" in command:
            peer.send(*(b"* %d FETCH (UID %d RFC822.SIZE %d)" % (u, u, told[u]) for u in told), tag + b" OK")
            return True
        return False

    with ScriptedImap(messages, hook) as server, opened(server) as mailbox:
        batches = list(mailbox.fetch(in_batches(mailbox.list("INBOX")), max_bytes=2_000_000))
        got = [(one.listed.number, one.oversized, one.content is None) for batch in batches for one in batch]
        assert got == [(1, False, False), (2, True, True), (3, True, True), (4, False, False)]
        assert list(tmp_path.iterdir()) == []


def test_many_that_are_larger_than_told_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk's budget has room for one; the others are left for the next poll instead of waiting for ever."""
    budget = Budget(9_000_000)
    init = Spool.__init__

    def with_small_budget(self: Spool, expected: int, limit: int) -> None:
        init(self, expected, limit, budget=budget)

    monkeypatch.setattr(Spool, "__init__", with_small_budget)
    messages = {uid: b"%d" % uid * 6_000_000 for uid in range(1, 4)}

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"SIZE" in command:
            peer.send(*(b"* %d FETCH (UID %d RFC822.SIZE 9)" % (u, u) for u in server.messages), tag + b" OK")
            return True
        return False

    with ScriptedImap(messages, hook) as server, opened(server) as mailbox:
        rounds = 0
        while listed := mailbox.list("INBOX"):
            rounds += 1
            for batch in mailbox.fetch([listed], max_bytes=LIMIT):
                whole = [one for one in batch if one.content is not None]
                assert [one.content.size for one in whole if one.content] == [6_000_000]
                assert not any(one.refused for one in batch)
                for one in whole:
                    assert one.content is not None
                    one.content.close()
                mailbox.remove([one.listed for one in whole])
            mailbox.commit()
        assert rounds == 3


def test_a_full_disk_is_not_the_mailbox_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with ScriptedImap({1: b"x" * 5_000_000}) as server, opened(server) as mailbox:
        listed = mailbox.list("INBOX")
        monkeypatch.setattr(tempfile, "mkstemp", full)
        with pytest.raises(ServiceUnavailable, match="temporary disk"):
            fetch_all(mailbox, listed)
        assert server.connections == 1


def test_an_abandoned_fetch_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    messages = {1: b"a" * 10, 2: b"b" * 5_000_000, 3: b"c" * 10, 4: b"d" * 10}
    with ScriptedImap(messages) as server, opened(server) as mailbox:
        fetching = mailbox.fetch(in_batches(mailbox.list("INBOX"), 1), max_bytes=LIMIT)
        next(fetching)
        fetching.close()
        assert list(tmp_path.iterdir()) == []
        # The session is good for more, and what is still under way is thrown away.
        assert fetch_all(mailbox, mailbox.list("INBOX")) == list(messages.values())


def test_several_commands_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first answer there are as many commands as the window has room for; never more."""
    held: list[tuple[bytes, bytes]] = []

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not is_fetch(command):
            return False
        held.append((tag, command))
        if len(held) == 4:
            for one, what in held:
                server.answer(peer, one, what)
            held.clear()
        return True

    monkeypatch.setattr("shared.mailboxes.imap.NEAR", 4)
    with ScriptedImap({uid: MAILS[uid] for uid in range(1, 9)}, hook) as server, opened(server) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX"), count=1) == [MAILS[uid] for uid in range(1, 9)]


def test_the_window_is_bounded_in_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap_fetch, "WINDOW_BYTES", 60)
    monkeypatch.setattr("shared.mailboxes.imap.NEAR", 10)
    most = 0
    with ScriptedImap(MAILS) as server, opened(server) as mailbox:
        listed = mailbox.list("INBOX")
        taken = 0
        asked: list[int] = []

        def batches() -> object:
            for message in listed:
                asked.append(message.number)
                yield [message]

        for batch in mailbox.fetch(batches(), max_bytes=LIMIT):  # type: ignore[arg-type]  # a generator of lists
            taken += len(batch)
            most = max(most, len(asked) - taken)
        assert taken == len(MAILS)
        assert most <= 4


def test_closing_is_quick_and_quiet() -> None:
    """Even when the server has gone, or answers nothing."""

    def silent(peer: Peer, tag: bytes, command: bytes) -> bool:
        return command == b"LOGOUT"

    with ScriptedImap(MAILS, silent) as server:
        mailbox = opened(server)
        mailbox._session._client.socket().settimeout(0.2)
        server._peers[0].hang_up()
        mailbox.close()
        mailbox.close()
        with pytest.raises(ConnectionLost):
            mailbox.list("INBOX")
