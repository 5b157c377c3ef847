"""Files that mailers from before MIME put into the text: `begin 644 name`, uuencoded lines, `end` (POSIX uuencode)."""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_FILES = 1_000
"""Files of one text; what comes after stays text."""

_MOST_JUNK = 10
"""Lines in a row that are not uuencoded, after which a file without an `end` is over."""

_BEGIN = re.compile(rb"^begin [0-7]{3,4} +([^\r\n]{1,250})\r?\n", re.MULTILINE)
# No small letters, and no more than 63 octets: hardly a line of prose is like this.
_LINE = re.compile(rb"([ -`])([ -`]{0,86})")


class File(NamedTuple):
    """A file in a text: where its `begin` starts, where its `end` ends, and its name as sent."""

    start: int
    end: int
    name: bytes


def files(text: bytes) -> list[File]:
    """The files in a text, in order.

    Args:
        text: the bytes of a body that has no transfer encoding.

    Returns:
        Files with one line of content at least. One without an `end` reaches to the last of its lines.
    """
    found: list[File] = []
    at = 0
    while len(found) < MOST_FILES and (match := _BEGIN.search(text, at)):
        at = match.end()
        if end := _end(text, at):
            found.append(File(match.start(), end, match[1].strip()))
            at = end
    return found


def without(text: bytes, found: list[File]) -> bytes:
    """The text without its files."""
    starts = [0, *(file.end for file in found)]
    ends = [*(file.start for file in found), len(text)]
    return b"".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _end(text: bytes, at: int) -> int:
    """Where the file ends whose first line begins at `at`; 0 if there is none."""
    end = junk = 0
    while at < len(text) and junk <= _MOST_JUNK:
        after = text.find(b"\n", at) + 1 or len(text)
        line = text[at : min(after, at + 100)].rstrip(b"\r\n")
        at = after
        if line.rstrip() == b"end":
            return after if end else 0
        if _is_uuencoded(line):
            end, junk = after, 0
        elif not end or line.startswith(b"begin "):
            break
        else:
            junk += 1
    return end


def _is_uuencoded(line: bytes) -> bool:
    """Whether a line has the octets that its first letter tells, give or take spaces lost, padding and a checksum."""
    match = _LINE.fullmatch(line)
    if match is None:
        return False
    octets = (match[1][0] - 32) & 63
    least, full = (octets * 4 + 2) // 3, (octets + 2) // 3 * 4
    return len(match[2].rstrip()) <= full + 1 and (len(match[2]) >= least or octets > 0 and b" " in b" " + match[2])
