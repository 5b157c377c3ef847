"""Text of compressed RTF (MS-OXRTFCP), as Outlook puts it into a winmail.dat; the HTML that it was made of if it was.

All that is read is the text, its paragraphs and its tables' cells.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

MOST_RTF = 1024 * 1024
"""Bytes of RTF that are decompressed and read."""

ALWAYS_READ = 64 * 1024
_MOST_RATIO = 3
"""Bytes of RTF that are read for a compressed byte, beyond `ALWAYS_READ`. The format allows 8 (17 for two)."""

_HEADER = 16
_COMPRESSED, _UNCOMPRESSED = b"LZFu", b"MELA"
_WINDOW = 4096
# The dictionary that both sides begin with (MS-OXRTFCP section 2.2.1.1.1).
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
_MOST_DEPTH = 1000
_MOST_SKIPPED = 16
_BEGINNING = 1000  # bytes, in which the header of RTF is


def decompress(data: bytes, always: int = ALWAYS_READ) -> bytes:
    """Return the RTF, as much of it as can be read.

    Args:
        data: compressed RTF.
        always: bytes that are read of a small input. A larger one is read up to `MOST_RTF` bytes.
    """
    kind, content = data[8:12], data[_HEADER:]
    size = min(int.from_bytes(data[4:8], "little"), MOST_RTF, always + _MOST_RATIO * len(content))
    if kind == _UNCOMPRESSED:
        return content[:size]
    if kind != _COMPRESSED:
        return b""
    out = bytearray(_INITIAL)
    size += len(_INITIAL)
    at, end = 0, len(content)
    while at < end and len(out) < size:
        control = content[at]
        at += 1
        for bit in range(8):
            if at >= end or len(out) >= size:
                break
            if not control >> bit & 1:
                out.append(content[at])
                at += 1
                continue
            reference = int.from_bytes(content[at : at + 2], "big")
            at += 2
            offset, length = reference >> 4, (reference & 0xF) + 2
            distance = (len(out) - offset) % _WINDOW
            if not distance or distance > len(out):  # it refers to itself: the end
                return bytes(out[len(_INITIAL) : size])
            for _ in range(length):
                out.append(out[-distance])
    return bytes(out[len(_INITIAL) : size])


def read_rtf(rtf: bytes) -> tuple[str, str]:
    """Read RTF.

    Returns:
        Its text, and the HTML that it was made of (MS-OXRTFEX): one of them is empty.
    """
    code_page = _CODE_PAGE.search(rtf, 0, _BEGINNING)
    reader = _Reader(code_page[1].decode() if code_page else "1252", html=bool(_FROM_HTML.search(rtf, 0, _BEGINNING)))
    text = reader.run(rtf)
    return ("", text) if reader.html else (text.strip("\n"), "")


class _Group(NamedTuple):
    """What a brace opened.

    Attributes:
        hidden: its content is not text.
        tag: its content is HTML.
        skipped: characters behind each Unicode character that repeat it for old readers.
    """

    hidden: bool = False
    tag: bool = False
    skipped: int = 1


class _Reader:
    """Reads RTF; `html` says that it wants the HTML that the RTF was made of."""

    def __init__(self, code_page: str, *, html: bool) -> None:
        self.html = html
        self._codec = _codec(code_page)
        self._group = _Group()
        self._groups: list[_Group] = []
        self._text: list[str] = []
        self._bytes = bytearray()
        self._ignorable = False
        self._only_rtf = False  # between \htmlrtf and \htmlrtf0: not of the HTML
        self._to_skip = 0

    def run(self, rtf: bytes) -> str:
        at: int | None = 0
        while at is not None:
            at = self._read_up_to_binary(rtf, at)
        self._flush()
        text = "".join(self._text).replace("\0", "")
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _read_up_to_binary(self, rtf: bytes, start: int) -> int | None:
        """Read tokens up to the next binary data, and return where the data ends; None at the end of the RTF."""
        for match in _TOKEN.finditer(rtf, start):
            match match.lastgroup:
                case "braces":
                    self._braces(match["braces"])
                case "plain":
                    self._run_of_text(match["plain"].translate(None, b"\r\n"))
                case "word" | "number":
                    word, number = match["word"].lower(), match["number"]
                    self._word(word, int(number) if number else None)
                    if word == b"bin" and number:
                        return match.end() + max(int(number), 0)
                case "byte":
                    self._plain(bytes.fromhex(match["byte"].decode()))
                case "symbol" if match["symbol"] == b"*":
                    self._ignorable = True
                case "symbol":
                    self._character(_SYMBOLS.get(match["symbol"], ""))
        return None

    def _run_of_text(self, data: bytes) -> None:
        """Read text and braces: as one token, since each token costs time."""
        for number, piece in enumerate(_BRACES.split(data)):
            if number % 2:
                self._braces(piece)
            elif piece:
                self._plain(piece)

    def _braces(self, braces: bytes) -> None:
        self._to_skip, self._ignorable = 0, False
        group, groups = self._group, self._groups
        for brace in braces:
            if brace == _OPENING:
                if len(groups) < _MOST_DEPTH:
                    groups.append(group)
            elif groups:
                group = groups.pop()
        self._group = group

    def _word(self, word: bytes, number: int | None) -> None:
        ignorable, self._ignorable = self._ignorable, False
        if word == b"htmltag" and self.html:
            self._group = self._group._replace(tag=True)
        elif word == b"htmlrtf":
            self._only_rtf = number != 0
        elif word in _HIDDEN or ignorable:
            self._group = self._group._replace(hidden=True)
        elif word == b"uc":
            self._group = self._group._replace(skipped=min(max(number or 0, 0), _MOST_SKIPPED))
        elif word == b"u" and number is not None:
            self._character(chr(number & 0xFFFF))
            self._to_skip = self._group.skipped
        elif word in _CHARACTERS:
            self._character(_CHARACTERS[word])

    def _is_text(self) -> bool:
        return self._group.tag or not (self._group.hidden or (self.html and self._only_rtf))

    def _character(self, text: str) -> None:
        self._to_skip = 0
        if text and self._is_text():
            self._flush()
            self._text.append(text)

    def _plain(self, data: bytes) -> None:
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


def _codec(code_page: str) -> str:
    try:
        return codecs.lookup({"65001": "utf-8", "10000": "mac-roman"}.get(code_page, f"cp{code_page}")).name
    except LookupError:
        return "cp1252"
