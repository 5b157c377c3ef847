"""Storage costs per message: requests by kind, counted against Azurite, times Azure's list prices
(docs/explanation/costs.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bench.mix import with_attachment
from bench.report import table
from bench.running import Bench
from tests.servers import azurite
from tests.servers.billed import RECIPIENT, BillingFixture
from tests.servers.mail import plain_mail

ACCOUNT = "billing"

PRICES = {
    "blob write": 0.054,
    "blob list": 0.054,
    "blob read": 0.0043,
    "blob other": 0.0043,
    "blob delete": 0.0,
    "queue": 0.004,
    "table write": 0.00036,
    "table read": 0.00036,
    "table delete": 0.00036,
}
"""US dollars for 10,000 requests; docs/explanation/costs.md has the region, the source and what is not confirmed."""

CASES: dict[str, Sequence[bytes]] = {
    "a plain message, alone": [plain_mail(1, to=RECIPIENT)],
    "one with an attachment": [with_attachment(2, 60_000)],
    "one for two recipients": [plain_mail(3, to=f"{RECIPIENT}, billing@example.com")],
    "one that no route takes": [plain_mail(4, to="nobody@example.com")],
    "100 plain messages at once, each": [plain_mail(n, to=RECIPIENT) for n in range(100, 200)],
}


def counts(measuring: BillingFixture) -> dict[str, Counter[str]]:
    """Return the requests of each case for all its messages, of a poll that finds nothing, and of a sweep.

    The first sweep after the messages is not counted: it also folds the index of their receipts.
    """
    cases = {title: measuring.messages(mails) for title, mails in CASES.items()}
    measuring.sweep()
    return {**cases, "a poll that finds nothing": measuring.poll(), "a sweep": measuring.sweep()}


def billing(bench: Bench) -> None:
    """Count the requests, and print the table of docs/explanation/costs.md."""
    with azurite.running(bench.folder, [ACCOUNT]) as server:
        measured = counts(BillingFixture(server, server.connection_string(ACCOUNT), bench.dovecot))
    rows = []
    for title, kinds in measured.items():
        messages = len(CASES.get(title, [b""]))
        dollars = cost(kinds) * 1_000_000 / messages
        rows.append([title, *(_per_message(kinds[kind] / messages) for kind in PRICES), f"{dollars:.1f}"])
    table("Requests as Azure bills them, and US dollars for a million messages", ["", *PRICES, "$"], rows)


def cost(kinds: Mapping[str, int]) -> float:
    """Return the price of the requests in US dollars."""
    return sum(PRICES[kind] * count for kind, count in kinds.items()) / 10_000


def _per_message(count: float) -> str:
    return f"{count:.2f}".rstrip("0").rstrip(".")
