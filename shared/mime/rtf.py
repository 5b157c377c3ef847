"""Read the text or HTML of compressed RTF (MS-OXRTFCP), as Outlook stores it in a winmail.dat.

RTF that was generated from HTML yields that HTML. Otherwise only text, paragraphs and table cells are read.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

MAX_RTF = 1024 * 1024
"""Maximum number of bytes of RTF that are decompressed."""

ALWAYS_READ = 64 * 1024
_MAX_RATIO = 3
"""Bytes of RTF read per compressed byte, beyond `ALWAYS_READ`. The format allows 8 (17 for two)."""

_HEADER = 16
_COMPRESSED, _UNCOMPRESSED = b"LZFu", b"MELA"
_WINDOW = 4096
# The initial dictionary of compression and decompression (MS-OXRTFCP section 2.2.1.1.1).
_INITIAL = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)

_TOKEN = re.compile(
    rb"""\\(?P<word>[a-z]{1,32})(?P<number>-?\d{1,10})?[ ]? | \\'(?P<byte>[0-9a-f]{2}) | \\(?P<symbol>[^a-z'])
    | (?P<braces>[{}]+) | (?P<plain>[^\\]+)""",
    re.IGNORECASE | re.VERBOSE,
)
_BRACES = re.compile(rb"([{}]+)")
_FROM_HTML = re.compile(rb"\\fromhtml1\b")
_CODE_PAGE = re.compile(rb"\\ansicpg(\d{1,5})")
# Groups whose content is not text (RTF 1.9.1, destinations).
_HIDDEN = frozenset(
    b"bkmkend bkmkstart colortbl datastore fldinst fonttbl footer footerf footerl footerr generator header headerf "
    b"headerl headerr htmltag info listoverridetable listtable object pict rsidtbl stylesheet themedata".split()
)
_CHARACTERS = {
    b"par": "\n", b"line": "\n", b"sect": "\n", b"page": "\n", b"row": "\n", b"cell": "\t", b"tab": "\t",
    b"emdash": "\u2014", b"endash": "\u2013", b"bullet": "\u2022", b"lquote": "\u2018", b"rquote": "\u2019",
    b"ldblquote": "\u201c", b"rdblquote": "\u201d",
}  # fmt: skip
_SYMBOLS = {b"~": "\u00a0", b"_": "\u2011", b"\\": "\\", b"{": "{", b"}": "}", b"\n": "\n", b"\r": "\n"}
_OPENING = ord("{")
_MAX_DEPTH = 1000
_MAX_SKIPPED = 16
_BEGINNING = 1000  # bytes that contain the header of RTF


def decompress(data: bytes, unconditional_size: int = ALWAYS_READ) -> bytes:
    """Return as much of the RTF as can be decompressed.

    Args:
        data: compressed RTF.
        unconditional_size: bytes read of any input; more only by its compressed size and `MAX_RTF`.
    """
    kind, content = data[8:12], data[_HEADER:]
    size = min(int.from_bytes(data[4:8], "little"), MAX_RTF, unconditional_size + _MAX_RATIO * len(content))
    if kind == _UNCOMPRESSED:
        return content[:size]
    if kind != _COMPRESSED:
        return b""
    out = bytearray(_INITIAL)
    size += len(_INITIAL)
    position, end = 0, len(content)
    while position < end and len(out) < size:
        control = content[position]
        position += 1
        for bit in range(8):
            if position >= end or len(out) >= size:
                break
            if not control >> bit & 1:
                out.append(content[position])
                position += 1
                continue
            reference = int.from_bytes(content[position : position + 2], "big")
            position += 2
            offset, length = reference >> 4, (reference & 0xF) + 2
            distance = (len(out) - offset) % _WINDOW
            if not distance or distance > len(out):  # a reference to the current position marks the end
                return bytes(out[len(_INITIAL) : size])
            for _ in range(length):
                out.append(out[-distance])
    return bytes(out[len(_INITIAL) : size])


def parse_rtf(rtf: bytes) -> tuple[str, str]:
    """Parse RTF.

    Returns:
        The text, and the HTML that the RTF was generated from (MS-OXRTFEX). One of the two is empty.
    """
    code_page = _CODE_PAGE.search(rtf, 0, _BEGINNING)
    parser = _RtfParser(
        code_page[1].decode() if code_page else "1252", html=bool(_FROM_HTML.search(rtf, 0, _BEGINNING))
    )
    text = parser.run(rtf)
    return ("", text) if parser.html else (text.strip("\n"), "")


class _Group(NamedTuple):
    """The state of a group, which a brace opens.

    Attributes:
        hidden: whether its content is not text.
        tag: whether its content is HTML.
        skipped: number of characters that repeat each Unicode character for old readers.
    """

    hidden: bool = False
    tag: bool = False
    skipped: int = 1


class _RtfParser:
    """A parser of RTF. `html` selects the HTML from which the RTF was generated."""

    def __init__(self, code_page: str, *, html: bool) -> None:
        self.html = html
        self._codec = _codec_for(code_page)
        self._group = _Group()
        self._groups: list[_Group] = []
        self._text: list[str] = []
        self._bytes = bytearray()
        self._ignorable = False
        self._only_rtf = False  # between \htmlrtf and \htmlrtf0: not part of the HTML
        self._to_skip = 0

    def run(self, rtf: bytes) -> str:
        position: int | None = 0
        while position is not None:
            position = self._parse_up_to_binary(rtf, position)
        self._flush()
        text = "".join(self._text).replace("\0", "")
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _parse_up_to_binary(self, rtf: bytes, start: int) -> int | None:
        """Parse tokens up to the next binary data, and return the end of that data; None at the end of the RTF."""
        for match in _TOKEN.finditer(rtf, start):
            match match.lastgroup:
                case "braces":
                    self._process_braces(match["braces"])
                case "plain":
                    self._process_text(match["plain"].translate(None, b"\r\n"))
                case "word" | "number":
                    word, number = match["word"].lower(), match["number"]
                    self._process_word(word, int(number) if number else None)
                    if word == b"bin" and number:
                        return match.end() + max(int(number), 0)
                case "byte":
                    self._append_bytes(bytes.fromhex(match["byte"].decode()))
                case "symbol" if match["symbol"] == b"*":
                    self._ignorable = True
                case "symbol":
                    self._append_character(_SYMBOLS.get(match["symbol"], ""))
        return None

    def _process_text(self, data: bytes) -> None:
        """Process text and braces as a single token, since each token takes time."""
        for number, piece in enumerate(_BRACES.split(data)):
            if number % 2:
                self._process_braces(piece)
            elif piece:
                self._append_bytes(piece)

    def _process_braces(self, braces: bytes) -> None:
        self._to_skip, self._ignorable = 0, False
        group, groups = self._group, self._groups
        for brace in braces:
            if brace == _OPENING:
                if len(groups) < _MAX_DEPTH:
                    groups.append(group)
            elif groups:
                group = groups.pop()
        self._group = group

    def _process_word(self, word: bytes, number: int | None) -> None:
        ignorable, self._ignorable = self._ignorable, False
        if word == b"htmltag" and self.html:
            self._group = self._group._replace(tag=True)
        elif word == b"htmlrtf":
            self._only_rtf = number != 0
        elif word in _HIDDEN or ignorable:
            self._group = self._group._replace(hidden=True)
        elif word == b"uc":
            self._group = self._group._replace(skipped=min(max(number or 0, 0), _MAX_SKIPPED))
        elif word == b"u" and number is not None:
            self._append_character(chr(number & 0xFFFF))
            self._to_skip = self._group.skipped
        elif word in _CHARACTERS:
            self._append_character(_CHARACTERS[word])

    def _is_text(self) -> bool:
        return self._group.tag or not (self._group.hidden or (self.html and self._only_rtf))

    def _append_character(self, text: str) -> None:
        self._to_skip = 0
        if text and self._is_text():
            self._flush()
            self._text.append(text)

    def _append_bytes(self, data: bytes) -> None:
        if self._to_skip:
            skipped = min(self._to_skip, len(data))
            self._to_skip -= skipped
            data = data[skipped:]
        if self._is_text():
            self._bytes += data

    def _flush(self) -> None:
        if self._bytes:
            self._text.append(self._bytes.decode(self._codec, "replace"))
            self._bytes.clear()


def _codec_for(code_page: str) -> str:
    try:
        return codecs.lookup({"65001": "utf-8", "10000": "mac-roman"}.get(code_page, f"cp{code_page}")).name
    except LookupError:
        return "cp1252"
