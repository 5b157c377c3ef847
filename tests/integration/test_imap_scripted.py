"""Unusual servers: responses out of order, unsolicited data, broken connections, refusals."""

from __future__ import annotations

import pytest

from shared.errors import (
    ConnectionLost,
    MailboxBusy,
    MailboxError,
)
from shared.mailboxes.imap.mailbox import MAX_RECONNECTS
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
            # All data first, in reverse order, then the tagged responses in reverse order.
            for uid in (4, 3, 2, 1):
                peer.send(server.body(uid, uid))
            peer.send(waiting[1][0] + b" OK second", waiting[0][0] + b" OK first")
            waiting.clear()
        return True

    with ScriptedImap({uid: MAILS[uid] for uid in range(1, 5)}, hook) as server, opened(server) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX"), count=2) == [MAILS[uid] for uid in range(1, 5)]


def test_data_after_its_own_completion() -> None:
    """A server that merges two commands may send the first command's data with the second's."""
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


def test_unsolicited_data_is_ignored() -> None:
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

    # Messages with an odd UID carry another literal behind their body: `{2}` counts the `) ` that follows it.
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
        # An empty body of a message with a reported size is not the message.
        assert [result.content for result in batch[1:3]] == [None, None]
        assert all(result.refused and "delivered no content" in result.refused for result in batch[1:3])
        assert batch[3].content is not None
        assert batch[3].content.size == 0


def test_1_8_a_bad_message_in_a_batch_is_refused(caplog: pytest.LogCaptureFixture) -> None:
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
        results = {result.listed.number: result for batch in batches for result in batch}
        assert [uid for uid, result in results.items() if result.content is None] == [5]
        assert results[5].refused is not None
        assert "SERVERBUG" in results[5].refused
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
        results = {result.listed.number: result for batch in batches for result in batch}
        assert list(results) == list(MAILS)
        assert [uid for uid, result in results.items() if result.content is None] == [5]
        assert results[5].refused is not None
        assert "broke each time" in results[5].refused
        assert server.connections == 4


@pytest.mark.parametrize("ending", [b"", b"* BYE going down\r\n"])
def test_8_3_a_connection_that_always_ends_within_a_message(ending: bytes) -> None:
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
        assert server.connections == 1 + MAX_RECONNECTS
        assert len(server.messages) == 3


def test_8_3_a_connection_that_ends_once_is_reconnected() -> None:
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
        with pytest.raises(MailboxError, match="UIDVALIDITY"):
            mailbox.list("INBOX")


def test_a_busy_server_is_not_a_failure() -> None:
    for answer in (b"NO [UNAVAILABLE] later", b"NO [INUSE] later"):
        with (
            ScriptedImap(MAILS, refuses(answer, rb"BODY\.PEEK")) as server,
            opened(server) as mailbox,
            pytest.raises(MailboxBusy),
        ):
            fetch_all(mailbox, mailbox.list("INBOX"))


def test_unusual_listings() -> None:
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


def test_a_refused_listing() -> None:
    with (
        ScriptedImap(MAILS, refuses(b"NO cannot", rb"SIZE")) as server,
        opened(server) as mailbox,
        pytest.raises(MailboxError, match="cannot"),
    ):
        mailbox.list("INBOX")


def test_closing_is_quick_and_quiet() -> None:
    """This holds even if the server is gone or does not respond."""

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
