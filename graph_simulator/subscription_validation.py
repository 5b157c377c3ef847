"""What an app may write into a subscription, and what is refused."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from graph_simulator.errors import bad_request

SHORTEST = timedelta(minutes=45)
LONGEST_STATE = 128
KINDS = frozenset({"created", "updated", "deleted"})
TLS = ("v1_2", "v1_3")
REQUIRED = ("changeType", "notificationUrl", "resource", "expirationDateTime")
KNOWN = frozenset({*REQUIRED, "lifecycleNotificationUrl", "clientState", "latestSupportedTlsVersion"})
CHANGEABLE = frozenset({"expirationDateTime", "notificationUrl"})

_RESOURCE = re.compile(
    r"/?users(?:/([^/]+)|\('([^/]+)'\))/mailFolders(?:/([^/]+)|\('([^/]+)'\))/messages/?", re.IGNORECASE
)


def check_properties(body: dict[str, Any], known: Collection[str]) -> None:
    """Refuse properties that are not taken here; annotations may come along.

    Raises:
        GraphError: one such.
    """
    for name in body:
        if "@" not in name and name not in known:
            raise bad_request(f"Property '{name}' cannot be set here.", "InvalidRequest")


def text(body: dict[str, Any], name: str) -> str:
    """A property that must be there, as text.

    Raises:
        GraphError: it is missing, empty or something else.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise bad_request(f"{name} is a required property of subscription.", "InvalidRequest")
    return value


def kinds(body: dict[str, Any]) -> tuple[str, ...]:
    """The kinds of change.

    Raises:
        GraphError: none, or unknown ones.
    """
    found = tuple(each.strip() for each in text(body, "changeType").split(","))
    if not set(found) <= KINDS:
        raise bad_request(f"Unsupported changeType: {body['changeType']}", "InvalidRequest")
    return found


def resource(body: dict[str, Any]) -> tuple[str, str]:
    """The user and the folder that the resource names.

    Raises:
        GraphError: it names anything else.
    """
    match = _RESOURCE.fullmatch(text(body, "resource"))
    if match is None:
        raise bad_request("Resource is not supported for subscriptions here.", "InvalidRequest")
    return unquote(match[1] or match[2]), unquote(match[3] or match[4])


def url(body: dict[str, Any], name: str) -> str:
    """A place to send notifications to: over HTTPS, or on this machine.

    Raises:
        GraphError: missing, or any other.
    """
    value = text(body, name)
    try:
        parts = urlsplit(value)
        good = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
        good = good and bool(parts.hostname) and not parts.fragment and not parts.username
    except ValueError:
        good = False
    if not good:
        raise bad_request(f"{name} must be an HTTPS address.", "InvalidRequest")
    return value


def client_state(body: dict[str, Any]) -> str | None:
    """The state, if there is one.

    Raises:
        GraphError: it is too long, or no text.
    """
    value = body.get("clientState")
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > LONGEST_STATE:
        raise bad_request(f"clientState must not exceed {LONGEST_STATE} characters.", "InvalidRequest")
    return value


def tls(body: dict[str, Any]) -> str:
    """The TLS version.

    Raises:
        GraphError: one that is out of use, or none.
    """
    value = body.get("latestSupportedTlsVersion")
    if value is not None and value not in TLS:
        raise bad_request("latestSupportedTlsVersion is not supported.", "InvalidRequest")
    return str(value or TLS[0])


def expiry(body: dict[str, Any], longest: int) -> datetime:
    """When the subscription ends; what is too soon is put off.

    Raises:
        GraphError: no time, one without a zone, one that is past or too far ahead.
    """
    try:
        wanted = datetime.fromisoformat(text(body, "expirationDateTime"))
    except ValueError:
        raise bad_request("expirationDateTime is not a date and time.", "InvalidRequest") from None
    if wanted.tzinfo is None:
        raise bad_request("expirationDateTime has no time zone.", "InvalidRequest")
    now = datetime.now(UTC)
    if wanted > now + timedelta(minutes=longest):
        raise bad_request(f"Subscription expiration can only be {longest} minutes in the future.", "InvalidRequest")
    if wanted <= now:
        raise bad_request("Subscription expiration must be in the future.", "InvalidRequest")
    return max(wanted, now + SHORTEST)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
