"""The conditions that a route may have (rule 3.2). The body is never a condition."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from shared.routing.model import Route, RoutingInput


def matching_pattern(patterns: Iterable[str], addresses: Iterable[str]) -> str | None:
    """Return the first of `patterns` (addresses or `*@domain`) that an address matches; all values are normalised."""
    address_set = set(addresses)
    domains = {address.rpartition("@")[2] for address in address_set}
    for pattern in patterns:
        if pattern in address_set or (pattern.startswith("*@") and pattern[2:] in domains):
            return pattern
    return None


def match_all(patterns: tuple[str, ...], addresses: Collection[str]) -> bool:
    """Return whether there are addresses, and each matches one of `patterns`; all values are normalised."""
    pattern_set = _as_set(patterns)
    return bool(addresses) and all(
        address in pattern_set or f"*@{address.rpartition('@')[2]}" in pattern_set for address in addresses
    )


@lru_cache(maxsize=1024)
def _as_set(patterns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(patterns)


def first_failed_condition(route: Route, mail: RoutingInput) -> str | None:
    """Return a route's first condition that does not hold, with the setting's name; None if all hold."""
    checks = (
        ("SENDERS", not route.senders or (mail.senders_well_formed and match_all(route.senders, mail.senders))),
        ("RECIPIENTS", not route.recipients or matching_pattern(route.recipients, (*mail.to, *mail.cc)) is not None),
        (
            "SUBJECT_WORDS",
            not route.subject_words or _word_pattern(route.subject_words).search(mail.subject) is not None,
        ),
        (
            "ATTACHMENT_TYPES",
            not route.attachment_types or bool(_normalise_extensions(route.attachment_types) & mail.extensions),
        ),
        ("IMPORTANT", not route.important or mail.important),
        ("FOLDERS", _is_folder_included(mail.folder, route.folders)),
    )
    return next((f"{setting} does not hold" for setting, holds in checks if not holds), None)


@lru_cache(maxsize=1024)
def _word_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    # Not \b, which requires a word character on one side: the word "C++" ends in none.
    return re.compile(r"(?<!\w)(?:" + "|".join(re.escape(word) for word in words) + r")(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=1024)
def _normalise_extensions(types: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.lower().lstrip("*.") for name in types)


def _is_folder_included(folder: str, folders: tuple[str, ...]) -> bool:
    if not folders or "*" in folders:
        return True
    # Only INBOX is case-insensitive (RFC 3501 section 5.1).
    return folder in folders or (folder.upper() == "INBOX" and any(name.upper() == "INBOX" for name in folders))
