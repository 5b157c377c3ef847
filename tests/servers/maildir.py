"""A test's account on Dovecot, whose Maildir the tests write and read directly."""

from __future__ import annotations

import itertools
import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DOMAIN = "example.com"
UNSAFE = ("dovecot.index", "dovecot-uidlist")
"""The first characters of the files with UIDs and UIDVALIDITY. The server creates missing ones again."""

_serials = itertools.count(1)


@dataclass(frozen=True)
class User:
    """An account with its Maildir.

    Attributes:
        name: the login name; the address without its domain.
        password: its password.
        home: the path of its Maildir.
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
            folder: `INBOX` or another folder, created if it does not exist.
            flags: the flags of the messages.
            received: their INTERNALDATE, seconds since 1970.

        Returns:
            The number of messages.
        """
        maildir = self._make_maildir(folder)
        count = 0
        for data in mails:
            serial = next(_serials)
            size = len(data) + data.count(b"\n") - data.count(b"\r\n")
            name = f"{1_700_000_000 + serial}.M1P1.test,S={len(data)},W={size}"
            path = maildir / "tmp" / name
            path.write_bytes(data)
            os.chown(path, *nobody())
            if received is not None:
                os.utime(path, (received, received))
            path.rename(maildir / "cur" / f"{name}:2,{flags}" if flags else maildir / "new" / name)
            count += 1
        return count

    def left(self, folder: str = "INBOX") -> list[bytes]:
        """Return the messages that are in a folder now, oldest first."""
        return [path.read_bytes() for path in self.files(folder)]

    def files(self, folder: str = "INBOX") -> list[Path]:
        """Return the files of the messages that are in a folder now, oldest first."""
        maildir = self.home if folder == "INBOX" else self.home / f".{folder.replace('/', '.')}"
        files = [path for part in ("new", "cur") for path in (maildir / part).glob("*")]
        return sorted(files, key=lambda path: path.name)

    def flag(self, letters: str, *, folder: str = "INBOX") -> None:
        """Set the Maildir flags of every message in a folder."""
        for path in self.files(folder):
            path.rename(path.parent.parent / "cur" / f"{path.name.split(':')[0]}:2,{letters}")

    def new_uidvalidity(self, folder: str = "INBOX") -> None:
        """Make the server assign new UIDs to a folder's messages, with a new UIDVALIDITY."""
        for path in self._make_maildir(folder).iterdir():
            if path.name.startswith(UNSAFE):
                path.unlink()

    def _make_maildir(self, folder: str) -> Path:
        maildir = self.home if folder == "INBOX" else self.home / f".{folder.replace('/', '.')}"
        for part in (self.home, maildir, *(maildir / name for name in ("cur", "new", "tmp"))):
            if not part.is_dir():
                part.mkdir()
                os.chown(part, *nobody())
        return maildir


def nobody() -> tuple[int, int]:
    """Return the ids of the user `nobody` and its group, which own the mail."""
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid
