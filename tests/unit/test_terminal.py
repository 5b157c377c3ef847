"""Text from outside cannot control the terminal: it neither moves the cursor nor changes the order of text."""

import io
import json
import logging
import re
import unicodedata
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from mailroom_cli.commands.find import to_json_line
from mailroom_cli.logging_setup import UtcFormatter
from mailroom_cli.terminal import escape_json_line, open_console, say, without_controls

UNSAFE = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"]
UNSAFE += [
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    *"\u206a\u206f",
    "\ud83d",
]
HARMLESS = "Grüße, 你好, שלום, سلام, नमस्ते, e\u0301, 👩\u200d💻, می\u200cخواهم, soft\u00adhyphen \ufffd\ta\n"  # noqa: RUF001

COMMANDS = Path(__file__).resolve().parents[2] / "mailroom_cli"


def is_unsafe(text: str) -> bool:
    return any(character in text for character in UNSAFE)


@pytest.mark.parametrize("unsafe", UNSAFE, ids=lambda character: f"{ord(character):04x}")
def test_an_unsafe_character_is_replaced(unsafe: str) -> None:
    assert without_controls(f"a{unsafe}b") == "a\ufffdb"
    assert json.loads(escape_json_line(json.dumps({"a": f"a{unsafe}b"}, ensure_ascii=False))) == {"a": f"a{unsafe}b"}
    assert not is_unsafe(escape_json_line(json.dumps(f"a{unsafe}b", ensure_ascii=False)))
    assert not is_unsafe(to_json_line({"message_id": f"a{unsafe}b"}))
    assert not is_unsafe(without_controls(f"a{unsafe}b"))


def test_ordinary_text_is_unchanged() -> None:
    assert without_controls(HARMLESS) == HARMLESS
    assert escape_json_line(HARMLESS) == HARMLESS


def test_every_control_character_is_replaced() -> None:
    for code in range(0x110000):
        if unicodedata.category(chr(code)) == "Cc" and chr(code) not in "\t\n":
            assert without_controls(chr(code)) == "\ufffd", hex(code)


def test_a_line_is_printed_safely(capsys: pytest.CaptureFixture[str]) -> None:
    say("subject: \x9b2Jgone \x1b]0;title\x07")
    say("problem: \u202egpj.exe", err=True)
    shown = capsys.readouterr()
    assert not is_unsafe(shown.out + shown.err)
    assert "2Jgone" in shown.out


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_is_printed_safely(terminal: bool) -> None:
    file = io.StringIO()
    console = open_console(file=file, width=80, force_terminal=terminal)
    table = Table("subject", title="messages")
    table.add_row(Text("a\x9b2Jb\x85c\u202ed\x1b[31me", style="bold"))
    console.print(table)
    console.print("plain \x9d0;title\x9c", markup=False, highlight=False, soft_wrap=True)
    shown = file.getvalue()
    assert "2Jb" in shown
    # The remaining escape sequences are colours, written by rich.
    assert not is_unsafe(re.sub(r"\x1b\[[0-9;]*m", "", shown))
    assert "\x1b[31m" not in shown


def test_a_log_line_is_printed_safely() -> None:
    record = logging.makeLogRecord({"msg": "the server says %s", "args": ("\x9b2J\u202e",), "levelname": "ERROR"})
    assert not is_unsafe(UtcFormatter("%(levelname)s: %(message)s").format(record))


def test_only_the_terminal_module_prints() -> None:
    """Check that no other module prints, except `mailroom settings`, which prints a file's content."""
    lines = {
        f"{path.relative_to(COMMANDS)}: {line.strip()}"
        for path in COMMANDS.rglob("*.py")
        if path.name != "terminal.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\b(typer\.echo|(?<!\.)print|click\.echo|Console|sys\.std\w+\.write)\(", line)
    }
    assert lines == {"commands/settings/command.py: typer.echo(text, nl=False)"}
