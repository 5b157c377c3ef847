"""The little of IMAP's grammar that the bulk of the traffic needs (RFC 3501 section 9): pure, bytes in, values out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime

from imapclient import imap_utf7

from shared.mailboxes.imap.errors import ProtocolViolation

SET_LENGTH = 4000
"""Characters of a UID set at most: servers limit a command's line, Dovecot to 64 kB; RFC 7162 says 8,192 octets."""

_TOKEN = re.compile(rb'([()])|"([^"\\]*(?:\\.[^"\\]*)*)"|((?:[^\s()"\[]|\[[^\]]*\])+)')
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class Tokens:
    """Builds the value of one parenthesised list from the pieces between literals.

    The text of a response comes line by line with literals in between; each is given in turn.
    """

    def __init__(self) -> None:
        self._open: list[list[object]] = [[]]

    @property
    def done(self) -> bool:
        """Every parenthesis is closed."""
        return len(self._open) == 1

    @property
    def top(self) -> list[object]:
        """What the innermost open list holds by now."""
        return self._open[-1]

    @property
    def depth(self) -> int:
        """How many parentheses are open."""
        return len(self._open) - 1

    def text(self, piece: bytes) -> None:
        """Take text without literals."""
        for found in _TOKEN.finditer(piece):
            bracket, string, atom = found.groups()
            if bracket == b"(":
                self._open.append([])
            elif bracket:
                if self.done:
                    raise ProtocolViolation("a list is closed that was never opened")
                closed = self._open.pop()
                self._open[-1].append(closed)
            elif string is not None:
                self._open[-1].append(_ESCAPED.sub(rb"\1", string) if b"\\" in string else string)
            else:
                self._open[-1].append(None if atom.upper() == b"NIL" else atom)

    def literal(self, value: object) -> None:
        """Take what stands for a literal."""
        self._open[-1].append(value)


def uid_sets(uids: Iterable[int], length: int = SET_LENGTH) -> Iterator[bytes]:
    """UIDs as sets such as `1:5,7`, each at most `length` characters; a range never covers a UID that was not given."""
    ranges: list[list[int]] = []
    for uid in sorted(set(uids)):
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    line = b""
    for first, last in ranges:
        text = b"%d" % first if first == last else b"%d:%d" % (first, last)
        if line and len(line) + len(text) >= length:
            yield line
            line = b""
        line = line + b"," + text if line else text
    if line:
        yield line


def in_set(uid_set: bytes) -> Iterator[int]:
    """The UIDs of a set of numbers, such as `uid_sets` makes or a COPYUID code holds."""
    for part in uid_set.split(b","):
        first, _, last = part.partition(b":")
        low, high = sorted((int(first), int(last or first)))
        yield from range(low, high + 1)


def folder_name(name: str) -> bytes:
    """A folder's name as commands take it: modified UTF-7 (RFC 3501 section 5.1.3), quoted. Never has a line break."""
    return quoted_string(imap_utf7.encode(name))


def quoted_string(text: bytes) -> bytes:
    """A quoted string (RFC 3501 section 4.3).

    Raises:
        ValueError: it holds a line break or a NUL, which a quoted string cannot.
    """
    if re.search(rb"[\r\n\0]", text):
        raise ValueError("a line break or a NUL")
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def internal_date(text: bytes) -> datetime | None:
    """An INTERNALDATE such as `17-Jul-1996 02:44:25 -0700`; None if it cannot be read."""
    try:
        return parsedate_to_datetime(text.decode("ascii").strip())
    except (ValueError, TypeError, IndexError):
        return None
