"""The status of timers, which survives a restart: when each ran, and when it is due next."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from shared.errors import TransientError
from shared.storage.folder.modes import OWNER_ONLY, FileModes

if TYPE_CHECKING:
    from shared.storage.azure.accounts import StorageAccount

log = logging.getLogger("mailroom.host")

NEVER = datetime.min.replace(tzinfo=UTC)
"""The last run of a timer that has not run: year 1, as the Functions host writes it."""

CONTAINER = "azure-webjobs-hosts"
"""The container in which the Functions host keeps the status of timers."""

HOST_ID = "mailroom-local"
"""The host's name in that container. A function app in Azure has another one, so the two do not share a status."""


@dataclass(frozen=True, slots=True)
class TimerStatus:
    """The status of a timer.

    Attributes:
        last: when the last run began; `NEVER` if there was none.
        next: the next due time.
        last_updated: when the status was written.
    """

    last: datetime
    next: datetime
    last_updated: datetime

    def to_dict(self) -> dict[str, str]:
        """Return the status with the names and texts that the Functions host writes."""
        return {
            "Last": self.last.isoformat(),
            "Next": self.next.isoformat(),
            "LastUpdated": self.last_updated.isoformat(),
        }

    @classmethod
    def from_json(cls, text: str | bytes) -> TimerStatus | None:
        """Return the status in a JSON text; None if it is damaged."""
        try:
            values = json.loads(text)
            last, following, updated = (
                datetime.fromisoformat(values[name]) for name in ("Last", "Next", "LastUpdated")
            )
        except (KeyError, TypeError, ValueError):
            return None
        if any(when.tzinfo is None for when in (last, following, updated)):
            return None
        return cls(last, following, updated)


class TimerStatuses(Protocol):
    """Keeps the status of each timer across restarts. Methods never raise: a timer also runs without its status."""

    def read(self, timer: str) -> TimerStatus | None:
        """Return a timer's status; None if there is none, or it cannot be read."""

    def write(self, timer: str, status: TimerStatus) -> None:
        """Keep a timer's status."""


class NoStatuses:
    """Keeps nothing: after a restart, a timer waits for its next due time."""

    def read(self, timer: str) -> TimerStatus | None:
        """Return None."""
        del timer
        return None

    def write(self, timer: str, status: TimerStatus) -> None:
        """Do nothing."""


class StatusFolder:
    """A folder with a JSON file for each timer.

    Args:
        path: the folder, created with the first status; its parent must exist.
        modes: the modes of new files and of the folder.
    """

    def __init__(self, path: Path, modes: FileModes = OWNER_ONLY) -> None:
        self._path = path
        self._modes = modes

    def read(self, timer: str) -> TimerStatus | None:
        """Return a timer's status; None if there is none, or it cannot be read."""
        try:
            return TimerStatus.from_json((self._path / f"{timer}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def write(self, timer: str, status: TimerStatus) -> None:
        """Keep a timer's status. If it cannot be written, log a warning."""
        path = self._path / f"{timer}.json"
        new_file = path.with_suffix(f".{os.getpid()}.new")
        try:
            self._modes.make_folder(self._path)
            self._modes.make_file(new_file)
            new_file.write_text(json.dumps(status.to_dict()), "utf-8")
            new_file.replace(path)
        except OSError as error:
            log.warning("timer %s: its status cannot be written to %s: %s", timer, path, error.strerror)


class StatusBlobs:
    """A JSON blob for each timer, where and as the Functions host keeps it.

    Args:
        account: the app's own storage account.
        host_id: the host's name in the blobs' paths.
    """

    def __init__(self, account: StorageAccount, host_id: str = HOST_ID) -> None:
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415  folders need no Azure SDK

        from shared.storage.azure.errors import Service  # noqa: PLC0415
        from shared.storage.azure.lazy_create import LazyResource  # noqa: PLC0415

        self._missing: type[Exception] = ResourceNotFoundError
        self._container = account.blobs().get_container_client(CONTAINER)
        self._resource = LazyResource(account.setting, Service.BLOB, self._container.create_container)
        self._host_id = host_id

    def path(self, timer: str) -> str:
        """Return the path of a timer's blob."""
        return f"timers/{self._host_id}/{timer}/status"

    def read(self, timer: str) -> TimerStatus | None:
        """Return a timer's status; None if there is none, or it cannot be read."""
        try:
            with self._resource.used():
                try:
                    return TimerStatus.from_json(self._container.download_blob(self.path(timer)).readall())
                except self._missing:
                    return None
        except TransientError as error:
            log.warning("timer %s: its status cannot be read: %s", timer, error)
            return None

    def write(self, timer: str, status: TimerStatus) -> None:
        """Keep a timer's status. If it cannot be written, log a warning."""
        try:
            with self._resource.used():
                self._container.upload_blob(self.path(timer), json.dumps(status.to_dict()), overwrite=True)
        except TransientError as error:
            log.warning("timer %s: its status cannot be written: %s", timer, error)
