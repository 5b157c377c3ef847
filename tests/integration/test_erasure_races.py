"""`forget` (rule 8.5) during concurrent changes: what was selected is erased, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mailroom_cli.commands.forget import show
from shared.dispatch.artifacts import delete_artifacts
from shared.documents.blob_paths import message_folder, raw_path
from shared.errors import LeaseLost, WriteConflict
from shared.lease import RenewingLease
from shared.operations.erasure import Eraser
from shared.operations.search import ArrivalQuery, find_arrivals
from shared.queue_messages import Poll, PollReason
from shared.receipts import State
from shared.storage.base import MATCH_ALL, Filter, Table
from tests.end_to_end.command import identity
from tests.integration.erasure_fixture import OFFICE_ONLY, TO_BOTH, run_forget
from tests.integration.replay_fixture import BILLING, BOTH, ReplayFixture, letter
from tests.integration.routing_fixture import InterceptedCalls
from tests.servers.pump import work_until_idle

ACCOUNTS, BOOKS, CASH = ({f"ROUTES__{name}__ADDRESS": "billing@example.com"} for name in ("accounts", "books", "cash"))
SMALL = {**BOTH, "MAILBOXES__support__MAX_MESSAGE_BYTES": "20"}


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def eraser(world: ReplayFixture) -> Eraser:
    return Eraser(world.stores, world.servers)


def test_8_5_a_replayed_result_missing_from_a_truncated_receipt_is_erased(
    world: ReplayFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.dispatch.attempt.MAX_OUTCOME_LENGTH", 0)
    world.poll_and_route(BILLING, TO_BOTH)
    world.replay(ACCOUNTS, world.only_path("routed/"), reissue=True)
    texts = Console(file=StringIO(), width=200)
    show(world.stores.records, run_forget(world, "billing@example.com"), texts, really=True)
    assert "these messages also have results for others: …" in texts.file.getvalue()  # type: ignore[attr-defined]  # the file above
    assert list(world.stores.blobs.list()) == []


def test_8_5_replaced_results_are_erased_after_a_consumer_deleted_their_replacement(world: ReplayFixture) -> None:
    world.poll_and_route(BILLING, TO_BOTH)
    world.replay(CASH, world.only_path("routed/billing/"), reissue=True)
    world.replay(ACCOUNTS, world.only_path("routed/cash/"), reissue=True)
    world.replay(BOOKS, world.only_path("routed/accounts/"), reissue=True)
    assert len(world.paths("routed/")) == 4
    world.stores.blobs.delete_many([world.only_path("routed/accounts/")])
    run_forget(world, identity(TO_BOTH))
    assert list(world.stores.blobs.list()) == []


def test_8_5_blobs_of_other_arrivals_stay(world: ReplayFixture) -> None:
    """Routes in a blob, and other people's blobs beside results, whatever their names are."""
    world.poll_and_route(BOTH, TO_BOTH)
    others = {
        "config/routes.json": b'{"routes": {}}',
        f"config/{identity(TO_BOTH)}.json": b"{}",
        world.only_path("routed/sales/").removesuffix(".json") + "-note.json": b'{"arrival": {"id": "another"}}',
        world.only_path("routed/billing/").removesuffix(".json") + ".txt": identity(TO_BOTH).encode(),
        f"messages/{identity(TO_BOTH)[:2]}/{identity(TO_BOTH)}-not/message.json": b"x",
        f"messages/{identity(TO_BOTH)[:2]}/{identity(TO_BOTH)}-not.eml": b"x",
    }
    for path, data in others.items():
        assert world.stores.blobs.create(path, data, content_type="text/plain")
    run_forget(world, identity(TO_BOTH))
    assert {path: world.stores.blobs.read(path) for path in world.stores.blobs.list()} == others


def test_8_5_a_message_downloaded_meanwhile_keeps_its_results(world: ReplayFixture) -> None:
    """The record of an oversized message is to be erased; while `forget` waits for the mailbox, it is collected."""
    world.poll_and_route(SMALL, TO_BOTH)
    [receipt] = world.receipts()
    chosen = eraser(world).find_by_id(receipt.arrival)
    with pytest.raises(WriteConflict):
        eraser(replace_leases(world, lambda: world.poll_and_route(BOTH))).erase(chosen)
    assert sum(world.results().values()) == 2
    assert world.stores.blobs.read(raw_path(identity(TO_BOTH))) == TO_BOTH
    assert [receipt.state for receipt in world.receipts()] == [State.ROUTED]
    claims = [record.values["owner"] for record in world.stores.records.scan(Table.CLAIMS)]
    assert set(claims) == {receipt.arrival}


def test_8_5_a_message_routed_for_another_person_meanwhile_stays(world: ReplayFixture) -> None:
    """When it is selected, it names the person and has no result; then a replay finds a recipient."""
    world.poll_and_route({}, letter("nobody@example.com, billing@example.com"))
    chosen = eraser(world).find_by_address("nobody@example.com")
    world.replay(BILLING, world.only_path("unhandled/"))
    with pytest.raises(WriteConflict):
        eraser(world).erase(chosen, "nobody@example.com")
    assert list(world.results()) == [("billing", "billing@example.com")]
    assert [receipt.state for receipt in world.receipts()] == [State.ROUTED]


def test_8_5_bytes_stay_for_an_arrival_recorded_meanwhile(world: ReplayFixture) -> None:
    """The same bytes arrive in another mailbox after the scan, and before the leases are held."""
    world.poll_and_route(BOTH, TO_BOTH)
    chosen = eraser(world).find_by_id(identity(TO_BOTH))

    def comes() -> None:
        world.servers["office"].deliver(TO_BOTH)
        world.app(BOTH).poller.poll(Poll("office", PollReason.MANUAL))

    artifacts = eraser(replace_leases(world, comes)).erase(chosen)
    assert artifacts.kept == {identity(TO_BOTH)}
    assert artifacts.bytes == []
    assert world.stores.blobs.read(raw_path(identity(TO_BOTH))) == TO_BOTH
    work_until_idle(world.app(BOTH))
    assert sum(world.results().values()) == 2
    for path in world.paths("routed/"):
        assert world.stores.blobs.exists(world.read(path)["paths"]["message"])


def replace_leases(world: ReplayFixture, meanwhile: Any) -> ReplayFixture:
    """Return the storage, with a call before the first lease is acquired."""
    left = [meanwhile]

    def acquire(*_args: object, **_named: object) -> None:
        if left:
            left.pop()()

    changed = object.__new__(ReplayFixture)
    changed.__dict__.update(world.__dict__)
    changed.stores = replace(world.stores, leases=InterceptedCalls(world.stores.leases, acquire=acquire))
    return changed


def test_8_5_no_bytes_are_deleted_once_a_lease_is_lost(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, TO_BOTH, letter("sales@example.com", 2))
    artifacts = eraser(world).collect_artifacts(eraser(world).find_by_address("a@b.example"))
    assert len(artifacts.bytes) == 4
    gone: list[str] = []

    def removes(paths: Iterable[str]) -> None:
        gone.extend(path for path in paths if path.startswith("messages/"))

    def ensure() -> None:
        if gone:
            raise LeaseLost("it ran out while this machine slept")

    watched: Any = InterceptedCalls(world.stores.blobs, delete_many=removes)
    with pytest.raises(LeaseLost):
        delete_artifacts(replace(world.stores, blobs=watched), artifacts, ensure)
    assert len(gone) == 1


def test_8_5_the_thread_of_an_arrival_that_stays_is_still_found(world: ReplayFixture) -> None:
    world.poll_and_route(OFFICE_ONLY, TO_BOTH)
    world.poll_and_route(OFFICE_ONLY, TO_BOTH, mailbox="office")
    run_forget(world, "sales@example.com")
    texts = [record.values["text"] for record in world.stores.records.scan(Table.CONVERSATIONS)]
    assert texts == ["1@b.example"]


def test_8_5_mailboxes_of_other_settings_are_not_drained_meanwhile(world: ReplayFixture) -> None:
    world.poll_and_route(BOTH, TO_BOTH, mailbox="office")
    with Eraser(world.stores, {"support"}).hold_mailboxes():
        assert RenewingLease.acquire(world.stores.leases, "office") is None


def test_8_5_a_message_without_a_server_key_is_collected_again(world: ReplayFixture) -> None:
    """A POP3 server without UIDL: bytes that are stored always have a receipt that says so."""
    world.servers["support"].has_keys = False
    world.poll_and_route(BOTH, TO_BOTH)
    run_forget(world, identity(TO_BOTH))
    assert [receipt.state for receipt in world.receipts()] == [State.ERASED]
    world.poll_and_route(BOTH, TO_BOTH)
    assert world.stores.blobs.read(raw_path(identity(TO_BOTH))) == TO_BOTH
    assert [arrival.state for arrival in find_arrivals(world.stores.records, ArrivalQuery(id=identity(TO_BOTH)))] == [
        State.ROUTED
    ]
    assert sum(world.results().values()) == 2
    run_forget(world, identity(TO_BOTH))
    assert list(world.stores.blobs.list()) == []


def test_8_5_a_recipient_found_only_in_claims_costs_one_scan(
    world: ReplayFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.dispatch.attempt.MAX_OUTCOME_LENGTH", 0)
    monkeypatch.setattr("shared.receipts.MAX_ADDRESSES", 0)
    world.poll_and_route(BOTH, *(letter("sales@example.com", number, f"text {number}") for number in range(5)))
    scans: list[Table] = []
    records: Any = InterceptedCalls(world.stores.records, scan=lambda table, *_where: scans.append(table))
    assert len(list(find_arrivals(records, ArrivalQuery(recipient="sales@example.com")))) == 5
    assert scans.count(Table.CLAIMS) == 1


def test_8_5_erasing_many_messages_scans_the_tables_a_few_times(world: ReplayFixture) -> None:
    mail = [letter("sales@example.com", number, f"text {number}") for number in range(12)]
    world.poll_and_route(BOTH, *mail)
    scans: list[Table] = []

    def note(table: Table, where: Filter = MATCH_ALL, **_options: object) -> None:
        """Note a scan, unless the storage finds the records by an index or in a range of keys."""
        if not where.key_prefix and not any(world.stores.records.is_indexed(table, name) for name in where.equal):
            scans.append(table)

    records: Any = InterceptedCalls(world.stores.records, scan=note)
    run_forget(world, "a@b.example", really=False, stores=replace(world.stores, records=records))
    listed = Counter(scans)
    indexed = {Table.RECEIPTS: 5, Table.OUTBOX: 1, Table.CONVERSATIONS: 1}
    tables = {Table.RECEIPTS: 8, Table.OUTBOX: 1, Table.CLAIMS: 1, Table.CONVERSATIONS: 1}
    assert listed == (indexed if world.storage.startswith("folder:") else tables)
    scans.clear()
    assert len(run_forget(world, "a@b.example", stores=replace(world.stores, records=records)).groups) == 12
    held = {Table.MAILBOXES: 1} | ({} if world.storage.startswith("folder:") else {Table.RECEIPTS: 1})
    assert Counter(scans) - listed == held, "while the mailboxes are held"


def test_8_5_deleted_files_stay_deleted_after_a_power_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ReplayFixture(f"folder:{tmp_path}")
    world.poll_and_route(BOTH, TO_BOTH)
    synced: set[str] = set()
    monkeypatch.setattr("shared.storage.folder.blobs.sync_folders", synced.update)
    run_forget(world, identity(TO_BOTH))
    assert str(tmp_path) in synced, "its entries `routed` and `messages` are gone"
    world.poll_and_route(BOTH, TO_BOTH, letter("sales@example.com", 2))
    synced.clear()
    run_forget(world, identity(TO_BOTH))
    assert str((tmp_path / message_folder(identity(TO_BOTH))).parent.parent) in synced
    assert any(path.startswith(f"{tmp_path}/routed/sales/") for path in synced)
    world.stores.close()
