"""Office 365 mailboxes: listing, fetching and removing over Microsoft Graph, with the real SDK and MSAL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.config import After
from shared.errors import ConfigurationError, FolderMissing
from shared.mailboxes.base import FetchResult, ListedMessage
from shared.mailboxes.graph.mailbox import GraphMailbox
from tests.servers.graph import Graph
from tests.servers.mail import hostile_bodies, plain_mail

LIMIT = 150 * 1024 * 1024


def in_batches(listed: Sequence[ListedMessage], size: int) -> list[list[ListedMessage]]:
    return [list(listed[start : start + size]) for start in range(0, len(listed), size)]


def fetch(mailbox: GraphMailbox, folder: str = "INBOX", *, limit: int = LIMIT, size: int = 10) -> list[FetchResult]:
    """Fetch all messages in a folder, in batches."""
    results = []
    for batch in mailbox.fetch(in_batches(mailbox.list(folder), size), max_bytes=limit):
        results += batch
    return results


def data(result: FetchResult) -> bytes:
    assert result.content is not None
    stored = result.content.data
    content = stored.read_bytes() if isinstance(stored, Path) else stored
    result.content.close()
    return content


def test_1_1_messages_are_fetched_byte_for_byte_oldest_first(graph: Graph) -> None:
    messages = [*[plain_mail(n) for n in range(25)], *hostile_bodies().values(), b"\xff\xfe\x00 8 bit \x80\n\r"]
    box = graph.box("support@example.com", *messages)
    with graph.open() as mailbox:
        listed = mailbox.list("INBOX")
        assert [message.key for message in listed] == box.ids("Inbox")
        assert all(message.received is not None and message.size > 0 for message in listed)
        assert [data(item) for item in fetch(mailbox)] == messages


def test_1_3_trash_moves_to_deleted_items(graph: Graph) -> None:
    box = graph.box("support@example.com", plain_mail(1), plain_mail(2), plain_mail(3))
    with graph.open(after=After.TRASH) as mailbox:
        listed = mailbox.list("INBOX")
        mailbox.remove([listed[0], listed[2]])
        mailbox.commit()
    assert box.contents("Inbox") == [plain_mail(2)]
    assert sorted(box.contents("Deleted Items")) == sorted([plain_mail(1), plain_mail(3)])
    assert box.purged == []


def test_1_3_trash_never_removes_from_deleted_items(graph: Graph) -> None:
    """A lost response repeats the request, and a person deletes a message meanwhile."""
    box = graph.box("support@example.com", plain_mail(1), plain_mail(2))
    with graph.open(after=After.TRASH) as mailbox:
        listed = mailbox.list("INBOX")
        box.delete(box.ids("Inbox")[1])
        graph.fault_plan.drop_responses = 1
        mailbox.remove(listed)
    assert len(box.contents("Deleted Items")) == 2
    assert box.purged == []


@pytest.mark.parametrize("folder", ["Deleted Items", "deleteditems"])
def test_1_3_trash_refuses_to_poll_deleted_items(graph: Graph, folder: str) -> None:
    """The configuration knows only the English names; the server resolves every name."""
    box = graph.box("support@example.com")
    box.deliver(plain_mail(1), folder="Deleted Items")
    with graph.open(after=After.TRASH, folders=("INBOX", folder)) as mailbox:
        assert list(mailbox.list("INBOX")) == []
        with pytest.raises(ConfigurationError, match="MAILBOXES__support__AFTER"):
            mailbox.list(folder)
        (problem,) = mailbox.check_folder(folder).problems
        assert "MAILBOXES__support__FOLDERS" in problem
        assert mailbox.check_folder("INBOX").problems == ()


def test_1_3_delete_removes_permanently(graph: Graph) -> None:
    box = graph.box("support@example.com", plain_mail(1), plain_mail(2))
    with graph.open() as mailbox:
        listed = mailbox.list("INBOX")
        graph.fault_plan.drop_responses = 1
        mailbox.remove(listed)
        mailbox.remove(listed)
    assert box.contents("Inbox") == box.contents("Deleted Items") == []
    assert sorted(box.purged) == sorted([plain_mail(1), plain_mail(2)])
    assert not graph.request_lines("DELETE")


def test_1_3_move_moves_to_the_configured_folder(graph: Graph) -> None:
    box = graph.box("support@example.com", plain_mail(1))
    box.folder("Done/2026")
    with graph.open(after=After.MOVE, move_to="Done/2026") as mailbox:
        listed = mailbox.list("INBOX")
        mailbox.remove(listed)
        mailbox.remove(listed)
    assert box.contents("Inbox") == []
    assert box.contents("Done/2026") == [plain_mail(1)]


def test_1_3_a_missing_move_target_stops_the_listing(graph: Graph) -> None:
    graph.box("support@example.com", plain_mail(1))
    with graph.open(after=After.MOVE, move_to="Nowhere") as mailbox, pytest.raises(FolderMissing, match="AFTER"):
        mailbox.list("INBOX")


def test_1_3_kept_mail_is_listed_once_by_delta_queries(graph: Graph) -> None:
    graph.fault_plan.repeat = 0.5
    box = graph.box("support@example.com")
    for number in range(30):
        box.deliver(plain_mail(number), received=datetime(2026, 11, 24, 12, 0, number, tzinfo=UTC))
    with graph.open(after=After.KEEP) as mailbox:
        listed = mailbox.list("INBOX")
        assert [message.key for message in listed] == box.ids("Inbox"), "oldest first, each once"
        assert mailbox.watermark([message.number for message in listed[1:]]) is None, "the first message is unprocessed"
        mark = mailbox.watermark([message.number for message in listed])
        assert mark is not None
        box.deliver(plain_mail(100))
        (new,) = mailbox.list("INBOX", above=mark)
        assert new.key == box.ids("Inbox")[-1]
        mark = mailbox.watermark([new.number])
        assert list(mailbox.list("INBOX", above=mark)) == []
        mailbox.remove([new])
    assert len(box.contents("Inbox")) == 31
    assert not graph.request_lines("DELETE")
    assert not graph.request_lines("POST", "/permanentDelete")


def test_8_3_an_expired_delta_link_starts_over(graph: Graph) -> None:
    box = graph.box("support@example.com", *[plain_mail(n) for n in range(3)])
    with graph.open(after=After.KEEP) as mailbox:
        for _ in range(4):  # 410 and 400 alternate
            mark = mailbox.watermark([message.number for message in mailbox.list("INBOX")])
            graph.server.expire_delta_links()
            assert sorted(message.key or "" for message in mailbox.list("INBOX", above=mark)) == sorted(
                box.ids("Inbox")
            )


def test_a_watermark_with_a_link_to_another_server_is_ignored(graph: Graph) -> None:
    graph.box("support@example.com", plain_mail(1))
    elsewhere = "https://graph.evil.example/v1.0/users/x/messages/delta?$deltatoken=1"
    with graph.open(after=After.KEEP) as mailbox:
        assert len(mailbox.list("INBOX", above=f"support@example.com inbox {elsewhere}")) == 1
        assert len(mailbox.list("INBOX", above=elsewhere)) == 1


def test_8_3_a_watermark_of_another_mailbox_or_folder_is_ignored(graph: Graph) -> None:
    """After a change of ADDRESS, or when a new folder has the old name, all messages are listed."""
    graph.box("support@example.com", plain_mail(1))
    graph.box("other@example.com", plain_mail(2), plain_mail(3))
    with graph.open(after=After.KEEP) as mailbox:
        mark = mailbox.watermark([message.number for message in mailbox.list("INBOX")])
        assert list(mailbox.list("INBOX", above=mark)) == []
    with graph.open(after=After.KEEP, address="other@example.com") as mailbox:
        assert len(mailbox.list("INBOX", above=mark)) == 2
    box = graph.box("support@example.com")
    for path in ("Orders", "Orders once more"):
        box.folder(path)
        box.deliver(plain_mail(4), folder=path)
    with graph.open(after=After.KEEP, folders=("Orders",)) as mailbox:
        mark = mailbox.watermark([message.number for message in mailbox.list("Orders")])
        mailbox._endpoint.folder_ids.forget("support")
        mailbox._endpoint.folder_ids.put("support", "Orders", box.folder("Orders once more"))
        assert len(mailbox.list("Orders", above=mark)) == 1


def test_1_5_a_shared_mailbox_is_opened_by_its_address(graph: Graph) -> None:
    graph.box("office@example.com", plain_mail(7))
    graph.box("support@example.com", plain_mail(1))
    with graph.open(shared_mailbox="office@example.com") as mailbox:
        assert [data(item) for item in fetch(mailbox)] == [plain_mail(7)]
    assert all("/users/office@example.com/" in item for item in graph.request_lines("GET"))


def test_1_6_folders_are_found_by_path_and_well_known_name(graph: Graph) -> None:
    box = graph.box("support@example.com")
    for number, path in enumerate(["Inbox/Orders", "It's a (odd) name/Deep", "Junk Email"]):
        box.folder(path)
        box.deliver(plain_mail(number), folder=path)
    folders = ("INBOX/Orders", "It's a (odd) name/Deep", "JunkEmail")
    with graph.open(folders=folders) as mailbox:
        for number, path in enumerate(folders):
            assert [data(item) for item in fetch(mailbox, path)] == [plain_mail(number)]
        before = len(graph.server.requests)
        mailbox.list("INBOX/Orders")
        assert len(graph.server.requests) == before + 1, "the folder's id is cached"
        with pytest.raises(FolderMissing, match="MAILBOXES__support__FOLDERS"):
            mailbox.list("INBOX/Nothing")


def test_1_6_a_recreated_folder_is_found_again(graph: Graph) -> None:
    box = graph.box("support@example.com")
    box.folder("Orders")
    with graph.open(folders=("Orders",)) as mailbox:
        assert list(mailbox.list("Orders")) == []
        mailbox._endpoint.folder_ids.forget("support")
        mailbox._endpoint.folder_ids.put("support", "Orders", "AAMkGone")
        box.deliver(plain_mail(1), folder="Orders")
        assert len(mailbox.list("Orders")) == 1


def test_1_7_a_large_message_is_spooled_and_an_oversized_one_is_not_fetched(graph: Graph) -> None:
    large = plain_mail(1, size=9_000_000)
    underreported = plain_mail(2, size=6_000_000)
    box = graph.box("support@example.com", large)
    box.deliver(underreported, reported_size=1000)
    box.deliver(plain_mail(3))
    with graph.open() as mailbox:
        listed = mailbox.list("INBOX")
        assert listed[0].size >= 9_000_000
        assert listed[1].size == 1000
        first, second, third = fetch(mailbox)
        assert first.content is not None
        assert isinstance(first.content.data, Path)
        assert second.content is not None
        assert isinstance(second.content.data, Path)
        assert [data(first), data(second), data(third)] == [large, underreported, plain_mail(3)]
        limited = fetch(mailbox, limit=5_000_000)
        assert [result.oversized for result in limited] == [True, True, False]
        assert data(limited[2]) == plain_mail(3)


def test_1_7_an_abandoned_fetch_leaves_no_temporary_files(graph: Graph, tmp_path: Path) -> None:
    import tempfile  # noqa: PLC0415

    graph.box("support@example.com", *[plain_mail(n, size=5_000_000) for n in range(3)])
    before = {path.name for path in Path(tempfile.gettempdir()).glob("mailroom-*")}
    with graph.open() as mailbox:
        for batch in mailbox.fetch(in_batches(mailbox.list("INBOX"), 1), max_bytes=LIMIT):
            data(batch[0])
            break
    assert {path.name for path in Path(tempfile.gettempdir()).glob("mailroom-*")} <= before


def test_1_11_since_filters_the_listing(graph: Graph) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    box = graph.box("support@example.com")
    box.deliver(plain_mail(1), received=now - timedelta(days=3))
    box.deliver(plain_mail(2), received=now)
    with graph.open() as mailbox:
        assert len(mailbox.list("INBOX")) == 2
        (listed,) = mailbox.list("INBOX", since=now - timedelta(days=1))
        assert listed.received == now


def test_a_long_folder_is_read_page_by_page(graph: Graph) -> None:
    box = graph.box("support@example.com")
    for number in range(2100):
        box.deliver(b"Subject: %d\r\n\r\n" % number)
    with graph.open() as mailbox:
        assert [message.key for message in mailbox.list("INBOX")] == box.ids("Inbox")
    assert len(graph.request_lines("GET", "/messages")) == 3


def test_at_most_four_requests_are_concurrent(graph: Graph) -> None:
    """The simulator answers a fifth concurrent request with 429."""
    graph.fault_plan.latency = 0.02
    graph.box("support@example.com", *[plain_mail(n) for n in range(40)])
    with graph.open() as mailbox:
        for batch in mailbox.fetch(in_batches(mailbox.list("INBOX"), 10), max_bytes=LIMIT):
            for item in batch:
                data(item)
            mailbox.remove([result.listed for result in batch])
    assert {request.status for request in graph.server.requests} == {200, 204}
    assert len(graph.server.requests) == 1 + 40 + 40, "one listing, and two requests per message"
