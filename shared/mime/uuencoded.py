"""Files that mailers from before MIME put into the text: `begin 644 name`, uuencoded lines, `end` (POSIX uuencode)."""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_FILES = 1_000
"""Files of one text; what comes after stays text."""

_MOST_JUNK = 10
"""Lines in a row that are not uuencoded, after which a file without an `end` is over."""

_BEGIN = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{1,250})\r?\n", re.MULTILINE)
_FULL_LINES = re.compile(rb"(?:M[ -`]{0,61}\r?\n)+")
# No small letters, and no more than 63 octets: hardly a line of prose is like this.
_LINE = re.compile(rb"([ -`])([ -`]{0,86})")


class File(NamedTuple):
    """A file in a text: where it starts and ends, its name as sent, and whether there is an `end` to it."""

    start: int
    end: int
    name: bytes
    whole: bool


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
        end, whole = _end(text, at)
        if end:
            found.append(File(match.start(), end, match[1].strip(), whole))
            at = end
    return found


def without(text: bytes, found: list[File]) -> bytes:
    """The text without its files."""
    starts = [0, *(file.end for file in found)]
    ends = [*(file.start for file in found), len(text)]
    return b"".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _end(text: bytes, at: int) -> tuple[int, bool]:
    """Where the file ends whose first line begins at `at`, 0 if there is none; and whether an `end` says so."""
    end = junk = 0
    while at < len(text) and junk <= _MOST_JUNK:
        if full := _FULL_LINES.match(text, at):  # nearly all of a file at once; zeros may have lost their spaces
            at = end = full.end()
            junk = 0
            continue
        after = text.find(b"\n", at) + 1 or len(text)
        line = text[at : min(after, at + 100)].rstrip(b"\r\n")
        at = after
        if line.rstrip() == b"end":
            return (after, True) if end else (0, False)
        if _is_uuencoded(line):
            end, junk = after, 0
        elif not end or line.startswith(b"begin "):
            break
        else:
            junk += 1
    return end, False


def _is_uuencoded(line: bytes) -> bool:
    """Whether a line has as many letters as its first one tells: give or take padding, a checksum, and lost spaces."""
    match = _LINE.fullmatch(line)
    if match is None:
        return False
    octets, letters = (match[1][0] - 32) & 63, len(match[2])
    # A full line of zeros may have lost all of its spaces.
    enough = letters >= (octets * 4 + 2) // 3 or match[1] == b"M"
    return enough and letters <= (octets + 2) // 3 * 4 + 1
