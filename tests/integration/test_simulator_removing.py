"""Deletions and moves in the simulator, and their effect on ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.simulator_support import ADDRESS, SimulatorFixture, assert_refused, letter, running_simulator
from tests.servers.certificates import Ca

MUTABLE = {"Prefer": ""}


@pytest.fixture
def sim(ca: Ca, tmp_path: Path) -> Iterator[SimulatorFixture]:
    with running_simulator(ca, tmp_path) as fixture:
        yield fixture


def test_a_deleted_message_is_in_deleted_items_under_its_immutable_id(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    assert sim.ask("DELETE", sim.message(message)).status_code == 204
    assert sim.box.contents() == []
    assert sim.box.ids("deleteditems") == [message]
    assert sim.get(sim.message(message)).json()["parentFolderId"] == sim.box.folder("Deleted Items")
    assert sim.box.purged == []
    assert sim.ask("DELETE", sim.message(message)).status_code == 204
    assert sim.box.purged == [letter()]
    assert_refused(sim.ask("DELETE", sim.message(message)), 404, "ErrorItemNotFound")


def test_only_the_global_cloud_has_permanent_delete(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    path = sim.message(message, "/permanentDelete")
    sim.graph.cloud = "gcc-high"
    assert_refused(sim.ask("POST", path), 400, "BadRequest", "Resource not found for the segment 'permanentDelete'.")
    sim.graph.cloud = "global"
    assert sim.ask("POST", path).status_code == 204
    assert sim.box.purged == [letter()]
    assert_refused(sim.ask("POST", path), 404, "ErrorItemNotFound")


def test_a_message_is_moved(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    path = sim.message(message, "/move")
    assert_refused(sim.ask("POST", path, json={"destinationId": "nowhere"}), 404, "ErrorItemNotFound")
    assert_refused(sim.ask("POST", path, json={}), 400, "ErrorInvalidParameter")
    assert_refused(sim.ask("POST", path, content=b"archive"), 400, "BadRequest")
    answer = sim.ask("POST", path, json={"destinationId": sim.box.folder("Archive/2026")})
    assert (answer.status_code, answer.json()["id"]) == (201, message)
    assert sim.box.ids("Archive/2026") == [message]
    assert sim.ask("POST", path, json={"destinationId": "archive"}).status_code == 201
    assert_refused(
        sim.ask("POST", sim.message("gone", "/move"), json={"destinationId": "archive"}), 404, "ErrorItemNotFound"
    )


def test_mutable_ids_change_with_every_move(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    (item,) = sim.listed(headers=MUTABLE)
    assert item["id"] != message
    assert "Preference-Applied" not in sim.get(sim.messages, headers=MUTABLE).headers
    path = sim.message(item["id"], "/move")
    moved = sim.ask("POST", path, json={"destinationId": "archive"}, headers=MUTABLE).json()
    assert moved["id"] not in {item["id"], message}
    assert_refused(sim.get(sim.message(item["id"])), 404, "ErrorItemNotFound")
    assert sim.get(sim.message(moved["id"])).json()["id"] == message


def test_ids_are_long_and_case_sensitive(sim: SimulatorFixture) -> None:
    ids = [sim.box.deliver(letter(number)) for number in range(4)]
    assert all(len(item) > 80 and "-" in item and "_" in item and item.endswith("=") for item in ids)
    assert ids[0].lower() == ids[1].lower()
    assert [sim.get(sim.message(item)).json()["subject"] for item in ids] == [f"No. {number}" for number in range(4)]


def test_an_immutable_id_can_change(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    new = sim.box.renew_id(message)
    assert_refused(sim.get(sim.message(message)), 404, "ErrorItemNotFound")
    assert [item["id"] for item in sim.listed()] == [new] == sim.box.ids()


def test_unsupported_methods_are_answered_with_405(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    assert_refused(sim.ask("PATCH", sim.message(message), json={"isRead": True}), 405, "ErrorInvalidRequest")
    assert_refused(sim.get(f"{sim.messages}/{message}/$value"), 405, "ErrorInvalidRequest")
    assert_refused(sim.ask("DELETE", f"{sim.messages}/{message}"), 405, "ErrorInvalidRequest")
    assert sim.get(f"{sim.messages}/{message}").json()["id"] == message
    assert_refused(sim.get(f"/users/{ADDRESS}/mailFolders/archive/messages/{message}"), 404, "ErrorItemNotFound")


def test_the_owner_moves_and_deletes_messages(sim: SimulatorFixture) -> None:
    first, second = sim.box.deliver(letter(1)), sim.box.deliver(letter(2))
    sim.box.move(first, "Inbox/Done")
    sim.box.delete(second)
    assert (sim.box.ids("Inbox/Done"), sim.box.ids("Deleted Items")) == ([first], [second])
    for wrong in (
        lambda: sim.box.delete("none"),
        lambda: sim.box.contents("None"),
        lambda: sim.box.ids("Inbox/None"),
    ):
        with pytest.raises(LookupError):
            wrong()
