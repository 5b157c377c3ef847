"""The contract of `Records.commit`, tested with every storage."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.keys import claim_key, digest, outbox_key
from shared.storage.base import Change, Create, Delete, Merge, Record, Replace, Storage, Table, Values
from shared.storage.transactions import MAX_TRANSACTION
from tests.contract.test_records import VALUES
from tests.servers.whole_table import whole_table

BATCH = "0123456789abcde"


def key_in(partition: str, name: str) -> str:
    """Return a key in a partition of receipts and outbox entries."""
    return partition + digest(name)[1:]


def existing(stores: Storage, table: Table, key: str) -> Record:
    record = stores.records.get(table, key)
    assert record is not None
    return record


def content(stores: Storage) -> dict[tuple[Table, str], tuple[Values, str]]:
    """Return all records with their etags."""
    return {
        (table, record.key): (record.values, record.etag)
        for table in Table
        for record in whole_table(stores.records, table)
    }


def values_of(stores: Storage) -> dict[tuple[Table, str], Values]:
    return {place: values for place, (values, _) in content(stores).items()}


@pytest.mark.parametrize("count", [1, 2, MAX_TRANSACTION])
def test_a_transaction_creates_all_records(stores: Storage, count: int) -> None:
    rows: dict[str, Values] = {claim_key("raw", str(n), "*"): {"n": n} for n in range(count)}
    assert stores.records.commit([Create(Table.CLAIMS, key, values) for key, values in rows.items()])
    assert {record.key: record.values for record in stores.records.scan(Table.CLAIMS)} == rows
    assert {key: record.values for key, record in stores.records.get_many(Table.CLAIMS, [*rows]).items()} == rows


@pytest.mark.parametrize("table", Table)
def test_each_table_has_transactions(stores: Storage, table: Table) -> None:
    first, second = (f"ab{digest(name)[2:]}" for name in "xy")
    assert stores.records.commit([Create(table, first, {"n": 1}), Create(table, second, {"n": 2})])
    assert stores.records.commit([Merge(table, first, {"m": 3}), Delete(table, second)])
    assert values_of(stores) == {(table, first): {"n": 1, "m": 3}}


def prepared(stores: Storage) -> dict[str, str]:
    """Create records and return the etags, by key."""
    etags = {}
    for name in ("merged", "merged if", "replaced", "deleted", "deleted if"):
        key = key_in("a", name)
        stores.records.create(Table.RECEIPTS, key, {"name": name, "n": 1, "long": "x" * 40_000})
        etags[key] = existing(stores, Table.RECEIPTS, key).etag
    return etags


def each_kind_of_change(etags: dict[str, str]) -> list[Change]:
    keys = {name: key_in("a", name) for name in ("merged", "merged if", "replaced", "deleted", "deleted if", "new")}
    return [
        Create(Table.RECEIPTS, keys["new"], VALUES),
        Create(Table.OUTBOX, keys["new"], {"arrival": keys["new"]}),
        Merge(Table.RECEIPTS, key_in("a", "upserted"), {"n": 2}),
        Merge(Table.RECEIPTS, keys["merged"], {"n": 2, "long": "short"}),
        Merge(Table.RECEIPTS, keys["merged if"], {"n": 3}, etags[keys["merged if"]]),
        Replace(Table.RECEIPTS, keys["replaced"], {"m": 4}, etags[keys["replaced"]]),
        Delete(Table.RECEIPTS, keys["deleted"]),
        Delete(Table.RECEIPTS, keys["deleted if"], etags[keys["deleted if"]]),
    ]


def expected_after() -> dict[tuple[Table, str], Values]:
    receipts: dict[str, Values] = {
        "new": VALUES,
        "upserted": {"n": 2},
        "merged": {"name": "merged", "n": 2, "long": "short"},
        "merged if": {"name": "merged if", "n": 3, "long": "x" * 40_000},
        "replaced": {"m": 4},
    }
    new = key_in("a", "new")
    return {
        **{(Table.RECEIPTS, key_in("a", name)): values for name, values in receipts.items()},
        (Table.OUTBOX, new): {"arrival": new},
    }


def test_a_transaction_makes_changes_of_each_kind(stores: Storage) -> None:
    assert stores.records.commit(each_kind_of_change(prepared(stores)))
    assert values_of(stores) == expected_after()


@pytest.mark.parametrize("number", range(8))
def test_each_kind_of_change_alone(stores: Storage, number: int) -> None:
    change = each_kind_of_change(prepared(stores))[number]
    before = values_of(stores)
    assert stores.records.commit([change])
    place = (change.table, change.key)
    after = {other: values for other, values in before.items() if other != place}
    if not isinstance(change, Delete):
        after[place] = expected_after()[place]
    assert values_of(stores) == after


STALE_CHANGES: dict[str, Change] = {
    "create": Create(Table.RECEIPTS, key_in("a", "other"), {"n": 9}),
    "create entry": Create(Table.OUTBOX, key_in("a", "other"), {"n": 9}),
    "merge": Merge(Table.RECEIPTS, key_in("a", "other"), {"n": 9}, "stale"),
    "merge missing": Merge(Table.RECEIPTS, key_in("a", "missing"), {"n": 9}, "stale"),
    "replace": Replace(Table.RECEIPTS, key_in("a", "other"), {"n": 9}, "stale"),
    "replace missing": Replace(Table.RECEIPTS, key_in("a", "missing"), {"n": 9}, "stale"),
    "delete": Delete(Table.RECEIPTS, key_in("a", "other"), "stale"),
    "delete missing": Delete(Table.RECEIPTS, key_in("a", "missing")),
    "delete missing entry": Delete(Table.OUTBOX, key_in("a", "missing")),
    "delete missing with an etag": Delete(Table.RECEIPTS, key_in("a", "missing"), "stale"),
}


@pytest.mark.parametrize("name", STALE_CHANGES)
@pytest.mark.parametrize("position", ["alone", "first", "middle", "last"])
def test_a_transaction_changes_nothing_if_a_record_is_not_as_required(
    stores: Storage, name: str, position: str
) -> None:
    etags = prepared(stores)
    for table in (Table.RECEIPTS, Table.OUTBOX):
        stores.records.create(table, key_in("a", "other"), {"n": 1})
    stale = existing(stores, Table.RECEIPTS, key_in("a", "other")).etag
    stores.records.merge(Table.RECEIPTS, key_in("a", "other"), {"n": 2})
    change = STALE_CHANGES[name]
    if not isinstance(change, Create) and change.etag is not None:
        change = type(change)(**{**{n: getattr(change, n) for n in change.__slots__}, "etag": stale})
    changes = each_kind_of_change(etags)
    index = {"first": 0, "middle": 4, "last": len(changes)}
    changes = [change] if position == "alone" else [*changes[: index[position]], change, *changes[index[position] :]]
    before = content(stores)
    assert not stores.records.commit(changes)
    assert content(stores) == before
    changes.remove(change)
    assert not changes or stores.records.commit(changes), "without the stale change"


def test_a_transaction_keeps_all_kinds_of_values(stores: Storage) -> None:
    east = datetime(2026, 11, 23, 9, 0, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    values: Values = {
        **VALUES,
        "long": "\U0001fa91" * 40_000,
        "negative": -1,
        "largest": 2**63 - 1,
        "east": east,
        "old": datetime(1970, 1, 1, tzinfo=UTC),
        "counted": "\u241e2\u241ex",
        "odd": "a\x1eb\x00c\r\n--changeset\r\n\u2028'\"\\",
    }
    created, merged, replaced, empty = (key_in("a", name) for name in "cmre")
    stores.records.create(Table.RECEIPTS, replaced, {"earlier": "x" * 40_000})
    etag = existing(stores, Table.RECEIPTS, replaced).etag
    changes: list[Change] = [
        Create(Table.RECEIPTS, created, values),
        Merge(Table.RECEIPTS, merged, values),
        Replace(Table.RECEIPTS, replaced, values, etag),
        Create(Table.RECEIPTS, empty, {}),
    ]
    assert stores.records.commit(changes)
    assert values_of(stores) == {
        **{(Table.RECEIPTS, key): values for key in (created, merged, replaced)},
        (Table.RECEIPTS, empty): {},
    }
    types = {name: type(value) for name, value in existing(stores, Table.RECEIPTS, created).values.items()}
    assert types == {name: type(value) for name, value in values.items()}
    assert stores.records.commit([Merge(Table.RECEIPTS, created, {}), Merge(Table.RECEIPTS, merged, {"long": "x"})])
    assert existing(stores, Table.RECEIPTS, created).values == values
    assert existing(stores, Table.RECEIPTS, merged).values == {**values, "long": "x"}


def test_a_lone_surrogate_does_not_fail_a_transaction(stores: Storage) -> None:
    keys = [key_in("a", name) for name in "xy"]
    assert stores.records.commit([Create(Table.RECEIPTS, key, {"subject": "a\ud800b"}) for key in keys])
    for key in keys:
        assert existing(stores, Table.RECEIPTS, key).values["subject"] == "a\ufffdb"


def test_every_change_gives_a_record_another_etag(stores: Storage) -> None:
    keys = [key_in("a", name) for name in "xy"]
    assert stores.records.commit([Create(Table.RECEIPTS, key, {"n": 1}) for key in keys])
    etags = [existing(stores, Table.RECEIPTS, key).etag for key in keys]
    assert stores.records.commit([Merge(Table.RECEIPTS, key, {"n": 1}) for key in keys])
    assert not stores.records.commit(
        [Merge(Table.RECEIPTS, key, {"n": 2}, etag) for key, etag in zip(keys, etags, strict=True)]
    )


RECEIPTS = [Create(Table.RECEIPTS, key_in("a", str(n)), {"n": n}) for n in range(MAX_TRANSACTION + 1)]


@pytest.mark.parametrize(
    "changes",
    [
        [],
        RECEIPTS,
        [RECEIPTS[0], Create(Table.RECEIPTS, key_in("b", "x"), {})],
        [RECEIPTS[0], Create(Table.OUTBOX, key_in("b", "x"), {})],
        [RECEIPTS[0], Create(Table.CLAIMS, key_in("a", "x"), {})],
        [RECEIPTS[0], Delete(Table.RECEIPTS, RECEIPTS[0].key)],
    ],
    ids=["none", "101", "two partitions", "two partitions and tables", "two tables", "one record twice"],
)
def test_a_transaction_changes_up_to_100_records_of_one_partition(stores: Storage, changes: list[Change]) -> None:
    with pytest.raises(ValueError, match="a transaction changes 1 to 100 different records of one partition"):
        stores.records.commit(changes)
    assert content(stores) == {}


def test_all_claims_are_in_one_partition(stores: Storage) -> None:
    keys = [digit + digest(digit)[1:] for digit in "0123456789abcdef"]
    for table in (Table.CLAIMS, Table.CONVERSATIONS):
        assert stores.records.commit([Create(table, key, {"n": 1}) for key in keys])


def test_one_of_eight_overlapping_transactions_creates_its_records(stores: Storage) -> None:
    barrier = threading.Barrier(8)
    keys = [claim_key("raw", str(number), "*") for number in range(9)]

    def create(number: int) -> bool:
        barrier.wait()
        return stores.records.commit([Create(Table.CLAIMS, key, {"n": number}) for key in (keys[number], keys[8])])

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(create, range(8)))
    assert results.count(True) == 1
    winner = results.index(True)
    records = {record.key: record.values["n"] for record in stores.records.scan(Table.CLAIMS)}
    assert records == {keys[winner]: winner, keys[8]: winner}


@pytest.mark.parametrize("attempt", range(5))
def test_one_of_two_threads_concludes_an_arrival(stores: Storage, attempt: int) -> None:
    """The deletion of the outbox entry is the right to set the receipt's final state."""
    arrivals = [key_in("a", f"{attempt} {n}") for n in range(16)]
    entries = [outbox_key(BATCH, arrival) for arrival in arrivals]
    for arrival, entry in zip(arrivals, entries, strict=True):
        changes = [Create(Table.RECEIPTS, arrival, {"state": "stored"}), Create(Table.OUTBOX, entry, {"arrival": "x"})]
        assert stores.records.commit(changes)
    barrier = threading.Barrier(2)

    def conclude(thread: int) -> list[bool]:
        barrier.wait()
        return [
            stores.records.commit(
                [Merge(Table.RECEIPTS, arrival, {"state": "routed", "by": thread}), Delete(Table.OUTBOX, entry)]
            )
            for arrival, entry in zip(arrivals, entries, strict=True)
        ]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(conclude, range(2))
    assert [one != other for one, other in zip(first, second, strict=True)] == [True] * len(arrivals)
    receipts = stores.records.get_many(Table.RECEIPTS, arrivals)
    assert [receipts[arrival].values["by"] for arrival in arrivals] == [0 if won else 1 for won in first]
    assert not list(stores.records.scan(Table.OUTBOX))


def test_a_transaction_of_many_large_records(stores: Storage) -> None:
    """Each record has 60 kB of JSON in ASCII; together they are near the limit of `pack_transactions`."""
    changes = [Create(Table.RECEIPTS, key_in("a", str(n)), {"text": "\u00fc" * 10_000}) for n in range(50)]
    assert stores.records.commit(changes)
    assert len(list(stores.records.scan(Table.RECEIPTS))) == 50
