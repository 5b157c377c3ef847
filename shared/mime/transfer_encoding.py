"""Content transfer encodings, decoded as a stream (RFC 2045 section 6), and uuencoded files within a text."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pybase64

from shared.mime.buffer import PIECE_SIZE
from shared.mime.defects import Defects
from shared.mime.encoded_words import decode_words

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64 + b"="))
_BASE64_AND_SPACE = _BASE64 + b"=\r\n\t "
_SOFT_BREAK = re.compile(rb"=[ \t]+(?=\r?\n)")
_BARE_CR_BREAK = re.compile(rb"=\r(?!\n)")
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n|\Z)")
_UUENCODE = frozenset({"x-uuencode", "uuencode", "x-uue", "uue"})
_MAX_UU_LINE = 200

IDENTITY = frozenset({"", "7bit", "8bit", "binary"})
"""Encodings that do not change the bytes."""

UUENCODED = "x-uuencode"

UNENCODED = "unencoded"
"""The encoding of content that declares an encoding and is plain text instead."""

MAX_UU_FILES = 1_000
"""Maximum number of files in one text. Anything after them stays text."""

_MAX_OTHER_LINES = 10
"""Consecutive lines without uuencoded content that end a file without an `end` line."""

_BEGIN = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{1,250})\r?\n", re.MULTILINE)
_FULL_LINES = re.compile(rb"(?:M[ -`]{0,61}\r?\n)+")
# Without small letters, and at most 63 octets: hardly any line of prose matches.
_UU_LINE = re.compile(rb"([ -`])([ -`]{0,86})")


def parse_transfer_encoding(text: str | None) -> str:
    """Return the encoding of a `Content-Transfer-Encoding` in lower case, without comments and quotes."""
    if text is not None and text.startswith("=?"):
        text = decode_words(text, Defects())
    words = (text or "").split(None, 1)
    return words[0].strip("\"'; ").lower() if words else ""


def decode_pieces(pieces: Iterable[bytes], encoding: str, defects: Defects) -> Iterator[bytes]:
    """Decode content as a stream.

    Args:
        pieces: the encoded bytes, split anywhere.
        encoding: as `parse_transfer_encoding` returns it. An unknown encoding leaves the bytes unchanged.
        defects: collects the repairs.

    Yields:
        Pieces, each at most as large as the largest input piece (and the short remainder of the piece before).
    """
    if encoding == "base64":
        return _decode_base64(pieces, defects)
    if encoding == "quoted-printable":
        return _decode_quoted_printable(pieces, defects)
    if encoding in _UUENCODE:
        return _decode_uuencode(pieces, defects)
    if encoding not in IDENTITY and encoding != UNENCODED:
        defects.add("a Content-Transfer-Encoding is unknown: the bytes are kept unchanged")
    return iter(pieces)


def _decode_base64(pieces: Iterable[bytes], defects: Defects) -> Iterator[bytes]:
    """Decode base64 with any other bytes between its letters. Padding ends a run; another run may follow."""
    remainder = b""
    for piece in pieces:
        data = remainder + piece.translate(None, b"\r\n")
        content, remainder = _decode_single_run(data)
        if content is None:
            content, remainder = _decode_runs(data, defects)
        yield content
    if remainder := _keep_letters(remainder, defects):
        defects.add("base64 is incomplete")
        yield _decode_run(remainder, defects)


def _decode_single_run(data: bytes) -> tuple[bytes | None, bytes]:
    """Return the content and the remainder if the data is a single run, as in nearly all mail; else None."""
    run = data.rstrip(b"=")
    end = len(run) - len(run) % 4 if len(run) == len(data) else len(run)
    if end % 4 == 1 or b"=" in run:
        return None, b""
    try:
        return pybase64.b64decode(run[:end] + b"=" * (-end % 4), validate=True), run[end:]
    except binascii.Error:
        return None, b""


def _decode_runs(data: bytes, defects: Defects) -> tuple[bytes, bytes]:
    *ended, open_run = _keep_letters(data, defects).split(b"=")
    end = len(open_run) - len(open_run) % 4
    content = b"".join([*(_decode_run(run, defects) for run in ended if run), binascii.a2b_base64(open_run[:end])])
    return content, open_run[end:]


def _keep_letters(data: bytes, defects: Defects) -> bytes:
    if data.translate(None, _BASE64_AND_SPACE):
        defects.add("base64 contains other characters: skipped")
    return data.translate(None, _NOT_BASE64)


def _decode_run(letters: bytes, defects: Defects) -> bytes:
    if len(letters) % 4 == 1:
        defects.add("base64 is incomplete")
        letters = letters[:-1]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def _decode_quoted_printable(pieces: Iterable[bytes], defects: Defects) -> Iterator[bytes]:
    remainder = b""
    for piece in pieces:
        data = remainder + piece
        # Split after a line's end; in a giant line, before a possible incomplete escape.
        end = data.rfind(b"\n") + 1
        if not end:
            end = data.rfind(b"=", -3) if b"=" in data[-3:] else len(data)
            end = len(data[:end].rstrip(b"="))
        end = end if len(data) - end < PIECE_SIZE else len(data)
        remainder = data[end:]
        yield _decode_escapes(data[:end], defects)
    if remainder:
        yield _decode_escapes(remainder, defects)


def _decode_escapes(data: bytes, defects: Defects) -> bytes:
    return binascii.a2b_qp(_repair_escapes(data, defects) if _BAD_ESCAPE.search(data) else data)


def _repair_escapes(data: bytes, defects: Defects) -> bytes:
    if b"= " in data or b"=\t" in data:
        data = _SOFT_BREAK.sub(b"=", data)
    if data.count(b"=\r") != data.count(b"=\r\n"):
        data = _BARE_CR_BREAK.sub(b"=\n", data)  # a2b_qp would drop everything up to the next LF
    if _BAD_ESCAPE.search(data):
        defects.add("quoted-printable contains invalid escapes: kept unchanged")
        data = _BAD_ESCAPE.sub(b"=3D", data)  # a2b_qp would drop one of two equal signs
    return data


def _decode_uuencode(pieces: Iterable[bytes], defects: Defects) -> Iterator[bytes]:
    """Decode the lines between `begin` and `end`."""
    in_file = False
    for lines in _line_blocks(pieces):
        out = []
        for line in lines:
            if not in_file:
                in_file = line.startswith(b"begin ")
            elif line.rstrip() == b"end":
                in_file = False
            else:
                out.append(_decode_uu_line(line.rstrip(b"\r\n"), defects))
        yield b"".join(out)


def _line_blocks(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    remainder = b""
    for piece in pieces:
        *lines, remainder = (remainder + piece).split(b"\n")
        if len(remainder) > PIECE_SIZE:
            lines, remainder = [*lines, remainder], b""
        yield lines
    yield [remainder]


def _decode_uu_line(line: bytes, defects: Defects) -> bytes:
    if not line or len(line) > _MAX_UU_LINE:
        return b""
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        pass
    defects.add("uuencoded content contains invalid lines")
    length = (line[0] - 32) & 63
    try:
        return binascii.a2b_uu(line[: 1 + (length * 4 + 2) // 3])
    except binascii.Error:
        return b""


class UuencodedFile(NamedTuple):
    """A file in a text: its start and end, its name as sent, and whether an `end` line completes it."""

    start: int
    end: int
    name: bytes
    complete: bool


def find_uuencoded_files(text: bytes) -> list[UuencodedFile]:
    """Return the files in a text that mailers without MIME put there: `begin 644 name`, uuencoded lines, `end` (POSIX).

    Args:
        text: the bytes of a body without transfer encoding.

    Returns:
        Files with at least one line of content, in order. A file without `end` extends to the last of its lines.
    """
    files: list[UuencodedFile] = []
    position = 0
    while len(files) < MAX_UU_FILES and (match := _BEGIN.search(text, position)):
        position = match.end()
        end, complete = _find_file_end(text, position)
        if end:
            files.append(UuencodedFile(match.start(), end, match[1].strip(), complete))
            position = end
    return files


def remove_uuencoded_files(text: bytes, files: list[UuencodedFile]) -> bytes:
    """Return the text without its files."""
    starts = [0, *(file.end for file in files)]
    ends = [*(file.start for file in files), len(text)]
    return b"".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _find_file_end(text: bytes, position: int) -> tuple[int, bool]:
    """Return the end of the file with its first line at `position` (0 if none), and whether `end` completes it."""
    end = other_lines = 0
    while position < len(text) and other_lines <= _MAX_OTHER_LINES:
        if full := _FULL_LINES.match(text, position):  # nearly all of a file at once; zeros may have lost their spaces
            position = end = full.end()
            other_lines = 0
            continue
        next_line = text.find(b"\n", position) + 1 or len(text)
        line = text[position : min(next_line, position + 100)].rstrip(b"\r\n")
        position = next_line
        if line.rstrip() == b"end":
            return (next_line, True) if end else (0, False)
        if _is_uuencoded(line):
            end, other_lines = next_line, 0
        elif not end or line.startswith(b"begin "):
            break
        else:
            other_lines += 1
    return end, False


def _is_uuencoded(line: bytes) -> bool:
    """Return whether a line is as long as its first character says, except for padding, a checksum, and lost spaces."""
    match = _UU_LINE.fullmatch(line)
    if match is None:
        return False
    octet_count, letter_count = (match[1][0] - 32) & 63, len(match[2])
    # A full line of zeros may have lost all its spaces.
    is_long_enough = letter_count >= (octet_count * 4 + 2) // 3 or match[1] == b"M"
    return is_long_enough and letter_count <= (octet_count + 2) // 3 * 4 + 1
