"""Header blocks: from bytes to fields (RFC 5322 section 2.2, and what is really sent)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shared.mime.defects import Defects
from shared.mime.encoded_words import decoded, header_text

_ANY_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:([^\n]*+)", re.MULTILINE)
_ORDINARY_FIELD = re.compile(rb"^([!#-9;<>-~]++)[ \t]*+:([^\n]*+)", re.MULTILINE)
"""A field whose name has no equals sign and no quote, which a line with a parameter has."""

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_LINE = re.compile(rb"[^\n]*(?:\n|\Z)")

# In a block with lines that are none of a header, what stands above the last of these is still the header.
_FAMILIAR = re.compile(
    rb"(?:bcc|cc|content-(?:disposition|id|transfer-encoding|type)|date|dkim-signature|from|importance|in-reply-to"
    rb"|list-[a-z]+|message-id|mime-version|received|references|reply-to|return-path|sender|subject|to|x-[!-9;-~]+)"
    rb"[ \t]*:",
    re.IGNORECASE,
)

_FAMILIAR_LINES = re.compile(rb"^" + _FAMILIAR.pattern, re.IGNORECASE | re.MULTILINE)
_EMPTY_LINE = re.compile(rb"\r{0,2}\n\r{0,2}\n|\r\r")
_SEVERAL = 3
_LARGE = 64 * 1024  # bytes of a header

_WITH_PARAMETERS = re.compile(rb"content-(?:disposition|type)[ \t]*:", re.IGNORECASE)
_PARAMETER_LINE = re.compile(
    rb"(?:boundary|charset|filename|format|name|type)(?:\*\d{0,4}\*?)?[ \t]*="
    rb"[ \t]*(?:\"[^\"\n]*+\"?|[^\s\";]++)[ \t]*;?[ \t]*\r*\n?",
    re.IGNORECASE,
)

OF_A_PART = frozenset(
    {"content-disposition", "content-id", "content-language", "content-transfer-encoding", "content-type"}
)
"""Fields that are kept of a part other than the message itself."""

_MOST_OF_ONE_NAME = 2  # of a part: the value that counts, and the one that shows that it is repeated


class Headers:
    """The fields of one header block, in order.

    Attributes:
        fields: name as written, and raw value, unfolded.
    """

    __slots__ = ("_defects", "_index", "fields")

    def __init__(self, fields: list[tuple[str, bytes]], defects: Defects) -> None:
        self.fields = fields
        self._defects = defects
        self._index: dict[str, list[bytes]] = {}
        for name, value in fields:
            self._index.setdefault(name.lower(), []).append(value)

    def texts(self, name: str) -> list[str]:
        """The values of every field of a name, given in lower case. Encoded words are left as they are."""
        values = self._index.get(name)
        return [header_text(value, self._defects) for value in values] if values else []

    def has_any(self, names: frozenset[str]) -> bool:
        """Return whether there is a field of any of these names, given in lower case."""
        return not names.isdisjoint(self._index)

    def text(self, name: str) -> str | None:
        """The first of these values, or None."""
        values = self._index.get(name)
        if not values:
            return None
        if len(values) > 1:
            self._defects.add(f"there is more than one {name.title()}: the first one counts")
        return header_text(values[0], self._defects)

    def decoded(self) -> Iterator[tuple[str, str]]:
        """Every field, in order, with its decoded value."""
        for name, value in self.fields:
            if value.isascii() and b"=?" not in value and (text := value.decode("ascii")).isprintable():
                yield name, text
                continue
            yield name, decoded(header_text(value, self._defects), self._defects)

    def close_quotes(self, block: bytes) -> None:
        """Close a parameter's quote at the end of its line if nothing closes it.

        Unfolding removes the line ends, so the block is needed. A quote on the last line is left to `parameters.read`.
        """
        for name in ("content-type", "content-disposition"):
            values = self._index.get(name)
            if values and values[0].count(b'"') % 2:
                closed = _with_closed_quote(name, block)
                if closed is not None:
                    self._defects.add("a parameter's quote is not closed")
                    values[0] = closed


def _with_closed_quote(name: str, block: bytes) -> bytes | None:
    """The first field of a name, unfolded, its last odd quote closed at the line's end; None on its last line."""
    field = re.search(rb"^%s[ \t]*:([^\n]*+(?:\n[ \t][^\n]*+)*+)" % name.encode(), block, re.IGNORECASE | re.MULTILINE)
    lines = field[1].split(b"\n") if field else []
    odd = [index for index, line in enumerate(lines) if line.count(b'"') % 2]
    if not odd or odd[-1] == len(lines) - 1:
        return None
    lines[odd[-1]] = lines[odd[-1]].rstrip(b"; \t\r") + b'";'
    return _unfolded(b"\n".join(line.rstrip(b"\r") for line in lines)).strip()


def read_block(
    block: bytes, defects: Defects, *, bare_cr: bool = False, names: frozenset[str] | None = None
) -> tuple[Headers, int]:
    """Read a header block.

    Args:
        block: from the first line of the header up to the empty line or the end.
        defects: where repairs are noted.
        bare_cr: whether a CR alone ends a line.
        names: the fields to keep, in lower case; None keeps all.

    Returns:
        The fields, and how many bytes of the block they take: fewer than all if what follows is no header, which then
        is the beginning of the body.
    """
    if bare_cr and b"\r" in block:
        block = block.replace(b"\r\n", b" \n").replace(b"\r", b"\n")  # as long as it was
    fields, end = _fields(block, _ORDINARY_FIELD), len(block)
    if fields is None:
        dashes = block.find(b"\n--")
        block, end = _repaired(block[: dashes + 1] if dashes >= 0 else block, defects)
        fields = _fields(block, _ANY_FIELD) or []
    if names is not None:
        fields = _only(fields, names)
    headers = Headers(fields, defects)
    headers.close_quotes(block)
    return headers, end


def looks_like_header(data: bytes) -> bool:
    """Return whether data begins with a header: fields only, a familiar one among them, or several familiar ones."""
    block = _EMPTY_LINE.split(data, maxsplit=1)[0].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if block.startswith((b"From ", b">From ")):
        block = block.partition(b"\n")[2]  # an mbox file's separator
    familiar = len(_FAMILIAR_LINES.findall(block))
    return familiar >= _SEVERAL or (familiar > 0 and _fields(block, _ORDINARY_FIELD) is not None)


def _fields(block: bytes, pattern: re.Pattern[bytes]) -> list[tuple[str, bytes]] | None:
    """The fields of a block, or None if it has a line that is not a field."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r\n", b"\n")
    lines = _unfolded(block).strip(b"\n")
    if not lines:
        return []
    if len(lines) > _LARGE:
        # `findall` would hold each of hundreds of thousands of fields twice, and each name as often as it is there.
        names: dict[str, str] = {}
        found = ((match[1].decode("ascii"), match[2].strip()) for match in pattern.finditer(lines))
        fields = [(names.setdefault(name, name), value) for name, value in found]
    else:
        fields = [(name.decode("ascii"), value.strip()) for name, value in pattern.findall(lines)]
    if len(fields) <= lines.count(b"\n") and len(fields) < sum(map(bool, lines.split(b"\n"))):
        return None  # a line does not match
    return fields


def _unfolded(block: bytes) -> bytes:
    return block.replace(b"\n ", b" ").replace(b"\n\t", b"\t")


def _only(fields: list[tuple[str, bytes]], names: frozenset[str]) -> list[tuple[str, bytes]]:
    """The fields of these names, each name at most twice."""
    kept: list[tuple[str, bytes]] = []
    count: dict[str, int] = {}
    for name, value in fields:
        key = name.lower()
        if key in names and count.get(key, 0) < _MOST_OF_ONE_NAME:
            count[key] = count.get(key, 0) + 1
            kept.append((name, value))
    return kept


def _lines(block: bytes) -> Iterator[tuple[bytes, int]]:
    """Return each line of a block, and where it ends."""
    return ((match[0], match.end()) for match in _LINE.finditer(block) if match[0])


def _repaired(block: bytes, defects: Defects) -> tuple[bytes, int]:
    """A block without the lines that are none of a header, and where it ends."""
    # Twice, and not once into a list: lines of two bytes would take a hundred bytes of memory each.
    last = max((index for index, (line, _) in enumerate(_lines(block)) if _FAMILIAR.match(line)), default=-1)
    kept: list[bytes] = []
    end = 0
    parametrised = False
    for index, (line, line_end) in enumerate(_lines(block)):
        if parametrised and kept[-1].rstrip().endswith(b";") and _PARAMETER_LINE.fullmatch(line):
            defects.add("a parameter stands on a line without indent")
            kept.append(b" " + line)
        elif _FIELD.match(line) or not line.strip() or (kept and line[:1] in b" \t"):
            kept.append(line)
            if line[:1] not in b" \t":
                parametrised = _WITH_PARAMETERS.match(line) is not None
        elif line.startswith((b"From ", b">From ")) and not kept:
            pass  # an mbox file's separator
        elif index > last or line.startswith(b"--"):
            defects.add("no empty line stands between header and body")
            break
        elif kept:
            defects.add("a line of the header is no field: taken as the rest of the one above")
            kept.append(b" " + line)
        else:
            defects.add("the header begins with a line that is no field: skipped")
        end = line_end
    return b"".join(kept), end
