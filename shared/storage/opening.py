"""From addresses to a storage. Nothing here asks the network: containers, tables and queues are made when first needed."""

from __future__ import annotations

from shared.storage.addresses import StorageAddress
from shared.storage.folder.blobs import HIDDEN, FolderBlobs
from shared.storage.folder.database import Database
from shared.storage.folder.leases import FolderLeases
from shared.storage.folder.queues import FolderQueue
from shared.storage.folder.records import FolderRecords
from shared.storage.protocol import Blobs, Leases, Queue, QueueName, Records, Stores


def open_stores(app: StorageAddress, mail: StorageAddress, container: str) -> Stores:
    """Open the storage.

    Args:
        app: the app's own: queues and leases.
        mail: blobs and records.
        container: the blob container; a folder has the mail directly in it.
    """
    queues, leases = _app_side(app)
    blobs, records = _mail_side(mail, container)
    return Stores(blobs, records, queues, leases)


def _app_side(address: StorageAddress) -> tuple[dict[str, Queue], Leases]:
    if address.folder is not None:
        database = Database(address.folder / HIDDEN / "state.sqlite3")
        return {name: FolderQueue(database, name) for name in QueueName}, FolderLeases(database)
    from shared.storage.azure.accounts import Account  # noqa: PLC0415  a folder needs none of the SDKs
    from shared.storage.azure.leases import AzureLeases  # noqa: PLC0415
    from shared.storage.azure.queues import AzureQueue  # noqa: PLC0415

    account = Account(address)
    return {name: AzureQueue(account, name) for name in QueueName}, AzureLeases(account)


def _mail_side(address: StorageAddress, container: str) -> tuple[Blobs, Records]:
    if address.folder is not None:
        return FolderBlobs(address.folder), FolderRecords(Database(address.folder / HIDDEN / "state.sqlite3"))
    from shared.storage.azure.accounts import Account  # noqa: PLC0415
    from shared.storage.azure.blobs import AzureBlobs  # noqa: PLC0415
    from shared.storage.azure.records import AzureRecords  # noqa: PLC0415

    account = Account(address)
    return AzureBlobs(account, container), AzureRecords(account, container)
