"""POP3 connections that break: reconnected, with no message partial or duplicated (rules 1.8, 8.1 to 8.3)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import (
    ConnectionLost,
)
from shared.mailboxes import spool
from tests.integration.pop3_support import LIMIT, content_of, drain, in_batches, scripted_mailbox
from tests.servers.mail import plain_mail
from tests.servers.scripted import Peer, ScriptedPop3, on

MAILS = [(f"key{n}", plain_mail(n)) for n in range(8)]
BODIES = [data for _, data in MAILS]
CUTS = [b"+O", b"+OK\r\n", b"+OK\r\nSubject: x\r\n\r\nhalf a li", b"+OK\r\nSubject: x\r\n.\r"]


def cut_after(answer: bytes) -> Callable[[Peer], None]:
    """Return an action that sends this text and closes the connection."""

    def act(peer: Peer) -> None:
        peer.raw(answer)
        peer.cut()

    return act


@pytest.mark.parametrize("cut", CUTS)
def test_8_3_a_connection_that_breaks_within_a_message_is_reconnected(cut: bytes) -> None:
    """After one break, everything is delivered and earlier deletions are repeated."""
    once = iter([cut_after(cut)])

    def hook(peer: Peer, command: bytes) -> bool:
        if command == b"RETR 5" and (act := next(once, None)):
            act(peer)
        return False

    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        assert drain(mailbox, count=2) == BODIES
        assert server.connections == 2
        assert server.messages == []


@pytest.mark.parametrize("cut", CUTS)
def test_1_8_a_message_that_always_breaks_the_connection_does_not_block_others(cut: bytes) -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        name, _, number = command.partition(b" ")
        if name == b"RETR" and key_of(server, number) == "key4":
            cut_after(cut)(peer)
        return False

    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        results = []
        for batch in mailbox.fetch(in_batches(mailbox.list("INBOX"), 2), max_bytes=LIMIT):
            results += batch
            mailbox.remove([result.listed for result in batch if result.content is not None])
        mailbox.commit()
        assert [content_of(result) for result in results] == [*BODIES[:4], None, *BODIES[5:]]
        assert "closed the connection" in (results[4].refused or "")
        assert server.messages == [MAILS[4]]


def key_of(server: ScriptedPop3, number: bytes) -> str:
    return server.messages[int(number) - 1][0]


def test_8_2_another_session_with_other_numbers_deletes_by_uidl() -> None:
    """While the connection was broken, another client removed the first two messages."""

    def hook(peer: Peer, command: bytes) -> bool:
        if peer.number == 1 and command == b"RETR 5":
            server.messages = MAILS[2:]
            peer.cut()
        return False

    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        fetching = mailbox.fetch(in_batches(mailbox.list("INBOX"), 3), max_bytes=LIMIT)
        first = next(fetching)
        mailbox.remove([result.listed for result in first[:1]])
        rest = [result for batch in fetching for result in batch]
        assert [content_of(result) for result in [*first, *rest]] == BODIES
        mailbox.remove([result.listed for result in rest[1:2]])
        mailbox.commit()
        assert [key for key, _ in server.messages] == ["key2", "key3", "key5", "key6", "key7"]


def test_8_3_a_message_that_is_gone_in_the_next_session_is_gone() -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        if peer.number == 1 and command == b"RETR 5":
            server.messages = [*MAILS[:4], *MAILS[6:]]
            peer.cut()
        return False

    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        listed = mailbox.list("INBOX")
        (batch,) = mailbox.fetch([listed], max_bytes=LIMIT)
        assert [result.refused for result in batch] == [None] * 8
        assert [content_of(result) for result in batch] == [*BODIES[:4], None, None, *BODIES[6:]]
        mailbox.remove(listed)
        mailbox.commit()
        assert server.messages == []


@pytest.mark.parametrize("when", ["no UIDL", "no second connection", "always"])
def test_8_3_a_permanently_lost_connection_delivers_no_partial_message(when: str) -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        if command == b"UIDL" and when == "no UIDL":
            peer.send(b"-ERR what?")
            return True
        if command.startswith(b"RETR") and (when == "always" or command == b"RETR 5"):
            peer.raw(b"+OK\r\nSubject: ")
            peer.cut()
        if peer.number > 1 and when == "no second connection":
            peer.cut()
        return False

    with ScriptedPop3([(f"k{n}", body) for n, body in enumerate(BODIES * 3)], hook) as server:
        with scripted_mailbox(server) as mailbox:
            contents: list[bytes | None] = []

            def take() -> None:
                for batch in mailbox.fetch(in_batches(mailbox.list("INBOX"), 2), max_bytes=LIMIT):
                    contents.extend(content_of(result) for result in batch)
                    mailbox.remove([result.listed for result in batch])

            with pytest.raises(ConnectionLost, match="connection"):
                take()
            assert contents == ([None] * 4 if when == "always" else BODIES[:4])
        assert len(server.messages) == 24
        assert spool.BUDGET._used == 0


def test_8_1_a_connection_that_breaks_before_quit_is_reconnected() -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        if peer.number == 1 and command == b"DELE 8":
            peer.cut()
        return False

    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        assert drain(mailbox, count=3) == BODIES
        assert server.messages == []


def test_8_3_a_partial_spool_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    large = plain_mail(1, size=6_000_000)
    mails = [("a", large), ("b", large)]
    hook = on(b"RETR 2", cut_after(b"+OK\r\n" + large[:5_500_000]))
    with ScriptedPop3(mails, hook) as server, scripted_mailbox(server) as mailbox:
        (batch,) = mailbox.fetch([mailbox.list("INBOX")], max_bytes=LIMIT)
        assert [content_of(result) for result in batch] == [large, None]
    assert list(tmp_path.iterdir()) == []
    assert spool.BUDGET._used == 0
