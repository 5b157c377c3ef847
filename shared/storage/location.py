"""Locations of storages: parse `MAIL_STORAGE`, and the settings that the Functions host has for its own storage."""

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
    """The location of a storage. Its repr contains no secret.

    Attributes:
        setting: the setting that it was read from, for errors.
        folder: a folder of this machine; None: an Azure storage account.
        connection_string: the connection string, with its keys; None: sign-in by identity, or a folder.
        blob: the URL of the blob service, for sign-in by identity.
        queue: the URL of the queue service, likewise.
        table: the URL of the table service, likewise.
        client_id: the client id of a user-assigned identity; None: the default identity.
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
    def display_name(self) -> str:
        """The location to display: without keys, and with the absolute path of a folder."""
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

    def resolve_against(self, folder: Path) -> StorageLocation:
        """Return the location with a relative folder resolved against `folder`."""
        if self.folder is None or self.folder.is_absolute():
            return self
        path = folder / self.folder
        return replace(self, folder=path.resolve() if ".." in path.parts else path)

    @classmethod
    def parse(cls, text: str, *, setting: str) -> StorageLocation:
        """Parse a location.

        Args:
            text: `folder:PATH`, `UseDevelopmentStorage=true`, a connection string, or
                `https://ACCOUNT.blob.core.windows.net`.
            setting: the name of the setting.

        Raises:
            ValueError: the text has none of these forms. The error does not repeat the text, which may contain a key.
        """
        text = text.strip()
        if text.startswith("folder:"):
            path = text.removeprefix("folder:").strip()
            if not path or "\0" in path:
                raise ValueError("names no folder; write folder:PATH")
            return cls(setting, folder=Path(path))
        if text.lower().startswith("https://"):
            blob = _service_url(text)
            if urlsplit(blob).path or _sibling_url(blob, "table") is None:
                raise ValueError("is not the address of a blob service; use https://ACCOUNT.blob.core.windows.net")
            return cls(setting, blob=blob, queue=_sibling_url(blob, "queue"), table=_sibling_url(blob, "table"))
        return cls(setting, connection_string=_connection_string(text))


def app_storage(environment: Mapping[str, str]) -> StorageLocation:
    """Return the location of the app's own storage, resolved as the Functions host resolves it.

    `AzureWebJobsStorage` has priority. Without it, a service's own URI is used, or else the account's name.
    `AzureWebJobsStorage__credential` is ignored: the default credential tries the app's identity and an operator's
    own sign-in.

    Args:
        environment: app settings; their names are matched case-insensitively.

    Raises:
        ValueError: no location is set, or the location is invalid.
    """
    settings = {name.lower(): value.strip() for name, value in environment.items() if value.strip()}
    location = settings.get(HOST_SETTING.lower())
    if location:
        return StorageLocation.parse(location, setting=HOST_SETTING)

    def part(name: str) -> str | None:
        return settings.get(f"{HOST_SETTING}__{name}".lower())

    account = part("accountName")
    if account is not None and not _ACCOUNT.fullmatch(account):
        raise ValueError("has an invalid account name in __accountName; use 3 to 24 lower-case letters and digits")

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
    # The host itself needs no tables, so its settings may lack them. Mail in the same account needs them.
    table = service("table") or _sibling_url(blob, "table")
    return StorageLocation(HOST_SETTING, blob=blob, queue=queue, table=table, client_id=part("clientId"))


def _connection_string(text: str) -> str:
    """Return the text if it is a connection string that names an account and has a key or a signature."""
    pairs = [part.partition("=") for part in text.split(";") if part.strip()]
    values = {name.strip().lower(): value.strip() for name, _, value in pairs if value.strip()}
    if values.get(_DEVELOPMENT, "").lower() == "true":
        return text
    if len(values) < len(pairs) or not (
        "accountname" in values or "blobendpoint" in values or "tableendpoint" in values
    ):
        raise ValueError(
            "is not a storage location; use folder:PATH, a connection string, UseDevelopmentStorage=true, "
            "or https://ACCOUNT.blob.core.windows.net"
        )
    if "sharedaccesssignature" not in values and not {"accountname", "accountkey"} <= values.keys():
        raise ValueError(
            "is a connection string without a key; copy the complete string, with AccountName and AccountKey"
        )
    return text


def _service_url(text: str) -> str:
    """Return the URL of a service, normalised, if it contains no credentials and has no query."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is not a storage location; check it for a missing or an unexpected character") from None
    if parts.scheme.lower() != "https" or not parts.netloc:
        raise ValueError(
            "is not an https address; sign-in by identity needs one, such as https://ACCOUNT.blob.core.windows.net"
        )
    if "@" in parts.netloc:
        raise ValueError("contains a user name; sign-in is by identity, so remove everything up to the @")
    if parts.query or parts.fragment:
        raise ValueError("contains a signature; sign-in is by identity, so remove everything from the ? or # on")
    return f"https://{parts.netloc}{parts.path.rstrip('/')}"


def _sibling_url(blob: str, service: str) -> str | None:
    """Return the URL of another service of the account, or None if the blob service's URL does not reveal it.

    `https://ACCOUNT.blob.SUFFIX` does, in all Azure clouds.
    """
    account, separator, suffix = blob.partition(".blob.")
    return f"{account}.{service}.{suffix}" if separator and suffix else None
