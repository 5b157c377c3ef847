"""How messages leave a folder at the stand-in, and what becomes of their ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.simulator_support import ADDRESS, Place, letter, refused, standing
from tests.servers.certificates import Ca

MUTABLE = {"Prefer": ""}


@pytest.fixture
def place(ca: Ca, tmp_path: Path) -> Iterator[Place]:
    with standing(ca, tmp_path) as found:
        yield found


def test_a_deleted_message_is_in_deleted_items_under_its_immutable_id(place: Place) -> None:
    message = place.box.deliver(letter())
    assert place.ask("DELETE", place.message(message)).status_code == 204
    assert place.box.left() == []
    assert place.box.ids("deleteditems") == [message]
    assert place.get(place.message(message)).json()["parentFolderId"] == place.box.folder("Deleted Items")
    assert place.box.purged == []
    assert place.ask("DELETE", place.message(message)).status_code == 204
    assert place.box.purged == [letter()]
    refused(place.ask("DELETE", place.message(message)), 404, "ErrorItemNotFound")


def test_permanent_delete_is_for_the_global_cloud(place: Place) -> None:
    message = place.box.deliver(letter())
    path = place.message(message, "/permanentDelete")
    place.graph.cloud = "gcc-high"
    refused(place.ask("POST", path), 400, "BadRequest", "Resource not found for the segment 'permanentDelete'.")
    place.graph.cloud = "global"
    assert place.ask("POST", path).status_code == 204
    assert place.box.purged == [letter()]
    refused(place.ask("POST", path), 404, "ErrorItemNotFound")


def test_a_message_is_moved(place: Place) -> None:
    message = place.box.deliver(letter())
    path = place.message(message, "/move")
    refused(place.ask("POST", path, json={"destinationId": "nowhere"}), 404, "ErrorItemNotFound")
    refused(place.ask("POST", path, json={}), 400, "ErrorInvalidParameter")
    refused(place.ask("POST", path, content=b"archive"), 400, "BadRequest")
    answer = place.ask("POST", path, json={"destinationId": place.box.folder("Archive/2026")})
    assert (answer.status_code, answer.json()["id"]) == (201, message)
    assert place.box.ids("Archive/2026") == [message]
    assert place.ask("POST", path, json={"destinationId": "archive"}).status_code == 201
    refused(
        place.ask("POST", place.message("gone", "/move"), json={"destinationId": "archive"}), 404, "ErrorItemNotFound"
    )


def test_mutable_ids_change_with_every_move(place: Place) -> None:
    message = place.box.deliver(letter())
    (item,) = place.listed(headers=MUTABLE)
    assert item["id"] != message
    assert "Preference-Applied" not in place.get(place.messages, headers=MUTABLE).headers
    path = place.message(item["id"], "/move")
    moved = place.ask("POST", path, json={"destinationId": "archive"}, headers=MUTABLE).json()
    assert moved["id"] not in {item["id"], message}
    refused(place.get(place.message(item["id"])), 404, "ErrorItemNotFound")
    assert place.get(place.message(moved["id"])).json()["id"] == message


def test_ids_are_long_and_case_sensitive(place: Place) -> None:
    ids = [place.box.deliver(letter(each)) for each in range(4)]
    assert all(len(each) > 80 and "-" in each and "_" in each and each.endswith("=") for each in ids)
    assert ids[0].lower() == ids[1].lower()
    assert [place.get(place.message(each)).json()["subject"] for each in ids] == [f"No. {each}" for each in range(4)]


def test_an_immutable_id_can_be_lost_all_the_same(place: Place) -> None:
    message = place.box.deliver(letter())
    new = place.box.renew_id(message)
    refused(place.get(place.message(message)), 404, "ErrorItemNotFound")
    assert [each["id"] for each in place.listed()] == [new] == place.box.ids()


def test_what_is_not_offered_is_405(place: Place) -> None:
    message = place.box.deliver(letter())
    refused(place.ask("PATCH", place.message(message), json={"isRead": True}), 405, "ErrorInvalidRequest")
    refused(place.get(f"{place.messages}/{message}/$value"), 405, "ErrorInvalidRequest")
    refused(place.ask("DELETE", f"{place.messages}/{message}"), 405, "ErrorInvalidRequest")
    assert place.get(f"{place.messages}/{message}").json()["id"] == message
    refused(place.get(f"/users/{ADDRESS}/mailFolders/archive/messages/{message}"), 404, "ErrorItemNotFound")


def test_the_owner_moves_and_deletes_as_well(place: Place) -> None:
    first, second = place.box.deliver(letter(1)), place.box.deliver(letter(2))
    place.box.move(first, "Inbox/Done")
    place.box.delete(second)
    assert (place.box.ids("Inbox/Done"), place.box.ids("Deleted Items")) == ([first], [second])
    for wrong in (
        lambda: place.box.delete("none"),
        lambda: place.box.left("None"),
        lambda: place.box.ids("Inbox/None"),
    ):
        with pytest.raises(LookupError):
            wrong()
