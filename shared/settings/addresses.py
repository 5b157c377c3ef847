"""Addresses as they stand in settings: a light check, lower case, and domains as A-labels (RFC 5890).

What is taken here has the form that `shared.mail.addresses.normalise` gives it, or routes would miss their mail. It is
not imported from there: settings stand beside `mail`, not above it.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress

import idna

from shared.settings.faults import Wrong

_PLAIN_LOCAL = re.compile(r'[^\s@"(),:;<>\[\]\\\x00-\x1f\x7f]+')
_QUOTED_LOCAL = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"')
_DOT_ATOM = re.compile(r'[^\s@"(),.:;<>\[\]\\\x00-\x1f\x7f]+(?:\.[^\s@"(),.:;<>\[\]\\\x00-\x1f\x7f]+)*')
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LITERAL = re.compile(r"\[[0-9a-z.:-]+\]")
_LONGEST_DOMAIN = 253


def parse_address(text: str) -> str:
    """One address, normalised.

    Raises:
        Wrong: it is none.
    """
    local, at, domain = text.strip().rpartition("@")
    local = _folded(local)
    if _QUOTED_LOCAL.fullmatch(local):
        bare = re.sub(r"\\(.)", r"\1", local[1:-1])
        # Quotes and backslashes that are not needed are not part of the address (RFC 5321 section 4.1.2).
        local = bare if _DOT_ATOM.fullmatch(bare) else '"' + re.sub(r'(["\\])', r"\\\1", bare) + '"'
    elif not _PLAIN_LOCAL.fullmatch(local):
        at = ""
    if not at or local == "*":
        raise Wrong("is no address; write name@example.com", text)
    return f"{local}@{_domain(domain, text)}"


def parse_pattern(text: str) -> str:
    """An address, or `*@domain`, normalised.

    Raises:
        Wrong: it is neither.
    """
    if text.strip().startswith("*@"):
        return f"*@{_domain(text.strip()[2:], text)}"
    if text.strip() == "*":
        raise Wrong("is not taken alone; name addresses or *@example.com, or leave the setting out to take any", text)
    return parse_address(text)


def parse_route_address(text: str) -> str:
    """What a route's ADDRESS may be: a pattern, or `*`.

    Raises:
        Wrong: it is none of them.
    """
    return "*" if text.strip() == "*" else parse_pattern(text)


def looks_like_an_address(text: str) -> bool:
    """Whether `parse_address` would take it."""
    try:
        parse_address(text)
    except Wrong:
        return False
    return True


def _folded(local: str) -> str:
    # Lower case may decompose, so that it is composed again.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", local).lower())


def _domain(domain: str, whole: str) -> str:
    domain = domain.lower()
    if _LITERAL.fullmatch(domain):
        return domain
    labels = domain if domain.isascii() else ""
    with suppress(idna.IDNAError, UnicodeError):
        labels = labels or idna.encode(domain, uts46=True).decode("ascii").lower()
    labels = labels.removesuffix(".")
    if len(labels) > _LONGEST_DOMAIN or not all(map(_LABEL.fullmatch, labels.split("."))):
        raise Wrong("has no domain that can be one; write it as in example.com", whole)
    return labels
