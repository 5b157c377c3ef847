"""Scripted POP3 servers that misbehave, over real sockets."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable
from contextlib import suppress

import pytest

from shared.config import After
from shared.errors import (
    CommitUncertain,
    ConnectionLost,
    MailboxBusy,
    MailboxError,
    MailroomError,
    RemovalRefused,
    ServiceUnavailable,
)
from shared.mailboxes.pop3.fetch import WINDOW
from shared.mailboxes.pop3.mailbox import Pop3Mailbox
from shared.mailboxes.pop3.server_record import ServerRecords
from tests.integration.pop3_support import LIMIT, content_of, drain, fetch_all, scripted_mailbox
from tests.servers.mail import plain_mail
from tests.servers.scripted import Peer, ScriptedPop3, answers, on

MAILS = [(f"key{n}", plain_mail(n)) for n in range(8)]
BODIES = [data for _, data in MAILS]
OLD = (b"USER", b"UIDL", b"TOP")


@pytest.mark.parametrize("capabilities", [OLD, None])
def test_without_pipelining_each_response_is_awaited(capabilities: tuple[bytes, ...] | None) -> None:
    """None: the server does not support CAPA."""
    outstanding: list[bytes] = []

    def hook(peer: Peer, command: bytes) -> bool:
        peer.connection.settimeout(0.02)
        with suppress(TimeoutError):
            assert not peer.connection.recv(1), "a command came before the answer to the last"
        peer.connection.settimeout(5)
        outstanding.append(command)
        if capabilities is None and command == b"CAPA":
            peer.send(b"-ERR unknown command")
            return True
        return False

    with ScriptedPop3(MAILS, hook, capabilities=capabilities or ()) as server:
        with scripted_mailbox(server) as mailbox:
            assert drain(mailbox, count=3) == BODIES
        assert server.messages == []
    assert outstanding.count(b"QUIT") == 1


def test_with_pipelining_a_window_is_sent_at_once() -> None:
    mails = [(f"k{n}", b"Subject: %d\r\n\r\n" % n) for n in range(3 * WINDOW)]
    first: list[int] = []

    def hook(peer: Peer, command: bytes) -> bool:
        if command == b"RETR 1":
            seen = [command, *(peer.line() for _ in range(WINDOW - 1))]
            first.append(len(seen))
            for line in seen:
                peer.send(b"+OK")
                peer.body(mails[int(line.split()[1]) - 1][1])
            return True
        return False

    with ScriptedPop3(mails, hook) as server, scripted_mailbox(server) as mailbox:
        assert fetch_all(mailbox, mailbox.list("INBOX"), count=10) == [data for _, data in mails]
    assert first == [WINDOW]


def test_8_3_without_uidl_there_are_no_keys() -> None:
    with ScriptedPop3(MAILS, answers(UIDL=b"-ERR unknown command")) as server:
        with scripted_mailbox(server) as mailbox:
            listed = mailbox.list("INBOX")
            assert [m.key for m in listed] == [None] * len(MAILS)
            assert drain(mailbox) == BODIES
        assert server.messages == []


def test_8_2_a_list_that_lacks_a_message_with_a_uidl_is_not_whole() -> None:
    def hook(peer: Peer, command: bytes) -> bool:
        if command != b"LIST":
            return False
        peer.send(b"+OK", b"1 %d" % len(BODIES[0]), b".")
        return True

    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        assert len(mailbox.list("INBOX")) == 1
        assert mailbox.key_prefix is None
    for mails in (MAILS, []):
        with ScriptedPop3(mails) as server, scripted_mailbox(server) as mailbox:
            mailbox.list("INBOX")
            assert mailbox.key_prefix == ""


def test_8_2_without_uidl_numbers_of_another_session_are_refused() -> None:
    with ScriptedPop3(MAILS, answers(UIDL=b"-ERR unknown command")) as server, scripted_mailbox(server) as mailbox:
        old = mailbox.list("INBOX")
        mailbox.commit()
        mailbox.list("INBOX")
        with pytest.raises(RemovalRefused):
            mailbox.remove(old[:1])


def test_1_3_keep_without_uidl_names_the_setting() -> None:
    hook = answers(UIDL=b"-ERR unknown command")
    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server, after=After.KEEP) as mailbox:
        assert "MAILBOXES__support__AFTER=keep needs UIDL" in mailbox.check_folder("INBOX").problems[0]
        with pytest.raises(MailboxError, match="MAILBOXES__support__AFTER=keep needs UIDL"):
            mailbox.list("INBOX")


def test_8_2_messages_that_share_a_uidl_have_no_key() -> None:
    mails = [("a", BODIES[0]), ("same", BODIES[1]), ("same", BODIES[2]), ("b", BODIES[3])]
    with ScriptedPop3(mails) as server, scripted_mailbox(server) as mailbox:
        assert [m.key for m in mailbox.list("INBOX")] == ["a", None, None, "b"]


def test_a_stall_inside_a_message_times_out() -> None:
    def act(peer: Peer) -> None:
        peer.raw(b"+OK\r\nSubject:")
        peer.stall()

    with ScriptedPop3(MAILS[:1], on(b"RETR 1", act)) as server, scripted_mailbox(server) as mailbox:
        (batch,) = mailbox.fetch([mailbox.list("INBOX")], max_bytes=LIMIT)
        assert "no answer in time" in (batch[0].refused or "")


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        (b"-ERR [SYS/PERM] cannot be read", "[SYS/PERM] cannot be read"),
        (b"-ERR", "-ERR"),
        (b"-ERR [UTF8] the message needs UTF8", "[UTF8] the message needs UTF8"),
        (b"-ERR no such message", None),
        (b"-ERR Can't open the message file - it's gone!", None),
    ],
)
def test_1_8_an_undelivered_message_does_not_block_others(answer: bytes, refused: str | None) -> None:
    hook = on(b"RETR 3", lambda peer: peer.send(answer))
    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        (batch,) = mailbox.fetch([mailbox.list("INBOX")], max_bytes=LIMIT)
        assert batch[2].content is None
        assert batch[2].refused == refused
        assert not batch[2].oversized
        assert [content_of(result) for result in batch] == [*BODIES[:2], None, *BODIES[3:]]


def test_8_2_after_a_refused_quit_no_removal_is_certain() -> None:
    hook = on(b"QUIT", lambda peer: peer.send(b"-ERR some deleted messages not removed"))
    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        listed = mailbox.list("INBOX")
        mailbox.remove(listed)
        with pytest.raises(RemovalRefused, match="some deleted messages not removed"):
            mailbox.commit()
        assert len(mailbox.list("INBOX")) == len(MAILS)


@pytest.mark.parametrize("act", [Peer.cut, Peer.stall])
def test_8_2_a_quit_without_a_response_leaves_removals_uncertain(act: Callable[[Peer], None]) -> None:
    with ScriptedPop3(MAILS, on(b"QUIT", act)) as server, scripted_mailbox(server) as mailbox:
        mailbox.remove(mailbox.list("INBOX"))
        with pytest.raises(CommitUncertain, match="8 deletions may be committed or not"):
            mailbox.commit()
        assert len(mailbox.list("INBOX")) == len(MAILS)


def test_8_2_a_quit_without_a_response_and_without_deletions_is_ignored() -> None:
    with ScriptedPop3(MAILS, on(b"QUIT", Peer.cut)) as server, scripted_mailbox(server) as mailbox:
        mailbox.list("INBOX")
        mailbox.commit()


def test_8_2_unanswered_ineffective_quits_become_a_failure() -> None:
    records = ServerRecords()
    raised = []
    with ScriptedPop3(MAILS, on(b"QUIT", Peer.cut)) as server:
        for _ in range(3):
            with scripted_mailbox(server, records) as mailbox:
                mailbox.remove(mailbox.list("INBOX"))
                with pytest.raises(ConnectionLost) as caught:
                    mailbox.commit()
                raised.append(caught.type)
    assert raised == [CommitUncertain, CommitUncertain, ConnectionLost]


def test_8_2_unanswered_effective_quits_are_not_a_failure() -> None:
    records = ServerRecords()

    def act(peer: Peer) -> None:
        server.messages = []
        peer.cut()

    with ScriptedPop3(MAILS, on(b"QUIT", act)) as server:
        for n in range(5):
            server.messages = [(f"{n}.{key}", body) for key, body in MAILS]
            with scripted_mailbox(server, records) as mailbox:
                mailbox.remove(mailbox.list("INBOX"))
                with pytest.raises(CommitUncertain):
                    mailbox.commit()


def test_commit_reports_a_refused_deletion_and_keeps_the_others() -> None:
    hook = on(b"DELE 2", lambda peer: peer.send(b"-ERR [SYS/PERM] read-only"))
    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        mailbox.remove(mailbox.list("INBOX"))
        with pytest.raises(RemovalRefused, match=r"1 of 8 deletions .*message 2 .*read-only"):
            mailbox.commit()
        assert server.messages == [MAILS[1]]


def test_8_2_a_message_that_is_gone_counts_as_removed() -> None:
    hook = on(b"DELE 2", lambda peer: peer.send(b"-ERR message 2 already deleted"))
    with ScriptedPop3(MAILS, hook) as server, scripted_mailbox(server) as mailbox:
        mailbox.remove(mailbox.list("INBOX"))
        mailbox.commit()


def test_close_does_not_commit() -> None:
    with ScriptedPop3(MAILS) as server:
        mailbox = scripted_mailbox(server)
        mailbox.remove(mailbox.list("INBOX"))
        mailbox.close()
        mailbox.close()
        assert b"QUIT" not in server.commands
        assert server.messages == MAILS


def test_close_never_raises_and_is_quick() -> None:
    with ScriptedPop3(MAILS, on(b"QUIT", Peer.stall)) as server:
        scripted_mailbox(server).close()


@pytest.mark.parametrize(
    ("name", "answer", "kind"),
    [
        ("LIST", b"-ERR [SYS/TEMP] later", MailboxBusy),
        ("LIST", b"-ERR no", MailboxError),
        ("LIST", b"-ERR Mailbox is locked by another session", MailboxBusy),
        ("UIDL", b"-ERR Temporary problem, please try again later", MailboxBusy),
        ("LIST", b"+OK\r\n1 two\r\n.", ConnectionLost),
        ("LIST", b"+OK\r\nnonsense\r\n.", ConnectionLost),
        ("UIDL", b"-ERR [SYS/TEMP] later", MailboxBusy),
        ("UIDL", b"what?", ConnectionLost),
    ],
)
def test_failed_listings(name: str, answer: bytes, kind: type[MailroomError]) -> None:
    with ScriptedPop3(MAILS, answers(**{name: answer})) as server:
        mailbox = scripted_mailbox(server)
        with pytest.raises(kind) as caught:
            mailbox.list("INBOX")
        mailbox.close()
    assert caught.type is kind


@pytest.mark.parametrize("answer", [b"-ERR no TOP", b"+OK\r\nReceived: nonsense\r\nDate: none\r\n\r\n."])
def test_1_11_received_is_none_if_unparseable(answer: bytes) -> None:
    with ScriptedPop3(MAILS, answers(TOP=answer)) as server, scripted_mailbox(server) as mailbox:
        assert [m.received for m in mailbox.list("INBOX", received=True)] == [None] * len(MAILS)


def test_1_11_received_is_none_without_top() -> None:
    with ScriptedPop3(MAILS, capabilities=[b"USER", b"UIDL"]) as server, scripted_mailbox(server) as mailbox:
        assert mailbox.list("INBOX", received=True)[0].received is None
        assert not [command for command in server.commands if command.startswith(b"TOP")]


def test_1_7_a_wrong_size_costs_no_memory_and_blocks_no_message() -> None:
    mails = [("a", BODIES[0]), ("b", plain_mail(1, size=3_000_000)), ("c", BODIES[2])]
    hook = answers(LIST=b"+OK\r\n1 2000\r\n2 10\r\n3 99999999999999999\r\n.")
    with ScriptedPop3(mails, hook) as server, scripted_mailbox(server) as mailbox:
        (batch,) = mailbox.fetch([mailbox.list("INBOX")], max_bytes=1_000_000)
        assert [(result.oversized, content_of(result)) for result in batch] == [
            (False, BODIES[0]),
            (True, None),
            (False, BODIES[2]),
        ]


def test_a_full_disk_is_an_unavailable_service(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    mails = [("a", plain_mail(1, size=5_000_000))]
    with ScriptedPop3(mails) as server, scripted_mailbox(server) as mailbox:
        listed = mailbox.list("INBOX")
        monkeypatch.setattr(tempfile, "mkstemp", full)
        with pytest.raises(ServiceUnavailable, match="No space left"):
            fetch_all(mailbox, listed)


def run_session(mailbox: Pop3Mailbox) -> None:
    """List, fetch, remove, and check the folder."""
    listed = mailbox.list("INBOX", received=True)
    for batch in mailbox.fetch([listed], max_bytes=LIMIT):
        mailbox.remove([result.listed for result in batch])
    mailbox.commit()


@pytest.mark.parametrize("capabilities", [(b"USER", b"UIDL", b"TOP"), (b"USER", b"UIDL", b"TOP", b"PIPELINING")])
@pytest.mark.parametrize("command", ["UIDL", "LIST", "TOP", "RETR", "DELE", "QUIT"])
def test_1_9_throttling_is_busy_for_every_command(command: str, capabilities: tuple[bytes, ...]) -> None:
    """No further command is sent."""
    hook = answers(**{command: b"-ERR Request is throttled. Suggested Backoff Time: 299999 milliseconds"})
    mails = [(f"k{n}", plain_mail(n)) for n in range(2 * WINDOW if b"PIPELINING" in capabilities else 10)]
    with ScriptedPop3(mails, hook, capabilities=capabilities) as server, scripted_mailbox(server) as mailbox:
        with pytest.raises(MailboxBusy) as caught:
            run_session(mailbox)
        assert caught.value.retry_after == pytest.approx(299.999)
        assert len(server.messages) == len(mails)
