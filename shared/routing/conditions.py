"""The conditions that a route may carry (rule 3.2). The body is never one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from shared.routing.model import Route, RoutingInput


def matching_pattern(patterns: Iterable[str], addresses: Iterable[str]) -> str | None:
    """The first of `patterns` (addresses or `*@domain`, normalised) that one of the normalised addresses matches."""
    known = set(addresses)
    domains = {address.rpartition("@")[2] for address in known}
    for pattern in patterns:
        if pattern in known or (pattern.startswith("*@") and pattern[2:] in domains):
            return pattern
    return None


def match_all(patterns: tuple[str, ...], addresses: Collection[str]) -> bool:
    """Return whether there are addresses (normalised), and every one of them matches one of `patterns`."""
    known = _known(patterns)
    return bool(addresses) and all(
        address in known or f"*@{address.rpartition('@')[2]}" in known for address in addresses
    )


@lru_cache(maxsize=1024)
def _known(patterns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(patterns)


def first_failed_condition(route: Route, mail: RoutingInput) -> str | None:
    """The first condition of a route that does not hold, as the setting's name and what it found; None if all hold."""
    checks = (
        ("SENDERS", not route.senders or (mail.senders_well_formed and match_all(route.senders, mail.senders))),
        ("RECIPIENTS", not route.recipients or matching_pattern(route.recipients, (*mail.to, *mail.cc)) is not None),
        ("SUBJECT_WORDS", not route.subject_words or _any_word(route.subject_words).search(mail.subject) is not None),
        ("ATTACHMENT_TYPES", not route.attachment_types or bool(_bare(route.attachment_types) & mail.extensions)),
        ("IMPORTANT", not route.important or mail.important),
        ("FOLDERS", _folder_is_among(mail.folder, route.folders)),
    )
    return next((f"{setting} does not hold" for setting, holds in checks if not holds), None)


@lru_cache(maxsize=1024)
def _any_word(words: tuple[str, ...]) -> re.Pattern[str]:
    # Not \b, which asks for a word character on one side: "C++" is a word that ends in none.
    return re.compile(r"(?<!\w)(?:" + "|".join(re.escape(word) for word in words) + r")(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=1024)
def _bare(types: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.lower().lstrip("*.") for name in types)


def _folder_is_among(folder: str, folders: tuple[str, ...]) -> bool:
    if not folders or "*" in folders:
        return True
    # INBOX alone is the same in any case (RFC 3501 section 5.1).
    return folder in folders or (folder.upper() == "INBOX" and any(name.upper() == "INBOX" for name in folders))
