"""The demonstration's folder: marked before it is filled, and cleared only if nothing but sample mail is in it.

Losing mail is the worst that Mailroom can do. So the mark alone does not do: a later `serve` may have collected into
the same folder. The mark names every message of the demonstration, and any other message keeps the folder as it is.
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
"""The file that marks a demonstration's folder: JSON with the messages' ids and the mailboxes' names."""

STORED: Final = frozenset(
    {"messages", "routed", "unhandled", "duplicates", "blocked", "failed", "oversized", "unreadable"}
)
"""The folders that a demonstration leaves."""


def prepare(into: Path, messages: Iterable[bytes], mailboxes: Collection[str]) -> None:
    """Clear what an earlier demonstration left, and mark the folder for this one.

    Args:
        into: the folder; missing, empty, or an earlier demonstration's.
        messages: all messages of this demonstration.
        mailboxes: the names of its mailboxes.

    Raises:
        ConfigurationError: the folder holds something else, is in use, or cannot be written to. Nothing was removed.
    """
    ids = sorted({hashlib.sha256(message).hexdigest() for message in messages})
    mark = json.dumps({"messages": ids, "mailboxes": sorted(mailboxes)})
    try:
        # Links are followed once, so that all steps are about the same folder.
        folder = into.resolve(strict=into.is_symlink())
        if folder.exists() and not folder.is_dir():
            raise _refused(into, "is not a folder")
        make_folder(folder)
        if not any(folder.iterdir()):
            _write(folder / MARK, mark)
        if not (folder / MARK).is_file():
            raise _refused(into, f"is not empty and not a demonstration's: it has no {MARK}")
        OWNER_ONLY.make_folder(folder / HIDDEN)
        with exclusive_use(folder) as alone:
            if not alone:
                raise _refused(into, "is in use by another process")
            reason = _reason_to_keep(folder)
            if reason:
                raise _refused(into, reason)
            _clear(folder)
            _write(folder / HIDDEN / MARK, mark)
            # The old mark stays until the new one is whole: killed at any point, this leaves a marked folder.
            (folder / HIDDEN / MARK).replace(folder / MARK)
    except FileExistsError:
        raise _refused(into, "was just taken by another demonstration") from None
    except OSError as error:
        raise _refused(into, f"cannot be prepared: {error.strerror or error}") from None


def _clear(folder: Path) -> None:
    """Remove all but the mark and the lock, which keeps other processes from opening the store meanwhile."""
    for name in STORED:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    for entry in (folder / HIDDEN).iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def _reason_to_keep(folder: Path) -> str:
    """Return why a marked folder must not be cleared; "" if only a demonstration wrote into it."""
    entries = [path.name for path in folder.iterdir()]
    others = sorted(name for name in entries if name not in STORED | {HIDDEN, MARK})
    links = sorted(name for name in entries if (folder / name).is_symlink())
    files = sorted(name for name in entries if name != MARK and not (folder / name).is_dir())
    if others or links or files:
        return f"holds {(others or links or files)[0]}, which no demonstration wrote"
    known = _read_mark(folder / MARK)
    if known is None:
        return f"has a {MARK} that cannot be read"
    messages, mailboxes = known
    if any(path.name not in messages for path in folder.glob("messages/*/*")):
        return "holds mail that is not a demonstration's"
    if any(message not in messages or name not in mailboxes for message, name in _recorded(folder)):
        return "has records of mail or mailboxes that are not a demonstration's"
    return ""


def _recorded(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the messages, or "*", and the mailboxes that the store has records of."""
    path = folder / HIDDEN / DATABASE
    if not path.is_file():
        return
    with closing(Database(path)) as database:
        records = FolderRecords(database)
        for record in records.scan(Table.RECEIPTS):
            # A message that was never downloaded has no id.
            yield str(record.values.get("message") or "*"), str(record.values.get("mailbox"))
        for record in records.scan(Table.MAILBOXES):
            # Every mailbox that was polled has a record with its name; some have others without.
            if "name" in record.values:
                yield "*", str(record.values["name"])


def _read_mark(path: Path) -> tuple[frozenset[str], frozenset[str]] | None:
    try:
        mark = json.loads(path.read_bytes())
        return frozenset([*mark["messages"], "*"]), frozenset(mark["mailboxes"])
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
        f"{into} {reason}; nothing was removed. Name another folder with --into, or remove this one yourself"
    )
