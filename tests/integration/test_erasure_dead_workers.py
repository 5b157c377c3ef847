"""`forget` (rule 8.5) and a worker that began before it, writes after it, and dies before it rolls that back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from shared.bootstrap import App
from shared.dispatch.failures import record_error
from shared.documents.blob_paths import raw_path
from shared.errors import MessageMissing, WriteConflict
from shared.operations.erasure import Eraser
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt, State
from shared.storage.base import Change, Create, Records, Table
from tests.end_to_end.command import identity
from tests.integration.dead_workers import (
    BYSTANDER,
    REPLY,
    DyingWorker,
    Routes,
    assert_not_named,
    footer_copy,
    is_azure,
    letter,
    routed_and_erased,
    snapshot,
    stalls_and_deaths,
    step_of,
    sweep_later,
    with_attachment,
)
from tests.integration.erasure_fixture import dump_storage, run_forget
from tests.integration.replay_fixture import BILLING, BOTH, CLERK, ReplayFixture
from tests.integration.routing_fixture import InterceptedCalls
from tests.integration.stored_arrivals import current_receipt, replay_request, route_request, store_batch
from tests.servers.faults import ProcessKilled
from tests.sizes import size


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


@dataclass(frozen=True)
class Case:
    """What the worker that dies does.

    Attributes:
        mail: returns the message that is erased, by a number.
        routes: the routes of the worker that concludes it.
        late_routes: the routes that the worker read that dies.
        gone: texts that only the erased message contains.
    """

    mail: Callable[[int], bytes]
    routes: Routes = field(default_factory=lambda: BOTH)
    late_routes: Routes = field(default_factory=lambda: BOTH)


CASES = {
    "routed": Case(letter),
    "by more routes": Case(
        lambda n: letter(n, "sales@example.com, clerk@example.com, billing@example.com"), BILLING, CLERK
    ),
    "by other routes": Case(letter, {"ROUTES__cash__ADDRESS": "billing@example.com"}, BOTH),
    "unhandled": Case(letter, {}, {}),
    "unhandled, routed late": Case(letter, {}, BOTH),
    "routed, unhandled late": Case(letter, BOTH, {}),
    "duplicate": Case(footer_copy),
    "reply": Case(lambda n: letter(n, more=REPLY)),
    "attachment": Case(with_attachment),
}


ON_AZURITE = ("routed", "reply")
"""The cases of which `make test` uses more operations on Azurite, where they take longer."""


@pytest.mark.parametrize("name", CASES)
def test_8_5_a_late_worker_that_dies_at_any_operation_leaves_nothing(world: ReplayFixture, name: str) -> None:
    case = CASES[name]
    step = step_of(world) if name in ON_AZURITE or not is_azure(world) else size(61, soak=1)
    world.poll_and_route(BOTH, BYSTANDER)
    before = snapshot(world.stores)
    left_something = 0
    for number, (at, dies_at, done) in enumerate(stalls_and_deaths(step), 1):
        app, late = world.app(case.routes), world.app(case.late_routes)
        message = case.mail(number)
        request, (receipt,) = store_batch(world, app, message)

        def meanwhile(app: App = app, request: RouteRequest = request, receipt: Receipt = receipt) -> None:
            app.router.route(request)
            run_forget(world, receipt.arrival)

        worker = DyingWorker(at, meanwhile, dies_at)
        worker.run(late, request)
        done.append(worker.count)
        if current_receipt(world.stores, receipt.arrival).state is not State.ERASED:
            with suppress(MessageMissing):
                app.router.route(request, tried=True)
            run_forget(world, receipt.arrival)  # The worker concluded it before it was to stall.
        left_something += snapshot(world.stores) != before
        sweep_later(world)
        assert snapshot(world.stores) == before, (at, dies_at)
        content = dump_storage(world.stores)
        assert not [gone for gone in (identity(message), "gone.example") if gone in content], (at, dies_at)
    assert left_something or step > 13


@pytest.mark.parametrize("reissue", ["", "request-1"], ids=["replay", "reissue"])
def test_8_5_a_replay_that_dies_at_any_operation_leaves_nothing(world: ReplayFixture, reissue: str) -> None:
    """It read the receipt; the arrival, which was selected before, was erased; its next try deleted the entry."""
    world.poll_and_route(BOTH, BYSTANDER)
    before = snapshot(world.stores)
    left_something = 0
    for number, (at, dies_at, done) in enumerate(stalls_and_deaths(step_of(world)), 1):
        app = world.app(BILLING)
        message = letter(number)
        first, (receipt,) = store_batch(world, app, message)
        app.router.route(first)
        receipt = current_receipt(world.stores, receipt.arrival)
        eraser = Eraser(world.stores, world.servers)
        chosen = eraser.find_by_id(receipt.arrival)
        [record] = receipt.results().values()
        request = replay_request(world.stores, receipt, record, reissue)

        def meanwhile(eraser: Eraser = eraser, chosen: Any = chosen, request: RouteRequest = request) -> None:
            with suppress(WriteConflict):  # The replay was concluded before.
                eraser.erase(chosen)
            world.app(BOTH).router.route(request, tried=True)

        worker = DyingWorker(at, meanwhile, dies_at)
        worker.run(world.app(BOTH), request)
        done.append(worker.count)
        world.app(BOTH).router.route(request, tried=True)
        if current_receipt(world.stores, receipt.arrival).state is not State.ERASED:
            run_forget(world, receipt.arrival)
        left_something += snapshot(world.stores) != before
        sweep_later(world)
        assert snapshot(world.stores) == before, (at, dies_at)
        assert_not_named(world, message)
    assert left_something


def test_8_5_of_a_batch_that_dies_at_any_operation_nothing_else_is_lost(world: ReplayFixture) -> None:
    """One of its messages was erased. A copy of it, and another message, are routed when the batch comes back."""
    left_something = 0
    for number, (at, dies_at, done) in enumerate(stalls_and_deaths(step_of(world, azure=16)), 1):
        app = world.app(BOTH)
        message, copy = letter(number), letter(number) + b"\r\nwith a footer\r\n"
        other = letter(number, sender="ann@stays.example").replace(b"@gone.", b"@stays.")
        request, (receipt, *others) = store_batch(world, app, message, other, copy)

        def meanwhile(app: App = app, receipt: Receipt = receipt) -> None:
            app.router.route(route_request(receipt))
            run_forget(world, receipt.arrival)

        worker = DyingWorker(at, meanwhile, dies_at)
        worker.run(app, request)
        done.append(worker.count)
        if current_receipt(world.stores, receipt.arrival).state is not State.ERASED:
            app.router.route(route_request(receipt), tried=True)
            run_forget(world, receipt.arrival)
        left_something += identity(message) in "".join(world.stores.blobs.list())
        order = [0, 1] if number % 2 else [1, 0]
        for step in order:  # The others are routed before the erasure is repeated, and after it.
            if step:
                sweep_later(world)
            else:
                for item in others:
                    app.router.route(route_request(item), tried=True)
        assert not [path for path in world.stores.blobs.list() if identity(message) in path], (at, dies_at)
        owners = {str(record.values["owner"]) for record in world.stores.records.scan(Table.CLAIMS)}
        assert receipt.arrival not in owners, (at, dies_at)
        for item in (current_receipt(world.stores, item.arrival) for item in others):
            assert item.state is State.ROUTED
            for path in item.results().values():
                assert world.read(path)["arrival"]["id"] == item.arrival
                assert world.stores.blobs.exists(world.read(path)["paths"]["message"]), (at, dies_at)
            assert world.stores.blobs.exists(raw_path(item.message))
        assert len(current_receipt(world.stores, others[0].arrival).results()) == 2
    assert left_something


def test_8_5_a_copy_that_dies_at_any_operation_leaves_no_claim_of_the_original(world: ReplayFixture) -> None:
    """A copy takes missing claims in the name of an arrival. That arrival is erased while the copy stalls."""
    for number, (at, dies_at, done) in enumerate(stalls_and_deaths(step_of(world)), 1):
        app = world.app(BOTH)
        first, (receipt,) = store_batch(world, app, letter(number))
        # A worker dies after some of its claims.
        with suppress(ProcessKilled):
            records: Any = FirstClaimOnly(world.stores.records)
            replace(app.router, storage=replace(world.stores, records=records), executor=None).route(first)
        second, (copy,) = store_batch(world, app, letter(number) + b"\r\nwith a footer\r\n")

        def meanwhile(app: App = app, first: RouteRequest = first, receipt: Receipt = receipt) -> None:
            app.router.route(first, tried=True)
            run_forget(world, receipt.arrival)

        worker = DyingWorker(at, meanwhile, dies_at)
        worker.run(app, second)
        done.append(worker.count)
        if current_receipt(world.stores, receipt.arrival).state is not State.ERASED:
            app.router.route(first, tried=True)
            run_forget(world, receipt.arrival)
        sweep_later(world)
        owners = {str(record.values["owner"]) for record in world.stores.records.scan(Table.CLAIMS)}
        assert receipt.arrival not in owners, (at, dies_at)
        app.router.route(second, tried=True)
        assert current_receipt(world.stores, copy.arrival).state is State.ROUTED


class FirstClaimOnly:
    """Records of a worker that dies after its first claim."""

    def __init__(self, inner: Records) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit(self, changes: Sequence[Change]) -> bool:
        claims = [change for change in changes if change.table is Table.CLAIMS]
        if claims:
            self._inner.commit(
                [claim for claim in claims if isinstance(claim, Create) and claim.values["kind"] == "raw"]
            )
            raise ProcessKilled
        return self._inner.commit(changes)


def test_8_5_a_late_dead_letter_is_erased(world: ReplayFixture) -> None:
    """Two workers write the dead letter of one arrival. One stalls before its record, until after the erasure."""
    message = letter(1)
    app = world.app_with_failing_parser(BOTH)
    request, (receipt,) = store_batch(world, app, message)
    with pytest.raises(ValueError, match="unexpected"):
        app.router.route(request)
    app.router.record_error(request, ValueError())

    def meanwhile(path: str, *_arguments: object, **_named: object) -> None:
        if path.startswith("failed/") and current_receipt(world.stores, receipt.arrival).state is State.FAILED:
            app.router.dead_letter(request)
            run_forget(world, receipt.arrival)

    blobs: Any = InterceptedCalls(world.stores.blobs, create=meanwhile)
    entry = RouteRequest(receipt.outbox)
    replace(app.router, storage=replace(world.stores, blobs=blobs)).dead_letter(entry)
    assert current_receipt(world.stores, receipt.arrival).is_fully_erased
    assert world.paths("failed/")
    sweep_later(world)
    assert world.paths("") == []
    assert_not_named(world, message)


def test_8_5_a_late_error_of_a_batch_is_not_recorded_in_a_bare_receipt(world: ReplayFixture) -> None:
    """The error may name the message. The receipt is made bare after it was read, and before the error is merged."""
    message = letter(1)
    app = world.app(BOTH)
    request, (receipt,) = store_batch(world, app, message)

    def meanwhile(table: Table, *_arguments: object, **_named: object) -> None:
        if table is Table.RECEIPTS and not outcome:
            outcome.extend(app.router.route(request))
            run_forget(world, receipt.arrival)

    outcome: list[str] = []
    error = MessageMissing(f"message {identity(message)} has no raw bytes")
    records: Any = InterceptedCalls(
        world.stores.records, merge=meanwhile, commit=lambda changes: meanwhile(changes[0].table)
    )
    record_error(replace(world.stores, records=records), receipt.arrival, error)
    assert outcome == ["routed"]
    assert current_receipt(world.stores, receipt.arrival).last_error == ""


def test_8_5_raw_bytes_of_a_late_intake_are_erased(world: ReplayFixture) -> None:
    """A worker that lost its lease stores the bytes of a message that another one stored, and that was erased."""
    message = letter(1)
    routed_and_erased(world, message)
    assert world.stores.blobs.create(raw_path(identity(message)), message, content_type="message/rfc822")
    sweep_later(world)
    assert world.paths("") == []
