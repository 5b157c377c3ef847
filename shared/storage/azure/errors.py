"""Map every error of the Azure SDKs to an error of Mailroom."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from shared.backoff import parse_retry_after
from shared.errors import ServiceUnavailable, Throttled, TransientError, printable

THROTTLED = frozenset({429, 503})
DENIED = frozenset({401, 403})
NOT_FOUND = 404
TOO_LARGE = 413

EXISTS = frozenset({"EntityAlreadyExists"})
"""Error codes of the table service: the record exists."""

MISSING = frozenset({"ResourceNotFound", "EntityNotFound"})
"""Error codes: the record does not exist. The code of a missing table (also 404) does not imply that."""

MODIFIED = frozenset({"UpdateConditionNotSatisfied", "ConditionNotMet"})
"""Error codes: the record has another etag."""

AZURITE = "npx azurite --location azurite-data"
"""The command that starts the storage emulator (npm package azurite)."""

_CLI_REASON = re.compile(r"^\s*AzureCliCredential: (.+)$", re.MULTILINE)
_CODE_HEADER = "x-ms-error-code"
_SIGNATURE = re.compile(r"(?i)(with url: |sig=)[^\s&]+")


class Service(StrEnum):
    """The services of a storage account, as the names of Azure's data roles have them."""

    BLOB = "Blob"
    QUEUE = "Queue"
    TABLE = "Table"


@contextmanager
def mapped_errors(setting: str, service: Service, *, is_emulator: bool = False) -> Iterator[None]:
    """Raise the SDKs' errors as `TransientError` or a subclass of it.

    Args:
        setting: the setting that names the account.
        service: the service that is used.
        is_emulator: whether the account is the storage emulator's, on this machine.
    """
    try:
        yield
    except AzureError as error:
        # Not chained: the SDK's exceptions refer to the request, whose URL and headers may contain signatures.
        raise map_error(error, setting, service, is_emulator=is_emulator) from None


def map_error(error: AzureError, setting: str, service: Service, *, is_emulator: bool = False) -> TransientError:
    """Return the error of Mailroom for an error of an SDK. Its text contains nothing of the request or the content."""
    who = f"{setting}: the {service} service"
    status = error.status_code if isinstance(error, HttpResponseError) else None
    answer = " ".join(filter(None, [str(status or ""), error_code(error)])) or type(error).__name__
    if status in THROTTLED:
        return Throttled(f"{who} is throttling requests ({answer})", retry_after=_retry_after(error), status=status)
    if status in DENIED:
        return ServiceUnavailable(
            f"{who} denied access ({answer}); check the key in {setting}, or that the identity has the role Storage "
            f"{service} Data Contributor on the account, and that the account's firewall admits the app",
            status=status,
        )
    if isinstance(error, ClientAuthenticationError) and str(error).startswith("DefaultAzureCredential "):
        return ServiceUnavailable(
            f"{who}: there is no sign-in to Azure here{_cli_reason(str(error))}; run `az login` on your own machine, "
            "or assign an identity to the app in Azure"
        )
    if isinstance(error, ClientAuthenticationError):
        return ServiceUnavailable(
            f"{who}: sign-in failed ({_root_cause(error)}); check the key or the identity that {setting} names, or "
            "sign in with `az login`",
            status=status,
        )
    if status == NOT_FOUND:
        return ServiceUnavailable(
            f"{who} did not find the resource ({answer}); check that {setting} names the right account, and that the "
            f"identity may create missing resources (role Storage {service} Data Contributor)",
            status=status,
        )
    if status == TOO_LARGE:
        return ServiceUnavailable(f"{who} does not accept a request or a record of this size ({answer})", status=status)
    if isinstance(error, ServiceRequestError) and is_emulator:
        return ServiceUnavailable(
            f"{who} of the storage emulator does not run on this machine ({_root_cause(error)}); start Azurite: "
            f"{AZURITE}"
        )
    if isinstance(error, ServiceRequestError):
        return ServiceUnavailable(
            f"{who} cannot be reached ({_root_cause(error)}); check the account's name in {setting}, and the network"
        )
    if isinstance(error, ServiceResponseError):
        return ServiceUnavailable(
            f"{who} sent an incomplete response ({_root_cause(error)}); check the account's health in the Azure portal "
            "and the network"
        )
    return ServiceUnavailable(
        f"{who} returned an unexpected response ({answer}); check the account's health in the Azure portal",
        status=status,
    )


def error_code(error: AzureError) -> str:
    """Return the service's error code, such as `BlobAlreadyExists`, or an empty text if it sent none."""
    # Some calls of the SDKs parse the code; others, such as a table's insert, do not. It is in a header or in the body.
    code = getattr(error, "error_code", None)
    if code:
        return str(getattr(code, "value", code))
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) or {}
    if headers.get(_CODE_HEADER):
        return str(headers[_CODE_HEADER])
    try:
        body = json.loads(response.text()) if response is not None else {}
        return str(body["odata.error"]["code"])
    except (AzureError, ValueError, LookupError, TypeError, AttributeError):
        return ""


def _cli_reason(text: str) -> str:
    """Return why the Azure CLI's sign-in cannot be used, in parentheses; the other credentials need no mention."""
    match = _CLI_REASON.search(text)
    return f" ({printable(match[1], 100)})" if match else ""


def _retry_after(error: AzureError) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    return parse_retry_after(headers.get("Retry-After"))


def _root_cause(error: AzureError) -> str:
    """Return the text of the innermost error: `Connection refused`, without the request that failed."""
    cause: BaseException = error.inner_exception or error
    while True:
        inner = getattr(cause, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((argument for argument in cause.args if isinstance(argument, BaseException)), None)
        if inner is None:
            break
        cause = inner
    lines = str(cause).splitlines()
    return printable(_SIGNATURE.sub(r"\1…", lines[0])) if lines else type(cause).__name__
