"""The language check finds what docs/glossary.md excludes, and nothing else."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

from tools import check_language
from tools.check_language import ALLOWED, WORDS, check_file, main


def words_in(folder: Path, name: str, text: str) -> list[tuple[int, str]]:
    file = folder / name
    file.write_text(text)
    return [(violation.line, violation.word) for violation in check_file(file)]


@pytest.mark.parametrize(
    ("sentence", "word"),
    [
        ("It is listed anew.", "anew"),
        ("What befell the message.", "befell"),
        ("Two faults were reported.", "faults"),
        ("The server gives out nothing.", "gives out"),
        ("The service is ill.", "ill"),
        ("The timer looks at each mailbox.", "looks at"),
        ("A look costs two requests.", "A look"),
        ("Nobody's mail.", "Nobody's"),
        ("The record stands in a table.", "stands"),
        ("It tells the size.", "tells"),
        ("For whom it is.", "whom"),
        ("Delete it by hand.", "by hand"),
        ("The clock polls.", "clock"),
        ("This is no address.", "is no"),
    ],
)
def test_an_excluded_word_is_reported(tmp_path: Path, sentence: str, word: str) -> None:
    assert words_in(tmp_path, "page.md", f"# Title\n\n{sentence}\n") == [(3, word)]
    assert words_in(tmp_path, "code.py", f'"""Title.\n\n{sentence}\n"""\n') == [(3, word)]
    assert words_in(tmp_path, "code.py", f"x = 1\n# {sentence}\n") == [(2, word)]
    assert words_in(tmp_path, "code.py", f'x = 1\n\nprint("{sentence}")\n') == [(3, word)]


@pytest.mark.parametrize(
    "sentence",
    [
        "The default is a standalone farewell; stills, untilled fields and understanding are fine.",
        "There is no folder with this name.",
        "It is no longer there.",
        "Times are those of the wall clock.",
        "An ill-formed header. Fault injection runs in every test.",
    ],
)
def test_other_words_are_not_reported(tmp_path: Path, sentence: str) -> None:
    assert words_in(tmp_path, "page.md", sentence + "\n") == []
    assert words_in(tmp_path, "code.py", f"# {sentence}\n") == []


def test_a_phrase_is_found_across_lines(tmp_path: Path) -> None:
    assert words_in(tmp_path, "page.md", "It is deleted by\nhand.\n") == [(1, "by hand")]
    assert words_in(tmp_path, "code.py", "x = 1\n# It is deleted by\n# hand.\n") == [(2, "by hand")]
    assert words_in(tmp_path, "code.py", 'x = (\n    "It is deleted by "\n    "hand."\n)\n') == [(2, "by hand")]


def test_the_parts_of_a_formatted_string_are_read(tmp_path: Path) -> None:
    assert words_in(tmp_path, "code.py", 'x = 1\ny = f"{x} faults"\n') == [(2, "faults")]
    assert words_in(tmp_path, "code.py", 'y = "one\\nfault here"\n') == [(1, "fault")]


def test_identifiers_are_not_read(tmp_path: Path) -> None:
    assert words_in(tmp_path, "code.py", 'fault = told = {"what is ill": "clock"}\nx = fault["told"]\n') == []
    assert words_in(tmp_path, "page.md", "See `shared/clock.py`.\n[that page](stands/fault.md)\n") == []


def test_a_code_block_is_read_for_words(tmp_path: Path) -> None:
    assert words_in(tmp_path, "page.md", "```\nmailroom status   # nobody\n```\n") == [(2, "nobody")]


def test_a_long_line_of_markdown_is_reported(tmp_path: Path) -> None:
    long = "word " * 20 + "."
    page = f"{long}\n\n```\n{long}\n```\n\n| {long} |\n\n[a page](https://example.com/{'x' * 100})\n\n{long[:99]}\n"
    assert words_in(tmp_path, "page.md", page) == [(1, "line of 101 characters")]


def test_the_command_prints_violations_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("It is deleted by hand.\n")
    assert main([str(page)]) == 1
    assert capsys.readouterr().out == f"{page}:1: by hand: manually\n"
    page.write_text("It is deleted.\n")
    assert main([str(page)]) == 0
    assert main([str(tmp_path / "missing.md")]) == 2


def test_there_are_at_most_ten_exceptions_and_each_has_a_reason() -> None:
    assert len(ALLOWED) <= 10
    assert all(use.reason for use in ALLOWED)
    assert all(re.compile(pattern) for pattern, _ in WORDS)


def test_the_paths_that_are_checked_exist_and_are_clean() -> None:
    for path in check_language.CHECKED:
        assert (check_language.ROOT / path).exists()
        assert not any(fnmatch.fnmatch(path, pattern) for pattern in check_language.SKIPPED)
    assert main([]) == 0
