"""The fields for machines in a report, and their values (RFC 3464 section 2.1, RFC 6533 section 3)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from shared.addresses import normalise
from shared.mime.address_tokens import COMMENT, tokens
from shared.mime.charsets import clean
from shared.mime.defects import Defects
from shared.mime.encoded_words import decoded, header_text

LONGEST_TEXT = 1000
"""Characters of one value that are kept."""

_LONGEST_RAW = 4 * LONGEST_TEXT
_FIELD = re.compile(rb"([!-9;-~]{1,80})[ \t]*:(.*)", re.DOTALL)
_TYPED = re.compile(r"\s*([A-Za-z0-9-]{1,40})\s*;(.*)", re.DOTALL)
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_UNICODE = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_LAST_CHARACTER = 0x10FFFF


def read_fields(data: bytes) -> Iterator[tuple[bool, str, str]]:
    """Read fields. Lines that are none are left out.

    Args:
        data: the content of the part.

    Yields:
        Whether an empty line stands between it and the field before, its name in lower case, its value on one line.
    """
    name, value, apart, last_apart = "", b"", False, False
    for line in io.BytesIO(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")):
        if line[:1] in b" \t" and line.strip():
            value = value + line if len(value) < _LONGEST_RAW else value
            continue
        if name:
            yield last_apart, name, _value(value)
            name = ""
        if match := _FIELD.fullmatch(line):
            name, value, last_apart, apart = match[1].decode("ascii").lower(), match[2], apart, False
        else:
            apart = apart or not line.strip()
    if name:
        yield last_apart, name, _value(value)


def _value(raw: bytes) -> str:
    return " ".join(header_text(raw, Defects())[:_LONGEST_RAW].split())


def address_of(value: str | None) -> str | None:
    """An address behind its type: `rfc822;a@b`, or `utf-8;` with escapes for what is not ASCII (RFC 6533 section 3).

    Normalised; as written, if it is none of mail.
    """
    if value is None:
        return None
    kind, text = _typed(value)
    if kind == "utf-8":
        text = clean(_UNICODE.sub(lambda match: _character(int(match[1], 16)), text))
    text = without_comments(text)
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    return normalise(text) or shortened(text)


def _character(number: int) -> str:
    return chr(number) if number <= _LAST_CHARACTER else "\N{REPLACEMENT CHARACTER}"


def host_of(value: str | None) -> str | None:
    """A server behind its type: `dns; mx.example.com`."""
    return None if value is None else shortened(without_comments(_typed(value)[1]))


def _typed(value: str) -> tuple[str, str]:
    match = _TYPED.fullmatch(value)
    return (match[1].lower(), match[2].strip()) if match else ("", value.strip())


def status_of(*values: str | None) -> str | None:
    """The first enhanced status code (RFC 3463) in the first value that has one."""
    return next((match[1] for value in values if value and (match := _STATUS.search(value))), None)


def without_comments(text: str) -> str:
    """A value without what stands in parentheses (RFC 5322 section 3.2.2)."""
    return "".join(word for kind, word in tokens(text) if kind != COMMENT).strip() if "(" in text else text.strip()


def shortened(text: str | None) -> str | None:
    """A value as it is shown: decoded, without controls, at most `LONGEST_TEXT`; None if nothing is left."""
    return decoded(text, Defects())[:LONGEST_TEXT] or None if text else None
