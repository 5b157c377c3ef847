"""Write docs/images/demo.svg: what `mailroom demo` prints, as a picture of a terminal.

    python -m tools.demo_svg

The picture contains no link to a font, so that it looks the same offline.
"""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT

from mailroom_cli.demo.run import run_demo
from mailroom_cli.terminal import open_console

PICTURE: Final = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.svg"
WIDTH: Final = 120
"""Columns: wider than a terminal usually is, so that no line of the summary is broken."""

FORMAT: Final = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> int:
    """Run the demo in a temporary folder, write the picture, and return the demo's exit status."""
    console = open_console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    before = Path.cwd()
    with TemporaryDirectory(prefix="mailroom-picture-") as folder:
        os.chdir(folder)
        sys.argv[0] = "mailroom"
        try:
            console.print("$ mailroom demo")
            status = run_demo(Path("mailroom-demo"), console)
        finally:
            os.chdir(before)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(console.export_svg(title="mailroom demo", code_format=FORMAT, unique_id="demo"), "utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
