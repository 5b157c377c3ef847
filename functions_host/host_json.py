"""host.json, as far as the local host follows it.

https://learn.microsoft.com/azure/azure-functions/functions-host-json and, for queues,
https://learn.microsoft.com/azure/azure-functions/functions-bindings-storage-queue#host-json. An environment variable
`AzureFunctionsJobHost__extensions__queues__batchSize` wins over the file, as it does on the platform.
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

_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,7}))?")


@dataclass(frozen=True, slots=True)
class HostConfig:
    """How the host behaves. The defaults are the platform's.

    Attributes:
        batch_size: queue messages taken at once, 1 to 32.
        new_batch_threshold: the next batch is taken when no more than this many are running, so that up to
            `batch_size + new_batch_threshold` messages of one queue are.
        max_dequeue_count: tries before a message goes to the poison queue.
        visibility_timeout: seconds between a failed try and the next.
        max_polling_interval: seconds between two looks at a queue that stays empty, at most.
        function_timeout: seconds that a function may run; None: for ever.
        route_prefix: what the paths of HTTP functions begin with.
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
        """How many messages of one queue may run at once."""
        return self.batch_size + self.new_batch_threshold


def read_config(app_dir: Path, environment: Mapping[str, str]) -> HostConfig:
    """Read `host.json` in `app_dir`, and what the environment sets over it.

    Raises:
        ConfigurationError: it is missing or unreadable, or values are; all faults at once.
    """
    path = app_dir / "host.json"
    try:
        written = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"host.json in {app_dir} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"host.json in {app_dir} is not JSON: {error}") from None
    if not isinstance(written, dict):
        raise ConfigurationError(f"host.json in {app_dir} is not a JSON object")
    values = _Values(written, environment)
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
        values.fault("extensions.queues.messageEncoding", "base64 is what the queues are written in")
    if values.faults:
        raise ConfigurationError(*values.faults)
    return config


class _Values:
    """Looks values up by dotted path, the environment first; notes what is wrong."""

    def __init__(self, written: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._written = written
        prefix = OVERRIDE.upper()
        self._over = {
            name.upper().removeprefix(prefix).replace("__", "."): value
            for name, value in environment.items()
            if name.upper().startswith(prefix)
        }
        self.faults: list[str] = []

    def fault(self, path: str, remedy: str) -> None:
        named = OVERRIDE + path.replace(".", "__") if path.upper() in self._over else f"host.json: {path}"
        self.faults.append(f"{named} is wrong: {remedy}")

    def number(self, path: str, default: int, least: int, most: int) -> int:
        value = self._find(path)
        if value is None:
            return default
        if not isinstance(value, bool) and re.fullmatch(r"\d{1,9}", str(value)) and least <= int(value) <= most:
            return int(value)
        self.fault(path, f"a whole number from {least} to {most} is wanted")
        return default

    def span(self, path: str, default: float | None) -> float | None:
        value = self._find(path)
        if value is None:
            return default
        if str(value) == "-1":
            return None
        match = _SPAN.fullmatch(str(value))
        if match is None:
            self.fault(path, "a time as hh:mm:ss is wanted")
            return default
        days, hours, minutes, seconds, fraction = match.groups()
        whole = ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)
        return whole + float(f"0.{fraction or 0}")

    def text(self, path: str, default: str) -> str:
        value = self._find(path)
        return default if value is None else str(value)

    def _find(self, path: str) -> Any:
        over = self._over.get(path.upper())
        if over is not None:
            return over
        value: Any = self._written
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value
