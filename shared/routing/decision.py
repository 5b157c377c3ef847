"""Who gets a message: the order of rule 3.5."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial

from shared.routing.conditions import failing, matching_pattern
from shared.routing.model import ANYBODY, Decision, Mail, Match, Matched, Route, Tried, Unhandled
from shared.routing.routes import Candidate, RouteTable

TRIED_LIMIT = 1000
"""Entries in the list of what was tried: a message may name a hundred thousand addresses."""


def decide(mail: Mail, table: RouteTable) -> Decision:
    """Match a message's recipients with the routes of the mailbox that it arrived in (rules 2.1, 2.5, 3.1 to 3.7)."""
    blocked_by = matching_pattern(table.blocked_senders, mail.senders)
    if blocked_by is not None:
        return Decision(blocked_by=blocked_by)
    if mail.loops is not None:
        return Decision(unhandled=Unhandled.LOOP, tried=(Tried(ANYBODY, None, mail.loops),))

    matches, tried = _matches(mail, table)
    if not matches:  # (e)
        return Decision(unhandled=_why(mail, tried), tried=tuple(tried))
    # `*` first: a named recipient claims it too, and must find there what the wildcard's own result made of it.
    in_order = sorted(matches, key=lambda recipient: (recipient != ANYBODY, recipient))
    return Decision(matches=tuple(matches[recipient] for recipient in in_order), tried=tuple(tried))


def _matches(mail: Mail, table: RouteTable) -> tuple[dict[str, Match], list[Tried]]:
    tried: list[Tried] = []
    # Whether a route's conditions hold does not depend on the recipient: a message may name a hundred thousand.
    why_not = cache(partial(failing, mail=mail))
    recipients: dict[str, Matched] = dict.fromkeys(mail.to, "to")
    recipients |= {address: "cc" for address in mail.cc if address not in recipients}

    def by_plain_routes(addresses: Iterable[tuple[str, Matched]]) -> dict[str, Match]:
        found: dict[str, Match] = {}
        for address, where in addresses:
            candidate = _first(address, table.plain(address), why_not, tried)
            if candidate is not None and address not in found:
                found[address] = Match(address, candidate.route.name, where, candidate.reference)
        return found

    matches = by_plain_routes(recipients.items())  # (a)

    primary = table.primary
    if primary is not None and primary in recipients and primary not in matches:  # (b)
        wildcard = _first(primary, map(Candidate, table.wildcards), why_not, tried)
        if wildcard is not None:
            matches[ANYBODY] = Match(ANYBODY, wildcard.route.name, "wildcard")
        elif table.fallback is not None and _first(primary, [Candidate(table.fallback)], why_not, tried) is not None:
            matches[primary] = Match(primary, table.fallback.name, "fallback")

    if not matches:  # (c)
        matches = by_plain_routes((hint.address, hint.where) for hint in mail.hints)

    if not matches:  # (d)
        wildcard = _first(ANYBODY, map(Candidate, table.wildcards), why_not, tried)
        if wildcard is not None:
            matches[ANYBODY] = Match(ANYBODY, wildcard.route.name, "wildcard")
    return matches, tried


def _first(
    address: str, candidates: Iterable[Candidate], why_not: Callable[[Route], str | None], tried: list[Tried]
) -> Candidate | None:
    found: list[Tried] = []
    for candidate in candidates:
        because = why_not(candidate.route)
        if because is None:
            break
        found.append(Tried(address, candidate.route.name, because))
    else:
        candidate = None
        found = found or [Tried(address, None, "no route is for it")]
    tried += found[: TRIED_LIMIT - len(tried)]
    return candidate


def _why(mail: Mail, tried: list[Tried]) -> Unhandled:
    if any(entry.route is not None and entry.address != ANYBODY for entry in tried):
        return Unhandled.CONDITIONS
    if mail.to or mail.cc or mail.hints:
        return Unhandled.NO_ROUTE
    return Unhandled.INVALID_RECIPIENTS if mail.invalid else Unhandled.NO_RECIPIENT
