"""What `Records` promises, held by every storage alike."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.errors import RecordChanged
from shared.keys import digest
from shared.storage.protocol import Record, Stores, Table, Values

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


def there(stores: Stores, table: Table, key: str) -> Record:
    record = stores.records.get(table, key)
    assert record is not None
    return record


@pytest.mark.parametrize("whole", [0, -1, 2**31, 2**63 - 1, -(2**63)])
def test_whole_numbers_to_63_bits(stores: Stores, whole: int) -> None:
    stores.records.create(Table.MAILBOXES, digest("n"), {"n": whole})
    read = there(stores, Table.MAILBOXES, digest("n")).values["n"]
    assert read == whole
    assert type(read) is int


def test_times_are_the_same_moment_and_aware(stores: Stores) -> None:
    east = datetime(2026, 11, 23, 9, 0, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    stores.records.create(Table.MAILBOXES, digest("t"), {"east": east, "old": datetime(1970, 1, 1, tzinfo=UTC)})
    values = there(stores, Table.MAILBOXES, digest("t")).values
    assert values == {"east": east, "old": datetime(1970, 1, 1, tzinfo=UTC)}
    assert isinstance(values["east"], datetime)
    assert values["east"].tzinfo is not None


@pytest.mark.parametrize(
    "text", ["\u241e", "\u241e2\u241ex", "\u241e\u241e", "a\x1eb\x00c\r\n\t", "'", '"\\', "\u2028\ufeff", "{}", " x "]
)
def test_odd_texts_come_back(stores: Stores, text: str) -> None:
    stores.records.create(Table.RECEIPTS, digest("odd"), {"text": text, "long": text * 20_000})
    assert there(stores, Table.RECEIPTS, digest("odd")).values == {"text": text, "long": text * 20_000}


def test_half_a_character_does_not_stop_a_record(stores: Stores) -> None:
    stores.records.create(Table.RECEIPTS, digest("half"), {"subject": "a\ud800b"})
    assert there(stores, Table.RECEIPTS, digest("half")).values["subject"] in ("a\ud800b", "a\ufffdb")


def test_every_write_changes_the_etag(stores: Stores) -> None:
    key = digest("etag")
    etags = []
    stores.records.create(Table.MAILBOXES, key, {"a": 1})
    for _ in range(3):
        etags.append(there(stores, Table.MAILBOXES, key).etag)
        stores.records.merge(Table.MAILBOXES, key, {"a": 1})
    assert len(set(etags)) == 3


def test_a_record_made_anew_is_not_the_one_before(stores: Stores) -> None:
    key = digest("anew")
    stores.records.create(Table.PENDING, key, {"a": 1})
    before = there(stores, Table.PENDING, key)
    stores.records.delete_many(Table.PENDING, [key])
    stores.records.create(Table.PENDING, key, {"a": 1})
    with pytest.raises(RecordChanged):
        stores.records.merge(Table.PENDING, key, {"a": 2}, etag=before.etag)
    assert there(stores, Table.PENDING, key).values == {"a": 1}


def test_of_eight_who_change_one_record_one_does(stores: Stores) -> None:
    key = digest("change")
    stores.records.create(Table.MAILBOXES, key, {"n": -1})
    etag = there(stores, Table.MAILBOXES, key).etag
    together = threading.Barrier(8)

    def change(number: int) -> bool:
        together.wait()
        try:
            stores.records.merge(Table.MAILBOXES, key, {"n": number}, etag=etag)
        except RecordChanged:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(change, range(8)))
    assert won.count(True) == 1
    assert there(stores, Table.MAILBOXES, key).values == {"n": won.index(True)}


def test_nothing_asked_is_nothing_done(stores: Stores) -> None:
    assert stores.records.get_many(Table.RECEIPTS, []) == {}
    assert stores.records.create_many(Table.RECEIPTS, {}) == set()
    stores.records.merge_many(Table.RECEIPTS, {})
    stores.records.delete_many(Table.RECEIPTS, [])
    assert list(stores.records.scan(Table.RECEIPTS)) == []


def test_more_than_a_page_is_scanned_whole(stores: Stores) -> None:
    rows: dict[str, Values] = {digest(str(number)): {"n": number} for number in range(1100)}
    stores.records.create_many(Table.PENDING, rows)
    assert {record.key: record.values for record in stores.records.scan(Table.PENDING)} == rows
    assert len(stores.records.get_many(Table.PENDING, list(rows))) == 1100
