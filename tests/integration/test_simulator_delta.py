"""The stand-in's delta: rounds, repeats, removals, and links that are good no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graph_simulator import FaultPlan
from tests.integration.simulator_support import SIZED, Place, letter, refused, standing
from tests.servers.certificates import Ca


@pytest.fixture
def place(ca: Ca, tmp_path: Path) -> Iterator[Place]:
    with standing(ca, tmp_path, FaultPlan(seed=3)) as found:
        yield found


def follow(place: Place, link: str, options: dict[str, str] | None = None, **more: Any) -> tuple[list[Any], str]:
    """The items of a round, and its delta link."""
    body = place.get(link, options, **more).json()
    items = body["value"]
    while "@odata.nextLink" in body:
        assert "@odata.deltaLink" not in body
        body = place.get(body["@odata.nextLink"], **more).json()
        items += body["value"]
    assert body["@odata.deltaLink"].startswith(place.graph.endpoint)
    return items, body["@odata.deltaLink"]


def ids(items: list[Any]) -> list[str]:
    return [each["id"] for each in items]


def test_the_first_round_tells_all_in_no_order_and_some_twice(place: Place) -> None:
    delivered = [place.box.deliver(letter(each)) for each in range(30)]
    items, _ = follow(place, place.messages + "/delta", {"$select": "subject", "$expand": SIZED})
    assert set(ids(items)) == set(delivered)
    assert len(items) > 30
    assert ids(items)[:10] != delivered[:10]
    assert all(each.keys() == {"@odata.etag", "id", "subject", "singleValueExtendedProperties"} for each in items)


def test_pages_are_as_large_as_preferred(place: Place) -> None:
    for each in range(12):
        place.box.deliver(letter(each))
    path = place.messages + "/delta()"
    assert len(place.get(path).json()["value"]) == 10
    assert len(place.get(path, headers={"Prefer": "odata.maxpagesize=4"}).json()["value"]) == 4
    assert len(place.get(path, {"$top": "3"}).json()["value"]) == 3


def test_later_rounds_tell_changes_alone(place: Place) -> None:
    kept, moved, deleted, read = (place.box.deliver(letter(each)) for each in range(4))
    _, link = follow(place, place.messages + "/delta")
    assert follow(place, link)[0] == []
    place.box.move(moved, "Archive")
    place.box.delete(deleted)
    place.box.mark_read(read)
    new = place.box.deliver(letter(5))
    items, later = follow(place, link)
    found = {each["id"]: each for each in items}
    assert found.keys() == {moved, deleted, read, new}
    assert found[moved] == {"id": moved, "@removed": {"reason": "deleted"}}
    assert "@removed" in found[deleted]
    assert found[read]["isRead"] is True
    assert kept not in found
    assert set(ids(follow(place, link)[0])) == found.keys()
    assert follow(place, later)[0] == []


def test_who_left_and_came_back_is_there(place: Place) -> None:
    message = place.box.deliver(letter())
    _, link = follow(place, place.messages + "/delta")
    place.box.move(message, "Archive")
    place.box.move(message, "Inbox")
    items, _ = follow(place, link)
    assert set(ids(items)) == {message}
    assert all("@removed" not in each for each in items)
    mutable, _ = follow(place, link, headers={"Prefer": ""})
    assert {("@removed" in each) for each in mutable} == {True, False}


def test_what_goes_or_comes_during_a_round_is_told_in_the_next(place: Place) -> None:
    delivered = [place.box.deliver(letter(each)) for each in range(6)]
    body = place.get(place.messages + "/delta", {"$top": "1"}).json()
    rest = next(each for each in delivered if each not in ids(body["value"]))
    place.box.delete(rest)
    new = place.box.deliver(letter(9))
    items, link = follow(place, body["@odata.nextLink"])
    assert not {rest, new} & set(ids(items))
    items, _ = follow(place, link)
    assert set(ids(items)) == {rest, new}


def test_a_hidden_message_is_told_once_it_can_be_seen(place: Place) -> None:
    place.graph.trouble.hidden_for = 60
    message = place.box.deliver(letter())
    items, link = follow(place, place.messages + "/delta")
    assert items == []
    place.box.reveal()
    items, _ = follow(place, link)
    assert set(ids(items)) == {message}


def test_expired_and_unknown_links_say_start_over(place: Place) -> None:
    for each in range(3):
        place.box.deliver(letter(each))
    first = place.get(place.messages + "/delta", {"$top": "1"}).json()["@odata.nextLink"]
    _, link = follow(place, place.messages + "/delta")
    place.graph.expire_delta_links()
    refused(place.get(link), 410, "syncStateNotFound")
    refused(place.get(first), 400, "SyncStateNotFound")
    refused(place.get(place.messages + "/delta?$deltatoken=made-up"), 410, "syncStateNotFound")
    assert follow(place, place.messages + "/delta")[0]


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
def test_options_that_delta_refuses(place: Place, options: dict[str, str], code: str) -> None:
    refused(place.get(place.messages + "/delta", options), 400, code)


def test_delta_may_be_asked_for_one_kind_of_change(place: Place) -> None:
    read, gone = place.box.deliver(letter(1)), place.box.deliver(letter(2))
    _, link = follow(place, place.messages + "/delta", {"changeType": "created"})
    place.box.mark_read(read)
    place.box.delete(gone)
    new = place.box.deliver(letter(3))
    items, _ = follow(place, link)
    assert set(ids(items)) == {new}
