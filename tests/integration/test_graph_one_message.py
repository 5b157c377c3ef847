"""One message that Microsoft Graph does not give out, while it gives out the others (rules 1.8, 8.3)."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from shared.errors import AccessRefused, MailboxBusy
from tests.integration.test_graph_drain import data, fetch
from tests.integration.test_graph_review import answering
from tests.servers.graph import Graph
from tests.servers.mail import plain_mail

MAILS = [plain_mail(n) for n in range(6)]


@pytest.mark.parametrize("where", [0, 3, 5])
def test_1_8_one_that_is_forbidden_stays_and_the_others_go_on(graph: Graph, where: int) -> None:
    box = graph.box("support@example.com", *MAILS)
    graph.fault_plan.forbidden.add(box.ids("Inbox")[where])
    with graph.open() as mailbox:
        found = fetch(mailbox)
    assert [one.refused is not None for one in found] == [number == where for number in range(6)]
    assert "ErrorAccessDenied" in str(found[where].refused)
    assert found[where].unreadable is None
    assert [data(one) for one in found if one.content is not None] == [m for n, m in enumerate(MAILS) if n != where]


def test_1_8_one_that_is_forbidden_and_alone_is_not_the_mailboxs_failure(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS[:1])
    graph.fault_plan.forbidden.update(box.ids("Inbox"))
    with graph.open() as mailbox:
        (one,) = fetch(mailbox)
    assert one.refused is not None


def test_an_app_that_may_list_and_not_read_is_refused_access(graph: Graph) -> None:
    """As with Mail.ReadBasic: the permission is missing, whatever the message."""
    graph.box("support@example.com", *MAILS)
    with graph.open() as mailbox:
        denied = {"error": {"code": "ErrorAccessDenied", "message": "Access is denied."}}
        answering(mailbox, lambda path: path.endswith("/$value"), lambda: httpx.Response(403, json=denied))
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
def test_8_3_one_that_answers_404_each_time_is_listed_and_gone_each_time(graph: Graph, polls: int) -> None:
    """So that its caller can count."""
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
def test_1_8_one_that_is_asked_alone_and_never_ready_is_not_a_busy_mailbox(
    graph: Graph, status: int, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mailbox answers other requests meanwhile."""
    monkeypatch.setattr("shared.mailboxes.graph.client.MIN_BACKOFF", 0.01)
    monkeypatch.setattr("shared.mailboxes.graph.client.MAX_BUSY_RESPONSES", 1)
    graph.box("support@example.com", *MAILS[:1])
    with graph.open(patience=5) as mailbox:
        answering(mailbox, lambda path: path.endswith("/$value"), lambda: httpx.Response(status, headers=headers))
        (one,) = fetch(mailbox)
    assert one.refused == f"HTTP {status}"


@pytest.mark.parametrize("status", [429, 503])
def test_a_mailbox_that_says_not_now_to_everything_is_busy(graph: Graph, status: int) -> None:
    graph.box("support@example.com", *MAILS[:1])
    with graph.open(patience=5) as mailbox:
        mailbox.list("INBOX")
        answering(mailbox, lambda _path: True, lambda: httpx.Response(status, headers={"Retry-After": "600"}))
        with pytest.raises(MailboxBusy) as caught:
            list(mailbox.fetch([mailbox._listing.messages], max_bytes=10**6))
    assert caught.value.retry_after == 600


def test_429_for_one_message_is_throttling(graph: Graph) -> None:
    graph.box("support@example.com", *MAILS[:1])
    with graph.open(patience=5) as mailbox:
        answering(
            mailbox,
            lambda path: path.endswith("/$value"),
            lambda: httpx.Response(429, headers={"Retry-After": "600"}),
        )
        with pytest.raises(MailboxBusy):
            fetch(mailbox)
