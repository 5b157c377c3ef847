"""Sends what the process tells of itself to Application Insights, if it is to.

Only this module imports the exporter, which takes over half a second: the notification function does not wait for it
before its first answer (`webhook_time`).
"""

from __future__ import annotations

import logging
import threading

from pydantic import SecretStr

from shared.observability.log_context import LOGGER, structured

QUIET = (
    *("azure_sdk", "django", "fastapi", "flask", "httpx", "httpx2"),
    *("psycopg2", "requests", "urllib", "urllib3"),
)
"""Libraries whose calls are not traced. A blob's address holds an attachment's name, which is content; and ten calls to
the storage for each message would cost more to keep than the messages."""

_log = logging.getLogger("mailroom.telemetry")
_lock = threading.Lock()
_started: list[bool] = []


def start(connection: SecretStr | None) -> bool:
    """Begin to tell, at the first call of the process; later ones do nothing.

    The exporter reads APPLICATIONINSIGHTS_AUTHENTICATION_STRING itself, and signs in by the app's identity if that
    says so.

    Args:
        connection: APPLICATIONINSIGHTS_CONNECTION_STRING; None: logs alone, with their fields in words.

    Returns:
        Whether the process exports.
    """
    with _lock:
        if not _started:
            _started.append(connection is not None and _export(connection))
            structured(in_words=not _started[0])
        return _started[0]


def _export(connection: SecretStr) -> bool:
    try:
        from azure.monitor.opentelemetry import configure_azure_monitor  # noqa: PLC0415

        configure_azure_monitor(
            connection_string=connection.get_secret_value(),
            logger_name=LOGGER,
            instrumentation_options={name: {"enabled": False} for name in QUIET},
            enable_live_metrics=False,
            enable_performance_counters=False,
            # The exporter's own choice, five spans a second, would lose the one message that somebody looks for. An
            # operator who pays for too many sets OTEL_TRACES_SAMPLER=microsoft.fixed_percentage and its _ARG.
            sampling_ratio=1.0,
        )
    except Exception as error:  # noqa: BLE001  mail is collected whether anybody watches or not
        # The text of the error may hold the string.
        _log.error(
            "telemetry does not start (%s): nothing is exported, logs alone tell; look at "
            "APPLICATIONINSIGHTS_CONNECTION_STRING and at the settings that begin with OTEL_",
            type(error).__name__,
        )
        return False
    return True
