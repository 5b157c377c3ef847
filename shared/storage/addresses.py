"""Where a storage is: the forms that a setting may have, and the Functions host's own for its account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

HOST_SETTING = "AzureWebJobsStorage"


@dataclass(frozen=True, slots=True)
class StorageAddress:
    """A storage's address. Its repr holds no secret.

    Attributes:
        setting: the setting that it comes from, for errors.
        folder: a folder of this machine; else None.
        connection_string: with its keys; else None.
        blob: the blob service's URL, where sign-in is by identity.
        queue: the queue service's.
        table: the table service's.
        client_id: of a user-assigned identity; None: the default one.
    """

    setting: str
    folder: Path | None = None
    connection_string: str | None = field(default=None, repr=False)
    blob: str | None = None
    queue: str | None = None
    table: str | None = None
    client_id: str | None = None

    @classmethod
    def parse(cls, text: str, *, setting: str) -> StorageAddress:
        """Read an address.

        Args:
            text: `folder:PATH`, `UseDevelopmentStorage=true`, a connection string, or
                `https://ACCOUNT.blob.core.windows.net`.
            setting: the setting's name.

        Raises:
            ValueError: it is none of these. The text does not repeat what was given: it may hold a key.
        """
        text = text.strip()
        if text.startswith("folder:"):
            path = text.removeprefix("folder:").strip()
            if not path:
                raise ValueError("names no folder; write folder:PATH")
            return cls(setting, folder=Path(path))
        if text.startswith("https://"):
            return cls._of_url(text, setting)
        parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
        names = {name.strip().lower() for name in parts}
        if (
            "usedevelopmentstorage" in names
            or "accountname" in names
            or any(name.endswith("endpoint") for name in names)
        ):
            return cls(setting, connection_string=text)
        raise ValueError(
            "is no storage; use folder:PATH, a connection string, UseDevelopmentStorage=true, "
            "or https://ACCOUNT.blob.core.windows.net"
        )

    @classmethod
    def _of_url(cls, text: str, setting: str) -> StorageAddress:
        parts = urlsplit(text)
        host = parts.hostname or ""
        if parts.query:
            raise ValueError("holds a signature; sign-in is by identity, give the address alone")
        if ".blob." not in host:
            raise ValueError("is no blob service's address; use https://ACCOUNT.blob.core.windows.net")
        before, after = host.split(".blob.", 1)
        blob, queue, table = (f"https://{before}.{name}.{after}" for name in ("blob", "queue", "table"))
        return cls(setting, blob=blob, queue=queue, table=table)


def app_storage(environment: Mapping[str, str]) -> StorageAddress:
    """The app's own storage, resolved as the Functions host resolves it.

    Args:
        environment: app settings; names are matched without case.

    Raises:
        ValueError: nothing is given, or what is given is no address.
    """
    given = {name.lower(): value.strip() for name, value in environment.items() if value.strip()}
    whole = given.get(HOST_SETTING.lower())
    if whole:
        return StorageAddress.parse(whole, setting=HOST_SETTING)

    def part(name: str) -> str | None:
        return given.get(f"{HOST_SETTING}__{name}".lower())

    account = part("accountName")

    def service(name: str) -> str | None:
        return part(f"{name}ServiceUri") or (f"https://{account}.{name}.core.windows.net" if account else None)

    blob, queue = service("blob"), service("queue")
    if blob is None or queue is None:
        raise ValueError(
            "is missing; set a connection string, UseDevelopmentStorage=true or folder:PATH, or "
            f"{HOST_SETTING}__accountName for sign-in by identity"
        )
    return StorageAddress(HOST_SETTING, blob=blob, queue=queue, table=service("table"), client_id=part("clientId"))
