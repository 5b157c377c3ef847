"""Messages in pieces, wrong sizes, and the download window (rule 1.7)."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from shared.errors import (
    ServiceUnavailable,
)
from shared.mailboxes.imap import fetch as imap_fetch
from shared.mailboxes.spool import DiskBudget, Spool
from tests.integration.imap_support import (
    LIMIT,
    MAILS,
    Peer,
    ScriptedImap,
    fetch_all,
    in_batches,
    is_fetch,
    opened,
)


def test_a_message_is_read_in_pieces() -> None:
    """The reported size is too large, too small, or exact. The server may send shorter pieces than requested."""
    data = bytes(range(251)) * 21_000
    for reported in (len(data), len(data) * 2, len(data) // 1_048_576 * 1_048_576, 4_500_000):
        for cut in (1_048_576, 700_001):

            def hook(peer: Peer, tag: bytes, command: bytes, reported: int = reported, cut: int = cut) -> bool:
                if b"SIZE" in command:
                    peer.send(b"* 1 FETCH (UID 1 RFC822.SIZE %d)" % reported, tag + b" OK")
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
                assert fetch_all(mailbox, mailbox.list("INBOX")) == [data], (reported, cut)
                assert not [c for c in server.commands if is_fetch(c) and b"<" not in c]


@pytest.mark.parametrize("behavior", ["refused", "whole", "whole without origin"])
def test_a_server_without_partial_fetch(behavior: str) -> None:
    data = b"0123456789abcde\n" * 300_000

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not re.search(rb"<\d", command):
            return False
        if behavior == "refused":
            peer.send(tag + b" BAD no partial fetch")
        else:
            part = data if behavior == "whole" else data[:1_000]
            peer.send(b"* 1 FETCH (UID %b BODY[] {%d}" % (command.split()[2], len(part)))
            peer.raw(part)
            peer.send(b")", tag + b" OK")
        return True

    with ScriptedImap({1: data, 2: data}, hook) as server, opened(server) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX")) == [data, data]
        assert sum(b"<" in c for c in server.commands) == 1


def test_1_7_messages_larger_than_reported_and_than_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sizes = {1: 100, 2: 3_000_000, 3: 6_000_000, 4: 100}
    reported = {1: 100, 2: 100, 3: 5_000_000, 4: 100}
    messages = {uid: b"x" * size for uid, size in sizes.items()}

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"SIZE" in command:
            peer.send(*(b"* %d FETCH (UID %d RFC822.SIZE %d)" % (u, u, reported[u]) for u in reported), tag + b" OK")
            return True
        return False

    with ScriptedImap(messages, hook) as server, opened(server) as mailbox:
        batches = list(mailbox.fetch(in_batches(mailbox.list("INBOX")), max_bytes=2_000_000))
        results = [
            (result.listed.number, result.oversized, result.content is None) for batch in batches for result in batch
        ]
        assert results == [(1, False, False), (2, True, True), (3, True, True), (4, False, False)]
        assert list(tmp_path.iterdir()) == []


def test_messages_larger_than_reported_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk budget has space for one message; the others are postponed instead of waiting forever."""
    budget = DiskBudget(9_000_000)
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
                whole = [result for result in batch if result.content is not None]
                assert [result.content.size for result in whole if result.content] == [6_000_000]
                assert not any(result.refused for result in batch)
                for result in whole:
                    assert result.content is not None
                    result.content.close()
                mailbox.remove([result.listed for result in whole])
            mailbox.commit()
        assert rounds == 3


def test_a_full_disk_is_not_a_mailbox_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with ScriptedImap({1: b"x" * 5_000_000}) as server, opened(server) as mailbox:
        listed = mailbox.list("INBOX")
        monkeypatch.setattr(tempfile, "mkstemp", full)
        with pytest.raises(ServiceUnavailable, match="temporary disk"):
            fetch_all(mailbox, listed)
        assert server.connections == 1


def test_an_abandoned_fetch_removes_its_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    messages = {1: b"a" * 10, 2: b"b" * 5_000_000, 3: b"c" * 10, 4: b"d" * 10}
    with ScriptedImap(messages) as server, opened(server) as mailbox:
        fetching = mailbox.fetch(in_batches(mailbox.list("INBOX"), 1), max_bytes=LIMIT)
        next(fetching)
        fetching.close()
        assert list(tmp_path.iterdir()) == []
        # The session is still usable, and the outstanding bodies are discarded.
        assert fetch_all(mailbox, mailbox.list("INBOX")) == list(messages.values())


def test_several_commands_are_outstanding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first response, exactly as many commands are outstanding as the window allows."""
    pending: list[tuple[bytes, bytes]] = []

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not is_fetch(command):
            return False
        pending.append((tag, command))
        if len(pending) == 4:
            for result, what in pending:
                server.answer(peer, result, what)
            pending.clear()
        return True

    monkeypatch.setattr("shared.mailboxes.imap.mailbox.FETCH_WIDTH", 4)
    with ScriptedImap({uid: MAILS[uid] for uid in range(1, 9)}, hook) as server, opened(server) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX"), count=1) == [MAILS[uid] for uid in range(1, 9)]


def test_the_window_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap_fetch, "WINDOW_BYTES", 60)
    monkeypatch.setattr("shared.mailboxes.imap.mailbox.FETCH_WIDTH", 10)
    most_ahead = 0
    with ScriptedImap(MAILS) as server, opened(server) as mailbox:
        listed = mailbox.list("INBOX")
        received = 0
        requested: list[int] = []

        def batches() -> object:
            for message in listed:
                requested.append(message.number)
                yield [message]

        for batch in mailbox.fetch(batches(), max_bytes=LIMIT):  # type: ignore[arg-type]  # a generator of lists
            received += len(batch)
            most_ahead = max(most_ahead, len(requested) - received)
        assert received == len(MAILS)
        assert most_ahead <= 4
