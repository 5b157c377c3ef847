"""Open a storage by its locations. This needs no network: containers and tables are created on first use."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.errors import ConfigurationError
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

FOLDER_PARALLEL: Final = 8
"""Operations at once of the messages that are routed. More threads take more CPU time and are not faster."""


def open_storage(app: StorageLocation, mail: StorageLocation, container: str, *, create: bool = True) -> Storage:
    """Open the storage.

    Args:
        app: the location of queues and leases: the Functions app's own storage.
        mail: the location of blobs and records.
        container: the blob container. In a folder, the mail is directly in the folder.
        create: create the store in a folder that has none. False: such a store reads as empty; nothing is created.

    Raises:
        ServiceUnavailable: a folder cannot be created or written to.
        ConfigurationError: a location is incomplete, or is a file.
    """
    for location in dict.fromkeys((app, mail)):
        _refuse_file(location)
    with ExitStack() as closing:
        opener = _Opener(closing, create=create)
        queues, leases = opener.open_app_side(app)
        blobs, records = opener.open_mail_side(mail, container)
        storage = Storage(blobs, records, queues, leases, closing.pop_all().close, release_dead=opener.release_dead)
        if isinstance(blobs, FolderBlobs):
            storage = replace(storage, remove_leftover_files=blobs.remove_leftover_files, parallel=FOLDER_PARALLEL)
        return storage


def _refuse_file(location: StorageLocation) -> None:
    """Raise an error if the location's folder, or a folder above it, is a file."""
    if location.folder is None:
        return
    folder = location.folder.absolute()
    for path in (folder, *folder.parents):
        # Not the methods of `Path`: they raise an error for a path that may not be read.
        if os.path.lexists(path) and not os.path.isdir(path):  # noqa: PTH112
            raise ConfigurationError(
                f"{location.setting}: {path} is a file and not a folder; write folder:PATH with the path of a folder, "
                "which need not exist yet"
            )


class _Opener:
    """Opens both sides of a storage. Sides with the same location share a database or an account."""

    def __init__(self, closing: ExitStack, *, create: bool) -> None:
        self._closing = closing
        self._create = create
        self._databases: dict[Path, Database] = {}
        self._accounts: dict[StorageLocation, StorageAccount] = {}

    def release_dead(self) -> int:
        """Release the messages and leases of killed processes in folders, and return their number."""
        return sum(database.release_dead() for database in self._databases.values())

    def open_app_side(self, location: StorageLocation) -> tuple[dict[str, Queue], Leases]:
        """Open queues and leases."""
        if location.folder is not None:
            if self._is_absent(location.folder):
                return {name: AbsentQueue(location.folder) for name in QueueName}, AbsentLeases(location.folder)
            database = self._database(location.folder, FileModes(location.file_mode))
            return {name: FolderQueue(database, name) for name in QueueName}, FolderLeases(database)
        from shared.storage.azure.leases import AzureLeases  # noqa: PLC0415  a folder needs no Azure SDK
        from shared.storage.azure.queues import AzureQueue  # noqa: PLC0415

        account = self._account(location)
        return {name: AzureQueue(account, name) for name in QueueName}, AzureLeases(account)

    def open_mail_side(self, location: StorageLocation, container: str) -> tuple[Blobs, Records]:
        """Open blobs and records."""
        if location.folder is not None:
            if self._is_absent(location.folder):
                return AbsentBlobs(location.folder), AbsentRecords(location.folder)
            modes = FileModes(location.file_mode)
            # The database comes first: opening it marks the folder as a store that is in use.
            records = FolderRecords(self._database(location.folder, modes))
            return FolderBlobs(location.folder, modes), records
        from shared.storage.azure.blobs import AzureBlobs  # noqa: PLC0415
        from shared.storage.azure.records import AzureRecords  # noqa: PLC0415

        account = self._account(location)
        return AzureBlobs(account, container), AzureRecords(account, container)

    def _is_absent(self, folder: Path) -> bool:
        return not self._create and folder.resolve() not in self._databases and not is_store(folder)

    def _database(self, folder: Path, modes: FileModes) -> Database:
        # Both sides share an instance: its writers wait in order, while separate instances poll SQLite's lock.
        resolved = folder.resolve()
        if resolved not in self._databases:
            self._closing.callback(StoreLock(folder, modes).close)
            self._databases[resolved] = Database(folder / HIDDEN / DATABASE, modes)
            self._closing.callback(self._databases[resolved].close)
        return self._databases[resolved]

    def _account(self, location: StorageLocation) -> StorageAccount:
        from shared.storage.azure.accounts import StorageAccount  # noqa: PLC0415

        if location not in self._accounts:
            self._accounts[location] = StorageAccount(location)
            self._closing.callback(self._accounts[location].close)
        return self._accounts[location]
