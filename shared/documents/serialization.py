"""JSON of all documents: readable, and the same bytes for the same fields."""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from typing import Final

_MAX_LINES: Final = 1_000
"""Entries of the longest list that is written with one entry on a line."""

_encode = json.JSONEncoder(ensure_ascii=False).encode


def to_bytes(document: object) -> bytes:
    """Return readable JSON in UTF-8, with each field and each entry of a list on its own line.

    A lone surrogate, which a server leaves when it cuts a subject, cannot be encoded and becomes a `?`.
    """
    return _lines(document, 0).encode("utf-8", "replace") + b"\n"


def _lines(value: object, depth: int) -> str:
    """Return a value in JSON, over several lines if it is an object or a list."""
    if isinstance(value, str) or not value or not isinstance(value, (dict, list)):
        return _in_line(value)
    line, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict):
        fields = [f"{encode_basestring(str(key))}: {_lines(field, depth + 1)}" for key, field in value.items()]
        return f"{{{line}{f',{line}'.join(fields)}{end}}}"
    # A longer list is encoded at once, in less time than entry by entry.
    if len(value) <= _MAX_LINES:
        return f"[{line}{f',{line}'.join(map(_in_line, value))}{end}]"
    return _encode(value)


def _in_line(value: object) -> str:
    """Return a value in JSON, in one line.

    `JSONEncoder` prepares itself for each value that is not text, which takes longer than to encode a few fields.
    """
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"
    if isinstance(value, dict):
        return f"{{{', '.join([f'{encode_basestring(str(key))}: {_in_line(field)}' for key, field in value.items()])}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_in_line, value))}]"
    return str(value) if type(value) is int else _encode(value)
