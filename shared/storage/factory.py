"""From addresses to a storage. Nothing here asks the network: containers and the like are made when first needed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from shared.storage.base import Blobs, Leases, Queue, QueueName, Records, Storage
from shared.storage.folder.absent import AbsentBlobs, AbsentLeases, AbsentQueue, AbsentRecords
from shared.storage.folder.blobs import HIDDEN, FolderBlobs
from shared.storage.folder.database import Database
from shared.storage.folder.in_use import DATABASE, StoreLock, is_store
from shared.storage.folder.leases import FolderLeases
from shared.storage.folder.modes import FileModes
from shared.storage.folder.queues import FolderQueue
from shared.storage.folder.records import FolderRecords
from shared.storage.location import StorageLocation

if TYPE_CHECKING:
    from shared.storage.azure.accounts import StorageAccount


def open_storage(app: StorageLocation, mail: StorageLocation, container: str, *, create: bool = True) -> Storage:
    """Open the storage.

    Args:
        app: the app's own: queues and leases.
        mail: blobs and records.
        container: the blob container; a folder has the mail directly in it.
        create: make a store in a folder that holds none. False: such a store is empty and nothing is made.

    Raises:
        ServiceUnavailable: a folder cannot be made or written to.
        ConfigurationError: an address lacks a part.
    """
    with ExitStack() as closing:
        opening = _Opening(closing, create=create)
        queues, leases = opening.app_side(app)
        blobs, records = opening.mail_side(mail, container)
        stores = Storage(blobs, records, queues, leases, closing.pop_all().close)
        stores = replace(stores, release_dead=opening.release_dead)
        return (
            replace(stores, remove_leftover_files=blobs.remove_leftover_files)
            if isinstance(blobs, FolderBlobs)
            else stores
        )


class _Opening:
    """Both sides often have one address; then they share what is behind it."""

    def __init__(self, closing: ExitStack, *, create: bool) -> None:
        self._closing = closing
        self._create = create
        self._databases: dict[Path, Database] = {}
        self._accounts: dict[StorageLocation, StorageAccount] = {}

    def release_dead(self) -> int:
        """Release what killed processes held in folders."""
        return sum(database.release_dead() for database in self._databases.values())

    def app_side(self, address: StorageLocation) -> tuple[dict[str, Queue], Leases]:
        if address.folder is not None:
            if self._absent(address.folder):
                return {name: AbsentQueue(address.folder) for name in QueueName}, AbsentLeases(address.folder)
            database = self._database(address.folder, FileModes(address.file_mode))
            return {name: FolderQueue(database, name) for name in QueueName}, FolderLeases(database)
        from shared.storage.azure.leases import AzureLeases  # noqa: PLC0415  a folder needs none of the SDKs
        from shared.storage.azure.queues import AzureQueue  # noqa: PLC0415

        account = self._account(address)
        return {name: AzureQueue(account, name) for name in QueueName}, AzureLeases(account)

    def mail_side(self, address: StorageLocation, container: str) -> tuple[Blobs, Records]:
        if address.folder is not None:
            if self._absent(address.folder):
                return AbsentBlobs(address.folder), AbsentRecords(address.folder)
            modes = FileModes(address.file_mode)
            # The database first: it is what makes a folder a store that is in use.
            records = FolderRecords(self._database(address.folder, modes))
            return FolderBlobs(address.folder, modes), records
        from shared.storage.azure.blobs import AzureBlobs  # noqa: PLC0415
        from shared.storage.azure.records import AzureRecords  # noqa: PLC0415

        account = self._account(address)
        return AzureBlobs(account, container), AzureRecords(account, container)

    def _absent(self, folder: Path) -> bool:
        return not self._create and folder.resolve() not in self._databases and not is_store(folder)

    def _database(self, folder: Path, modes: FileModes) -> Database:
        # One for both: writers of one process wait for each other in order, those of two by polling a lock.
        place = folder.resolve()
        if place not in self._databases:
            self._closing.callback(StoreLock(folder, modes).close)
            self._databases[place] = Database(folder / HIDDEN / DATABASE, modes)
            self._closing.callback(self._databases[place].close)
        return self._databases[place]

    def _account(self, address: StorageLocation) -> StorageAccount:
        from shared.storage.azure.accounts import StorageAccount  # noqa: PLC0415

        if address not in self._accounts:
            self._accounts[address] = StorageAccount(address)
            self._closing.callback(self._accounts[address].close)
        return self._accounts[address]
