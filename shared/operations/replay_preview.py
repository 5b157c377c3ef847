"""Preview a replay: the outcome of an arrival by the current routes. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.dispatch.deduplication import Claims
from shared.dispatch.router import MessageRouter
from shared.dispatch.routing_input import open_raw, to_routing_input, visible_content
from shared.documents.blob_paths import is_result_for
from shared.documents.schema import Outcome
from shared.errors import MessageMissing
from shared.receipts import Receipt, State
from shared.routing.decision import decide
from shared.routing.fingerprints import fingerprints

PreviewedOutcome = (
    Outcome | Literal["routed already", "invalid settings", "bytes missing", "a new result", "no new result"]
)


@dataclass(frozen=True, slots=True)
class ReplayPreview:
    """The outcome that a replay of an arrival would have.

    Attributes:
        outcome: `routed already` if every recipient that matches has a result. For a result to be replaced,
            `no new result` if the current routes do not match its recipient.
        routes: the routes of the results that would be written.
    """

    outcome: PreviewedOutcome
    routes: tuple[str, ...] = ()


def preview_replay(router: MessageRouter, receipt: Receipt, *, reissue: str = "") -> ReplayPreview:
    """Return the outcome that a replay of an arrival would have.

    Args:
        router: the router, with the current routes.
        receipt: the arrival's.
        reissue: the path of the result that a new one is to replace; empty: none is.
    """
    table = router.route_table_for(receipt.mailbox)
    if table is None:
        return ReplayPreview("invalid settings")
    try:
        with open_raw(router.storage.blobs, receipt.message, size=receipt.size) as data:
            message = router.parse(data)
            decision = decide(to_routing_input(message, receipt.folder, table.trust_policy), table)
            message_fingerprints = fingerprints(receipt.message, visible_content(message, table.trust_policy))
    except MessageMissing:
        return ReplayPreview("bytes missing")
    reissued = [match.route for match in decision.matches if is_result_for(reissue, match.recipient)]
    if reissued:
        return ReplayPreview("a new result", tuple(reissued))
    if reissue and receipt.state is State.ROUTED:
        return ReplayPreview("no new result")
    results = receipt.results()
    claims = Claims(router.storage.records, receipt, router.storage.blobs)
    new = [match for match in decision.matches if match.recipient not in results]
    routed = [match for match in new if claims.find_duplicate(message_fingerprints, match.recipient) is None]
    if routed:
        return ReplayPreview("routed", tuple(sorted({match.route for match in routed})))
    if results:
        return ReplayPreview("routed already")
    if new or (not decision.matches and receipt.outcome == "duplicate"):
        return ReplayPreview("duplicate")
    return ReplayPreview("blocked" if decision.blocked_by is not None else "unhandled")
