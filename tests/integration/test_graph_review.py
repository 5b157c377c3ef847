"""Regressions found in reviews: each lost time, a message, or the whole mailbox (rules 1.8, 8.1, 8.3)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from shared.config import After
from shared.errors import FolderMissing, MailboxBusy
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.errors import GraphResponseError
from shared.mailboxes.graph.fetch import _in_thread
from shared.mailboxes.graph.mailbox import GraphMailbox
from shared.mailboxes.spool import DiskBudget, Spool
from tests.integration.test_graph_drain import data, fetch
from tests.servers.graph import Graph
from tests.servers.mail import plain_mail

MAILS = [plain_mail(n) for n in range(5)]


def replace_responses(mailbox: GraphMailbox, path: Callable[[str], bool], answer: Callable[[], httpx.Response]) -> None:
    """Replace the simulator's response to requests with some paths."""
    inner = mailbox._client._http._transport

    class Between(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if path(request.url.path):
                return answer()
            passed: httpx.Response = await inner.handle_async_request(request)
            return passed

    mailbox._client._http._transport = Between()


@pytest.mark.parametrize(("status", "body"), [(200, b""), (204, b""), (202, b"accepted"), (206, b"From: half")])
def test_8_3_a_response_without_content_is_not_a_message(graph: Graph, status: int, body: bytes) -> None:
    graph.box("support@example.com", plain_mail(1))
    with graph.open() as mailbox:
        replace_responses(mailbox, lambda path: path.endswith("/$value"), lambda: httpx.Response(status, content=body))
        (result,) = fetch(mailbox)
    assert result.content is None
    assert result.refused is not None
    assert result.unreadable is None


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}, {"Retry-After": "1"}])
@pytest.mark.parametrize("status", [502, 503, 504])
def test_1_8_a_busy_message_does_not_stop_the_others(
    graph: Graph, status: int, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.mailboxes.graph.client.MIN_BACKOFF", 0.01)
    box = graph.box("support@example.com", *MAILS)
    busy_key = box.ids("Inbox")[2]
    with graph.open(patience=60) as mailbox:
        replace_responses(mailbox, lambda path: busy_key in path, lambda: httpx.Response(status, headers=headers))
        listed = mailbox.list("INBOX")
        results = [item for batch in mailbox.fetch([[item] for item in listed], max_bytes=10**6) for item in batch]
    assert [result.refused is not None for result in results] == [False, False, True, False, False]
    assert [data(result) for result in results if result.content is not None] == [MAILS[n] for n in (0, 1, 3, 4)]


def test_1_3_a_move_to_a_deleted_folder_is_an_error(graph: Graph) -> None:
    box = graph.box("support@example.com", *MAILS)
    box.folder("Done")
    with graph.open(after=After.MOVE, move_to="Done") as mailbox:
        listed = mailbox.list("INBOX")
        mailbox._target = "AAMkGone"
        with pytest.raises(FolderMissing, match="AFTER"):
            mailbox.remove(listed)
        mailbox.remove(mailbox.list("INBOX"))
    assert box.contents("Inbox") == []
    assert box.contents("Done") == MAILS


def test_a_retry_after_delays_waiting_requests(graph: Graph) -> None:
    graph.box("support@example.com", *[plain_mail(n) for n in range(40)])
    with graph.open(patience=60) as mailbox:
        listed = mailbox.list("INBOX")
        graph.fault_plan.throttle, graph.fault_plan.retry_after = 1.0, 2
        before, began = len(graph.server.requests), time.monotonic()
        removing = mailbox._client.start(_removing(mailbox, [str(message.key) for message in listed]))
        while time.monotonic() < began + 1.5:
            time.sleep(0.05)
        assert len(graph.server.requests) - before <= 4, "those on the wire, and no other until the pause is over"
        graph.fault_plan.throttle = 0
        removing.result(30)


async def _removing(mailbox: GraphMailbox, keys: list[str]) -> None:
    await mailbox._remover().remove(keys)


def test_a_fatal_error_of_one_removal_stops_all(graph: Graph) -> None:
    graph.box("support@example.com", *[plain_mail(n) for n in range(60)])
    with graph.open(patience=2) as mailbox:
        listed = mailbox.list("INBOX")
        graph.fault_plan.throttle, graph.fault_plan.retry_after = 1.0, 1
        with pytest.raises(MailboxBusy):
            mailbox.remove(listed)
    assert 0 < len(graph.request_lines("POST", "/permanentDelete")) <= 20


def test_1_4_a_token_renewed_by_another_mailbox_is_used(graph: Graph) -> None:
    graph.box("support@example.com", plain_mail(1))
    tokens = graph.tokens
    with graph.open(tokens=tokens) as first, graph.open(tokens=tokens) as second:
        assert len(first.list("INBOX")) == len(second.list("INBOX")) == 1
        for service in tokens._clients.values():
            service.issued_at -= 300
        graph.server.revoke_tokens()
        assert len(first.list("INBOX")) == 1
        assert len(second.list("INBOX")) == 1, "the old token is refused, and the cache has a new one"


def test_a_next_link_to_another_server_is_not_followed(graph: Graph) -> None:
    from shared.errors import ConnectionLost  # noqa: PLC0415

    graph.box("support@example.com", plain_mail(1))
    requested: list[str] = []
    page = {"value": [], "@odata.nextLink": "https://graph.evil.example/v1.0/users/x/messages?$skiptoken=1"}

    def answer() -> httpx.Response:
        requested.append("")
        return httpx.Response(200, json=page)

    with graph.open() as mailbox:
        replace_responses(mailbox, lambda path: path.endswith("/messages"), answer)
        with pytest.raises(ConnectionLost, match="a link to another server"):
            mailbox.list("INBOX")
    assert len(requested) == 1


def test_1_11_a_changed_item_without_time_is_compared_with_since(graph: Graph) -> None:
    """Graph may return only the changed properties: the time is requested then."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415

    now = datetime.now(UTC)
    box = graph.box("support@example.com")
    old = box.deliver(plain_mail(1), received=now - timedelta(days=9))
    link = f"{graph.server.endpoint}/users/support@example.com/mailFolders/inbox/messages/delta()?$deltatoken=x"
    page = {"value": [{"id": old, "isRead": True}], "@odata.deltaLink": link}
    with graph.open(after=After.KEEP) as mailbox:
        replace_responses(mailbox, lambda path: path.endswith("/delta()"), lambda: httpx.Response(200, json=page))
        (message,) = mailbox.list("INBOX", since=now - timedelta(days=1))
    assert message.received is not None
    assert message.received < now - timedelta(days=8)


@pytest.mark.parametrize(("status", "code"), [(403, "ErrorAccessDenied"), (500, "ErrorInternalServerError")])
def test_1_8_a_changed_item_with_an_unreadable_time_does_not_stop_the_listing(
    graph: Graph, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    monkeypatch.setattr("shared.mailboxes.graph.client.MIN_BACKOFF", 0.01)
    box = graph.box("support@example.com", plain_mail(1), plain_mail(2))
    first, second = box.ids("Inbox")
    link = f"{graph.server.endpoint}/users/support@example.com/mailFolders/inbox/messages/delta()?$deltatoken=x"
    page = {"value": [{"id": first, "isRead": True}, {"id": second}], "@odata.deltaLink": link}
    refusal = {"error": {"code": code, "message": ""}}
    with graph.open(after=After.KEEP) as mailbox:
        replace_responses(mailbox, lambda path: path.endswith("/delta()"), lambda: httpx.Response(200, json=page))
        replace_responses(mailbox, lambda path: path.endswith(first), lambda: httpx.Response(status, json=refusal))
        listed = mailbox.list("INBOX", since=datetime(2020, 1, 1, tzinfo=UTC))
    assert {message.key: message.received is None for message in listed} == {first: True, second: False}


def test_a_message_of_unknown_size_is_fetched_alone(graph: Graph) -> None:
    large = [plain_mail(n, size=5_000_000) for n in range(3)]
    graph.box("support@example.com", *large)
    with graph.open() as mailbox:
        for message in mailbox.list("INBOX"):
            assert message.size > 4_000_000
        items = {"value": [{"id": key} for key in graph.box("support@example.com").ids("Inbox")]}
        replace_responses(mailbox, lambda path: path.endswith("/messages"), lambda: httpx.Response(200, json=items))
        listed = mailbox.list("INBOX")
        assert [message.size for message in listed] == [4 * 1024 * 1024] * 3
        got = [data(item) for batch in mailbox.fetch([[item] for item in listed], max_bytes=10**8) for item in batch]
    assert sorted(got) == sorted(large)


def test_a_cancelled_wait_for_disk_space_releases_it(tmp_path: Path) -> None:
    budget = DiskBudget(10_000_000)
    budget.reserve(10_000_000)
    spools: list[Spool] = []

    def spool() -> Spool:
        spools.append(Spool(8_000_000, 10**9, budget=budget))
        return spools[-1]

    async def cancel_waiting() -> None:
        waiting = asyncio.ensure_future(_in_thread(spool, lambda created: created.discard()))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        budget.release(10_000_000)

    asyncio.run(cancel_waiting())
    until = time.monotonic() + 10
    while not spools or spools[0]._held:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert spools[0]._path is not None
    assert not spools[0]._path.exists()


def test_a_response_error_describes_itself() -> None:
    assert GraphResponseError(400, "SyncStateInvalid").is_state_lost
    assert GraphResponseError(410).is_state_lost
    assert not GraphResponseError(404, "ErrorItemNotFound").is_state_lost
    assert GraphResponseError(503, retry_after=1).has_retry_after
    assert not GraphResponseError(503).has_retry_after


def test_sessions_share_one_tls_context(graph: Graph) -> None:
    """The machine's root certificates are loaded once."""
    contexts = GraphEndpoint(graph.server.endpoint).tls_contexts
    assert contexts.for_settings(graph.settings()) is contexts.for_settings(graph.settings())
    assert contexts.for_settings(graph.settings()) is not contexts.for_settings(graph.settings(ca_file=None))
