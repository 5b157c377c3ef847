"""The ledger that the workbook computes from counters agrees with the ledger of `mailroom status`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from shared.observability import metric_names
from shared.operations.ledger import OUTCOMES
from shared.queue_messages import Poll, PollReason
from tests.end_to_end.command import identity
from tests.integration.erasure_fixture import run_forget
from tests.integration.replay_fixture import BOTH, ReplayFixture, letter
from tests.integration.test_ledger import (
    BLOCKED,
    BLOCKING,
    FAILED,
    ROUTED_AND_ERASED,
    TWICE,
    UNHANDLED,
    WAITING,
    ledger_of,
)
from tests.servers.telemetry import Point, listen

QUERY = (Path(__file__).resolve().parents[2] / "infra/queries/workbook/ledger.kql").read_text()

SUM = re.compile(
    r'^ +(\w+) = sumif\(Sum, Outcome == "(\w+)"\)(?: - sumif\(Sum, Previous == "(\w+)"\))?,$', re.MULTILINE
)

Sums = dict[str, dict[str, float]]


def sums(points: Sequence[Point]) -> Sums:
    """Return the columns of the workbook's ledger by mailbox, computed as its query does."""
    columns = SUM.findall(QUERY)
    assert {name.lower() for name, _, _ in columns} == {*OUTCOMES} - {"waiting"}
    table: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for point in points:
        row = table[str(point.attributes.get("mailbox"))]
        if point.name == metric_names.COLLECTED:
            row["collected"] += point.value
            row["waiting"] += point.value
        if point.name == metric_names.OUTCOMES:
            for name, outcome, previous in columns:
                row[name.lower()] += point.value * (point.attributes["outcome"] == outcome)
                row[name.lower()] -= point.value * (point.attributes["previous"] == previous)
            row["waiting"] -= point.value * (point.attributes["previous"] == "waiting")
    return {mailbox: dict(row) for mailbox, row in table.items()}


class Counters:
    """The workbook's ledger of what this test counts. Other tests share the process."""

    def __init__(self) -> None:
        self._before = sums(listen().points())

    def ledger(self) -> Sums:
        now = sums(listen().points())
        return {
            mailbox: {name: now[mailbox].get(name, 0) - self._before.get(mailbox, {}).get(name, 0) for name in names}
            for mailbox in ("support", "office")
            if (names := ("collected", *OUTCOMES)) and mailbox in now
        }


@pytest.fixture
def fixture(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def assert_equal(fixture: ReplayFixture, counters: Counters) -> None:
    expected = {
        mailbox: {"collected": counts.collected} | {name: asdict(counts)[name] for name in OUTCOMES}
        for mailbox, counts in ledger_of(fixture).in_all.items()
    }
    assert {mailbox: row for mailbox, row in counters.ledger().items() if any(row.values())} == expected


def test_the_columns_of_the_query_are_those_of_the_ledger() -> None:
    [shown] = re.findall(r"^\| project (.*)$", QUERY, re.MULTILINE)
    names = {name.partition(" = ")[0].lower() for name in shown.split(", ")}
    assert names == {"mailbox", "collected", *OUTCOMES}
    assert 'Decided = sumif(Sum, Name == "mailroom.outcomes" and Previous == "waiting")' in QUERY
    assert "Waiting = Collected - Decided" in QUERY


def test_the_counters_agree_with_the_ledger_after_every_outcome_replay_and_erasure(fixture: ReplayFixture) -> None:
    counters = Counters()
    failed = fixture.dead_letter(BLOCKING, FAILED)
    fixture.poll_and_route(BLOCKING, TWICE, UNHANDLED, BLOCKED, ROUTED_AND_ERASED)
    fixture.poll_and_route(BLOCKING, TWICE, mailbox="office")
    fixture.servers["support"].deliver(WAITING)
    fixture.app(BLOCKING).poller.poll(Poll("support", PollReason.MANUAL))
    assert_equal(fixture, counters)

    fixture.replay(BLOCKING, failed)  # routes the waiting message, too
    assert_equal(fixture, counters)
    fixture.replay(BLOCKING, fixture.only_path("unhandled/support/"))  # stays unhandled
    assert_equal(fixture, counters)
    fixture.replay(BOTH, fixture.only_path("unhandled/support/"))
    fixture.replay(BOTH, fixture.only_path("blocked/support/"))
    fixture.replay(BOTH, fixture.only_path("duplicates/office/"))
    assert_equal(fixture, counters)

    for message in (ROUTED_AND_ERASED, TWICE, BLOCKED):
        run_forget(fixture, identity(message))
        assert_equal(fixture, counters)


def test_a_dead_letter_and_an_unhandled_message_that_are_erased_are_subtracted(fixture: ReplayFixture) -> None:
    counters = Counters()
    fixture.dead_letter(BLOCKING, FAILED)
    fixture.poll_and_route(BLOCKING, UNHANDLED, letter("sales@example.com", 7))
    for message in (FAILED, UNHANDLED):
        run_forget(fixture, identity(message))
        assert_equal(fixture, counters)
