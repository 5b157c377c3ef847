"""What is inside a winmail.dat: TNEF, Microsoft's Transport Neutral Encapsulation Format (MS-OXTNEF).

Read as a stream, so that neither a file nor its size becomes memory; files are places in the decoded content.

tnefparse 1.4.0 (LGPL) was not a base for this: it holds the whole content several times, has no bounds, raises where a
file is cut off, and its last release is of 2021.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shared.mime.charsets import clean, decode
from shared.mime.defects import Defects

SIGNATURE = b"\x78\x9f\x3e\x22"
"""The first bytes (MS-OXTNEF section 2.1.3.2)."""

MOST_FILES = 200
"""Files of one TNEF that are read."""

MOST_TEXT = 1024 * 1024
"""Bytes of the message's text, in one form, that are read; a longer one is left where it is."""

MOST_NAME = 4096
"""Bytes of one name or other property of a file that are read."""

# Attributes (section 2.1.3.3), by the lower half of their number: writers do not agree on the upper half, a type.
_BODY, _MESSAGE_PROPERTIES, _CODE_PAGE = 0x800C, 0x9003, 0x9007
_RENDERING, _TITLE, _DATA, _ATTACHMENT_PROPERTIES = 0x9002, 0x8010, 0x800F, 0x9005
_LEVELS = frozenset({1, 2})
_FILE = 1  # of attAttachRenddata: not an OLE object

# Properties (MS-OXPROPS).
_PR_BODY, _PR_RTF, _PR_HTML, _PR_INTERNET_CODE_PAGE = 0x1000, 0x1009, 0x1013, 0x3FDE
_PR_DISPLAY_NAME, _PR_DATA, _PR_FILE_NAME, _PR_METHOD = 0x3001, 0x3701, 0x3704, 0x3705
_PR_LONG_FILE_NAME, _PR_MIME_TAG, _PR_CONTENT_ID = 0x3707, 0x370E, 0x3712
_OF_A_FILE = frozenset(
    {_PR_DISPLAY_NAME, _PR_FILE_NAME, _PR_METHOD, _PR_LONG_FILE_NAME, _PR_MIME_TAG, _PR_CONTENT_ID, _PR_DATA}
)
_OF_THE_MESSAGE = frozenset({_PR_BODY, _PR_RTF, _PR_HTML, _PR_INTERNET_CODE_PAGE})
_BY_VALUE = frozenset({0, 1})  # of _PR_METHOD: the others are embedded messages, OLE objects, links

# Property types (MS-OXCDATA section 2.11.1): bytes of a value, padded to four.
_FIXED = {
    0x01: 0, 0x02: 4, 0x03: 4, 0x04: 4, 0x05: 8, 0x06: 8, 0x07: 8, 0x0A: 4, 0x0B: 4, 0x14: 8, 0x40: 8, 0x48: 16,
}  # fmt: skip
_OBJECT, _STRING8, _UNICODE, _BINARY = 0x0D, 0x1E, 0x1F, 0x102
_VARIABLE = frozenset({_OBJECT, _STRING8, _UNICODE, _BINARY})
_MULTIPLE = 0x1000
_FIRST_NAMED = 0x8000

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

# Code pages of Windows whose label in mail is not `cp` and the number (Microsoft, Code Page Identifiers).
_CODE_PAGES = {
    1200: "utf-16le", 1201: "utf-16be", 10000: "macintosh", 20127: "us-ascii", 20866: "koi8-r", 21866: "koi8-u",
    50220: "iso-2022-jp", 50221: "iso-2022-jp", 50222: "iso-2022-jp", 50225: "iso-2022-kr", 51932: "euc-jp",
    51949: "euc-kr", 54936: "gb18030", 65000: "utf-7", 65001: "utf-8",
} | {28590 + number: f"iso-8859-{number}" for number in range(1, 16)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TnefFile:
    """A file inside a TNEF.

    Attributes:
        name: its long name if there is one; "" if it has none.
        content_type: as the sender says; "" if untold.
        content_id: "" if it has none.
        start: where its bytes begin in the TNEF.
        end: where they end.
    """

    name: str
    content_type: str
    content_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tnef:
    """What a TNEF holds.

    Attributes:
        files: files that were sent by value, in order.
        whole: nothing that was attached is left out, and it ends where it should.
        text: plain text of the message; "" if none was found, or it was not asked for.
        html: HTML of the message; "" likewise.
        rtf: compressed RTF of the message; empty likewise.
    """

    files: tuple[TnefFile, ...]
    whole: bool
    text: str = ""
    html: str = ""
    rtf: bytes = b""


class _BadTnefError(Exception):
    """It is cut off, or a length in it cannot be."""


class _Stream:
    """Bytes that come in pieces.

    Attributes:
        position: how many were read or skipped.
    """

    __slots__ = ("_at", "_piece", "_pieces", "position")

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._at = 0
        self.position = 0

    def is_at_end(self) -> bool:
        while self._at == len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return True
            self._piece, self._at = piece, 0
        return False

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, of which the caller knows that they are not too many."""
        end = self._at + size
        if end <= len(self._piece):
            data = self._piece[self._at : end]
            self._at = end
            self.position += size
            return data
        parts = []
        while size:
            if self.is_at_end():
                raise _BadTnefError
            part = self._piece[self._at : self._at + size]
            parts.append(part)
            self._at += len(part)
            self.position += len(part)
            size -= len(part)
        return b"".join(parts)

    def skip_to(self, position: int) -> None:
        if position < self.position:
            raise _BadTnefError
        while position > self.position:
            if self.is_at_end():
                raise _BadTnefError
            size = min(position - self.position, len(self._piece) - self._at)
            self._at += size
            self.position += size

    def u16(self) -> int:
        return int.from_bytes(self.read(2), "little")

    def u32(self) -> int:
        return int.from_bytes(self.read(4), "little")


@dataclass(slots=True)
class _Property:
    """The first value of a property: `value` if it is short enough to be read."""

    kind: int
    start: int
    end: int
    value: bytes | None


@dataclass(slots=True)
class _Attachment:
    """What is known of an attachment so far."""

    is_file: bool = True
    title: bytes = b""
    place: tuple[int, int] | None = None
    properties: dict[int, _Property] = field(default_factory=dict)


def read_tnef(pieces: Iterable[bytes], defects: Defects, *, with_text: bool) -> Tnef | None:
    """Read a TNEF.

    Args:
        pieces: its bytes, cut anywhere.
        defects: where it is noted if not all of it was read.
        with_text: whether to read the message's text too.

    Returns:
        None if it is none.
    """
    reader = _Reader(_Stream(pieces), defects, with_text=with_text)
    try:
        if reader.stream.read(len(SIGNATURE)) != SIGNATURE:
            return None
        reader.stream.read(2)  # a key that means nothing
    except _BadTnefError:
        return None
    try:
        reader.run()
    except _BadTnefError:
        reader.whole = False
    if not reader.whole:
        defects.add("not all of a winmail.dat could be read: it is kept beside what was")
    return reader.result()


class _Reader:
    def __init__(self, stream: _Stream, defects: Defects, *, with_text: bool) -> None:
        self.stream = stream
        self.whole = True
        self._defects = defects
        self._with_text = with_text
        self._charset: str | None = None
        self._attachments: list[_Attachment] = []
        self._body = b""
        self._properties: dict[int, _Property] = {}

    def run(self) -> None:
        """Read attributes up to the end."""
        while not self.stream.is_at_end():
            if self.stream.read(1)[0] not in _LEVELS:
                raise _BadTnefError
            number, size = struct.unpack("<IL", self.stream.read(8))
            end = self.stream.position + size
            self._attribute(number & 0xFFFF, end)
            self.stream.skip_to(end)
            self.stream.read(2)  # a checksum, which not all writers get right

    def _attribute(self, number: int, end: int) -> None:
        size = end - self.stream.position
        if number == _CODE_PAGE and size >= 4:  # noqa: PLR2004 - the first of two numbers
            self._charset = _label(self.stream.u32())
        elif number == _BODY and self._with_text and size <= MOST_TEXT:
            self._body = self.stream.read(size)
        elif number == _MESSAGE_PROPERTIES and self._with_text:
            self._properties = self._read_properties(end, _OF_THE_MESSAGE, MOST_TEXT)
        elif number == _RENDERING:
            if len(self._attachments) == MOST_FILES:
                self._defects.add(f"a winmail.dat holds more than {MOST_FILES} files: the rest is not unpacked")
                raise _BadTnefError
            self._attachments.append(_Attachment(is_file=size < 2 or self.stream.u16() == _FILE))  # noqa: PLR2004
        elif number in {_TITLE, _DATA, _ATTACHMENT_PROPERTIES}:
            self._of_attachment(number, end)

    def _of_attachment(self, number: int, end: int) -> None:
        if not self._attachments:
            self._attachments.append(_Attachment())
        attachment = self._attachments[-1]
        size = end - self.stream.position
        if number == _TITLE and size <= MOST_NAME:
            attachment.title = self.stream.read(size)
        elif number == _DATA:
            start = self.stream.position
            self.stream.skip_to(end)
            attachment.place = (start, end)
        elif number == _ATTACHMENT_PROPERTIES:
            attachment.properties = self._read_properties(end, _OF_A_FILE, MOST_NAME)

    def _read_properties(self, end: int, wanted: frozenset[int], most: int) -> dict[int, _Property]:
        """Read a list of properties (section 2.1.3.4); up to the first one that cannot be read."""
        found: dict[int, _Property] = {}
        try:
            for _ in range(self.stream.u32()):
                kind, number = struct.unpack("<HH", self._read_within(4, end))
                if number >= _FIRST_NAMED:
                    self._skip_name(end)
                if one := self._read_property(kind, end, most=most if number in wanted else -1):
                    found.setdefault(number, one)
        except _BadTnefError:
            if self.stream.position > end:
                raise
            self.whole = False
        return found

    def _read_within(self, size: int, end: int) -> bytes:
        if self.stream.position + size > end:
            raise _BadTnefError
        return self.stream.read(size)

    def _skip_name(self, end: int) -> None:
        self._advance(16, end)
        if self.stream.u32():
            self._advance(_padded(self.stream.u32()), end)
        else:
            self._advance(4, end)

    def _read_property(self, kind: int, end: int, *, most: int) -> _Property | None:
        """Read a property; its value if it is not longer than `most`, nothing of it if that is negative."""
        base, several = kind & ~_MULTIPLE, bool(kind & _MULTIPLE)
        if base in _FIXED:
            size = _FIXED[base]
            start = self.stream.position
            if several or most < 0:
                self._advance(size * (self.stream.u32() if several else 1), end)
                return None
            return _Property(kind, start, start + size, self._read_within(size, end))
        if base not in _VARIABLE:
            raise _BadTnefError
        found: _Property | None = None
        for _ in range(self.stream.u32()):
            size = self.stream.u32()
            start = self.stream.position
            if start + size > end:
                raise _BadTnefError
            if most >= 0 and found is None:
                value = self.stream.read(size) if size <= most else None
                found = _Property(base, start, start + size, value)
            self.stream.skip_to(min(start + _padded(size), end))
        return found

    def _advance(self, size: int, end: int) -> None:
        if self.stream.position + size > end:
            raise _BadTnefError
        self.stream.skip_to(self.stream.position + size)

    def result(self) -> Tnef:
        """Return what was read."""
        files = [self._file(one) for one in self._attachments]
        html = self._properties.get(_PR_HTML)
        charset = self._number(self._properties.get(_PR_INTERNET_CODE_PAGE))
        rtf = self._properties.get(_PR_RTF)
        return Tnef(
            files=tuple(one for one in files if one is not None),
            whole=self.whole and None not in files,
            text=self._text(self._properties.get(_PR_BODY)) or self._decoded(self._body),
            html=self._text(html, _label(charset) if charset else None),
            rtf=rtf.value or b"" if rtf else b"",
        )

    def _file(self, attachment: _Attachment) -> TnefFile | None:
        properties = attachment.properties
        place = attachment.place
        data = properties.get(_PR_DATA)
        if place is None and data is not None and data.kind == _BINARY:
            place = (data.start, data.end)
        by_value = self._number(properties.get(_PR_METHOD)) in _BY_VALUE
        if place is None or not by_value or not (attachment.is_file or _PR_METHOD in properties):
            return None
        names = (self._text(properties.get(number)) for number in (_PR_LONG_FILE_NAME, _PR_FILE_NAME))
        name = next(filter(None, names), "") or self._decoded(attachment.title)
        kind = self._text(properties.get(_PR_MIME_TAG)).strip().lower()
        return TnefFile(
            name=_on_one_line(name or self._text(properties.get(_PR_DISPLAY_NAME))),
            content_type=kind if _TYPE.fullmatch(kind) else "",
            content_id=self._text(properties.get(_PR_CONTENT_ID)).strip().strip("<>").strip(),
            start=place[0],
            end=place[1],
        )

    def _text(self, one: _Property | None, charset: str | None = None) -> str:
        if one is None or one.value is None or one.kind not in {_STRING8, _UNICODE, _BINARY}:
            return ""
        if one.kind == _UNICODE:
            return clean(one.value.decode("utf-16-le", "replace")).partition("\0")[0]
        return self._decoded(one.value, charset)

    def _decoded(self, data: bytes, charset: str | None = None) -> str:
        return decode(data.partition(b"\0")[0], charset or self._charset, self._defects) if data else ""

    @staticmethod
    def _number(one: _Property | None) -> int:
        return int.from_bytes(one.value, "little") if one and one.value and one.kind == 3 else 0  # noqa: PLR2004


def _label(code_page: int) -> str:
    return _CODE_PAGES.get(code_page, f"cp{code_page}")


def _on_one_line(name: str) -> str:
    return " ".join(_CONTROLS.sub(" ", name).split())


def _padded(size: int) -> int:
    return size + -size % 4


def sliced(pieces: Iterable[bytes], start: int, end: int) -> Iterator[bytes]:
    """Return the bytes from `start` up to `end`, in pieces."""
    position = 0
    for piece in pieces:
        if position >= end:
            return
        if position + len(piece) > start:
            yield piece[max(start - position, 0) : end - position]
        position += len(piece)
