"""From addresses to a storage. Nothing here asks the network: containers and the like are made when first needed."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from shared.storage.addresses import StorageAddress
from shared.storage.folder.blobs import HIDDEN, FolderBlobs
from shared.storage.folder.database import Database
from shared.storage.folder.leases import FolderLeases
from shared.storage.folder.queues import FolderQueue
from shared.storage.folder.records import FolderRecords
from shared.storage.protocol import Blobs, Leases, Queue, QueueName, Records, Stores

if TYPE_CHECKING:
    from shared.storage.azure.accounts import Account


def open_stores(app: StorageAddress, mail: StorageAddress, container: str) -> Stores:
    """Open the storage. A folder is made if it is not there.

    Args:
        app: the app's own: queues and leases.
        mail: blobs and records.
        container: the blob container; a folder has the mail directly in it.

    Raises:
        ServiceUnavailable: a folder cannot be made or written to.
        SettingsWrong: an address lacks a part.
    """
    with ExitStack() as closing:
        opening = _Opening(closing)
        queues, leases = opening.app_side(app)
        blobs, records = opening.mail_side(mail, container)
        return Stores(blobs, records, queues, leases, closing.pop_all().close)


class _Opening:
    """Both sides often have one address; then they share what is behind it."""

    def __init__(self, closing: ExitStack) -> None:
        self._closing = closing
        self._databases: dict[Path, Database] = {}
        self._accounts: dict[StorageAddress, Account] = {}

    def app_side(self, address: StorageAddress) -> tuple[dict[str, Queue], Leases]:
        if address.folder is not None:
            database = self._database(address.folder)
            return {name: FolderQueue(database, name) for name in QueueName}, FolderLeases(database)
        from shared.storage.azure.leases import AzureLeases  # noqa: PLC0415  a folder needs none of the SDKs
        from shared.storage.azure.queues import AzureQueue  # noqa: PLC0415

        account = self._account(address)
        return {name: AzureQueue(account, name) for name in QueueName}, AzureLeases(account)

    def mail_side(self, address: StorageAddress, container: str) -> tuple[Blobs, Records]:
        if address.folder is not None:
            return FolderBlobs(address.folder), FolderRecords(self._database(address.folder))
        from shared.storage.azure.blobs import AzureBlobs  # noqa: PLC0415
        from shared.storage.azure.records import AzureRecords  # noqa: PLC0415

        account = self._account(address)
        return AzureBlobs(account, container), AzureRecords(account, container)

    def _database(self, folder: Path) -> Database:
        # One for both: writers of one process wait for each other in order, those of two by polling a lock.
        place = folder.resolve()
        if place not in self._databases:
            self._databases[place] = Database(folder / HIDDEN / "state.sqlite3")
            self._closing.callback(self._databases[place].close)
        return self._databases[place]

    def _account(self, address: StorageAddress) -> Account:
        from shared.storage.azure.accounts import Account  # noqa: PLC0415

        if address not in self._accounts:
            self._accounts[address] = Account(address)
            self._closing.callback(self._accounts[address].close)
        return self._accounts[address]
