"""Retries of the SDKs after a lost reply do no harm (rule 8.1; docs/explanation/duplicates.md, "The claims")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from shared.errors import TransientError
from shared.keys import claim_key, digest
from shared.storage.base import Change, Create, Delete, Merge, QueueName, Storage, Table, Values
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.servers.azurite import ACCOUNTS, Azurite
from tests.servers.lossy import ReplyLoss, lossy

Result = TypeVar("Result")
KEY = digest("x")


@pytest.fixture
def loss_and_stores(azurite: Azurite, azure_storage: str) -> Iterator[tuple[ReplyLoss, Storage]]:
    account = next(name for name in ACCOUNTS if f"AccountName={name};" in azure_storage)
    with lossy(azurite, account) as (connection_string, loss):
        location = StorageLocation.parse(connection_string, setting="MAIL_STORAGE")
        stores = open_storage(location, location, "mail")
        yield loss, stores
        stores.close()


def with_lost_replies(loss: ReplyLoss, operation: Callable[[], Result], count: int = 1) -> Result | None:
    """Run an operation whose reply is lost, and run it again after an error, as a later run would."""
    before = loss.lost
    loss.lose = count
    try:
        return operation()
    except TransientError:
        return operation()
    finally:
        assert loss.lost == before + count
        loss.lose = 0


def test_8_1_a_blob_is_created_once_and_complete(loss_and_stores: tuple[ReplyLoss, Storage], tmp_path: Path) -> None:
    loss, stores = loss_and_stores
    data: bytes | Path
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 4096 * 9)
    assert not stores.blobs.exists("first/use")
    for name, data, count in (("small", b"x" * 100, 1), ("large", large, 1), ("twice", b"y", 2)):
        with_lost_replies(loss, partial(stores.blobs.create, name, data, content_type="text/plain"), count)
        assert not stores.blobs.create(name, b"other", content_type="text/plain")
    assert stores.blobs.read("small") == b"x" * 100
    assert stores.blobs.read("large") == large.read_bytes()
    assert stores.blobs.read("twice") == b"y"


def test_8_1_a_record_is_created_with_its_owner(loss_and_stores: tuple[ReplyLoss, Storage]) -> None:
    loss, stores = loss_and_stores
    assert stores.records.get(Table.CLAIMS, KEY) is None
    with_lost_replies(loss, lambda: stores.records.create(Table.CLAIMS, KEY, {"owner": "us"}))
    record = stores.records.get(Table.CLAIMS, KEY)
    assert record is not None
    assert record.values == {"owner": "us"}


def test_8_1_a_transaction_whose_reply_is_lost_took_effect_once(loss_and_stores: tuple[ReplyLoss, Storage]) -> None:
    loss, stores = loss_and_stores
    assert stores.records.get(Table.CLAIMS, KEY) is None
    rows: dict[str, Values] = {claim_key("raw", "f", str(n)): {"owner": "us", "n": n} for n in range(3)}
    creations = [Create(Table.CLAIMS, key, values) for key, values in rows.items()]
    # The SDK sends it again, and it conflicts with itself: the caller reads that the records are its own.
    assert not with_lost_replies(loss, lambda: stores.records.commit(creations))
    assert {key: record.values for key, record in stores.records.get_many(Table.CLAIMS, [*rows]).items()} == rows


def test_8_1_an_arrival_is_concluded_once_although_the_reply_is_lost(
    loss_and_stores: tuple[ReplyLoss, Storage],
) -> None:
    loss, stores = loss_and_stores
    assert stores.records.commit([Create(Table.RECEIPTS, KEY, {"n": 1}), Create(Table.OUTBOX, KEY, {"n": 1})])
    conclusion: list[Change] = [Merge(Table.RECEIPTS, KEY, {"state": "routed"}), Delete(Table.OUTBOX, KEY)]
    assert not with_lost_replies(loss, lambda: stores.records.commit(conclusion))
    record = stores.records.get(Table.RECEIPTS, KEY)
    assert record is not None
    assert record.values == {"n": 1, "state": "routed"}
    assert stores.records.get(Table.OUTBOX, KEY) is None


@pytest.mark.parametrize("change", [Create(Table.OUTBOX, KEY, {"n": 1}), Delete(Table.RECEIPTS, KEY)])
def test_8_1_a_single_change_whose_reply_is_lost_took_effect_once(
    loss_and_stores: tuple[ReplyLoss, Storage], change: Change
) -> None:
    loss, stores = loss_and_stores
    assert stores.records.create(Table.RECEIPTS, KEY, {"n": 1})
    assert not with_lost_replies(loss, lambda: stores.records.commit([change]))
    assert (stores.records.get(change.table, KEY) is None) == isinstance(change, Delete)


def test_8_1_a_record_is_merged(loss_and_stores: tuple[ReplyLoss, Storage]) -> None:
    loss, stores = loss_and_stores
    stores.records.create(Table.MAILBOXES, KEY, {"a": 1})
    with_lost_replies(loss, lambda: stores.records.merge(Table.MAILBOXES, KEY, {"a": 2}))
    record = stores.records.get(Table.MAILBOXES, KEY)
    assert record is not None
    assert record.values == {"a": 2}
    etag = record.etag
    loss.lose = 1
    # The first request may have taken effect, so the caller has to read the record again.
    with pytest.raises(TransientError):
        stores.records.merge(Table.MAILBOXES, KEY, {"a": 3}, etag=etag)
    record = stores.records.get(Table.MAILBOXES, KEY)
    assert record is not None
    assert record.values == {"a": 3}


def test_8_1_a_record_is_deleted(loss_and_stores: tuple[ReplyLoss, Storage]) -> None:
    loss, stores = loss_and_stores
    stores.records.create(Table.OUTBOX, KEY, {"a": 1})
    with_lost_replies(loss, lambda: stores.records.delete_many(Table.OUTBOX, [KEY]))
    assert stores.records.get(Table.OUTBOX, KEY) is None


def test_8_1_a_message_is_put_at_least_once_and_deleted(loss_and_stores: tuple[ReplyLoss, Storage]) -> None:
    loss, stores = loss_and_stores
    queue = stores.queues[QueueName.ROUTE_REQUESTS]
    assert queue.length() == 0
    with_lost_replies(loss, lambda: queue.put_many(["x"]))
    items = queue.receive(32, hidden_for=60)
    assert {item.body for item in items} == {"x"}
    for item in items:
        with_lost_replies(loss, partial(queue.release, item))
    for item in queue.receive(32, hidden_for=60):
        with_lost_replies(loss, partial(queue.delete, item))
    assert queue.length() == 0


def test_1_10_a_lease_is_acquired_and_released(loss_and_stores: tuple[ReplyLoss, Storage]) -> None:
    loss, stores = loss_and_stores
    token = stores.leases.acquire("support", 60)
    assert token is not None
    stores.leases.release("support", token)
    loss.lose = 1
    token = stores.leases.acquire("support", 60)
    assert loss.lost == 1
    assert token is not None  # the retry is not taken for another holder
    with_lost_replies(loss, lambda: stores.leases.renew("support", token))
    assert stores.leases.acquire("support", 60) is None
    with_lost_replies(loss, lambda: stores.leases.release("support", token))
    assert stores.leases.acquire("support", 60) is not None


def test_missing_resources_are_created(loss_and_stores: tuple[ReplyLoss, Storage]) -> None:
    loss, stores = loss_and_stores
    with_lost_replies(loss, lambda: stores.blobs.create("a", b"x", content_type="text/plain"))
    with_lost_replies(loss, lambda: stores.queues[QueueName.POLLS].put_many(["x"]))
    with_lost_replies(loss, lambda: stores.records.create(Table.CLAIMS, KEY, {"a": 1}))
    assert stores.blobs.read("a") == b"x"
    assert stores.queues[QueueName.POLLS].length() == 1
    assert stores.records.get(Table.CLAIMS, KEY) is not None
