"""Tables fit a terminal, and are lines of tab-separated values in a pipe."""

from __future__ import annotations

import io

from rich.console import Console

from mailroom_cli.tables import Column, print_table
from mailroom_cli.terminal import open_console

COLUMNS = [Column("name", can_shrink=True), Column("path"), Column("size", is_number=True)]
ROWS = [("a short name", "messages/ab/cd", "7"), ("a name " * 20, "routed/" + "x" * 40, "12345"), ("", "", "")]


def printed(console: Console) -> list[str]:
    print_table(console, COLUMNS, ROWS)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_in_a_pipe_nothing_is_cut_or_padded() -> None:
    lines = printed(Console(file=io.StringIO(), width=20))
    assert lines == ["name\tpath\tsize", *("\t".join(text.strip() for text in row).rstrip("\t") for row in ROWS)]


def test_a_terminal_is_fitted_by_cutting_only_what_may_shrink() -> None:
    lines = printed(Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None))
    assert max(map(len, lines)) == 80
    assert ROWS[1][1] in lines[2]
    assert "…" in lines[2]
    assert lines[1].endswith("      7")


def test_unsafe_characters_are_not_printed() -> None:
    for terminal in (False, True):
        output = io.StringIO()
        console = open_console(file=output, width=80, force_terminal=terminal, color_system=None)
        print_table(console, [Column("name")], [("a\x1b]0;title\x07b\u202ec",)])
        assert not {*"\x1b\x07\u202e"} & {*output.getvalue()}
        assert "]0;title" in output.getvalue()
