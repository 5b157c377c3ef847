"""Export logs, traces and metrics to Application Insights.

Only this module imports the exporter, which takes over half a second. The notification function responds first and
imports it afterwards (`webhook_latency`).
"""

from __future__ import annotations

import logging
import threading

from pydantic import SecretStr

from shared.observability.log_context import LOGGER, install_log_context

UNTRACED_LIBRARIES = (
    *("azure_sdk", "django", "fastapi", "flask", "httpx", "httpx2"),
    *("psycopg2", "requests", "urllib", "urllib3"),
)
"""Libraries whose calls are not traced. A blob's URL contains the name of an attachment, which is message content. Ten
storage calls for each message would cost more to keep than the messages."""

_log = logging.getLogger("mailroom.telemetry")
_lock = threading.Lock()
_is_exporting: list[bool] = []


def start(connection: SecretStr | None) -> bool:
    """Start the exporter at the first call in the process. Later calls do nothing.

    The exporter reads APPLICATIONINSIGHTS_AUTHENTICATION_STRING itself, and signs in with the app's identity if that
    setting says so.

    Args:
        connection: APPLICATIONINSIGHTS_CONNECTION_STRING; None: only logs, with their fields in the text.

    Returns:
        Whether the process exports telemetry.
    """
    with _lock:
        if not _is_exporting:
            _is_exporting.append(connection is not None and _start_exporter(connection))
            install_log_context(append_fields=not _is_exporting[0])
        return _is_exporting[0]


def _start_exporter(connection: SecretStr) -> bool:
    try:
        from azure.monitor.opentelemetry import configure_azure_monitor  # noqa: PLC0415

        configure_azure_monitor(
            connection_string=connection.get_secret_value(),
            logger_name=LOGGER,
            instrumentation_options={name: {"enabled": False} for name in UNTRACED_LIBRARIES},
            enable_live_metrics=False,
            enable_performance_counters=False,
            # The default, five spans a second, could drop the trace of the message that an operator searches. To pay
            # for fewer traces, an operator sets OTEL_TRACES_SAMPLER=microsoft.fixed_percentage and its _ARG.
            sampling_ratio=1.0,
        )
    except Exception as error:  # noqa: BLE001  mail is drained with and without telemetry
        # The error's text may contain the connection string.
        _log.error(
            "telemetry cannot start (%s), so that only logs are written; check "
            "APPLICATIONINSIGHTS_CONNECTION_STRING and the settings that begin with OTEL_",
            type(error).__name__,
        )
        return False
    return True
