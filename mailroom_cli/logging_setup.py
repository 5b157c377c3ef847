"""Set up the log lines that a command writes to standard error: their level, and their format (text or JSON)."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from mailroom_cli.terminal import escape_json_line, without_controls
from shared.observability.log_context import LOGGER, install_log_context
from shared.observability.metric_names import PREFIX

TEXT_FORMAT: Final = "text"
JSON_FORMAT: Final = "json"
LOG_FORMATS: Final = (TEXT_FORMAT, JSON_FORMAT)
"""The values of `--log-format`."""

LEVELS: Final = {0: logging.ERROR, 1: logging.INFO}
"""The level by the number of `-v`; a larger number means DEBUG."""

_RENAMED: Final = {"message": "id"}
"""Fields whose name a JSON line needs for another value. `mailroom find --id` finds a message by its id."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How the log lines of a process are written, to be applied in another process.

    Attributes:
        verbosity: how often `-v` was given.
        quiet: write errors only.
        log_format: one of `LOG_FORMATS`.
        level: the level of the logger `mailroom`, which a command may have lowered.
    """

    verbosity: int = 0
    quiet: bool = False
    log_format: str = TEXT_FORMAT
    level: int = LEVELS[0]

    def apply(self) -> None:
        """Write log lines in the same way in this process."""
        configure_logging(self.verbosity, self.quiet, self.log_format)
        logging.getLogger(LOGGER).setLevel(self.level)


_options = LogOptions()


def log_options() -> LogOptions:
    """Return how the log lines of this process are written."""
    return replace(_options, level=logging.getLogger(LOGGER).level)


def configure_logging(verbosity: int, quiet: bool, log_format: str) -> None:
    """Write log lines to standard error.

    A command may lower the level of the logger `mailroom` afterwards, as `serve` does. `quiet` wins over that.

    Args:
        verbosity: how often `-v` was given; see `LEVELS`.
        quiet: write errors only.
        log_format: one of `LOG_FORMATS`.
    """
    global _options  # noqa: PLW0603  logging is configured once for a process
    _options = LogOptions(verbosity, quiet, log_format)
    handler = logging.StreamHandler(sys.stderr)
    if quiet:
        handler.setLevel(logging.ERROR)
    if log_format == JSON_FORMAT:
        # Before the functions install it: the fields belong into their own members, not into the message.
        install_log_context(append_fields=False)
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(UtcFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # It warns of each retry. The error that follows says the same in one line, with the setting.
    logging.getLogger("urllib3").setLevel(logging.NOTSET if verbosity else logging.ERROR)
    logging.getLogger(LOGGER).setLevel(LEVELS.get(verbosity, logging.DEBUG))


class UtcFormatter(logging.Formatter):
    """Formats log lines with UTC times such as `2026-11-23T09:00:00.123Z`, like all other times of Mailroom."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the log line without unsafe characters."""
        return without_controls(super().format(record))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  logging's name
        """Return the time at which the record was created."""
        time = datetime.fromtimestamp(record.created, UTC)
        return time.strftime(datefmt) if datefmt else f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"


class JsonFormatter(UtcFormatter):
    """Formats a log record as one line of JSON: time, level, logger, message, the record's fields, and a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object, with unsafe characters escaped."""
        values: dict[str, object] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for attribute, value in record.__dict__.items():
            if attribute.startswith(PREFIX):
                name = attribute.removeprefix(PREFIX)
                values[_RENAMED.get(name, name)] = value
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return escape_json_line(json.dumps(values, ensure_ascii=False, default=str))
