"""Rule 4.4: in any order of several workers' operations, and with any crash, each recipient gets one result.

The messages are chained: some share their bytes, some what is visible, some a Message-ID. Between two that are the same
there is one result for each recipient; and whoever has none names one that has. Some have a Message-ID in common and
nothing else: each has its results.

Some workers route single arrivals, others whole batches, whose transactions conflict with theirs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest

from shared.bootstrap import App
from shared.dispatch.routing_input import visible_content
from shared.documents.blob_paths import raw_path
from shared.keys import batch_prefix
from shared.mime.parser import parse
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.receipts import Receipt, State
from shared.routing.fingerprints import fingerprints
from shared.routing.route_table import TrustPolicy
from shared.storage.base import QueueName, Storage, Table
from tests.end_to_end.command import opened
from tests.integration.interleaving import Turns
from tests.integration.stored_arrivals import WholeBatches, route_request
from tests.servers.azurite import ACCOUNTS, Azurite, _unused
from tests.servers.memory_app import TWO_MAILBOXES, app_on, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.whole_table import whole_table
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
C = letter("q", "text\r\n\r\nwith a footer that a gateway added")  # B's Message-ID, and B's body in its own
BCC = letter("r", to="undisclosed-recipients:;")
FORGED = letter("q", "something else")  # B's Message-ID, another body
FORGED_TOO = letter("q", "a third body")
PASSED = (
    b"Authentication-Results: mx.example.com; dmarc=pass header.from=customer.example\r\n"
    b"Received: from mail.customer.example by mx.example.com with ESMTPS; Tue, 24 Nov 2026 09:00:00 +0000\r\n"
)
SIGNED = PASSED + letter("q", "of an authenticated sender")
SIGNED_TOO = PASSED + letter("q", "and another body of the same sender")
BATCHES = {"support": (A, A, B, BCC, C), "office": (FORGED, C, B, A, FORGED, BCC)}
"""Batches with copies of their own messages, and of each other's."""
MAIL = {"support": (A, B, BCC), "office": (A, C, B, BCC)}
DIFFERENT = {"support": (B, FORGED, SIGNED), "office": (FORGED_TOO, C, SIGNED_TOO, FORGED)}
"""One Message-ID, four groups of messages that are the same."""


def stored(stores: Storage, storage: str, mail: Mapping[str, Sequence[bytes]]) -> App:
    """Return an app whose mail is stored, with route requests, and not routed."""
    servers = {name: MemoryServer() for name in mail}
    for name, messages in mail.items():
        servers[name].deliver(*messages)
    settings = settings_for(storage, {**TWO_MAILBOXES, **WILD})
    app = app_on(settings, lambda mailbox: WholeBatches(servers[mailbox.name]), stores=stores)
    for name in mail:
        app.poller.poll(Poll(name, PollReason.MANUAL))
    return app


def arrivals(stores: Storage) -> list[Receipt]:
    return [Receipt.from_record(record) for record in whole_table(stores.records, Table.RECEIPTS)]


def assert_one_result_each(stores: Storage) -> None:
    receipts = {arrival.arrival: arrival for arrival in arrivals(stores)}
    assert {receipt.state for receipt in receipts.values()} == {State.ROUTED}
    assert not whole_table(stores.records, Table.OUTBOX)
    results: dict[tuple[str, str], str] = {}
    for path in stores.blobs.list("routed/"):
        result = json.loads(stores.blobs.read(path) or b"")
        key = result["recipient"], result["arrival"]["id"]
        assert key not in results, "two results of one arrival for one recipient"
        results[key] = path
    prints = {
        arrival: fingerprints(record.message, visible_content(parse(_raw(stores, record)), TrustPolicy()))
        for arrival, record in receipts.items()
    }

    def are_same(firstord: str, other: str) -> bool:
        return any(a.is_same(b) for a in prints[firstord] for b in prints[other])

    for recipient, arrival in results:
        for other_recipient, other in results:
            if recipient == other_recipient and arrival != other:
                assert not are_same(arrival, other), "two that are the same have a result each"
    for receipt in receipts.values():
        same = {arrival for arrival in receipts if are_same(receipt.arrival, arrival)}
        closure = {arrival for arrival in receipts if any(are_same(arrival, other) for other in same)}
        for recipient in receipt.outcomes:
            owners = {arrival for arrival in closure if receipts[arrival].results().keys() & {recipient, "*"}}
            assert owners or recipient == "*", f"{recipient}: no message that is the same has a result"
    for receipt in receipts.values():
        for recipient, outcome in receipt.outcomes.items():
            fate, _, what = outcome.partition(" ")
            if fate == "duplicate":
                # A wildcard's copy may be a duplicate of mail for a named recipient.
                results_of = receipts[what].results()
                assert results_of if recipient == "*" else recipient in results_of, f"{recipient}: {what} has no result"
    for path in stores.blobs.list("duplicates/"):
        for entry in json.loads(stores.blobs.read(path) or b"")["duplicates"]:
            original = entry["duplicate_of"]
            assert original["result"] in receipts[original["arrival"]].results().values(), f"{path} names {original}"


def _raw(stores: Storage, receipt: Receipt) -> bytes:
    data = stores.blobs.read(raw_path(receipt.message))
    assert data is not None
    return data


@pytest.mark.parametrize("deaths", [0.0, 0.03])
@pytest.mark.parametrize("mail", [MAIL, DIFFERENT], ids=["chained", "different"])
def test_4_4_any_order_of_several_workers_gives_one_result(
    storage: str, mail: Mapping[str, Sequence[bytes]], deaths: float, request: pytest.FixtureRequest
) -> None:
    kind = "folder" if storage.startswith("folder:") else "azure"
    for seed in range(SEEDS[kind]):
        place = f"{storage}-{seed}" if kind == "folder" else _another_account(request, storage, seed)
        stores = opened(place)
        try:
            app = stored(stores, place, mail)
            random = Random(seed)
            route_requests = [route_request(arrival) for arrival in arrivals(stores)] * 2
            random.shuffle(route_requests)
            turns = Turns(random, deaths)
            turns.run([_routing_job(app, route_request) for route_request in route_requests[:10]])
            for item in [*route_requests, *route_requests]:  # what died comes back, and what was done comes twice
                app.router.route(item)
            assert_one_result_each(stores)
            if mail is DIFFERENT:
                routes = Counter(path.split("/")[1] for path in stores.blobs.list("routed/"))
                assert routes == {"sales": 4, "support": 3}, "the office has no route for support@"
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {deaths}: {error}") from error
        finally:
            stores.close()


@pytest.mark.parametrize("deaths", [0.0, 0.02])
@pytest.mark.parametrize("mail", [MAIL, DIFFERENT, BATCHES], ids=["chained", "different", "copies in a batch"])
def test_4_4_any_order_of_workers_that_route_batches_and_single_arrivals_gives_one_result(
    storage: str,
    mail: Mapping[str, Sequence[bytes]],
    deaths: float,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each batch is delivered twice, some of its arrivals are routed alone meanwhile, and everything comes back."""
    kind = "folder" if storage.startswith("folder:") else "azure"
    batches_concluded = 0
    for seed in range(SEEDS[kind]):
        place = f"{storage}-{seed}" if kind == "folder" else _another_account(request, storage, seed)
        stores = opened(place)
        try:
            app = stored(stores, place, mail)
            random = Random(seed)
            waiting = arrivals(stores)
            batches = [RouteRequest(prefix) for prefix in sorted({batch_prefix(item.outbox) for item in waiting})]
            assert len(batches) == len(mail)
            singles = [route_request(item, retries=random.randrange(2)) for item in random.sample(waiting, 3)]
            again = [replace(batch, retries=random.randrange(2)) for batch in batches]
            jobs = [*batches, *again, *singles]
            random.shuffle(jobs)
            turns = Turns(random, deaths)
            turns.run([_routing_job(app, item) for item in jobs])
            batches_concluded += sum(item.state is State.ROUTED for item in arrivals(stores))
            _deliver_again(app, batches)
            assert_one_result_each(stores)
            assert "next try in 60 s" not in caplog.text, "an error that is not transient"
            if mail is DIFFERENT:
                routes = Counter(path.split("/")[1] for path in stores.blobs.list("routed/"))
                assert routes == {"sales": 4, "support": 3}, "the office has no route for support@"
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {deaths}: {error}") from error
        finally:
            stores.close()
    assert batches_concluded, "the workers concluded arrivals before everything came back"


def _deliver_again(app: App, batches: Sequence[RouteRequest]) -> None:
    """Deliver the requests of batches again, and then what they put on the queue, twice."""
    queue = app.storage.queues[QueueName.ROUTE_REQUESTS]
    for item in queue.receive(32, hidden_for=600):
        queue.delete(item)
    entries = {record.key for record in whole_table(app.storage.records, Table.OUTBOX)}
    for batch in batches:
        app.router.route(batch, tried=True)
    items = queue.receive(32, hidden_for=600)
    requests = [RouteRequest.from_json(item.body) for item in items]
    alone = {request.outbox for request in requests}
    for request in [*requests, *requests, *batches]:
        app.router.route(request)
        app.router.route(request, tried=True)
    assert alone <= entries, "each remaining entry has a request of its own"
    # The only remaining entry of a batch is routed at once.
    concluded = {
        key for key in entries if len([other for other in entries if batch_prefix(other) == batch_prefix(key)]) == 1
    }
    assert alone == entries - concluded


def _routing_job(app: App, item: RouteRequest) -> Callable[[Turns, int], None]:
    def job(turns: Turns, worker: int) -> None:
        replace(app.router, storage=turns.stores(app.storage, worker)).route(item)

    return job


def _another_account(request: pytest.FixtureRequest, storage: str, seed: int) -> str:
    if seed == 0:
        return storage
    azurite: Azurite = request.getfixturevalue("azurite")
    return azurite.connection_string(ACCOUNTS[next(_unused)])
