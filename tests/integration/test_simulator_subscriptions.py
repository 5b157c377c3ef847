"""The stand-in's subscriptions: what they need, who sees them, how they end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.simulator_support import ADDRESS, Place, Receiver, receiving, refused, soon, standing
from tests.servers.certificates import Ca


@pytest.fixture
def place(ca: Ca, tmp_path: Path) -> Iterator[Place]:
    with standing(ca, tmp_path) as found:
        yield found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def test_a_subscription_is_made_and_both_addresses_are_asked(place: Place, receiver: Receiver) -> None:
    answer = place.subscribe(receiver.url)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["clientState"], made["applicationId"]) == ("secret", place.app.client_id)
    assert len(receiver.tokens) == 2
    assert all("+" in each and "&" in each and "%2f" in each for each in receiver.tokens)
    one = place.get(f"/subscriptions/{made['id']}").json()
    assert one == {**made, "clientState": None}
    assert [each.id for each in place.graph.subscriptions] == [made["id"]]
    assert place.graph.subscriptions[0].immutable


@pytest.mark.parametrize(
    "resource",
    ["/users/SUPPORT@example.com/mailFolders/Inbox/messages", "Users('{address}')/mailFolders('{folder}')/messages"],
)
def test_resources_are_written_in_many_ways(place: Place, receiver: Receiver, resource: str) -> None:
    written = resource.format(address=ADDRESS, folder=place.box.folder("Inbox/Orders"))
    assert place.subscribe(receiver.url, resource=written).json()["resource"] == written


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"changeType": None}, "changeType"),
        ({"notificationUrl": None}, "notificationUrl"),
        ({"resource": None}, "resource"),
        ({"expirationDateTime": None}, "expirationDateTime"),
        ({"changeType": "arrived"}, "changeType"),
        ({"resource": f"users/{ADDRESS}/messages"}, "Resource"),
        ({"resource": f"users/{ADDRESS}/mailFolders('inbox')/events"}, "Resource"),
        ({"notificationUrl": "http://example.com/x"}, "HTTPS"),
        ({"lifecycleNotificationUrl": "http://192.0.2.1/x"}, "HTTPS"),
        ({"notificationUrl": "ftp://localhost/x"}, "HTTPS"),
        ({"clientState": "x" * 129}, "128"),
        ({"expirationDateTime": soon(days=3)}, "Subscription expiration can only be 4230 minutes in the future."),
        ({"expirationDateTime": soon(minutes=-1)}, "future"),
        ({"expirationDateTime": "tomorrow"}, "date"),
        ({"expirationDateTime": "2026-01-01T00:00:00"}, "zone"),
        ({"latestSupportedTlsVersion": "v1_0"}, "Tls"),
        ({"includeResourceData": True}, "includeResourceData"),
        ({"nonsense": "x"}, "nonsense"),
    ],
)
def test_what_a_subscription_may_not_say(place: Place, receiver: Receiver, changes: dict[str, Any], words: str) -> None:
    answer = place.subscribe(receiver.url, **changes)
    refused(answer, 400, "InvalidRequest", words)
    assert (receiver.tokens, place.graph.subscriptions) == ([], [])


def test_where_a_subscription_may_not_be(place: Place, receiver: Receiver) -> None:
    place.graph.mailbox("other@example.com")
    place.app.mailboxes = {ADDRESS}
    for user, folder, status, code in (
        ("nobody@example.com", "inbox", 404, "ErrorInvalidUser"),
        ("other@example.com", "inbox", 403, "ErrorAccessDenied"),
        (ADDRESS, "nonsense", 404, "ErrorItemNotFound"),
    ):
        answer = place.subscribe(receiver.url, resource=f"users/{user}/mailFolders('{folder}')/messages")
        refused(answer, status, code)
    place.app.permissions = {"Mail.Read"}
    assert place.subscribe(receiver.url).status_code == 201
    place.app.permissions = set()
    refused(place.subscribe(receiver.url), 403, "ErrorAccessDenied")


def slowly(token: str) -> tuple[int, str, str]:
    time.sleep(0.6)
    return 200, "text/plain", token


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda token: (202, "text/plain", token), "200 OK"),
        (lambda token: (401, "text/plain", token), "200 OK"),
        (lambda token: (200, "text/html", token), "text/plain"),
        (lambda token: (200, "text/plain", token + "\n"), "token"),
        (lambda token: (200, "text/plain", token.replace("+", " ")), "token"),
        (lambda token: (200, "text/plain", f'"{token}"'), "token"),
        (slowly, "timed out"),
    ],
)
def test_an_address_that_does_not_prove_itself(place: Place, receiver: Receiver, answer: Any, words: str) -> None:
    place.graph.notifier.validation_within = 0.3
    receiver.validation = answer
    refused(place.subscribe(receiver.url), 400, "ValidationError", words)
    assert place.graph.subscriptions == []


def test_a_lifecycle_address_is_asked_as_well(place: Place, receiver: Receiver) -> None:
    unreachable = "http://127.0.0.1:9/x"
    refused(place.subscribe(receiver.url, lifecycleNotificationUrl=unreachable), 400, "ValidationError", "failed")
    assert len(receiver.tokens) == 1


def test_a_short_subscription_is_made_longer(place: Place, receiver: Receiver) -> None:
    place.subscribe(receiver.url, expirationDateTime=soon(minutes=1))
    left = place.graph.subscriptions[0].expires - datetime.now(UTC)
    assert timedelta(minutes=44) < left <= timedelta(minutes=45)


def test_a_subscription_is_renewed(place: Place, receiver: Receiver) -> None:
    path = f"/subscriptions/{place.subscribe(receiver.url).json()['id']}"
    later = soon(minutes=4_000)
    answer = place.ask("PATCH", path, json={"expirationDateTime": later})
    assert (answer.status_code, answer.json()["clientState"]) == (200, None)
    assert place.graph.subscriptions[0].expires == datetime.fromisoformat(later)
    too_far = place.ask("PATCH", path, json={"expirationDateTime": soon(minutes=5_000)})
    refused(too_far, 400, "InvalidRequest", "4230 minutes")
    for name in ("clientState", "lifecycleNotificationUrl", "changeType"):
        refused(place.ask("PATCH", path, json={name: "x"}), 400, "InvalidRequest", name)
    assert place.ask("POST", f"{path}/reauthorize").status_code == 204
    assert place.ask("PATCH", path, json={"notificationUrl": receiver.url + "&x=1"}).status_code == 200
    assert len(receiver.tokens) == 3


def test_subscriptions_end(place: Place, receiver: Receiver) -> None:
    paths = [f"/subscriptions/{place.subscribe(receiver.url).json()['id']}" for _ in range(3)]
    assert place.ask("DELETE", paths[0]).status_code == 204
    place.graph.subscriptions[0].expires = datetime.now(UTC)
    place.graph.drop_subscriptions()
    for path in paths:
        refused(place.get(path), 404, "ResourceNotFound")
        refused(place.ask("DELETE", path), 404, "ResourceNotFound")
        refused(place.ask("PATCH", path, json={"expirationDateTime": soon(minutes=90)}), 404, "ResourceNotFound")
        refused(place.ask("POST", f"{path}/reauthorize"), 404, "ResourceNotFound")
    assert place.get("/subscriptions").json()["value"] == []


def test_an_app_sees_its_own_page_by_page(place: Place, receiver: Receiver) -> None:
    place.graph.subscription_page = 2
    made = [place.subscribe(receiver.url).json()["id"] for _ in range(3)]
    first = place.get("/subscriptions").json()
    second = place.get(first["@odata.nextLink"]).json()
    assert [each["id"] for each in first["value"] + second["value"]] == made
    assert "@odata.nextLink" not in second
    place.app = place.graph.register()
    assert place.get("/subscriptions").json()["value"] == []
    refused(place.ask("DELETE", f"/subscriptions/{made[0]}"), 404, "ResourceNotFound")


def test_a_mailbox_has_room_for_so_many(place: Place, receiver: Receiver) -> None:
    place.graph.subscriptions_per_mailbox = 2
    assert [place.subscribe(receiver.url).status_code for _ in range(3)] == [201, 201, 403]
