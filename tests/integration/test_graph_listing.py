"""Listings with circular links, and pages that are too large for the server (rules 1.8, 8.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import httpx
import pytest

from shared.config import After
from shared.errors import MailboxBusy, MailboxError
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.mailbox import GraphMailbox
from tests.integration.test_graph_review import replace_responses
from tests.servers.graph import Graph
from tests.servers.mail import plain_mail

Answers = Callable[[], httpx.Response]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.mailboxes.graph.client.MIN_BACKOFF", 0.01)


def pages(*answers: dict[str, object]) -> Answers:
    """Respond with one page after the other, then with the last page repeatedly."""
    left = list(answers)
    return lambda: httpx.Response(200, json=left.pop(0) if len(left) > 1 else left[0])


def page(graph: Graph, keys: list[str], following: str | None, kind: str = "nextLink") -> dict[str, object]:
    where = f"{graph.server.endpoint}/users/support@example.com/mailFolders/inbox/messages"
    items = [{"id": key, "receivedDateTime": "2026-11-24T12:00:00Z"} for key in keys]
    return {"value": items} | ({f"@odata.{kind}": f"{where}?$skiptoken={following}"} if following else {})


def is_listing(path: str) -> bool:
    return path.endswith("/messages")


@pytest.mark.parametrize("circle", [["a%3d"], ["a=", "a%3D"], ["a", "b"], ["a", "b", "c"]])
def test_1_8_a_circular_listing_ends_with_the_listed_messages(
    graph: Graph, circle: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    box = graph.box("support@example.com", *[plain_mail(n) for n in range(3)])
    keys = box.ids("Inbox")
    listing = [page(graph, keys, circle[0]), *[page(graph, [], name) for name in (circle * 3)[1:]]]
    with graph.open() as mailbox:
        replace_responses(mailbox, is_listing, pages(*listing))
        with caplog.at_level(logging.WARNING):
            listed = mailbox.list("INBOX")
        assert [message.key for message in listed] == keys
        assert mailbox.key_prefix is None, "messages may be missing"
        mailbox.remove(listed)
        assert mailbox.list("INBOX") == ()
        assert mailbox.key_prefix is None
    assert box.contents("Inbox") == []
    with graph.open() as mailbox:
        mailbox.list("INBOX")
        assert mailbox.key_prefix == ""
    assert "mailbox support: Microsoft Graph sent the same link to the next page twice" in caplog.text


def test_1_8_endless_empty_pages_end_the_listing(graph: Graph, caplog: pytest.LogCaptureFixture) -> None:
    box = graph.box("support@example.com", plain_mail(1))
    names: Iterator[int] = iter(range(10_000))
    with graph.open() as mailbox:
        replace_responses(
            mailbox,
            is_listing,
            lambda: httpx.Response(200, json=page(graph, box.ids("Inbox"), str(next(names)))),
        )
        with caplog.at_level(logging.WARNING):
            assert len(mailbox.list("INBOX")) == 1
    assert next(names) < 200
    assert "without a new item" in caplog.text


def test_1_3_a_circular_delta_query_has_no_watermark(graph: Graph) -> None:
    box = graph.box("support@example.com", *[plain_mail(n) for n in range(3)])
    keys = box.ids("Inbox")
    with graph.open(after=After.KEEP) as mailbox:
        whole = mailbox.list("INBOX")
        mark = mailbox.watermark([message.number for message in whole])
        assert mark is not None
        circle = pages(page(graph, keys, "a"), page(graph, [], "a"))
        replace_responses(mailbox, lambda path: "/messages" in path, circle)
        listed = mailbox.list("INBOX")
        assert sorted(str(message.key) for message in listed) == sorted(keys)
        assert mailbox.watermark([message.number for message in listed]) is None


def test_1_3_a_watermark_with_circular_links_does_not_hide_new_mail(graph: Graph) -> None:
    """The query from the watermark never reaches new messages, so a query from the start does."""
    box = graph.box("support@example.com", *[plain_mail(n) for n in range(3)])
    with graph.open(after=After.KEEP) as mailbox:
        scope = "support@example.com inbox"
        link = str(page(graph, [], "stuck")["@odata.nextLink"])
        requested: list[str] = []

        def stuck() -> httpx.Response:
            requested.append("")
            return httpx.Response(200, json=page(graph, [], "stuck"))

        replace_responses(mailbox, is_listing, stuck)
        listed = mailbox.list("INBOX", above=f"{scope} {link}")
        assert sorted(str(message.key) for message in listed) == sorted(box.ids("Inbox"))
        mark = mailbox.watermark([message.number for message in listed])
        assert mark is not None
        assert "$deltatoken" in mark
        assert len(requested) == 1


def sizes(graph: Graph, option: str = "$top") -> list[int]:
    return [int(item.query[option]) for item in graph.server.requests if option in item.query]


def again(graph: Graph, mailbox: GraphMailbox, **changes: object) -> GraphMailbox:
    """Open another session in the same process."""
    return GraphMailbox(graph.settings(**changes), graph.tokens, mailbox._endpoint)


@pytest.mark.parametrize(("largest", "first"), [(500, [1000, 100]), (50, [1000, 100, 10]), (10, [1000, 100, 10])])
def test_8_3_a_failing_page_is_requested_in_a_smaller_size(graph: Graph, largest: int, first: list[int]) -> None:
    box = graph.box("support@example.com", *[b"Subject: %d\r\n\r\n" % n for n in range(25)])
    graph.fault_plan.max_page_size = largest
    with graph.open() as mailbox:
        assert [message.key for message in mailbox.list("INBOX")] == box.ids("Inbox")
        assert sizes(graph) == first
        with again(graph, mailbox) as later:
            assert len(later.list("INBOX")) == 25
    assert sizes(graph) == [*first, first[-1]], "the size that worked is remembered"


def test_8_3_a_page_in_the_middle_is_requested_in_a_smaller_size(graph: Graph) -> None:
    box = graph.box("support@example.com", *[b"Subject: %d\r\n\r\n" % n for n in range(1150)])
    with graph.open() as mailbox:
        inner = mailbox._client._http._transport

        class ThenTooMuch(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                passed: httpx.Response = await inner.handle_async_request(request)
                graph.fault_plan.max_page_size = 100
                return passed

        mailbox._client._http._transport = ThenTooMuch()
        assert [message.key for message in mailbox.list("INBOX")] == box.ids("Inbox")
    assert len(graph.request_lines("GET", "/messages")) == 1 + 1 + 2, "what came before is not asked for again"


def test_8_3_a_delta_query_is_read_in_smaller_pages(graph: Graph) -> None:
    box = graph.box("support@example.com", *[b"Subject: %d\r\n\r\n" % n for n in range(25)])
    graph.fault_plan.max_page_size = 10
    with graph.open(after=After.KEEP) as mailbox:
        listed = mailbox.list("INBOX")
        assert sorted(str(message.key) for message in listed) == sorted(box.ids("Inbox"))
        mark = mailbox.watermark([message.number for message in listed])
        assert list(mailbox.list("INBOX", above=mark)) == []
    prefers = [item.prefer.rpartition("=")[2] for item in graph.server.requests if item.path.endswith("/delta()")]
    assert prefers[:3] == ["500", "100", "10"]
    assert set(prefers[3:]) == {"10"}


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_8_3_other_server_errors_reduce_the_page_size(graph: Graph, status: int) -> None:
    graph.box("support@example.com", plain_mail(1))
    answers = [httpx.Response(status), None]
    with graph.open() as mailbox:
        inner = mailbox._client._http._transport

        class First(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                answer = answers.pop(0) if answers else None
                if answer is not None:
                    return answer
                passed: httpx.Response = await inner.handle_async_request(request)
                return passed

        mailbox._client._http._transport = First()
        assert len(mailbox.list("INBOX")) == 1
    assert sizes(graph) == [100]


def test_8_3_a_timeout_reduces_the_page_size(graph: Graph) -> None:
    graph.box("support@example.com", plain_mail(1))
    with graph.open() as mailbox:
        inner = mailbox._client._http._transport

        class Silent(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.url.params.get("$top") == "1000":
                    raise httpx.ReadTimeout("nothing came", request=request)
                passed: httpx.Response = await inner.handle_async_request(request)
                return passed

        mailbox._client._http._transport = Silent()
        assert len(mailbox.list("INBOX")) == 1


def test_throttling_does_not_reduce_the_page_size(graph: Graph) -> None:
    """A 503 with a `Retry-After` does not either."""
    graph.box("support@example.com", plain_mail(1))
    answers = [httpx.Response(429), httpx.Response(503, headers={"Retry-After": "0"})]
    with graph.open() as mailbox:
        inner = mailbox._client._http._transport

        class First(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if answers:
                    return answers.pop(0)
                passed: httpx.Response = await inner.handle_async_request(request)
                return passed

        mailbox._client._http._transport = First()
        assert len(mailbox.list("INBOX")) == 1
    assert sizes(graph) == [1000]


@pytest.mark.parametrize(
    ("status", "kind"), [(502, MailboxBusy), (503, MailboxBusy), (504, MailboxBusy), (500, MailboxError)]
)
@pytest.mark.parametrize("after", [After.DELETE, After.KEEP])
def test_1_9_a_mailbox_whose_listing_always_fails_is_busy_or_fails(
    graph: Graph, status: int, kind: type[Exception], after: After
) -> None:
    graph.box("support@example.com", plain_mail(1))
    with graph.open(after=after) as mailbox:
        replace_responses(mailbox, lambda path: "/messages" in path, lambda: httpx.Response(status))
        with pytest.raises(kind, match="mailbox support"):
            mailbox.list("INBOX")


@pytest.mark.parametrize("after", [After.DELETE, After.KEEP])
def test_1_8_a_failing_page_does_not_block_earlier_messages(
    graph: Graph, after: After, caplog: pytest.LogCaptureFixture
) -> None:
    box = graph.box("support@example.com", *[plain_mail(n) for n in range(3)])
    first = page(graph, box.ids("Inbox")[:2], "next")
    answers = [httpx.Response(200, json=first)]
    with graph.open(after=after) as mailbox:
        replace_responses(
            mailbox,
            lambda path: "/messages" in path,
            lambda: answers.pop() if answers else httpx.Response(504),
        )
        with caplog.at_level(logging.WARNING):
            listed = mailbox.list("INBOX")
        assert [message.key for message in listed] == box.ids("Inbox")[:2]
        assert mailbox.key_prefix is None
        mark = mailbox.watermark([message.number for message in listed])
        with pytest.raises(MailboxBusy):
            mailbox.list("INBOX", above=mark)
    assert "the listing failed after 2 messages" in caplog.text


def test_a_page_size_limit_expires(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = GraphEndpoint(graph.server.endpoint)
    monotonic = [1000.0]
    monkeypatch.setattr("shared.mailboxes.graph.endpoint.time.monotonic", lambda: monotonic[0])
    endpoint.page_sizes.limit("support", 100)
    assert endpoint.page_sizes.usable("support", (1000, 100, 10)) == [100, 10]
    assert endpoint.page_sizes.usable("sales", (1000, 100, 10)) == [1000, 100, 10]
    monotonic[0] += 3600
    assert endpoint.page_sizes.usable("support", (1000, 100, 10)) == [1000, 100, 10]
