"""Commands for operators on tables with thousands of arrivals: they read a bounded number of rows.

The bounds do not depend on the number of arrivals. `python -m bench growth --tables` measures with 100,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.growth import commands
from bench.growth_tables import KEYS, count, fill, opened, tables_settings
from shared.receipt_index import ReceiptIndex
from shared.receipt_index_folding import fold
from shared.storage.base import Storage, Table
from tests.grown_store import GrownStore, grown_store
from tests.servers import azurite
from tests.sizes import size

ARRIVALS = size(1_000, soak=10_000)
"""The rows of all arrivals are more than any bound below."""

MEASURED: Mapping[str, tuple[int, int]] = {
    "status": (80, 60),
    "find --limit 20": (130, 900),
    "find --id": (110, 20),
    "find --since 7d": (260, 900),
    "find --outcome unhandled": (180, 400),
    "find --outcome failed": (40, 40),
    "find --mailbox": (200, 600),
    "explain ID": (130, 20),
    "replay --dry-run ID": (130, 20),
}
"""Requests and rows of a command, at most."""

UNFOLDED: Mapping[str, tuple[int, int]] = {"find --id": (110, 20), "find --outcome failed": (40, 20)}
"""The same before the index is folded, for commands whose entries the service selects."""


@pytest.fixture(scope="module")
def store() -> GrownStore:
    return grown_store(ARRIVALS)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory, store: GrownStore) -> Iterator[str]:
    """Yield the connection string of an account with the store, whose index is not folded."""
    with azurite.running(tmp_path_factory.mktemp("growth"), ["growth"], scripts=[KEYS]) as server:
        connection_string = server.connection_string("growth")
        with opened(connection_string) as storage:
            fill(storage, store)
        yield connection_string


def check(store: GrownStore, account: str, tmp_path: Path, bounds: Mapping[str, tuple[int, int]]) -> None:
    settings = tables_settings(tmp_path, account)
    words = commands(store)
    loads = {name: count(words[name], settings, account) for name in bounds}
    beyond = {
        name: load for name, load in loads.items() if load.requests > bounds[name][0] or load.rows > bounds[name][1]
    }
    assert not beyond
    # No command may seem cheap since it reads nothing.
    assert all(load.rows for name, load in loads.items() if "failed" not in name)


def test_the_number_of_arrivals_does_not_count(store: GrownStore, account: str, tmp_path: Path) -> None:
    check(store, account, tmp_path, UNFOLDED)
    with opened(account) as storage:
        assert fold(storage.records, datetime.now(UTC)) == ARRIVALS
        check_counts(storage)
    check(store, account, tmp_path, MEASURED)


def check_counts(storage: Storage) -> None:
    """Compare the index with the receipts."""
    counted = storage.records.count(Table.RECEIPTS, ("mailbox", "outcome"))
    assert dict(ReceiptIndex(storage.records).count()) == counted
