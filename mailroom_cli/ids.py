"""Ids and paths as operators write and read them: short ids, and paths with the store in front."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from shared.bootstrap import App
from shared.config import AppSettings
from shared.documents.blob_paths import RECORD_KINDS, RESULTS_PREFIX
from shared.operations.search import display_id, shorten_ids
from shared.receipts import Receipt
from shared.storage.base import Records
from shared.storage.location import StorageLocation

STORED_PREFIXES: Final = (
    *(f"{kind}/" for kind in RECORD_KINDS),
    RESULTS_PREFIX,
    "oversized/",
    "unreadable/",
    "messages/",
)
"""How the paths begin that name a stored message: of records, results, and messages."""


@dataclass(frozen=True, slots=True)
class ShortIds:
    """The displayed ids of some arrivals.

    Attributes:
        by_id: the shortest unique prefix of each id.
    """

    by_id: dict[str, str]

    @classmethod
    def of_ids(cls, records: Records, ids: Iterable[str]) -> ShortIds:
        """Return the short forms of ids, after one search of the store for equal prefixes."""
        return cls(shorten_ids(records, set(ids)))

    @classmethod
    def of_receipts(cls, records: Records, receipts: Iterable[Receipt]) -> ShortIds:
        """Return the short forms of the displayed ids of arrivals."""
        return cls.of_ids(records, map(display_id, receipts))

    def short(self, id_: str) -> str:
        """Return an id's short form."""
        return self.by_id.get(id_, id_)

    def shorten(self, text: str) -> str:
        """Return a path with the rest of its file name cut off after the short id of its message or arrival.

        Every command that takes paths takes this beginning of one.
        """
        folder, slash, name = text.rpartition("/")
        id_ = name.partition("-")[0].removesuffix(".json")
        short = self.by_id.get(id_, id_[:12])
        return f"{folder}{slash}{short}\N{HORIZONTAL ELLIPSIS}"


def path_in_store(app: App, text: str) -> str:
    """Return a path in the container from a path with the store in front of it: a folder, a URL, or the container.

    Args:
        app: supplies the location of the store.
        text: `unhandled/…`, `mailroom-demo/mail/unhandled/…`, an absolute path, or `https://…/mail/unhandled/…`.
    """
    text = text.strip().rstrip("\N{HORIZONTAL ELLIPSIS}")
    path = _without_folder(app.settings.mail_storage, text) or _without_url(app.settings, text)
    return (path or text).lstrip("/")


def is_in_folder(app: App, text: str) -> bool:
    """Return whether a text is a path within the store's folder."""
    return bool(_without_folder(app.settings.mail_storage, text.strip()))


def is_stored_path(path: str) -> bool:
    """Return whether a path in the container names a stored message, or is the beginning of such a path."""
    return path.startswith(STORED_PREFIXES)


def _without_folder(location: StorageLocation, text: str) -> str:
    """Return a path relative to the store's folder; empty if it is elsewhere or names the folder itself."""
    if location.folder is None or not text or "\0" in text:
        return ""
    text = text.removeprefix("folder:")
    ends = "/" if text.endswith("/") else ""
    # The first form keeps links in the path, which the settings may contain too.
    for convert in (os.path.abspath, os.path.realpath):
        folder, path = convert(location.folder), convert(text)
        if path.startswith(folder + os.sep):
            return path.removeprefix(folder + os.sep).replace(os.sep, "/") + ends
    return ""


def _without_url(settings: AppSettings, text: str) -> str:
    if settings.mail_storage.folder is not None:
        return ""
    container = f"{settings.mail_container}/"
    if text.startswith("https://"):
        return text.removeprefix("https://").partition("/")[2].partition(container)[2]
    return text.removeprefix(container) if is_stored_path(text.removeprefix(container)) else ""
