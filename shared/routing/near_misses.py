"""Find addresses of routes that are similar to an address that no route matches: it may be misspelled. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Final

from shared.routing.model import ANY_RECIPIENT
from shared.routing.route_table import RouteTable

MIN_SIMILARITY: Final = 0.75
"""The ratio of `difflib` from which two texts are similar: `exmaple.com` and `example.com` have 0.91."""

MAX_LENGTH: Final = 40
"""Characters of a local part or domain that are compared; a comparison takes time with the square of the length."""

MAX_COMPARISONS: Final = 20_000
"""Texts that are compared for one message: it may name a hundred thousand addresses, and there may be as many routes.
A comparison takes 10 to 100 µs."""

MAX_SIMILAR: Final = 3
"""Similar addresses that are named for one address."""


@dataclass(frozen=True, slots=True)
class NearMiss:
    """An address in the settings that is similar to a recipient.

    Attributes:
        address: the address, or `*@domain`.
        route: the route for it; None: it is the mailbox's primary address, which has no plain route.
    """

    address: str
    route: str | None


class NearMisses:
    """The addresses of a mailbox's routes, indexed by local part and domain.

    Args:
        table: the mailbox's routes.
    """

    def __init__(self, table: RouteTable) -> None:
        routes: dict[str, str | None] = {} if table.primary is None else {table.primary: None}
        routes |= {
            route.address: route.name for route in reversed(table.routes) if route.address not in (None, ANY_RECIPIENT)
        }
        self._routes = routes
        self._by_local: Mapping[str, dict[str, str]] = defaultdict(dict)
        self._by_domain: Mapping[str, dict[str, str]] = defaultdict(dict)
        for address in routes:
            local, _, domain = address.rpartition("@")
            self._by_local[local][domain] = address
            if local != ANY_RECIPIENT:
                self._by_domain[domain][local] = address
        self._left = MAX_COMPARISONS

    def find(self, address: str) -> list[NearMiss]:
        """Return addresses with the same local part and a similar domain, or the same domain and a similar local part.

        Args:
            address: a normalised address that no route matches. After `MAX_COMPARISONS` of all calls together, nothing
                more is found.
        """
        local, _, domain = address.rpartition("@")
        base = local.partition("+")[0]
        similar = [
            *self._similar(base, self._by_domain.get(domain, {})),
            *self._similar(domain, self._by_local.get(base, {})),
            *self._similar(domain, self._by_local.get(ANY_RECIPIENT, {})),
        ]
        addresses = dict.fromkeys(item for item in similar if item != address)
        return [NearMiss(item, self._routes[item]) for item in islice(addresses, MAX_SIMILAR)]

    def _similar(self, text: str, candidates: Mapping[str, str]) -> Iterable[str]:
        if len(text) > MAX_LENGTH:
            return ()
        texts = [item for item in islice(candidates, self._left) if len(item) <= MAX_LENGTH]
        self._left -= min(self._left, len(candidates))
        return [candidates[item] for item in get_close_matches(text, texts, MAX_SIMILAR, MIN_SIMILARITY)]
