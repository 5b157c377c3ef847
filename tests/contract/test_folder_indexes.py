"""The indexes of a folder's database: what a query reads, and that it uses the index that was made for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.storage.base import Filter, Table
from shared.storage.folder import records as folder_records
from shared.storage.folder.database import Database
from shared.storage.folder.queries import INDEXES, count_query, page_query
from shared.storage.folder.records import FolderRecords
from tests.grown_store import GrownStore

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STORE = GrownStore(count=3_000, newest=NOON)
WEEK = Filter(since=NOON - timedelta(days=7))

UNHANDLED = {"state": "routed", "outcome": "unhandled"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Yield the database of a store with 3,000 arrivals."""
    database = Database(tmp_path_factory.mktemp("indexes") / "state.sqlite3")
    STORE.write_records(FolderRecords(database))
    yield database
    database.close()


@pytest.fixture
def records(database: Database) -> FolderRecords:
    return FolderRecords(database)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the keys of the records that are read."""
    keys: list[str] = []
    to_record = folder_records._to_record

    def parse(row: tuple[Any, ...]) -> Any:
        keys.append(row[0])
        return to_record(row)

    monkeypatch.setattr(folder_records, "_to_record", parse)
    return keys


def plan(database: Database, sql: str, parameters: tuple[str | int, ...]) -> str:
    with database.reading() as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
    return "; ".join(str(row[3]) for row in rows)


@pytest.mark.parametrize(
    ("where", "newest_first", "expected"),
    [
        (Filter(equal={"message": "ab"}), False, "receipts_by_message (<expr>=?"),
        (Filter(prefixes={"message": "ab"}), False, "receipts_by_message (<expr>>?"),
        (Filter(equal={"message_id": "a@b"}), True, "receipts_by_message_id (<expr>=?"),
        (
            Filter(equal={"sender": "a@b", "mailbox": "support"}),
            True,
            "receipts_by_sender (",
        ),
        (Filter(equal={"several_senders": True}), True, "receipts_by_several_senders"),
        (Filter(equal={"state": "stored"}), True, "receipts_by_outcome (<expr>=?"),
        (Filter(equal=UNHANDLED), True, "receipts_by_outcome (<expr>=?"),
        (
            Filter(equal=UNHANDLED, since=NOON),
            True,
            "receipts_by_outcome (<expr>=? AND <expr>>?",
        ),
        (Filter(), True, "receipts_by_stored_at"),
        (WEEK, True, "receipts_by_stored_at (<expr>>?"),
        (WEEK, False, "receipts_by_stored_at (<expr>>?"),
        (
            Filter(time_property="routed_at", since=NOON),
            False,
            "receipts_by_routed_at (<expr>>?",
        ),
        (Filter(key_prefix="abcd", since=NOON), False, "sqlite_autoindex_records_1 (kind=? AND key>? AND key<?)"),
        (Filter(key_prefix="a", since=NOON), False, "receipts_by_stored_at (<expr>>?"),
        (Filter(), False, "sqlite_autoindex_records_1 (kind=?"),
    ],
    ids=str,
)
@pytest.mark.parametrize("last", [None, ("2026-11-20T00:00:00+00:00", "ff")], ids=["first", "next"])
def test_each_query_uses_its_index(
    database: Database, where: Filter, newest_first: bool, expected: str, last: tuple[str, str] | None
) -> None:
    query = page_query(Table.RECEIPTS, where, last, 100, newest_first=newest_first)
    steps = plan(database, query.sql, query.parameters)
    assert f"USING INDEX {expected}" in steps
    texts = {"message_id", "sender", "message"}
    assert "FOR ORDER BY" not in steps or texts & {*where.equal}, "the index has the order of the page"


def test_claims_are_looked_up_by_their_owner(database: Database) -> None:
    query = page_query(Table.CLAIMS, Filter(equal={"owner": "ab"}), None, 100)
    assert "USING INDEX claims_by_owner (<expr>=?" in plan(database, query.sql, query.parameters)


@pytest.mark.parametrize("where", [Filter(), WEEK], ids=["all", "week"])
def test_counting_reads_an_index_alone(database: Database, where: Filter) -> None:
    query = count_query(Table.RECEIPTS, ("mailbox", "state", "outcome"), where)
    assert "SCAN records USING INDEX receipts_by_outcome" in plan(database, query.sql, query.parameters)


def test_the_newest_arrivals_are_read_in_pages(records: FolderRecords, parsed: list[str]) -> None:
    newest = records.scan_newest(Table.RECEIPTS)
    assert [next(newest).key for _ in range(20)] == [STORE.receipt(number).arrival for number in range(20)]
    assert len(parsed) <= folder_records.FIRST_PAGE
    assert [record.key for record in newest] == [STORE.receipt(number).arrival for number in range(20, STORE.count)]


def test_only_the_arrivals_that_match_are_read(records: FolderRecords, parsed: list[str]) -> None:
    receipt = STORE.receipt(700)
    for where, count in (
        (Filter(prefixes={"message": receipt.message[:8]}), 1),
        (Filter(equal={"message": receipt.message}), 1),
        (Filter(equal={"message_id": STORE.message_id(700)}), 1),
        (Filter(equal={"sender": STORE.sender(700)}), 20),
        (Filter(equal={"several_senders": True}), 0),
        (Filter(equal={"state": "stored"}), 0),
        (Filter(equal=UNHANDLED), 150),
        (Filter(equal={"state": "routed", "outcome": "blocked"}), 30),
        (Filter(equal={**UNHANDLED, "mailbox": "support"}), 150),
        (WEEK, 211),
    ):
        for scan in (records.scan, records.scan_newest):
            parsed.clear()
            assert len(list(scan(Table.RECEIPTS, where))) == len(parsed) == count, where
    parsed.clear()
    assert len(list(records.scan(Table.CLAIMS, Filter(equal={"owner": STORE.receipt(701).arrival})))) == 1
    assert len(parsed) == 1
    assert records.count(Table.RECEIPTS, ("mailbox", "state", "outcome"))["support", "routed", "unhandled"] == 150
    assert len(parsed) == 1


def test_an_index_has_the_current_values(records: FolderRecords) -> None:
    """Find receipts by what they are now, after each kind of write."""
    key, values = "f" * 64, {**STORE.values(0, STORE.receipt(0)), "message_id": "new@b"}

    def found(**equal: str | bool) -> bool:
        return key in {record.key for record in records.scan_newest(Table.RECEIPTS, Filter(equal=equal))}

    records.create(Table.RECEIPTS, key, {**values, "state": "stored", "outcome": ""})
    assert found(message_id="new@b", state="stored")
    assert found(state="stored")
    records.merge(Table.RECEIPTS, key, {"state": "routed", "outcome": "failed", "message_id": "newer@b"})
    assert not found(message_id="new@b")
    assert not found(state="stored")
    assert found(message_id="newer@b", state="routed", outcome="failed")
    record = records.get(Table.RECEIPTS, key)
    assert record is not None
    records.replace(Table.RECEIPTS, key, {**values, "state": "erased", "message_id": ""}, etag=record.etag)
    assert not found(message_id="newer@b")
    assert not found(state="routed", outcome="failed")
    assert found(state="erased")
    records.delete_many(Table.RECEIPTS, [key])
    assert not found(state="erased")


def test_a_record_that_is_merged_keeps_its_row(database: Database, records: FolderRecords) -> None:
    """Otherwise each write would move the record's entries in all indexes."""

    def row() -> int:
        with database.reading() as connection:
            query = "SELECT rowid FROM records WHERE kind = 'receipts' AND key = ?"
            return int(connection.execute(query, (STORE.receipt(1_000).arrival,)).fetchone()[0])

    before = row()
    records.merge(Table.RECEIPTS, STORE.receipt(1_000).arrival, {"removed": True})
    assert row() == before


def test_the_names_of_properties_never_become_other_sql(records: FolderRecords) -> None:
    for name in ("a')--", "a.b", "A", "", "a b"):
        for where in (Filter(equal={name: "x"}), Filter(prefixes={name: "x"}), Filter(time_property=name, since=NOON)):
            with pytest.raises(ValueError, match="not the name of a property"):
                list(records.scan(Table.RECEIPTS, where))


def test_an_existing_database_gets_the_indexes(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    for _ in range(2):
        database = Database(path)
        with database.reading() as connection:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        database.close()
        assert {index.name for index in INDEXES} <= names
