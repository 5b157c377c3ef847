"""Decide which routes take a message, and for which recipients, in the order of rule 3.5."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Final

from shared.routing.conditions import first_failed_condition, matching_pattern
from shared.routing.envelope import AS_DELIVERED, Group, by_specificity
from shared.routing.model import (
    ANY_RECIPIENT,
    Decision,
    EnvelopeHint,
    Match,
    Matched,
    Route,
    RoutingInput,
    TriedRoute,
    Unhandled,
)
from shared.routing.route_table import Candidate, RouteTable

MAX_TRIED = 1000
"""Maximum number of tried routes in a record. A message may name a hundred thousand addresses."""

ALIAS_RANKS: Final = 3
"""Number of ranks of delivery headers that may name an alias: DELIVERY_FIELDS, X-Original-To, Delivered-To."""


def decide(mail: RoutingInput, table: RouteTable) -> Decision:
    """Match a message's recipients with the routes of its mailbox (rules 2.1, 2.5, 3.1 to 3.7)."""
    blocked_by = matching_pattern(table.blocked_senders, mail.senders)
    if blocked_by is not None:
        return Decision(blocked_by=blocked_by)
    if mail.loop is not None:
        return Decision(unhandled=Unhandled.LOOP, tried=(TriedRoute(ANY_RECIPIENT, None, mail.loop),))

    matcher = _Matcher(mail, table)
    matches = matcher.matches()
    tried = matcher.tried
    if not matches:  # (e)
        return Decision(unhandled=_unhandled_reason(mail, tried), tried=tuple(tried))
    served, unserved = matcher.limit_recipients(table.max_recipients, matches)
    # `*` first: a named recipient claims it as well, and must find the outcome of the wildcard's own result there.
    ordered = sorted(served, key=lambda recipient: (recipient != ANY_RECIPIENT, recipient))
    return Decision(
        matches=tuple(matches[recipient] for recipient in ordered), tried=tuple(tried), unserved=tuple(unserved)
    )


class _Matcher:
    """The matching of one message with the routes of a mailbox. `tried` lists each route that does not take it."""

    def __init__(self, mail: RoutingInput, table: RouteTable) -> None:
        self._mail = mail
        self._table = table
        # Whether a route's conditions hold does not depend on the recipient, and a message may name a hundred thousand.
        self._failed_condition: Callable[[Route], str | None] = cache(partial(first_failed_condition, mail=mail))
        self._tried: dict[TriedRoute, None] = {}

    @property
    def tried(self) -> list[TriedRoute]:
        return list(self._tried)

    def matches(self) -> dict[str, Match]:
        """Return the matches by recipient in the order of rule 3.5."""
        mail, table = self._mail, self._table
        recipients: dict[str, Matched] = dict.fromkeys(mail.to, "to")
        recipients |= {address: "cc" for address in mail.cc if address not in recipients}
        ranks = by_specificity(mail.hints, table.trust_policy)

        matches, replaces = self._match_aliases(recipients, ranks)
        if replaces:
            recipients = {address: where for address, where in recipients.items() if not table.is_primary(address)}
        for address, where in recipients.items():  # (a)
            match = self._match_plain(address, where, mail.tags.get(address))
            if match is not None:
                matches[address] = match
        matches |= self._match_primary(
            [address for address in recipients if address not in matches and table.is_primary(address)]
        )  # (b)
        if not matches:  # (c)
            matches = self._match_envelope(ranks)
        if not matches:  # (d)
            wildcard = self._first_taking(ANY_RECIPIENT, map(Candidate, table.wildcards))
            if wildcard is not None:
                matches[ANY_RECIPIENT] = Match(ANY_RECIPIENT, wildcard.route.name, "wildcard")
        return matches

    def limit_recipients(self, limit: int, matches: Mapping[str, Match]) -> tuple[Sequence[str], Sequence[str]]:
        """Return the recipients that are served, and the others. Recipients that the message names first are served.

        Only routes and message decide, so that a retry or another worker serves the same recipients.
        """
        recipients = list(matches)
        if len(recipients) <= limit:
            return recipients, ()
        # `*` and aliases replace the primary address, and have no position of their own.
        positions = {address: number for number, address in enumerate(dict.fromkeys((*self._mail.to, *self._mail.cc)))}
        recipients.sort(key=lambda recipient: positions.get(recipient, -1))
        return recipients[:limit], recipients[limit:]

    def _match_aliases(
        self, recipients: Mapping[str, Matched], ranks: Sequence[Sequence[Group]]
    ) -> tuple[dict[str, Match], bool]:
        """Return the aliases that the most specific delivery header names and a plain route takes.

        The second value is whether they replace the primary address, which is so if the header does not name it as
        well. An alias in To or Cc was not rewritten. It is matched there, in addition to the primary address.
        """
        primary = next(filter(self._table.is_primary, recipients), None)
        rank = next(filter(None, ranks[:ALIAS_RANKS]), None)
        if primary is None or rank is None:
            return {}, False
        for group in rank:
            names_primary = any(self._table.is_primary(hint.address) for hint in group)
            aliases = [hint for hint in group if hint.address not in recipients and self._is_alias(hint)]
            matches = self._match_hints(aliases, instead_of=None if names_primary else primary)
            if matches:
                return matches, not names_primary
        return {}, False

    def _is_alias(self, hint: EnvelopeHint) -> bool:
        as_delivered = hint.where == AS_DELIVERED and hint.where not in self._table.trust_policy.fields
        return self._table.is_alias(hint.address, as_delivered=as_delivered)

    def _match_primary(self, addresses: Sequence[str]) -> dict[str, Match]:
        """Match the primary address, with and without plus tags, by wildcard routes, or else by the fallback."""
        if not addresses:
            return {}
        wildcard = self._first_taking(addresses[0], map(Candidate, self._table.wildcards))
        if wildcard is not None:
            tagged = next(filter(self._table.reference, addresses), None)
            reference = None if tagged is None else self._reference_of(tagged)
            name = wildcard.route.name
            return {ANY_RECIPIENT: Match(ANY_RECIPIENT, name, "wildcard", reference, plus_address=tagged)}
        fallback = self._table.fallback
        if fallback is None:
            return {}
        return {
            address: Match(address, fallback.name, "fallback", self._reference_of(address))
            for address in addresses
            if self._first_taking(address, [Candidate(fallback)]) is not None
        }

    def _match_envelope(self, ranks: Iterable[Sequence[Group]]) -> dict[str, Match]:
        """Match the most specific group of envelope recipients that a plain route takes."""
        for rank in ranks:
            groups = [matches for group in rank if (matches := self._match_hints(group))]
            # Of two equally specific headers, the header with the primary address was written after rewriting.
            groups.sort(key=lambda matches: all(map(self._table.is_primary, matches)))
            if groups:
                return groups[0]
        return {}

    def _match_hints(self, hints: Iterable[EnvelopeHint], instead_of: str | None = None) -> dict[str, Match]:
        matches: dict[str, Match] = {}
        for hint in hints:
            match = self._match_plain(hint.address, hint.where, hint.tag)
            if match is not None:
                matches.setdefault(hint.address, replace(match, instead_of=instead_of))
        return matches

    def _match_plain(self, address: str, where: Matched, tag: str | None) -> Match | None:
        candidate = self._first_taking(address, self._table.plain_routes(address))
        if candidate is None:
            return None
        reference = candidate.reference and (tag or candidate.reference)
        return Match(address, candidate.route.name, where, reference)

    def _reference_of(self, address: str) -> str | None:
        return self._table.reference(address) and self._mail.tags.get(address, self._table.reference(address))

    def _first_taking(self, address: str, candidates: Iterable[Candidate]) -> Candidate | None:
        tried: list[TriedRoute] = []
        for candidate in candidates:
            reason = self._failed_condition(candidate.route)
            if reason is None:
                break
            tried.append(TriedRoute(address, candidate.route.name, reason))
        else:
            candidate = None
            tried = tried or [TriedRoute(address, None, "no route has this address")]
        for entry in tried[: MAX_TRIED - len(self._tried)]:
            self._tried[entry] = None
        return candidate


def _unhandled_reason(mail: RoutingInput, tried: list[TriedRoute]) -> Unhandled:
    if any(entry.route is not None and entry.address != ANY_RECIPIENT for entry in tried):
        return Unhandled.CONDITIONS
    if mail.to or mail.cc or mail.hints:
        return Unhandled.NO_ROUTE
    return Unhandled.INVALID_RECIPIENTS if mail.invalid else Unhandled.NO_RECIPIENT
