"""The contract of `Records`, tested with every storage."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.errors import WriteConflict
from shared.keys import claim_key, digest
from shared.storage.base import Filter, Record, Storage, Table, Values

VALUES: Values = {
    "text": "grüße \U0001fa91",
    "none": "",
    "number": 2**40,
    "yes": True,
    "no": False,
    "when": datetime(2026, 11, 23, 9, 1, 2, 345678, UTC),
}


def test_a_record_keeps_its_values(stores: Storage) -> None:
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


def test_merge_sets_properties_and_creates_the_record(stores: Storage) -> None:
    key = digest("two")
    stores.records.merge(Table.MAILBOXES, key, {"a": 1, "b": "x"})
    stores.records.merge(Table.MAILBOXES, key, {"b": "y"})
    record = stores.records.get(Table.MAILBOXES, key)
    assert record is not None
    assert record.values == {"a": 1, "b": "y"}


def test_a_merge_keeps_the_other_properties_as_they_are(stores: Storage) -> None:
    kept: Values = {
        "empty": "",
        "json": '{"t": null, "x": [1, "\\u0000"]}',
        "quotes": "'\"\\ \x01\x7f\u2028 \U0001fa91 \ufffd",
        "large": 2**62 - 1,
        "negative": -5,
        "zero": 0,
        "true": True,
        "false": False,
        "time": datetime(2026, 11, 29, 12, 30, 15, 123456, tzinfo=UTC),
    }
    key = digest("kept")
    stores.records.merge(Table.MAILBOXES, key, {**kept, "changed": "2026"})
    for changed in (datetime(2026, 11, 29, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC), "text", 7, False):
        stores.records.merge_many(Table.MAILBOXES, {key: {"changed": changed}, digest("other"): {"changed": changed}})
        record = stores.records.get(Table.MAILBOXES, key)
        assert record is not None
        assert record.values == {**kept, "changed": changed}
        assert type(record.values["false"]) is bool
        stores.records.merge(Table.MAILBOXES, key, {"changed": 1}, etag=record.etag)
        record = stores.records.get(Table.MAILBOXES, key)
        assert record is not None
        assert record.values == {**kept, "changed": 1}


def test_merge_with_a_stale_etag_is_a_conflict(stores: Storage) -> None:
    key = digest("three")
    stores.records.create(Table.MAILBOXES, key, {"a": 1})
    record = stores.records.get(Table.MAILBOXES, key)
    assert record is not None
    stores.records.merge(Table.MAILBOXES, key, {"a": 2}, etag=record.etag)
    with pytest.raises(WriteConflict):
        stores.records.merge(Table.MAILBOXES, key, {"a": 3}, etag=record.etag)
    with pytest.raises(WriteConflict):
        stores.records.merge(Table.MAILBOXES, digest("nobody"), {"a": 3}, etag=record.etag)


def test_long_texts_grow_and_shrink(stores: Storage) -> None:
    key = digest("four")
    for text in ("x", "\U0001fa91" * 40_000 + "end", "y" * 20_000, "short", ""):
        stores.records.merge(Table.RECEIPTS, key, {"long": text, "other": "kept"})
        record = stores.records.get(Table.RECEIPTS, key)
        assert record is not None
        assert record.values == {"long": text, "other": "kept"}


def test_many_records(stores: Storage) -> None:
    keys = [digest(str(number)) for number in range(120)]
    assert stores.records.create_many(Table.OUTBOX, {key: {"n": n} for n, key in enumerate(keys[:100])}) == set()
    assert stores.records.create_many(Table.OUTBOX, {key: {"n": -1} for key in keys[90:]}) == set(keys[90:100])
    records = stores.records.get_many(Table.OUTBOX, [*keys, digest("none")])
    assert set(records) == set(keys)
    assert records[keys[95]].values == {"n": 95}
    stores.records.merge_many(Table.OUTBOX, {key: {"seen": True} for key in keys[:50]})
    assert sum(1 for record in stores.records.scan(Table.OUTBOX) if record.values.get("seen")) == 50
    stores.records.delete_many(Table.OUTBOX, [*keys[10:], digest("none")])
    assert {record.key for record in stores.records.scan(Table.OUTBOX)} == set(keys[:10])


def test_one_of_sixteen_threads_creates_a_record(stores: Storage) -> None:
    barrier = threading.Barrier(16)

    def create(number: int) -> bool:
        barrier.wait()
        return stores.records.create(Table.CLAIMS, digest("raced"), {"n": number})

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(create, range(16)))
    record = stores.records.get(Table.CLAIMS, digest("raced"))
    assert results.count(True) == 1
    assert record is not None
    assert record.values == {"n": results.index(True)}


def claims(fingerprint: str, count: int, owner: str = "us") -> dict[str, Values]:
    """Return claims on one fingerprint."""
    return {claim_key("raw", fingerprint, f"{n}@example.com"): {"owner": owner, "n": n} for n in range(count)}


def test_claims_are_found_by_a_prefix_of_any_length(stores: Storage) -> None:
    rows = claims("f", 3) | claims("g", 3)
    stores.records.create_many(Table.CLAIMS, rows)
    for digits in (0, 1, 2, 63, 64):
        for key in rows:
            found = {record.key for record in stores.records.scan(Table.CLAIMS, Filter(key_prefix=key[:digits]))}
            assert found == {other for other in rows if other.startswith(key[:digits])}, digits


def test_the_records_of_a_shared_table_are_separate(stores: Storage) -> None:
    """The same key may be in both. Every operation reads and changes the records of its own table only."""
    records = stores.records
    keys = [f"{digit}{digest(digit)[1:]}" for digit in "0123456789abcdef"]
    for table in (Table.RECEIPTS, Table.OUTBOX):
        assert records.create_many(table, {key: {"of": table} for key in keys}) == set()
        assert records.create_many(table, {key: {"of": "other"} for key in keys}) == set(keys)
    for table in (Table.RECEIPTS, Table.OUTBOX):
        expected: dict[str, Values] = {key: {"of": table} for key in keys}
        assert {record.key: record.values for record in records.scan(table)} == expected
        assert {key: record.values for key, record in records.get_many(table, keys).items()} == expected
        for digits in (1, 2, 16, 64):
            (record,) = records.scan(table, Filter(key_prefix=keys[10][:digits]))
            assert (record.key, record.values) == (keys[10], {"of": table})
        (record,) = records.scan(table, Filter(key_prefix=keys[3][:16], equal={"of": table}))
        assert record.key == keys[3]
        assert not list(records.scan(table, Filter(equal={"of": "other"})))
    records.merge(Table.OUTBOX, keys[0], {"merged": True})
    entry = existing(stores, Table.OUTBOX, keys[0])
    records.replace(Table.OUTBOX, keys[0], {"replaced": True}, etag=entry.etag)
    records.delete_many(Table.OUTBOX, keys[1:])
    assert [record.values for record in records.scan(Table.OUTBOX)] == [{"replaced": True}]
    assert {record.key: record.values for record in records.scan(Table.RECEIPTS)} == {
        key: {"of": Table.RECEIPTS} for key in keys
    }


def existing(stores: Storage, table: Table, key: str) -> Record:
    record = stores.records.get(table, key)
    assert record is not None
    return record


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**63 - 1, -(2**63)])
def test_integers_of_63_bits(stores: Storage, number: int) -> None:
    stores.records.create(Table.MAILBOXES, digest("n"), {"n": number})
    value = existing(stores, Table.MAILBOXES, digest("n")).values["n"]
    assert value == number
    assert type(value) is int


def test_times_stay_the_same_and_aware(stores: Storage) -> None:
    east = datetime(2026, 11, 23, 9, 0, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    stores.records.create(Table.MAILBOXES, digest("t"), {"east": east, "old": datetime(1970, 1, 1, tzinfo=UTC)})
    values = existing(stores, Table.MAILBOXES, digest("t")).values
    assert values == {"east": east, "old": datetime(1970, 1, 1, tzinfo=UTC)}
    assert isinstance(values["east"], datetime)
    assert values["east"].tzinfo is not None


@pytest.mark.parametrize(
    "text", ["\u241e", "\u241e2\u241ex", "\u241e\u241e", "a\x1eb\x00c\r\n\t", "'", '"\\', "\u2028\ufeff", "{}", " x "]
)
def test_unusual_texts_are_kept(stores: Storage, text: str) -> None:
    stores.records.create(Table.RECEIPTS, digest("odd"), {"text": text, "long": text * 20_000})
    assert existing(stores, Table.RECEIPTS, digest("odd")).values == {"text": text, "long": text * 20_000}


def test_a_lone_surrogate_does_not_fail_a_record(stores: Storage) -> None:
    stores.records.create(Table.RECEIPTS, digest("half"), {"subject": "a\ud800b"})
    assert existing(stores, Table.RECEIPTS, digest("half")).values["subject"] in ("a\ud800b", "a\ufffdb")


def test_every_write_changes_the_etag(stores: Storage) -> None:
    key = digest("etag")
    etags = []
    stores.records.create(Table.MAILBOXES, key, {"a": 1})
    for _ in range(3):
        etags.append(existing(stores, Table.MAILBOXES, key).etag)
        stores.records.merge(Table.MAILBOXES, key, {"a": 1})
    assert len(set(etags)) == 3


def test_a_record_created_again_has_another_etag(stores: Storage) -> None:
    key = digest("anew")
    stores.records.create(Table.OUTBOX, key, {"a": 1})
    before = existing(stores, Table.OUTBOX, key)
    stores.records.delete_many(Table.OUTBOX, [key])
    stores.records.create(Table.OUTBOX, key, {"a": 1})
    with pytest.raises(WriteConflict):
        stores.records.merge(Table.OUTBOX, key, {"a": 2}, etag=before.etag)
    assert existing(stores, Table.OUTBOX, key).values == {"a": 1}


def test_one_of_eight_threads_changes_a_record(stores: Storage) -> None:
    key = digest("change")
    stores.records.create(Table.MAILBOXES, key, {"n": -1})
    etag = existing(stores, Table.MAILBOXES, key).etag
    barrier = threading.Barrier(8)

    def change(number: int) -> bool:
        barrier.wait()
        try:
            stores.records.merge(Table.MAILBOXES, key, {"n": number}, etag=etag)
        except WriteConflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(change, range(8)))
    assert results.count(True) == 1
    assert existing(stores, Table.MAILBOXES, key).values == {"n": results.index(True)}


def test_empty_arguments(stores: Storage) -> None:
    assert stores.records.get_many(Table.RECEIPTS, []) == {}
    assert stores.records.create_many(Table.RECEIPTS, {}) == set()
    stores.records.merge_many(Table.RECEIPTS, {})
    stores.records.delete_many(Table.RECEIPTS, [])
    assert list(stores.records.scan(Table.RECEIPTS)) == []


def test_a_scan_returns_all_pages(stores: Storage) -> None:
    rows: dict[str, Values] = {digest(str(number)): {"n": number} for number in range(1100)}
    stores.records.create_many(Table.OUTBOX, rows)
    assert {record.key: record.values for record in stores.records.scan(Table.OUTBOX)} == rows
    assert len(stores.records.get_many(Table.OUTBOX, list(rows))) == 1100


NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

ROWS: dict[str, Values] = {
    "aa11": {"sender": "ann@example.com", "removed": True, "stored_at": NOON},
    "aa12": {"sender": "ann@example.com", "removed": False, "stored_at": NOON + timedelta(microseconds=1)},
    "aa2": {"sender": "o'neill@example.com", "message": "0123abcd", "stored_at": NOON + timedelta(days=1)},
    "ab1": {"sender": "Ann@example.com", "message": "0123abce", "stored_at": NOON - timedelta(microseconds=1)},
    "b1": {
        "sender": "1",
        "message": "0123",
        "stored_at": (NOON - timedelta(1)).astimezone(timezone(timedelta(hours=5))),
    },
    "b2": {"sender": "true", "size": 1},
}


@pytest.mark.parametrize(
    ("where", "keys"),
    [
        (Filter(), [*ROWS]),
        (Filter(key_prefix="a"), ["aa11", "aa12", "aa2", "ab1"]),
        (Filter(key_prefix="aa"), ["aa11", "aa12", "aa2"]),
        (Filter(key_prefix="aa1"), ["aa11", "aa12"]),
        (Filter(key_prefix="aa1", equal={"removed": False}), ["aa12"]),
        (Filter(equal={"sender": "ann@example.com"}), ["aa11", "aa12"]),
        (Filter(equal={"sender": "o'neill@example.com"}), ["aa2"]),
        (Filter(equal={"sender": "' or 1 eq 1 or '"}), []),
        (Filter(equal={"sender": ""}), []),
        (Filter(equal={"sender": "1"}), ["b1"]),
        (Filter(equal={"sender": "true"}), ["b2"]),
        (Filter(equal={"sender": True}), []),
        (Filter(equal={"size": True}), []),
        (Filter(equal={"nothing": "x"}), []),
        (Filter(equal={"removed": True}), ["aa11"]),
        (Filter(equal={"sender": "ann@example.com", "removed": False}), ["aa12"]),
        (Filter(prefixes={"message": "0123abc"}), ["aa2", "ab1"]),
        (Filter(prefixes={"message": "0123"}), ["aa2", "ab1", "b1"]),
        (Filter(since=NOON), ["aa11", "aa12", "aa2"]),
        (Filter(until=NOON), ["ab1", "b1"]),
        (
            Filter(since=NOON.astimezone(timezone(timedelta(hours=-7))), until=NOON + timedelta(days=1)),
            ["aa11", "aa12"],
        ),
        (Filter(time_property="sender", since=NOON), []),
    ],
    ids=str,
)
def test_a_scan_returns_the_matching_records(stores: Storage, where: Filter, keys: list[str]) -> None:
    stores.records.create_many(Table.RECEIPTS, ROWS)
    stores.records.create_many(Table.CLAIMS, {"aa13": ROWS["aa11"]})
    assert {record.key: record.values for record in stores.records.scan(Table.RECEIPTS, where)} == {
        key: ROWS[key] for key in keys
    }


@pytest.mark.parametrize(
    ("where", "keys"),
    [
        (Filter(), ["aa2", "aa12", "aa11", "ab1", "b1"]),
        (Filter(key_prefix="aa"), ["aa2", "aa12", "aa11"]),
        (Filter(equal={"sender": "ann@example.com"}), ["aa12", "aa11"]),
        (Filter(prefixes={"message": "0123"}), ["aa2", "ab1", "b1"]),
        (Filter(since=NOON, until=NOON + timedelta(days=1)), ["aa12", "aa11"]),
        (Filter(equal={"sender": "true"}), []),
    ],
    ids=str,
)
def test_a_scan_returns_the_newest_records_first(stores: Storage, where: Filter, keys: list[str]) -> None:
    stores.records.create_many(Table.RECEIPTS, ROWS)
    stores.records.create_many(Table.CLAIMS, {"aa13": ROWS["aa11"]})
    records = list(stores.records.scan_newest(Table.RECEIPTS, where))
    assert [record.key for record in records] == keys
    assert [record.values for record in records] == [ROWS[key] for key in keys]


def test_equally_new_records_are_ordered_by_their_keys_on_every_page(stores: Storage) -> None:
    rows: dict[str, Values] = {digest(str(n)): {"stored_at": NOON + timedelta(n // 300)} for n in range(600)}
    stores.records.create_many(Table.RECEIPTS, rows)
    keys = [record.key for record in stores.records.scan_newest(Table.RECEIPTS)]
    assert keys == sorted(rows, key=lambda key: (rows[key]["stored_at"], key), reverse=True)


def test_records_are_counted_by_their_texts(stores: Storage) -> None:
    texts = ("support routed routed", "support routed unhandled", "office routed routed", "office stored ")
    rows: dict[str, Values] = {
        digest(str(number)): {
            **dict(zip(("mailbox", "state", "outcome"), texts[number % 4].split(" "), strict=True)),
            "stored_at": NOON + timedelta(hours=number),
            "long": "x" * 20_000,
        }
        for number in range(12)
    }
    rows[digest("none")] = {"mailbox": "support", "state": "erased", "stored_at": NOON - timedelta(1)}
    stores.records.create_many(Table.RECEIPTS, rows)
    stores.records.create_many(Table.CLAIMS, rows)
    count = stores.records.count
    by = ("mailbox", "state", "outcome")
    expected = {(*text.split(" "),): 3 for text in texts}
    assert count(Table.RECEIPTS, by) == {**expected, ("support", "erased", ""): 1}
    assert count(Table.RECEIPTS, by, Filter(since=NOON)) == expected
    assert count(Table.RECEIPTS, by, Filter(since=NOON, until=NOON + timedelta(hours=8))) == dict.fromkeys(expected, 2)
    assert count(Table.RECEIPTS, ("outcome",)) == {("routed",): 6, ("unhandled",): 3, ("",): 4}
    assert count(Table.RECEIPTS, ("mailbox",), Filter(equal={"state": "routed"})) == {("support",): 6, ("office",): 3}
    assert count(Table.RECEIPTS, ("state",), Filter(equal={"long": "x" * 20_000})) == {
        ("routed",): 9,
        ("stored",): 3,
    }
    assert count(Table.RECEIPTS, by, Filter(equal={"mailbox": "nobody"})) == {}
    assert count(Table.OUTBOX, by) == {}


@pytest.mark.parametrize(
    "text", ["x" * 40_000, "\u241e2\u241ex", "a\ud800b", "\"'\\%_@p0", "gr\u00fc\u00dfe", "\U0001fa91"]
)
def test_a_scan_finds_unusual_texts(stores: Storage, text: str) -> None:
    rows: dict[str, Values] = {"aa1": {"message_id": text}, "aa2": {"message_id": text + "y"}}
    stores.records.create_many(Table.RECEIPTS, rows)
    records = [record.key for record in stores.records.scan(Table.RECEIPTS, Filter(equal={"message_id": text}))]
    assert records == ["aa1"]


def test_a_filtered_scan_returns_all_pages(stores: Storage) -> None:
    rows: dict[str, Values] = {digest(str(number)): {"n": number, "odd": number % 2 == 1} for number in range(2300)}
    stores.records.create_many(Table.OUTBOX, rows)
    records = {record.key for record in stores.records.scan(Table.OUTBOX, Filter(equal={"odd": True}))}
    assert records == {key for key, values in rows.items() if values["odd"]}


def test_replace_removes_all_earlier_properties(stores: Storage) -> None:
    key = digest("forgotten")
    stores.records.create(Table.RECEIPTS, key, {"outcomes": "x" * 100_000, "sender": "ann@example.com", "size": 1})
    before = existing(stores, Table.RECEIPTS, key)
    stores.records.replace(Table.RECEIPTS, key, {"size": 2, "outcomes": ""}, etag=before.etag)
    assert existing(stores, Table.RECEIPTS, key).values == {"size": 2, "outcomes": ""}
    with pytest.raises(WriteConflict):
        stores.records.replace(Table.RECEIPTS, key, {"size": 3}, etag=before.etag)
    stores.records.delete_many(Table.RECEIPTS, [key])
    with pytest.raises(WriteConflict):
        stores.records.replace(Table.RECEIPTS, key, {"size": 3}, etag=before.etag)
    assert stores.records.get(Table.RECEIPTS, key) is None
