"""How attributes of spans and of log records are named: alike, so that one query finds both."""

from __future__ import annotations

PREFIX = "mailroom."


def span_name(**attributes: str | float) -> dict[str, str | int | float]:
    """Attributes under the names that telemetry shows them by."""
    return {PREFIX + name: value for name, value in attributes.items()}
