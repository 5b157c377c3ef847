"""`forget` (rule 8.5) and a worker that began before it, writes after it, and dies before it rolls that back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from shared.bootstrap import App
from shared.clock import utc_now
from shared.dispatch.failures import record_error
from shared.documents.blob_paths import raw_path
from shared.errors import MessageMissing, ServiceUnavailable, WriteConflict
from shared.lease import RenewingLease
from shared.operations.erasure import Eraser
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt, State
from shared.storage.base import Change, Create, Records, Storage, Table
from tests.end_to_end.command import identity
from tests.integration.erasure_fixture import dump_storage, run_forget
from tests.integration.replay_fixture import BILLING, BOTH, CLERK, ReplayFixture
from tests.integration.stored_arrivals import current_receipt, replay_request, route_request, store_batch
from tests.integration.test_erasure_batches import AtOperation
from tests.integration.test_erasure_races import Watched
from tests.servers.faults import ProcessKilled
from tests.sizes import size

Routes = Mapping[str, str]


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def letter(
    number: int, to: str = "sales@example.com, billing@example.com", *, sender: str = "eve@gone.example", more: str = ""
) -> bytes:
    """Return a message that is unlike every other one, so that erased claims on Message-IDs do not add up."""
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {number}\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
        f"Message-ID: <{number}@gone.example>\r\n{more}\r\ntext {number}\r\n"
    ).encode()


BYSTANDER = letter(0).replace(b"gone.example", b"stays.example")
"""A message that is routed before everything else, and stays."""

REPLY = "References: <0@stays.example>\r\nIn-Reply-To: <0@stays.example>\r\n"
MULTIPART = 'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'


def with_attachment(number: int) -> bytes:
    head, _, text = letter(number, more=MULTIPART).partition(b"\r\n\r\n")
    part = b'--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename="a.txt"\r\n\r\n'
    return head + b"\r\n\r\n--b\r\n\r\n" + text + part + b"attached\r\n--b--\r\n"


def footer_copy(number: int) -> bytes:
    """Return a copy of the bystander with a footer: by its Message-ID a duplicate."""
    return BYSTANDER + b"\r\nwith footer %d\r\n" % number


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


class DyingWorker(AtOperation):
    """A storage in which a worker stalls before one operation, and dies before a later one.

    Args:
        at: the number of the operation before which it stalls, from 1.
        meanwhile: what happens then.
        dies_at: the number of the operation before which it dies.
    """

    def __init__(self, at: int, meanwhile: Callable[[], object], dies_at: int) -> None:
        super().__init__(at, meanwhile)
        self._dies_at = dies_at

    def step(self) -> None:
        super().step()
        if self.count >= self._dies_at:
            raise ProcessKilled

    def run(self, app: App, request: RouteRequest) -> None:
        """Route a request until the worker dies. Nothing it does is done by another thread."""
        with suppress(ProcessKilled, MessageMissing, ServiceUnavailable):
            replace(app.router, storage=self.stores(app.storage), executor=None).route(request)


def stalls_and_deaths(step: int) -> Iterator[tuple[int, int, list[int]]]:
    """Yield each operation before which a worker stalls, with each later one before which it dies.

    The caller appends the number of operations that the worker did.
    """
    for at in count(1, step):
        for dies_at in count(at + 1, step):
            done: list[int] = []
            yield at, dies_at, done
            if done[0] < at:
                return
            if done[0] < dies_at:
                break


def step_of(world: ReplayFixture, azure: int = 41) -> int:
    """Return the step between two operations. An operation on Azurite takes longer; `make test-soak` skips none."""
    return size(azure if is_azure(world) else 7, soak=1)


def is_azure(world: ReplayFixture) -> bool:
    return not world.storage.startswith("folder:")


def sweep_later(world: ReplayFixture, hours: float = 3) -> None:
    """Run what `sweep` runs, some hours from now."""
    later = utc_now() + timedelta(hours=hours)
    app = world.app(BOTH)
    replace(app.router, now=lambda: later).sweep()
    for request in world.take_route_requests():
        app.router.route(request)  # of a rollback that was interrupted
    replace(Eraser.from_settings(app.settings, world.stores), now=lambda: later).repeat()


def snapshot(stores: Storage) -> dict[str, object]:
    """Return all blobs, and all records that may name a message."""
    content: dict[str, object] = {path: stores.blobs.read(path) for path in stores.blobs.list()}
    for table in (Table.CLAIMS, Table.CONVERSATIONS, Table.OUTBOX, Table.TOMBSTONES):
        content |= {
            f"{table} {record.key}": record.values
            for record in stores.records.scan(table)
            if record.values.get("owner") != ""  # The place of an erased claim on a Message-ID stays.
        }
    return content


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


def routed_and_erased(world: ReplayFixture, message: bytes, routes: Routes = BOTH) -> Receipt:
    """Collect a message, route it, and erase it. Return its receipt as it was before."""
    app = world.app(routes)
    request, (receipt,) = store_batch(world, app, message)
    app.router.route(request)
    receipt = current_receipt(world.stores, receipt.arrival)
    run_forget(world, receipt.arrival)
    return receipt


def assert_not_named(world: ReplayFixture, message: bytes) -> None:
    content = dump_storage(world.stores)
    assert not [gone for gone in (identity(message), "gone.example") if gone in content]


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

    blobs: Any = Watched(world.stores.blobs, create=meanwhile)
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
    records: Any = Watched(world.stores.records, merge=meanwhile, commit=lambda changes: meanwhile(changes[0].table))
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


def test_8_5_a_message_that_arrived_again_stays_when_the_erasure_is_repeated(world: ReplayFixture) -> None:
    """In the same mailbox under another key, and in another one."""
    message = letter(1)
    routed_and_erased(world, message)
    world.poll_and_route(BOTH, message)
    world.poll_and_route(BOTH, message, mailbox="office")
    before = snapshot(world.stores)
    sweep_later(world)
    tombstones = [name for name in before if name.startswith(Table.TOMBSTONES)]
    assert tombstones
    assert snapshot(world.stores) == {name: value for name, value in before.items() if name not in tombstones}
    assert sum(world.results().values()) == 2


def test_8_5_a_message_that_arrived_again_under_its_own_key_stays(world: ReplayFixture) -> None:
    """On a server without keys, its arrival is the erased one."""
    message = letter(1)
    world.servers["support"].has_keys = False
    world.poll_and_route(BOTH, message)
    run_forget(world, identity(message))
    world.poll_and_route(BOTH, message)
    assert [receipt.state for receipt in world.receipts()] == [State.ROUTED]
    before = snapshot(world.stores)
    sweep_later(world)
    assert {name for name in before if name not in snapshot(world.stores)} == {
        name for name in before if name.startswith(Table.TOMBSTONES)
    }
    assert sum(world.results().values()) == 2
    run_forget(world, identity(message))
    assert len(list(world.stores.records.scan(Table.TOMBSTONES))) == 1, "of the second erasure"
    sweep_later(world)
    assert snapshot(world.stores) == {}


def test_8_5_a_message_that_arrives_again_during_the_repetition_stays(world: ReplayFixture) -> None:
    """On a server without keys, between the scan and the leases. A result of the dead worker is found."""
    message = letter(1)
    world.servers["support"].has_keys = False
    world.poll_and_route(BOTH, message)
    before = snapshot(world.stores)
    run_forget(world, identity(message))
    leave(world, before, "routed/")
    calls: list[str] = []

    def arrives(*_arguments: object, **_named: object) -> None:
        if not calls:
            calls.append("arrives")
            world.poll_and_route(BOTH, message)

    leases: Any = Watched(world.stores.leases, acquire=arrives)
    later = utc_now() + timedelta(hours=3)
    eraser = Eraser(replace(world.stores, leases=leases), world.servers, now=lambda: later)
    assert eraser.repeat() == 0
    assert calls
    assert sum(world.results().values()) == 2
    assert world.stores.blobs.read(raw_path(identity(message))) == message
    sweep_later(world, hours=6)
    assert sum(world.results().values()) == 2
    assert list(world.stores.records.scan(Table.TOMBSTONES)) == []


def test_8_5_a_reply_keeps_its_conversation_when_the_erasure_is_repeated(world: ReplayFixture) -> None:
    """It refers to the erased message, and so created the entry of that message's Message-ID."""
    routed_and_erased(world, letter(1, more=REPLY))
    world.poll_and_route(BOTH, BYSTANDER)
    more = "In-Reply-To: <1@gone.example>\r\nReferences: <0@stays.example> <1@gone.example>\r\n"
    world.poll_and_route(BOTH, letter(2, sender="ann@stays.example", more=more))
    before = list(world.stores.records.scan(Table.CONVERSATIONS))
    assert len(before) == 3
    sweep_later(world)
    assert list(world.stores.records.scan(Table.CONVERSATIONS)) == before


def test_8_5_a_dead_worker_that_joined_a_later_conversation_leaves_no_message_id(world: ReplayFixture) -> None:
    """The parent arrives after the erasure, so that the dead worker's conversation is not the one that was erased."""
    app = world.app(BOTH)
    request, (receipt,) = store_batch(world, app, letter(1, more=REPLY))

    def meanwhile(table: Table, *_arguments: object, **_named: object) -> None:
        if table is Table.CONVERSATIONS and not outcome:
            outcome.extend(app.router.route(request))
            run_forget(world, receipt.arrival)
            world.poll_and_route(BOTH, BYSTANDER)

    def die(_changes: object) -> None:
        if outcome:
            raise ProcessKilled

    outcome: list[str] = []
    records: Any = Watched(world.stores.records, get_many=meanwhile, commit=die)
    with suppress(ProcessKilled):
        replace(app.router, storage=replace(world.stores, records=records), executor=None).route(request)
    texts = {record.values["text"]: record.values for record in world.stores.records.scan(Table.CONVERSATIONS)}
    assert texts["1@gone.example"]["conversation"] == identity(BYSTANDER)
    sweep_later(world)
    assert {record.values["text"] for record in world.stores.records.scan(Table.CONVERSATIONS)} == {"0@stays.example"}


def test_8_5_an_erased_copy_leaves_the_conversation_of_the_original(world: ReplayFixture) -> None:
    """Both have the same Message-ID, whose entry the original created."""
    world.poll_and_route(BOTH, BYSTANDER)
    before = list(world.stores.records.scan(Table.CONVERSATIONS))
    routed_and_erased(world, footer_copy(1))
    assert list(world.stores.records.scan(Table.CONVERSATIONS)) == before


def test_8_5_a_tombstone_holds_ids_alone_and_is_deleted_after_two_hours(world: ReplayFixture) -> None:
    message = letter(1)
    receipt = routed_and_erased(world, message)
    [tombstone] = world.stores.records.scan(Table.TOMBSTONES)
    assert tombstone.key == receipt.arrival
    assert not [text for text in ("@", ".example", "Subject") if text in str(tombstone.values)]
    assert set(tombstone.values) - set(receipt.to_values()) <= {"conversation", "entry", "repeat_at"}
    assert world.outbox_size() == 0
    sweep_later(world, hours=1.9)
    assert list(world.stores.records.scan(Table.TOMBSTONES)) == [tombstone]
    sweep_later(world, hours=2.1)
    assert list(world.stores.records.scan(Table.TOMBSTONES)) == []
    assert current_receipt(world.stores, receipt.arrival).is_fully_erased


def test_8_5_a_repetition_without_anything_to_erase_needs_no_lease(world: ReplayFixture) -> None:
    routed_and_erased(world, letter(1))
    lease = RenewingLease.acquire(world.stores.leases, "support")
    assert lease is not None
    later = utc_now() + timedelta(hours=3)
    with lease:
        assert Eraser(world.stores, world.servers, lease_timeout=0.5, now=lambda: later).repeat() == 1
    assert list(world.stores.records.scan(Table.TOMBSTONES)) == []


def test_8_5_two_sweeps_at_once_repeat_each_erasure_once(world: ReplayFixture) -> None:
    for number in range(1, 4):
        routed_and_erased(world, letter(number))
    later = utc_now() + timedelta(hours=3)
    counts: list[int] = []

    def other(_changes: object) -> None:
        if not counts:
            counts.append(0)
            counts[0] = Eraser(world.stores, world.servers, now=lambda: later).repeat()

    records: Any = Watched(world.stores.records, commit=other)
    assert Eraser(replace(world.stores, records=records), world.servers, now=lambda: later).repeat() == 0
    assert counts == [3]
    assert list(world.stores.records.scan(Table.TOMBSTONES)) == []


def test_8_5_an_erasure_during_the_repetition_keeps_its_tombstone(world: ReplayFixture) -> None:
    """On a server without keys, the arrival is routed and erased again while its first erasure is repeated."""
    message = letter(1)
    world.servers["support"].has_keys = False
    world.poll_and_route(BOTH, message)
    run_forget(world, identity(message))
    later = utc_now() + timedelta(hours=3)
    calls: list[str] = []

    def erased_again(prefix: str = "") -> None:
        if not calls:
            calls.append(prefix)
            world.poll_and_route(BOTH, message)
            run_forget(world, identity(message))

    blobs: Any = Watched(world.stores.blobs, list=erased_again)
    Eraser(replace(world.stores, blobs=blobs), world.servers, now=lambda: later).repeat()
    assert calls
    assert len(list(world.stores.records.scan(Table.TOMBSTONES))) == 1


def test_8_5_a_repetition_that_dies_at_any_operation_is_repeated(world: ReplayFixture) -> None:
    later = utc_now() + timedelta(hours=3)
    for at in count(1, step_of(world)):
        message = letter(at)
        world.poll_and_route(BOTH, message)
        before = snapshot(world.stores)
        run_forget(world, identity(message))
        leave(world, before, "messages/", "routed/")
        operations = DyingWorker(0, lambda: None, at)
        with suppress(ProcessKilled):
            Eraser(operations.stores(world.stores), world.servers, now=lambda: later).repeat()
        sweep_later(world, hours=6)
        assert snapshot(world.stores) == {}, at
        if operations.count < at:
            break
    assert at > 10


def test_8_5_an_erasure_that_dies_at_any_operation_still_leaves_a_tombstone(world: ReplayFixture) -> None:
    old: set[str] = set()
    for at in count(1, 2 * step_of(world)):
        messages = letter(2 * at), letter(2 * at + 1)
        world.poll_and_route(BOTH, *messages)
        before = snapshot(world.stores)
        operations = DyingWorker(0, lambda: None, at)
        with suppress(ProcessKilled):
            run_forget(world, "eve@gone.example", stores=operations.stores(world.stores))
        for receipt in world.receipts():
            if receipt.is_fully_erased:
                assert world.stores.records.get(Table.TOMBSTONES, receipt.arrival) is not None or receipt.arrival in old
        run_forget(world, "eve@gone.example")
        leave(world, before, "messages/", "routed/")
        sweep_later(world)
        assert snapshot(world.stores) == {}, at
        old = {receipt.arrival for receipt in world.receipts()}
        if operations.count < at:
            break
    assert at > 10


def leave(world: ReplayFixture, content: Mapping[str, object], *prefixes: str) -> None:
    """Create the blobs of an erased message again, as a late worker does."""
    for path, data in content.items():
        if isinstance(data, bytes) and path.startswith(prefixes):
            assert world.stores.blobs.create(path, data, content_type="application/json")


def test_8_5_a_result_of_an_erased_arrival_does_not_take_the_place_of_a_new_one(world: ReplayFixture) -> None:
    """The message arrives again on the same day. The late worker wrote its result first, at the same path."""
    message = letter(1)
    world.poll_and_route(BOTH, message)
    before = snapshot(world.stores)
    run_forget(world, identity(message))
    leave(world, before, "routed/")
    world.poll_and_route(BOTH, message, mailbox="office")
    sweep_later(world)
    [receipt] = [item for item in world.receipts() if item.state is State.ROUTED]
    assert len(receipt.results()) == 2
    assert {world.read(path)["arrival"]["id"] for path in receipt.results().values()} == {receipt.arrival}


def test_8_5_a_late_worker_keeps_the_result_of_a_new_arrival(world: ReplayFixture) -> None:
    """The message arrived again on the same day, and has its result when the late worker would write its own."""
    message = letter(1)
    app = world.app(BOTH)
    request, (receipt,) = store_batch(world, app, message)

    def meanwhile(path: str, *_arguments: object, **_named: object) -> None:
        if path.startswith("routed/") and not outcome:
            outcome.extend(app.router.route(request))
            run_forget(world, receipt.arrival)
            world.poll_and_route(BOTH, message, mailbox="office")

    outcome: list[str] = []
    blobs: Any = Watched(world.stores.blobs, create=meanwhile)
    replace(app.router, storage=replace(world.stores, blobs=blobs), executor=None).route(request)
    assert outcome
    assert sum(world.results().values()) == 2
    sweep_later(world)
    [again] = [item for item in world.receipts() if item.state is State.ROUTED]
    assert {world.read(path)["arrival"]["id"] for path in again.results().values()} == {again.arrival}


def test_8_5_bytes_of_a_message_that_arrives_again_during_the_repetition_stay(world: ReplayFixture) -> None:
    """In another mailbox, between the scan and the leases."""
    message = letter(1)
    world.poll_and_route(BOTH, message)
    before = snapshot(world.stores)
    run_forget(world, identity(message))
    leave(world, before, "messages/")
    calls: list[str] = []

    def arrives(*_arguments: object, **_named: object) -> None:
        if not calls:
            calls.append("arrives")
            world.poll_and_route(BOTH, message, mailbox="office")

    leases: Any = Watched(world.stores.leases, acquire=arrives)
    later = utc_now() + timedelta(hours=3)
    assert Eraser(replace(world.stores, leases=leases), world.servers, now=lambda: later).repeat() == 1
    assert calls
    assert {path for path in before if path.startswith("messages/")} <= set(world.paths("messages/"))
    assert sum(world.results().values()) == 2


def test_8_5_a_repetition_waits_for_the_mailboxes_and_is_repeated(world: ReplayFixture) -> None:
    message = letter(1)
    world.poll_and_route(BOTH, message)
    before = snapshot(world.stores)
    run_forget(world, identity(message))
    leave(world, before, "messages/")
    later = utc_now() + timedelta(hours=3)
    lease = RenewingLease.acquire(world.stores.leases, "office")
    assert lease is not None
    with lease, pytest.raises(ServiceUnavailable, match="office is being drained"):
        Eraser(world.stores, world.servers, lease_timeout=0.5, now=lambda: later).repeat()
    assert world.paths("messages/")
    assert len(list(world.stores.records.scan(Table.TOMBSTONES))) == 1
    sweep_later(world, hours=6)
    assert snapshot(world.stores) == {}


@pytest.mark.parametrize("stalls_at", ["get_many", "create_many"], ids=["begins its own", "joined it before"])
def test_8_5_a_dead_worker_leaves_nothing_of_a_conversation_that_has_ended(
    world: ReplayFixture, stalls_at: str
) -> None:
    """Its first message was erased long ago, and its second one now."""
    second = letter(2, more=REPLY)
    world.poll_and_route(BOTH, BYSTANDER, second)
    run_forget(world, identity(BYSTANDER))
    sweep_later(world)
    more = "References: <2@gone.example> <7@stays.example>\r\n"
    app = world.app(BOTH)
    request, (receipt,) = store_batch(world, app, letter(1, more=more))

    def meanwhile(table: Table, *_arguments: object, **_named: object) -> None:
        if table is Table.CONVERSATIONS and not outcome:
            outcome.extend(app.router.route(request))
            run_forget(world, receipt.arrival)
            run_forget(world, identity(second))
            assert list(world.stores.records.scan(Table.CONVERSATIONS)) == []

    def die(_changes: object) -> None:
        if outcome:
            raise ProcessKilled

    outcome: list[str] = []
    hooks: dict[str, Any] = {stalls_at: meanwhile, "commit": die}
    records: Any = Watched(world.stores.records, **hooks)
    with suppress(ProcessKilled):
        replace(app.router, storage=replace(world.stores, records=records), executor=None).route(request)
    assert len(list(world.stores.records.scan(Table.CONVERSATIONS))) == (3 if stalls_at == "get_many" else 2)
    sweep_later(world)
    assert snapshot(world.stores) == {}


def test_8_5_a_receipt_that_changes_while_it_is_made_bare_is_erased_by_the_next_request(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, letter(1))
    [receipt] = world.receipts()

    def changed(changes: Sequence[Change]) -> None:
        if any(change.table is Table.TOMBSTONES for change in changes):
            world.stores.records.merge(Table.RECEIPTS, receipt.arrival, {"removed": True})

    records: Any = Watched(world.stores.records, commit=changed)
    with pytest.raises(WriteConflict, match="run the command again"):
        run_forget(world, receipt.arrival, stores=replace(world.stores, records=records))
    assert list(world.stores.records.scan(Table.TOMBSTONES)) == []
    run_forget(world, receipt.arrival)
    assert current_receipt(world.stores, receipt.arrival).is_fully_erased
    assert len(list(world.stores.records.scan(Table.TOMBSTONES))) == 1


def test_8_5_two_erasures_at_once_leave_a_tombstone_that_names_the_message(world: ReplayFixture) -> None:
    """The first one ends while the second one waits for the mailboxes."""
    message = letter(1)
    world.poll_and_route(BOTH, message)
    before = snapshot(world.stores)
    chosen = Eraser(world.stores, world.servers).find_by_id(identity(message))
    calls: list[str] = []

    def other(*_arguments: object, **_named: object) -> None:
        if not calls:
            calls.append("erases")
            Eraser(world.stores, world.servers).erase(chosen)

    leases: Any = Watched(world.stores.leases, acquire=other)
    Eraser(replace(world.stores, leases=leases), world.servers).erase(chosen)
    assert calls
    leave(world, before, "messages/", "routed/")
    sweep_later(world)
    assert snapshot(world.stores) == {}
