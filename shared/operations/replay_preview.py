"""Preview a replay: the outcome of an arrival by the current routes. Nothing is written."""

from __future__ import annotations

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
from shared.storage.base import Record

PreviewedOutcome = (
    Outcome | Literal["routed already", "invalid settings", "bytes missing", "a new result", "no new result"]
)


def preview_replay(router: MessageRouter, record: Record, *, reissue: str = "") -> PreviewedOutcome:
    """Return the outcome that a replay of an arrival would have.

    Args:
        router: the router, with the current routes.
        record: the arrival's receipt.
        reissue: the path of the result that a new one is to replace; empty: none is.

    Returns:
        The outcome; `routed already` if every recipient that matches has a result. For a result to be replaced,
        `no new result` if the current routes do not match its recipient.
    """
    receipt = Receipt.from_record(record)
    table = router.route_table_for(receipt.mailbox)
    if table is None:
        return "invalid settings"
    try:
        with open_raw(router.storage.blobs, receipt.message, size=receipt.size) as data:
            message = router.parse(data)
            decision = decide(to_routing_input(message, receipt.folder, table.trust_policy), table)
            message_fingerprints = fingerprints(receipt.message, visible_content(message, table.trust_policy))
    except MessageMissing:
        return "bytes missing"
    if any(is_result_for(reissue, match.recipient) for match in decision.matches):
        return "a new result"
    if reissue and receipt.state is State.ROUTED:
        return "no new result"
    results = receipt.results()
    claims = Claims(router.storage.records, receipt, router.storage.blobs)
    outcomes = set()
    for match in decision.matches:
        if match.recipient not in results:
            original = claims.find_duplicate(message_fingerprints, match.recipient)
            outcomes.add("routed" if original is None else "duplicate")
    if "routed" in outcomes:
        return "routed"
    if results:
        return "routed already"
    if outcomes or (not decision.matches and record.values.get("outcome") == "duplicate"):
        return "duplicate"
    return "blocked" if decision.blocked_by is not None else "unhandled"
