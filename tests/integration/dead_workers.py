"""Workers that began before an erasure, write after it, and die: what the tests of rule 8.5 share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count

from shared.bootstrap import App
from shared.clock import utc_now
from shared.errors import MessageMissing, ServiceUnavailable
from shared.operations.erasure import Eraser
from shared.queue_messages import RouteRequest
from shared.receipts import Receipt
from shared.storage.base import Storage, Table
from tests.end_to_end.command import identity
from tests.integration.erasure_fixture import dump_storage, run_forget
from tests.integration.replay_fixture import BOTH, ReplayFixture
from tests.integration.stored_arrivals import current_receipt, store_batch
from tests.integration.test_erasure_batches import AtOperation
from tests.servers.faults import ProcessKilled
from tests.servers.whole_table import whole_table
from tests.sizes import size

Routes = Mapping[str, str]


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
            for record in whole_table(stores.records, table)
            if record.values.get("owner") != ""  # The place of an erased claim on a Message-ID stays.
        }
    return content


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
