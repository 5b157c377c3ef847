"""`python -m bench.pages`: text from HTML, beside the libraries that are installed. Asserts nothing.

The libraries are no requirements of anything here; install them where this is to be measured anew (docs/parsing.md).
Each page is converted in a process of its own, since some never end and some take a gigabyte.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from bench.report import progress, table
from bench.running import machine
from shared.mime.html_text import html_to_text
from tests.unit.mime.pages import HOSTILE, PAGES

RUNS = 3
LONGEST = 10
"""Seconds by the clock after which a conversion is given up."""

Converter = Callable[[str], str]


def _ours() -> Converter:
    return html_to_text


def _selectolax() -> Converter:
    parser = import_module("selectolax.lexbor").LexborHTMLParser

    def convert(source: str) -> str:
        tree = parser(source)
        tree.strip_tags(["script", "style", "head"])
        return str(tree.body.text(separator="\n", strip=True)) if tree.body else ""

    return convert


def _resiliparse() -> Converter:
    extract = import_module("resiliparse.extract.html2text").extract_plain_text
    return lambda source: str(extract(source, preserve_formatting=True, main_content=False, alt_texts=True, links=True))


def _inscriptis() -> Converter:
    get_text = import_module("inscriptis").get_text
    config = import_module("inscriptis.model.config").ParserConfig(display_links=True, display_images=True)
    return lambda source: str(get_text(source, config))


def _soup() -> Converter:
    soup = import_module("bs4").BeautifulSoup

    def convert(source: str) -> str:
        tree = soup(source, "lxml")
        for hidden in tree(["script", "style", "head"]):
            hidden.decompose()
        return str(tree.get_text("\n", strip=True))

    return convert


def _html2text() -> Converter:
    writer = import_module("html2text").HTML2Text

    def convert(source: str) -> str:
        made = writer()
        made.body_width = 0
        return str(made.handle(source))

    return convert


CONVERTERS: dict[str, Callable[[], Converter]] = {
    "Mailroom": _ours,
    "selectolax": _selectolax,
    "resiliparse": _resiliparse,
    "inscriptis": _inscriptis,
    "bs4 + lxml": _soup,
    "html2text": _html2text,
}


def measured(name: str, page: str) -> tuple[float, float, int] | None:
    """Seconds of CPU, MB above base, pieces of text lost: the medians of `RUNS`; None if it does not end or raises."""
    runs = []
    for _ in range(RUNS):
        command = [sys.executable, "-m", "bench.pages", name, page]
        try:
            done = subprocess.run(command, capture_output=True, check=True, timeout=LONGEST)
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            return None
        runs.append(json.loads(done.stdout))
    seconds, memory, lost = (statistics.median(column) for column in zip(*runs, strict=True))
    return seconds, memory, int(lost)


def _child(name: str, page: str) -> None:
    convert, source = CONVERTERS[name](), HOSTILE[page]()
    convert("<p>warm</p>")
    before, began = _peak(), time.process_time()
    text = convert(source)
    taken = time.process_time() - began
    print(json.dumps([taken, (_peak() - before) / 1024, max(source.count("w") - text.count("w"), 0)]))


def _peak() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def _right(convert: Converter) -> tuple[int, set[str]]:
    """Pages that are converted without fault, and the others' names."""
    wrong = {name for name, page in PAGES.items() if page.conversion_errors(convert(page.source))}
    return len(PAGES) - len(wrong), wrong


def main() -> None:
    """Measure the converters that are installed."""
    print(machine())
    rows = []
    for name, opened in CONVERTERS.items():
        try:
            right, wrong = _right(opened())
        except ImportError:
            progress(f"{name} is not installed")
            continue
        progress(f"{name}: wrong are {', '.join(sorted(wrong)) or 'none'}")
        told = {page: measured(name, page) for page in HOSTILE}
        for page, one in told.items():
            progress(f"{name}, {page}: {'no text' if one is None else '{:.2f} s, {:.0f} MB, {} lost'.format(*one)}")
        ended = {page: one for page, one in told.items() if one is not None}
        rows.append(
            (
                name,
                f"{right} of {len(PAGES)}",
                f"{told['ordinary rows'][0]:.2f}" if told["ordinary rows"] else "-",
                str(sum(one is None or one[0] > 2 for one in told.values())),
                str(sum(one[2] > 0 for one in ended.values())),
                f"{max(one[1] for one in ended.values()):.0f}",
            )
        )
    table("Text from HTML", ("", "right", "s/MB, ordinary", "over 2 s/MB or none", "text lost", "most MB/MB"), rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _child(*sys.argv[1:])
    else:
        main()
