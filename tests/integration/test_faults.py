"""Rule 8.1: fault injection of every kind at every step loses nothing and duplicates nothing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from shared.config import MailboxSettings
from shared.documents.blob_paths import raw_path
from shared.mailboxes.base import Mailbox
from shared.receipts import Receipt, State
from shared.storage.base import Storage, Table
from shared.storage.factory import open_storage
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled, failure_points, failure_points_of_kind
from tests.servers.memory_app import TWO_MAILBOXES, app_on, let_time_pass, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.pump import poll, work_until_idle
from tests.servers.whole_table import whole_table


def letter(to: str, number: int) -> bytes:
    head = f"From: a@b.example\r\nTo: {to}\r\nSubject: {number}\r\nMessage-ID: <{number}@b.example>\r\n"
    return f"{head}\r\n{number}\r\n".encode()


BOTH = letter("sales@example.com, support@example.com, office@example.com", 1)
"""In both mailboxes: the route of sales@ applies to all mailboxes, the other two to one mailbox each."""
ALONE = letter("support@example.com", 2)
NOBODY = letter("nobody@example.com", 3)
OFFICE = letter("office@example.com", 4)

SUPPORT_MAIL = (BOTH, ALONE, NOBODY, ALONE)
OFFICE_MAIL = (BOTH, OFFICE)


def identity(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


EXPECTED = Counter(
    [
        ("sales", "sales@example.com", identity(BOTH)),
        ("support", "support@example.com", identity(BOTH)),
        ("office", "office@example.com", identity(BOTH)),
        ("support", "support@example.com", identity(ALONE)),
        ("office", "office@example.com", identity(OFFICE)),
    ]
)
UNHANDLED = Counter([identity(NOBODY)])


class FaultFixture:
    """Two mailboxes and a storage, which survive crashes of the processes that work on them."""

    def __init__(self, folder: Path, *, commits: bool = False, has_keys: bool = True) -> None:
        self.folder = folder
        self.violations: list[str] = []
        self.settings = settings_for(f"folder:{folder}", TWO_MAILBOXES)
        self.servers = {
            name: MemoryServer(commits=commits, has_keys=has_keys, before_removal=self._must_be_stored)
            for name in ("support", "office")
        }
        self.servers["support"].deliver(*SUPPORT_MAIL)
        self.servers["office"].deliver(*OFFICE_MAIL)
        self.truth = open_storage(self.settings.app_storage, self.settings.mail_storage, "mail")

    def has_mail(self) -> bool:
        """Return whether any mailbox has messages."""
        return any(server.messages for server in self.servers.values())

    def connect(self, settings: MailboxSettings, faults: FaultInjector | None) -> Mailbox:
        """Return a session whose operations may fail."""
        session = self.servers[settings.name].open()
        return session if faults is None else faults.mailbox(session)

    def run(self, faults: FaultInjector | None = None) -> None:
        """Run one process: poll both mailboxes, route until idle."""
        stores = self.truth if faults is None else faults.stores(self.truth)

        app = app_on(self.settings, lambda settings: self.connect(settings, faults), stores=stores)
        with suppress(ProcessKilled, Exception):
            poll(app, "support", "office")
            work_until_idle(app)
        if faults is None:
            poll(app, "support", "office")
            work_until_idle(app)
            app.router.sweep(timedelta(0))
            work_until_idle(app)

    def _must_be_stored(self, data: bytes) -> None:
        # Recorded and not raised: a poll never raises.
        message = identity(data)
        if self.truth.blobs.read(raw_path(message)) != data:
            self.violations.append("removed before its bytes were stored")
        receipts = [Receipt.from_record(record) for record in whole_table(self.truth.records, Table.RECEIPTS)]
        if message not in {receipt.message for receipt in receipts}:
            self.violations.append("removed before it had a receipt")


def read_json(stores: Storage, path: str) -> dict[str, object]:
    data = stores.blobs.read(path)
    assert data is not None
    read = json.loads(data)
    assert isinstance(read, dict)
    return read


def assert_removals_are_recorded(fixture: FaultFixture) -> None:
    """Check that the receipts of removed messages say so, if the servers' keys show it."""
    if all(server.has_keys for server in fixture.servers.values()):
        receipts = [Receipt.from_record(record) for record in whole_table(fixture.truth.records, Table.RECEIPTS)]
        assert all(receipt.removed for receipt in receipts)


def assert_nothing_lost_nothing_doubled(fixture: FaultFixture) -> None:
    stores = fixture.truth
    assert fixture.violations == []
    assert not fixture.has_mail()
    for data in {*SUPPORT_MAIL, *OFFICE_MAIL}:
        assert stores.blobs.read(raw_path(identity(data))) == data
    results = [read_json(stores, path) for path in stores.blobs.list("routed/")]
    assert Counter((result["route"], result["recipient"], result["message"]) for result in results) == EXPECTED
    for result in results:
        paths = result["paths"]
        assert isinstance(paths, dict)
        assert stores.blobs.exists(paths["raw"])
        assert stores.blobs.exists(paths["message"])
    unhandled = [read_json(stores, path) for path in stores.blobs.list("unhandled/")]
    assert Counter(item["message"] for item in unhandled) == UNHANDLED
    receipts = [Receipt.from_record(record) for record in whole_table(stores.records, Table.RECEIPTS)]
    assert {receipt.state for receipt in receipts} == {State.ROUTED}
    assert not whole_table(stores.records, Table.OUTBOX)


def operations(**kind: bool) -> list[str]:
    """Return the names of the operations of an undisturbed run."""
    with TemporaryDirectory() as folder:
        fixture = FaultFixture(Path(folder), **kind)
        faults = FaultInjector()
        fixture.run(faults)
        fixture.run()
        assert_nothing_lost_nothing_doubled(fixture)
        fixture.truth.close()
        return faults.names


KINDS = {
    "imap": {},
    "pop3": {"commits": True},
    "pop3-without-uidl": {"commits": True, "has_keys": False},
}


@pytest.mark.parametrize("way", FailureMode, ids=lambda way: way.value.replace(" ", "-"))
@pytest.mark.parametrize("kind", KINDS)
def test_8_1_a_fault_at_every_step(kind: str, way: FailureMode, tmp_path: Path) -> None:
    """The four modes together use every operation. `make test-soak` uses every operation in every mode."""
    undisturbed = operations(**KINDS[kind])
    assert len(undisturbed) > 100
    fault_at = partial(FaultInjector, way=way)
    is_first = kind == "imap"
    for at in failure_points(undisturbed, way) if is_first else failure_points_of_kind(undisturbed, way):
        folder = tmp_path / str(at)
        fixture = FaultFixture(folder, **KINDS[kind])
        faults = fault_at(at)
        fixture.run(faults)
        let_time_pass(folder)
        fixture.run()
        name = faults.names[at - 1] if len(faults.names) >= at else "(not reached)"
        try:
            assert_nothing_lost_nothing_doubled(fixture)
            assert_removals_are_recorded(fixture)
        except AssertionError as error:
            raise AssertionError(f"after operation {at} of {len(undisturbed)}, {name}, {way.value}: {error}") from error
        finally:
            fixture.truth.close()
