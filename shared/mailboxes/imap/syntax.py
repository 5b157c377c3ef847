"""The part of IMAP's grammar that listings, downloads and removals need (RFC 3501 section 9), without I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime

from imapclient import imap_utf7

from shared.mailboxes.imap.errors import ProtocolViolation

MAX_SET_LENGTH = 4000
"""Characters of a UID set at most. Command lines are limited: by Dovecot to 64 kB, by RFC 7162 section 4 to 8,192."""

_TOKEN = re.compile(rb'([()])|"([^"\\]*(?:\\.[^"\\]*)*)"|((?:[^\s()"\[]|\[[^\]]*\])+)')
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


class ListParser:
    """An incremental parser of parenthesised lists.

    A response consists of lines with literals between them. The caller feeds each line and each literal in turn.
    """

    def __init__(self) -> None:
        self._open: list[list[object]] = [[]]

    @property
    def is_complete(self) -> bool:
        """Whether every parenthesis is closed."""
        return len(self._open) == 1

    @property
    def current(self) -> list[object]:
        """The values so far of the innermost open list."""
        return self._open[-1]

    @property
    def depth(self) -> int:
        """Number of open parentheses."""
        return len(self._open) - 1

    def feed_text(self, text: bytes) -> None:
        """Parse text without literals."""
        for match in _TOKEN.finditer(text):
            bracket, string, atom = match.groups()
            if bracket == b"(":
                self._open.append([])
            elif bracket:
                if self.is_complete:
                    raise ProtocolViolation("a list is closed that was never opened")
                closed = self._open.pop()
                self._open[-1].append(closed)
            elif string is not None:
                self._open[-1].append(_ESCAPED.sub(rb"\1", string) if b"\\" in string else string)
            else:
                self._open[-1].append(None if atom.upper() == b"NIL" else atom)

    def feed_literal(self, value: object) -> None:
        """Append the value of a literal."""
        self._open[-1].append(value)


def uid_sets(uids: Iterable[int], length: int = MAX_SET_LENGTH) -> Iterator[bytes]:
    """Yield UID sets such as `1:5,7` of at most `length` characters. A range contains no UID that is not in `uids`."""
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


def expand_set(uid_set: bytes) -> Iterator[int]:
    """Yield the UIDs of a set, from `uid_sets` or from a COPYUID code."""
    for part in uid_set.split(b","):
        first, _, last = part.partition(b":")
        low, high = sorted((int(first), int(last or first)))
        yield from range(low, high + 1)


def folder_name(name: str) -> bytes:
    """Return a folder's name as a command argument: modified UTF-7 (RFC 3501 section 5.1.3), quoted, on one line."""
    return quoted_string(imap_utf7.encode(name))


def quoted_string(text: bytes) -> bytes:
    """Return a quoted string (RFC 3501 section 4.3).

    Raises:
        ValueError: the text contains a line break or a NUL, which a quoted string cannot represent.
    """
    if re.search(rb"[\r\n\0]", text):
        raise ValueError("a line break or a NUL")
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def internal_date(text: bytes) -> datetime | None:
    """Parse an INTERNALDATE such as `17-Jul-1996 02:44:25 -0700`; return None if it is unparseable."""
    try:
        return parsedate_to_datetime(text.decode("ascii").strip())
    except (ValueError, TypeError, IndexError):
        return None
