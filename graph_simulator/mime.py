"""Header fields of a message's raw bytes, which may be malformed, and the replacement of its boundaries."""

from __future__ import annotations

import re
from email.header import decode_header, make_header
from email.utils import getaddresses, parsedate_to_datetime
from random import Random
from typing import Any

HEADER_LIMIT = 256 * 1024
"""Bytes in which header fields are searched for."""

_END_OF_HEADER = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_ATTACHMENT = re.compile(rb"^content-disposition:\s*attachment\b", re.IGNORECASE | re.MULTILINE)
_MULTIPART = re.compile(
    rb"^content-type:[ \t\r\n]*multipart/[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*", re.IGNORECASE | re.MULTILINE
)
_BOUNDARY = re.compile(rb'(boundary=)(?:"([^"\r\n]+)"|([^\s;"]+))', re.IGNORECASE)


def header_fields(content: bytes) -> list[tuple[str, str]]:
    """Return the names and unfolded values of the header fields, without malformed lines. Never raises."""
    header = content[:HEADER_LIMIT]
    end = _END_OF_HEADER.search(header)
    text = header[: end.start() if end else len(header)].decode("utf-8", "replace")
    fields = []
    for line in _FOLD.sub("", text).splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip():
            fields.append((name.strip(), value.strip()))
    return fields


def first_value(fields: list[tuple[str, str]], name: str) -> str | None:
    """Return the decoded value of the first field of a name; None without one."""
    for field, value in fields:
        if field.lower() == name:
            return _decode(value)
    return None


def recipients(fields: list[tuple[str, str]], name: str) -> list[dict[str, Any]]:
    """Return the addresses in the fields of a name in Graph's recipient format. Never raises."""
    values = [value for field, value in fields if field.lower() == name]
    try:
        pairs = getaddresses(values)
    except Exception:  # noqa: BLE001  malformed headers raise many exceptions in the standard library
        pairs = []
    return [
        {"emailAddress": {"name": _decode(display_name) or address, "address": _replace_surrogates(address)}}
        for display_name, address in pairs
        if address
    ]


def sent_date(fields: list[tuple[str, str]]) -> str | None:
    """Return the Date field in Graph's time format; None without a valid one."""
    try:
        return parsedate_to_datetime(first_value(fields, "date") or "").strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, TypeError, OverflowError):
        return None


def has_attachments(content: bytes) -> bool:
    """Return whether a part has the disposition `attachment`."""
    return _ATTACHMENT.search(content) is not None


def replace_boundaries(content: bytes, random: Random) -> bytes:
    """Return the message with a new boundary wherever a multipart header field declares one.

    Declarations and delimiter lines change together. Other text that contains a boundary stays the same.
    """
    renamed: dict[bytes, bytes] = {}

    def replace_declaration(match: re.Match[bytes]) -> bytes:
        old = match[2] or match[3]
        new = renamed.setdefault(old, b"_000_%032x_" % random.getrandbits(128))
        return match[1] + b'"' + new + b'"'

    content = _MULTIPART.sub(lambda match: _BOUNDARY.sub(replace_declaration, match[0]), content)
    for old, new in renamed.items():
        line = re.compile(rb"^--" + re.escape(old) + rb"(?=(?:--)?[ \t]*(?:\r?\n|\Z))", re.MULTILINE)
        content = line.sub(b"--" + new, content)
    return content


def _decode(value: str) -> str:
    try:
        return _replace_surrogates(str(make_header(decode_header(value))))
    except Exception:  # noqa: BLE001  as above
        return _replace_surrogates(value)


def _replace_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
