"""The simulator's delta queries: rounds, repeated entries, removals and expired links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graph_simulator import FaultPlan
from tests.integration.simulator_support import SIZED, SimulatorFixture, assert_refused, letter, running_simulator
from tests.servers.certificates import Ca


@pytest.fixture
def sim(ca: Ca, tmp_path: Path) -> Iterator[SimulatorFixture]:
    with running_simulator(ca, tmp_path, FaultPlan(seed=3)) as fixture:
        yield fixture


def follow(
    sim: SimulatorFixture, link: str, options: dict[str, str] | None = None, **more: Any
) -> tuple[list[Any], str]:
    """Return the items of a round, and its delta link."""
    body = sim.get(link, options, **more).json()
    items = body["value"]
    while "@odata.nextLink" in body:
        assert "@odata.deltaLink" not in body
        body = sim.get(body["@odata.nextLink"], **more).json()
        items += body["value"]
    assert body["@odata.deltaLink"].startswith(sim.graph.endpoint)
    return items, body["@odata.deltaLink"]


def ids(items: list[Any]) -> list[str]:
    return [item["id"] for item in items]


def test_the_first_round_returns_all_messages_unordered_and_some_twice(sim: SimulatorFixture) -> None:
    delivered = [sim.box.deliver(letter(number)) for number in range(30)]
    items, _ = follow(sim, sim.messages + "/delta", {"$select": "subject", "$expand": SIZED})
    assert set(ids(items)) == set(delivered)
    assert len(items) > 30
    assert ids(items)[:10] != delivered[:10]
    assert all(item.keys() == {"@odata.etag", "id", "subject", "singleValueExtendedProperties"} for item in items)


def test_pages_have_the_preferred_size(sim: SimulatorFixture) -> None:
    for number in range(12):
        sim.box.deliver(letter(number))
    path = sim.messages + "/delta()"
    assert len(sim.get(path).json()["value"]) == 10
    assert len(sim.get(path, headers={"Prefer": "odata.maxpagesize=4"}).json()["value"]) == 4
    assert len(sim.get(path, {"$top": "3"}).json()["value"]) == 3


def test_later_rounds_return_only_changes(sim: SimulatorFixture) -> None:
    kept, moved, deleted, read = (sim.box.deliver(letter(number)) for number in range(4))
    _, link = follow(sim, sim.messages + "/delta")
    assert follow(sim, link)[0] == []
    sim.box.move(moved, "Archive")
    sim.box.delete(deleted)
    sim.box.mark_read(read)
    new = sim.box.deliver(letter(5))
    items, later = follow(sim, link)
    by_id = {item["id"]: item for item in items}
    assert by_id.keys() == {moved, deleted, read, new}
    assert by_id[moved] == {"id": moved, "@removed": {"reason": "deleted"}}
    assert "@removed" in by_id[deleted]
    assert by_id[read]["isRead"] is True
    assert kept not in by_id
    assert set(ids(follow(sim, link)[0])) == by_id.keys()
    assert follow(sim, later)[0] == []


def test_a_message_that_left_and_came_back_is_not_removed(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    _, link = follow(sim, sim.messages + "/delta")
    sim.box.move(message, "Archive")
    sim.box.move(message, "Inbox")
    items, _ = follow(sim, link)
    assert set(ids(items)) == {message}
    assert all("@removed" not in item for item in items)
    mutable, _ = follow(sim, link, headers={"Prefer": ""})
    assert {("@removed" in item) for item in mutable} == {True, False}


def test_a_change_during_a_round_is_returned_by_the_next_round(sim: SimulatorFixture) -> None:
    delivered = [sim.box.deliver(letter(number)) for number in range(6)]
    body = sim.get(sim.messages + "/delta", {"$top": "1"}).json()
    rest = next(item for item in delivered if item not in ids(body["value"]))
    sim.box.delete(rest)
    new = sim.box.deliver(letter(9))
    items, link = follow(sim, body["@odata.nextLink"])
    assert not {rest, new} & set(ids(items))
    items, _ = follow(sim, link)
    assert set(ids(items)) == {rest, new}


def test_a_hidden_message_is_returned_once_it_is_visible(sim: SimulatorFixture) -> None:
    sim.graph.fault_plan.hidden_for = 60
    message = sim.box.deliver(letter())
    items, link = follow(sim, sim.messages + "/delta")
    assert items == []
    sim.box.reveal()
    items, _ = follow(sim, link)
    assert set(ids(items)) == {message}


def test_expired_and_unknown_links_are_refused(sim: SimulatorFixture) -> None:
    for number in range(3):
        sim.box.deliver(letter(number))
    first = sim.get(sim.messages + "/delta", {"$top": "1"}).json()["@odata.nextLink"]
    _, link = follow(sim, sim.messages + "/delta")
    sim.graph.expire_delta_links()
    assert_refused(sim.get(link), 410, "syncStateNotFound")
    assert_refused(sim.get(first), 400, "SyncStateNotFound")
    assert_refused(sim.get(sim.messages + "/delta?$deltatoken=made-up"), 410, "syncStateNotFound")
    assert follow(sim, sim.messages + "/delta")[0]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"$search": "x"}, "ErrorInvalidUrlQuery"),
        ({"$orderby": "receivedDateTime asc"}, "ErrorInvalidUrlQuery"),
        ({"$filter": "isRead eq true"}, "ErrorInvalidUrlQuery"),
        ({"$select": "nonsense"}, "RequestBroker--ParseUri"),
        ({"$skiptoken": "x", "$top": "3"}, "ErrorInvalidUrlQuery"),
        ({"changeType": "renamed"}, "ErrorInvalidUrlQuery"),
    ],
)
def test_delta_refuses_unsupported_options(sim: SimulatorFixture, options: dict[str, str], code: str) -> None:
    assert_refused(sim.get(sim.messages + "/delta", options), 400, code)


def test_delta_returns_one_kind_of_change(sim: SimulatorFixture) -> None:
    read, gone = sim.box.deliver(letter(1)), sim.box.deliver(letter(2))
    _, link = follow(sim, sim.messages + "/delta", {"changeType": "created"})
    sim.box.mark_read(read)
    sim.box.delete(gone)
    new = sim.box.deliver(letter(3))
    items, _ = follow(sim, link)
    assert set(ids(items)) == {new}
