"""The index from an address to its routes: a lookup takes the same time for ten thousand routes as for ten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from types import MappingProxyType

from shared.routing.model import ANY_RECIPIENT, Route


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route that has an address.

    Attributes:
        route: the route.
        reference: the part after `+`, if the route names the address without it.
    """

    route: Route
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """The trust in headers of a mailbox's mail.

    Attributes:
        hints: whether the receiving server's headers name the envelope recipient (rule 2.2).
        hops: number of `Received` lines, from the top, that our own servers write.
        received_by: the `by` host of the last of these lines; None accepts any host.
        fields: the delivery headers of DELIVERY_FIELDS in lower case; true if it counts anywhere in the header.
        by_tag_alone: whether only the plus-address reference identifies a thread (rule 2.4).
        own_addresses: normalised addresses of all our mailboxes. Automatic mail from them is a mail loop (rule 5.3).
        loop_limit: maximum number of `Received` lines; a message with more is part of a mail loop.
    """

    hints: bool = True
    hops: int = 1
    received_by: str | None = None
    fields: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    by_tag_alone: bool = False
    own_addresses: frozenset[str] = frozenset()
    loop_limit: int = 25


def _rank(candidate: Candidate) -> tuple[int, str]:
    return candidate.route.order, candidate.route.name


class RouteTable:
    """The indexed routes of one mailbox.

    Args:
        routes: the enabled routes of this mailbox, and those of all mailboxes.
        primary: the mailbox's normalised primary address; None if it has none.
        aliases: further normalised addresses of the mailbox. If empty, every address in a route may be an alias.
        fallback: the name of the route that FALLBACK names.
        plus_addressing: whether the routes of `base@domain` also have `base+ref@domain` (rule 2.4).
        blocked_senders: addresses or `*@domain`.
        trust_policy: the trust in headers of this mailbox's mail.
        max_recipients: maximum number of recipients of one message that get a result.
        max_attachments: maximum number of attachments of one message that become blobs of their own.
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
        """Return the plain routes for a normalised address in their order."""
        domain = address.rpartition("@")[2]
        exact = self._by_address.get(address, [])
        groups = [exact, self._by_address.get(f"*@{domain}", [])]
        base, reference = self._split_tag(address)
        if base is not None and not exact:
            base_routes = self._by_address.get(base, [])
            groups.append([Candidate(candidate.route, reference or None) for candidate in base_routes])
        return merge(*groups, key=_rank)

    def is_primary(self, address: str) -> bool:
        """Return whether a normalised address is the primary address, with or without a plus tag.

        A plus address that a route names in full counts as any other address (rule 2.4).
        """
        if address == self.primary:
            return True
        base = self._split_tag(address)[0]
        return base is not None and base == self.primary and address not in self._by_address

    def is_alias(self, address: str, *, as_delivered: bool = False) -> bool:
        """Return whether a normalised address in a delivery header may replace the primary address.

        Args:
            address: the address in the header.
            as_delivered: whether the header is Delivered-To. Some servers write internal names of mailboxes into it
                (qmail in Plesk: `3-sales@example.com`), which a `*@domain` route of the primary's domain would take.
        """
        if self.is_primary(address):
            return False
        allowed = self._aliases or self._by_address
        if address in allowed or self._split_tag(address)[0] in allowed:
            return True
        domain = address.rpartition("@")[2]
        if self._aliases or f"*@{domain}" not in self._by_address:
            return False
        return not as_delivered or self.primary is None or domain != self.primary.rpartition("@")[2]

    def reference(self, address: str) -> str | None:
        """Return the plus tag of a normalised address; None if it has none, or plus addressing is off."""
        return self._split_tag(address)[1] or None

    def _split_tag(self, address: str) -> tuple[str | None, str]:
        """Split a plus address into the address without tag, and the tag; None and "" if it has no tag."""
        if not self._plus_addressing or "+" not in address:
            return None, ""
        local, _, domain = address.rpartition("@")
        base, _, tag = local.partition("+")
        return (f"{base}@{domain}", tag) if base else (None, "")
