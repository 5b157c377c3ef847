"""Where the settings store, as the commands show it."""

from __future__ import annotations

from collections.abc import Iterator

from shared.config import AppSettings
from shared.errors import ServiceUnavailable
from shared.storage.folder.in_use import is_store
from shared.storage.location import StorageLocation

ABSENT = "the store does not exist yet: nothing was collected into it"


def storage_lines(settings: AppSettings) -> Iterator[str]:
    """Yield a line for each storage: its address without keys, and whether a folder holds no store yet.

    Raises:
        ServiceUnavailable: a folder cannot be read.
    """
    app, mail = settings.app_storage, settings.mail_storage
    if app.display_name == mail.display_name:
        yield f"storage: {_described(mail)}"
    else:
        yield f"storage of mail: {_described(mail)}"
        yield f"storage of queues and leases: {_described(app)}"


def absent_lines(*addresses: StorageLocation) -> Iterator[str]:
    """Yield a line for each folder that holds no store yet.

    Raises:
        ServiceUnavailable: a folder cannot be read.
    """
    for address in dict.fromkeys(addresses):
        if _is_absent(address):
            yield f"{address.display_name}: {ABSENT}"


def require_store(*addresses: StorageLocation) -> None:
    """Return if each address is one of a store that exists. In Azure it is taken to exist.

    Raises:
        ServiceUnavailable: a folder holds no store, or cannot be read.
    """
    for line in absent_lines(*addresses):
        raise ServiceUnavailable(line)


def _described(address: StorageLocation) -> str:
    return f"{address.display_name} ({ABSENT})" if _is_absent(address) else address.display_name


def _is_absent(address: StorageLocation) -> bool:
    return address.folder is not None and not is_store(address.folder)
