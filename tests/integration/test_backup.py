"""Records are exported to a file, and imported into tables that were lost (docs/how-to/operating.md, "Back up")."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailroom_cli.cli import cli
from shared.bootstrap import App
from shared.clock import utc_now
from shared.dispatch.outbox import republish_overdue
from shared.errors import ConfigurationError, ServiceUnavailable
from shared.operations.backup import EXPORTED, export_records, import_records
from shared.queue_messages import Poll, PollReason
from shared.receipts import Receipt, State
from shared.storage.base import Change, Table, Values
from tests.integration.replay_fixture import BOTH, ReplayFixture, letter
from tests.servers.pump import work_until_idle
from tests.servers.whole_table import whole_table

SALES, BILLING, UNKNOWN = letter("sales@example.com", 1), letter("billing@example.com", 2), letter("x@example.com", 3)


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


def all_records(world: ReplayFixture) -> dict[Table, dict[str, Values]]:
    return {
        table: {record.key: record.values for record in whole_table(world.stores.records, table)} for table in EXPORTED
    }


def lose_tables(world: ReplayFixture) -> None:
    """Delete every record, as if the tables were removed by mistake."""
    for table in Table:
        world.stores.records.delete_many(table, [record.key for record in whole_table(world.stores.records, table)])


def drain(app: App) -> None:
    """Drain the mailbox, and route nothing."""
    app.poller.poll(Poll("support", PollReason.MANUAL))


def outcomes(world: ReplayFixture) -> list[str]:
    receipts = map(Receipt.from_record, whole_table(world.stores.records, Table.RECEIPTS))
    return sorted(receipt.outcome or receipt.state.value for receipt in receipts)


def test_an_import_restores_every_record(world: ReplayFixture, tmp_path: Path) -> None:
    world.poll_and_route(BOTH, SALES, BILLING, UNKNOWN)
    before = all_records(world)
    count = export_records(world.stores.records, tmp_path / "records.gz")
    lose_tables(world)

    result = import_records(world.stores.records, tmp_path / "records.gz")

    assert count == result.created == sum(map(len, before.values()))
    assert (result.existing, result.to_be_routed) == (0, 0)
    assert all_records(world) == before


def test_a_copy_of_a_message_is_a_duplicate_after_an_import(world: ReplayFixture, tmp_path: Path) -> None:
    world.poll_and_route(BOTH, SALES)
    export_records(world.stores.records, tmp_path / "records.gz")
    lose_tables(world)
    import_records(world.stores.records, tmp_path / "records.gz")

    world.poll_and_route(BOTH, SALES, mailbox="office")

    assert outcomes(world) == ["duplicate", "routed"]


def test_a_message_that_was_not_routed_is_routed_after_an_import(world: ReplayFixture, tmp_path: Path) -> None:
    world.servers["support"].deliver(SALES)
    app = world.app(BOTH)
    drain(app)
    export_records(world.stores.records, tmp_path / "records.gz")
    lose_tables(world)
    world.take_route_requests()

    result = import_records(world.stores.records, tmp_path / "records.gz")
    assert result.to_be_routed == 1
    republish_overdue(world.stores, timedelta(), utc_now() + timedelta(hours=2))
    work_until_idle(app)

    assert outcomes(world) == ["routed"]


def test_a_message_that_was_routed_after_its_receipt_was_exported_has_one_result(
    world: ReplayFixture, tmp_path: Path
) -> None:
    """The receipt in the file says that it waits, though its result exists: routing it again changes nothing."""
    world.servers["support"].deliver(SALES)
    app = world.app(BOTH)
    drain(app)
    export_records(world.stores.records, tmp_path / "records.gz")
    work_until_idle(app)
    results = list(world.stores.blobs.list("routed/"))
    lose_tables(world)

    import_records(world.stores.records, tmp_path / "records.gz")
    republish_overdue(world.stores, timedelta(), utc_now() + timedelta(hours=2))
    work_until_idle(app)

    assert outcomes(world) == ["routed"]
    assert list(world.stores.blobs.list("routed/")) == results
    assert len(results) == 1


def test_existing_records_are_kept(world: ReplayFixture, tmp_path: Path) -> None:
    world.poll_and_route(BOTH, SALES)
    export_records(world.stores.records, tmp_path / "records.gz")
    (receipt,) = whole_table(world.stores.records, Table.RECEIPTS)
    world.stores.records.merge(Table.RECEIPTS, receipt.key, {"removed": True, "last_error": "newer"})

    result = import_records(world.stores.records, tmp_path / "records.gz")

    (kept,) = whole_table(world.stores.records, Table.RECEIPTS)
    assert result.created == 0
    assert kept.values["last_error"] == "newer"


@pytest.mark.parametrize("is_reply_lost", [False, True], ids=["before the transaction", "after it"])
def test_an_import_that_was_stopped_is_repeated(
    world: ReplayFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_reply_lost: bool
) -> None:
    world.servers["support"].deliver(SALES, BILLING)
    app = world.app(BOTH)
    drain(app)
    world.take_route_requests()
    export_records(world.stores.records, tmp_path / "records.gz")
    lose_tables(world)
    with monkeypatch.context() as patch:
        commit = world.stores.records.commit

        def lose_reply(changes: Sequence[Change]) -> bool:
            commit(changes)
            raise ServiceUnavailable("the storage is gone")

        patch.setattr(world.stores.records, "commit", lose_reply)
        with pytest.raises(ServiceUnavailable):
            import_records(world.stores.records, tmp_path / "records.gz")
    assert_stored_arrivals_have_entries(world)
    (some, *_) = world.receipts()
    world.stores.records.delete_many(Table.RECEIPTS, [some.arrival])
    world.stores.records.delete_many(Table.OUTBOX, [some.outbox])

    result = import_records(world.stores.records, tmp_path / "records.gz")

    assert result.to_be_routed == 1
    assert outcomes(world) == ["stored", "stored"]
    assert_stored_arrivals_have_entries(world)


def test_an_import_creates_the_receipts_that_are_missing_and_keeps_the_entries_of_others(
    world: ReplayFixture, tmp_path: Path
) -> None:
    world.poll_and_route(BOTH, letter("sales@example.com", 9))
    messages = [letter("sales@example.com", number) for number in range(10, 70)]
    world.servers["support"].deliver(*messages)
    drain(world.app(BOTH))
    export_records(world.stores.records, tmp_path / "records.gz")
    before = entries(world)
    lost = [receipt for receipt in world.receipts() if receipt.state is State.STORED][::2]
    world.stores.records.delete_many(Table.RECEIPTS, [receipt.arrival for receipt in lost])
    world.stores.records.delete_many(Table.OUTBOX, [receipt.outbox for receipt in lost])

    result = import_records(world.stores.records, tmp_path / "records.gz")

    assert (result.created, result.to_be_routed) == (30, 30)
    assert entries(world).keys() == before.keys(), "with the keys that the receipts name"
    assert_stored_arrivals_have_entries(world)


def entries(world: ReplayFixture) -> dict[str, Values]:
    return {record.key: record.values for record in whole_table(world.stores.records, Table.OUTBOX)}


def assert_stored_arrivals_have_entries(world: ReplayFixture) -> None:
    named = {receipt.outbox: receipt.arrival for receipt in world.receipts() if receipt.state is State.STORED}
    assert {key: values["arrival"] for key, values in entries(world).items()} == named


@pytest.mark.parametrize("cut", [1, 10, 400])
def test_an_incomplete_file_imports_nothing(world: ReplayFixture, tmp_path: Path, cut: int) -> None:
    world.poll_and_route(BOTH, SALES, BILLING)
    file = tmp_path / "records.gz"
    export_records(world.stores.records, file)
    lose_tables(world)
    file.write_bytes(file.read_bytes()[:-cut])

    with pytest.raises(ConfigurationError, match="damaged or incomplete"):
        import_records(world.stores.records, file)

    assert not any(all_records(world).values())


@pytest.mark.parametrize("lines", [[], ["{}"], ['{"format":"mailroom-records","version":2}'], ["[]"], ["no JSON"]])
def test_another_file_is_refused(world: ReplayFixture, tmp_path: Path, lines: list[str]) -> None:
    file = tmp_path / "other.gz"
    with gzip.open(file, "wt") as stream:
        stream.write("".join(f"{line}\n" for line in lines))

    with pytest.raises(ConfigurationError, match=r"other\.gz"):
        import_records(world.stores.records, file)


def test_a_file_without_its_last_line_is_refused(world: ReplayFixture, tmp_path: Path) -> None:
    world.poll_and_route(BOTH, SALES)
    export_records(world.stores.records, tmp_path / "records.gz")
    lines = gzip.decompress((tmp_path / "records.gz").read_bytes()).splitlines(keepends=True)
    for number, kept in enumerate((lines[:-1], [*lines[:-2], lines[-1]], [*lines, lines[1]])):
        file = tmp_path / f"cut{number}.gz"
        file.write_bytes(gzip.compress(b"".join(kept)))
        with pytest.raises(ConfigurationError, match="damaged or incomplete"):
            import_records(world.stores.records, file)


def test_an_export_keeps_an_existing_file_and_leaves_none_behind(world: ReplayFixture, tmp_path: Path) -> None:
    world.poll_and_route(BOTH, SALES)
    file = tmp_path / "records.gz"
    file.write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already"):
        export_records(world.stores.records, file)
    assert file.read_text() == "mine"

    with pytest.raises(ConfigurationError, match="cannot be written"):
        export_records(world.stores.records, tmp_path / "missing" / "records.gz")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("records")] == ["records.gz"]


def test_an_export_is_readable_by_its_owner_alone(world: ReplayFixture, tmp_path: Path) -> None:
    export_records(world.stores.records, tmp_path / "records.gz")
    assert (tmp_path / "records.gz").stat().st_mode & 0o777 == 0o600


def test_the_commands_export_and_import(world: ReplayFixture, storage: str, tmp_path: Path) -> None:
    world.poll_and_route(BOTH, SALES, BILLING)
    before = all_records(world)
    settings, file = tmp_path / "settings.json", tmp_path / "records.gz"
    settings.write_text(json.dumps({"Values": {"AzureWebJobsStorage": storage}}))

    exported = CliRunner().invoke(cli, ["export", str(file), "--settings", str(settings)])
    lose_tables(world)
    imported = CliRunner().invoke(cli, ["import", str(file), "--settings", str(settings)])

    count = sum(map(len, before.values()))
    assert exported.output.splitlines()[-1] == f"exported {count} records to {file}"
    assert imported.output.splitlines()[-1] == f"imported {count} records; 0 existed already and were kept"
    assert all_records(world) == before
    refused = CliRunner().invoke(cli, ["export", str(file), "--settings", str(settings)])
    assert refused.exit_code != 0
    assert "exists already" in refused.output
