"""The simulator's subscriptions: creation, listing, renewal and expiry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.simulator_support import (
    ADDRESS,
    Receiver,
    SimulatorFixture,
    assert_refused,
    from_now,
    running_receiver,
    running_simulator,
)
from tests.servers.certificates import Ca


@pytest.fixture
def sim(ca: Ca, tmp_path: Path) -> Iterator[SimulatorFixture]:
    with running_simulator(ca, tmp_path) as fixture:
        yield fixture


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def test_a_subscription_is_created_after_both_urls_are_validated(sim: SimulatorFixture, receiver: Receiver) -> None:
    answer = sim.subscribe(receiver.url)
    assert answer.status_code == 201, answer.text
    created = answer.json()
    assert (created["clientState"], created["applicationId"]) == ("secret", sim.app.client_id)
    assert len(receiver.tokens) == 2
    assert all("+" in item and "&" in item and "%2f" in item for item in receiver.tokens)
    read = sim.get(f"/subscriptions/{created['id']}").json()
    assert read == {**created, "clientState": None}
    assert [subscription.id for subscription in sim.graph.subscriptions] == [created["id"]]
    assert sim.graph.subscriptions[0].immutable


@pytest.mark.parametrize(
    "resource",
    ["/users/SUPPORT@example.com/mailFolders/Inbox/messages", "Users('{address}')/mailFolders('{folder}')/messages"],
)
def test_a_resource_has_several_spellings(sim: SimulatorFixture, receiver: Receiver, resource: str) -> None:
    written = resource.format(address=ADDRESS, folder=sim.box.folder("Inbox/Orders"))
    assert sim.subscribe(receiver.url, resource=written).json()["resource"] == written


@pytest.mark.parametrize(
    ("changes", "text"),
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
        ({"expirationDateTime": from_now(days=8)}, "Subscription expiration can only be 10080 minutes in the future."),
        ({"expirationDateTime": from_now(minutes=-1)}, "future"),
        ({"expirationDateTime": "tomorrow"}, "date"),
        ({"expirationDateTime": "2026-01-01T00:00:00"}, "zone"),
        ({"latestSupportedTlsVersion": "v1_0"}, "Tls"),
        ({"includeResourceData": True}, "includeResourceData"),
        ({"nonsense": "x"}, "nonsense"),
    ],
)
def test_invalid_properties_of_a_subscription_are_refused(
    sim: SimulatorFixture, receiver: Receiver, changes: dict[str, Any], text: str
) -> None:
    answer = sim.subscribe(receiver.url, **changes)
    assert_refused(answer, 400, "InvalidRequest", text)
    assert (receiver.tokens, sim.graph.subscriptions) == ([], [])


def test_a_subscription_to_an_inaccessible_folder_is_refused(sim: SimulatorFixture, receiver: Receiver) -> None:
    sim.graph.mailbox("other@example.com")
    sim.app.mailboxes = {ADDRESS}
    for user, folder, status, code in (
        ("nobody@example.com", "inbox", 404, "ErrorInvalidUser"),
        ("other@example.com", "inbox", 403, "ErrorAccessDenied"),
        (ADDRESS, "nonsense", 404, "ErrorItemNotFound"),
    ):
        answer = sim.subscribe(receiver.url, resource=f"users/{user}/mailFolders('{folder}')/messages")
        assert_refused(answer, status, code)
    sim.app.permissions = {"Mail.Read"}
    assert sim.subscribe(receiver.url).status_code == 201
    sim.app.permissions = set()
    assert_refused(sim.subscribe(receiver.url), 403, "ErrorAccessDenied")


def slowly(token: str) -> tuple[int, str, str]:
    time.sleep(0.6)
    return 200, "text/plain", token


@pytest.mark.parametrize(
    ("answer", "text"),
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
def test_a_url_that_fails_validation_is_refused(
    sim: SimulatorFixture, receiver: Receiver, answer: Any, text: str
) -> None:
    sim.graph.notifier.validation_timeout = 0.3
    receiver.validation = answer
    assert_refused(sim.subscribe(receiver.url), 400, "ValidationError", text)
    assert sim.graph.subscriptions == []


def test_the_lifecycle_url_is_validated(sim: SimulatorFixture, receiver: Receiver) -> None:
    unreachable = "http://127.0.0.1:9/x"
    assert_refused(sim.subscribe(receiver.url, lifecycleNotificationUrl=unreachable), 400, "ValidationError", "failed")
    assert len(receiver.tokens) == 1


def test_a_short_lifetime_is_raised_to_the_minimum(sim: SimulatorFixture, receiver: Receiver) -> None:
    sim.subscribe(receiver.url, expirationDateTime=from_now(minutes=1))
    left = sim.graph.subscriptions[0].expires - datetime.now(UTC)
    assert timedelta(minutes=44) < left <= timedelta(minutes=45)


def test_a_subscription_is_renewed(sim: SimulatorFixture, receiver: Receiver) -> None:
    path = f"/subscriptions/{sim.subscribe(receiver.url).json()['id']}"
    later = from_now(minutes=4_000)
    answer = sim.ask("PATCH", path, json={"expirationDateTime": later})
    assert (answer.status_code, answer.json()["clientState"]) == (200, None)
    assert sim.graph.subscriptions[0].expires == datetime.fromisoformat(later)
    too_far = sim.ask("PATCH", path, json={"expirationDateTime": from_now(minutes=11_000)})
    assert_refused(too_far, 400, "InvalidRequest", "10080 minutes")
    for name in ("clientState", "lifecycleNotificationUrl", "changeType"):
        assert_refused(sim.ask("PATCH", path, json={name: "x"}), 400, "InvalidRequest", name)
    assert sim.ask("POST", f"{path}/reauthorize").status_code == 204
    assert sim.ask("PATCH", path, json={"notificationUrl": receiver.url + "&x=1"}).status_code == 200
    assert len(receiver.tokens) == 3


def test_deleted_and_expired_subscriptions_are_gone(sim: SimulatorFixture, receiver: Receiver) -> None:
    paths = [f"/subscriptions/{sim.subscribe(receiver.url).json()['id']}" for _ in range(3)]
    assert sim.ask("DELETE", paths[0]).status_code == 204
    sim.graph.subscriptions[0].expires = datetime.now(UTC)
    sim.graph.drop_subscriptions()
    for path in paths:
        assert_refused(sim.get(path), 404, "ResourceNotFound")
        assert_refused(sim.ask("DELETE", path), 404, "ResourceNotFound")
        assert_refused(
            sim.ask("PATCH", path, json={"expirationDateTime": from_now(minutes=90)}), 404, "ResourceNotFound"
        )
        assert_refused(sim.ask("POST", f"{path}/reauthorize"), 404, "ResourceNotFound")
    assert sim.get("/subscriptions").json()["value"] == []


def test_an_app_lists_its_subscriptions_in_pages(sim: SimulatorFixture, receiver: Receiver) -> None:
    sim.graph.subscription_page_size = 2
    ids = [sim.subscribe(receiver.url).json()["id"] for _ in range(3)]
    first = sim.get("/subscriptions").json()
    second = sim.get(first["@odata.nextLink"]).json()
    assert [item["id"] for item in first["value"] + second["value"]] == ids
    assert "@odata.nextLink" not in second
    sim.app = sim.graph.register()
    assert sim.get("/subscriptions").json()["value"] == []
    assert_refused(sim.ask("DELETE", f"/subscriptions/{ids[0]}"), 404, "ResourceNotFound")


def test_a_mailbox_has_a_maximum_of_subscriptions(sim: SimulatorFixture, receiver: Receiver) -> None:
    sim.graph.subscriptions_per_mailbox = 2
    assert [sim.subscribe(receiver.url).status_code for _ in range(3)] == [201, 201, 403]
