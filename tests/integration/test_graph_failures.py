"""What goes wrong at Microsoft Graph, and what is done about it (rules 1.4, 1.8, 8.2, 8.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.config import After
from shared.errors import (
    AccessRefused,
    AuthenticationError,
    ConnectFailed,
    ConnectionLost,
    MailboxBusy,
    MailboxError,
    TlsRefused,
)
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.mailbox import GraphMailbox
from shared.mailboxes.oauth.token_cache import TokenCache
from tests.integration.test_graph_drain import LIMIT, data, fetch, in_batches
from tests.servers.certificates import Ca
from tests.servers.graph import Graph
from tests.servers.mail import plain_mail

MAILS = [plain_mail(n) for n in range(12)]


def test_8_3_what_is_not_there_any_more_is_gone_and_no_failure(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS)
    with graph.open() as mailbox:
        listed = mailbox.list("INBOX")
        gone = box.renew_id(box.ids("Inbox")[3])
        (batch,) = mailbox.fetch([listed], max_bytes=LIMIT)
        assert [(one.content is None, one.refused) for one in batch] == [(n == 3, None) for n in range(len(MAILS))]
        mailbox.remove(listed)
    assert box.ids("Inbox") == [gone], "under its new id it comes with the next listing"


def test_8_3_a_content_that_answers_404_at_first_is_there_at_the_next_look(graph: Graph) -> None:
    graph.fault_plan.late_content = 1
    graph.box("support@example.com", plain_mail(1))
    with graph.open() as mailbox:
        (one,) = fetch(mailbox)
        assert (one.content, one.refused) == (None, None)
        (one,) = fetch(mailbox)
        assert data(one) == plain_mail(1)


def test_8_3_a_content_that_is_never_given_out_is_told_of(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS[:2])
    box.deliver(MAILS[5], unconvertible=True)
    box.deliver(MAILS[6])
    with graph.open() as mailbox:
        found = fetch(mailbox)
    assert [one.unreadable is not None for one in found] == [False, False, True, False]
    assert found[2].refused is not None
    assert "ErrorMimeContentConversionFailed" in found[2].refused
    told = found[2].unreadable
    assert told is not None
    assert set(told) == {"subject", "from", "to", "message_id", "received"}
    assert told["subject"]
    assert len(graph.request_lines("GET", "/$value")) == 4, "what is for good is asked once"
    for one in found:
        if one.content is not None:
            one.content.close()


def test_1_8_a_message_that_fails_at_each_try_stays_and_the_others_go_on(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS[:3])
    graph.fault_plan.failing[box.ids("Inbox")[1]] = 100
    with graph.open() as mailbox:
        found = fetch(mailbox)
        assert [one.refused is not None for one in found] == [False, True, False]
        assert found[1].unreadable is None, "it may be read next time"
        graph.fault_plan.failing.clear()
        assert [data(one) for one in fetch(mailbox)] == MAILS[:3]
    for one in (found[0], found[2]):
        data(one)


def test_8_3_a_passing_fault_is_tried_again(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS[:3])
    graph.fault_plan.failing[box.ids("Inbox")[1]] = 1
    with graph.open() as mailbox:
        assert [data(one) for one in fetch(mailbox)] == MAILS[:3]


def test_8_3_connections_that_break_in_the_middle_of_a_message(graph: Graph) -> None:
    graph.box("support@example.com", *[plain_mail(n, size=60_000) for n in range(6)], plain_mail(7, size=5_000_000))
    graph.fault_plan.truncate_content = 2
    with graph.open() as mailbox:
        expected = [plain_mail(n, size=60_000) for n in range(6)] + [plain_mail(7, size=5_000_000)]
        assert [data(one) for one in fetch(mailbox)] == expected


def test_8_3_requests_that_are_never_answered(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS)
    with graph.open() as mailbox:
        graph.fault_plan.drop_requests = 1
        listed = mailbox.list("INBOX")
        graph.fault_plan.drop_requests = 1
        for batch in mailbox.fetch(in_batches(listed, 4), max_bytes=LIMIT):
            for one in batch:
                data(one)
            graph.fault_plan.drop_responses = 1
            mailbox.remove([one.listed for one in batch])
    assert box.contents("Inbox") == []


def test_a_session_whose_every_download_breaks_is_given_up(graph: Graph) -> None:
    graph.box("support@example.com", *[plain_mail(n, size=60_000) for n in range(10)])
    with graph.open(patience=2) as mailbox:
        listed = mailbox.list("INBOX")
        graph.fault_plan.truncate_content = 1000
        with pytest.raises(ConnectionLost):
            list(mailbox.fetch([listed], max_bytes=LIMIT))


def test_throttling_is_waited_out_as_long_as_it_says(graph: Graph) -> None:
    graph.fault_plan.throttle, graph.fault_plan.unavailable = 0.2, 0.1
    box = graph.box("support@example.com", *MAILS)
    with graph.open(patience=60) as mailbox:
        found = fetch(mailbox)
        assert [data(one) for one in found] == MAILS
        mailbox.remove([one.listed for one in found])
    assert box.contents("Inbox") == []
    statuses = [one.status for one in graph.server.requests]
    assert {429, 503} & set(statuses)


def test_a_throttle_that_lasts_longer_than_the_poll_is_no_failure(graph: Graph) -> None:
    graph.box("support@example.com", plain_mail(1))
    graph.fault_plan.throttle, graph.fault_plan.retry_after = 1.0, 90
    with graph.open(patience=5) as mailbox, pytest.raises(MailboxBusy) as caught:
        mailbox.list("INBOX")
    assert caught.value.retry_after == 90
    assert len(graph.server.requests) == 1


def test_1_4_a_token_that_dies_in_mid_session(graph: Graph) -> None:
    """Refused tokens are renewed once; what the cache would give again is thrown away first."""
    box = graph.box("support@example.com", *MAILS)
    tokens = graph.tokens
    with graph.open(tokens=tokens) as mailbox:
        listed = mailbox.list("INBOX")
        _age(tokens)
        graph.server.revoke_tokens()
        found = [one for batch in mailbox.fetch(in_batches(listed, 5), max_bytes=LIMIT) for one in batch]
        assert [data(one) for one in found] == MAILS
        _age(tokens)
        graph.server.revoke_tokens()
        mailbox.remove(listed)
    assert box.contents("Inbox") == []
    assert 3 <= len(graph.server.token_requests) <= 8


def test_1_4_a_token_of_another_audience_is_refused_once(graph: Graph) -> None:
    graph.box("support@example.com", plain_mail(1))
    other = TokenCache(graph.server.url, "https://other.example/v1.0")
    with graph.open(tokens=other) as mailbox, pytest.raises(AuthenticationError, match="GRAPH_ENDPOINT"):
        mailbox.list("INBOX")
    assert len(graph.server.requests) == 1


@pytest.mark.parametrize(
    ("permissions", "after", "problems"),
    [
        ({"Mail.ReadWrite"}, After.DELETE, 0),
        ({"Mail.Read"}, After.KEEP, 0),
        ({"Mail.Read"}, After.DELETE, 1),
    ],
)
def test_1_11_rights_are_looked_at_without_changing_anything(
    graph: Graph, permissions: set[str], after: After, problems: int
) -> None:
    box = graph.box("support@example.com", *MAILS)
    app = graph.server.register(permissions=permissions)
    weaker = replace(graph, app=app)
    with weaker.open(after=after) as mailbox:
        rights = mailbox.check_folder("INBOX")
    assert rights.messages == len(MAILS)
    assert len(rights.problems) == problems
    if problems:
        assert "Mail.ReadWrite is missing" in rights.problems[0]
    assert box.contents("Inbox") == MAILS


def test_1_11_a_missing_move_target_is_a_problem(graph: Graph) -> None:
    graph.box("support@example.com", plain_mail(1))
    with graph.open(after=After.MOVE, move_to="Nowhere") as mailbox:
        (problem,) = mailbox.check_folder("INBOX").problems
    assert "MAILBOXES__support__AFTER" in problem


def test_an_app_without_permission_is_told_which(graph: Graph) -> None:
    graph.box("support@example.com", plain_mail(1))
    without = replace(graph, app=graph.server.register(permissions=set()))
    with without.open() as mailbox, pytest.raises(AccessRefused, match=r"Mail\.ReadWrite for support@example\.com"):
        mailbox.list("INBOX")


def test_a_removal_that_is_not_allowed_keeps_the_message(graph: Graph) -> None:
    box = graph.box("support@example.com", plain_mail(1))
    reader = replace(graph, app=graph.server.register(permissions={"Mail.Read"}))
    with reader.open() as mailbox:
        listed = mailbox.list("INBOX")
        with pytest.raises(AccessRefused):
            mailbox.remove(listed)
    assert len(box.contents("Inbox")) == 1


def test_a_mailbox_that_is_not_there_is_named(graph: Graph) -> None:
    with graph.open(address="nobody@example.com") as mailbox, pytest.raises(MailboxError) as caught:
        mailbox.list("INBOX")
    assert "nobody@example.com" in str(caught.value)
    assert "MAILBOXES__support__ADDRESS" in str(caught.value)


class Signed:
    """The token is had without asking for it: the way to Graph itself is what is looked at."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def token(self, _settings: object) -> str:
        return self._graph.server.token(self._graph.app)

    def forget(self, _settings: object) -> bool:
        return False


@pytest.mark.parametrize("trusted", [False, True])
def test_1_2_a_certificate_that_is_not_trusted(graphs: Callable[..., Graph], ca: Ca, *, trusted: bool) -> None:
    """Of an unknown CA, or for another name: refused, with what was wrong and what helps."""
    graph = graphs(pair=ca.server("other.example.net")) if trusted else graphs()
    settings = graph.settings() if trusted else graph.settings(ca_file=None)
    signed: Any = Signed(graph)
    way = GraphEndpoint(graph.server.endpoint, 5)
    with GraphMailbox(settings, signed, way) as mailbox, pytest.raises(TlsRefused) as caught:
        mailbox.list("INBOX")
    assert ("other.example.net" if trusted else "CA_FILE") in str(caught.value)
    assert "mailbox support" in str(caught.value)
    assert graph.server.requests == []


def test_nobody_listens(graph: Graph) -> None:
    tokens = graph.tokens
    tokens.token(graph.settings())
    graph.server.close()
    mailbox = GraphMailbox(graph.settings(), tokens, GraphEndpoint(graph.server.endpoint, 5))
    with mailbox, pytest.raises(ConnectFailed, match="GRAPH_ENDPOINT"):
        mailbox.list("INBOX")


def test_boundaries_that_change_do_not_change_what_is_known(graph: Graph) -> None:
    """The receipt's key is the id, whatever the bytes of another reading are (rule 4.4)."""
    mixed = b"Content-Type: multipart/mixed; boundary=abc\r\n\r\n--abc\r\n\r\nhi\r\n--abc--\r\n"
    graph.fault_plan.vary_boundaries = True
    graph.box("support@example.com", mixed)
    with graph.open(after=After.KEEP) as mailbox:
        (first,) = fetch(mailbox)
        (second,) = fetch(mailbox)
    assert data(first) != data(second)
    assert first.listed.key == second.listed.key


def _age(tokens: TokenCache) -> None:
    for service in tokens._services.values():
        service.issued_at -= timedelta(minutes=5).total_seconds()
