"""The routes file while the app runs: it changes, is invalid, is deleted, and its storage is unavailable."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from shared.config import ROUTES_PATH, AppSettings, load_settings
from shared.dispatch.route_repository import CHECK_INTERVAL, RouteRepository
from shared.errors import ServiceUnavailable
from shared.receipts import State
from shared.storage.base import Blobs, BlobVersion, Storage
from shared.storage.factory import open_storage
from tests.integration.routing_fixture import DAY, InterceptedCalls, RoutingFixture, letter
from tests.servers.memory_app import TWO_MAILBOXES, let_time_pass
from tests.servers.pump import poll, work_until_idle
from tests.servers.routes_file import store_routes

SALES = {"sales": {"ADDRESS": "sales@example.com"}}
ORDERS = {"orders": {"ADDRESS": "orders@example.com"}}


@dataclass
class Watched:
    """Blobs that record how the file is read. `ill` makes that fail."""

    inner: Blobs
    ill: bool = False
    looks: int = 0
    contents: int = 0

    def read_version(self, path: str, *, unless_etag: str = "", max_bytes: int | None = None) -> BlobVersion | None:
        self.looks += 1
        if self.ill:
            raise ServiceUnavailable("ill")
        blob = self.inner.read_version(path, unless_etag=unless_etag, max_bytes=max_bytes)
        self.contents += blob is not None and blob.data is not None
        return blob


@dataclass
class Desk:
    """A route repository on a real storage, and a time that is set."""

    settings: AppSettings
    stores: Storage
    watched: Watched = field(init=False)
    book: RouteRepository = field(init=False)

    def __post_init__(self) -> None:
        self.time = DAY
        self.watched = Watched(self.stores.blobs)
        self.book = self.new_book()

    def new_book(self) -> RouteRepository:
        return RouteRepository(self.settings, self.watched, lambda: self.time)  # type: ignore[arg-type]  # the part it reads

    def names(self) -> list[str]:
        return [route.name for route in self.book.read().routes]

    def later(self) -> None:
        self.time += CHECK_INTERVAL


@pytest.fixture
def desk(storage: str) -> Iterator[Desk]:
    mailbox = {"PROTOCOL": "imap", "HOST": "imap.example.com", "ADDRESS": "support@example.com", "PASSWORD": "secret"}
    values = {f"MAILBOXES__support__{name}": value for name, value in mailbox.items()}
    settings = load_settings({"AzureWebJobsStorage": storage, **values}, complete=False)
    stores = open_storage(settings.app_storage, settings.mail_storage, settings.mail_container)
    yield Desk(settings, stores)
    stores.close()


def test_3_1_a_changed_file_applies_within_ten_seconds(desk: Desk) -> None:
    assert desk.names() == []
    store_routes(desk.stores.blobs, SALES)
    desk.time += CHECK_INTERVAL - timedelta(seconds=1)
    assert desk.names() == []
    desk.time += timedelta(seconds=1)
    assert desk.names() == ["sales"]
    store_routes(desk.stores.blobs, {**SALES, **ORDERS})
    desk.later()
    assert desk.names() == ["orders", "sales"]
    desk.stores.blobs.delete_many([ROUTES_PATH])
    desk.later()
    assert desk.names() == []
    assert desk.book.read().from_file is None


def test_the_file_is_checked_seldom_and_read_only_when_it_changed(desk: Desk) -> None:
    store_routes(desk.stores.blobs, SALES)
    first = desk.book.read()
    for _ in range(100):
        assert desk.book.read() is first
    assert (desk.watched.looks, desk.watched.contents) == (1, 1)
    for _ in range(3):
        desk.later()
        assert desk.book.read() is first
    assert (desk.watched.looks, desk.watched.contents) == (4, 1)
    desk.time -= timedelta(days=1)
    assert desk.book.read() is first
    assert desk.watched.looks == 5, "a system time that was set back does not stop the checks"


def test_mail_waits_while_storage_is_unavailable_at_the_first_read(desk: Desk) -> None:
    store_routes(desk.stores.blobs, SALES)
    desk.watched.ill = True
    for _ in range(2):
        with pytest.raises(ServiceUnavailable):
            desk.book.read()
    desk.watched.ill = False
    assert desk.names() == ["sales"]


def test_the_last_routes_stay_in_use_while_storage_is_unavailable(desk: Desk) -> None:
    store_routes(desk.stores.blobs, SALES)
    assert desk.names() == ["sales"]
    store_routes(desk.stores.blobs, ORDERS)
    desk.watched.ill = True
    desk.later()
    for _ in range(5):
        assert desk.names() == ["sales"]
    assert desk.watched.looks == 2, "an unavailable storage is not read more often"
    desk.watched.ill = False
    desk.later()
    assert desk.names() == ["orders"]


def test_errors_are_logged_once_per_change(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mailroom.routes")

    def logged() -> list[str]:
        messages = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return messages

    store_routes(desk.stores.blobs, {f"route_{n}": {"ADDRESS": "nobody"} for n in range(30)})
    for _ in range(3):
        assert len(desk.book.read().errors) == 30
        desk.later()
    (line,) = logged()
    assert line.startswith("routes-wrong: ")
    assert "config/routes.json, route_0.ADDRESS: nobody is not an address" in line
    assert line.count("is not an address") == 10
    assert line.endswith("and 20 more")
    store_routes(desk.stores.blobs, "{")
    desk.later()
    desk.book.read()
    assert "is not JSON" in logged()[0]
    store_routes(desk.stores.blobs, SALES)
    desk.later()
    assert desk.names() == ["sales"]
    changed, doubtful = logged()
    assert changed == "routes-changed: config/routes.json was read again, with 1 routes"
    assert doubtful.startswith("routes-doubtful: MAILBOXES__support__ADDRESS: support@example.com has no route")
    store_routes(desk.stores.blobs, {**SALES, **ORDERS})
    desk.later()
    desk.book.read()
    assert len(logged()) == 1, "a warning is logged once"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    world = RoutingFixture(tmp_path)
    yield world
    world.stores.close()


def test_3_1_an_added_route_applies_without_a_restart(world: RoutingFixture) -> None:
    app = world.app()
    for times, to in enumerate(("orders@example.com", "orders+2@example.com")):
        world.servers["support"].deliver(letter(to))
        poll(app, "support")
        work_until_idle(app)
        assert len(world.results()) == times
        store_routes(world.stores.blobs, ORDERS)
        world.time += CHECK_INTERVAL
    assert world.results() == [("orders", "orders+2@example.com")]


def test_8_1_while_the_file_is_invalid_mail_is_collected_and_waits_and_none_is_lost(world: RoutingFixture) -> None:
    app = world.app()
    store_routes(
        world.stores.blobs, {"orders": {"ADDRESS": "orders@example.com", "MAILBOX": "support", "SENDERS": "all"}}
    )
    world.servers["support"].deliver(letter("orders@example.com"))
    world.servers["office"].deliver(letter("office@example.com"))
    poll(app, "support", "office")
    work_until_idle(app)
    assert world.results() == [("office", "office@example.com")], "the other mailbox's mail does not wait"
    assert not world.servers["support"].messages
    assert sorted(receipt.state for receipt in world.receipts()) == [State.ROUTED, State.STORED]

    store_routes(world.stores.blobs, ORDERS)
    world.time += CHECK_INTERVAL
    let_time_pass(world.folder)
    work_until_idle(app)
    assert world.results() == [("office", "office@example.com"), ("orders", "orders@example.com")]
    assert {receipt.state for receipt in world.receipts()} == {State.ROUTED}
    assert not world.paths("failed/")


WRONG_SETTINGS = {
    "ROUTES__own__ADDRESS": ({"ROUTES__own__MAILBOX": "support", "ROUTES__own__ADDRESS": "orders"}, ["support"]),
    "ROUTES__own__SENDER": (
        {"ROUTES__own__ADDRESS": "*@example.com", "ROUTES__own__SENDER": "a@b.example"},
        ["office", "support"],
    ),
    "ROUTES_orders_ADDRESS": ({"ROUTES_orders_ADDRESS": "orders@example.com"}, ["office", "support"]),
    "MAILBOXES__support__FALLBACK": (
        {"MAILBOXES__support__FALLBACK": "rst", "ROUTES__rest__MAILBOX": "support"},
        ["support"],
    ),
}
"""By the invalid setting: settings, and the mailboxes whose mail waits for it."""


@pytest.mark.parametrize("wrong", WRONG_SETTINGS)
def test_8_1_while_a_setting_of_a_route_is_invalid_mail_is_collected_and_waits(
    world: RoutingFixture, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    values, waiting_mailboxes = WRONG_SETTINGS[wrong]
    world.values |= values
    for name, server in world.servers.items():
        server.deliver(letter(f"orders@example.com, {name}@example.com"))
    app = world.app()
    poll(app, "support", "office")
    work_until_idle(app)
    assert not any(server.messages for server in world.servers.values()), "it is collected"
    receipts = {receipt.mailbox: receipt for receipt in world.receipts()}
    actually_waiting = sorted(name for name, receipt in receipts.items() if receipt.state is State.STORED)
    assert actually_waiting == waiting_mailboxes
    assert {receipt.last_error for receipt in receipts.values()} == {""}
    assert {route for route, _ in world.results()}.isdisjoint(waiting_mailboxes)
    assert not world.paths("unhandled/")
    assert (
        sum(f"routes-wrong: mail waits until these errors are corrected: {wrong}" in line for line in caplog.messages)
        == 1
    )

    for key in values:
        del world.values[key]
    world.values["ROUTES__orders__ADDRESS"] = "orders@example.com"
    let_time_pass(world.folder)
    work_until_idle(world.app())
    assert {receipt.state for receipt in world.receipts()} == {State.ROUTED}
    assert {("office", "office@example.com"), ("support", "support@example.com")} < set(world.results())
    assert not world.paths("failed/")


def test_8_1_an_unreadable_routes_file_counts_no_attempt_against_a_message(world: RoutingFixture) -> None:
    def ill(path: str, **_: object) -> None:
        if path == ROUTES_PATH:
            raise ServiceUnavailable("ill")

    store_routes(world.stores.blobs, ORDERS)
    world.servers["support"].deliver(letter("orders@example.com"))
    app = world.app(replace(world.stores, blobs=InterceptedCalls(world.stores.blobs, read_version=ill)))
    poll(app, "support")
    for _ in range(7):
        let_time_pass(world.folder)
        work_until_idle(app)
    assert [(receipt.state, receipt.last_error) for receipt in world.receipts()] == [(State.STORED, "")]
    let_time_pass(world.folder)
    work_until_idle(world.app())
    assert world.results() == [("orders", "orders@example.com")]


def test_every_route_of_the_settings_may_be_in_the_file_instead(world: RoutingFixture) -> None:
    routes: dict[str, dict[str, str]] = {}
    for key, value in TWO_MAILBOXES.items():
        kind, name, setting = key.split("__")
        if kind == "ROUTES":
            routes.setdefault(name, {})[setting] = value
            del world.values[key]
    store_routes(world.stores.blobs, routes)
    for name in ("support", "office"):
        world.servers[name].deliver(letter("support@example.com, office@example.com, sales@example.com"))
    world.run("support", "office")
    assert world.results() == [
        ("office", "office@example.com"),
        ("sales", "sales@example.com"),
        ("support", "support@example.com"),
    ]
