"""The stored form in the services, read with the SDKs, on which the Functions host and other readers rely."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.data.tables import EdmType, EntityProperty, TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from shared.errors import ServiceUnavailable
from shared.keys import claim_key, digest
from shared.storage.azure.transactions import create_entities
from shared.storage.base import BodyEncoding, QueueName, Storage, Table, Values
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
    entity = tables.get_table_client("mailreceipts").get_entity(key[:2], key)
    assert entity["n"] == EntityProperty(1, EdmType.INT64)
    assert entity["yes"] is True
    pieces = [value for name, value in entity.items() if name.startswith("text")]
    assert len(pieces) == 3
    assert all(len(str(piece).encode("utf-16-le")) <= 64 * 1024 for piece in pieces)


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
    rows: dict[str, Values] = {claim_key("raw", "f", name): {"a": name} for name in "abc"}
    assert stores.records.create_together(Table.CLAIMS, rows)
    tables.delete_table("mailclaims")
    with pytest.raises(ServiceUnavailable, match="404 TableNotFound"):
        stores.records.create_together(Table.CLAIMS, rows)
    assert stores.records.create_together(Table.CLAIMS, rows)


def test_a_transaction_is_that_of_the_sdk(stores: Storage, tables: TableServiceClient) -> None:
    """What it stores is equal to what `TableClient.submit_transaction` stores."""
    values = {
        "text": "grüße \U0001fa91 \r\n--batch HTTP/1.1 409 \u2028",
        "number": EntityProperty(2**40, EdmType.INT64),
        "yes": True,
        "when": datetime(2026, 11, 23, 9, 1, 2, 345678, UTC),
    }
    assert stores.records.create(Table.CLAIMS, digest("x"), {})
    client = tables.get_table_client("mailclaims")
    create_entities(client, [{"PartitionKey": "ours", "RowKey": key, **values} for key in "ab"])
    client.submit_transaction(
        [("create", {"PartitionKey": "the SDK's", "RowKey": key, **values}) for key in "ab"],
    )
    ours, others = (
        [{**entity, "PartitionKey": ""} for entity in client.query_entities("PartitionKey eq @p", parameters={"p": p})]
        for p in ("ours", "the SDK's")
    )
    assert ours == others
    assert len(ours) == 2


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
