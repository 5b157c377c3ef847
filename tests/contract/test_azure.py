"""The stored form in the services, read with the SDKs, on which the Functions host and other readers rely."""

from __future__ import annotations

import base64
import logging
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.data.tables import EdmType, EntityProperty, TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from shared.errors import ServiceUnavailable
from shared.keys import claim_key, digest
from shared.storage.azure import records
from shared.storage.azure.entities import to_record
from shared.storage.base import (
    BodyEncoding,
    Change,
    Create,
    Delete,
    Filter,
    Merge,
    QueueName,
    Record,
    Replace,
    Storage,
    Table,
    Values,
)
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation


@pytest.fixture
def stores(azure_storage: str) -> Iterator[Storage]:
    location = StorageLocation.parse(azure_storage, setting="MAIL_STORAGE")
    opened = open_storage(location, location, "mail")
    yield opened
    opened.close()


@pytest.fixture
def blobs(azure_storage: str) -> Iterator[BlobServiceClient]:
    with BlobServiceClient.from_connection_string(azure_storage) as client:
        yield client


@pytest.fixture
def queues(azure_storage: str) -> Iterator[QueueServiceClient]:
    with QueueServiceClient.from_connection_string(azure_storage) as client:
        yield client


@pytest.fixture
def tables(azure_storage: str) -> Iterator[TableServiceClient]:
    with TableServiceClient.from_connection_string(azure_storage) as client:
        yield client


@pytest.mark.parametrize("size", [10, 5_000_000], ids=["small", "in blocks"])
def test_7_5_a_browser_does_not_run_attachments(
    stores: Storage, blobs: BlobServiceClient, size: int, tmp_path: Path
) -> None:
    name = 'Größe "1"; x=\r\n日本.html'
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    stores.blobs.create("a/1", source, content_type="application/octet-stream", download_name=name)
    stores.blobs.create("a/2", bytes(size), content_type="application/json")
    settings = blobs.get_blob_client("mail", "a/1").get_blob_properties().content_settings
    assert settings.content_type == "application/octet-stream"
    assert settings.content_disposition == (
        "attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%221%22%3B%20x%3D%0D%0A%E6%97%A5%E6%9C%AC.html"
    )
    settings = blobs.get_blob_client("mail", "a/2").get_blob_properties().content_settings
    assert settings.content_type == "application/json"
    assert not settings.content_disposition


def test_a_lone_surrogate_in_a_name_is_replaced(stores: Storage) -> None:
    assert stores.blobs.create("a/1", b"x", content_type="application/octet-stream", download_name="a\ud800b")


def test_messages_are_base64_and_do_not_expire(stores: Storage, queues: QueueServiceClient) -> None:
    stores.queues[QueueName.ROUTE_REQUESTS].put_many(['{"ä": 1}'])
    (message,) = queues.get_queue_client("route-requests").peek_messages()
    assert base64.b64decode(str(message.content)).decode() == '{"ä": 1}'
    assert message.expires_on is not None
    assert message.expires_on > datetime.now(UTC) + timedelta(days=3650)


UNDECODABLE = {
    "not base64!": BodyEncoding.NOT_BASE64,
    "{}": BodyEncoding.NOT_BASE64,
    "YWJj=": BodyEncoding.NOT_BASE64,
    "<a>&amp;": BodyEncoding.NOT_BASE64,
    "////": BodyEncoding.NOT_UTF8,
}


@pytest.mark.parametrize("text", UNDECODABLE)
def test_a_message_that_cannot_be_decoded_does_not_block_the_queue_and_is_forwarded_as_it_is(
    stores: Storage, queues: QueueServiceClient, text: str
) -> None:
    stores.queues[QueueName.POLLS].put_many(["good"])
    queues.get_queue_client("polls").send_message(text)
    received = {item.body: item for item in stores.queues[QueueName.POLLS].receive(32, hidden_for=60)}
    assert {body: item.encoding for body, item in received.items()} == {
        "good": BodyEncoding.TEXT,
        text: UNDECODABLE[text],
    }
    for item in received.values():
        stores.queues[QueueName.POLLS_POISON].forward(item, ttl=7 * 86400)
    messages = queues.get_queue_client("polls-poison").peek_messages(5)
    assert sorted(message.content for message in messages) == sorted(["Z29vZA==", text])
    for message in messages:
        assert message.expires_on is not None
        assert message.inserted_on is not None
        assert message.expires_on - message.inserted_on == timedelta(days=7)


def test_white_space_in_base64_is_ignored_as_the_functions_host_does(
    stores: Storage, queues: QueueServiceClient
) -> None:
    stores.queues[QueueName.POLLS].length()
    queues.get_queue_client("polls").send_message("Z2\n9v ZA==")
    (item,) = stores.queues[QueueName.POLLS].receive(1, hidden_for=60)
    assert (item.body, item.encoding) == ("good", BodyEncoding.TEXT)


def test_a_record_as_a_table_entity(stores: Storage, tables: TableServiceClient) -> None:
    key = digest("x")
    stores.records.create(Table.RECEIPTS, key, {"n": 1, "yes": True, "text": "\U0001fa91" * 40_000})
    entity = tables.get_table_client("mailreceipts").get_entity(key[:1], key)
    assert entity["n"] == EntityProperty(1, EdmType.INT64)
    assert entity["yes"] is True
    pieces = [value for name, value in entity.items() if name.startswith("text")]
    assert len(pieces) == 3
    assert all(len(str(piece).encode("utf-16-le")) <= 64 * 1024 for piece in pieces)


def test_where_the_records_are(stores: Storage, tables: TableServiceClient) -> None:
    key = digest("x")
    for table in Table:
        assert stores.records.commit([Create(table, key, {})])
    entities = {
        (table.name, entity["PartitionKey"], entity["RowKey"])
        for table in tables.list_tables()
        for entity in tables.get_table_client(table.name).list_entities()
    }
    assert entities == {
        ("mailreceipts", key[:1], key),
        ("mailreceipts", key[:1], f"outbox-{key}"),
        ("mailreceipts", key[:1], f"index-{key}"),
        ("mailreceipts", key[:1], f"tombstones-{key}"),
        ("mailclaims", "all", key),
        ("mailconversations", "all", key),
        ("mailmailboxes", key[:2], key),
        ("mailsubscriptions", key[:2], key),
    }


def test_two_containers_of_an_account_have_separate_records(azure_storage: str) -> None:
    """Table names allow fewer characters than container names. Each container still has its own tables."""
    location = StorageLocation.parse(azure_storage, setting="MAIL_STORAGE")
    for container in ("mail", "ma-il", "m-a-il", "1mail", "m" * 63):
        stores = open_storage(location, location, container)
        assert stores.records.create(Table.CLAIMS, digest("x"), {"a": 1})
        assert stores.blobs.create("a", b"x", content_type="text/plain")
        stores.close()


def test_a_deleted_resource_is_created_again(
    stores: Storage, blobs: BlobServiceClient, queues: QueueServiceClient, tables: TableServiceClient
) -> None:
    def use() -> None:
        assert stores.blobs.create("a", b"x", content_type="text/plain")
        assert stores.records.create(Table.CLAIMS, digest("x"), {"a": 1})
        stores.queues[QueueName.POLLS].put_many(["x"])
        assert stores.leases.acquire("support", 60) is not None

    use()
    blobs.delete_container("mail")
    blobs.delete_container("mailroom-leases")
    queues.delete_queue("polls")
    tables.delete_table("mailclaims")
    for operation in (
        lambda: stores.blobs.read("a"),
        lambda: stores.records.get(Table.CLAIMS, digest("x")),
        stores.queues[QueueName.POLLS].length,
        lambda: stores.leases.acquire("support", 60),
    ):
        # Not "does not exist": the content of the deleted resource is unknown.
        with pytest.raises(ServiceUnavailable, match="404"):
            operation()
    use()


def test_a_transaction_creates_a_deleted_table_again(stores: Storage, tables: TableServiceClient) -> None:
    changes = [Create(Table.CLAIMS, claim_key("raw", "f", name), {"a": name}) for name in "abc"]
    assert stores.records.commit(changes)
    tables.delete_table("mailclaims")
    with pytest.raises(ServiceUnavailable, match="404 TableNotFound"):
        stores.records.commit(changes)
    assert stores.records.commit(changes)


def test_the_outbox_creates_the_deleted_table_of_receipts_again(stores: Storage, tables: TableServiceClient) -> None:
    assert stores.records.create(Table.RECEIPTS, digest("x"), {})
    tables.delete_table("mailreceipts")
    with pytest.raises(ServiceUnavailable, match="404 TableNotFound"):
        list(stores.records.scan(Table.OUTBOX))
    assert list(stores.records.scan(Table.OUTBOX)) == []
    assert stores.records.create(Table.OUTBOX, digest("x"), {})


def test_a_transaction_is_that_of_the_sdk(stores: Storage, tables: TableServiceClient) -> None:
    """What it stores is equal to what `TableClient.submit_transaction` stores."""
    text = "grüße \U0001fa91 \r\n--batch HTTP/1.1 409 \u2028"
    when = datetime(2026, 11, 23, 9, 1, 2, 345678, UTC)
    values: Values = {"text": text, "number": 2**40, "yes": True, "when": when}
    sdk_values = {**values, "number": EntityProperty(2**40, EdmType.INT64)}
    client = tables.get_table_client("mailreceipts")
    earlier: Values = {"text": "x", "earlier": "y"}
    for name in ("merged", "replaced", "deleted"):
        stores.records.create(Table.RECEIPTS, f"a-{name}", earlier)
        client.create_entity({"PartitionKey": "sdk", "RowKey": f"a-{name}", **earlier})
    etag = str(client.get_entity("a", "a-replaced").metadata["etag"])
    changes: list[Change] = [
        Create(Table.RECEIPTS, "a-created", values),
        Merge(Table.RECEIPTS, "a-merged", values),
        Merge(Table.RECEIPTS, "a-upserted", values),
        Replace(Table.RECEIPTS, "a-replaced", values, etag),
        Delete(Table.RECEIPTS, "a-deleted"),
    ]
    assert stores.records.commit(changes)
    client.submit_transaction(
        [
            ("create", {"PartitionKey": "sdk", "RowKey": "a-created", **sdk_values}),
            ("upsert", {"PartitionKey": "sdk", "RowKey": "a-merged", **sdk_values}, {"mode": "merge"}),
            ("upsert", {"PartitionKey": "sdk", "RowKey": "a-upserted", **sdk_values}, {"mode": "merge"}),
            ("update", {"PartitionKey": "sdk", "RowKey": "a-replaced", **sdk_values}, {"mode": "replace"}),
            ("delete", {"PartitionKey": "sdk", "RowKey": "a-deleted"}),
        ]
    )
    ours, others = (
        [{**entity, "PartitionKey": ""} for entity in client.query_entities("PartitionKey eq @p", parameters={"p": p})]
        for p in ("a", "sdk")
    )
    assert ours == others
    assert len(ours) == 4


def test_a_scan_of_the_outbox_reads_no_receipts(stores: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = "0123456789abcdef"
    for digit in digits:
        keys = [f"{digit}{digest(str(n))[1:]}" for n in range(3)]
        assert stores.records.commit([Create(Table.RECEIPTS, key, {"n": 1}) for key in keys])
        assert stores.records.commit([Create(Table.OUTBOX, keys[0], {"n": 1})])
    read: list[tuple[Table, str]] = []

    def observed(table: Table, entity: dict[str, object]) -> Record:
        read.append((table, str(entity["RowKey"])))
        return to_record(table, entity)

    monkeypatch.setattr(records, "to_record", observed)
    assert len(list(stores.records.scan(Table.OUTBOX))) == 16
    assert len(read) == 16
    assert all(row.startswith("outbox-") for _, row in read)
    read.clear()
    assert len(list(stores.records.scan(Table.OUTBOX, Filter(key_prefix="a")))) == 1
    assert len(read) == 1


def test_a_scan_that_ends_early_leaves_nothing_behind(stores: Storage) -> None:
    for digit in "0123456789abcdef":
        assert stores.records.create(Table.OUTBOX, f"{digit}{digest('x')[1:]}", {"n": 1})
    for _ in range(20):
        scan = stores.records.scan(Table.OUTBOX)
        assert isinstance(scan, Generator)
        next(scan)
        scan.close()
    assert len(list(stores.records.scan(Table.OUTBOX))) == 16


def test_sixteen_parallel_first_uses_succeed(azure_storage: str) -> None:
    location = StorageLocation.parse(azure_storage, setting="MAIL_STORAGE")
    storages = [open_storage(location, location, "mail") for _ in range(4)]

    def use(number: int) -> bool:
        stores = storages[number % 4]
        stores.queues[QueueName.POLLS].put_many(["x"])
        assert stores.records.create(Table.CLAIMS, digest(str(number)), {"n": number})
        return stores.blobs.create(f"a/{number}", b"x", content_type="text/plain")

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(use, range(16)))
    for stores in storages:
        stores.close()


def test_the_sdks_log_nothing_on_success(stores: Storage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        stores.blobs.create("a", b"x", content_type="text/plain")
        stores.records.create(Table.CLAIMS, digest("x"), {"a": 1})
        stores.queues[QueueName.POLLS].put_many(["x"])
    assert caplog.text == ""


def test_app_and_mail_may_use_two_accounts(azurite: object, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    from tests.servers.azurite import Azurite  # noqa: PLC0415  the type of the fixture

    assert isinstance(azurite, Azurite)
    app, mail = (
        StorageLocation.parse(azurite.connection_string(name), setting=name) for name in ("test998", "test999")
    )
    stores = open_storage(app, mail, "mail")
    stores.blobs.create("a", b"x", content_type="text/plain")
    stores.records.create(Table.CLAIMS, digest("x"), {"a": 1})
    stores.queues[QueueName.POLLS].put_many(["x"])
    stores.leases.acquire("support", 60)
    stores.close()
    for location, containers in ((app, ["mailroom-leases"]), (mail, ["mail"])):
        assert location.connection_string is not None
        with BlobServiceClient.from_connection_string(location.connection_string) as client:
            assert [container.name for container in client.list_containers()] == containers
