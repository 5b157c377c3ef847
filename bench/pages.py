"""`python -m bench.pages`: measure text from HTML, also of the libraries that are installed. It asserts nothing.

The project does not require these libraries; install them to repeat the measurement (docs/reference/parsing.md).
Each page is converted in a separate process, since some conversions never end and some take a gigabyte.
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
TIMEOUT = 10
"""Seconds after which a conversion is stopped."""

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
        converter = writer()
        converter.body_width = 0
        return str(converter.handle(source))

    return convert


CONVERTERS: dict[str, Callable[[], Converter]] = {
    "Mailroom": _ours,
    "selectolax": _selectolax,
    "resiliparse": _resiliparse,
    "inscriptis": _inscriptis,
    "bs4 + lxml": _soup,
    "html2text": _html2text,
}


def measure(name: str, page: str) -> tuple[float, float, int] | None:
    """Return seconds of CPU, rise of memory in MB, and lost pieces of text; None if it does not end or raises.

    The values are the medians of `RUNS` runs.
    """
    runs = []
    for _ in range(RUNS):
        command = [sys.executable, "-m", "bench.pages", name, page]
        try:
            done = subprocess.run(command, capture_output=True, check=True, timeout=TIMEOUT)
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


def _check_pages(convert: Converter) -> tuple[int, set[str]]:
    """Return the number of pages that are converted correctly, and the names of the others."""
    wrong = {name for name, page in PAGES.items() if page.conversion_errors(convert(page.source))}
    return len(PAGES) - len(wrong), wrong


def main() -> None:
    """Measure the installed converters."""
    print(machine())
    rows = []
    for name, load in CONVERTERS.items():
        try:
            right, wrong = _check_pages(load())
        except ImportError:
            progress(f"{name} is not installed")
            continue
        progress(f"{name}: wrong are {', '.join(sorted(wrong)) or 'none'}")
        results = {page: measure(name, page) for page in HOSTILE}
        for page, result in results.items():
            text = "no text" if result is None else "{:.2f} s, {:.0f} MB, {} lost".format(*result)
            progress(f"{name}, {page}: {text}")
        finished = [result for result in results.values() if result is not None]
        ordinary = results["ordinary rows"]
        rows.append(
            (
                name,
                f"{right} of {len(PAGES)}",
                f"{ordinary[0]:.2f}" if ordinary else "-",
                str(sum(result is None or result[0] > 2 for result in results.values())),
                str(sum(result[2] > 0 for result in finished)),
                f"{max(result[1] for result in finished):.0f}",
            )
        )
    table("Text from HTML", ("", "correct", "s/MB, ordinary", "over 2 s/MB or none", "text lost", "max. MB/MB"), rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _child(*sys.argv[1:])
    else:
        main()
