"""Look up the routes for an address: with an index, ten thousand routes are as fast as ten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from types import MappingProxyType

from shared.routing.model import ANY_RECIPIENT, Route


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route whose ADDRESS matches an address.

    Attributes:
        route: the route.
        reference: the plus tag of the address, where the route names the address without it.
    """

    route: Route
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """The parts of a mailbox's mail that are trusted.

    Attributes:
        hints: use the envelope recipients of delivery headers (rule 2.2).
        hops: how many `Received` lines, from the top, are of trusted servers.
        received_by: the `by` host of the last of these; None: any.
        fields: the delivery headers of DELIVERY_FIELDS in lower case; true: the header counts anywhere.
        by_tag_alone: threads are found by the plus-address reference alone (rule 2.4).
        own: the normalised addresses of all mailboxes: automatic mail from one of them is a mail loop (rule 5.3).
        loop_limit: a message with more `Received` lines is a mail loop too.
    """

    hints: bool = True
    hops: int = 1
    received_by: str | None = None
    fields: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    by_tag_alone: bool = False
    own: frozenset[str] = frozenset()
    loop_limit: int = 25


def _rank(candidate: Candidate) -> tuple[int, str]:
    return candidate.route.order, candidate.route.name


class RouteTable:
    """The routes of one mailbox, indexed.

    Args:
        routes: the enabled ones that belong to this mailbox or to all.
        primary: the mailbox's primary address, normalised; None if it is unknown or not an address.
        aliases: further addresses of the mailbox, normalised; empty: each address that a route names may be one.
        fallback: the name of the route that FALLBACK names.
        plus_addressing: whether `base+ref@domain` is also for the routes of `base@domain` (rule 2.4).
        blocked_senders: addresses or `*@domain`.
        trust_policy: the parts of this mailbox's mail that are trusted.
        max_recipients: recipients of one message that get a result.
        max_attachments: attachments of one message that are blobs of their own.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        *,
        primary: str | None = None,
        aliases: Iterable[str] = (),
        fallback: str | None = None,
        plus_addressing: bool = True,
        blocked_senders: tuple[str, ...] = (),
        trust_policy: TrustPolicy | None = None,
        max_recipients: int = 200,
        max_attachments: int = 200,
    ) -> None:
        ordered = sorted(routes, key=lambda route: (route.order, route.name))
        self.routes = tuple(ordered)
        by_address: dict[str, list[Candidate]] = defaultdict(list)
        for route in ordered:
            if route.address is not None:
                by_address[route.address].append(Candidate(route))
        self.wildcards = tuple(candidate.route for candidate in by_address.pop(ANY_RECIPIENT, ()))
        self._by_address: Mapping[str, list[Candidate]] = dict(by_address)
        self.primary = primary
        self._aliases = frozenset(aliases)
        self.fallback = next((route for route in ordered if route.name == fallback), None)
        self.blocked_senders = blocked_senders
        self.trust_policy = trust_policy or TrustPolicy()
        self.max_recipients = max_recipients
        self.max_attachments = max_attachments
        self._plus_addressing = plus_addressing

    def plain_routes(self, address: str) -> Iterator[Candidate]:
        """Return the plain routes for a normalised address, in their order."""
        domain = address.rpartition("@")[2]
        exact = self._by_address.get(address, [])
        candidates = [exact, self._by_address.get(f"*@{domain}", [])]
        base, reference = self._split(address)
        if base is not None and not exact:
            of_base = self._by_address.get(base, [])
            candidates.append([Candidate(candidate.route, reference or None) for candidate in of_base])
        return merge(*candidates, key=_rank)

    def is_primary(self, address: str) -> bool:
        """Return whether a normalised address is the primary address, or the primary address with a plus tag.

        A plus address that a route names in full is an address like any other (rule 2.4).
        """
        if address == self.primary:
            return True
        base = self._split(address)[0]
        return base is not None and base == self.primary and address not in self._by_address

    def is_alias(self, address: str, *, as_delivered: bool = False) -> bool:
        """Return whether a normalised address in a delivery header may replace the primary address.

        Args:
            address: the address in the header.
            as_delivered: the header is Delivered-To. Some servers write internal names of mailboxes into it (qmail in
                Plesk: `3-sales@example.com`), which a `*@domain` route of the primary address's domain would take.
        """
        if self.is_primary(address):
            return False
        allowed = self._aliases or self._by_address
        if address in allowed or self._split(address)[0] in allowed:
            return True
        domain = address.rpartition("@")[2]
        if self._aliases or f"*@{domain}" not in self._by_address:
            return False
        return not as_delivered or self.primary is None or domain != self.primary.rpartition("@")[2]

    def reference(self, address: str) -> str | None:
        """Return the plus tag of a normalised address; None if it has none, or plus addressing is off."""
        return self._split(address)[1] or None

    def _split(self, address: str) -> tuple[str | None, str]:
        """Return a plus address without its tag, and the tag; None and "" if the address has none."""
        if not self._plus_addressing or "+" not in address:
            return None, ""
        local, _, domain = address.rpartition("@")
        base, _, tag = local.partition("+")
        return (f"{base}@{domain}", tag) if base else (None, "")
