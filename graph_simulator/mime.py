"""What is read from a message's bytes, however broken they are, and how its boundaries are changed."""

from __future__ import annotations

import re
from email.header import decode_header, make_header
from email.utils import getaddresses, parsedate_to_datetime
from random import Random
from typing import Any

HEAD = 256 * 1024
"""Bytes in which the header fields are looked for."""

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_ATTACHMENT = re.compile(rb"^content-disposition:\s*attachment\b", re.IGNORECASE | re.MULTILINE)
_MULTIPART = re.compile(
    rb"^content-type:[ \t\r\n]*multipart/[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*", re.IGNORECASE | re.MULTILINE
)
_BOUNDARY = re.compile(rb'(boundary=)(?:"([^"\r\n]+)"|([^\s;"]+))', re.IGNORECASE)


def fields(content: bytes) -> list[tuple[str, str]]:
    """The header fields, unfolded, names as they are written; what is no field is left out. Never raises."""
    head = content[:HEAD]
    end = _END_OF_HEAD.search(head)
    text = head[: end.start() if end else len(head)].decode("utf-8", "replace")
    found = []
    for line in _FOLD.sub("", text).splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip():
            found.append((name.strip(), value.strip()))
    return found


def first(found: list[tuple[str, str]], name: str) -> str | None:
    """The first field of that name, decoded for people; None without one."""
    for each, value in found:
        if each.lower() == name:
            return _decoded(value)
    return None


def people(found: list[tuple[str, str]], name: str) -> list[dict[str, Any]]:
    """The addresses in the fields of that name, as Graph writes recipients. Never raises."""
    values = [value for each, value in found if each.lower() == name]
    try:
        pairs = getaddresses(values)
    except Exception:  # noqa: BLE001  what senders write breaks parsers in every way there is
        pairs = []
    return [
        {"emailAddress": {"name": _decoded(display) or address, "address": _clean(address)}}
        for display, address in pairs
        if address
    ]


def date(found: list[tuple[str, str]]) -> str | None:
    """The Date field as Graph writes times; None if there is none that can be read."""
    try:
        return parsedate_to_datetime(first(found, "date") or "").strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, TypeError, OverflowError):
        return None


def has_attachments(content: bytes) -> bool:
    """Whether some part says that it is an attachment."""
    return _ATTACHMENT.search(content) is not None


def with_other_boundaries(content: bytes, random: Random) -> bytes:
    """The same message with new boundaries wherever a multipart header field declares one.

    Declarations and delimiter lines change together; text that happens to hold the same letters is left alone.
    """
    renamed: dict[bytes, bytes] = {}

    def declare(match: re.Match[bytes]) -> bytes:
        old = match[2] or match[3]
        new = renamed.setdefault(old, b"_000_%032x_" % random.getrandbits(128))
        return match[1] + b'"' + new + b'"'

    content = _MULTIPART.sub(lambda match: _BOUNDARY.sub(declare, match[0]), content)
    for old, new in renamed.items():
        line = re.compile(rb"^--" + re.escape(old) + rb"(?=(?:--)?[ \t]*(?:\r?\n|\Z))", re.MULTILINE)
        content = line.sub(b"--" + new, content)
    return content


def _decoded(value: str) -> str:
    try:
        return _clean(str(make_header(decode_header(value))))
    except Exception:  # noqa: BLE001  as above
        return _clean(value)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
