"""Build the package that `azd deploy` and `func azure functionapp publish` send: `python -m tools.package FILE.zip`.

Both tools send the source tree without the files that `.funcignore` lists. Azure installs the dependencies from
`requirements.txt`. This script shows the deployed files and their size without either tool.
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
"""Returns whether a relative path is ignored. Its parts are separated by `/`, and a folder ends with `/`."""


def as_azd(lines: list[str]) -> Ignores:
    """Read the lines as azd does, with Git's rules.

    Source: azd's documentation, "Configure service packaging file inclusions".
    """
    return GitIgnoreSpec.from_lines(lines).match_file


def as_core_tools(lines: list[str]) -> Ignores:
    """Read the lines as Azure Functions Core Tools do.

    Each line is the beginning of a path from the root; `*` matches within a part of the path, `**` across parts.
    Source: `GitIgnoreParser` of Core Tools, which implements a part of Git's rules.

    Raises:
        ValueError: a line begins with `!`, which this function does not support.
    """
    patterns = [line.strip().removeprefix("/") for line in lines if line.strip() and not line.startswith("#")]
    if any(pattern.startswith("!") for pattern in patterns):
        raise ValueError(".funcignore: lines that begin with ! are not supported")
    expressions = (re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]+") for pattern in patterns)
    any_pattern = re.compile("|".join(expressions))
    return lambda path: any_pattern.match(path) is not None


def packaged(root: Path = ROOT, read: Callable[[list[str]], Ignores] = as_azd) -> Iterator[Path]:
    """Yield the deployed files, relative to `root`.

    Args:
        root: the source tree.
        read: reads `.funcignore` as one of the two tools does.
    """
    ignores = read((root / ".funcignore").read_text().splitlines())
    for folder, inner, files in os.walk(root):
        here = Path(folder).relative_to(root)
        # Ignored folders are not entered: .venv has thousands of files.
        inner[:] = sorted(name for name in inner if not ignores(f"{(here / name).as_posix()}/"))
        yield from (here / name for name in sorted(files) if not ignores((here / name).as_posix()))


def build(target: Path, root: Path = ROOT) -> int:
    """Write the package.

    Args:
        target: the zip file; an existing file is overwritten.
        root: the source tree.

    Returns:
        Size of the package in bytes.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in packaged(root):
            archive.write(root / file, file.as_posix())
    return target.stat().st_size


def main() -> None:
    """Build the package and print its size."""
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit("usage: python -m tools.package FILE.zip")
    size = build(Path(sys.argv[1]))
    print(f"{sys.argv[1]}: {size / 1024:.0f} KB")  # noqa: T201


if __name__ == "__main__":
    main()
