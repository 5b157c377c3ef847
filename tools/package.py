"""Builds the package that `azd deploy` and `func azure functionapp publish` send: `python -m tools.package FILE.zip`.

Both take the tree without what `.funcignore` names; packages are installed in Azure, from `requirements.txt`. So this
shows what is deployed, and how much it is, without either tool.
"""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

ROOT = Path(__file__).resolve().parents[1]

Ignores = Callable[[str], bool]
"""Whether a path is left out: relative, with `/` between its parts and at the end of a folder."""


def as_azd(lines: list[str]) -> Ignores:
    """How azd reads it: as Git does (azd's documentation, "Configure service packaging file inclusions")."""
    return GitIgnoreSpec.from_lines(lines).match_file


def as_core_tools(lines: list[str]) -> Ignores:
    """How Core Tools read it: each line is the beginning of a path from the root on, `*` within one part, `**` across.

    Lines with `!` are not for us to read. Source: their `GitIgnoreParser`, which is no whole reading of what Git does.
    """
    patterns = [line.strip().removeprefix("/") for line in lines if line.strip() and not line.startswith("#")]
    if any(pattern.startswith("!") for pattern in patterns):
        raise ValueError(".funcignore: a line with ! is not read here")
    parts = (re.escape(one).replace(r"\*\*", ".+").replace(r"\*", "[^/]+") for one in patterns)
    whole = re.compile("|".join(parts))
    return lambda path: whole.match(path) is not None


def packaged(root: Path = ROOT, read: Callable[[list[str]], Ignores] = as_azd) -> Iterator[Path]:
    """The files that are deployed, relative to `root`."""
    ignores = read((root / ".funcignore").read_text().splitlines())
    for folder, inner, files in os.walk(root):
        here = Path(folder).relative_to(root)
        # What is ignored is not looked into: there are thousands of files in .venv.
        inner[:] = sorted(name for name in inner if not ignores(f"{(here / name).as_posix()}/"))
        yield from (here / name for name in sorted(files) if not ignores((here / name).as_posix()))


def build(target: Path, root: Path = ROOT) -> int:
    """Write the package.

    Args:
        target: the zip file; what is there is overwritten.
        root: the tree.

    Returns:
        Its size in octets.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in packaged(root):
            archive.write(root / file, file.as_posix())
    return target.stat().st_size


def main() -> None:
    """Build it, and say how large it is."""
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit("usage: python -m tools.package FILE.zip")
    size = build(Path(sys.argv[1]))
    print(f"{sys.argv[1]}: {size / 1024:.0f} KB")  # noqa: T201


if __name__ == "__main__":
    main()
