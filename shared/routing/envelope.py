"""The order in which delivery headers count: the most specific first (rule 2.2).

Servers rewrite an alias to the primary address, never the reverse. A header with the address that the sending server
requested is therefore more specific than a header with the address of the final mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from shared.routing.model import EnvelopeHint
from shared.routing.route_table import TrustPolicy

RECEIVED_FOR: Final = "received-for"

AS_REQUESTED: Final = ("x-original-to", "envelope-to", "x-envelope-to", RECEIVED_FOR)
"""Headers with the recipient as the sending server requested it: Postfix, Exim, and the trusted `Received`'s `for`."""

AS_DELIVERED: Final = "delivered-to"
"""The header with the recipient after alias expansion (Postfix: local(8), virtual(8))."""

Group = Sequence[EnvelopeHint]
"""The envelope recipients of one header, or of several with the same name above the same `Received`."""


def by_specificity(hints: Iterable[EnvelopeHint], policy: TrustPolicy) -> list[list[Group]]:
    """Return the envelope recipients in ranks, the most specific first.

    Args:
        hints: all envelope recipients of a message.
        policy: names the fields of DELIVERY_FIELDS and the trusted `Received`.

    Returns:
        Four ranks, each a list of groups, the most specific first. DELIVERY_FIELDS is a single group: a mail-flow rule
        can write only one value into a header, so that each alias needs a header of its own.
    """
    configured: list[EnvelopeHint] = []
    requested: dict[tuple[int, int], list[EnvelopeHint]] = {}
    delivered: dict[int, list[EnvelopeHint]] = {}
    others: dict[tuple[str, int], list[EnvelopeHint]] = {}
    for hint in hints:
        trusted = hint.where != RECEIVED_FOR or hint.hop == policy.hops
        if hint.where in policy.fields:
            configured.append(hint)
        elif hint.where in AS_REQUESTED and trusted:
            requested.setdefault((AS_REQUESTED.index(hint.where), -hint.hop), []).append(hint)
        elif hint.where == AS_DELIVERED:
            delivered.setdefault(-hint.hop, []).append(hint)
        else:
            others.setdefault((hint.where, -hint.hop), []).append(hint)
    # The lower a header is, the earlier it was written, and the closer it is to the requested recipient.
    return [[configured] if configured else [], _sort_groups(requested), _sort_groups(delivered), list(others.values())]


def _sort_groups(
    groups: Mapping[tuple[int, int], list[EnvelopeHint]] | Mapping[int, list[EnvelopeHint]],
) -> list[Group]:
    return [group for _, group in sorted(groups.items())]
