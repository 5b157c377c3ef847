"""Documents of a bounded size: a small message must not become a large document (docs/reference/results.md, "Sizes").

Only the longest fields are cut, all of them to the same number of bytes, and `truncated` names them. Which fields these
are depends on the document alone, so that each attempt writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Any, Final

from shared.documents.serialization import to_bytes

MIN_FIELD_SIZE: Final = 128
"""Bytes that a field may always have: the longest path without an attachment's name has 94."""

CUTTABLE_TEXTS: Final = frozenset({"subject", "text", "html", "name"})
"""Fields whose text may be cut. Any other text is an identifier, and half an identifier identifies something else."""

KEEP_LAST: Final = frozenset({"references"})
"""Lists whose last entries are kept when they are cut."""

_SEPARATOR_SIZE: Final = 3
"""Bytes between two entries of a list, apart from the indentation: a comma, a line feed, and one as a margin."""

FieldPath = tuple[str, ...]


def fit(document: Mapping[str, object], limit: int) -> bytes:
    """Return a document in JSON, with at most `limit` bytes.

    Args:
        document: the complete document.
        limit: bytes; a few hundred at least.
    """
    data = to_bytes(document)
    return data if len(data) <= limit else to_bytes(_shorten(document, len(data) - limit))


def shorten_lists(document: Mapping[str, object], limit: int) -> dict[str, Any]:
    """Return a document's fields, shortened so that they have at most `limit` bytes as JSON."""
    excess = len(to_bytes(document)) - limit
    return dict(document) if excess <= 0 else _shorten(document, excess)


def _shorten(document: Mapping[str, object], excess: int) -> dict[str, Any]:
    leaves = dict(_leaves(document, ()))
    sizes = {path: _size(value, len(path)) for path, value in leaves.items()}
    # The names of the cut fields take room in `truncated`.
    names_size = 8 + sum(len(".".join(path)) + 6 for path, size in sizes.items() if size > MIN_FIELD_SIZE)
    limit = _field_limit(list(sizes.values()), sum(sizes.values()) - excess - names_size)
    cut = {path: _cut(path[-1], leaves[path], limit, len(path)) for path, size in sizes.items() if size > limit}
    fields = _with_replaced(document, cut, ())
    fields["truncated"] = list(dict.fromkeys((*fields["truncated"], *(".".join(path) for path in cut))))
    return fields


def _leaves(document: Mapping[str, object], parents: FieldPath) -> Iterator[tuple[FieldPath, object]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*parents, key))
        else:
            yield (*parents, key), value


def _size(value: object, depth: int) -> int:
    """Return the bytes of a value at a depth: each of its lines but the first is indented as deeply."""
    data = to_bytes(value)
    return len(data) - 1 + depth * (data.count(b"\n") - 1)


def _field_limit(sizes: list[int], room: int) -> int:
    """Return the number of bytes to which the longest fields must be cut, so that all together take `room`."""
    remaining = len(sizes)
    for size in sorted(sizes):
        if size * remaining > room:
            break
        room -= size
        remaining -= 1
    return max(MIN_FIELD_SIZE, room // max(remaining, 1))


def _cut(name: str, value: object, room: int, depth: int) -> object:
    if isinstance(value, str):
        return _cut_text(value, room) if name in CUTTABLE_TEXTS else None
    if not isinstance(value, Sequence):
        return value
    entries = value[::-1] if name in KEEP_LAST else value
    sizes = (_size(entry, depth + 1) + depth + 1 + _SEPARATOR_SIZE for entry in entries)
    room -= 2 + depth + _SEPARATOR_SIZE
    kept = list(entries[: sum(1 for _ in takewhile(lambda total: total <= room, accumulate(sizes)))])
    if not kept and isinstance(entries[0], Mapping) and "name" in entries[0]:
        # An author's address is more important than the name before it.
        nameless = {**entries[0], "name": ""}
        name_room = room - _size(nameless, depth + 1) - depth - 1 - _SEPARATOR_SIZE
        if name_room >= 0:
            kept = [{**nameless, "name": _cut_text(str(entries[0]["name"]), name_room)}]
    return kept[::-1] if name in KEEP_LAST else kept


def _cut_text(text: str, room: int) -> str:
    """Return the beginning of a text that has at most `room` bytes in JSON, its quotes included."""
    fitting, too_long = 0, min(len(text), room) + 1
    while too_long - fitting > 1:
        middle = (fitting + too_long) // 2
        if len(to_bytes(text[:middle])) - 1 <= room:
            fitting = middle
        else:
            too_long = middle
    return text[:fitting]


def _with_replaced(
    document: Mapping[str, object], values: Mapping[FieldPath, object], parents: FieldPath
) -> dict[str, Any]:
    return {
        key: _with_replaced(value, values, (*parents, key))
        if isinstance(value, Mapping)
        else values.get((*parents, key), value)
        for key, value in document.items()
    }
