"""The index of receipts, on every storage, against what the receipts say."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, islice

import pytest

from shared import receipt_index as index_module
from shared import receipt_index_folding as folding
from shared.keys import arrival_key, digest, outbox_key
from shared.receipt_index import WAITING, IndexPartition, ReceiptIndex, outcome_change, outcome_of
from shared.receipt_index_folding import FOLD_INTERVAL, FOLDED_TOGETHER, delete_message, fold
from shared.receipts import Receipt, State
from shared.storage.base import Change, Create, Delete, Filter, Merge, Record, Replace, Storage, Table
from tests.sizes import size

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OUTCOMES = ("routed", "duplicate", "unhandled", "blocked")


class IndexFixture:
    """Arrivals whose receipts are written together with the changes of their index.

    Args:
        stores: the storage.
        seed: the seed of the random changes.
    """

    def __init__(self, stores: Storage, seed: int = 0) -> None:
        self.stores = stores
        self.random = random.Random(seed)
        self.receipts: dict[str, Receipt] = {}
        self.index = ReceiptIndex(stores.records)
        self.now = NOON
        self._numbers = count()

    def new(
        self,
        *,
        state: State = State.STORED,
        mailbox: str = "support",
        stored_at: datetime | None = None,
        folder: int | None = None,
    ) -> Receipt:
        """Store a new arrival."""
        number = str(next(self._numbers))
        folder = self.random.randrange(3) if folder is None else folder
        arrival = arrival_key(mailbox, f"Folder {folder}", number)
        has_message = state not in (State.OVERSIZED, State.UNREADABLE)
        receipt = Receipt(
            arrival=arrival, mailbox=mailbox, protocol="imap", folder="INBOX", server_key=number,
            message=digest(number) if has_message else "", size=1, reported_size=1, received=None,
            stored_at=stored_at or self.now, outbox=outbox_key("0" * 15, arrival), state=state,
        )  # fmt: skip
        changes: list[Change] = [Create(Table.RECEIPTS, arrival, receipt.to_values())]
        if state is State.STORED:
            changes.append(Create(Table.OUTBOX, receipt.outbox, receipt.to_outbox_values()))
        self._commit([*changes, *outcome_change(None, receipt, self.now)], receipt)
        return receipt

    def conclude(self, receipt: Receipt, outcome: str) -> Receipt:
        """Route an arrival, for the first time or again."""
        after = replace(receipt, state=State.ROUTED, outcome=outcome)
        changes: list[Change] = [Merge(Table.RECEIPTS, receipt.arrival, {"state": "routed", "outcome": outcome})]
        if receipt.state is State.STORED:
            changes.append(Delete(Table.OUTBOX, receipt.outbox))
        self._commit([*changes, *outcome_change(receipt, after, self.now)], after)
        return after

    def erase(self, receipt: Receipt) -> Receipt:
        """Erase an arrival: first the state, then what names its message."""
        marked = replace(receipt, state=State.ERASED)
        changes: list[Change] = [Merge(Table.RECEIPTS, receipt.arrival, {"state": "erased"})]
        self._commit([*changes, *outcome_change(receipt, marked, self.now)], marked)
        delete_message(self.stores.records, marked, self.now)
        record = self.stores.records.get(Table.RECEIPTS, receipt.arrival)
        assert record is not None
        bare = replace(marked, message="", outcome="")
        changes = [Replace(Table.RECEIPTS, receipt.arrival, bare.to_values(), record.etag)]
        self._commit([*changes, *outcome_change(marked, bare, self.now)], bare)
        return bare

    def change(self) -> None:
        """Make a random change."""
        self.now += timedelta(minutes=self.random.randrange(300))
        action = self.random.random()
        receipts = [*self.receipts.values()]
        if not receipts or action < 0.4:
            states = [State.STORED] * 8 + [State.OVERSIZED, State.UNREADABLE]
            self.new(state=self.random.choice(states), mailbox=self.random.choice(("support", "office")))
        elif action < 0.95:
            receipt = self.random.choice(receipts)
            if receipt.was_downloaded and receipt.state is not State.ERASED:
                self.conclude(receipt, self.random.choice(OUTCOMES))
        else:
            receipt = self.random.choice(receipts)
            if receipt.state is State.ROUTED:
                self.erase(receipt)

    def check(self) -> None:
        """Compare what the index returns with the receipts."""
        expected = Counter((receipt.mailbox, outcome_of(receipt)) for receipt in self.receipts.values())
        assert self.index.count() == expected
        today = self.now.date()
        of_today = [receipt for receipt in self.receipts.values() if receipt.stored_at.date() == today]
        assert self.index.count(today) == Counter((receipt.mailbox, outcome_of(receipt)) for receipt in of_today)
        assert self.arrivals(self.index.newest_first()) == self.expected()
        since, until = self.now - timedelta(days=3), self.now - timedelta(days=1)
        for outcomes in ({"unhandled"}, {WAITING, "duplicate"}, {"erased", "oversized"}):
            for mailbox in ("", "office"):
                found = self.index.newest_first(outcomes=outcomes, mailbox=mailbox, since=since, until=until)
                assert self.arrivals(found) == [
                    key
                    for key in self.expected()
                    if outcome_of(self.receipts[key]) in outcomes
                    and mailbox in ("", self.receipts[key].mailbox)
                    and since <= self.receipts[key].stored_at < until
                ], (outcomes, mailbox)
        for receipt in islice(self.receipts.values(), 5):
            if receipt.message:
                assert receipt.arrival in self.arrivals(self.index.with_message(receipt.message[:8]))

    def expected(self) -> list[str]:
        """Return the keys of all arrivals, the latest first."""
        receipts = sorted(self.receipts.values(), key=lambda item: (item.stored_at, item.arrival), reverse=True)
        return [receipt.arrival for receipt in receipts]

    @staticmethod
    def arrivals(receipts: Iterator[Receipt] | list[Receipt]) -> list[str]:
        return [receipt.arrival for receipt in receipts]

    def _commit(self, changes: list[Change], receipt: Receipt) -> None:
        assert self.stores.records.commit(changes)
        self.receipts[receipt.arrival] = receipt


@pytest.fixture
def fixture(stores: Storage) -> IndexFixture:
    return IndexFixture(stores)


@pytest.mark.parametrize("seed", range(size(2, soak=20)))
def test_the_index_says_what_the_receipts_say(stores: Storage, seed: int) -> None:
    fixture = IndexFixture(stores, seed)
    for step in range(1, 121):
        fixture.change()
        if fixture.random.random() < 0.05:
            fold(stores.records, fixture.now)
        if step % 40 == 0:
            fixture.check()
    fold(stores.records, fixture.now)
    fixture.check()
    assert fold(stores.records, fixture.now) == 0, "nothing is left"


def test_a_first_outcome_is_one_more_record_in_the_transaction(fixture: IndexFixture) -> None:
    waiting = fixture.new()
    assert outcome_change(None, waiting, NOON) == [], "an arrival that waits is in the outbox"
    routed = replace(waiting, state=State.ROUTED, outcome="routed")
    [change] = outcome_change(waiting, routed, NOON)
    assert isinstance(change, Create)
    assert (change.table, change.key[0]) == (Table.INDEX, waiting.arrival[0])
    assert outcome_change(routed, replace(routed, last_error="x"), NOON) == []
    [again] = outcome_change(waiting, routed, NOON)
    assert again.key != change.key, "no other transaction creates it"


def test_entries_are_folded_in_few_transactions(fixture: IndexFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(60):
        fixture.conclude(fixture.new(), "routed")
    commits: list[int] = []
    commit = type(fixture.stores.records).commit

    def counted(self: object, changes: list[Change]) -> bool:
        commits.append(len(changes))
        return commit(fixture.stores.records, changes)

    monkeypatch.setattr(type(fixture.stores.records), "commit", counted)
    assert fold(fixture.stores.records, NOON) == 60
    folders = {arrival[0] for arrival in fixture.receipts}
    assert len(commits) <= len(folders) + 60 // FOLDED_TOGETHER
    fixture.check()


def test_a_changed_outcome_leaves_one_row(fixture: IndexFixture) -> None:
    receipt = fixture.conclude(fixture.new(), "unhandled")
    fold(fixture.stores.records, NOON)
    receipt = fixture.conclude(receipt, "routed")
    fixture.check()
    fold(fixture.stores.records, NOON)
    fixture.check()
    rows = [
        record.key for record in fixture.stores.records.scan(Table.INDEX, Filter(key_prefix=receipt.arrival[0] + "1"))
    ]
    assert len(rows) == 1


def test_several_changes_of_an_arrival_are_folded_at_once(fixture: IndexFixture) -> None:
    receipt = fixture.conclude(fixture.new(), "unhandled")
    for outcome in ("routed", "duplicate", "unhandled", "blocked"):
        receipt = fixture.conclude(receipt, outcome)
    fold(fixture.stores.records, NOON)
    fixture.check()
    rows = list(fixture.stores.records.scan(Table.INDEX, Filter(key_prefix=receipt.arrival[0] + "1")))
    assert len(rows) == 1


def test_workers_that_fold_at_once_count_each_entry_once(
    fixture: IndexFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker folds after this one has read the entries."""
    for _ in range(5):
        fixture.conclude(fixture.new(), "routed")
    records = fixture.stores.records
    commit = type(records).commit
    others: list[int] = []

    def late(self: object, changes: list[Change]) -> bool:
        monkeypatch.setattr(type(records), "commit", commit)
        others.append(fold(records, NOON))
        return commit(records, changes)

    monkeypatch.setattr(type(records), "commit", late)
    assert fold(records, NOON) + others[0] == 5
    fixture.check()


def tear_scan(fixture: IndexFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next scan read its first row, and its others only after a fold and the conclusion of an arrival."""
    records = fixture.stores.records
    scan = type(records).scan

    def torn(self: object, table: Table, where: Filter, **options: int | None) -> Iterator[Record]:
        first = list(islice(scan(records, table, where, **options), 1))
        if not first:
            return
        monkeypatch.setattr(type(records), "scan", scan)
        fold(records, NOON)
        fixture.conclude(fixture.new(folder=0), "unhandled")
        yield from first
        yield from (record for record in scan(records, table, where, **options) if record.key != first[0].key)

    monkeypatch.setattr(type(records), "scan", torn)


@pytest.fixture
def one_partition(fixture: IndexFixture) -> IndexFixture:
    """Return a partition that has totals, and entries that are not folded yet."""
    for _ in range(2):
        for _ in range(3):
            fixture.conclude(fixture.new(folder=0), "routed")
        if fixture.index.count() == {("support", "routed"): 3}:
            fold(fixture.stores.records, NOON)
    return fixture


def test_counts_are_exact_while_entries_are_folded(
    one_partition: IndexFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entries become part of the totals after a reader has read the totals."""
    tear_scan(one_partition, monkeypatch)
    digit = next(iter(one_partition.receipts))[0]
    counts = IndexPartition.read(one_partition.stores.records, digit).counts()
    assert sum(counts.values()) == 7


def test_totals_are_not_written_from_earlier_ones(one_partition: IndexFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    tear_scan(one_partition, monkeypatch)
    assert fold(one_partition.stores.records, NOON) == 0, "the totals changed meanwhile"
    one_partition.check()
    assert fold(one_partition.stores.records, NOON) == 1
    one_partition.check()


OPERATIONS = ("scan", "get", "get_many", "commit")
"""What `fold` does with the storage."""


class Killed(Exception):
    """The end of a worker."""


def kill_at(fixture: IndexFixture, monkeypatch: pytest.MonkeyPatch, step: int, *, is_done: bool) -> None:
    """End the next fold at an operation.

    Args:
        fixture: the index.
        monkeypatch: reverts the changes.
        step: the number of the operation.
        is_done: whether the operation takes effect.
    """
    records = fixture.stores.records
    steps = count()

    def wrap(name: str) -> Callable[..., object]:
        operation = getattr(type(records), name)

        def run(self: object, *arguments: object, **options: object) -> object:
            number = next(steps)
            if number > step or (number == step and not is_done):
                raise Killed
            result = operation(records, *arguments, **options)
            if number == step:
                raise Killed
            return result

        return run

    for name in OPERATIONS:
        monkeypatch.setattr(type(records), name, wrap(name))


@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_a_fold_that_is_killed_at_any_step_leaves_the_index_right(
    fixture: IndexFixture, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    """Each fold has two transactions at least, and entries of first and of later outcomes.

    On Azurite, each kind of death has every fourth step; `make test-soak` has all.
    """
    monkeypatch.setattr(folding, "PARALLEL_FOLDS", 1)
    monkeypatch.setattr(folding, "MAX_TRANSACTION", 1 + 4 * folding.FIRST_CHANGES)
    interval = size(4, soak=1) if ReceiptIndex(fixture.stores.records).is_needed else 1
    for step in count(int(is_done), interval):
        receipts = [fixture.conclude(fixture.new(folder=0), "unhandled") for _ in range(4)]
        fixture.conclude(receipts[0], "routed")
        monkeypatch.setattr(folding, "PARTITIONS", receipts[0].arrival[0])
        with monkeypatch.context() as patched:
            kill_at(fixture, patched, step, is_done=is_done)
            try:
                fold(fixture.stores.records, fixture.now)
            except Killed:
                has_ended = False
            else:
                has_ended = True
        fixture.check()
        if has_ended:
            break
    assert step > 5, "two transactions, and what is read before them"
    assert fold(fixture.stores.records, fixture.now) == 0


def test_a_count_of_zero_hides_no_row(fixture: IndexFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The times of two workers differ, and a sweep ends between the entries of one arrival."""
    other = fixture.conclude(fixture.new(folder=0), "unhandled")
    fixture.now -= timedelta(minutes=2)
    fixture.conclude(fixture.new(folder=0), "unhandled")
    fixture.now += timedelta(minutes=1)
    fixture.conclude(other, "routed")
    monkeypatch.setattr(folding, "MAX_TRANSACTION", 1 + folding.FIRST_CHANGES + folding.LATER_CHANGES)
    monkeypatch.setattr(folding, "PARTITIONS", other.arrival[0])
    monkeypatch.setattr(folding, "PARALLEL_FOLDS", 1)
    assert fold(fixture.stores.records, fixture.now, seconds=0) == 2
    fixture.check()
    fold(fixture.stores.records, fixture.now)
    fixture.check()


def test_a_sweep_ends_in_time_and_the_next_one_continues(
    fixture: IndexFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "PARALLEL_FOLDS", 1)
    for number in range(6 * FOLDED_TOGETHER):
        fixture.conclude(fixture.new(folder=number % 2), "routed")
    assert len({arrival[0] for arrival in fixture.receipts}) == 2
    folded: list[int] = []
    while sum(folded) < len(fixture.receipts):
        fixture.now += timedelta(seconds=FOLD_INTERVAL)
        folded.append(fold(fixture.stores.records, fixture.now, seconds=0))
        assert folded[-1] <= FOLDED_TOGETHER, "no second transaction after the time is over"
        assert len(folded) < 100, "each partition has its turn"
    fixture.check()


@pytest.fixture
def small_head(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let a page have few entries. Return their number."""
    for module in (index_module, folding):
        monkeypatch.setattr(module, "HEAD_SIZE", 4)
    return 4


def test_a_reader_ends_while_a_sweep_folds_all_the_time(
    fixture: IndexFixture, monkeypatch: pytest.MonkeyPatch, small_head: int
) -> None:
    """Each scan of the reader is in two pages, and entries between its pages are folded."""
    number = 5 * small_head
    for _ in range(number):
        fixture.conclude(fixture.new(folder=0), "routed")
    records = fixture.stores.records
    digit = next(iter(fixture.receipts))[0]
    scan = type(records).scan
    scans = count()

    def folding_meanwhile(self: object, table: Table, where: Filter, **options: int | None) -> Iterator[Record]:
        next(scans)
        rows = scan(records, table, where, **options)
        pages = [list(islice(rows, 1)), list(rows)] if options else [[*islice(rows, 2)]]
        yield from pages[0]
        if options:
            yield from pages[1]  # One page: a snapshot.
        monkeypatch.setattr(type(records), "scan", scan)
        folding._fold_head(records, digit, NOON.date(), deadline=float("inf"))
        monkeypatch.setattr(type(records), "scan", folding_meanwhile)
        if not options:
            yield from (row for row in scan(records, table, where) if row.key > pages[0][-1].key)

    monkeypatch.setattr(type(records), "scan", folding_meanwhile)
    counts = IndexPartition.read(records, digit).counts()
    assert sum(counts.values()) == number
    assert next(scans) <= 2, "it does not read again until the sweep ends"


def test_an_erasure_folds_the_entries_of_its_arrival_alone(fixture: IndexFixture) -> None:
    receipts = [fixture.conclude(fixture.new(folder=0), "routed") for _ in range(3 * FOLDED_TOGETHER)]
    fixture.erase(receipts[-1])
    entries = IndexPartition.read(fixture.stores.records, receipts[0].arrival[0]).entries
    # Of the erased one, the change of its outcome is left, or was folded with the first one.
    assert {entry.arrival for entry in entries} - {receipts[-1].arrival} == {item.arrival for item in receipts[:-1]}
    fixture.check()
    fold(fixture.stores.records, fixture.now)
    fixture.check()


@pytest.mark.parametrize("is_folded", [False, True], ids=["entry", "row"])
def test_an_erased_message_is_not_in_the_index(fixture: IndexFixture, is_folded: bool) -> None:
    receipt = fixture.conclude(fixture.new(), "routed")
    if is_folded:
        fold(fixture.stores.records, NOON)
    fixture.erase(receipt)
    assert receipt.message not in "".join(f"{row.key} {row.values}" for row in fixture.stores.records.scan(Table.INDEX))
    fold(fixture.stores.records, NOON)
    assert receipt.message not in "".join(f"{row.key} {row.values}" for row in fixture.stores.records.scan(Table.INDEX))
    fixture.check()


def test_a_row_that_is_out_of_date_is_ignored(fixture: IndexFixture) -> None:
    receipt = fixture.conclude(fixture.new(), "unhandled")
    fold(fixture.stores.records, NOON)
    fixture.stores.records.merge(Table.RECEIPTS, receipt.arrival, {"outcome": "routed"})
    assert list(fixture.index.newest_first(outcomes={"unhandled"})) == []
    fixture.stores.records.delete_many(Table.RECEIPTS, [receipt.arrival])
    assert list(fixture.index.newest_first()) == []
    assert fixture.index.with_message(receipt.message) == []


def test_the_newest_arrivals_are_read_in_pages(fixture: IndexFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        fixture.conclude(
            fixture.new(stored_at=NOON - timedelta(hours=number)), "routed" if number % 10 else "unhandled"
        )
    fold(fixture.stores.records, NOON)
    reads: list[str] = []
    get_many = type(fixture.stores.records).get_many

    def counted(self: object, table: Table, keys: list[str]) -> object:
        reads.extend(keys if table is Table.RECEIPTS else ())
        return get_many(fixture.stores.records, table, keys)

    monkeypatch.setattr(type(fixture.stores.records), "get_many", counted)
    newest = islice(fixture.index.newest_first(outcomes={"unhandled"}), 10)
    assert [receipt.stored_at for receipt in newest] == [NOON - timedelta(hours=10 * number) for number in range(10)]
    assert len(reads) <= 64
    assert all(outcome_of(fixture.receipts[key]) == "unhandled" for key in reads)


def test_waiting_arrivals_are_counted_by_the_outbox_alone(
    fixture: IndexFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        fixture.new(stored_at=NOON - timedelta(hours=number), mailbox="office" if number == 3 else "support")
    fixture.conclude(fixture.new(), "routed")
    for name in ("get", "get_many"):
        monkeypatch.setattr(type(fixture.stores.records), name, None)
    assert fixture.index.count_waiting() == 4
    assert fixture.index.count_waiting(mailbox="office") == 1
    assert fixture.index.count_waiting(since=NOON - timedelta(hours=2), until=NOON) == 2


def test_older_days_are_counted_together(fixture: IndexFixture) -> None:
    for number in range(30):
        fixture.conclude(fixture.new(stored_at=NOON - timedelta(days=number)), "routed")
    fold(fixture.stores.records, NOON)
    totals = [str(record.values["counts"]) for digit in "0123456789abcdef"
              if (record := fixture.stores.records.get(Table.INDEX, digit + "0")) is not None]  # fmt: skip
    assert sum(text.count("2026-") for text in totals) <= 8
    assert fixture.index.count() == {("support", "routed"): 30}
    assert fixture.index.count(NOON.date()) == {("support", "routed"): 1}
    fixture.conclude(fixture.receipts[fixture.expected()[-1]], "blocked")
    fold(fixture.stores.records, NOON)
    assert fixture.index.count() == {("support", "routed"): 29, ("support", "blocked"): 1}
