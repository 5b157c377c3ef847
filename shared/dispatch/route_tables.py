"""All routes by mailbox, indexed for routing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from shared.addresses import normalise
from shared.config import AppSettings, MailboxSettings, PlusAddressing, RouteSet, RouteSettings
from shared.routing.model import Route
from shared.routing.route_table import RouteTable, TrustPolicy


@dataclass(frozen=True, slots=True)
class _Indexed:
    """What was made of the routes at one time; `tables` grows as mailboxes are asked for."""

    source: RouteSet
    routes: tuple[tuple[str | None, Route], ...]
    tables: dict[str, RouteTable] = field(default_factory=dict)


class RouteTableCache:
    """The mailboxes' routes, indexed when first asked for, and again when they change.

    Args:
        settings: whose mailboxes.
        routes: gives all routes as they stand now; the same object as long as they do not change.
    """

    def __init__(self, settings: AppSettings, routes: Callable[[], RouteSet]) -> None:
        self._settings = settings
        self._routes = routes
        self._indexed = _Indexed(RouteSet(), ())

    def for_mailbox(self, mailbox: str) -> RouteTable | None:
        """The routes for a mailbox's mail; None while its settings, or routes that may be for it, are wrong.

        Mail of a mailbox that is configured no more is routed by the routes that are everybody's.

        Raises:
            TransientError: the storage is ill, and the routes file was never seen.
        """
        if mailbox in self._settings.faulty:
            return None
        now = self._routes()
        if now.keeps(mailbox):
            return None
        indexed = self._indexed
        if indexed.source is not now:
            enabled = (route for route in now.routes if route.enabled)
            # Replaced as a whole: another thread may be at work with the one before.
            indexed = self._indexed = _Indexed(now, tuple((route.mailbox, to_route(route)) for route in enabled))
        if mailbox not in indexed.tables:
            routes = [route for owner, route in indexed.routes if owner in (None, mailbox)]
            indexed.tables[mailbox] = self._table(routes, self._settings.mailboxes.get(mailbox))
        return indexed.tables[mailbox]

    def _table(self, routes: list[Route], own: MailboxSettings | None) -> RouteTable:
        most, apart = self._settings.max_recipients, self._settings.max_attachments
        if own is None:
            return RouteTable(routes, trust_policy=self._reading(), max_recipients=most, max_attachments=apart)
        return RouteTable(
            routes,
            primary=normalise(own.mailbox_address),
            aliases=own.aliases,
            fallback=own.fallback,
            plus_addressing=own.plus_addressing is not PlusAddressing.OFF,
            blocked_senders=own.blocked_senders,
            trust_policy=replace(
                self._reading(),
                hints=own.delivery_hints,
                hops=own.trusted_hops,
                received_by=own.received_by,
                fields=dict(own.delivery_fields),
                by_tag_alone=own.plus_addressing is PlusAddressing.ONLY,
            ),
            max_recipients=most,
            max_attachments=apart,
        )

    def _reading(self) -> TrustPolicy:
        """What is believed of all mail."""
        mailboxes = self._settings.mailboxes.values()
        everybody = (normalise(address) for one in mailboxes for address in (one.mailbox_address, *one.aliases))
        own = frozenset(address for address in everybody if address is not None)
        return TrustPolicy(own_addresses=own, loop_limit=self._settings.loop_limit)


def to_route(route: RouteSettings) -> Route:
    """A configured route as routing knows it."""
    return Route(
        name=route.name,
        address=route.address,
        order=route.order,
        senders=route.senders,
        recipients=route.recipients,
        subject_words=route.subject_words,
        attachment_types=route.attachment_types,
        important=route.important,
        folders=route.folders,
    )
