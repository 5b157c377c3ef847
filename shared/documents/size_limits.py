"""Documents of a bounded size: a small message must not become a large document (docs/reference/results.md, "Sizes").

Only the longest fields are cut, all of them to the same number of bytes, and `truncated` names them. Which fields those
are depends on the document alone, so that each try writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Any, Final

from shared.documents.describing import to_bytes

Path = tuple[str, ...]

SHORT: Final = 128
"""Bytes that a field may always have: the longest path without an attachment's name has 94."""

TEXTS: Final = frozenset({"subject", "text", "html", "name"})
"""Fields whose text may be cut. Any other text names something, and half of a name names something else."""

LAST: Final = frozenset({"references"})
"""Lists of which the last entries are kept."""

_PUNCTUATION: Final = 3
"""Bytes between two entries of a list, beside the indentation: a comma, a line feed, and one to be safe."""


def fit(document: Mapping[str, object], limit: int) -> bytes:
    """Return a document in JSON, with at most `limit` bytes.

    Args:
        document: as it would be without a limit.
        limit: bytes; a few hundred at least.
    """
    data = to_bytes(document)
    return data if len(data) <= limit else to_bytes(_shortened(document, len(data) - limit))


def shorten_lists(document: Mapping[str, object], limit: int) -> dict[str, Any]:
    """Return the same as fields."""
    excess = len(to_bytes(document)) - limit
    return dict(document) if excess <= 0 else _shortened(document, excess)


def _shortened(document: Mapping[str, object], excess: int) -> dict[str, Any]:
    leaves = dict(_leaves(document, ()))
    costs = {path: _cost(value, len(path)) for path, value in leaves.items()}
    # The names of the fields that are cut take room themselves.
    names = 8 + sum(len(".".join(path)) + 6 for path, cost in costs.items() if cost > SHORT)
    level = _level(list(costs.values()), sum(costs.values()) - excess - names)
    cut = {path: _shorter(path[-1], leaves[path], level, len(path)) for path, cost in costs.items() if cost > level}
    fields = _with(document, cut, ())
    fields["truncated"] = list(dict.fromkeys((*fields["truncated"], *(".".join(path) for path in cut))))
    return fields


def _leaves(document: Mapping[str, object], above: Path) -> Iterator[tuple[Path, object]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _cost(value: object, depth: int) -> int:
    """Return the bytes of a value at a depth: each of its lines but the first is indented as deeply."""
    data = to_bytes(value)
    return len(data) - 1 + depth * (data.count(b"\n") - 1)


def _level(costs: list[int], room: int) -> int:
    """Return the number of bytes to which the longest have to be cut, so that all together take `room`."""
    rest = len(costs)
    for cost in sorted(costs):
        if cost * rest > room:
            break
        room -= cost
        rest -= 1
    return max(SHORT, room // max(rest, 1))


def _shorter(name: str, value: object, room: int, depth: int) -> object:
    if isinstance(value, str):
        return _cut(value, room) if name in TEXTS else None
    if not isinstance(value, Sequence):
        return value
    entries = value[::-1] if name in LAST else value
    sizes = (_cost(entry, depth + 1) + depth + 1 + _PUNCTUATION for entry in entries)
    room -= 2 + depth + _PUNCTUATION
    kept = list(entries[: sum(1 for _ in takewhile(lambda total: total <= room, accumulate(sizes)))])
    if not kept and isinstance(entries[0], Mapping) and "name" in entries[0]:
        # An author's address counts more than the name before it.
        nameless = {**entries[0], "name": ""}
        left = room - _cost(nameless, depth + 1) - depth - 1 - _PUNCTUATION
        if left >= 0:
            kept = [{**nameless, "name": _cut(str(entries[0]["name"]), left)}]
    return kept[::-1] if name in LAST else kept


def _cut(text: str, room: int) -> str:
    """Return the beginning of a text that takes at most so many bytes in JSON, its quotes included."""
    fits, too_long = 0, min(len(text), room) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if len(to_bytes(text[:middle])) - 1 <= room:
            fits = middle
        else:
            too_long = middle
    return text[:fits]


def _with(document: Mapping[str, object], cut: Mapping[Path, object], above: Path) -> dict[str, Any]:
    return {
        key: _with(value, cut, (*above, key)) if isinstance(value, Mapping) else cut.get((*above, key), value)
        for key, value in document.items()
    }
