"""docs/explanation/costs.md lists the requests that the app sends to the storage."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from bench.billing import CASES, PRICES, cost, counts
from tests.servers.azurite import ACCOUNTS, Azurite, _unused
from tests.servers.billed import Bill, BillingFixture
from tests.servers.dovecot import Dovecot

DOCS = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "costs.md"
FIX = "measure again: python -m bench billing"


def table_rows(header: str) -> dict[str, Sequence[str]]:
    """Return the rows of the table in the docs whose header begins with `header`, by their first cells."""
    text = DOCS.read_text()
    table = re.search(rf"^\| {re.escape(header)} \|.*\n\|[- |]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None, f"docs/explanation/costs.md has no table {header}"
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table[1].splitlines()]
    return {first: rest for first, *rest in lines}


@pytest.fixture(scope="module")
def measured(azurite: Azurite, dovecot: Dovecot) -> dict[str, Counter[str]]:
    """Return the requests of each case, by kind."""
    return counts(BillingFixture(azurite, azurite.connection_string(ACCOUNTS[next(_unused)]), dovecot))


def test_the_documented_requests_for_a_message(measured: dict[str, Counter[str]]) -> None:
    documented = table_rows("requests for")
    assert documented.keys() == measured.keys()
    for title, kinds in measured.items():
        messages = len(CASES.get(title, [b""]))
        numbers = [number / messages for number in documented_columns(kinds)]
        # With a hundred messages, the number of batches and so of queue messages and table reads may vary.
        expected = numbers if messages == 1 else [pytest.approx(number, abs=0.1) for number in numbers]
        assert [float(cell) for cell in documented[title][:-1]] == expected, f"{title}: {FIX}"
        assert documented[title][-1] == f"{cost(kinds) * 1_000_000 / messages:.0f}", f"{title}: {FIX}"


def documented_columns(kinds: Mapping[str, int]) -> list[int]:
    """Return the columns of the table in the docs."""
    tables = sum(count for kind, count in kinds.items() if kind.startswith("table"))
    return [kinds["blob write"], kinds["blob read"], kinds["blob other"], kinds["queue"], tables]


def test_all_billed_requests_are_documented(measured: dict[str, Counter[str]]) -> None:
    all_kinds: Counter[str] = sum(measured.values(), Counter())
    assert set(all_kinds) <= set(PRICES)
    assert all_kinds["blob list"] == all_kinds["blob delete"] == 0


def test_the_documented_prices() -> None:
    documented = {kind: float(cells[0]) for kind, cells in table_rows("10,000 operations").items()}
    assert documented == {
        "blob write, list": PRICES["blob write"],
        "blob read, other": PRICES["blob read"],
        "queue": PRICES["queue"],
        "table": PRICES["table read"],
    }


def test_a_bill_counts_requests_by_kind(azurite: Azurite) -> None:
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
    assert bill.reset() == {
        "blob write": 2,
        "blob list": 2,
        "blob read": 1,
        "blob other": 2,
        "blob delete": 1,
        "queue": 1,
        "table write": 1,
        "table delete": 1,
    }
    assert not bill.reset()
