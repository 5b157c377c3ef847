"""Content transfer encodings, decoded as a stream (RFC 2045 section 6)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator

from shared.mime.buffer import PIECE
from shared.mime.defects import Defects
from shared.mime.encoded_words import decoded as decoded_words

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64 + b"="))
_BASE64_AND_SPACE = _BASE64 + b"=\r\n\t "
_SOFT_BREAK = re.compile(rb"=[ \t]+(?=\r?\n)")
_BARE_CR_BREAK = re.compile(rb"=\r(?!\n)")
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n|\Z)")
_UUENCODE = frozenset({"x-uuencode", "uuencode", "x-uue", "uue"})
_LONGEST_UU_LINE = 200

IDENTITY = frozenset({"", "7bit", "8bit", "binary"})
"""Encodings that leave the bytes as they are."""

UUENCODED = "x-uuencode"

UNENCODED = "unencoded"
"""Of content that an encoding is declared for, and that is text as it is."""


def encoding_of(text: str | None) -> str:
    """The encoding that a `Content-Transfer-Encoding` names, in lower case, without comments and quotes."""
    if text is not None and text.startswith("=?"):
        text = decoded_words(text, Defects())
    words = (text or "").split(None, 1)
    return words[0].strip("\"'; ").lower() if words else ""


def decoded(pieces: Iterable[bytes], encoding: str, defects: Defects) -> Iterator[bytes]:
    """Decode content.

    Args:
        pieces: the encoded bytes, cut anywhere.
        encoding: as `encoding_of` gives it; an unknown one decodes to the bytes as they are.
        defects: where repairs are noted.

    Yields:
        Pieces, none of them larger than the largest that came in (and the little that was left of the one before).
    """
    if encoding == "base64":
        return _base64(pieces, defects)
    if encoding == "quoted-printable":
        return _quoted_printable(pieces, defects)
    if encoding in _UUENCODE:
        return _uuencode(pieces, defects)
    if encoding not in IDENTITY and encoding != UNENCODED:
        defects.add("a Content-Transfer-Encoding is unknown: the bytes are kept as they are")
    return iter(pieces)


def _base64(pieces: Iterable[bytes], defects: Defects) -> Iterator[bytes]:
    """Base64 with anything between its letters. Padding ends a run; another run may follow."""
    left = b""
    for piece in pieces:
        data = left + piece.translate(None, b"\r\n")
        content, left = _well_formed(data)
        if content is None:
            content, left = _ill_formed(data, defects)
        yield content
    if left := _letters(left, defects):
        defects.add("base64 ends in the middle")
        yield _run(left, defects)


def _well_formed(data: bytes) -> tuple[bytes | None, bytes]:
    """Content and what is left over, if all is one run, as in nearly all mail; else None."""
    run = data.rstrip(b"=")
    cut = len(run) - len(run) % 4 if len(run) == len(data) else len(run)
    if cut % 4 == 1 or b"=" in run:
        return None, b""
    try:
        return binascii.a2b_base64(run[:cut] + b"=" * (-cut % 4), strict_mode=True), run[cut:]
    except binascii.Error:
        return None, b""


def _ill_formed(data: bytes, defects: Defects) -> tuple[bytes, bytes]:
    *ended, open_run = _letters(data, defects).split(b"=")
    cut = len(open_run) - len(open_run) % 4
    content = b"".join([*(_run(run, defects) for run in ended if run), binascii.a2b_base64(open_run[:cut])])
    return content, open_run[cut:]


def _letters(data: bytes, defects: Defects) -> bytes:
    if data.translate(None, _BASE64_AND_SPACE):
        defects.add("there is junk in base64: skipped")
    return data.translate(None, _NOT_BASE64)


def _run(letters: bytes, defects: Defects) -> bytes:
    if len(letters) % 4 == 1:
        defects.add("base64 ends in the middle")
        letters = letters[:-1]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def _quoted_printable(pieces: Iterable[bytes], defects: Defects) -> Iterator[bytes]:
    left = b""
    for piece in pieces:
        data = left + piece
        # Cut behind a line's end, or in a giant line before what may be half an escape.
        cut = data.rfind(b"\n") + 1
        if not cut:
            cut = data.rfind(b"=", -3) if b"=" in data[-3:] else len(data)
            cut = len(data[:cut].rstrip(b"="))
        cut = cut if len(data) - cut < PIECE else len(data)
        left = data[cut:]
        yield _unquoted(data[:cut], defects)
    if left:
        yield _unquoted(left, defects)


def _unquoted(data: bytes, defects: Defects) -> bytes:
    return binascii.a2b_qp(_repaired(data, defects) if _BAD_ESCAPE.search(data) else data)


def _repaired(data: bytes, defects: Defects) -> bytes:
    if b"= " in data or b"=\t" in data:
        data = _SOFT_BREAK.sub(b"=", data)
    if data.count(b"=\r") != data.count(b"=\r\n"):
        data = _BARE_CR_BREAK.sub(b"=\n", data)  # a2b_qp would drop everything up to the next LF
    if _BAD_ESCAPE.search(data):
        defects.add("there are bad escapes in quoted-printable: kept as they are")
        data = _BAD_ESCAPE.sub(b"=3D", data)  # a2b_qp would make one of two equal signs
    return data


def _uuencode(pieces: Iterable[bytes], defects: Defects) -> Iterator[bytes]:
    """Uuencoded lines between `begin` and `end`."""
    inside = False
    for lines in _line_blocks(pieces):
        out = []
        for line in lines:
            if not inside:
                inside = line.startswith(b"begin ")
            elif line.rstrip() == b"end":
                inside = False
            else:
                out.append(_uu_line(line.rstrip(b"\r\n"), defects))
        yield b"".join(out)


def _line_blocks(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    left = b""
    for piece in pieces:
        *lines, left = (left + piece).split(b"\n")
        if len(left) > PIECE:
            lines, left = [*lines, left], b""
        yield lines
    yield [left]


def _uu_line(line: bytes, defects: Defects) -> bytes:
    if not line or len(line) > _LONGEST_UU_LINE:
        return b""
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        pass
    defects.add("there are bad lines in uuencoded content")
    length = (line[0] - 32) & 63
    try:
        return binascii.a2b_uu(line[: 1 + (length * 4 + 2) // 3])
    except binascii.Error:
        return b""
