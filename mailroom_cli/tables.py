"""Tables that fit a terminal, and lines of tab-separated values where the output is not a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

from mailroom_cli.terminal import without_controls

_GAP: Final = 2
"""Spaces between two columns."""

_NARROWEST: Final = 8
"""Cells that a column keeps when it shrinks."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        heading: the text above the column.
        can_shrink: whether its texts are cut, with an ellipsis, where the table is wider than the terminal.
        is_number: whether its texts are aligned at the right.
    """

    heading: str
    can_shrink: bool = False
    is_number: bool = False


def print_table(console: Console, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table.

    On a terminal the columns that can shrink are cut to fit its width. In a pipe or a file nothing is cut or padded:
    the headings and each row are a line, separated by tabs.

    Args:
        console: prints the table.
        columns: the columns.
        rows: a text for each column. A line break in a text becomes a space.
    """
    texts = [[" ".join(text.split()) for text in row] for row in rows]
    if not console.is_terminal:
        for row in ([column.heading for column in columns], *texts):
            # The console's own methods would replace the tabs by spaces.
            console.file.write(without_controls("\t".join(row).rstrip("\t")) + "\n")
        return
    widths = _widths(columns, texts, console.width)
    for number, row in enumerate([[column.heading for column in columns], *texts]):
        line = Text(style="" if number else "bold")
        for column, text, width in zip(columns, row, widths, strict=True):
            cell = Text(text)
            cell.truncate(width, overflow="ellipsis")
            cell.align("right" if column.is_number else "left", width)
            line.append_text(cell).append(" " * _GAP)
        line.rstrip()
        # A line is wider than the terminal only where columns that cannot shrink are: then the terminal wraps it.
        console.print(line, soft_wrap=True)


def _widths(columns: Sequence[Column], rows: Iterable[Sequence[str]], available: int) -> list[int]:
    """Return the width of each column in cells: of its longest text, less what the wide columns shrink by."""
    texts = zip([column.heading for column in columns], *rows, strict=True)
    widths = [max(Text(text).cell_len for text in column) for column in texts]
    excess = sum(widths) + _GAP * (len(widths) - 1) - available
    for _ in range(max(0, excess)):
        shrinkable = [i for i, column in enumerate(columns) if column.can_shrink and widths[i] > _NARROWEST]
        if not shrinkable:
            break
        widths[max(shrinkable, key=widths.__getitem__)] -= 1
    return widths
