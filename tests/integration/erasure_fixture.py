"""Helpers of the `forget` tests: settings, the command, and a dump of the storage."""

from __future__ import annotations

from mailroom_cli.commands.forget import ErasureResult, forget
from shared.storage.base import Storage, Table
from tests.integration.replay_fixture import BOTH, ReplayFixture, letter
from tests.servers.whole_table import whole_table

SUBJECT = "Chairs for the cellar"
TO_BOTH = letter("sales@example.com, billing@example.com").replace(b"Subject: 1", b"Subject: " + SUBJECT.encode())
KEEP = {**BOTH, "MAILBOXES__support__AFTER": "keep", "MAILBOXES__office__AFTER": "keep"}
OFFICE_ONLY = {
    "ROUTES__sales__ADDRESS": "sales@example.com",
    "ROUTES__sales__MAILBOX": "support",
    "ROUTES__billing__ADDRESS": "billing@example.com",
    "ROUTES__billing__MAILBOX": "office",
}


def run_forget(
    world: ReplayFixture, argument: str, *, really: bool = True, stores: Storage | None = None
) -> ErasureResult:
    app = world.app(BOTH, stores)
    return forget(app, argument, really=really, progress=lambda _done, _of: None, waiting=lambda _mailbox: None)


def dump_storage(stores: Storage) -> str:
    """Return the whole storage as one text: paths, blobs, and records.

    Of tombstones, which `sweep` deletes, the ids of the message and of its conversation are left out.
    """
    texts = [path + (stores.blobs.read(path) or b"").decode("latin-1") for path in stores.blobs.list()]
    for table in Table:
        for record in whole_table(stores.records, table):
            hidden = {"message", "conversation"} if table is Table.TOMBSTONES else set[str]()
            values = {name: value for name, value in record.values.items() if name not in hidden}
            texts.append(f"{record.key} {values}")
    return "\n".join(texts)
