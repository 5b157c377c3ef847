"""What the SDKs try again after a reply was lost does no harm (rule 8.1; docs/explanation/duplicates.md, "The
claims").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from shared.errors import TransientError
from shared.keys import digest
from shared.storage.base import QueueName, Storage, Table
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.servers.azurite import ACCOUNTS, Azurite
from tests.servers.lossy import Way, lossy

T = TypeVar("T")
KEY = digest("x")


@pytest.fixture
def way_and_stores(azurite: Azurite, azure_storage: str) -> Iterator[tuple[Way, Storage]]:
    account = next(name for name in ACCOUNTS if f"AccountName={name};" in azure_storage)
    with lossy(azurite, account) as (connection_string, way):
        address = StorageLocation.parse(connection_string, setting="MAIL_STORAGE")
        stores = open_storage(address, address, "mail")
        yield way, stores
        stores.close()


def losing(way: Way, do: Callable[[], T], replies: int = 1) -> T | None:
    """Do something with a lost reply, and once more if that was an error, as a later run would."""
    before = way.lost
    way.lose = replies
    try:
        return do()
    except TransientError:
        return do()
    finally:
        assert way.lost == before + replies
        way.lose = 0


def test_8_1_a_blob_is_whole_and_once(way_and_stores: tuple[Way, Storage], tmp_path: Path) -> None:
    way, stores = way_and_stores
    data: bytes | Path
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 4096 * 9)
    assert not stores.blobs.exists("first/use")
    for name, data, replies in (("small", b"x" * 100, 1), ("large", large, 1), ("twice", b"y", 2)):
        losing(way, partial(stores.blobs.create, name, data, content_type="text/plain"), replies)
        assert not stores.blobs.create(name, b"other", content_type="text/plain")
    assert stores.blobs.read("small") == b"x" * 100
    assert stores.blobs.read("large") == large.read_bytes()
    assert stores.blobs.read("twice") == b"y"


def test_8_1_a_record_is_created_and_it_is_seen_whose_it_is(way_and_stores: tuple[Way, Storage]) -> None:
    way, stores = way_and_stores
    assert stores.records.get(Table.CLAIMS, KEY) is None
    losing(way, lambda: stores.records.create(Table.CLAIMS, KEY, {"owner": "us"}))
    record = stores.records.get(Table.CLAIMS, KEY)
    assert record is not None
    assert record.values == {"owner": "us"}


def test_8_1_a_merge_takes_place(way_and_stores: tuple[Way, Storage]) -> None:
    way, stores = way_and_stores
    stores.records.create(Table.MAILBOXES, KEY, {"a": 1})
    losing(way, lambda: stores.records.merge(Table.MAILBOXES, KEY, {"a": 2}))
    record = stores.records.get(Table.MAILBOXES, KEY)
    assert record is not None
    assert record.values == {"a": 2}
    etag = record.etag
    way.lose = 1
    with pytest.raises(TransientError):  # whether it was ours that came first cannot be told: to be read anew
        stores.records.merge(Table.MAILBOXES, KEY, {"a": 3}, etag=etag)
    record = stores.records.get(Table.MAILBOXES, KEY)
    assert record is not None
    assert record.values == {"a": 3}


def test_8_1_a_record_is_gone(way_and_stores: tuple[Way, Storage]) -> None:
    way, stores = way_and_stores
    stores.records.create(Table.OUTBOX, KEY, {"a": 1})
    losing(way, lambda: stores.records.delete_many(Table.OUTBOX, [KEY]))
    assert stores.records.get(Table.OUTBOX, KEY) is None


def test_8_1_a_message_is_put_at_least_once_and_deleted(way_and_stores: tuple[Way, Storage]) -> None:
    way, stores = way_and_stores
    queue = stores.queues[QueueName.ROUTE_REQUESTS]
    assert queue.length() == 0
    losing(way, lambda: queue.put_many(["x"]))
    items = queue.receive(32, hidden_for=60)
    assert {item.body for item in items} == {"x"}
    for item in items:
        losing(way, partial(queue.release, item))
    for item in queue.receive(32, hidden_for=60):
        losing(way, partial(queue.delete, item))
    assert queue.length() == 0


def test_1_10_a_lease_is_ours_and_given_up(way_and_stores: tuple[Way, Storage]) -> None:
    way, stores = way_and_stores
    token = stores.leases.acquire("support", 60)
    assert token is not None
    stores.leases.release("support", token)
    way.lose = 1
    token = stores.leases.acquire("support", 60)
    assert way.lost == 1
    assert token is not None  # not "another holds it": nobody does but we
    losing(way, lambda: stores.leases.renew("support", token))
    assert stores.leases.acquire("support", 60) is None
    losing(way, lambda: stores.leases.release("support", token))
    assert stores.leases.acquire("support", 60) is not None


def test_making_what_is_missing_survives_too(way_and_stores: tuple[Way, Storage]) -> None:
    way, stores = way_and_stores
    losing(way, lambda: stores.blobs.create("a", b"x", content_type="text/plain"))
    losing(way, lambda: stores.queues[QueueName.POLLS].put_many(["x"]))
    losing(way, lambda: stores.records.create(Table.CLAIMS, KEY, {"a": 1}))
    assert stores.blobs.read("a") == b"x"
    assert stores.queues[QueueName.POLLS].length() == 1
    assert stores.records.get(Table.CLAIMS, KEY) is not None
