"""Export logs, traces and metrics to Application Insights.

Only this module imports the exporter, which takes over half a second. The notification function responds first and
imports it afterwards (`webhook_latency`).
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from pydantic import SecretStr

from shared.observability.log_context import LOGGER, install_log_context

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

UNTRACED_LIBRARIES = (
    *("azure_sdk", "django", "fastapi", "flask", "httpx", "httpx2"),
    *("psycopg2", "requests", "urllib", "urllib3"),
)
"""Libraries whose calls are not traced. A blob's URL contains the name of an attachment, which is message content. Ten
storage calls for each message would cost more to keep than the messages."""

FLUSH_SECONDS = 10

_log = logging.getLogger("mailroom.telemetry")
_lock = threading.Lock()
_is_exporting: list[bool] = []


def start(connection: SecretStr | None, credential: TokenCredential | None = None) -> bool:
    """Start the exporter at the first call in the process. Later calls do nothing.

    The exporter reads APPLICATIONINSIGHTS_AUTHENTICATION_STRING itself, and signs in with the app's identity if that
    setting says so.

    Args:
        connection: APPLICATIONINSIGHTS_CONNECTION_STRING; None: only logs, with their fields in the text.
        credential: signs in instead of the app's identity.

    Returns:
        Whether the process exports telemetry.
    """
    with _lock:
        if not _is_exporting:
            _is_exporting.append(connection is not None and _start_exporter(connection, credential))
            install_log_context(append_fields=not _is_exporting[0])
        return _is_exporting[0]


def flush() -> None:
    """Send the metrics now, instead of within a minute. If telemetry is not exported, do nothing.

    The Functions host kills a worker without a signal, and a command ends: what was measured would be lost.
    """
    if not any(_is_exporting):
        return
    from opentelemetry.metrics import get_meter_provider  # noqa: PLC0415
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415

    provider = get_meter_provider()
    if isinstance(provider, MeterProvider):
        try:
            provider.force_flush(FLUSH_SECONDS * 1000)
        except Exception as error:  # noqa: BLE001  mail is drained with and without telemetry
            _log.warning("metrics were not sent (%s)", type(error).__name__)


def _start_exporter(connection: SecretStr, credential: TokenCredential | None) -> bool:
    try:
        from azure.monitor.opentelemetry import configure_azure_monitor  # noqa: PLC0415

        configure_azure_monitor(
            # An argument that is None would turn off the exporter's own sign-in.
            **({} if credential is None else {"credential": credential}),
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
