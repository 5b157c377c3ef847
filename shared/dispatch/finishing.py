"""What an earlier try began and did not come to the end of (docs/receipts.md, "Out").

A claim without a result is its owner's to finish, whatever the routes say by now: whoever has the same message for that
recipient is told that it is a duplicate of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from shared.dispatch.deduplication import Claims
from shared.documents.blob_paths import route_of_result
from shared.routing.fingerprints import Fingerprint, VisibleContent
from shared.routing.model import ANY_RECIPIENT, Decision, EnvelopeHint, Match, Matched

MOST_ASKED = 1000
"""Addresses that are looked up: a message may name a hundred thousand."""


def unfinished_recipients(
    claims: Claims,
    prints: Sequence[Fingerprint],
    decision: Decision,
    seen: VisibleContent,
    hints: Sequence[EnvelopeHint],
) -> tuple[Match, ...]:
    """The recipients that an earlier try claimed, and that today's routes do not name.

    Args:
        claims: the arrival's.
        prints: the message's fingerprints.
        decision: by today's routes.
        seen: whom the message names.
        hints: whom its server named.
    """
    where: dict[str, Matched] = {ANY_RECIPIENT: "wildcard"}
    for addresses, matched in ((seen.to, "to"), (seen.cc, "cc")):
        where |= {address: matched for address in addresses if address not in where}
    where |= {hint.address: hint.where for hint in hints if hint.address not in where}
    named = {match.recipient for match in decision.matches}
    # A larger MAX_RECIPIENTS, or other routes, may have served the recipients beyond the limit at the earlier try.
    unnamed = islice((recipient for recipient in where if recipient not in named), MOST_ASKED)
    begun = claims.unfinished(prints, (*decision.unserved, *unnamed))
    return tuple(
        # Whom neither To and Cc nor the server's lines name now was named by a line that is not believed any more.
        Match(recipient, route_of_result(path), where.get(recipient, "to"))
        for recipient, path in sorted(begun.items())
        if recipient not in named
    )
