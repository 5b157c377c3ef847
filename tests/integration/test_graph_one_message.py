"""One message that Microsoft Graph refuses while it returns the others (rules 1.8, 8.3)."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from shared.errors import AccessRefused, MailboxBusy
from tests.integration.test_graph_drain import data, fetch
from tests.integration.test_graph_review import replace_responses
from tests.servers.graph import Graph
from tests.servers.mail import plain_mail

MAILS = [plain_mail(n) for n in range(6)]


@pytest.mark.parametrize("where", [0, 3, 5])
def test_1_8_a_forbidden_message_does_not_stop_the_others(graph: Graph, where: int) -> None:
    box = graph.box("support@example.com", *MAILS)
    graph.fault_plan.forbidden.add(box.ids("Inbox")[where])
    with graph.open() as mailbox:
        results = fetch(mailbox)
    assert [result.refused is not None for result in results] == [number == where for number in range(6)]
    assert "ErrorAccessDenied" in str(results[where].refused)
    assert results[where].unreadable is None
    assert [data(result) for result in results if result.content is not None] == [
        m for n, m in enumerate(MAILS) if n != where
    ]


def test_1_8_a_single_forbidden_message_is_not_a_mailbox_failure(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS[:1])
    graph.fault_plan.forbidden.update(box.ids("Inbox"))
    with graph.open() as mailbox:
        (result,) = fetch(mailbox)
    assert result.refused is not None


def test_an_app_that_may_list_and_not_read_is_refused_access(graph: Graph) -> None:
    """With Mail.ReadBasic, the permission is missing for every message."""
    graph.box("support@example.com", *MAILS)
    with graph.open() as mailbox:
        denied = {"error": {"code": "ErrorAccessDenied", "message": "Access is denied."}}
        replace_responses(mailbox, lambda path: path.endswith("/$value"), lambda: httpx.Response(403, json=denied))
        with pytest.raises(AccessRefused, match=r"Mail\.ReadWrite for support@example\.com"):
            fetch(mailbox)


def test_an_app_that_loses_its_permission_meanwhile_is_refused_access(graph: Graph) -> None:
    graph.box("support@example.com", *MAILS)
    app = graph.server.register()
    with replace(graph, app=app).open() as mailbox:
        mailbox.list("INBOX")
        app.permissions = set()
        with pytest.raises(AccessRefused):
            list(mailbox.fetch([mailbox._listing.messages], max_bytes=10**6))


@pytest.mark.parametrize("polls", [4])
def test_8_3_a_missing_message_is_listed_at_every_poll(graph: Graph, polls: int) -> None:
    """The caller counts the polls."""
    box = graph.box("support@example.com", *MAILS[:2])
    lost = box.ids("Inbox")[0]
    graph.fault_plan.missing.add(lost)
    for _ in range(polls):
        with graph.open() as mailbox:
            first, second = fetch(mailbox)
        assert (first.listed.key, first.content, first.refused, first.unreadable) == (lost, None, None, None)
        data(second)


@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {"Retry-After": "1"}, {"Retry-After": "600"}])
@pytest.mark.parametrize("status", [502, 503, 504])
def test_1_8_a_single_busy_message_is_not_a_busy_mailbox(
    graph: Graph, status: int, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mailbox answers other requests meanwhile."""
    monkeypatch.setattr("shared.mailboxes.graph.client.MIN_BACKOFF", 0.01)
    monkeypatch.setattr("shared.mailboxes.graph.client.MAX_BUSY_RESPONSES", 1)
    graph.box("support@example.com", *MAILS[:1])
    with graph.open(patience=5) as mailbox:
        replace_responses(
            mailbox, lambda path: path.endswith("/$value"), lambda: httpx.Response(status, headers=headers)
        )
        (result,) = fetch(mailbox)
    assert result.refused == f"HTTP {status}"


@pytest.mark.parametrize("status", [429, 503])
def test_a_mailbox_that_is_busy_for_all_requests_is_busy(graph: Graph, status: int) -> None:
    graph.box("support@example.com", *MAILS[:1])
    with graph.open(patience=5) as mailbox:
        mailbox.list("INBOX")
        replace_responses(mailbox, lambda _path: True, lambda: httpx.Response(status, headers={"Retry-After": "600"}))
        with pytest.raises(MailboxBusy) as caught:
            list(mailbox.fetch([mailbox._listing.messages], max_bytes=10**6))
    assert caught.value.retry_after == 600


def test_429_for_one_message_is_throttling(graph: Graph) -> None:
    graph.box("support@example.com", *MAILS[:1])
    with graph.open(patience=5) as mailbox:
        replace_responses(
            mailbox,
            lambda path: path.endswith("/$value"),
            lambda: httpx.Response(429, headers={"Retry-After": "600"}),
        )
        with pytest.raises(MailboxBusy):
            fetch(mailbox)
