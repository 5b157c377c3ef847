"""What reaches a terminal: the one place where commands write, and where text loses what a terminal would obey.

Subjects, Message-IDs and servers' answers are strangers' texts. C0 and C1 control characters (ECMA-48; U+009B begins a
sequence as ESC `[` does) move the cursor or retitle the window; bidirectional overrides and isolates (UAX #9) show
text in another order than it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import typer
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")
"""All control characters but tab and line feed, line separators, direction marks, and halves of surrogate pairs.

U+206A to U+206F are deprecated controls of the display (The Unicode Standard, section 23.3).
"""


def without_controls(text: str) -> str:
    """Return a text with a replacement character for each character that a terminal would obey."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def escaped(line: str) -> str:
    """Return a line of JSON with these characters escaped; it still has the same meaning."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a line.

    Args:
        text: whatever it holds.
        err: on standard error.
        nl: end it.
    """
    typer.echo(without_controls(text), err=err, nl=nl)


def open_console(**options: Any) -> Console:
    """Return a console that prints text of whatever kind safely.

    Args:
        options: as Console takes them.
    """
    console = Console(**options)
    console.push_render_hook(_Printable())
    return console


class _Printable(RenderHook):
    """Makes what is printed printable once it is laid out: whatever it was made of."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Cleaned(renderable) for renderable in renderables]


class _Cleaned:
    """Something to print, without what a terminal would obey."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._inner, options):
            # Rich's own control sequences are marked as such.
            yield segment if segment.control else segment._replace(text=without_controls(segment.text))
