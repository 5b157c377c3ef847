"""Output of the benchmarks: progress lines, and a table at the end of each part."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def progress(text: str) -> None:
    """Print a progress line on standard error."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with a title; the first column is aligned left, the others right. An empty head is left out."""
    lines = [list(line) for line in (head, *rows) if any(line)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    print(f"\n{title}")
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        print("  " + "  ".join(cells).rstrip())
    sys.stdout.flush()
