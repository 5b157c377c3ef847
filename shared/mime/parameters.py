"""Values with parameters: `Content-Type` and `Content-Disposition` (RFC 2045 section 5.1, RFC 2231).

Well-formed values take the short path. All others are read by one scan that repairs common errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from shared.mime.charsets import decode
from shared.mime.defects import Defects
from shared.mime.encoded_words import decoded

_LONGEST_REST = 300
"""Characters behind an inner quote that may still belong to the value."""

_SHORT = 80
"""Characters of a value that is kept, so that it is not read again."""

_SELDOM_REPEATED = ("*", "=?", "boundary", "name")

_LETTER = r"[A-Za-z0-9!#$&^_.+-]"
_KNOWN = frozenset({"boundary", "charset", "delsp", "filename", "format", "name", "report-type", "type"})
_KNOWN_NAME = rf"(?:{'|'.join(sorted(_KNOWN))})(?:\*\d{{0,4}}\*?)?"

_KIND = re.compile(rf"\s*({_LETTER}{{1,127}}+)(?!\s?=)(?:\s?/\s?({_LETTER}{{1,127}}))?")
_WELL_FORMED = re.compile(
    rf"""\s*+{_LETTER}{{1,127}}+ (?:/{_LETTER}{{1,127}}+)?
    (?:\s*+ ;\s*+ [^\s=;,:"']{{1,200}}+ = (?:"[^"\\]*+" | [^\s;,:"]++) )*+
    \s*+ ;?+ \s*+""",
    re.VERBOSE,
)
_PARAMETER = re.compile(r';\s*+([^\s=;"]+)=(?:"([^"]*)"|([^\s;]+))')

_SEPARATORS = re.compile(r"(?:[\s;,:]|\([^()]{0,1000}\))*+")
_ASSIGNMENT = re.compile(r'([^\s=;,:"]{1,200}+)\s*+=\s*+')
_COLON = re.compile(r"(filename|name)\s*+:\s*+", re.IGNORECASE)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_AFTER_QUOTED = re.compile(rf"\s*+(?:[;:(]|\Z|,?\s{{0,9}}{_KNOWN_NAME}\s?=)", re.IGNORECASE)
_NEXT = re.compile(rf'\s*;\s{{0,9}}[^\s=;"]{{1,50}}\s?=|[\s,]{_KNOWN_NAME}\s?=', re.IGNORECASE)
_SWALLOWED = re.compile(r"[;,\s]\s{0,9}[A-Za-z][A-Za-z0-9*-]{0,40}\s?=\s?\Z")
_END_OF_BARE = re.compile(rf";|[\s,](?={_KNOWN_NAME}\s?=)", re.IGNORECASE)
_ESCAPED = re.compile(r'\\(["\\])')
_SECTION = re.compile(r"(.+?)(?:\*(\d{1,4}))?(\*)?", re.DOTALL)
_WORDS = re.compile(r"\s*+(?:=\?[^?\s]{1,80}\?[BbQq]\?[^?]*+\?=\s*+)++")


@dataclass(frozen=True, slots=True)
class Parametrised:
    """A value and its parameters.

    Attributes:
        kind: type in lower case, `text/plain` or `attachment`; "" if it is missing or unreadable.
        parameters: decoded values by name in lower case, of the parameters that Mailroom uses.
    """

    kind: str
    parameters: dict[str, str]

    def token(self, name: str) -> str | None:
        """The first word of a parameter's value; None if there is none. A comment behind it is not part of it."""
        words = self.parameters.get(name, "").split(None, 1)
        return words[0].strip("'\"") or None if words else None


def read(text: str, defects: Defects) -> Parametrised:
    """Read a value with parameters. If a parameter is repeated, use the first value.

    Only parameters in `_KNOWN` are kept, so that the number of parameters does not become memory.
    """
    if len(text) <= _SHORT and (usual := _usual(text)):
        return usual
    if "=?" in text and (match := _WORDS.match(text)):
        defects.add("a structured header is written as an encoded word: decoded")
        text = decoded(match[0], defects) + text[match.end() :]
    if _WELL_FORMED.fullmatch(text):
        return _well_formed(text, defects)
    text = _without_outer_quotes(text)
    match = _KIND.match(text)
    kind = f"{match[1]}/{match[2]}" if match and match[2] else match[1] if match else ""
    found = list(_scan(text, match.end() if match else 0, defects))
    return Parametrised(kind.lower(), _by_name(found, defects) if found else {})


def _well_formed(text: str, defects: Defects) -> Parametrised:
    found = [(name, quoted or bare) for name, quoted, bare in _PARAMETER.findall(text)] if "=" in text else []
    return Parametrised(text.partition(";")[0].strip().lower(), _by_name(found, defects) if found else {})


@lru_cache(maxsize=256)
def _usual(text: str) -> Parametrised | None:
    """Return a value that many messages have, and share; None for any other, and for what names a file."""
    if any(mark in text for mark in _SELDOM_REPEATED) or not _WELL_FORMED.fullmatch(text):
        return None
    return _well_formed(text, Defects())


def _by_name(found: list[tuple[str, str]], defects: Defects) -> dict[str, str]:
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for written, value in found:
        name = written.lower()
        if name in _KNOWN:
            plain.setdefault(name, value)
        elif "*" in name and (section := _SECTION.fullmatch(name)) and section[1] in _KNOWN:
            pieces = sections.setdefault(section[1], {})
            pieces.setdefault(int(section[2] or 0), (value, bool(section[3])))
    for name, value in plain.items():
        if "=?" in value and name in {"name", "filename"}:
            plain[name] = decoded(value, defects)  # against RFC 2047 section 5, and common
    for name, pieces in sections.items():
        plain[name] = _joined(pieces, defects)
    return plain


def _without_outer_quotes(text: str) -> str:
    """The value without quotes around its type, or around all of it."""
    stripped = text.strip()
    if not stripped.startswith('"'):
        return text
    if ";" in stripped[1:].partition('"')[0]:
        return stripped[1:].removesuffix('"')
    return stripped.replace('"', "", 2)


def _scan(text: str, at: int, defects: Defects) -> Iterator[tuple[str, str]]:
    """Yield names and values, wherever they are recognisable. The scan never goes back."""
    while (at := _end_of(_SEPARATORS, text, at)) < len(text):
        match = _ASSIGNMENT.match(text, at) or _COLON.match(text, at)
        if match is None:
            at = _next(text, at)
            continue
        at = match.end()
        if text[at : at + 1] == '"':
            value, at = _quoted(text, at, defects, repair=match[1].partition("*")[0].lower() in _KNOWN)
        else:
            start, at = at, _next(text, at)
            value = text[start:at].strip(", \t\r\n")
        yield match[1], value


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _next(text: str, at: int) -> int:
    """Where a bare value ends: at a semicolon, or before a parameter without one (RFC 2045 section 5.1)."""
    match = _END_OF_BARE.search(text, at)
    return match.start() if match else len(text)


def _quoted(text: str, at: int, defects: Defects, *, repair: bool) -> tuple[str, int]:
    """The quoted value that begins at `at`, and where it ends.

    A quote that is never closed reaches to the end, or to the parameter whose opening quote would close it. Quotes
    within the value belong to it if the value ends with a quote before the next parameter.
    """
    match = _QUOTED.match(text, at)
    if match is None:
        defects.add("a parameter's quote is not closed")
        return _ESCAPED.sub(r"\1", text[at + 1 :].rstrip("; \t").removesuffix('"')), len(text)
    value, end = match[1], match.end()
    if repair and not _AFTER_QUOTED.match(text, end):
        if swallowed := _SWALLOWED.search(value):
            defects.add("a parameter's quote is not closed")
            return value[: swallowed.start()].rstrip("; \t"), at + 1 + swallowed.start()
        following = _NEXT.search(text, end, end + _LONGEST_REST)
        limit = following.start() if following else len(text)
        rest = text[end:limit].rstrip("; \t") if limit - end <= _LONGEST_REST else ""
        if rest.endswith('"'):
            defects.add("a parameter has quotes within its quotes")
            value, end = _balanced(f'{value}"{rest[:-1]}'), limit
    return _ESCAPED.sub(r"\1", value) if "\\" in value else value, end


def _balanced(value: str) -> str:
    """A value without quotes that were written twice: around it, or at its end."""
    if value.startswith('"') and value.endswith('"'):
        return value[1:-1]
    return value.removesuffix('"') if value.count('"') % 2 else value


def _joined(pieces: dict[int, tuple[str, bool]], defects: Defects) -> str:
    """The sections of one parameter together (RFC 2231 sections 3 and 4)."""
    ordered = [pieces[number] for number in sorted(pieces)]
    charset: str | None = None
    first, extended = ordered[0]
    if extended and first.count("'") >= 2:  # noqa: PLR2004 - charset'language'value
        charset, _, first = first.split("'", 2)
        ordered[0] = (first, True)
    elif not any(extended for _, extended in ordered):
        return decoded("".join(value for value, _ in ordered), defects)
    data = b"".join(unquote_to_bytes(value) if extended else value.encode() for value, extended in ordered)
    return decode(data, charset or None, defects)
