"""What shared/storage/protocol.py promises, held by every storage alike."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.errors import LeaseLost, RecordChanged
from shared.keys import digest
from shared.storage.addresses import StorageAddress
from shared.storage.opening import open_stores
from shared.storage.protocol import QueueName, Stores, Table, Values

TYPE = "application/octet-stream"


@pytest.fixture
def stores(storage: str) -> Iterator[Stores]:
    address = StorageAddress.parse(storage, setting="TEST_STORAGE")
    opened = open_stores(address, address, "mail")
    yield opened
    opened.close()


def test_a_blob_is_created_once(stores: Stores) -> None:
    assert stores.blobs.read("a/b.txt") is None
    assert not stores.blobs.exists("a/b.txt")
    assert stores.blobs.create("a/b.txt", b"first", content_type=TYPE)
    assert not stores.blobs.create("a/b.txt", b"second", content_type=TYPE)
    stores.blobs.settle()
    assert stores.blobs.read("a/b.txt") == b"first"
    assert stores.blobs.exists("a/b.txt")


def test_of_sixteen_who_create_one_blob_one_does(stores: Stores) -> None:
    together = threading.Barrier(16)

    def create(number: int) -> bool:
        together.wait()
        return stores.blobs.create("x/raced", str(number).encode() * 1000, content_type=TYPE)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert won.count(True) == 1
    assert stores.blobs.read("x/raced") == str(won.index(True)).encode() * 1000


def test_a_large_file_is_streamed_and_created_once(stores: Stores, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(range(256)) * 4096 * 11)
    assert stores.blobs.create("big/one", source, content_type=TYPE, download_name="größe.bin")
    assert not stores.blobs.create("big/one", source, content_type=TYPE)
    target = io.BytesIO()
    assert stores.blobs.download("big/one", target)
    assert target.getvalue() == source.read_bytes()
    assert not stores.blobs.download("big/none", io.BytesIO())


@pytest.mark.parametrize("data", [b"", b"\0", b"x" * 5_000_000], ids=["empty", "nul", "5 MB"])
def test_bytes_come_back_as_they_were(stores: Stores, data: bytes) -> None:
    stores.blobs.create("some/bytes", data, content_type=TYPE)
    assert stores.blobs.read("some/bytes") == data


@pytest.mark.parametrize("name", ["mit Leerzeichen.pdf", "größe.txt", "a#b?c%20d&e.txt", "日本.eml", "'quoted'.txt"])
def test_odd_names(stores: Stores, name: str) -> None:
    path = f"odd/{name}"
    assert stores.blobs.create(path, b"x", content_type=TYPE, download_name=name)
    assert stores.blobs.read(path) == b"x"
    assert list(stores.blobs.list("odd/")) == [path]


def test_paths_are_listed_in_order_by_prefix(stores: Stores) -> None:
    for path in ("b/2", "a/1", "b/1", "bc/1"):
        stores.blobs.create(path, b"", content_type=TYPE)
    assert list(stores.blobs.list("b/")) == ["b/1", "b/2"]
    assert list(stores.blobs.list()) == ["a/1", "b/1", "b/2", "bc/1"]


def test_a_queue_hides_what_is_received_and_counts(stores: Stores) -> None:
    queue = stores.queues[QueueName.ARRIVALS]
    queue.put_many(["ä", "b"])
    assert queue.length() == 2
    items = queue.receive(32, hidden_for=1)
    assert sorted(item.body for item in items) == ["b", "ä"]
    assert {item.dequeue_count for item in items} == {1}
    assert abs((datetime.now(UTC) - items[0].inserted).total_seconds()) < 60
    assert queue.receive(32, hidden_for=60) == []
    time.sleep(1.5)
    again = queue.receive(32, hidden_for=60)
    assert {item.dequeue_count for item in again} == {2}
    for stale in items:
        queue.delete(stale)  # another has received it since
    assert queue.length() == 2
    for item in again:
        queue.delete(item)
    assert queue.length() == 0


def test_a_released_message_comes_back_after_its_delay(stores: Stores) -> None:
    queue = stores.queues[QueueName.POLLS]
    queue.put_many(["x"])
    (item,) = queue.receive(1, hidden_for=600)
    queue.release(item, delay=1)
    assert queue.receive(1, hidden_for=600) == []
    time.sleep(1.5)
    (item,) = queue.receive(1, hidden_for=600)
    assert item.dequeue_count == 2
    queue.release(item)
    assert len(queue.receive(1, hidden_for=600)) == 1


def test_a_delayed_message_is_not_seen_before_its_time(stores: Stores) -> None:
    queue = stores.queues[QueueName.POLLS]
    queue.put_many(["later"], delay=1, ttl=3600)
    assert queue.receive(1, hidden_for=60) == []
    time.sleep(1.5)
    assert [item.body for item in queue.receive(1, hidden_for=60)] == ["later"]


def test_a_message_is_received_by_one_of_many(stores: Stores) -> None:
    queue = stores.queues[QueueName.ARRIVALS]
    queue.put_many(map(str, range(100)))
    with ThreadPoolExecutor(8) as pool:
        received = [
            item.body for items in pool.map(lambda _: queue.receive(16, hidden_for=60), range(16)) for item in items
        ]
    assert sorted(received, key=int) == list(map(str, range(100)))


def test_queues_are_apart(stores: Stores) -> None:
    stores.queues[QueueName.POLLS].put_many(["poll"])
    assert stores.queues[QueueName.ARRIVALS].receive(1, hidden_for=1) == []


VALUES: Values = {
    "text": "grüße \U0001fa91",
    "none": "",
    "whole": 2**40,
    "yes": True,
    "no": False,
    "when": datetime(2026, 11, 23, 9, 1, 2, 345678, UTC),
}


def test_a_record_comes_back_as_it_was(stores: Stores) -> None:
    key = digest("one")
    assert stores.records.get(Table.RECEIPTS, key) is None
    assert stores.records.create(Table.RECEIPTS, key, VALUES)
    assert not stores.records.create(Table.RECEIPTS, key, {"text": "other"})
    record = stores.records.get(Table.RECEIPTS, key)
    assert record is not None
    assert record.key == key
    assert record.values == VALUES
    assert [type(value) for value in record.values.values()] == [type(record.values[name]) for name in record.values]
    assert stores.records.get(Table.CLAIMS, key) is None


def test_merge_sets_some_properties_and_creates(stores: Stores) -> None:
    key = digest("two")
    stores.records.merge(Table.MAILBOXES, key, {"a": 1, "b": "x"})
    stores.records.merge(Table.MAILBOXES, key, {"b": "y"})
    record = stores.records.get(Table.MAILBOXES, key)
    assert record is not None
    assert record.values == {"a": 1, "b": "y"}


def test_merge_with_an_etag_minds_what_others_wrote(stores: Stores) -> None:
    key = digest("three")
    stores.records.create(Table.MAILBOXES, key, {"a": 1})
    record = stores.records.get(Table.MAILBOXES, key)
    assert record is not None
    stores.records.merge(Table.MAILBOXES, key, {"a": 2}, etag=record.etag)
    with pytest.raises(RecordChanged):
        stores.records.merge(Table.MAILBOXES, key, {"a": 3}, etag=record.etag)
    with pytest.raises(RecordChanged):
        stores.records.merge(Table.MAILBOXES, digest("nobody"), {"a": 3}, etag=record.etag)


def test_long_texts_grow_and_shrink(stores: Stores) -> None:
    key = digest("four")
    for text in ("x", "\U0001fa91" * 40_000 + "end", "y" * 20_000, "short", ""):
        stores.records.merge(Table.RECEIPTS, key, {"long": text, "other": "kept"})
        record = stores.records.get(Table.RECEIPTS, key)
        assert record is not None
        assert record.values == {"long": text, "other": "kept"}


def test_many_at_once(stores: Stores) -> None:
    keys = [digest(str(number)) for number in range(120)]
    assert stores.records.create_many(Table.PENDING, {key: {"n": n} for n, key in enumerate(keys[:100])}) == set()
    assert stores.records.create_many(Table.PENDING, {key: {"n": -1} for key in keys[90:]}) == set(keys[90:100])
    found = stores.records.get_many(Table.PENDING, [*keys, digest("none")])
    assert set(found) == set(keys)
    assert found[keys[95]].values == {"n": 95}
    stores.records.merge_many(Table.PENDING, {key: {"seen": True} for key in keys[:50]})
    assert sum(1 for record in stores.records.scan(Table.PENDING) if record.values.get("seen")) == 50
    stores.records.delete_many(Table.PENDING, [*keys[10:], digest("none")])
    assert {record.key for record in stores.records.scan(Table.PENDING)} == set(keys[:10])


def test_of_sixteen_who_create_one_record_one_does(stores: Stores) -> None:
    together = threading.Barrier(16)

    def create(number: int) -> bool:
        together.wait()
        return stores.records.create(Table.CLAIMS, digest("raced"), {"n": number})

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    record = stores.records.get(Table.CLAIMS, digest("raced"))
    assert won.count(True) == 1
    assert record is not None
    assert record.values == {"n": won.index(True)}


def test_a_lease_is_one_holders(stores: Stores) -> None:
    token = stores.leases.acquire("support", 60)
    assert token is not None
    assert stores.leases.acquire("support", 60) is None
    assert stores.leases.acquire("office", 60) is not None
    stores.leases.renew("support", token)
    with pytest.raises(LeaseLost):
        stores.leases.renew("support", "00000000-0000-0000-0000-000000000000")
    stores.leases.release("support", "00000000-0000-0000-0000-000000000000")
    assert stores.leases.acquire("support", 60) is None
    stores.leases.release("support", token)
    other = stores.leases.acquire("support", 60)
    assert other is not None
    with pytest.raises(LeaseLost):
        stores.leases.renew("support", token)


def test_a_lease_ends_by_itself_and_renewing_prolongs_it(stores: Stores) -> None:
    token = stores.leases.acquire("support", 15)
    assert token is not None
    time.sleep(8)
    stores.leases.renew("support", token)
    time.sleep(8)
    assert stores.leases.acquire("support", 15) is None
    time.sleep(8)
    assert stores.leases.acquire("support", 15) is not None
    with pytest.raises(LeaseLost):
        stores.leases.renew("support", token)
