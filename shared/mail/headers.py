"""Header blocks: from bytes to fields (RFC 5322 section 2.2, and what is really sent)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shared.mail.defects import Defects
from shared.mail.words import decoded, header_text

_NAME = re.compile(rb"[!-9;-~]+[ \t]*\Z")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_LINE = re.compile(rb"[^\n]*(?:\n|\Z)")

# In a block with lines that are none of a header, what stands above the last of these is still the header.
_FAMILIAR = re.compile(
    rb"(?:bcc|cc|content-(?:disposition|id|transfer-encoding|type)|date|dkim-signature|from|importance|in-reply-to"
    rb"|list-[a-z]+|message-id|mime-version|received|references|reply-to|return-path|sender|subject|to|x-[!-9;-~]+)"
    rb"[ \t]*:",
    re.IGNORECASE,
)


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
            yield name, decoded(header_text(value, self._defects), self._defects)


def read_block(block: bytes, defects: Defects, *, bare_cr: bool = False) -> tuple[Headers, int]:
    """Read a header block.

    Args:
        block: from the first line of the header up to the empty line or the end.
        defects: where repairs are noted.
        bare_cr: whether a CR alone ends a line.

    Returns:
        The fields, and how many bytes of the block they take: fewer than all if what follows is no header, which then
        is the beginning of the body.
    """
    if bare_cr and b"\r" in block:
        block = block.replace(b"\r\n", b" \n").replace(b"\r", b"\n")  # as long as it was
    fields = _fields(block)
    if fields is not None:
        return Headers(fields, defects), len(block)
    kept, end = _repaired(block, defects)
    return Headers(_fields(kept) or [], defects), end


def _fields(block: bytes) -> list[tuple[str, bytes]] | None:
    """The fields of a block, or None if it has a line that is none."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r\n", b"\n")
    unfolded = block.replace(b"\n ", b" ").replace(b"\n\t", b"\t")
    fields = []
    for line in unfolded.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon and _NAME.match(name):
            fields.append((name.rstrip().decode("ascii"), value.strip()))
        elif line:
            return None
    return fields


def _repaired(block: bytes, defects: Defects) -> tuple[bytes, int]:
    """A block without the lines that are none of a header, and where it ends."""
    lines = [(match[0], match.end()) for match in _LINE.finditer(block) if match[0]]
    last = max((index for index, (line, _) in enumerate(lines) if _FAMILIAR.match(line)), default=-1)
    kept: list[bytes] = []
    end = 0
    for index, (line, line_end) in enumerate(lines):
        if _FIELD.match(line) or not line.strip() or (kept and line[:1] in b" \t"):
            kept.append(line)
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
