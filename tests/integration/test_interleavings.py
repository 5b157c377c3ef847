"""Rule 4.4: whatever order several workers' operations come in, and whoever dies, each recipient gets one result.

The messages are chained: some share their bytes, some what is visible, some a Message-ID. Between two that share a
fingerprint there is one result for each recipient; and whoever has none names one that has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from shared.mail.message import parse
from shared.queued import Announcement, Poll, Reason
from shared.receipts import Receipt, State
from shared.routing.fingerprints import fingerprints
from shared.sorting.asked import seen_of
from shared.storage.protocol import Stores, Table
from shared.stored.layout import raw_path
from shared.wiring import App
from tests.end_to_end.command import opened
from tests.integration.turns import Turns
from tests.servers.azurite import ACCOUNTS, Azurite, _unused
from tests.servers.memory_app import TWO_MAILBOXES, app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.sizes import size

WILD = {
    "ROUTES__wild__ADDRESS": "*",
    "ROUTES__wild__SENDERS": "*@customer.example",
}
SEEDS = {"folder": size(12, soak=200), "azure": size(2, soak=20)}


def letter(message_id: str, body: str = "text", to: str = "sales@example.com, support@example.com") -> bytes:
    return (
        f"From: ann@customer.example\r\nTo: {to}\r\nSubject: Ten chairs\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
        f"Message-ID: <{message_id}@customer.example>\r\n\r\n{body}\r\n"
    ).encode()


A = letter("p")
B = letter("q")  # what is visible of A, under another Message-ID
C = letter("q", "with a footer that a gateway added")  # B's Message-ID, another body
BCC = letter("r", to="undisclosed-recipients:;")
MAIL = {"support": (A, B, BCC), "office": (A, C, B, BCC)}


def stored(stores: Stores, storage: str) -> App:
    """An app whose mail is stored and announced, and not routed."""
    servers = {name: MemoryServer() for name in MAIL}
    for name, messages in MAIL.items():
        servers[name].deliver(*messages)
    settings = settings_for(storage, {**TWO_MAILBOXES, **WILD})
    app = app_on(settings, lambda mailbox: servers[mailbox.name].open(), stores=stores)
    for name in MAIL:
        app.poller.poll(Poll(name, Reason.BY_HAND))
    return app


def arrivals(stores: Stores) -> list[Receipt]:
    return [Receipt.of(record) for record in stores.records.scan(Table.RECEIPTS)]


def assert_one_result_each(stores: Stores) -> None:
    receipts = {one.arrival: one for one in arrivals(stores)}
    assert {one.state for one in receipts.values()} == {State.ROUTED}
    assert not list(stores.records.scan(Table.PENDING))
    results: dict[tuple[str, str], str] = {}
    for path in stores.blobs.list("routed/"):
        told = json.loads(stores.blobs.read(path) or b"")
        key = told["recipient"], told["arrival"]["id"]
        assert key not in results, "two results of one arrival for one recipient"
        results[key] = path
    prints = {
        arrival: {(p.kind, p.digest) for p in fingerprints(one.message, seen_of(parse(_raw(stores, one))))}
        for arrival, one in receipts.items()
    }
    for recipient, arrival in results:
        for other_recipient, other in results:
            if recipient == other_recipient and arrival != other:
                assert not prints[arrival] & prints[other], "two that are the same have a result each"
    for one in receipts.values():
        for recipient, outcome in one.outcomes.items():
            fate, _, what = outcome.partition(" ")
            if fate == "duplicate":
                # A wildcard's copy may be a duplicate of mail that named somebody.
                given = receipts[what].results()
                assert given if recipient == "*" else recipient in given, f"{recipient}: {what} has no result"
    for path in stores.blobs.list("duplicates/"):
        for entry in json.loads(stores.blobs.read(path) or b"")["duplicates"]:
            original = entry["duplicate_of"]
            assert original["result"] in receipts[original["arrival"]].results().values(), f"{path} names {original}"


def _raw(stores: Stores, receipt: Receipt) -> bytes:
    data = stores.blobs.read(raw_path(receipt.message))
    assert data is not None
    return data


@pytest.mark.parametrize("deaths", [0.0, 0.03])
def test_4_4_any_order_of_several_workers_gives_one_result(
    storage: str, deaths: float, request: pytest.FixtureRequest
) -> None:
    kind = "folder" if storage.startswith("folder:") else "azure"
    for seed in range(SEEDS[kind]):
        place = f"{storage}-{seed}" if kind == "folder" else _another_account(request, storage, seed)
        stores = opened(place)
        try:
            app = stored(stores, place)
            random = Random(seed)
            announced = [Announcement(one.arrival) for one in arrivals(stores)] * 2
            random.shuffle(announced)
            turns = Turns(random, deaths)
            turns.run([_sorting(app, one) for one in announced[:10]])
            for one in [*announced, *announced]:  # what died comes back, and what was done comes twice
                app.sorter.sort(one)
            assert_one_result_each(stores)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {deaths}: {error}") from error
        finally:
            stores.close()


def _sorting(app: App, announcement: Announcement) -> Callable[[Turns, int], None]:
    def job(turns: Turns, worker: int) -> None:
        replace(app.sorter, stores=turns.stores(app.stores, worker)).sort(announcement)

    return job


def _another_account(request: pytest.FixtureRequest, storage: str, seed: int) -> str:
    if seed == 0:
        return storage
    azurite: Azurite = request.getfixturevalue("azurite")
    return azurite.connection_string(ACCOUNTS[next(_unused)])
