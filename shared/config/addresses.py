"""Addresses in settings, in the form that `shared.addresses` gives every address."""

from __future__ import annotations

from shared.addresses import normalise, normalise_domain, without_invisible
from shared.config.validation import InvalidValue


def parse_address(text: str) -> str:
    """Return an address, normalised.

    Raises:
        Wrong: it is not an address.
    """
    address = normalise(text)
    local, at, domain = without_invisible(text).rpartition("@")
    if address is None and at and normalise(f"{local}@localhost") and normalise_domain(domain) is None:
        raise InvalidValue("has no domain that can be one; write it as in example.com", text)
    if address is None or address.startswith("*@"):
        raise InvalidValue("is no address; write name@example.com", text)
    return address


def parse_pattern(text: str) -> str:
    """Return an address, or `*@domain`, normalised.

    Raises:
        Wrong: it is neither.
    """
    pattern = without_invisible(text)
    if pattern == "*":
        raise InvalidValue(
            "is not taken alone; name addresses or *@example.com, or leave the setting out to take any", text
        )
    if not pattern.startswith("*@"):
        return parse_address(text)
    domain = normalise_domain(pattern[2:])
    if domain is None:
        raise InvalidValue("has no domain that can be one; write it as in example.com", text)
    return f"*@{domain}"


def parse_route_address(text: str) -> str:
    """Return what a route's ADDRESS may be: a pattern, or `*`.

    Raises:
        Wrong: it is none of them.
    """
    return "*" if without_invisible(text) == "*" else parse_pattern(text)
