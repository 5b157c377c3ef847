"""Every error of the Azure SDKs, as ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from shared.errors import ServiceUnavailable, Throttled, TransientError, printable

TOO_MUCH = frozenset({429, 503})
DENIED = frozenset({401, 403})

_CODE_HEADER = "x-ms-error-code"
_SIGNATURE = re.compile(r"(?i)(with url: |sig=)[^\s&]+")


class Service(StrEnum):
    """A storage account's services, by the names that their data roles have."""

    BLOB = "Blob"
    QUEUE = "Queue"
    TABLE = "Table"


@contextmanager
def mapped(setting: str, service: Service) -> Iterator[None]:
    """Turn what the SDKs raise into `TransientError` and what derives from it.

    Args:
        setting: the setting that names the account.
        service: whom is asked.
    """
    try:
        yield
    except AzureError as error:
        # Not chained: a request's address and headers hang on the SDK's exceptions, signatures among them.
        raise as_ours(error, setting, service) from None


def as_ours(error: AzureError, setting: str, service: Service) -> TransientError:
    """The error of ours that one of theirs stands for. Its text holds nothing of what was stored or asked for."""
    who = f"{setting}: the {service} service"
    status = error.status_code if isinstance(error, HttpResponseError) else None
    answer = " ".join(filter(None, [str(status or ""), code_of(error)])) or type(error).__name__
    if status in TOO_MUCH:
        return Throttled(f"{who} asks to wait ({answer})", retry_after=_wait(error))
    if status in DENIED:
        return ServiceUnavailable(
            f"{who} refused us ({answer}); check the key in {setting}, or that the identity has the role Storage "
            f"{service} Data Contributor on the account, and that the account's firewall lets the app in"
        )
    if isinstance(error, ClientAuthenticationError):
        return ServiceUnavailable(
            f"{who}: no sign-in is possible ({_told(error)}); check the key or the identity that {setting} names, or "
            "sign in with `az login`"
        )
    if status is not None and status == 404:  # noqa: PLR2004
        return ServiceUnavailable(
            f"{who} does not know what was asked for ({answer}); check that {setting} names the right account, and "
            f"that the identity may make what is missing (role Storage {service} Data Contributor)"
        )
    if isinstance(error, ServiceRequestError):
        return ServiceUnavailable(
            f"{who} cannot be reached ({_told(error)}); check the account's name in {setting}, and the network"
        )
    if isinstance(error, ServiceResponseError):
        return ServiceUnavailable(f"{who} did not answer in full ({_told(error)}); it may be ill, or the network")
    return ServiceUnavailable(f"{who} answered badly ({answer}); see the account's health in the Azure portal")


def code_of(error: AzureError) -> str:
    """The service's own word for what is wrong, such as `BlobAlreadyExists`; empty if it gave none."""
    # Some of the SDKs' calls read it for us, some (a table's insert) do not; it is in a header, or in the body alone.
    known = getattr(error, "error_code", None)
    if known:
        return str(getattr(known, "value", known))
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    if headers.get(_CODE_HEADER):
        return str(headers[_CODE_HEADER])
    try:
        body = json.loads(response.text()) if response is not None else {}
        return str(body["odata.error"]["code"])
    except (AzureError, ValueError, LookupError, TypeError, AttributeError):
        return ""


def _wait(error: AzureError) -> float | None:
    """Seconds of a Retry-After, which is a number or a date (RFC 9110 section 10.2.3)."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    value = str(headers.get("Retry-After", "")).strip()
    if value.isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        return None
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def _told(error: AzureError) -> str:
    """What went wrong at the bottom of it: `Connection refused`, not the request that met it."""
    inner: BaseException = error.inner_exception or error
    while True:
        below = getattr(inner, "reason", None)
        if not isinstance(below, BaseException):
            below = next((one for one in inner.args if isinstance(one, BaseException)), None)
        if below is None:
            break
        inner = below
    lines = str(inner).splitlines()
    return printable(_SIGNATURE.sub(r"\1…", lines[0])) if lines else type(inner).__name__
