"""JSON of all documents: readable, and the same bytes for the same fields."""

from __future__ import annotations

import json
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
    line, end = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict) and value:
        fields = (f"{_encode(str(key))}: {_lines(field, depth + 1)}" for key, field in value.items())
        return f"{{{line}{f',{line}'.join(fields)}{end}}}"
    # A longer list is encoded at once: an encoder that is called for each entry takes several times as long.
    if isinstance(value, list) and 0 < len(value) <= _MAX_LINES:
        return f"[{line}{f',{line}'.join(map(_encode, value))}{end}]"
    return _encode(value)
