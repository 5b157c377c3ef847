"""Validation of the properties of a subscription."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from graph_simulator.errors import bad_request

MIN_LIFETIME = timedelta(minutes=45)
MAX_CLIENT_STATE = 128
KINDS = frozenset({"created", "updated", "deleted"})
TLS = ("v1_2", "v1_3")
REQUIRED = ("changeType", "notificationUrl", "resource", "expirationDateTime")
KNOWN = frozenset({*REQUIRED, "lifecycleNotificationUrl", "clientState", "latestSupportedTlsVersion"})
CHANGEABLE = frozenset({"expirationDateTime", "notificationUrl"})

_RESOURCE = re.compile(
    r"/?users(?:/([^/]+)|\('([^/]+)'\))/mailFolders(?:/([^/]+)|\('([^/]+)'\))/messages/?", re.IGNORECASE
)


def check_properties(body: dict[str, Any], allowed: Collection[str]) -> None:
    """Refuse properties that may not be set; annotations (`name@...`) are ignored.

    Raises:
        GraphError: a property may not be set.
    """
    for name in body:
        if "@" not in name and name not in allowed:
            raise bad_request(f"Property '{name}' cannot be set here.", "InvalidRequest")


def text(body: dict[str, Any], name: str) -> str:
    """Return the value of a required text property.

    Raises:
        GraphError: the property is missing, empty or not a text.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise bad_request(f"{name} is a required property of subscription.", "InvalidRequest")
    return value


def kinds(body: dict[str, Any]) -> tuple[str, ...]:
    """Return the kinds of change.

    Raises:
        GraphError: the property is missing, or a kind is unknown.
    """
    values = tuple(kind.strip() for kind in text(body, "changeType").split(","))
    if not set(values) <= KINDS:
        raise bad_request(f"Unsupported changeType: {body['changeType']}", "InvalidRequest")
    return values


def resource(body: dict[str, Any]) -> tuple[str, str]:
    """Return the user and the folder that the resource names.

    Raises:
        GraphError: the resource is not the messages of a folder.
    """
    match = _RESOURCE.fullmatch(text(body, "resource"))
    if match is None:
        raise bad_request("Resource is not supported for subscriptions here.", "InvalidRequest")
    return unquote(match[1] or match[2]), unquote(match[3] or match[4])


def url(body: dict[str, Any], name: str) -> str:
    """Return a URL that may receive notifications: HTTPS, or HTTP on a loopback address.

    Raises:
        GraphError: the property is missing, or not such a URL.
    """
    value = text(body, name)
    try:
        parts = urlsplit(value)
        is_valid = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
        is_valid = is_valid and bool(parts.hostname) and not parts.fragment and not parts.username
    except ValueError:
        is_valid = False
    if not is_valid:
        raise bad_request(f"{name} must be an HTTPS address.", "InvalidRequest")
    return value


def client_state(body: dict[str, Any]) -> str | None:
    """Return the client state; None without one.

    Raises:
        GraphError: the client state is too long, or not a text.
    """
    value = body.get("clientState")
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_CLIENT_STATE:
        raise bad_request(f"clientState must not exceed {MAX_CLIENT_STATE} characters.", "InvalidRequest")
    return value


def tls(body: dict[str, Any]) -> str:
    """Return the TLS version.

    Raises:
        GraphError: the version is unknown or obsolete.
    """
    value = body.get("latestSupportedTlsVersion")
    if value is not None and value not in TLS:
        raise bad_request("latestSupportedTlsVersion is not supported.", "InvalidRequest")
    return str(value or TLS[0])


def expiry(body: dict[str, Any], max_minutes: int) -> datetime:
    """Return when the subscription expires: as requested, but after the minimum lifetime at the earliest.

    Raises:
        GraphError: the time is invalid, has no time zone, is in the past, or is after the maximum lifetime.
    """
    try:
        requested = datetime.fromisoformat(text(body, "expirationDateTime"))
    except ValueError:
        raise bad_request("expirationDateTime is not a date and time.", "InvalidRequest") from None
    if requested.tzinfo is None:
        raise bad_request("expirationDateTime has no time zone.", "InvalidRequest")
    now = datetime.now(UTC)
    if requested > now + timedelta(minutes=max_minutes):
        raise bad_request(f"Subscription expiration can only be {max_minutes} minutes in the future.", "InvalidRequest")
    if requested <= now:
        raise bad_request("Subscription expiration must be in the future.", "InvalidRequest")
    return max(requested, now + MIN_LIFETIME)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
