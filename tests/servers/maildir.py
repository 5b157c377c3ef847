"""A test's account on Dovecot: its mail as it lies on the disk, where it is put and looked at without the server."""

from __future__ import annotations

import itertools
import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DOMAIN = "example.com"
UNSAFE = ("dovecot.index", "dovecot-uidlist")
"""What a folder's UIDs and UIDVALIDITY are in; they are made anew where they are gone."""

_serials = itertools.count(1)


@dataclass(frozen=True)
class User:
    """One account, and its mail as it lies on the disk.

    Attributes:
        name: the login name; the address without its domain.
        password: its password.
        home: its Maildir.
    """

    name: str
    password: str
    home: Path

    @property
    def address(self) -> str:
        return f"{self.name}@{DOMAIN}"

    def deliver(
        self, mails: Iterable[bytes], *, folder: str = "INBOX", flags: str = "", received: float | None = None
    ) -> int:
        """Put messages (CRLF line ends) into a folder, in order; `flags` are Maildir letters (S seen, T deleted).

        Args:
            mails: the messages' bytes.
            folder: `INBOX` or another's name; made if it is not there.
            flags: what the messages are flagged with at once.
            received: their INTERNALDATE, seconds since 1970.

        Returns:
            How many there were.
        """
        place = self._place(folder)
        count = 0
        for data in mails:
            serial = next(_serials)
            size = len(data) + data.count(b"\n") - data.count(b"\r\n")
            name = f"{1_700_000_000 + serial}.M1P1.test,S={len(data)},W={size}"
            path = place / "tmp" / name
            path.write_bytes(data)
            os.chown(path, *nobody())
            if received is not None:
                os.utime(path, (received, received))
            path.rename(place / "cur" / f"{name}:2,{flags}" if flags else place / "new" / name)
            count += 1
        return count

    def left(self, folder: str = "INBOX") -> list[bytes]:
        """The messages that are in a folder now, oldest first."""
        return [path.read_bytes() for path in self.files(folder)]

    def files(self, folder: str = "INBOX") -> list[Path]:
        """The files of the messages that are in a folder now, oldest first."""
        place = self.home if folder == "INBOX" else self.home / f".{folder.replace('/', '.')}"
        found = [path for part in ("new", "cur") for path in (place / part).glob("*")]
        return sorted(found, key=lambda path: path.name)

    def flag(self, letters: str, *, folder: str = "INBOX") -> None:
        """Give every message of a folder these Maildir flags."""
        for path in self.files(folder):
            path.rename(path.parent.parent / "cur" / f"{path.name.split(':')[0]}:2,{letters}")

    def new_uidvalidity(self, folder: str = "INBOX") -> None:
        """Make the server number a folder's messages anew, under another UIDVALIDITY."""
        for path in self._place(folder).iterdir():
            if path.name.startswith(UNSAFE):
                path.unlink()

    def _place(self, folder: str) -> Path:
        place = self.home if folder == "INBOX" else self.home / f".{folder.replace('/', '.')}"
        for part in (self.home, place, *(place / name for name in ("cur", "new", "tmp"))):
            if not part.is_dir():
                part.mkdir()
                os.chown(part, *nobody())
        return place


def nobody() -> tuple[int, int]:
    """The user and group that own the mail."""
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid
