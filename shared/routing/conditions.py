"""Evaluate the conditions of a route (rule 3.2). No condition reads the body."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from shared.routing.model import Route, RoutingInput


def matching_pattern(patterns: Iterable[str], addresses: Iterable[str]) -> str | None:
    """Return the first of `patterns` (addresses or `*@domain`) that an address matches; all are normalised."""
    exact = set(addresses)
    domains = {address.rpartition("@")[2] for address in exact}
    for pattern in patterns:
        if pattern in exact or (pattern.startswith("*@") and pattern[2:] in domains):
            return pattern
    return None


def match_all(patterns: tuple[str, ...], addresses: Collection[str]) -> bool:
    """Return whether there are addresses (normalised), and every one of them matches one of `patterns`."""
    allowed = _as_set(patterns)
    return bool(addresses) and all(
        address in allowed or f"*@{address.rpartition('@')[2]}" in allowed for address in addresses
    )


@lru_cache(maxsize=1024)
def _as_set(patterns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(patterns)


def first_failed_condition(route: Route, mail: RoutingInput) -> str | None:
    """Return a sentence that names the first condition of a route that does not hold; None if all hold."""
    words, types = route.subject_words, route.attachment_types
    checks = (
        ("SENDERS", not route.senders or (mail.senders_well_formed and match_all(route.senders, mail.senders))),
        ("RECIPIENTS", not route.recipients or matching_pattern(route.recipients, (*mail.to, *mail.cc)) is not None),
        ("SUBJECT_WORDS", not words or _word_pattern(words).search(mail.subject) is not None),
        ("ATTACHMENT_TYPES", not types or bool(_extensions(types) & mail.extensions)),
        ("IMPORTANT", not route.important or mail.important),
        ("FOLDERS", _matches_folder(mail.folder, route.folders)),
    )
    return next((f"{setting} does not hold" for setting, holds in checks if not holds), None)


@lru_cache(maxsize=1024)
def _word_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    # Not \b, which requires a word character on one side: "C++" does not end with one.
    return re.compile(r"(?<!\w)(?:" + "|".join(re.escape(word) for word in words) + r")(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=1024)
def _extensions(types: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.lower().lstrip("*.") for name in types)


def _matches_folder(folder: str, folders: tuple[str, ...]) -> bool:
    if not folders or "*" in folders:
        return True
    # INBOX alone is the same in any case (RFC 3501 section 5.1).
    return folder in folders or (folder.upper() == "INBOX" and any(name.upper() == "INBOX" for name in folders))
