"""The simulator's folders and lists of messages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.simulator_support import (
    ADDRESS,
    IMMUTABLE,
    SIZED,
    SimulatorFixture,
    assert_refused,
    letter,
    running_simulator,
)
from tests.servers.certificates import Ca

FOLDERS = f"/users/{ADDRESS}/mailFolders"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def sim(ca: Ca, tmp_path: Path) -> Iterator[SimulatorFixture]:
    with running_simulator(ca, tmp_path) as fixture:
        yield fixture


def fill(sim: SimulatorFixture, count: int) -> list[str]:
    return [sim.box.deliver(letter(number), received=START + timedelta(minutes=number)) for number in range(count)]


def every_page(sim: SimulatorFixture, path: str, options: dict[str, str]) -> list[list[dict[str, Any]]]:
    body = sim.get(path, options).json()
    pages = [body["value"]]
    while "@odata.nextLink" in body:
        assert body["@odata.nextLink"].startswith(sim.graph.endpoint)
        body = sim.get(body["@odata.nextLink"]).json()
        pages.append(body["value"])
    return pages


def test_the_top_folders_are_listed_without_hidden_ones(sim: SimulatorFixture) -> None:
    pages = every_page(sim, FOLDERS, {"$top": "3", "$select": "displayName"})
    names = [item["displayName"] for page in pages for item in page]
    assert names == ["Archive", "Deleted Items", "Drafts", "Inbox", "Junk Email", "Outbox", "Sent Items"]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert pages[0][0].keys() == {"id", "displayName"}
    with_hidden = sim.get(FOLDERS, {"includeHiddenFolders": "true"}).json()["value"]
    assert len(with_hidden) == 8


def test_a_folder_is_found_by_id_and_well_known_name(sim: SimulatorFixture) -> None:
    inbox = sim.get(f"{FOLDERS}/inbox").json()
    for name in ("Inbox", "INBOX", inbox["id"]):
        assert sim.get(f"{FOLDERS}/{name}").json() == inbox
    assert sim.get(f"/users('{ADDRESS}')/mailFolders('inbox')").json() == inbox
    assert_refused(sim.get(f"{FOLDERS}/nonsense"), 404, "ErrorItemNotFound")
    assert_refused(sim.get(f"{FOLDERS}/{inbox['id'].swapcase()}"), 404, "ErrorItemNotFound")


def test_folders_are_found_by_name_in_any_case(sim: SimulatorFixture) -> None:
    folder = sim.box.folder("Inbox/Ann's orders")
    assert sim.box.folder("inbox/ann's ORDERS") == folder
    path = f"{FOLDERS}/inbox/childFolders"
    matches = sim.get(path, {"$filter": "displayName eq 'ann''s Orders'"}).json()["value"]
    assert [item["id"] for item in matches] == [folder]
    assert sim.get(path, {"$filter": "displayName eq 'none'"}).json()["value"] == []
    assert_refused(sim.get(path, {"$filter": "displayName eq 'ann's'"}), 400, "ErrorInvalidUrlQueryFilter")
    assert sim.get(f"{FOLDERS}/inbox").json()["childFolderCount"] == 1


def test_a_folder_counts_its_messages(sim: SimulatorFixture) -> None:
    first, _ = fill(sim, 2)
    sim.box.mark_read(first)
    inbox = sim.get(f"{FOLDERS}/inbox").json()
    assert (inbox["totalItemCount"], inbox["unreadItemCount"]) == (2, 1)


def test_messages_are_listed_newest_first_ten_a_page(sim: SimulatorFixture) -> None:
    ids = fill(sim, 12)
    assert [item["id"] for item in sim.listed()] == ids[:1:-1]
    assert [item["id"] for item in sim.listed({"$orderby": "receivedDateTime asc"})] == ids[:10]
    preferred = sim.get(sim.messages, headers={"Prefer": 'odata.maxpagesize=3, IdType="ImmutableId"'})
    assert [item["id"] for item in preferred.json()["value"]] == ids[:8:-1]
    assert preferred.headers["Preference-Applied"] == 'IdType="ImmutableId", odata.maxpagesize=3'


def test_pages_keep_their_options(sim: SimulatorFixture) -> None:
    ids = fill(sim, 7)
    options = {
        "$top": "2",
        "$select": "subject",
        "$orderby": "receivedDateTime",
        "$filter": f"receivedDateTime gt {START:%Y-%m-%dT%H:%M:%SZ}",
        "$expand": SIZED,
    }
    pages = every_page(sim, sim.messages, options)
    assert [[item["id"] for item in page] for page in pages] == [ids[1:3], ids[3:5], ids[5:7]]
    for page in pages:
        for item in page:
            assert item.keys() == {"@odata.etag", "id", "subject", "singleValueExtendedProperties"}
            assert item["singleValueExtendedProperties"] == [{"id": "Long 0xe08", "value": str(len(letter()))}]


def test_a_list_that_shrank_between_pages_loses_items(sim: SimulatorFixture) -> None:
    ids = fill(sim, 4)
    options = {"$top": "2", "$orderby": "receivedDateTime asc"}
    link = sim.get(sim.messages, options).json()["@odata.nextLink"]
    sim.box.delete(ids[0])
    assert [item["id"] for item in sim.get(link).json()["value"]] == ids[3:]


def test_properties_come_from_the_header_fields(sim: SimulatorFixture) -> None:
    content = (
        b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: a@example.com,\r\n b@example.com\r\n"
        b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nMessage-ID: <1@example.org>\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\n"
        b"Content-Disposition: attachment; filename=x\r\n\r\ny\r\n--b--\r\n"
    )
    message = sim.box.deliver(content, received=START, reported_size=99)
    (item,) = sim.listed({"$expand": SIZED})
    assert item == sim.get(sim.message(message), {"$expand": SIZED}).json()
    assert (item["subject"], item["internetMessageId"]) == ("Grüße", "<1@example.org>")
    assert item["from"] == {"emailAddress": {"name": "Jürgen", "address": "j@example.org"}}
    assert [each["emailAddress"]["address"] for each in item["toRecipients"]] == ["a@example.com", "b@example.com"]
    assert (item["hasAttachments"], item["isRead"]) == (True, False)
    assert item["receivedDateTime"] == "2026-03-01T12:00:00Z"
    assert item["parentFolderId"] == sim.box.folder("Inbox")
    assert item["singleValueExtendedProperties"][0]["value"] == "99"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n\r\n",
        b"\x00\xff\xfe",
        b"Subject: =?nonsense?q?=ff?=\r\nFrom: =?utf-8?b?%%?= <<<,,>\r\nDate: never\r\n\r\n",
        b"Subject: \xff\xfe\r\nTo: \xff@\xfe\r\nFrom: (((\r\n",
        b" folded first\r\n: no name\r\nFrom: a@[",
    ],
)
def test_a_malformed_message_is_listed(sim: SimulatorFixture, content: bytes) -> None:
    message = sim.box.deliver(content)
    names = "subject,from,toRecipients,sentDateTime,hasAttachments,internetMessageHeaders,internetMessageId"
    (item,) = sim.listed({"$select": names})
    assert item["id"] == message


def test_messages_are_filtered_by_time_and_read_state(sim: SimulatorFixture) -> None:
    ids = fill(sim, 3)
    sim.box.mark_read(ids[0])
    from_second = f"receivedDateTime ge {START + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    assert [item["id"] for item in sim.listed({"$filter": from_second})] == ids[:0:-1]
    assert [item["id"] for item in sim.listed({"$filter": "isRead eq true"})] == ids[:1]
    both = {"$filter": f"{from_second} and isRead eq false", "$orderby": "receivedDateTime desc"}
    assert [item["id"] for item in sim.listed(both)] == ids[:0:-1]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"$orderby": "receivedDateTime", "$filter": "isRead eq false"}, "InefficientFilter"),
        (
            {
                "$orderby": "receivedDateTime",
                "$filter": "isRead eq false and receivedDateTime ge 2026-01-01T00:00:00Z",
            },
            "InefficientFilter",
        ),
        ({"$orderby": "subject"}, "ErrorInvalidUrlQuery"),
        ({"$filter": "receivedDateTime ge '2026-01-01T00:00:00Z'"}, "ErrorInvalidUrlQueryFilter"),
        ({"$filter": "receivedDateTime ge 2026-13-01T00:00:00Z"}, "ErrorInvalidUrlQueryFilter"),
        ({"$top": "0"}, "ErrorInvalidUrlQueryFilter"),
        ({"$top": "1001"}, "ErrorInvalidUrlQueryFilter"),
        ({"$top": "ten"}, "ErrorInvalidUrlQueryFilter"),
        ({"$select": "id,nonsense"}, "RequestBroker--ParseUri"),
        ({"$expand": "attachments"}, "RequestBroker--ParseUri"),
        ({"$expand": "singleValueExtendedProperties($filter=id eq 0x0E08)"}, "RequestBroker--ParseUri"),
        ({"$search": "x"}, "ErrorInvalidUrlQuery"),
        ({"top": "5"}, "ErrorInvalidUrlQuery"),
        ({"$skiptoken": "nonsense"}, "ErrorInvalidUrlQuery"),
    ],
)
def test_unsupported_options_are_refused(sim: SimulatorFixture, options: dict[str, str], code: str) -> None:
    assert_refused(sim.get(sim.messages, options), 400, code)


def test_a_changed_link_is_refused(sim: SimulatorFixture) -> None:
    fill(sim, 3)
    link = sim.get(sim.messages, {"$top": "1"}).json()["@odata.nextLink"]
    assert_refused(sim.get(link + "&$top=2"), 400, "ErrorInvalidUrlQuery")
    assert_refused(sim.get(link.replace("inbox", "archive")), 400, "ErrorInvalidUrlQuery")
    assert_refused(sim.get(f"{sim.messages}?$top=1&$top=2"), 400, "ErrorInvalidUrlQuery")


def test_a_new_message_is_hidden_for_a_while(sim: SimulatorFixture) -> None:
    sim.graph.fault_plan.hidden_for = 0.3
    message = sim.box.deliver(letter())
    assert sim.box.ids() == [message]
    assert sim.listed() == []
    assert_refused(sim.get(sim.message(message)), 404, "ErrorItemNotFound")
    sim.box.reveal()
    assert [item["id"] for item in sim.listed()] == [message]


def test_the_preference_may_be_anywhere_in_the_headers(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    for said in ('IdType="ImmutableId"', "idtype=immutableid", 'odata.track-changes, IdType="ImmutableId"; x=1'):
        assert sim.listed(headers={"Prefer": said})[0]["id"] == message
    for said in ('IdType="Other"', "x=ImmutableId", 'y="IdType=ImmutableId"'):
        assert sim.listed(headers={"Prefer": said})[0]["id"] != message
    two = [("Authorization", f"Bearer {sim.graph.token(sim.app)}"), ("Prefer", "odata.maxpagesize=5")]
    answer = sim.client.get(sim.graph.endpoint + sim.messages, headers=[*two, *IMMUTABLE.items()])
    assert answer.json()["value"][0]["id"] == message
