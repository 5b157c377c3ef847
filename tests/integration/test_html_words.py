"""The words of a page's text are those of its tree by the HTML standard (rule 7.3, docs/reference/parsing.md)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.mime.html_text import html_to_text
from tests.servers.node_server import link_parsers
from tests.unit.mime.pages import PAGES
from tests.unit.mime.tag_soup import tag_soup

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "servers" / "html_words.mjs"

COUNT = 900
AGREEMENT = 0.97
"""Required share of agreeing pages; a third is well formed. The tree moves text out of broken tables and links."""

_TARGET = re.compile(r"\s?<(?:https?://|mailto:)[^>]*>")


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Link the script and parse5 into a folder."""
    folder = tmp_path_factory.mktemp("parse5")
    (folder / SCRIPT.name).symlink_to(SCRIPT)
    link_parsers(folder)
    return folder / SCRIPT.name


def words_of_trees(oracle: Path, pages: Sequence[str]) -> list[list[str]]:
    """Return the words of each page's tree in order."""
    command = ["node", "--preserve-symlinks-main", "--preserve-symlinks", str(oracle)]
    lines = "".join(json.dumps(page) + "\n" for page in pages)
    process = subprocess.run(command, input=lines, capture_output=True, text=True, check=False, cwd=oracle.parent)
    assert process.returncode == 0, process.stderr
    return [words(json.loads(line)) for line in process.stdout.split("\n") if line]


def words(text: str) -> list[str]:
    return _TARGET.sub("", text).replace("\0", "").split()


def test_7_3_the_words_of_tag_soup_are_those_of_the_standards_tree(oracle: Path) -> None:
    pages = [tag_soup(seed) for seed in range(COUNT)]
    expected = words_of_trees(oracle, pages)
    assert len(expected) == COUNT
    wrong = [
        seed
        for seed, (page, tree) in enumerate(zip(pages, expected, strict=True))
        if sorted(words(html_to_text(page))) != sorted(tree)
    ]
    assert len(wrong) <= COUNT * (1 - AGREEMENT), f"seeds {wrong}"
    assert not [seed for seed in wrong if seed % 3 == 0], "well-formed pages agree without exception"


def test_7_3_the_words_of_ordinary_pages_are_those_of_the_standards_tree_in_order(oracle: Path) -> None:
    shown_on_purpose = {"an address in angle brackets", "cut off in a tag"}
    pages = {name: page.source for name, page in PAGES.items() if name not in shown_on_purpose}
    for (name, source), tree in zip(pages.items(), words_of_trees(oracle, list(pages.values())), strict=True):
        assert words(html_to_text(source)) == tree, name


INLINE = (
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins",
    "kbd", "label", "map", "mark", "meter", "nobr", "o:p", "output", "picture", "progress", "q", "ruby", "s", "samp",
    "slot", "small", "span", "st1:city", "strike", "strong", "sub", "sup", "time", "tt", "u", "unknown", "v:shape",
    "var",
)  # fmt: skip
"""Phrasing content (HTML Living Standard, 3.2.5.2.5), obsolete elements of its kind (16.2), and unknown elements."""

INLINE_FORMS = (
    "{before}<{name}>{within}</{name}>{after}",
    '{before}<{name} style="x: y" class=z>{within}</{name}>{after}',
    "{before}<{upper}>{within}</{upper} >{after}",
    "{before}<{name}><{name}>{within}</{name}></{name}>{after}",
    "{before}<{name}></{name}>{within}<{name}/>{after}",
    "{before}<{name}>{within}{after}",
    "<div>{before}<{name}>{within}</{name}>{after}</div>",
    "<table><tr><td>{before}<{name}>{within}</{name}>{after}</table>",
)

CUTTING = {
    **{name: f"before<{name}>within</{name}>after" for name in (
        "address", "article", "aside", "blockquote", "center", "dd", "details", "div", "dl", "dt", "fieldset", "figure",
        "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "main", "nav", "p", "pre", "section", "summary",
        "textarea",
    )},
    **{f"{name}, empty": f"before<{name}>within<{name}>after" for name in ("br", "br/", "hr", "/br", "/p")},
    "li": "<ul><li>before</li><li>within</li><li>after</li></ul>",
    "li, never closed": "<ol><li>before<li>within<li>after</ol>",
    "td": "<table><tr><td>before</td><td>within</td><td>after</td></tr></table>",
    "th, never closed": "<table><tr><th>before<th>within<th>after</table>",
    "tr": "<table><tr><td>before</td></tr><tr><td>within</td></tr><tr><td>after</td></tr></table>",
    "caption": "<table><caption>before</caption><tr><td>within</td></tr></table>after",
    "option": "<select><option>before<option>within<option>after</select>",
    "an inline element around": "<b>before<br>within<p>after</b>",
}  # fmt: skip


def inline_pages(before: str, within: str, after: str) -> list[str]:
    """Return three texts in each form with each inline element."""
    return [
        form.format(before=before, within=within, after=after, name=name, upper=name.upper())
        for form in INLINE_FORMS
        for name in INLINE
    ]


def test_7_3_inline_elements_neither_glue_nor_cut_words(oracle: Path) -> None:
    glued = inline_pages("before", "within", "after")
    glued += ["before<wbr>within<wbr/>after", "before<!-- x -->within<![endif]>after", "before</b>within</x>after"]
    apart = [*inline_pages("before ", "within", "\nafter"), *inline_pages("before", " within ", "after")]
    assert [page for page in glued if words(html_to_text(page)) != ["beforewithinafter"]] == []
    assert [page for page in apart if words(html_to_text(page)) != ["before", "within", "after"]] == []
    pages = glued + apart
    assert [words(html_to_text(page)) for page in pages] == words_of_trees(oracle, pages)


def test_7_3_blocks_breaks_cells_and_items_cut_words(oracle: Path) -> None:
    expected = ["before", "within", "after"]
    shown = {name: [word for word in words(html_to_text(page)) if word.strip("*-")] for name, page in CUTTING.items()}
    assert {name: actual for name, actual in shown.items() if actual != expected} == {}
    assert [words(html_to_text(page)) for page in CUTTING.values()] == words_of_trees(oracle, list(CUTTING.values()))


QUOTES = {
    "after a value without quotes": '<font color=#336699">shown</font> <a href="/x">too</a>',
    "twice after a value": '<a href="/x"">shown</a> <b title="y">too</b>',
    "in a value without quotes": "<p align=le\"ft>shown</p><p align='center'>too</p>",
    "in a name": '<p cla"ss=x>shown</p><p title="a">too</p>',
    "alone": '<p ">shown</p><p title="a">too</p>',
    "after white space": '<p title = "a > b" >shown</p><p>too</p>',
    "of the other kind": "<p title='a\"b'>shown</p><p title=\"c'd\">too</p>",
    "never closed before another tag's": '<p width="80% noshade align="left">shown <b>too</b>',
    "an equals sign first": '<p ="x">shown</p> <p =>too</p>',
    "a slash in a value": "<p title=a/b/>shown</p><br/>too",
}


@pytest.mark.parametrize("page", QUOTES.values(), ids=QUOTES)
def test_7_3_a_quote_counts_only_right_after_an_equals_sign(oracle: Path, page: str) -> None:
    assert words(html_to_text(page)) == ["shown", "too"]
    assert words_of_trees(oracle, [page]) == [["shown", "too"]]


RAW = {
    "a tag of a hundred kilobytes": f'<p>before</p><img src="data:image/png;base64,{"QUJD" * 30_000}"><p>after</p>',
    "a style attribute as long": f"<p>before</p><td style='background:url(data:{'x' * 100_000})'></td><p>after</p>",
    "a script that writes a script": "before <script><!-- x('<script></script>') --></script> after",
    "a comment ended with an exclamation mark": "before <!-- a --!> after",
    "empty comments": "before <!--> <!---> after",
    "declarations": "before <!x> <?y> </z> </ w> after",
    "a head that ends late": "<head><title>t</title><p>before</p><style>s</style>after</head>",
    "a body within the head": "<head><meta x><body>before</body></head> after",
    "text in a head": "<head>before<title>t</title></head><body> after</body>",
    "a template within a template": "before <template>a<template>b</template>c</template> after",
    "no scripting": "before <noscript>after</noscript>",
}


@pytest.mark.parametrize("page", RAW.values(), ids=RAW)
def test_7_3_text_within_tags_is_hidden_and_other_text_is_shown(oracle: Path, page: str) -> None:
    assert words(html_to_text(page)) == ["before", "after"]
    assert words_of_trees(oracle, [page]) == [["before", "after"]]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p title='never closed>shown</p>", "shown"),
        ("<!-- never closed> shown", "shown"),
        ("<title>never closed", "never closed"),
        ("write to <ann@example.com>", "write to <ann@example.com>"),
        ("<a href='https://x.example/?a=1&copy=2&amp;b=3'>a</a>", "a <https://x.example/?a=1&copy=2&b=3>"),
        (
            "<a href=https://x.example/1>a<a href=https://x.example/2>b</a>",
            "a <https://x.example/1>b <https://x.example/2>",
        ),
        ('<img data-alt="no" alt="yes">', "yes"),
    ],
    ids=["quote", "comment", "title", "address", "target", "link in a link", "alt"],
)
def test_7_3_text_is_shown_rather_than_lost(page: str, text: str) -> None:
    assert html_to_text(page) == text
