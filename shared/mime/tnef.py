"""Read a winmail.dat: TNEF, Microsoft's Transport Neutral Encapsulation Format (MS-OXTNEF).

The content is read as a stream, which bounds memory. Files are positions in the decoded content.

tnefparse 1.4.0 (LGPL) does not serve here: it holds the whole content several times, has no limits, raises exceptions
for truncated files, and was last released in 2021.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shared.mime.charsets import decode, replace_surrogates
from shared.mime.defects import Defects

SIGNATURE = b"\x78\x9f\x3e\x22"
"""The first bytes (MS-OXTNEF section 2.1.3.2)."""

MAX_FILES = 200
"""Maximum number of files of one TNEF."""

MAX_TEXT = 1024 * 1024
"""Maximum size of the message's text in one form, in bytes. A longer text stays in the winmail.dat."""

MAX_NAME = 4096
"""Maximum size of a file's name or other property in bytes."""

# Attributes (section 2.1.3.3), by the lower half of their number. The upper half, a type, differs between writers.
_BODY, _MESSAGE_PROPERTIES, _CODE_PAGE = 0x800C, 0x9003, 0x9007
_RENDERING, _TITLE, _DATA, _ATTACHMENT_PROPERTIES = 0x9002, 0x8010, 0x800F, 0x9005
_LEVELS = frozenset({1, 2})
_FILE = 1  # type of attAttachRenddata: a file, not an OLE object

# Properties (MS-OXPROPS).
_PR_BODY, _PR_RTF, _PR_HTML, _PR_INTERNET_CODE_PAGE = 0x1000, 0x1009, 0x1013, 0x3FDE
_PR_DISPLAY_NAME, _PR_DATA, _PR_FILE_NAME, _PR_METHOD = 0x3001, 0x3701, 0x3704, 0x3705
_PR_LONG_FILE_NAME, _PR_MIME_TAG, _PR_CONTENT_ID = 0x3707, 0x370E, 0x3712
_FILE_PROPERTIES = frozenset(
    {_PR_DISPLAY_NAME, _PR_FILE_NAME, _PR_METHOD, _PR_LONG_FILE_NAME, _PR_MIME_TAG, _PR_CONTENT_ID, _PR_DATA}
)
_MESSAGE_PROPERTIES_READ = frozenset({_PR_BODY, _PR_RTF, _PR_HTML, _PR_INTERNET_CODE_PAGE})
_BY_VALUE = frozenset({0, 1})  # values of _PR_METHOD; the others are embedded messages, OLE objects and links

# Property types (MS-OXCDATA section 2.11.1): size of a value in bytes, padded to a multiple of four.
_FIXED = {
    0x01: 0, 0x02: 4, 0x03: 4, 0x04: 4, 0x05: 8, 0x06: 8, 0x07: 8, 0x0A: 4, 0x0B: 4, 0x14: 8, 0x40: 8, 0x48: 16,
}  # fmt: skip
_OBJECT, _STRING8, _UNICODE, _BINARY = 0x0D, 0x1E, 0x1F, 0x102
_VARIABLE = frozenset({_OBJECT, _STRING8, _UNICODE, _BINARY})
_MULTIPLE = 0x1000
_FIRST_NAMED = 0x8000

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

# Code pages of Windows whose label in mail is not `cp` with the number (Microsoft, Code Page Identifiers).
_CODE_PAGES = {
    1200: "utf-16le", 1201: "utf-16be", 10000: "macintosh", 20127: "us-ascii", 20866: "koi8-r", 21866: "koi8-u",
    50220: "iso-2022-jp", 50221: "iso-2022-jp", 50222: "iso-2022-jp", 50225: "iso-2022-kr", 51932: "euc-jp",
    51949: "euc-kr", 54936: "gb18030", 65000: "utf-7", 65001: "utf-8",
} | {28590 + number: f"iso-8859-{number}" for number in range(1, 16)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TnefFile:
    """A file in a TNEF.

    Attributes:
        name: the long name if there is one, else the short name, or "".
        content_type: the declared type, or "".
        content_id: the Content-ID, or "".
        start: start of its bytes in the TNEF.
        end: end of its bytes.
    """

    name: str
    content_type: str
    content_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tnef:
    """The content of a TNEF.

    Attributes:
        files: files that were sent by value, in order.
        complete: whether `files` contains everything attached, and the TNEF is not truncated.
        text: plain text of the message; "" if none was found or requested.
        html: HTML of the message; "" if none was found or requested.
        rtf: compressed RTF of the message; empty if none was found or requested.
    """

    files: tuple[TnefFile, ...]
    complete: bool
    text: str = ""
    html: str = ""
    rtf: bytes = b""


class _BadTnefError(Exception):
    """The TNEF is truncated, or contains an impossible length."""


class _Stream:
    """A stream of bytes that arrive in pieces.

    Attributes:
        position: number of bytes that were read or skipped.
    """

    __slots__ = ("_offset", "_piece", "_pieces", "position")

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._offset = 0
        self.position = 0

    def is_at_end(self) -> bool:
        while self._offset == len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return True
            self._piece, self._offset = piece, 0
        return False

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes. The caller has checked `size` against a limit."""
        end = self._offset + size
        if end <= len(self._piece):
            data = self._piece[self._offset : end]
            self._offset = end
            self.position += size
            return data
        parts = []
        while size:
            if self.is_at_end():
                raise _BadTnefError
            part = self._piece[self._offset : self._offset + size]
            parts.append(part)
            self._offset += len(part)
            self.position += len(part)
            size -= len(part)
        return b"".join(parts)

    def skip_to(self, position: int) -> None:
        if position < self.position:
            raise _BadTnefError
        while position > self.position:
            if self.is_at_end():
                raise _BadTnefError
            size = min(position - self.position, len(self._piece) - self._offset)
            self._offset += size
            self.position += size

    def u16(self) -> int:
        return int.from_bytes(self.read(2), "little")

    def u32(self) -> int:
        return int.from_bytes(self.read(4), "little")


@dataclass(slots=True)
class _Property:
    """The first value of a property; `value` is None if it is too long to be read."""

    kind: int
    start: int
    end: int
    value: bytes | None


@dataclass(slots=True)
class _Attachment:
    """The properties of an attachment that have been read so far."""

    is_file: bool = True
    title: bytes = b""
    extent: tuple[int, int] | None = None
    properties: dict[int, _Property] = field(default_factory=dict)


def parse_tnef(pieces: Iterable[bytes], defects: Defects, *, with_text: bool) -> Tnef | None:
    """Parse a TNEF.

    Args:
        pieces: its bytes, split anywhere.
        defects: records if the TNEF was not read completely.
        with_text: whether to read the message's text as well.

    Returns:
        None if the content is not a TNEF.
    """
    reader = _Reader(_Stream(pieces), defects, with_text=with_text)
    try:
        if reader.stream.read(len(SIGNATURE)) != SIGNATURE:
            return None
        reader.stream.read(2)  # a key without meaning here
    except _BadTnefError:
        return None
    try:
        reader.run()
    except _BadTnefError:
        reader.complete = False
    if not reader.complete:
        defects.add("a winmail.dat could not be read completely: it is kept in addition to its files")
    return reader.result()


class _Reader:
    def __init__(self, stream: _Stream, defects: Defects, *, with_text: bool) -> None:
        self.stream = stream
        self.complete = True
        self._defects = defects
        self._with_text = with_text
        self._charset: str | None = None
        self._attachments: list[_Attachment] = []
        self._body = b""
        self._properties: dict[int, _Property] = {}

    def run(self) -> None:
        """Read all attributes."""
        while not self.stream.is_at_end():
            if self.stream.read(1)[0] not in _LEVELS:
                raise _BadTnefError
            number, size = struct.unpack("<IL", self.stream.read(8))
            end = self.stream.position + size
            self._read_attribute(number & 0xFFFF, end)
            self.stream.skip_to(end)
            self.stream.read(2)  # a checksum, which some writers calculate wrongly

    def _read_attribute(self, number: int, end: int) -> None:
        size = end - self.stream.position
        if number == _CODE_PAGE and size >= 4:  # noqa: PLR2004 - the first of two numbers
            self._charset = _charset_label(self.stream.u32())
        elif number == _BODY and self._with_text and size <= MAX_TEXT:
            self._body = self.stream.read(size)
        elif number == _MESSAGE_PROPERTIES and self._with_text:
            self._properties = self._read_properties(end, _MESSAGE_PROPERTIES_READ, MAX_TEXT)
        elif number == _RENDERING:
            if len(self._attachments) == MAX_FILES:
                self._defects.add(f"a winmail.dat holds more than {MAX_FILES} files: the rest is not unpacked")
                raise _BadTnefError
            self._attachments.append(_Attachment(is_file=size < 2 or self.stream.u16() == _FILE))  # noqa: PLR2004
        elif number in {_TITLE, _DATA, _ATTACHMENT_PROPERTIES}:
            self._read_attachment_attribute(number, end)

    def _read_attachment_attribute(self, number: int, end: int) -> None:
        if not self._attachments:
            self._attachments.append(_Attachment())
        attachment = self._attachments[-1]
        size = end - self.stream.position
        if number == _TITLE and size <= MAX_NAME:
            attachment.title = self.stream.read(size)
        elif number == _DATA:
            start = self.stream.position
            self.stream.skip_to(end)
            attachment.extent = (start, end)
        elif number == _ATTACHMENT_PROPERTIES:
            attachment.properties = self._read_properties(end, _FILE_PROPERTIES, MAX_NAME)

    def _read_properties(self, end: int, numbers: frozenset[int], limit: int) -> dict[int, _Property]:
        """Read a list of properties (section 2.1.3.4), up to the first that cannot be read."""
        properties: dict[int, _Property] = {}
        try:
            for _ in range(self.stream.u32()):
                kind, number = struct.unpack("<HH", self._read_within(4, end))
                if number >= _FIRST_NAMED:
                    self._skip_name(end)
                if value := self._read_property(kind, end, limit=limit if number in numbers else -1):
                    properties.setdefault(number, value)
        except _BadTnefError:
            if self.stream.position > end:
                raise
            self.complete = False
        return properties

    def _read_within(self, size: int, end: int) -> bytes:
        if self.stream.position + size > end:
            raise _BadTnefError
        return self.stream.read(size)

    def _skip_name(self, end: int) -> None:
        self._skip_within(16, end)
        if self.stream.u32():
            self._skip_within(_pad(self.stream.u32()), end)
        else:
            self._skip_within(4, end)

    def _read_property(self, kind: int, end: int, *, limit: int) -> _Property | None:
        """Read a property, with its value if that is at most `limit` bytes long. A negative limit skips it."""
        base, several = kind & ~_MULTIPLE, bool(kind & _MULTIPLE)
        if base in _FIXED:
            size = _FIXED[base]
            start = self.stream.position
            if several or limit < 0:
                self._skip_within(size * (self.stream.u32() if several else 1), end)
                return None
            return _Property(kind, start, start + size, self._read_within(size, end))
        if base not in _VARIABLE:
            raise _BadTnefError
        first: _Property | None = None
        for _ in range(self.stream.u32()):
            size = self.stream.u32()
            start = self.stream.position
            if start + size > end:
                raise _BadTnefError
            if limit >= 0 and first is None:
                value = self.stream.read(size) if size <= limit else None
                first = _Property(base, start, start + size, value)
            self.stream.skip_to(min(start + _pad(size), end))
        return first

    def _skip_within(self, size: int, end: int) -> None:
        if self.stream.position + size > end:
            raise _BadTnefError
        self.stream.skip_to(self.stream.position + size)

    def result(self) -> Tnef:
        """Return the content of the TNEF."""
        files = [self._to_file(attachment) for attachment in self._attachments]
        html = self._properties.get(_PR_HTML)
        charset = self._number(self._properties.get(_PR_INTERNET_CODE_PAGE))
        rtf = self._properties.get(_PR_RTF)
        return Tnef(
            files=tuple(file for file in files if file is not None),
            complete=self.complete and None not in files,
            text=self._text(self._properties.get(_PR_BODY)) or self._decode(self._body),
            html=self._text(html, _charset_label(charset) if charset else None),
            rtf=rtf.value or b"" if rtf else b"",
        )

    def _to_file(self, attachment: _Attachment) -> TnefFile | None:
        properties = attachment.properties
        extent = attachment.extent
        data = properties.get(_PR_DATA)
        if extent is None and data is not None and data.kind == _BINARY:
            extent = (data.start, data.end)
        by_value = self._number(properties.get(_PR_METHOD)) in _BY_VALUE
        if extent is None or not by_value or not (attachment.is_file or _PR_METHOD in properties):
            return None
        names = (self._text(properties.get(number)) for number in (_PR_LONG_FILE_NAME, _PR_FILE_NAME))
        name = next(filter(None, names), "") or self._decode(attachment.title)
        kind = self._text(properties.get(_PR_MIME_TAG)).strip().lower()
        return TnefFile(
            name=_to_one_line(name or self._text(properties.get(_PR_DISPLAY_NAME))),
            content_type=kind if _TYPE.fullmatch(kind) else "",
            content_id=self._text(properties.get(_PR_CONTENT_ID)).strip().strip("<>").strip(),
            start=extent[0],
            end=extent[1],
        )

    def _text(self, prop: _Property | None, charset: str | None = None) -> str:
        if prop is None or prop.value is None or prop.kind not in {_STRING8, _UNICODE, _BINARY}:
            return ""
        if prop.kind == _UNICODE:
            return replace_surrogates(prop.value.decode("utf-16-le", "replace")).partition("\0")[0]
        return self._decode(prop.value, charset)

    def _decode(self, data: bytes, charset: str | None = None) -> str:
        return decode(data.partition(b"\0")[0], charset or self._charset, self._defects) if data else ""

    @staticmethod
    def _number(prop: _Property | None) -> int:
        return int.from_bytes(prop.value, "little") if prop and prop.value and prop.kind == 3 else 0  # noqa: PLR2004


def _charset_label(code_page: int) -> str:
    return _CODE_PAGES.get(code_page, f"cp{code_page}")


def _to_one_line(name: str) -> str:
    return " ".join(_CONTROLS.sub(" ", name).split())


def _pad(size: int) -> int:
    return size + -size % 4


def slice_pieces(pieces: Iterable[bytes], start: int, end: int) -> Iterator[bytes]:
    """Return the bytes from `start` up to `end`, in pieces."""
    position = 0
    for piece in pieces:
        if position >= end:
            return
        if position + len(piece) > start:
            yield piece[max(start - position, 0) : end - position]
        position += len(piece)
