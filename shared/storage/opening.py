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
    """Open the storage.

    Args:
        app: the app's own: queues and leases.
        mail: blobs and records.
        container: the blob container; a folder has the mail directly in it.
    """
    with ExitStack() as closing:
        queues, leases = _app_side(app, closing)
        blobs, records = _mail_side(mail, container, closing)
        return Stores(blobs, records, queues, leases, closing.pop_all().close)


def _app_side(address: StorageAddress, closing: ExitStack) -> tuple[dict[str, Queue], Leases]:
    if address.folder is not None:
        database = _database(address.folder, closing)
        return {name: FolderQueue(database, name) for name in QueueName}, FolderLeases(database)
    from shared.storage.azure.leases import AzureLeases  # noqa: PLC0415
    from shared.storage.azure.queues import AzureQueue  # noqa: PLC0415

    account = _account(address, closing)
    return {name: AzureQueue(account, name) for name in QueueName}, AzureLeases(account)


def _mail_side(address: StorageAddress, container: str, closing: ExitStack) -> tuple[Blobs, Records]:
    if address.folder is not None:
        return FolderBlobs(address.folder), FolderRecords(_database(address.folder, closing))
    from shared.storage.azure.blobs import AzureBlobs  # noqa: PLC0415
    from shared.storage.azure.records import AzureRecords  # noqa: PLC0415

    account = _account(address, closing)
    return AzureBlobs(account, container), AzureRecords(account, container)


def _database(folder: Path, closing: ExitStack) -> Database:
    database = Database(folder / HIDDEN / "state.sqlite3")
    closing.callback(database.close)
    return database


def _account(address: StorageAddress, closing: ExitStack) -> Account:
    from shared.storage.azure.accounts import Account  # noqa: PLC0415  a folder needs none of the SDKs

    account = Account(address)
    closing.callback(account.close)
    return account
