"""Rank the envelope recipients of delivery headers, the most specific first (rule 2.2).

Servers rewrite an alias to the primary address, never the reverse. A header with the address that the sending server
gave is therefore more specific than a header with the mailbox that the message was delivered to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from shared.routing.model import EnvelopeHint
from shared.routing.route_table import TrustPolicy

RECEIVED_FOR: Final = "received-for"

AS_ASKED_FOR: Final = ("x-original-to", "envelope-to", "x-envelope-to", RECEIVED_FOR)
"""Headers with the recipient as the sending server gave it: Postfix's, Exim's, and the trusted `Received`'s `for`."""

AS_DELIVERED: Final = "delivered-to"
"""The header with the recipient as it was after aliases were expanded (Postfix: local(8), virtual(8))."""

Group = Sequence[EnvelopeHint]
"""The recipients of one header, or of several with one name above the same `Received`."""


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
