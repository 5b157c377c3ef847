"""Responses of the table service that Azurite does not send."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.errors import ServiceUnavailable
from shared.keys import digest
from shared.storage.azure import accounts
from shared.storage.base import Filter, Storage, Table
from tests.contract.test_azure_errors import storage_at
from tests.servers.answering import Answer, answering

JSON = {"Content-Type": "application/json;odata=minimalmetadata"}
KEY = digest("x")


def entity(number: int) -> dict[str, object]:
    return {
        "odata.etag": f"W/\"datetime'{number}'\"",
        "PartitionKey": KEY[:2],
        "RowKey": f"{KEY[:-1]}{number}",
        "Timestamp": "2026-11-23T09:01:02.3456789Z",
        "n@odata.type": "Edm.Int64",
        "n": str(2**40 + number),
        "small": 7,
        "yes": True,
        "text": "2026",
        "when@odata.type": "Edm.DateTime",
        "when": "2026-11-23T09:01:02.3456789Z",
    }


def read(stores: Storage) -> object:
    return stores.records.get(Table.MAILBOXES, KEY)


def scan(stores: Storage) -> list[object]:
    return list(stores.records.scan(Table.MAILBOXES, Filter(equal={"text": "2026"})))


def test_a_query_continues_after_an_empty_page() -> None:
    """The service ends a page after five seconds and at the limit of a partition server, even without an entity."""
    queries: list[dict[str, list[str]]] = []
    pages = [[entity(1)], [], [entity(2), entity(3)]]

    def answers(method: str, path: str) -> Answer:
        if method == "POST":
            return Answer(201)
        queries.append(parse_qs(urlsplit(path).query))
        page = len(queries) - 1
        following = {"x-ms-continuation-NextPartitionKey": f"1!8!{page}=", "x-ms-continuation-NextRowKey": "1!4!+/"}
        if page == 1:
            del following["x-ms-continuation-NextRowKey"]  # the next page begins with a partition
        headers = {**JSON, **(following if page < len(pages) - 1 else {})}
        return Answer(200, headers, json.dumps({"odata.metadata": "x", "value": pages[page]}).encode())

    with answering(answers) as account, storage_at(account) as stores:
        records = list(stores.records.scan(Table.MAILBOXES, Filter(equal={"text": "2026"}, prefixes={"text": "o'"})))
    where = "text eq '2026' and text ge 'o''' and text lt 'o('"
    assert queries == [
        {"$filter": [where]},
        {"$filter": [where], "NextPartitionKey": ["1!8!0="], "NextRowKey": ["1!4!+/"]},
        {"$filter": [where], "NextPartitionKey": ["1!8!1="]},
    ]
    assert [record.key[-1] for record in records] == ["1", "2", "3"]
    assert records[0].etag == "W/\"datetime'1'\""
    assert records[0].values == {
        "n": 2**40 + 1,
        "small": 7,
        "yes": True,
        "text": "2026",
        "when": datetime(2026, 11, 23, 9, 1, 2, 345678, UTC),
    }
    assert [type(value) for value in records[0].values.values()] == [int, int, bool, str, datetime]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"7", b"{}", b'{"value": [', b"\xff"], ids=str)
@pytest.mark.parametrize("operation", [read, scan])
def test_a_response_of_something_else_is_not_a_missing_record(operation: object, body: bytes) -> None:
    def answers(method: str, path: str) -> Answer:
        return Answer(201) if method == "POST" else Answer(200, JSON, body)

    assert callable(operation)
    with (
        answering(answers) as account,
        storage_at(account) as stores,
        pytest.raises(ServiceUnavailable, match="MAIL_STORAGE: the Table service returned an unexpected response"),
    ):
        operation(stores)


@pytest.mark.parametrize("operation", [read, scan])
def test_an_incomplete_response_is_not_a_missing_record(operation: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "READ_SECONDS", 1)

    def answers(method: str, path: str) -> Answer:
        if method == "POST":
            return Answer(201)
        return Answer(200, {**JSON, "Content-Length": "1000", "Connection": "close"}, b'{"value": []}')

    assert callable(operation)
    began = time.monotonic()
    with (
        answering(answers) as account,
        storage_at(account) as stores,
        pytest.raises(ServiceUnavailable, match=r"MAIL_STORAGE: the Table service .*IncompleteReadError"),
    ):
        operation(stores)
    assert time.monotonic() - began < 30
