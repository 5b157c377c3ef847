"""Values with parameters: `Content-Type` and `Content-Disposition` (RFC 2045 section 5.1, RFC 2231)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from shared.mail.charsets import decode
from shared.mail.defects import Defects
from shared.mail.words import decoded

_KIND = re.compile(r"\s*([A-Za-z0-9!#$&^_.+-]{1,127})(?:\s?/\s?([A-Za-z0-9!#$&^_.+-]{1,127}))?")
_PARAMETER = re.compile(r';\s*([^\s=;"]{1,200})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_SECTION = re.compile(r"(.+?)(?:\*(\d{1,4}))?(\*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parametrised:
    """A value and its parameters.

    Attributes:
        kind: what stands before the first semicolon, in lower case: `text/plain`, `attachment`; "" if unreadable.
        parameters: decoded values by name in lower case.
    """

    kind: str
    parameters: dict[str, str]

    def token(self, name: str) -> str | None:
        """The first word of a parameter's value; None if there is none. A comment behind it is not part of it."""
        words = self.parameters.get(name, "").split(None, 1)
        return words[0].strip("'\"") or None if words else None


def read(text: str, defects: Defects) -> Parametrised:
    """Read a value with parameters. Of a parameter that is there twice, the first one counts."""
    match = _KIND.match(text)
    kind = f"{match[1]}/{match[2]}" if match and match[2] else match[1] if match else ""
    if ";" not in text:
        return Parametrised(kind.lower(), {})
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[str, bool]]] = {}
    for name, quoted, bare in _PARAMETER.findall(text):
        value = _ESCAPED.sub(r"\1", quoted) if quoted else bare.strip()
        if "*" not in name:
            plain.setdefault(name.lower(), value)
        elif section := _SECTION.fullmatch(name):
            pieces = sections.setdefault(section[1].lower(), {})
            pieces.setdefault(int(section[2] or 0), (value, bool(section[3])))
    for name, value in plain.items():
        if "=?" in value and name in {"name", "filename"}:
            plain[name] = decoded(value, defects)  # against RFC 2047 section 5, and common
    for name, pieces in sections.items():
        plain[name] = _joined(pieces, defects)
    return Parametrised(kind.lower(), plain)


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
