"""The demo's folder: marked before the demo fills it, and cleared only if it contains nothing but sample mail.

The marker file alone does not prove that, since a later `serve` may have stored real mail in the same folder. Therefore
the marker lists every message of the demo. If the folder has any other message, it is not cleared.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from shared.errors import ConfigurationError
from shared.storage.base import Table
from shared.storage.folder.blobs import HIDDEN
from shared.storage.folder.database import Database
from shared.storage.folder.fsync import make_folder
from shared.storage.folder.in_use import DATABASE, LOCK, exclusive_use
from shared.storage.folder.modes import OWNER_ONLY
from shared.storage.folder.records import FolderRecords

MARK: Final = ".mailroom-demo"
"""The marker file of a demo's folder: JSON with the messages' ids, the mailboxes' names, and the settings' digest."""

SETTINGS: Final = "local.settings.json"
"""The settings file that a demo leaves in its folder. The next demo removes it, unless it was changed."""

STORED: Final = frozenset(
    {"messages", "routed", "unhandled", "duplicates", "blocked", "failed", "oversized", "unreadable"}
)
"""The folders that a demo creates."""


def prepare(into: Path, messages: Iterable[bytes], mailboxes: Collection[str]) -> None:
    """Remove the files of an earlier demo, and mark the folder for this demo.

    Args:
        into: the folder; missing, empty, or left by an earlier demo.
        messages: all messages of this demo.
        mailboxes: names of this demo's mailboxes.

    Raises:
        ConfigurationError: the folder contains other files, is in use, or is not writable. Nothing was removed.
    """
    ids = sorted({hashlib.sha256(message).hexdigest() for message in messages})
    mark = json.dumps({"messages": ids, "mailboxes": sorted(mailboxes)})
    try:
        # Links are resolved once, so that all steps work on the same folder.
        folder = into.resolve(strict=into.is_symlink())
        if folder.exists() and not folder.is_dir():
            raise _refused(into, "is not a folder")
        make_folder(folder)
        if not any(folder.iterdir()):
            _write(folder / MARK, mark)
        if not (folder / MARK).is_file():
            raise _refused(into, f"is not empty and was not created by a demo: it has no {MARK}")
        OWNER_ONLY.make_folder(folder / HIDDEN)
        with exclusive_use(folder) as is_exclusive:
            if not is_exclusive:
                raise _refused(into, "is in use by another process")
            reason = _reason_to_keep(folder)
            if reason:
                raise _refused(into, reason)
            _clear(folder)
            _write(folder / HIDDEN / MARK, mark)
            # The new mark replaces the old one atomically: a crash at any point leaves a marked folder.
            (folder / HIDDEN / MARK).replace(folder / MARK)
    except FileExistsError:
        raise _refused(into, "is being used by another demo") from None
    except OSError as error:
        raise _refused(into, f"cannot be prepared: {error.strerror or error}") from None


def write_settings(into: Path, text: str) -> None:
    """Write the settings file of a finished demo. The mark gets its digest first: a crash leaves a marked folder.

    Raises:
        ConfigurationError: the folder is not writable.
    """
    folder = into.resolve()
    try:
        mark = json.loads((folder / MARK).read_bytes())
        mark["settings"] = hashlib.sha256(text.encode()).hexdigest()
        for name, content in ((MARK, json.dumps(mark)), (SETTINGS, text)):
            _write(folder / HIDDEN / name, content)
            (folder / HIDDEN / name).replace(folder / name)
    except OSError as error:
        raise ConfigurationError(f"{into}/{SETTINGS} cannot be written: {error.strerror or error}") from None


def _clear(folder: Path) -> None:
    """Remove everything except the mark and the lock, which stops other processes from opening the store."""
    for name in STORED:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    (folder / SETTINGS).unlink(missing_ok=True)
    for entry in (folder / HIDDEN).iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def _reason_to_keep(folder: Path) -> str:
    """Return why a marked folder must not be cleared; "" if only a demo wrote into it."""
    entries = [path.name for path in folder.iterdir()]
    others = sorted(name for name in entries if name not in STORED | {HIDDEN, MARK, SETTINGS})
    links = sorted(name for name in entries if (folder / name).is_symlink())
    files = sorted(name for name in entries if name not in (MARK, SETTINGS) and not (folder / name).is_dir())
    if others or links or files:
        return f"contains {(others or links or files)[0]}, which no demo wrote"
    mark = _read_mark(folder / MARK)
    if mark is None:
        return f"has an unreadable {MARK}"
    messages, mailboxes, settings = mark
    if SETTINGS in entries and hashlib.sha256((folder / SETTINGS).read_bytes()).hexdigest() != settings:
        return f"has a {SETTINGS} that was changed since the demo"
    if any(path.name.removesuffix(".eml") not in messages for path in folder.glob("messages/*/*")):
        return "contains mail that is not sample mail"
    if any(message not in messages or name not in mailboxes for message, name in _stored_names(folder)):
        return "has records of mail or mailboxes that are not the demo's"
    return ""


def _stored_names(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the message id, or "*", and the mailbox of each record in the store."""
    path = folder / HIDDEN / DATABASE
    if not path.is_file():
        return
    with closing(Database(path)) as database:
        records = FolderRecords(database)
        for record in records.scan(Table.RECEIPTS):
            # A message that was never downloaded has no id; "*" is used in its place.
            yield str(record.values.get("message") or "*"), str(record.values.get("mailbox"))
        for record in records.scan(Table.MAILBOXES):
            # Every polled mailbox has a record with its name. Other records of a mailbox have none.
            if "name" in record.values:
                yield "*", str(record.values["name"])


def _read_mark(path: Path) -> tuple[frozenset[str], frozenset[str], str] | None:
    """Return the messages' ids, the mailboxes' names and the settings' digest; None if the mark is not a demo's."""
    try:
        mark = json.loads(path.read_bytes())
        return frozenset([*mark["messages"], "*"]), frozenset(mark["mailboxes"]), str(mark.get("settings", ""))
    except (ValueError, TypeError, KeyError):
        return None


def _write(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, OWNER_ONLY.file)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _refused(into: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{into} {reason}; nothing was removed. Name another folder with --into, or delete this folder yourself"
    )
