"""The entry point of `mailroom`: it imports the commands, which takes a while, and runs one."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it: 128 and the number of SIGINT."""


def main() -> None:
    """Run the command. Ctrl-C ends it without a traceback, also while its modules are imported."""
    try:
        from mailroom_cli.cli import cli  # noqa: PLC0415

        cli()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
