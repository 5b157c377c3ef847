"""Every arrival is in exactly one count of the ledger, after every outcome, replay and erasure, on every storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from shared.operations.ledger import OUTCOMES, Counts, Ledger, read_ledger
from shared.queue_messages import Poll, PollReason
from shared.receipts import State
from tests.end_to_end.command import identity
from tests.integration.erasure_fixture import run_forget
from tests.integration.replay_fixture import BILLING, BOTH, ReplayFixture, letter

BLOCKING = {**BILLING, "MAILBOXES__support__BLOCKED_SENDERS": "*@lottery.example"}
TWICE = letter("billing@example.com, sales@example.com", 1)
UNHANDLED = letter("sales@example.com", 2)
BLOCKED = letter("billing@example.com", 3).replace(b"a@b.example", b"you@lottery.example")
FAILED = letter("billing@example.com", 4)
ROUTED_AND_ERASED = letter("billing@example.com", 5)
WAITING = letter("billing@example.com", 6)


@pytest.fixture
def fixture(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def ledger_of(fixture: ReplayFixture, now: datetime | None = None) -> Ledger:
    """Return the ledger, whose counts have to add up to the receipts."""
    ledger = read_ledger(fixture.stores.records, now or datetime.now(UTC))
    downloaded = Counter(receipt.mailbox for receipt in fixture.receipts() if receipt.was_downloaded)
    assert {name: counts.collected for name, counts in ledger.in_all.items()} == dict(downloaded)
    for counts in (*ledger.in_all.values(), *ledger.today.values()):
        assert counts.collected == sum(getattr(counts, name) for name in OUTCOMES)
    return ledger


def test_the_counts_add_up_after_every_outcome_replay_and_erasure(fixture: ReplayFixture) -> None:
    failed = fixture.dead_letter(BLOCKING, FAILED)
    fixture.poll_and_route(BLOCKING, TWICE, UNHANDLED, BLOCKED, ROUTED_AND_ERASED)
    fixture.poll_and_route(BLOCKING, TWICE, mailbox="office")
    fixture.servers["support"].deliver(WAITING)
    fixture.app(BLOCKING).poller.poll(Poll("support", PollReason.MANUAL))
    assert ledger_of(fixture).in_all == {
        "support": Counts(routed=2, unhandled=1, blocked=1, failed=1, waiting=1),
        "office": Counts(duplicate=1),
    }

    fixture.replay(BLOCKING, failed)  # routes the waiting message, too
    assert ledger_of(fixture).in_all["support"] == Counts(routed=4, unhandled=1, blocked=1)
    fixture.replay(BOTH, fixture.only_path("unhandled/support/"))
    assert ledger_of(fixture).in_all["support"] == Counts(routed=5, blocked=1)
    fixture.replay(BOTH, fixture.only_path("duplicates/office/"))
    assert ledger_of(fixture).in_all["office"] == Counts(routed=1), "sales had no route when the first copy was routed"

    run_forget(fixture, identity(ROUTED_AND_ERASED))
    run_forget(fixture, identity(TWICE))
    ledger = ledger_of(fixture)
    assert ledger.in_all == {"support": Counts(routed=3, blocked=1, erased=2), "office": Counts(erased=1)}
    assert ledger.today == ledger.in_all
    assert ledger_of(fixture, datetime.now(UTC) + timedelta(days=1)).today == {}


@pytest.mark.parametrize("state", [State.OVERSIZED, State.UNREADABLE])
def test_skipped_messages_are_not_collected(fixture: ReplayFixture, state: State) -> None:
    fixture.poll_and_route(BOTH, letter("sales@example.com"))
    [receipt] = fixture.receipts()
    values = {**receipt.to_values(), "state": state.value, "message": ""}
    fixture.create_receipt(receipt.arrival[::-1], values)
    counts = ledger_of(fixture).in_all["support"]
    assert (counts.collected, counts.routed, counts.skipped) == (1, 1, 1)
    assert counts + counts == Counts(routed=2, skipped=2)


def test_a_message_with_several_recipients_counts_once(fixture: ReplayFixture) -> None:
    fixture.poll_and_route(BOTH, TWICE)
    assert len(fixture.paths("routed/")) == 2
    assert ledger_of(fixture).in_all == {"support": Counts(routed=1)}
