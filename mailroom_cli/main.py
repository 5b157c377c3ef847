"""The entry point of `mailroom`: it imports the commands, which takes a while, and runs one."""

from __future__ import annotations

import errno
import os
import sys

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it: 128 and the number of SIGINT."""


def main() -> None:
    """Run the command. Ctrl-C, also while its modules are imported, and a full disk end it without a traceback."""
    try:
        from mailroom_cli.cli import cli  # noqa: PLC0415

        try:
            cli()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        # Python writes what is left when it exits, and would report the error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(f"the output cannot be written: {error.strerror}")
