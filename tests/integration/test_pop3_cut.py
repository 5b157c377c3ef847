"""POP3 connections that are cut: made again, and nothing half or twice (rules 1.8, 8.1 to 8.3)."""

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


def cutting(answer: bytes) -> Callable[[Peer], None]:
    """Say this much, and cut the connection."""

    def act(peer: Peer) -> None:
        peer.raw(answer)
        peer.cut()

    return act


@pytest.mark.parametrize("cut", CUTS)
def test_8_3_a_connection_that_is_cut_inside_a_message_is_made_again(cut: bytes) -> None:
    """Once: everything is delivered, and what was deleted before is deleted again."""
    once = iter([cutting(cut)])

    def hook(peer: Peer, command: bytes) -> bool:
        if command == b"RETR 5" and (act := next(once, None)):
            act(peer)
        return False

    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        assert drain(mailbox, count=2) == BODIES
        assert server.connections == 2
        assert server.messages == []


@pytest.mark.parametrize("cut", CUTS)
def test_1_8_a_message_at_which_the_connection_always_breaks_stops_no_other(cut: bytes) -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        name, _, number = command.partition(b" ")
        if name == b"RETR" and held(server, number) == "key4":
            cutting(cut)(peer)
        return False

    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        taken = []
        for batch in mailbox.fetch(in_batches(mailbox.list("INBOX"), 2), max_bytes=LIMIT):
            taken += batch
            mailbox.remove([one.listed for one in batch if one.content is not None])
        mailbox.commit()
        assert [content_of(one) for one in taken] == [*BODIES[:4], None, *BODIES[5:]]
        assert "closed the connection" in (taken[4].refused or "")
        assert server.messages == [MAILS[4]]


def held(server: ScriptedPop3, number: bytes) -> str:
    return server.messages[int(number) - 1][0]


def test_8_2_another_session_with_other_numbers_deletes_by_uidl() -> None:
    """While the connection was gone, another client took the first two."""

    def hook(peer: Peer, command: bytes) -> bool:
        if peer.number == 1 and command == b"RETR 5":
            server.messages = MAILS[2:]
            peer.cut()
        return False

    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        fetching = mailbox.fetch(in_batches(mailbox.list("INBOX"), 3), max_bytes=LIMIT)
        first = next(fetching)
        mailbox.remove([one.listed for one in first[:1]])
        rest = [one for batch in fetching for one in batch]
        assert [content_of(one) for one in [*first, *rest]] == BODIES
        mailbox.remove([one.listed for one in rest[1:2]])
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
        assert [one.refused for one in batch] == [None] * 8
        assert [content_of(one) for one in batch] == [*BODIES[:4], None, None, *BODIES[6:]]
        mailbox.remove(listed)
        mailbox.commit()
        assert server.messages == []


@pytest.mark.parametrize("why", ["no UIDL", "no second connection", "always"])
def test_8_3_a_connection_that_is_lost_for_good_delivers_no_half_and_deletes_nothing(why: str) -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        if command == b"UIDL" and why == "no UIDL":
            peer.send(b"-ERR what?")
            return True
        if command.startswith(b"RETR") and (why == "always" or command == b"RETR 5"):
            peer.raw(b"+OK\r\nSubject: ")
            peer.cut()
        if peer.number > 1 and why == "no second connection":
            peer.cut()
        return False

    with ScriptedPop3([(f"k{n}", body) for n, body in enumerate(BODIES * 3)], hook) as server:
        with scripted_mailbox(server) as mailbox:
            whole: list[bytes | None] = []

            def take() -> None:
                for batch in mailbox.fetch(in_batches(mailbox.list("INBOX"), 2), max_bytes=LIMIT):
                    whole.extend(content_of(one) for one in batch)
                    mailbox.remove([one.listed for one in batch])

            with pytest.raises(ConnectionLost, match="connection"):
                take()
            assert whole == ([None] * 4 if why == "always" else BODIES[:4])
        assert len(server.messages) == 24
        assert spool.BUDGET._used == 0


def test_8_1_a_connection_that_is_lost_between_deleting_and_quit_is_made_again() -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        if peer.number == 1 and command == b"DELE 8":
            peer.cut()
        return False

    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        assert drain(mailbox, count=3) == BODIES
        assert server.messages == []


def test_8_3_what_was_spooled_of_a_message_that_broke_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    large = plain_mail(1, size=6_000_000)
    mails = [("a", large), ("b", large)]
    hook = on(b"RETR 2", cutting(b"+OK\r\n" + large[:5_500_000]))
    with ScriptedPop3(mails, hook) as server, scripted_mailbox(server) as mailbox:
        (batch,) = mailbox.fetch([mailbox.list("INBOX")], max_bytes=LIMIT)
        assert [content_of(one) for one in batch] == [large, None]
    assert list(tmp_path.iterdir()) == []
    assert spool.BUDGET._used == 0
