"""Every error of the Azure SDKs, as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ServiceRequestError

from shared.errors import ServiceUnavailable, Throttled, TryAgain, quoted

TOO_MUCH = frozenset({429, 503})
DENIED = frozenset({401, 403})


@contextmanager
def mapped(setting: str) -> Iterator[None]:
    """Turn what the SDKs raise into `TryAgain` and what derives from it.

    Args:
        setting: the setting that names the account.
    """
    try:
        yield
    except AzureError as error:
        # Not chained: a request's headers and signatures hang on the SDK's exceptions.
        raise as_ours(error, setting) from None


def as_ours(error: AzureError, setting: str) -> TryAgain:
    """The error of ours that one of theirs stands for."""
    code = str(getattr(error, "error_code", "") or "")
    if isinstance(error, HttpResponseError) and error.status_code in TOO_MUCH:
        return Throttled(f"{setting}: the storage asks to wait ({error.status_code} {code})", retry_after=_wait(error))
    if isinstance(error, ClientAuthenticationError) or (
        isinstance(error, HttpResponseError) and error.status_code in DENIED
    ):
        return ServiceUnavailable(
            f"{setting}: the storage refused us ({code or 'not authorised'}): check the key, or that the identity has "
            "the data roles (Storage Blob, Queue and Table Data Contributor) on the account, and that the account's "
            "firewall lets the app in"
        )
    if isinstance(error, ServiceRequestError):
        return ServiceUnavailable(f"{setting}: the storage cannot be reached: {_first_line(error)}")
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        return ServiceUnavailable(f"{setting}: the storage answered {error.status_code} {code}: {_first_line(error)}")
    return ServiceUnavailable(f"{setting}: {type(error).__name__}: {_first_line(error)}")


def _wait(error: HttpResponseError) -> float | None:
    headers = getattr(error.response, "headers", {})
    value = str(headers.get("Retry-After", ""))
    return float(value) if value.isdigit() else None


def _first_line(error: AzureError) -> str:
    # The SDKs append the request id, the time and the response's body in lines of their own.
    return quoted(str(error.message or error).splitlines()[0] if str(error) else type(error).__name__)
