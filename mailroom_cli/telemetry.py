"""Export the telemetry of a command that changes what is stored, so that the workbook's ledger counts it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

AUTHENTICATION = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"
"""The setting that makes the exporter sign in with a token. The exporter itself knows managed identities only."""


@contextmanager
def exported_telemetry(connection: SecretStr | None) -> Iterator[None]:
    """Export logs and metrics while the body runs, and send the metrics at its end.

    With `AUTHENTICATION`, sign in as for the storage, for example with the account of `az login`.

    Args:
        connection: APPLICATIONINSIGHTS_CONNECTION_STRING; None: do nothing.
    """
    if connection is None:
        yield
        return
    from shared.observability.exporter import flush, start  # noqa: PLC0415  takes over half a second

    credential = None
    if AUTHENTICATION in os.environ:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415

        credential = DefaultAzureCredential()
    start(connection, credential)
    try:
        yield
    finally:
        flush()
