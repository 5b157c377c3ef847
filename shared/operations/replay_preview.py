"""What a replay would make of an arrival by today's routes; nothing is written."""

from __future__ import annotations

from typing import Literal

from shared.dispatch.deduplication import Claims
from shared.dispatch.raw import open_raw
from shared.dispatch.router import MessageRouter
from shared.dispatch.routing_input import to_routing_input, visible_content
from shared.documents.blob_paths import is_result_for
from shared.documents.schema import Outcome
from shared.errors import MessageMissing
from shared.receipts import Receipt, State
from shared.routing.decision import decide
from shared.routing.fingerprints import fingerprints
from shared.storage.base import Record

Foreseen = Outcome | Literal["routed already", "settings wrong", "bytes missing", "a new result", "no new result"]


def preview_replay(sorter: MessageRouter, record: Record, *, reissue: str = "") -> Foreseen:
    """Say what would become of an arrival.

    Args:
        sorter: with the routes.
        record: the arrival's receipt.
        reissue: the path of the result that a new one is to be written in place of; empty: none is.

    Returns:
        What the arrival would be; `routed already`: nobody who has no result would get one. Of a result to be replaced,
        `no new result`: today's routes do not name its recipient.
    """
    receipt = Receipt.from_record(record)
    table = sorter.tables(receipt.mailbox)
    if table is None:
        return "settings wrong"
    try:
        with open_raw(sorter.stores.blobs, receipt.message, size=receipt.size) as data:
            message = sorter.read(data)
            decision = decide(to_routing_input(message, receipt.folder, table.trust_policy), table)
            prints = fingerprints(receipt.message, visible_content(message, table.trust_policy))
    except MessageMissing:
        return "bytes missing"
    if any(is_result_for(reissue, match.recipient) for match in decision.matches):
        return "a new result"
    if reissue and receipt.state is State.ROUTED:
        return "no new result"
    has = receipt.results()
    fates = set()
    for match in decision.matches:
        if match.recipient not in has:
            owner = Claims(sorter.stores.records, receipt, sorter.stores.blobs).find_duplicate(prints, match.recipient)
            fates.add("routed" if owner is None else "duplicate")
    if "routed" in fates:
        return "routed"
    if has:
        return "routed already"
    if fates or (not decision.matches and record.values.get("outcome") == "duplicate"):
        return "duplicate"
    return "blocked" if decision.blocked_by is not None else "unhandled"
