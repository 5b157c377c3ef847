"""Every link of the docs to a file of ours, or to a heading in one, leads there; and every page can be found."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from mailroom_cli.main import cli

ROOT = Path(__file__).resolve().parents[2]

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")


def pages() -> list[Path]:
    """All that git tracks, or would."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted({ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()})


def prose(text: str) -> str:
    """A page without code: what looks like a link or a heading there is none."""
    return _CODE.sub("", _FENCED.sub("", text))


def links(page: Path) -> Iterator[str]:
    """Where a page's links lead, but for the web."""
    for target in _LINK.findall(prose(page.read_text())):
        if not re.match(r"[a-z][a-z0-9+.-]*:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """A page's headings as links name them: lower case, no punctuation, hyphens for blanks, numbered if doubled."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", _FENCED.sub("", page.read_text()), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def wrong(page: Path, target: str) -> str | None:
    """What is wrong with a link; None: nothing."""
    name, _, anchor = unquote(target).partition("#")
    there = (page.parent / name).resolve() if name else page
    if not there.exists():
        return f"{page.relative_to(ROOT)}: there is no {target}"
    if ROOT not in there.parents:
        return f"{page.relative_to(ROOT)}: {target} leads out of the project"
    if anchor and anchor not in anchors(there):
        return f"{page.relative_to(ROOT)}: {name or page.name} has no heading #{anchor}"
    return None


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [fault for target in links(page) if (fault := wrong(page, target))] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [(page.parent / unquote(target).partition("#")[0]).resolve() for target in links(page)]
    assert [str(page.relative_to(ROOT)) for page in pages() if page not in reached] == []


def test_commands_that_the_docs_name_are_there() -> None:
    known = {
        command.name or command.callback.__name__.replace("_", "-")
        for command in cli.registered_commands
        if command.callback
    }
    for page in pages():
        # In code alone: a sentence may go on after the name.
        code = "\n".join(match[0] for match in (*_FENCED.finditer(page.read_text()), *_CODE.finditer(page.read_text())))
        named = set(re.findall(r"(?:^|[`\s/])mailroom ([a-z][a-z-]*)\b", code, re.MULTILINE))
        assert named <= known, page.name


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    assert wrong(page, "docs/nowhere.md") == "README.md: there is no docs/nowhere.md"
    assert wrong(page, "#the-command") is None
    assert wrong(page, "docs/reference/host.md#nowhere") == "README.md: docs/reference/host.md has no heading #nowhere"
    assert "leads out of" in str(wrong(page, "../../"))
    other = tmp_path / "page.md"
    other.write_text("# A `b`, c\n\n## Twice\n\n## Twice\n\n```\n# none\n[x](y)\n```\n`[x](z)` [x](w)\n")
    assert anchors(other) == {"a-b-c", "twice", "twice-1"}
    assert list(links(other)) == ["w"]
