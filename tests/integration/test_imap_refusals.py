"""Removals that the server refuses, ignores, or performs in part (rule 8.2)."""

from __future__ import annotations

import logging

import pytest

from shared.config import After
from shared.errors import (
    ConnectionLost,
    FolderMissing,
    RemovalRefused,
)
from tests.integration.imap_support import (
    MAILS,
    Peer,
    ScriptedImap,
    drain,
    is_fetch,
    opened,
    refuses,
)


def test_an_ineffective_uid_expunge_is_detected() -> None:
    """Servers ignored one of two concurrent pairs; this server ignores all of them."""
    with (
        ScriptedImap(MAILS, refuses(b"OK did it", rb"EXPUNGE")) as server,
        opened(server) as mailbox,
        pytest.raises(RemovalRefused, match="has them still"),
    ):
        drain(mailbox)


def test_an_ineffective_uid_expunge_is_repeated() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"EXPUNGE" in command and sum(b"EXPUNGE" in c for c in server.commands) < 5:
            peer.send(tag + b" OK did it")
            return True
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        drain(mailbox, count=3)
        assert server.messages == {}


def test_one_pair_of_commands_is_in_flight() -> None:
    """The next STORE is sent only after the response to the previous UID EXPUNGE."""
    open_pairs: list[bytes] = []

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command.startswith(b"UID STORE"):
            assert not open_pairs
            open_pairs.append(command)
        if command.startswith(b"UID EXPUNGE") and open_pairs:
            open_pairs.pop()
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        drain(mailbox, count=2)
        assert server.messages == {}
        assert sum(c.startswith(b"UID STORE") for c in server.commands) == 5


@pytest.mark.parametrize(
    ("answer", "pattern"),
    [(b"NO [NOPERM] not yours", rb"STORE"), (b"NO quota or so", rb"^UID EXPUNGE"), (b"BAD what", rb"STORE")],
)
def test_a_refused_removal(answer: bytes, pattern: bytes) -> None:
    with (
        ScriptedImap(MAILS, refuses(answer, pattern)) as server,
        opened(server) as mailbox,
        pytest.raises(RemovalRefused, match=answer.split()[-1].decode()),
    ):
        drain(mailbox, count=2)


def test_a_refused_move_names_the_setting() -> None:
    hook = refuses(b"NO [TRYCREATE] no such folder", rb"MOVE")
    with (
        ScriptedImap(MAILS, hook) as server,
        opened(server, after=After.MOVE, move_to="Archive") as mailbox,
        pytest.raises(FolderMissing, match="'Archive' of MAILBOXES__support__AFTER"),
    ):
        drain(mailbox)


def test_a_refused_copy_removes_nothing() -> None:
    hook = refuses(b"NO [OVERQUOTA] full", rb"COPY")
    with ScriptedImap(MAILS, hook, capabilities=b"IMAP4rev1 UIDPLUS") as server:
        with (
            opened(server, after=After.MOVE, move_to="Archive") as mailbox,
            pytest.raises(RemovalRefused, match="OVERQUOTA"),
        ):
            drain(mailbox)
        assert server.messages == MAILS
        assert server.deleted == set()


def test_removing_a_gone_message_succeeds() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command.startswith(b"UID STORE"):
            server.messages.clear()
            peer.send(tag + b" NO [NONEXISTENT] none of them is here")
            return True
        return False

    with ScriptedImap(MAILS, hook) as server, opened(server) as mailbox:
        drain(mailbox)


def test_a_read_only_folder_is_reported_before_the_download() -> None:
    with ScriptedImap(MAILS) as server:
        server.opened = b"[READ-ONLY]"
        with opened(server) as mailbox, pytest.raises(RemovalRefused, match=r"AFTER=keep"):
            mailbox.list("INBOX")
        with opened(server, after=After.KEEP) as mailbox:
            assert len(mailbox.list("INBOX")) == len(MAILS)
        assert not any(map(is_fetch, server.commands))


def test_8_2_without_uidplus_expunge_waits_for_other_clients() -> None:
    """If another client flags a message each time, nothing is expunged and the flags are restored."""

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if b"-FLAGS" in command:
            server.answer(peer, tag, command)
            server.deleted.add(9)
            return True
        return False

    with ScriptedImap(MAILS, hook, capabilities=b"IMAP4rev1") as server:
        server.deleted = {10}
        with opened(server) as mailbox:
            mailbox.remove(mailbox.list("INBOX")[:2])
            with pytest.raises(RemovalRefused, match="UIDPLUS"):
                mailbox.commit()
        assert server.messages == MAILS
        assert server.deleted == {1, 2, 9, 10}


@pytest.mark.parametrize("point", [rb"-FLAGS", rb"^EXPUNGE"])
def test_8_2_without_uidplus_flags_are_restored_after_a_refusal(point: bytes) -> None:
    with ScriptedImap(MAILS, refuses(b"NO no", point), capabilities=b"IMAP4rev1") as server:
        server.deleted = {10}
        with opened(server) as mailbox:
            mailbox.remove(mailbox.list("INBOX")[:2])
            with pytest.raises(RemovalRefused):
                mailbox.commit()
        assert server.messages == MAILS
        assert server.deleted == {1, 2, 10}


def test_8_2_without_uidplus_a_broken_connection_logs_the_missing_flags(caplog: pytest.LogCaptureFixture) -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command == b"EXPUNGE":
            peer.hang_up()
        return command == b"EXPUNGE"

    with ScriptedImap(MAILS, hook, capabilities=b"IMAP4rev1") as server:
        server.deleted = {10}
        with opened(server) as mailbox:
            mailbox.remove(mailbox.list("INBOX")[:2])
            with caplog.at_level(logging.WARNING), pytest.raises(ConnectionLost):
                mailbox.commit()
    assert "UID 10" in caplog.text


def test_8_2_without_uidplus_flags_are_restored_over_another_connection() -> None:
    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if command == b"EXPUNGE" and server.connections == 1:
            peer.hang_up()
            return True
        return False

    with ScriptedImap(MAILS, hook, capabilities=b"IMAP4rev1") as server:
        server.deleted = {10}
        with opened(server) as mailbox:
            mailbox.remove(mailbox.list("INBOX")[:9])
            mailbox.commit()
        assert list(server.messages) == [10]
        assert server.deleted == {10}
