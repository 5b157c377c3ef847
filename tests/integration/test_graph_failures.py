"""Failures of Microsoft Graph and their handling (rules 1.4, 1.8, 8.2, 8.3)."""

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


def test_8_3_a_missing_message_is_not_a_failure(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS)
    with graph.open() as mailbox:
        listed = mailbox.list("INBOX")
        gone = box.renew_id(box.ids("Inbox")[3])
        (batch,) = mailbox.fetch([listed], max_bytes=LIMIT)
        assert [(result.content is None, result.refused) for result in batch] == [
            (n == 3, None) for n in range(len(MAILS))
        ]
        mailbox.remove(listed)
    assert box.ids("Inbox") == [gone], "the next listing has its new id"


def test_8_3_late_content_is_fetched_by_the_next_poll(graph: Graph) -> None:
    graph.fault_plan.late_content = 1
    graph.box("support@example.com", plain_mail(1))
    with graph.open() as mailbox:
        (result,) = fetch(mailbox)
        assert (result.content, result.refused) == (None, None)
        (result,) = fetch(mailbox)
        assert data(result) == plain_mail(1)


def test_8_3_permanently_unreadable_content_is_reported_with_its_properties(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS[:2])
    box.deliver(MAILS[5], unconvertible=True)
    box.deliver(MAILS[6])
    with graph.open() as mailbox:
        results = fetch(mailbox)
    assert [result.unreadable is not None for result in results] == [False, False, True, False]
    assert results[2].refused is not None
    assert "ErrorMimeContentConversionFailed" in results[2].refused
    properties = results[2].unreadable
    assert properties is not None
    assert set(properties) == {"subject", "from", "to", "message_id", "received"}
    assert properties["subject"]
    assert len(graph.request_lines("GET", "/$value")) == 4, "permanent errors are not retried"
    for result in results:
        if result.content is not None:
            result.content.close()


def test_1_8_a_failing_message_does_not_stop_the_others(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS[:3])
    graph.fault_plan.failing[box.ids("Inbox")[1]] = 100
    with graph.open() as mailbox:
        results = fetch(mailbox)
        assert [result.refused is not None for result in results] == [False, True, False]
        assert results[1].unreadable is None, "the next poll may succeed"
        graph.fault_plan.failing.clear()
        assert [data(item) for item in fetch(mailbox)] == MAILS[:3]
    for item in (results[0], results[2]):
        data(item)


def test_8_3_a_transient_error_is_retried(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS[:3])
    graph.fault_plan.failing[box.ids("Inbox")[1]] = 1
    with graph.open() as mailbox:
        assert [data(item) for item in fetch(mailbox)] == MAILS[:3]


def test_8_3_a_truncated_download_is_retried(graph: Graph) -> None:
    graph.box("support@example.com", *[plain_mail(n, size=60_000) for n in range(6)], plain_mail(7, size=5_000_000))
    graph.fault_plan.truncate_content = 2
    with graph.open() as mailbox:
        expected = [plain_mail(n, size=60_000) for n in range(6)] + [plain_mail(7, size=5_000_000)]
        assert [data(item) for item in fetch(mailbox)] == expected


def test_8_3_requests_without_a_response_are_retried(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS)
    with graph.open() as mailbox:
        graph.fault_plan.drop_requests = 1
        listed = mailbox.list("INBOX")
        graph.fault_plan.drop_requests = 1
        for batch in mailbox.fetch(in_batches(listed, 4), max_bytes=LIMIT):
            for item in batch:
                data(item)
            graph.fault_plan.drop_responses = 1
            mailbox.remove([result.listed for result in batch])
    assert box.contents("Inbox") == []


def test_a_session_fails_when_every_download_breaks(graph: Graph) -> None:
    graph.box("support@example.com", *[plain_mail(n, size=60_000) for n in range(10)])
    with graph.open(patience=2) as mailbox:
        listed = mailbox.list("INBOX")
        graph.fault_plan.truncate_content = 1000
        with pytest.raises(ConnectionLost):
            list(mailbox.fetch([listed], max_bytes=LIMIT))


def test_throttled_requests_wait_for_retry_after(graph: Graph) -> None:
    graph.fault_plan.throttle, graph.fault_plan.unavailable = 0.2, 0.1
    box = graph.box("support@example.com", *MAILS)
    with graph.open(patience=60) as mailbox:
        results = fetch(mailbox)
        assert [data(item) for item in results] == MAILS
        mailbox.remove([result.listed for result in results])
    assert box.contents("Inbox") == []
    statuses = [request.status for request in graph.server.requests]
    assert {429, 503} & set(statuses)


def test_throttling_beyond_the_patience_is_a_busy_mailbox(graph: Graph) -> None:
    graph.box("support@example.com", plain_mail(1))
    graph.fault_plan.throttle, graph.fault_plan.retry_after = 1.0, 90
    with graph.open(patience=5) as mailbox, pytest.raises(MailboxBusy) as caught:
        mailbox.list("INBOX")
    assert caught.value.retry_after == 90
    assert len(graph.server.requests) == 1


def test_1_4_a_token_revoked_in_mid_session_is_renewed(graph: Graph) -> None:
    """A refused token is dropped from the cache and renewed once."""
    box = graph.box("support@example.com", *MAILS)
    tokens = graph.tokens
    with graph.open(tokens=tokens) as mailbox:
        listed = mailbox.list("INBOX")
        _age(tokens)
        graph.server.revoke_tokens()
        results = [item for batch in mailbox.fetch(in_batches(listed, 5), max_bytes=LIMIT) for item in batch]
        assert [data(item) for item in results] == MAILS
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
def test_1_11_permissions_are_checked_without_changing_anything(
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


def test_a_missing_permission_is_named(graph: Graph) -> None:
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


def test_a_missing_mailbox_is_named(graph: Graph) -> None:
    with graph.open(address="nobody@example.com") as mailbox, pytest.raises(MailboxError) as caught:
        mailbox.list("INBOX")
    assert "nobody@example.com" in str(caught.value)
    assert "MAILBOXES__support__ADDRESS" in str(caught.value)


class Signed:
    """A token source that sends no requests, so that only the connection to Graph is tested."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def token(self, _settings: object) -> str:
        return self._graph.server.token(self._graph.app)

    def forget(self, _settings: object) -> bool:
        return False


@pytest.mark.parametrize("trusted", [False, True])
def test_1_2_an_untrusted_certificate_is_refused(graphs: Callable[..., Graph], ca: Ca, *, trusted: bool) -> None:
    """The error names the unknown CA or the other host name, and the setting."""
    graph = graphs(pair=ca.server("other.example.net")) if trusted else graphs()
    settings = graph.settings() if trusted else graph.settings(ca_file=None)
    signed: Any = Signed(graph)
    endpoint = GraphEndpoint(graph.server.endpoint, 5)
    with GraphMailbox(settings, signed, endpoint) as mailbox, pytest.raises(TlsRefused) as caught:
        mailbox.list("INBOX")
    assert ("other.example.net" if trusted else "CA_FILE") in str(caught.value)
    assert "mailbox support" in str(caught.value)
    assert graph.server.requests == []


def test_an_unreachable_server_is_a_connection_error(graph: Graph) -> None:
    tokens = graph.tokens
    tokens.token(graph.settings())
    graph.server.close()
    mailbox = GraphMailbox(graph.settings(), tokens, GraphEndpoint(graph.server.endpoint, 5))
    with mailbox, pytest.raises(ConnectFailed, match="GRAPH_ENDPOINT"):
        mailbox.list("INBOX")


def test_changed_boundaries_do_not_change_the_key(graph: Graph) -> None:
    """The receipt's key is the id, even if the content differs between reads (rule 4.4)."""
    mixed = b"Content-Type: multipart/mixed; boundary=abc\r\n\r\n--abc\r\n\r\nhi\r\n--abc--\r\n"
    graph.fault_plan.vary_boundaries = True
    graph.box("support@example.com", mixed)
    with graph.open(after=After.KEEP) as mailbox:
        (first,) = fetch(mailbox)
        (second,) = fetch(mailbox)
    assert data(first) != data(second)
    assert first.listed.key == second.listed.key


def _age(tokens: TokenCache) -> None:
    for service in tokens._clients.values():
        service.issued_at -= timedelta(minutes=5).total_seconds()
