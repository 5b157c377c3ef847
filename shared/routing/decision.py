"""Decide which recipients get a message, in the order of rule 3.5.

The parts, in order: the decision, the conditions of a route (rule 3.2), and the ranks of the envelope recipients
(rule 2.2). Servers rewrite an alias to the primary address, never the reverse. A header with the address that the
sending server gave is therefore more specific than a header with the mailbox that the message was delivered to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial
from itertools import chain, islice
from typing import Final

from shared.routing.model import (
    ANY_RECIPIENT,
    Decision,
    EnvelopeHint,
    FailedCondition,
    Match,
    Matched,
    Route,
    RoutingInput,
    TriedRoute,
    Unhandled,
)
from shared.routing.route_table import Candidate, RouteTable, TrustPolicy

MAX_TRIED = 1000
"""The maximum number of entries in `Decision.tried`: a message may name a hundred thousand addresses."""

MAX_VALUES: Final = 100
"""Values that a failed condition lists, of the route's and of the message's."""

ALIAS_RANKS: Final = 3
"""Ranks of delivery headers that may name an alias of the mailbox: DELIVERY_FIELDS, X-Original-To, Delivered-To."""

RECEIVED_FOR: Final = "received-for"

AS_ASKED_FOR: Final = ("x-original-to", "envelope-to", "x-envelope-to", RECEIVED_FOR)
"""Headers with the recipient as the sending server gave it: Postfix's, Exim's, and the trusted `Received`'s `for`."""

AS_DELIVERED: Final = "delivered-to"
"""The header with the recipient as it was after aliases were expanded (Postfix: local(8), virtual(8))."""

AMBIGUOUS_SENDER: Final = "(From has more than one reading)"
"""Listed with the senders of a message whose From is not well-formed: it matches no SENDERS."""

Group = Sequence[EnvelopeHint]
"""The recipients of one header, or of several with one name above the same `Received`."""


def decide(mail: RoutingInput, table: RouteTable) -> Decision:
    """Match a message's recipients with the routes of the mailbox that it arrived in (rules 2.1, 2.5, 3.1 to 3.7)."""
    blocked_by = matching_pattern(table.blocked_senders, mail.senders)
    if blocked_by is not None:
        return Decision(blocked_by=blocked_by)
    if mail.loops is not None:
        return Decision(unhandled=Unhandled.LOOP, tried=(TriedRoute(ANY_RECIPIENT, None, mail.loops),))

    matching = _Matching(mail, table)
    matches = matching.matches()
    tried = matching.tried
    if not matches:  # (e)
        return Decision(unhandled=_unhandled_reason(mail, tried), tried=tuple(tried))
    served, unserved = matching.within(table.max_recipients, matches)
    # `*` first: a named recipient claims it too, and must find the claim of the wildcard's result.
    in_order = sorted(served, key=lambda recipient: (recipient != ANY_RECIPIENT, recipient))
    return Decision(
        matches=tuple(matches[recipient] for recipient in in_order), tried=tuple(tried), unserved=tuple(unserved)
    )


class _Matching:
    """The match of one message with the routes of one mailbox."""

    def __init__(self, mail: RoutingInput, table: RouteTable) -> None:
        self._mail = mail
        self._table = table
        # Evaluated once a route: conditions do not depend on the recipient, of which there may be a hundred thousand.
        self._failed_condition: Callable[[Route], str | None] = cache(partial(first_failed_condition, mail=mail))
        self._tried: dict[TriedRoute, None] = {}

    @property
    def tried(self) -> list[TriedRoute]:
        """The routes that were tried and did not match."""
        return list(self._tried)

    def matches(self) -> dict[str, Match]:
        """Return the matches by recipient, in the order of rule 3.5."""
        mail, table = self._mail, self._table
        recipients: dict[str, Matched] = dict.fromkeys(mail.to, "to")
        recipients |= {address: "cc" for address in mail.cc if address not in recipients}
        ranks = by_specificity(mail.hints, table.trust_policy)

        matches, replaces = self._aliases(recipients, ranks)
        if replaces:
            recipients = {address: where for address, where in recipients.items() if not table.is_primary(address)}
        for address, where in recipients.items():  # (a)
            match = self._plain(address, where, mail.tags.get(address))
            if match is not None:
                matches[address] = match
        matches |= self._primary(
            [address for address in recipients if address not in matches and table.is_primary(address)]
        )  # (b)
        if not matches:  # (c)
            matches = self._envelope(ranks)
        if not matches:  # (d)
            wildcard = self._first(ANY_RECIPIENT, map(Candidate, table.wildcards))
            if wildcard is not None:
                matches[ANY_RECIPIENT] = Match(ANY_RECIPIENT, wildcard.route.name, "wildcard")
        return matches

    def within(self, limit: int, matches: Mapping[str, Match]) -> tuple[Sequence[str], Sequence[str]]:
        """Return the recipients within the limit, which the message names first, and the others.

        Only the routes and the message determine them: a second try, or another worker, gets the same recipients.
        """
        recipients = list(matches)
        if len(recipients) <= limit:
            return recipients, ()
        # `*` and aliases represent the primary address: they have no position, and come first.
        positions = {address: number for number, address in enumerate(dict.fromkeys((*self._mail.to, *self._mail.cc)))}
        recipients.sort(key=lambda recipient: positions.get(recipient, -1))
        return recipients[:limit], recipients[limit:]

    def _aliases(
        self, recipients: Mapping[str, Matched], ranks: Sequence[Sequence[Group]]
    ) -> tuple[dict[str, Match], bool]:
        """Return the aliases that the most specific delivery header names and a plain route takes.

        The second value is whether they replace the primary address, since the header does not name it as well. An
        alias in To or Cc was not rewritten: it is matched there, in addition to the primary address.
        """
        primary = next(filter(self._table.is_primary, recipients), None)
        rank = next(filter(None, ranks[:ALIAS_RANKS]), None)
        if primary is None or rank is None:
            return {}, False
        for group in rank:
            names_primary = any(self._table.is_primary(hint.address) for hint in group)
            aliases = [hint for hint in group if hint.address not in recipients and self._is_alias(hint)]
            matches = self._plain_all(aliases, instead_of=None if names_primary else primary)
            if matches:
                return matches, not names_primary
        return {}, False

    def _is_alias(self, hint: EnvelopeHint) -> bool:
        as_delivered = hint.where == AS_DELIVERED and hint.where not in self._table.trust_policy.fields
        return self._table.is_alias(hint.address, as_delivered=as_delivered)

    def _primary(self, addresses: Sequence[str]) -> dict[str, Match]:
        """Match the primary address, without and with plus tags, by wildcard routes, else by the fallback."""
        if not addresses:
            return {}
        wildcard = self._first(addresses[0], map(Candidate, self._table.wildcards))
        if wildcard is not None:
            tagged = next(filter(self._table.reference, addresses), None)
            reference = None if tagged is None else self._reference(tagged)
            name = wildcard.route.name
            return {ANY_RECIPIENT: Match(ANY_RECIPIENT, name, "wildcard", reference, plus_address=tagged)}
        fallback = self._table.fallback
        if fallback is None:
            return {}
        return {
            address: Match(address, fallback.name, "fallback", self._reference(address))
            for address in addresses
            if self._first(address, [Candidate(fallback)]) is not None
        }

    def _envelope(self, ranks: Iterable[Sequence[Group]]) -> dict[str, Match]:
        """Match one group of envelope recipients by plain routes: the most specific that a route takes."""
        for rank in ranks:
            groups = [matches for group in rank if (matches := self._plain_all(group))]
            # Of two equally specific headers, the one that names the primary address was written after rewriting.
            groups.sort(key=lambda matches: all(map(self._table.is_primary, matches)))
            if groups:
                return groups[0]
        return {}

    def _plain_all(self, hints: Iterable[EnvelopeHint], instead_of: str | None = None) -> dict[str, Match]:
        matches: dict[str, Match] = {}
        for hint in hints:
            match = self._plain(hint.address, hint.where, hint.tag)
            if match is not None:
                matches.setdefault(hint.address, replace(match, instead_of=instead_of))
        return matches

    def _plain(self, address: str, where: Matched, tag: str | None) -> Match | None:
        candidate = self._first(address, self._table.plain_routes(address))
        if candidate is None:
            return None
        reference = candidate.reference and (tag or candidate.reference)
        return Match(address, candidate.route.name, where, reference)

    def _reference(self, address: str) -> str | None:
        return self._table.reference(address) and self._mail.tags.get(address, self._table.reference(address))

    def _first(self, address: str, candidates: Iterable[Candidate]) -> Candidate | None:
        tried: list[TriedRoute] = []
        for candidate in candidates:
            reason = self._failed_condition(candidate.route)
            if reason is None:
                break
            tried.append(TriedRoute(address, candidate.route.name, reason))
        else:
            candidate = None
            tried = tried or [TriedRoute(address, None, "no route matches it")]
        for entry in tried[: MAX_TRIED - len(self._tried)]:
            self._tried[entry] = None
        return candidate


def _unhandled_reason(mail: RoutingInput, tried: list[TriedRoute]) -> Unhandled:
    if any(entry.route is not None and entry.address != ANY_RECIPIENT for entry in tried):
        return Unhandled.CONDITIONS
    if mail.to or mail.cc or mail.hints:
        return Unhandled.NO_ROUTE
    return Unhandled.INVALID_RECIPIENTS if mail.invalid else Unhandled.NO_RECIPIENT


def matching_pattern(patterns: Iterable[str], addresses: Iterable[str]) -> str | None:
    """Return the first of `patterns` (addresses or `*@domain`) that an address matches; all are normalised."""
    return _first_in(patterns, *_index(addresses))


def _first_in(patterns: Iterable[str], addresses: Collection[str], domains: Collection[str]) -> str | None:
    for pattern in patterns:
        if pattern in addresses or (pattern.startswith("*@") and pattern[2:] in domains):
            return pattern
    return None


def _index(addresses: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return addresses and their domains."""
    exact = frozenset(addresses)
    return exact, frozenset(address.rpartition("@")[2] for address in exact)


@lru_cache(maxsize=4)
def _index_recipients(to: tuple[str, ...], cc: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the addresses in To and Cc and their domains, indexed once for the routes of a message."""
    return _index(chain(to, cc))


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
    return next((f"{setting} does not hold" for setting, holds in _conditions(route, mail) if not holds), None)


def failed_conditions(route: Route, mail: RoutingInput) -> list[FailedCondition]:
    """Return every condition of a route that does not hold, with at most `MAX_VALUES` of its and the message's values.

    For people: a message may name a hundred thousand recipients.
    """
    ambiguous = () if mail.senders_well_formed else (AMBIGUOUS_SENDER,)
    wanted_and_actual: Mapping[str, tuple[Sequence[str], Iterable[str]]] = {
        "SENDERS": (route.senders, chain(ambiguous, mail.senders)),
        "RECIPIENTS": (route.recipients, chain(mail.to, mail.cc)),
        "SUBJECT_WORDS": (route.subject_words, (mail.subject,) if mail.subject else ()),
        "ATTACHMENT_TYPES": (route.attachment_types, sorted(mail.extensions)),
        "IMPORTANT": (("true",), ("false",)),
        "FOLDERS": (route.folders, (mail.folder,)),
    }
    failed = ((*wanted_and_actual[setting], setting) for setting, holds in _conditions(route, mail) if not holds)
    return [
        FailedCondition(setting, tuple(islice(wanted, MAX_VALUES)), tuple(islice(actual, MAX_VALUES)))
        for wanted, actual, setting in failed
    ]


def _conditions(route: Route, mail: RoutingInput) -> tuple[tuple[str, bool], ...]:
    """Return whether each condition of a route holds, by the setting's name."""
    words, types = route.subject_words, route.attachment_types
    return (
        ("SENDERS", not route.senders or (mail.senders_well_formed and match_all(route.senders, mail.senders))),
        ("RECIPIENTS", not route.recipients or _names_recipient(route.recipients, mail)),
        ("SUBJECT_WORDS", not words or _word_pattern(words).search(mail.subject) is not None),
        ("ATTACHMENT_TYPES", not types or bool(_extensions(types) & mail.extensions)),
        ("IMPORTANT", not route.important or mail.important),
        ("FOLDERS", _matches_folder(mail.folder, route.folders)),
    )


def _names_recipient(patterns: Iterable[str], mail: RoutingInput) -> bool:
    return _first_in(patterns, *_index_recipients(mail.to, mail.cc)) is not None


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


def by_specificity(hints: Iterable[EnvelopeHint], reading: TrustPolicy) -> list[list[Group]]:
    """Return the envelope recipients in ranks, the most specific first.

    Args:
        hints: all envelope recipients of a message.
        reading: holds DELIVERY_FIELDS, and which `Received` is the trusted one.

    Returns:
        Four ranks, each a list of groups, the most specific first. DELIVERY_FIELDS is one group: a mail-flow rule can
        write only one value into a header, so that each alias needs a header of its own.
    """
    configured: list[EnvelopeHint] = []
    asked_for: dict[tuple[int, int], list[EnvelopeHint]] = {}
    delivered: dict[int, list[EnvelopeHint]] = {}
    others: dict[tuple[str, int], list[EnvelopeHint]] = {}
    for hint in hints:
        trusted = hint.where != RECEIVED_FOR or hint.hop == reading.hops
        if hint.where in reading.fields:
            configured.append(hint)
        elif hint.where in AS_ASKED_FOR and trusted:
            asked_for.setdefault((AS_ASKED_FOR.index(hint.where), -hint.hop), []).append(hint)
        elif hint.where == AS_DELIVERED:
            delivered.setdefault(-hint.hop, []).append(hint)
        else:
            others.setdefault((hint.where, -hint.hop), []).append(hint)
    # The lower a header is, the earlier it was written, and the closer it is to the address that the sender gave.
    return [[configured] if configured else [], _ordered(asked_for), _ordered(delivered), list(others.values())]


def _ordered(groups: Mapping[tuple[int, int], list[EnvelopeHint]] | Mapping[int, list[EnvelopeHint]]) -> list[Group]:
    return [group for _, group in sorted(groups.items())]
