"""POP3 servers that offer PIPELINING and break it: every message is stored intact (rule 8.3)."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from datetime import datetime

import pytest

from shared.mailboxes.pop3.server_record import ServerRecords
from tests.integration.pop3_support import LIMIT, content_of, drain, scripted_mailbox
from tests.servers import pipelining
from tests.servers.mail import plain_mail
from tests.servers.pipelining import PipeliningPop3, Responder
from tests.servers.scripted import Peer, ScriptedPop3, answers, on

BODIES = [plain_mail(n, size=700 + 61 * n) for n in range(12)]
MAILS = [(f"key{n}", body) for n, body in enumerate(BODIES)]
PROVEN_AT_ONCE: list[Responder] = [
    pipelining.within_the_message,
    pipelining.first_only,
    pipelining.unknown_from_the_second,
    pipelining.last_for_all,
    pipelining.backwards,
    pipelining.one_in_two,
]


def fill(server: PipeliningPop3) -> None:
    server.messages = list(MAILS)
    server.together.clear()


@pytest.mark.parametrize("count", [1, 3, 100])
@pytest.mark.parametrize("mix", PROVEN_AT_ONCE)
def test_8_3_a_server_that_breaks_pipelining_delivers_every_message_intact(mix: Responder, count: int) -> None:
    records = ServerRecords()
    with PipeliningPop3(MAILS, mix) as server:
        with scripted_mailbox(server, records) as mailbox:
            assert drain(mailbox, count=count) == BODIES
        assert server.together, "nothing was pipelined, so nothing is proven"
        assert server.messages == []
        fill(server)
        with scripted_mailbox(server, records) as mailbox:
            assert drain(mailbox, count=count) == BODIES
        assert server.together == [], "the next session does not know that pipelining is broken"


@pytest.mark.parametrize("seed", range(12))
def test_8_3_interleaved_responses_never_end_up_in_a_message(seed: int) -> None:
    chance = random.Random(seed)

    def mix(commands: Sequence[bytes], right: Sequence[bytes]) -> bytes | None:
        """Break every third group of commands, each in another way and at another position."""
        kind = chance.randrange(9)
        if kind < len(PROVEN_AT_ONCE):
            return PROVEN_AT_ONCE[kind](commands, right) if chance.random() < 1 / 3 else b"".join(right)
        place = chance.randrange(len(right[0]))
        line, _, rest = right[1].partition(b"\r\n")
        return right[0][:place] + line + b"\r\n" + right[0][place:] + rest + b"".join(right[2:])

    records = ServerRecords()
    bodies = [plain_mail(n, size=300 + chance.randrange(900)) for n in range(48)]
    with PipeliningPop3([(f"k{n}", body) for n, body in enumerate(bodies)], mix) as server:
        with scripted_mailbox(server, records) as mailbox:
            assert drain(mailbox, count=chance.randrange(1, 20)) == bodies
        assert server.messages == []


def test_8_3_two_breaks_under_pipelining_switch_it_off() -> None:
    """A single break may be caused by the network."""
    records = ServerRecords()
    with PipeliningPop3(MAILS, pipelining.cut_after_the_first) as server:
        for expected in (1, 1, 0):
            fill(server)
            with scripted_mailbox(server, records) as mailbox:
                assert drain(mailbox) == BODIES
            assert server.messages == []
            assert len(server.together) == expected


def test_8_3_a_message_that_always_breaks_the_connection_does_not_switch_pipelining_off() -> None:
    records = ServerRecords()

    def hook(peer: Peer, command: bytes) -> bool:
        if command == b"RETR 5":
            peer.cut()
        return False

    with ScriptedPop3(MAILS, hook) as server:
        for _ in range(3):
            with scripted_mailbox(server, records) as mailbox:
                (batch,) = mailbox.fetch([mailbox.list("INBOX")], max_bytes=LIMIT)
                assert [content_of(result) is None for result in batch].index(True) == 4
                assert records.record(mailbox._settings).no_pipelining == ""


def test_8_3_messages_of_equal_size_are_not_mixed_up() -> None:
    bodies = [b"Subject: %d\r\n\r\nbody\r\n" % n for n in range(9)]
    with PipeliningPop3([(f"k{n}", body) for n, body in enumerate(bodies)], pipelining.last_for_all) as server:
        with scripted_mailbox(server) as mailbox:
            assert drain(mailbox) == bodies
        assert server.messages == []


def test_8_3_a_response_within_a_message_is_detected_at_any_size() -> None:
    """The listed size includes the interleaved response."""
    body, injected = plain_mail(1), b"+OK message 2 deleted\r\n"

    def mix(_commands: Sequence[bytes], right: Sequence[bytes]) -> bytes:
        return right[0][:-40] + injected + right[0][-40:] + b"".join(right[1:])

    server = PipeliningPop3([("a", body), ("b", BODIES[0])], mix, size=lambda data: len(data) + len(injected))
    with server, scripted_mailbox(server) as mailbox:
        assert drain(mailbox) == [body, BODIES[0]]


def test_8_3_mail_about_pop3_is_read_twice_and_kept() -> None:
    bodies = [b"Subject: log\r\n\r\n+OK message 1 deleted\r\n-ERR no\r\n", *BODIES]
    records = ServerRecords()
    with PipeliningPop3([(f"k{n}", body) for n, body in enumerate(bodies)]) as server:
        with scripted_mailbox(server, records) as mailbox:
            assert drain(mailbox) == bodies
            assert server.retrieved == len(bodies) + 1
            assert records.record(mailbox._settings).no_pipelining == ""
        assert server.connections == 1


def test_8_3_equal_messages_are_read_twice_and_kept() -> None:
    records = ServerRecords()
    mails = [("a", BODIES[0]), ("b", BODIES[0]), ("c", BODIES[1])]
    with PipeliningPop3(mails) as server, scripted_mailbox(server, records) as mailbox:
        assert drain(mailbox) == [BODIES[0], BODIES[0], BODIES[1]]
        assert server.retrieved == 5
        assert records.record(mailbox._settings).no_pipelining == ""


def test_8_3_a_message_of_another_size_is_read_again_alone() -> None:
    """Dovecot lists mail without a final line end like this: too rarely to switch pipelining off."""
    records = ServerRecords()
    with PipeliningPop3(MAILS, size=lambda data: len(data) - 2 * (data == BODIES[3])) as server:
        for _ in range(3):
            fill(server)
            before = server.retrieved
            with scripted_mailbox(server, records) as mailbox:
                assert drain(mailbox) == BODIES
            assert server.retrieved - before == len(BODIES) + 1
            assert server.together


def test_8_3_inexact_sizes_switch_pipelining_off() -> None:
    """Some servers count a line end as one byte."""
    records = ServerRecords()
    with PipeliningPop3(MAILS, size=lambda data: len(data) - data.count(b"\n")) as server:
        counts = []
        for _ in range(3):
            fill(server)
            before = server.retrieved
            with scripted_mailbox(server, records) as mailbox:
                assert drain(mailbox) == BODIES
            counts.append(server.retrieved - before)
        assert counts == [2 * len(BODIES), len(BODIES), len(BODIES)]


def test_8_3_nothing_is_deleted_while_a_doubtful_message_is_outstanding() -> None:
    with PipeliningPop3(MAILS, pipelining.within_the_message) as server:
        with scripted_mailbox(server) as mailbox:
            listed = mailbox.list("INBOX")
            fetching = mailbox.fetch([listed[:3], listed[3:]], max_bytes=LIMIT)
            first = next(fetching)
            assert [content_of(result) for result in first] == BODIES[:3]
            mailbox.remove([result.listed for result in first])
            assert [content_of(result) for batch in fetching for result in batch] == BODIES[3:]
            assert not any(b"DELE" in b" ".join(group) for group in server.together)
            mailbox.commit()
        assert server.messages == MAILS[3:]


@pytest.mark.parametrize(
    ("greeting", "capabilities"),
    [
        (b"+OK WDPop ready for requests from 127.0.0.1", ()),
        (b"+OK ready", (b"IMPLEMENTATION WildDuck-v1.45.0",)),
    ],
)
def test_8_3_a_server_known_to_break_pipelining_is_not_pipelined(
    greeting: bytes, capabilities: tuple[bytes, ...]
) -> None:
    offered = (b"USER", b"UIDL", b"TOP", b"PIPELINING", *capabilities)
    with PipeliningPop3(MAILS, greeting=greeting, capabilities=offered) as server:
        with scripted_mailbox(server) as mailbox:
            mailbox.list("INBOX", received=True)
            assert drain(mailbox) == BODIES
        assert server.together == []


def test_8_3_messages_without_keys_are_requested_one_at_a_time() -> None:
    """After a broken connection, the download could not resume."""
    with PipeliningPop3([("same", body) for body in BODIES], pipelining.within_the_message) as server:
        with scripted_mailbox(server) as mailbox:
            assert drain(mailbox) == BODIES
        assert server.together == []


@pytest.mark.parametrize("mix", [*PROVEN_AT_ONCE, pipelining.cut_after_the_first, pipelining.in_order])
def test_1_11_times_are_read_from_servers_that_break_pipelining(mix: Responder) -> None:
    records = ServerRecords()
    with PipeliningPop3(MAILS, mix) as server, scripted_mailbox(server, records) as mailbox:
        times = [message.received for message in mailbox.list("INBOX", received=True)]
        if mix is not pipelining.backwards and mix is not pipelining.last_for_all:
            assert times == [datetime.fromisoformat(f"2026-11-{n + 1:02}T00:{n:02}:00+00:00") for n in range(12)]
        assert drain(mailbox) == BODIES


def test_8_3_switching_pipelining_off_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    records = ServerRecords()
    with caplog.at_level(logging.WARNING), PipeliningPop3(MAILS, pipelining.backwards) as server:
        for _ in range(2):
            fill(server)
            with scripted_mailbox(server, records) as mailbox:
                drain(mailbox)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("mailbox support at localhost:")
    assert "pipelining is switched off" in message


@pytest.mark.parametrize("capabilities", [(b"USER", b"UIDL"), (b"USER", b"UIDL", b"PIPELINING")])
def test_1_3_an_empty_message_with_a_reported_size_is_a_refusal(capabilities: tuple[bytes, ...]) -> None:
    hook = on(b"RETR 2", lambda peer: peer.send(b"+OK", b"."))
    with ScriptedPop3(MAILS[:3], hook, capabilities=capabilities) as server, scripted_mailbox(server) as mailbox:
        (batch,) = mailbox.fetch([mailbox.list("INBOX")], max_bytes=LIMIT)
        assert [content_of(result) for result in batch] == [BODIES[0], None, BODIES[2]]
        assert batch[1].refused == f"the server sent no content, but lists {len(BODIES[1])} bytes"


def test_an_empty_message_listed_as_empty_is_delivered() -> None:
    with ScriptedPop3([("a", b""), ("b", BODIES[0])]) as server, scripted_mailbox(server) as mailbox:
        assert drain(mailbox) == [b"", BODIES[0]]


def test_1_3_a_message_that_is_refused_only_when_pipelined_is_delivered() -> None:
    """The message does not count as gone."""
    with PipeliningPop3(MAILS, pipelining.unknown_from_the_second) as server, scripted_mailbox(server) as mailbox:
        (batch,) = mailbox.fetch([mailbox.list("INBOX")], max_bytes=LIMIT)
        assert [content_of(result) for result in batch] == BODIES


@pytest.mark.parametrize("uidl", [{}, {"UIDL": b"-ERR no messages"}])
def test_a_refused_list_is_an_empty_mailbox_if_stat_confirms_it(uidl: dict[str, bytes]) -> None:
    hook = answers(LIST=b"-ERR no messages", STAT=b"+OK 0 0", **uidl)
    with ScriptedPop3([], hook) as server, scripted_mailbox(server) as mailbox:
        assert list(mailbox.list("INBOX")) == []
        assert mailbox.check_folder("INBOX").messages == 0
