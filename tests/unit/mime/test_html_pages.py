"""Text of real pages: visible text is kept, hidden text is not shown, and no page takes long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.mime.html_text import html_to_text
from tests.cpu_time import within
from tests.unit.mime.pages import HOSTILE, PAGES, Page

GUARD = 4  # seconds a megabyte, as `within` counts them (twice the limit)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_7_3_text_from_pages_as_mail_programs_write_them(page: Page) -> None:
    text = html_to_text(page.source)
    assert page.conversion_errors(text) == set(), text


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("one\ntwo <https://x.example>", set()),
        ("one\n* two (https://x.example)", set()),
        ("one two <https://x.example>", {"lines"}),
        ("o ne\ntwo <https://x.example>", {"words", "lines"}),
        ("two\none <https://x.example>", {"words"}),
        ("one\ntwo", {"links"}),
        ("one\ntwo\np{} <https://x.example>", {"hidden"}),
    ],
)
def test_each_conversion_error_is_reported(text: str, errors: set[str]) -> None:
    assert Page("", ("one", "two"), hidden=("p{}",), targets=("https://x.example",)).conversion_errors(text) == errors


@pytest.mark.parametrize("build", HOSTILE.values(), ids=HOSTILE)
def test_7_6_no_nesting_takes_long_or_loses_text(build: Callable[[], str]) -> None:
    source = build()
    text = within(GUARD, lambda: html_to_text(source))
    assert text.count("w") == source.count("w")
