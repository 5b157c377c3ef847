"""What docs/explanation/costs.md says of the storage is what the app asks of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bench.billing import CASES, PRICES, cost, counts
from tests.servers.azurite import ACCOUNTS, Azurite, _unused
from tests.servers.billed import Bill, Measuring
from tests.servers.dovecot import Dovecot

DOCS = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "costs.md"
AGAIN = "measure again: python -m bench billing"


def rows(head: str) -> dict[str, Sequence[str]]:
    """The table of the docs whose head begins so: its rows by their first cell, without the table's own lines."""
    text = DOCS.read_text()
    found = re.search(rf"^\| {re.escape(head)} \|.*\n\|[- |]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found is not None, f"docs/explanation/costs.md has no table {head}"
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in found[1].splitlines()]
    return {first: rest for first, *rest in lines}


@pytest.fixture(scope="module")
def measured(azurite: Azurite, dovecot: Dovecot) -> dict[str, Counter[str]]:
    """The requests of each case, by kind."""
    return counts(Measuring(azurite, azurite.connection_string(ACCOUNTS[next(_unused)]), dovecot))


def test_the_requests_of_a_message(measured: dict[str, Counter[str]]) -> None:
    told = rows("requests for")
    assert told.keys() == measured.keys()
    for title, kinds in measured.items():
        # A hundred at once need a table's read more or less, as their batches happen to fall.
        if len(CASES.get(title, [b""])) == 1:
            assert told[title][:-1] == [str(number) for number in columns(kinds)], f"{title}: {AGAIN}"
            assert told[title][-1] == f"{cost(kinds) * 1_000_000:.0f}", f"{title}: {AGAIN}"


def columns(kinds: Mapping[str, int]) -> list[int]:
    """As the docs sum them up."""
    tables = sum(count for kind, count in kinds.items() if kind.startswith("table"))
    return [kinds["blob write"], kinds["blob read"], kinds["blob other"], kinds["queue"], tables]


def test_nothing_is_billed_that_the_docs_leave_out(measured: dict[str, Counter[str]]) -> None:
    all_kinds: Counter[str] = sum(measured.values(), Counter())
    assert set(all_kinds) <= set(PRICES)
    assert all_kinds["blob list"] == all_kinds["blob delete"] == 0


def test_prices_are_those_of_the_docs() -> None:
    told = {kind: float(cells[0]) for kind, cells in rows("10,000 operations").items()}
    assert told == {
        "blob write, list": PRICES["blob write"],
        "blob read, other": PRICES["blob read"],
        "queue": PRICES["queue"],
        "table": PRICES["table read"],
    }


def test_a_bill_tells_requests_apart(azurite: Azurite) -> None:
    bill = Bill(azurite)
    blob, queue, table = (f"http://127.0.0.1:{port}/a" for port in (azurite.blob, azurite.queue, azurite.table))
    bill.add("PUT", f"{blob}/mail/x")
    bill.add("PUT", f"{blob}/mail/x?comp=blocklist")
    bill.add("PUT", f"{blob}/leases/x?comp=lease")
    bill.add("PUT", f"{blob}/mail?restype=container")
    bill.add("GET", f"{blob}/mail?restype=container&comp=list")
    bill.add("GET", f"{blob}/mail/x")
    bill.add("HEAD", f"{blob}/mail/x")
    bill.add("DELETE", f"{blob}/mail/x")
    bill.add("POST", f"{queue}/polls/messages")
    bill.add("PATCH", f"{table}/mailreceipts(PartitionKey='a',RowKey='b')")
    bill.add("DELETE", f"{table}/mailpending(PartitionKey='a',RowKey='b')")
    assert bill.take() == {
        "blob write": 2,
        "blob list": 2,
        "blob read": 1,
        "blob other": 2,
        "blob delete": 1,
        "queue": 1,
        "table write": 1,
        "table delete": 1,
    }
    assert not bill.take()
