"""Header blocks, their fields (RFC 5322 section 2.2), and values with parameters (RFC 2045 section 5.1, RFC 2231).

Real mail has malformed blocks and values. `parse_block` and `parse_parameters` repair the common errors; well-formed
values take a shorter path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from shared.mime.charsets import decode
from shared.mime.defects import Defects
from shared.mime.encoded_words import decode_words, header_text

_ANY_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:([^\n]*+)", re.MULTILINE)
_ORDINARY_FIELD = re.compile(rb"^([!#-9;<>-~]++)[ \t]*+:([^\n]*+)", re.MULTILINE)
"""A field whose name contains no equals sign and no quote, unlike a line with a parameter."""

_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_LINE = re.compile(rb"[^\n]*(?:\n|\Z)")

# In a block with invalid lines, everything up to the last line that matches this is still the header.
_FAMILIAR = re.compile(
    rb"(?:arc-[a-z-]+|authentication-results|bcc|cc|content-(?:disposition|id|transfer-encoding|type)|date|delivered-to"
    rb"|dkim-signature|from|importance|in-reply-to|list-[a-z]+|message-id|mime-version|received|references|reply-to|return-path|sender|subject|to|x-[!-9;-~]+)"
    rb"[ \t]*:",
    re.IGNORECASE,
)

_FAMILIAR_LINE = re.compile(rb"^" + _FAMILIAR.pattern, re.IGNORECASE | re.MULTILINE)
_EMPTY_LINE = re.compile(rb"\r{0,2}\n\r{0,2}\n|\r\r")
_MIN_FAMILIAR = 3
_LARGE_BLOCK = 64 * 1024  # bytes

_WITH_PARAMETERS = re.compile(rb"content-(?:disposition|type)[ \t]*:", re.IGNORECASE)

# A line that can only be parameters: a name and a quoted string, a single word with or without another parameter after
# it, or an unquoted file name, which may contain spaces.
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,80}+"
_PARAMETER_LINE = re.compile(
    rb"%b[ \t]*+=[ \t]*+(?:\"[^\n]*+|[^\s\";]++(?:[ \t]*+(?:;|[ \t])[ \t]*+%b[ \t]*+=[^\n]*+)?+\Z)"
    rb"|(?:file)?name[ \t]*+=[^\n\";]{1,300}\.[0-9a-z]{1,5}\Z" % (_TOKEN, _TOKEN),
    re.IGNORECASE,
)

PART_FIELDS = frozenset(
    {"content-disposition", "content-id", "content-language", "content-transfer-encoding", "content-type"}
)
"""Fields that are kept for parts other than the message itself."""

_MAX_SAME_NAME = 2  # in a part: the value that is used, and a second value as evidence of the repetition

_MAX_REST = 300
"""Maximum number of characters after an inner quote that may still belong to the value."""

_MAX_CACHED_LENGTH = 80
"""Maximum length of a value whose result is cached."""

_NOT_CACHED_MARKS = ("*", "=?", "boundary", "name")

_LETTER = r"[A-Za-z0-9!#$&^_.+-]"
_KNOWN = frozenset({"boundary", "charset", "delsp", "filename", "format", "name", "report-type", "start", "type"})
_UNUSED = frozenset({"creation-date", "modification-date", "read-date", "size"})
"""Other parameters of a Content-Disposition (RFC 2183)."""

_KNOWN_NAME = rf"(?:{'|'.join(sorted(_KNOWN | _UNUSED))})(?:\*\d{{0,4}}\*?)?"

_KIND = re.compile(rf"\s*({_LETTER}{{1,127}}+)(?!\*|\s?=)(?:\s?/\s?({_LETTER}{{1,127}}))?")
_WELL_FORMED = re.compile(
    rf"""\s*+{_LETTER}{{1,127}}+ (?:/{_LETTER}{{1,127}}+)?
    (?:\s*+ ;\s*+ [^\s=;,:"']{{1,200}}+ = (?:"[^"\\]*+" | [^\s;,:"]++) )*+
    \s*+ ;?+ \s*+""",
    re.VERBOSE,
)
_PARAMETER = re.compile(r';\s*+([^\s=;"]+)=(?:"([^"]*)"|([^\s;]+))')

_SEPARATORS = re.compile(r"(?:[\s;,:]|\([^()]{0,1000}\))*+")
_ASSIGNMENT = re.compile(r'"?([^\s=;,:"]{1,200}+)"?\s*+=\s*+')
_COLON = re.compile(r"(filename|name)\s*+:\s*+", re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_AFTER_QUOTED = re.compile(rf"\s*+(?:[;:(]|\Z|,?\s{{0,9}}{_KNOWN_NAME}\s?=)", re.IGNORECASE)
_KNOWN_NEXT = re.compile(rf"\s*;\s{{0,9}}{_KNOWN_NAME}\s?=", re.IGNORECASE)
_NEXT = re.compile(rf'\s*;\s{{0,9}}[^\s=;"]{{1,50}}\s?=|[\s,]{_KNOWN_NAME}\s?=', re.IGNORECASE)
_SWALLOWED = re.compile(r"[;,\s]\s{0,9}[A-Za-z][A-Za-z0-9*-]{0,40}\s?=\s?\Z")
_END_OF_BARE = re.compile(rf";|[\s,](?={_KNOWN_NAME}\s?=)", re.IGNORECASE)
_ESCAPED = re.compile(r'\\(["\\])')
_SECTION = re.compile(r"(.+?)(?:\*(\d{1,4}))?(\*)?", re.DOTALL)
_WORDS = re.compile(r"\s*+(?:=\?[^?\s]{1,80}\?[BbQq]\?[^?]*+\?=\s*+)++")


class Headers:
    """The fields of a header block, in order.

    Attributes:
        fields: name as written and raw unfolded value.
    """

    __slots__ = ("_defects", "_index", "fields")

    def __init__(self, fields: list[tuple[str, bytes]], defects: Defects) -> None:
        self.fields = fields
        self._defects = defects
        self._index: dict[str, list[bytes]] = {}
        for name, value in fields:
            self._index.setdefault(name.lower(), []).append(value)

    def get_all(self, name: str) -> list[str]:
        """Return the values of every field of a name (in lower case), with encoded words left undecoded."""
        values = self._index.get(name)
        return [header_text(value, self._defects) for value in values] if values else []

    def has_any(self, names: frozenset[str]) -> bool:
        """Return whether there is a field with any of these names (in lower case)."""
        return not names.isdisjoint(self._index)

    def get(self, name: str) -> str | None:
        """Return the first value of a name (in lower case), or None."""
        values = self._index.get(name)
        if not values:
            return None
        if len(values) > 1:
            self._defects.add(f"there is more than one {name.title()}: the first one counts")
        return header_text(values[0], self._defects)

    def decoded_fields(self) -> Iterator[tuple[str, str]]:
        """Return every field in order with its decoded value."""
        for name, value in self.fields:
            if value.isascii() and b"=?" not in value and (text := value.decode("ascii")).isprintable():
                yield name, text
                continue
            yield name, decode_words(header_text(value, self._defects), self._defects)

    def close_quotes(self, block: bytes) -> None:
        """Close a parameter's unclosed quote at the end of its line.

        Unfolding removes the line ends, so the block is needed. `parse_parameters` handles a quote on the last line.
        """
        for name in ("content-type", "content-disposition"):
            values = self._index.get(name)
            if values and values[0].count(b'"') % 2:
                closed = _close_quote(name, block)
                if closed is not None:
                    self._defects.add("a parameter's quote is not closed")
                    values[0] = closed


def _close_quote(name: str, block: bytes) -> bytes | None:
    """Return the first field of a name, unfolded, with its odd quote closed at its line's end; None on the last."""
    field = re.search(rb"^%s[ \t]*:([^\n]*+(?:\n[ \t][^\n]*+)*+)" % name.encode(), block, re.IGNORECASE | re.MULTILINE)
    lines = field[1].split(b"\n") if field else []
    odd = [index for index, line in enumerate(lines) if line.count(b'"') % 2]
    if not odd or odd[-1] == len(lines) - 1:
        return None
    lines[odd[-1]] = lines[odd[-1]].rstrip(b"; \t\r") + b'";'
    return _unfold(b"\n".join(line.rstrip(b"\r") for line in lines)).strip()


def parse_block(
    block: bytes, defects: Defects, *, bare_cr: bool = False, names: frozenset[str] | None = None
) -> tuple[Headers, int]:
    """Parse a header block.

    Args:
        block: the block from the first line of the header up to the empty line or the end.
        defects: collects the repairs.
        bare_cr: whether a CR alone ends a line.
        names: the fields to keep, in lower case; None keeps all.

    Returns:
        The fields, and the number of bytes that they take. If that is less than the whole block, the rest is the
        beginning of the body.
    """
    if bare_cr and b"\r" in block:
        block = block.replace(b"\r\n", b" \n").replace(b"\r", b"\n")  # keeps the length
    fields, end = _parse_fields(block, _ORDINARY_FIELD), len(block)
    if fields is None:
        dashes = block.find(b"\n--")
        block, end = _repair(block[: dashes + 1] if dashes >= 0 else block, defects)
        fields = _parse_fields(block, _ANY_FIELD) or []
    if names is not None:
        fields = _select_fields(fields, names)
    headers = Headers(fields, defects)
    headers.close_quotes(block)
    return headers, end


def looks_like_header(data: bytes) -> bool:
    """Return whether data begins with a header: only fields including a familiar one, or several familiar fields."""
    block = _EMPTY_LINE.split(data, maxsplit=1)[0].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if block.startswith((b"From ", b">From ")):
        block = block.partition(b"\n")[2]  # the separator of an mbox file
    familiar = len(_FAMILIAR_LINE.findall(block))
    return familiar >= _MIN_FAMILIAR or (familiar > 0 and _parse_fields(block, _ORDINARY_FIELD) is not None)


def _parse_fields(block: bytes, pattern: re.Pattern[bytes]) -> list[tuple[str, bytes]] | None:
    """Return the fields of a block, or None if a line is not a field."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r\n", b"\n")
    lines = _unfold(block).strip(b"\n")
    if not lines:
        return []
    if len(lines) > _LARGE_BLOCK:
        # `findall` would hold each of hundreds of thousands of fields twice, and every repetition of a name.
        names: dict[str, str] = {}
        pairs = ((match[1].decode("ascii"), match[2].strip()) for match in pattern.finditer(lines))
        fields = [(names.setdefault(name, name), value) for name, value in pairs]
    else:
        fields = [(name.decode("ascii"), value.strip()) for name, value in pattern.findall(lines)]
    if len(fields) <= lines.count(b"\n") and len(fields) < sum(map(bool, lines.split(b"\n"))):
        return None  # a line does not match
    return fields


def _unfold(block: bytes) -> bytes:
    return block.replace(b"\n ", b" ").replace(b"\n\t", b"\t")


def _select_fields(fields: list[tuple[str, bytes]], names: frozenset[str]) -> list[tuple[str, bytes]]:
    """Return the fields with these names, at most two of each name."""
    kept: list[tuple[str, bytes]] = []
    count: dict[str, int] = {}
    for name, value in fields:
        key = name.lower()
        if key in names and count.get(key, 0) < _MAX_SAME_NAME:
            count[key] = count.get(key, 0) + 1
            kept.append((name, value))
    return kept


def _iterate_lines(block: bytes) -> Iterator[tuple[bytes, int]]:
    """Return each line of a block, and its end."""
    return ((match[0], match.end()) for match in _LINE.finditer(block) if match[0])


def _repair(block: bytes, defects: Defects) -> tuple[bytes, int]:
    """Return a block without the lines that do not belong to a header, and the end of the header."""
    # Two passes instead of a list: lines of two bytes would take a hundred bytes of memory each.
    last = max((index for index, (line, _) in enumerate(_iterate_lines(block)) if _FAMILIAR.match(line)), default=-1)
    kept: list[bytes] = []
    end = 0
    has_parameters = False
    for index, (line, line_end) in enumerate(_iterate_lines(block)):
        if has_parameters and kept[-1].rstrip().endswith(b";") and _PARAMETER_LINE.match(line.rstrip(b"; \t\r\n")):
            defects.add("a parameter is on a line without indent")
            kept.append(b" " + line)
        elif _FIELD.match(line) or not line.strip() or (kept and line[:1] in b" \t"):
            kept.append(line)
            if line[:1] not in b" \t":
                has_parameters = _WITH_PARAMETERS.match(line) is not None
        elif line.startswith((b"From ", b">From ")) and not kept:
            pass  # the separator of an mbox file
        elif index > last or line.startswith(b"--"):
            defects.add("no empty line between header and body")
            break
        elif kept:
            defects.add("a line of the header is not a field: taken as continuation of the field above")
            kept.append(b" " + line)
        else:
            defects.add("the header begins with a line that is not a field: skipped")
        end = line_end
    return b"".join(kept), end


@dataclass(frozen=True, slots=True)
class ParametrisedValue:
    """A structured header value with its parameters.

    Attributes:
        kind: the type in lower case, `text/plain` or `attachment`; "" if it is missing or unreadable.
        parameters: decoded values of the parameters that Mailroom uses, by name in lower case.
    """

    kind: str
    parameters: dict[str, str]

    def token(self, name: str) -> str | None:
        """Return the first word of a parameter's value, without a following comment; None if there is none."""
        words = self.parameters.get(name, "").split(None, 1)
        return words[0].strip("'\"") or None if words else None


def parse_parameters(text: str, defects: Defects) -> ParametrisedValue:
    """Parse a value with parameters. The first value of a repeated parameter is used.

    Only parameters in `_KNOWN` are kept, which bounds memory.
    """
    if len(text) <= _MAX_CACHED_LENGTH and (cached := _parse_cached(text)):
        return cached
    if "=?" in text and (match := _WORDS.match(text)):
        defects.add("a structured header is written as an encoded word: decoded")
        text = decode_words(match[0], defects) + text[match.end() :]
    if _WELL_FORMED.fullmatch(text):
        return _parse_well_formed(text, defects)
    text = _strip_outer_quotes(text)
    match = _KIND.match(text)
    kind = f"{match[1]}/{match[2]}" if match and match[2] else match[1] if match else ""
    pairs = list(_scan(text, match.end() if match else 0, defects))
    return ParametrisedValue(kind.lower(), _collect(pairs, defects) if pairs else {})


def _parse_well_formed(text: str, defects: Defects) -> ParametrisedValue:
    pairs = [(name, quoted or bare) for name, quoted, bare in _PARAMETER.findall(text)] if "=" in text else []
    return ParametrisedValue(text.partition(";")[0].strip().lower(), _collect(pairs, defects) if pairs else {})


@lru_cache(maxsize=256)
def _parse_cached(text: str) -> ParametrisedValue | None:
    """Return a value that many messages share; None for other values, and for values with a file name."""
    if any(mark in text for mark in _NOT_CACHED_MARKS) or not _WELL_FORMED.fullmatch(text):
        return None
    return _parse_well_formed(text, Defects())


def _collect(pairs: list[tuple[str, str]], defects: Defects) -> dict[str, str]:
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for raw_name, value in pairs:
        name = raw_name.lower()
        if name in _KNOWN:
            plain.setdefault(name, value)
        elif "*" in name and (section := _SECTION.fullmatch(name)) and section[1] in _KNOWN:
            pieces = sections.setdefault(section[1], {})
            pieces.setdefault(int(section[2] or 0), (value, bool(section[3])))
    for name, value in plain.items():
        if "=?" in value and name in {"name", "filename"}:
            plain[name] = decode_words(value, defects)  # common, against RFC 2047 section 5
    for name, pieces in sections.items():
        plain[name] = _join_sections(pieces, defects)
    return plain


def _strip_outer_quotes(text: str) -> str:
    """Return the value without quotes around its type, or around all of it."""
    stripped = text.strip()
    if not stripped.startswith('"'):
        return text
    if ";" in stripped[1:].partition('"')[0]:
        return stripped[1:].removesuffix('"')
    return stripped.replace('"', "", 2)


def _scan(text: str, position: int, defects: Defects, *, decode_parameters: bool = True) -> Iterator[tuple[str, str]]:
    """Return names and values from all recognisable parameters. The scan never goes back."""
    while (position := _match_end(_SEPARATORS, text, position)) < len(text):
        if decode_parameters and (words := _WORDS.match(text, position)):
            defects.add("a parameter is written as an encoded word: decoded")
            yield from _scan(decode_words(words[0], defects), 0, defects, decode_parameters=False)
            position = words.end()
            continue
        match = _ASSIGNMENT.match(text, position) or _COLON.match(text, position)
        if match is None:
            position = _value_end(text, position)
            continue
        position = match.end()
        if text[position : position + 1] == '"':
            value, position = _read_quoted(text, position, defects, repair=match[1].partition("*")[0].lower() in _KNOWN)
        else:
            start, position = position, _value_end(text, position)
            value = text[start:position].strip(", \t\r\n")
            value = value.removesuffix('"') if value.count('"') == 1 else value
        yield match[1], value


def _match_end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _value_end(text: str, position: int) -> int:
    """Return the end of an unquoted value: a semicolon, or a parameter without one (RFC 2045 section 5.1)."""
    match = _END_OF_BARE.search(text, position)
    return match.start() if match else len(text)


def _read_quoted(text: str, position: int, defects: Defects, *, repair: bool) -> tuple[str, int]:
    """Return the quoted value at `position`, and its end.

    An unclosed quote extends to the end of the text, to the next known parameter, or to the next parameter with an
    opening quote. With `repair`, quotes within the value belong to it if the value ends with a quote before the next
    parameter.
    """
    match = _QUOTED.match(text, position)
    if match is None:
        defects.add("a parameter's quote is not closed")
        following = _KNOWN_NEXT.search(text, position + 1)
        end = following.start() if following else len(text)
        return _ESCAPED.sub(r"\1", text[position + 1 : end].rstrip("; \t").removesuffix('"')), end
    value, end = match[1], match.end()
    if not _AFTER_QUOTED.match(text, end):
        if swallowed := _SWALLOWED.search(value):
            defects.add("a parameter's quote is not closed")
            return value[: swallowed.start()].rstrip("; \t"), position + 1 + swallowed.start()
        following = _NEXT.search(text, end, end + _MAX_REST) if repair else None
        limit = following.start() if following else len(text)
        rest = text[end:limit].rstrip("; \t") if repair and limit - end <= _MAX_REST else ""
        if rest.endswith('"'):
            defects.add("a parameter has quotes within its quotes")
            value, end = _balance_quotes(f'{value}"{rest[:-1]}'), limit
    return _ESCAPED.sub(r"\1", value) if "\\" in value else value, end


def _balance_quotes(value: str) -> str:
    """Return a value without duplicated quotes around it, at its beginning or at its end."""
    if value.startswith('"') and value.endswith('"'):
        return value[1:-1]
    if value.count('"') % 2:
        return value[:-1] if value.endswith('"') else value.removeprefix('"')
    return value


def _join_sections(pieces: dict[int, tuple[str, bool]], defects: Defects) -> str:
    """Join the sections of one parameter (RFC 2231 sections 3 and 4)."""
    ordered = [pieces[number] for number in sorted(pieces)]
    charset: str | None = None
    first, extended = ordered[0]
    if extended and first.count("'") >= 2:  # noqa: PLR2004 - charset'language'value
        charset, _, first = first.split("'", 2)
        ordered[0] = (first, True)
    elif not any(extended for _, extended in ordered):
        return decode_words("".join(value for value, _ in ordered), defects)
    data = b"".join(unquote_to_bytes(value) if extended else value.encode() for value, extended in ordered)
    return decode(data, charset or None, defects)
