"""How log lines begin."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from mailroom_cli.terminal import without_controls


class UtcFormatter(logging.Formatter):
    """Writes times in UTC with their zone, as every other time that Mailroom writes: `2026-11-23T09:00:00.123Z`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a server's answer in it cannot direct the terminal."""
        return without_controls(super().format(record))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  logging's name
        """Return when the record was made."""
        time = datetime.fromtimestamp(record.created, UTC)
        return time.strftime(datefmt) if datefmt else f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"
