"""The settings of host.json that the local host supports.

Sources: https://learn.microsoft.com/azure/azure-functions/functions-host-json and, for queues,
https://learn.microsoft.com/azure/azure-functions/functions-bindings-storage-queue#host-json. An environment variable
such as `AzureFunctionsJobHost__extensions__queues__batchSize` overrides the file, as in Azure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError

OVERRIDE = "AzureFunctionsJobHost__"
"""How the name of an environment variable that overrides host.json begins."""

_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,7}))?")


@dataclass(frozen=True, slots=True)
class HostConfig:
    """The host's settings. The defaults are those of Azure Functions.

    Attributes:
        batch_size: queue messages received at once, 1 to 32.
        new_batch_threshold: the next batch is received when at most this many messages are running. Up to
            `batch_size + new_batch_threshold` messages of one queue run at once.
        max_dequeue_count: tries before a message is moved to the poison queue.
        visibility_timeout: seconds between a failed try and the next.
        max_polling_interval: longest time in seconds between two checks of an empty queue.
        function_timeout: seconds that a function may run; None means no limit.
        route_prefix: first part of the path of every HTTP function.
    """

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: float = 0
    max_polling_interval: float = 60
    function_timeout: float | None = 1800
    route_prefix: str = "api"

    @property
    def concurrency(self) -> int:
        """The number of messages of one queue that may run at once."""
        return self.batch_size + self.new_batch_threshold


def read_config(app_dir: Path, environment: Mapping[str, str]) -> HostConfig:
    """Read `host.json` in `app_dir` and the environment variables that override it.

    Raises:
        ConfigurationError: the file is missing or unreadable, or values are invalid; it lists all errors.
    """
    path = app_dir / "host.json"
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"host.json in {app_dir} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"host.json in {app_dir} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"host.json in {app_dir} is not a JSON object")
    values = _Values(content, environment)
    default = HostConfig()
    config = HostConfig(
        batch_size=values.number("extensions.queues.batchSize", default.batch_size, 1, 32),
        new_batch_threshold=values.number("extensions.queues.newBatchThreshold", default.new_batch_threshold, 0, 1000),
        max_dequeue_count=values.number("extensions.queues.maxDequeueCount", default.max_dequeue_count, 1, 1000),
        visibility_timeout=values.span("extensions.queues.visibilityTimeout", default.visibility_timeout) or 0,
        max_polling_interval=values.span("extensions.queues.maxPollingInterval", default.max_polling_interval) or 0.1,
        function_timeout=values.span("functionTimeout", default.function_timeout),
        route_prefix=values.text("extensions.http.routePrefix", default.route_prefix).strip("/"),
    )
    if values.text("extensions.queues.messageEncoding", "base64").lower() != "base64":
        values.add_error("extensions.queues.messageEncoding", "the queues use base64; set it to base64")
    if values.errors:
        raise ConfigurationError(*values.errors)
    return config


class _Values:
    """The values of host.json by dotted path, overridden by the environment; it collects invalid values."""

    def __init__(self, content: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._content = content
        prefix = OVERRIDE.upper()
        self._overrides = {
            name.upper().removeprefix(prefix).replace("__", "."): value
            for name, value in environment.items()
            if name.upper().startswith(prefix)
        }
        self.errors: list[str] = []

    def add_error(self, path: str, fix: str) -> None:
        name = OVERRIDE + path.replace(".", "__") if path.upper() in self._overrides else f"host.json: {path}"
        self.errors.append(f"{name} is invalid: {fix}")

    def number(self, path: str, default: int, least: int, most: int) -> int:
        value = self._find(path)
        if value is None:
            return default
        if not isinstance(value, bool) and re.fullmatch(r"\d{1,9}", str(value)) and least <= int(value) <= most:
            return int(value)
        self.add_error(path, f"set a whole number from {least} to {most}")
        return default

    def span(self, path: str, default: float | None) -> float | None:
        value = self._find(path)
        if value is None:
            return default
        if str(value) == "-1":
            return None
        match = _SPAN.fullmatch(str(value))
        if match is None:
            self.add_error(path, "set a duration as hh:mm:ss")
            return default
        days, hours, minutes, seconds, fraction = match.groups()
        whole = ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
        return whole + float(f"0.{fraction or 0}")

    def text(self, path: str, default: str) -> str:
        value = self._find(path)
        return default if value is None else str(value)

    def _find(self, path: str) -> Any:
        override = self._overrides.get(path.upper())
        if override is not None:
            return override
        value: Any = self._content
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value
