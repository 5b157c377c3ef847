"""The stand-in's folders and lists of messages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.simulator_support import ADDRESS, IMMUTABLE, SIZED, Place, letter, refused, standing
from tests.servers.certificates import Ca

FOLDERS = f"/users/{ADDRESS}/mailFolders"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def place(ca: Ca, tmp_path: Path) -> Iterator[Place]:
    with standing(ca, tmp_path) as found:
        yield found


def fill(place: Place, count: int) -> list[str]:
    return [place.box.deliver(letter(each), received=START + timedelta(minutes=each)) for each in range(count)]


def every_page(place: Place, path: str, options: dict[str, str]) -> list[list[dict[str, Any]]]:
    body = place.get(path, options).json()
    pages = [body["value"]]
    while "@odata.nextLink" in body:
        assert body["@odata.nextLink"].startswith(place.graph.endpoint)
        body = place.get(body["@odata.nextLink"]).json()
        pages.append(body["value"])
    return pages


def test_the_top_folders_are_listed_without_hidden_ones(place: Place) -> None:
    pages = every_page(place, FOLDERS, {"$top": "3", "$select": "displayName"})
    names = [each["displayName"] for page in pages for each in page]
    assert names == ["Archive", "Deleted Items", "Drafts", "Inbox", "Junk Email", "Outbox", "Sent Items"]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert pages[0][0].keys() == {"id", "displayName"}
    with_hidden = place.get(FOLDERS, {"includeHiddenFolders": "true"}).json()["value"]
    assert len(with_hidden) == 8


def test_a_folder_has_many_names(place: Place) -> None:
    inbox = place.get(f"{FOLDERS}/inbox").json()
    for name in ("Inbox", "INBOX", inbox["id"]):
        assert place.get(f"{FOLDERS}/{name}").json() == inbox
    assert place.get(f"/users('{ADDRESS}')/mailFolders('inbox')").json() == inbox
    refused(place.get(f"{FOLDERS}/nonsense"), 404, "ErrorItemNotFound")
    refused(place.get(f"{FOLDERS}/{inbox['id'].swapcase()}"), 404, "ErrorItemNotFound")


def test_folders_are_found_by_name_in_any_case(place: Place) -> None:
    made = place.box.folder("Inbox/Ann's orders")
    assert place.box.folder("inbox/ann's ORDERS") == made
    path = f"{FOLDERS}/inbox/childFolders"
    found = place.get(path, {"$filter": "displayName eq 'ann''s Orders'"}).json()["value"]
    assert [each["id"] for each in found] == [made]
    assert place.get(path, {"$filter": "displayName eq 'none'"}).json()["value"] == []
    refused(place.get(path, {"$filter": "displayName eq 'ann's'"}), 400, "ErrorInvalidUrlQueryFilter")
    assert place.get(f"{FOLDERS}/inbox").json()["childFolderCount"] == 1


def test_a_folder_counts_its_messages(place: Place) -> None:
    first, _ = fill(place, 2)
    place.box.mark_read(first)
    inbox = place.get(f"{FOLDERS}/inbox").json()
    assert (inbox["totalItemCount"], inbox["unreadItemCount"]) == (2, 1)


def test_messages_come_newest_first_and_ten_at_a_time(place: Place) -> None:
    ids = fill(place, 12)
    assert [each["id"] for each in place.listed()] == ids[:1:-1]
    assert [each["id"] for each in place.listed({"$orderby": "receivedDateTime asc"})] == ids[:10]
    preferred = place.get(place.messages, headers={"Prefer": 'odata.maxpagesize=3, IdType="ImmutableId"'})
    assert [each["id"] for each in preferred.json()["value"]] == ids[:8:-1]
    assert preferred.headers["Preference-Applied"] == 'IdType="ImmutableId", odata.maxpagesize=3'


def test_pages_keep_their_options(place: Place) -> None:
    ids = fill(place, 7)
    options = {
        "$top": "2",
        "$select": "subject",
        "$orderby": "receivedDateTime",
        "$filter": f"receivedDateTime gt {START:%Y-%m-%dT%H:%M:%SZ}",
        "$expand": SIZED,
    }
    pages = every_page(place, place.messages, options)
    assert [[each["id"] for each in page] for page in pages] == [ids[1:3], ids[3:5], ids[5:7]]
    for page in pages:
        for each in page:
            assert each.keys() == {"@odata.etag", "id", "subject", "singleValueExtendedProperties"}
            assert each["singleValueExtendedProperties"] == [{"id": "Long 0xe08", "value": str(len(letter()))}]


def test_a_list_that_shrank_between_pages_loses_items(place: Place) -> None:
    ids = fill(place, 4)
    options = {"$top": "2", "$orderby": "receivedDateTime asc"}
    link = place.get(place.messages, options).json()["@odata.nextLink"]
    place.box.delete(ids[0])
    assert [each["id"] for each in place.get(link).json()["value"]] == ids[3:]


def test_a_message_says_what_is_in_it(place: Place) -> None:
    content = (
        b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: a@example.com,\r\n b@example.com\r\n"
        b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nMessage-ID: <1@example.org>\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\n"
        b"Content-Disposition: attachment; filename=x\r\n\r\ny\r\n--b--\r\n"
    )
    message = place.box.deliver(content, received=START, told_size=99)
    (item,) = place.listed({"$expand": SIZED})
    assert item == place.get(place.message(message), {"$expand": SIZED}).json()
    assert (item["subject"], item["internetMessageId"]) == ("Grüße", "<1@example.org>")
    assert item["from"] == {"emailAddress": {"name": "Jürgen", "address": "j@example.org"}}
    assert [each["emailAddress"]["address"] for each in item["toRecipients"]] == ["a@example.com", "b@example.com"]
    assert (item["hasAttachments"], item["isRead"]) == (True, False)
    assert item["receivedDateTime"] == "2026-03-01T12:00:00Z"
    assert item["parentFolderId"] == place.box.folder("Inbox")
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
def test_no_message_is_too_broken_to_be_listed(place: Place, content: bytes) -> None:
    message = place.box.deliver(content)
    names = "subject,from,toRecipients,sentDateTime,hasAttachments,internetMessageHeaders,internetMessageId"
    (item,) = place.listed({"$select": names})
    assert item["id"] == message


def test_filters_compare_times_and_reading(place: Place) -> None:
    ids = fill(place, 3)
    place.box.mark_read(ids[0])
    from_second = f"receivedDateTime ge {START + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    assert [each["id"] for each in place.listed({"$filter": from_second})] == ids[:0:-1]
    assert [each["id"] for each in place.listed({"$filter": "isRead eq true"})] == ids[:1]
    both = {"$filter": f"{from_second} and isRead eq false", "$orderby": "receivedDateTime desc"}
    assert [each["id"] for each in place.listed(both)] == ids[:0:-1]


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
def test_options_that_are_refused(place: Place, options: dict[str, str], code: str) -> None:
    refused(place.get(place.messages, options), 400, code)


def test_links_are_followed_as_they_are_or_not_at_all(place: Place) -> None:
    fill(place, 3)
    link = place.get(place.messages, {"$top": "1"}).json()["@odata.nextLink"]
    refused(place.get(link + "&$top=2"), 400, "ErrorInvalidUrlQuery")
    refused(place.get(link.replace("inbox", "archive")), 400, "ErrorInvalidUrlQuery")
    refused(place.get(f"{place.messages}?$top=1&$top=2"), 400, "ErrorInvalidUrlQuery")


def test_a_new_message_may_be_hidden_for_a_while(place: Place) -> None:
    place.graph.trouble.hidden_for = 0.3
    message = place.box.deliver(letter())
    assert place.box.ids() == [message]
    assert place.listed() == []
    refused(place.get(place.message(message)), 404, "ErrorItemNotFound")
    place.box.reveal()
    assert [each["id"] for each in place.listed()] == [message]


def test_the_preference_may_stand_anywhere(place: Place) -> None:
    message = place.box.deliver(letter())
    for said in ('IdType="ImmutableId"', "idtype=immutableid", 'odata.track-changes, IdType="ImmutableId"; x=1'):
        assert place.listed(headers={"Prefer": said})[0]["id"] == message
    for said in ('IdType="Other"', "x=ImmutableId", 'y="IdType=ImmutableId"'):
        assert place.listed(headers={"Prefer": said})[0]["id"] != message
    two = [("Authorization", f"Bearer {place.graph.token(place.app)}"), ("Prefer", "odata.maxpagesize=5")]
    answer = place.client.get(place.graph.endpoint + place.messages, headers=[*two, *IMMUTABLE.items()])
    assert answer.json()["value"][0]["id"] == message
