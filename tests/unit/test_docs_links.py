"""Every link of the docs to a file of the repository, or to a heading in one, is valid; every page can be reached."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from mailroom_cli.cli import cli

ROOT = Path(__file__).resolve().parents[2]

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_PATH = re.compile(
    r"`((?:shared|poll_timer|graph_webhook|route_message|mailroom_cli|functions_host|graph_simulator|tests|tools|infra)"
    r"/[\w./-]*)`"
)


def pages() -> list[Path]:
    """Return all pages that git tracks, or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", ":!.github"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted({ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).exists()})


def prose(text: str) -> str:
    """Return a page without code, which may look like a link or a heading."""
    return _CODE.sub("", _FENCED.sub("", text))


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links and pictures, except those on the web."""
    for target in _LINK.findall(prose(page.read_text())):
        if not re.match(r"[a-z][a-z0-9+.-]*:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """Return a page's headings as links name them: lower case, hyphens for blanks, numbered if doubled."""
    names: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", _FENCED.sub("", page.read_text()), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        names.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return names


def link_error(page: Path, target: str) -> str | None:
    """Return what is wrong with a link, or None."""
    name, _, anchor = unquote(target).partition("#")
    destination = (page.parent / name).resolve() if name else page
    if not destination.exists():
        return f"{page.relative_to(ROOT)}: {target} does not exist"
    if ROOT not in destination.parents:
        return f"{page.relative_to(ROOT)}: {target} leads out of the project"
    if anchor and anchor not in anchors(destination):
        return f"{page.relative_to(ROOT)}: {name or page.name} has no heading #{anchor}"
    return None


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_is_valid(page: Path) -> None:
    assert [error for target in links(page) if (error := link_error(page, target))] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.is_dir():
            page /= "README.md"
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        waiting += [(page.parent / unquote(target).partition("#")[0]).resolve() for target in links(page)]
    assert [str(page.relative_to(ROOT)) for page in pages() if page not in reached] == []


def test_the_index_links_every_page_of_docs() -> None:
    index = ROOT / "docs/README.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}
    decisions = set((ROOT / "docs/adr").glob("0*.md"))  # docs/adr/README.md links them
    assert [page for page in (ROOT / "docs").rglob("*.md") if page not in {*linked, *decisions, index}] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_of_a_file_in_the_docs_exists(page: Path) -> None:
    assert [path for path in _PATH.findall(page.read_text()) if not (ROOT / path).exists()] == []


def test_a_message_passes_at_most_25_files() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    files = re.findall(r"^\| (\d+) \| `([\w./]+)` \|", text, re.MULTILINE)
    assert [int(number) for number, _ in files] == list(range(1, len(files) + 1))
    assert 15 <= len(files) <= 25
    assert all((ROOT / path).is_file() for _, path in files)


def test_commands_in_the_docs_exist() -> None:
    commands = {
        command.name or command.callback.__name__.replace("_", "-")
        for command in cli.registered_commands
        if command.callback
    }
    commands |= {group.name for group in cli.registered_groups if group.name}
    for page in pages():
        # In code alone: a sentence may go on after the name.
        code = "\n".join(match[0] for match in (*_FENCED.finditer(page.read_text()), *_CODE.finditer(page.read_text())))
        named = set(re.findall(r"(?:^|[`\s/])mailroom ([a-z][a-z-]*)\b", code, re.MULTILINE))
        assert named <= commands, page.name


def test_an_invalid_link_is_found(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    assert link_error(page, "docs/nowhere.md") == "README.md: docs/nowhere.md does not exist"
    assert link_error(page, "#one-result") is None
    assert link_error(page, "docs/glossary.md#nowhere") == "README.md: docs/glossary.md has no heading #nowhere"
    assert "leads out of" in str(link_error(page, "../../"))
    other = tmp_path / "page.md"
    other.write_text("# A `b`, c\n\n## Twice\n\n## Twice\n\n```\n# none\n[x](y)\n```\n`[x](z)` [x](w)\n")
    assert anchors(other) == {"a-b-c", "twice", "twice-1"}
    assert list(links(other)) == ["w"]
