"""Output to the terminal: text and tables, without characters that control the terminal.

Subjects, Message-IDs and server responses come from outside. Two kinds of characters are dangerous:

- C0 and C1 control characters (ECMA-48) move the cursor or change the window's title. U+009B starts a control
  sequence, as ESC `[` does.
- Bidirectional overrides and isolates (UAX #9) display text in another order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import typer
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

PLAIN_WIDTH: Final = 100_000
"""The console's width in characters if the output is not a terminal: wide enough that no line is wrapped."""

_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")
"""All control characters except tab and line feed, line separators, direction marks, and lone surrogates.

U+206A to U+206F are deprecated controls of the display (The Unicode Standard, section 23.3).
"""


def without_controls(text: str) -> str:
    """Return `text` with a replacement character in place of each unsafe character."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def escape_json_line(line: str) -> str:
    """Return a line of JSON with its unsafe characters escaped; the JSON value stays the same."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def quantity(count: int, noun: str) -> str:
    """Return a number with its noun, whose last word gets an s for the plural."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a line.

    Args:
        text: the text; unsafe characters are replaced.
        err: print on standard error instead of standard output.
        nl: end the line.
    """
    typer.echo(without_controls(text), err=err, nl=nl)


def say_json(value: object) -> None:
    """Print a JSON value, indented, on standard output."""
    typer.echo(escape_json_line(json.dumps(value, indent=2, ensure_ascii=False)))


_quiet = False


def set_quiet(quiet: bool) -> None:
    """Set whether progress and notes are omitted (`--quiet`)."""
    global _quiet  # noqa: PLW0603  an option of the process
    _quiet = quiet


def is_quiet() -> bool:
    """Return whether progress and notes are omitted."""
    return _quiet


def note(text: str) -> None:
    """Print a note on standard error, unless notes are omitted: what the reader may do next, or should know."""
    if not _quiet:
        say(text, err=True)


def open_console(**options: Any) -> Console:
    """Return a console that replaces unsafe characters.

    Args:
        options: keyword arguments of `Console`.
    """
    console = Console(**options)
    console.push_render_hook(_SafeRenderHook())
    return console


def wide_console() -> Console:
    """Return a console for the terminal, or a console of `PLAIN_WIDTH` if the output is not a terminal."""
    console = open_console()
    return console if console.is_terminal else open_console(width=PLAIN_WIDTH)


class _SafeRenderHook(RenderHook):
    """Replaces unsafe characters after layout, whatever the text comes from."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_SafeRenderable(renderable) for renderable in renderables]


class _SafeRenderable:
    """A renderable whose text has no unsafe characters."""

    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._inner, options):
            # Rich marks its own control sequences.
            yield segment if segment.control else segment._replace(text=without_controls(segment.text))
