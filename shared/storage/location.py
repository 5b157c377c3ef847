"""Where a storage is: the forms that a setting may have, and the Functions host's own for its account."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

HOST_SETTING = "AzureWebJobsStorage"

_DEVELOPMENT = "usedevelopmentstorage"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")


@dataclass(frozen=True, slots=True)
class StorageLocation:
    """A storage's address. Its repr holds no secret.

    Attributes:
        setting: the setting that it comes from, for errors.
        folder: a folder of this machine; else None.
        connection_string: with its keys; else None.
        blob: the blob service's URL, where sign-in is by identity.
        queue: the queue service's.
        table: the table service's.
        client_id: of a user-assigned identity; None: the default one.
        file_mode: the mode of new files in the folder.
    """

    setting: str
    folder: Path | None = None
    connection_string: str | None = field(default=None, repr=False)
    blob: str | None = None
    queue: str | None = None
    table: str | None = None
    client_id: str | None = None
    file_mode: int = 0o600

    @property
    def shown(self) -> str:
        """The address as it may be shown: without keys, and a folder's path absolute."""
        if self.folder is not None:
            return str(self.folder.absolute())
        if self.connection_string is None:
            return self.blob or ""
        pairs = [part.partition("=") for part in self.connection_string.split(";")]
        values = {name.strip().lower(): value.strip() for name, _, value in pairs}
        if _DEVELOPMENT in values:
            return "the storage emulator on this machine"
        account = values.get("accountname")
        return f"storage account {account}" if account else "the storage of a connection string"

    def below(self, folder: Path) -> StorageLocation:
        """Return the address with a relative folder taken as relative to `folder`."""
        if self.folder is None or self.folder.is_absolute():
            return self
        path = folder / self.folder
        return replace(self, folder=path.resolve() if ".." in path.parts else path)

    @classmethod
    def parse(cls, text: str, *, setting: str) -> StorageLocation:
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
            if not path or "\0" in path:
                raise ValueError("names no folder; write folder:PATH")
            return cls(setting, folder=Path(path))
        if text.lower().startswith("https://"):
            blob = _service_url(text)
            if urlsplit(blob).path or _beside(blob, "table") is None:
                raise ValueError("is no blob service's address; use https://ACCOUNT.blob.core.windows.net")
            return cls(setting, blob=blob, queue=_beside(blob, "queue"), table=_beside(blob, "table"))
        return cls(setting, connection_string=_connection_string(text))


def app_storage(environment: Mapping[str, str]) -> StorageLocation:
    """The app's own storage, resolved as the Functions host resolves it.

    `AzureWebJobsStorage` wins; else a service's own URI, and the account's name for those that have none. Which kind of
    identity signs in (`AzureWebJobsStorage__credential`) is not asked: the default credential tries the app's identity,
    and an operator's own sign-in.

    Args:
        environment: app settings; names are matched without case.

    Raises:
        ValueError: nothing is given, or what is given is no address.
    """
    given = {name.lower(): value.strip() for name, value in environment.items() if value.strip()}
    whole = given.get(HOST_SETTING.lower())
    if whole:
        return StorageLocation.parse(whole, setting=HOST_SETTING)

    def part(name: str) -> str | None:
        return given.get(f"{HOST_SETTING}__{name}".lower())

    account = part("accountName")
    if account is not None and not _ACCOUNT.fullmatch(account):
        raise ValueError("has no account's name in __accountName; it is 3 to 24 lower-case letters and digits")

    def service(name: str) -> str | None:
        uri = part(f"{name}ServiceUri")
        if uri is not None:
            return _service_url(uri)
        return None if account is None else f"https://{account}.{name}.core.windows.net"

    blob, queue = service("blob"), service("queue")
    if blob is None or queue is None:
        raise ValueError(
            "is missing; set a connection string, UseDevelopmentStorage=true or folder:PATH, or "
            f"{HOST_SETTING}__accountName for sign-in by identity"
        )
    # The host itself needs no tables; mail that is in the same account does.
    table = service("table") or _beside(blob, "table")
    return StorageLocation(HOST_SETTING, blob=blob, queue=queue, table=table, client_id=part("clientId"))


def _connection_string(text: str) -> str:
    """The text, if it is one: `Name=value` parts between semicolons that name an account, and prove a right to it."""
    pairs = [part.partition("=") for part in text.split(";") if part.strip()]
    values = {name.strip().lower(): value.strip() for name, _, value in pairs if value.strip()}
    if values.get(_DEVELOPMENT, "").lower() == "true":
        return text
    if len(values) < len(pairs) or not (
        "accountname" in values or "blobendpoint" in values or "tableendpoint" in values
    ):
        raise ValueError(
            "is no storage; use folder:PATH, a connection string, UseDevelopmentStorage=true, "
            "or https://ACCOUNT.blob.core.windows.net"
        )
    if "sharedaccesssignature" not in values and not {"accountname", "accountkey"} <= values.keys():
        raise ValueError("is a connection string without a key; copy it whole, with AccountName and AccountKey")
    return text


def _service_url(text: str) -> str:
    """A service's address without anything that could be, or that asks for, a secret."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is no storage's address; check it for a missing or a strange character") from None
    if parts.scheme.lower() != "https" or not parts.netloc:
        raise ValueError("is no https address; sign-in by identity needs one, as https://ACCOUNT.blob.core.windows.net")
    if "@" in parts.netloc:
        raise ValueError("holds a user's name; sign-in is by identity, give the address alone")
    if parts.query or parts.fragment:
        raise ValueError("holds a signature; sign-in is by identity, give the address alone")
    return f"https://{parts.netloc}{parts.path.rstrip('/')}"


def _beside(blob: str, service: str) -> str | None:
    """Another service's address, if the blob service's tells it: `https://ACCOUNT.blob.SUFFIX`, in any cloud."""
    account, between, suffix = blob.partition(".blob.")
    return f"{account}.{service}.{suffix}" if between and suffix else None
