"""`mailroom find`: show where messages are stored and how they were routed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from rich.console import Console
from rich.text import Text

from mailroom_cli.ids import ShortIds
from mailroom_cli.tables import Column, print_table
from mailroom_cli.terminal import escape_json_line, without_controls
from shared.clock import utc_now
from shared.dispatch.claims import Claim
from shared.dispatch.deduplication import Claims
from shared.dispatch.record_resolution import is_unresolved, resolved_record_path
from shared.documents.blob_paths import RECORD_KINDS, raw_path, route_of_result, skipped_path
from shared.documents.writer import format_time
from shared.operations.search import ArrivalQuery, display_id, find_newest_first, outcome_of
from shared.receipts import Receipt, State
from shared.routing.fingerprints import FingerprintKind
from shared.storage.base import Record, Storage, Table, scan_by_values

History = dict[str, object]
"""Everything known about an arrival, with the fields of `--json`."""

_LABEL_GAP = 2
"""Spaces between the longest label and the texts."""


def find_newest(storage: Storage, query: ArrivalQuery, limit: int) -> tuple[list[Receipt], bool]:
    """Return the newest matching arrivals, in the order in which they were stored, and whether more arrivals match.

    Args:
        storage: stores the arrivals.
        query: selects the arrivals.
        limit: largest number of arrivals to return.

    Raises:
        MessageMissing: no message has the id of the query.
        ConfigurationError: several messages have such an id.
        TransientError: the storage failed.
    """
    newest = list(islice(find_newest_first(storage.records, query), limit + 1))
    return newest[:limit][::-1], len(newest) > limit


def find_message_histories(storage: Storage, query: ArrivalQuery, limit: int) -> tuple[list[History], bool]:
    """Return the history of each of the newest matching arrivals, the newest last, and whether more arrivals match.

    The arguments and errors are those of `find_newest`.
    """
    receipts, has_more = find_newest(storage, query, limit)
    return histories_of(storage, receipts), has_more


def histories_of(storage: Storage, receipts: Sequence[Receipt]) -> list[History]:
    """Return the history of each arrival."""
    claims: defaultdict[str, list[Record]] = defaultdict(list)
    arrivals = (receipt.arrival for receipt in receipts)
    for record in scan_by_values(storage.records, Table.CLAIMS, "owner", arrivals):
        claims[str(record.values["owner"])].append(record)
    return [_history(storage, receipt, claims[receipt.arrival]) for receipt in receipts]


def show_lines(storage: Storage, receipts: Sequence[Receipt], console: Console) -> None:
    """Print a line for each arrival, and the errors below them."""
    ids = ShortIds.of_receipts(storage.records, receipts)
    # On a terminal, the year is left out where it is this year: other columns need the room.
    is_this_year = all(receipt.stored_at.year == utc_now().year for receipt in receipts)
    time_format = "%m-%d %H:%M" if is_this_year and console.is_terminal else "%Y-%m-%d %H:%M"
    columns = (
        Column("id"),
        Column("stored UTC"),
        Column("from", can_shrink=True),
        Column("subject", can_shrink=True),
        Column("outcome"),
        Column("route", can_shrink=True),
    )
    rows = [
        (
            ids.short(display_id(receipt)),
            f"{receipt.stored_at:{time_format}}",
            *_sender_and_subject(storage, receipt),
            outcome_of(receipt),
            ", ".join(routes_of(receipt)),
        )
        for receipt in receipts
    ]
    print_table(console, columns, rows)
    errors = [f"{ids.short(display_id(receipt))}: {receipt.last_error}" for receipt in receipts if receipt.last_error]
    if errors:
        console.print()
    for error in errors:
        console.print(Text(error), soft_wrap=True)


def _sender_and_subject(storage: Storage, receipt: Receipt) -> tuple[str, str]:
    """Return an arrival's senders and subject. Of an unreadable message, they are as its server lists them."""
    if receipt.state is not State.UNREADABLE:
        return sender_text(receipt), receipt.subject
    path = skipped_path("unreadable", receipt.mailbox, receipt.stored_at, receipt.arrival)
    try:
        listed = json.loads(storage.blobs.read(path) or b"{}").get("message") or {}
        return str(listed["from"] or ""), str(listed["subject"] or "")
    except (ValueError, RecursionError, LookupError, AttributeError, TypeError):
        return "", ""


def sender_text(receipt: Receipt) -> str:
    """Return an arrival's first sender, and the number of the others."""
    others = f" +{len(receipt.senders) - 1}" if len(receipt.senders) > 1 else ""
    return receipt.senders[0] + others if receipt.senders else ""


def routes_of(receipt: Receipt) -> list[str]:
    """Return the routes of an arrival's results."""
    return sorted({route_of_result(path) for path in receipt.results().values()})


def show(histories: Iterable[History], console: Console) -> None:
    """Print a line for each property of each arrival, with an empty line between arrivals.

    No text is wrapped or cut, so that a path can be copied. In a pipe, a tab separates the label from the text.
    """
    for number, history in enumerate(histories):
        rows = list(_rows(history))
        if number:
            console.print()
        width = max(len(label) for label, _ in rows) + _LABEL_GAP
        for label, text in rows:
            if console.is_terminal:
                line = Text.assemble((label.ljust(width), "bold"), " ".join(text.split()))
                console.print(line, soft_wrap=True)
            else:
                # The console's own methods would replace the tab by spaces.
                console.file.write(without_controls(f"{label}\t{' '.join(text.split())}") + "\n")


def to_json_line(history: History) -> str:
    """Return the history as a line of JSON."""
    return escape_json_line(json.dumps(history, ensure_ascii=False))


def _history(storage: Storage, receipt: Receipt, claims: Sequence[Record]) -> History:
    raw = raw_path(receipt.message) if receipt.message else ""
    return {
        "arrival": receipt.arrival,
        "message": receipt.message or None,
        "state": receipt.state.value,
        "outcome": receipt.outcome or None,
        "where": _location(receipt),
        "mailbox": receipt.mailbox,
        "protocol": receipt.protocol,
        "folder": receipt.folder,
        "server_key": receipt.server_key,
        "size": receipt.size,
        "received": _format_time(receipt.received),
        "stored": _format_time(receipt.stored_at),
        "routed": _format_time(receipt.routed_at),
        "removed": receipt.removed,
        "from": list(receipt.senders),
        "to_and_cc": list(receipt.to_and_cc),
        "subject": receipt.subject or None,
        "sent": _format_time(receipt.sent),
        "message_id": receipt.message_id or None,
        "conversation": receipt.conversation or None,
        "raw": {"path": raw, "exists": storage.blobs.exists(raw)} if raw else None,
        "outcomes": receipt.outcomes,
        "results": [
            {"recipient": recipient, "path": path, "exists": storage.blobs.exists(path)}
            for recipient, path in receipt.results().items()
        ],
        "records": list(_records(storage, receipt)),
        "claims": [
            {name: claim.values[name] for name in ("recipient", "kind", "result")}
            for claim in sorted(claims, key=lambda claim: (str(claim.values["recipient"]), str(claim.values["kind"])))
        ],
        "same_message_id": [
            {"recipient": recipient, **claim.to_reference()}
            for recipient, claim in _same_message_id(storage, receipt, claims)
        ],
        "last_error": receipt.last_error or None,
    }


def _same_message_id(storage: Storage, receipt: Receipt, claims: Sequence[Record]) -> Iterator[tuple[str, Claim]]:
    """Yield recipients with the claims of messages that have the same Message-ID and another body."""
    for record in claims:
        recipient = str(record.values["recipient"])
        if record.values["kind"] == FingerprintKind.MESSAGE_ID and record.values["named"] == recipient:
            prints = Claim.from_record(record).fingerprints
            different = Claims(storage.records, receipt, storage.blobs).different(prints, recipient)
            yield from ((recipient, claim) for claim in different)


def _records(storage: Storage, receipt: Receipt) -> Iterator[dict[str, object]]:
    paths = [resolved_record_path(kind, receipt) for kind in RECORD_KINDS] if receipt.message else []
    if receipt.state is State.OVERSIZED:
        paths.append(skipped_path("oversized", receipt.mailbox, receipt.stored_at, receipt.arrival))
    if receipt.state is State.UNREADABLE:
        paths.append(skipped_path("unreadable", receipt.mailbox, receipt.stored_at, receipt.arrival))
    for path in paths:
        data = storage.blobs.read(path)
        if data is not None:
            yield {"path": path, "resolved": not is_unresolved(data)}


def _location(receipt: Receipt) -> str:
    if receipt.state is State.ERASED:
        return "erased" if receipt.is_fully_erased else "being erased"
    if not receipt.was_downloaded:
        return "in the mailbox only"
    return "in storage" if receipt.removed else "in storage, removal from the mailbox not confirmed"


def _rows(history: History) -> Iterator[tuple[str, str]]:
    """Yield labels and texts for a person; unknown values are omitted."""
    yield "arrival", f"{history['arrival']}"
    if history["message"]:
        yield "message", f"{history['message']}, {history['size']} bytes"
    yield "arrived in", f"{history['mailbox']}, {history['folder']} ({history['protocol']} {history['server_key']})"
    routed = f", routed {history['routed']}" if history["routed"] else ""
    yield "time", f"stored {history['stored']}{routed}"
    outcome = f", {history['outcome']}" if history["outcome"] not in (None, history["state"]) else ""
    yield "state", f"{history['state']}{outcome}"
    yield "location", f"{history['where']}"
    for name, label in (("from", "from"), ("to_and_cc", "to and cc")):
        addresses = history[name]
        assert isinstance(addresses, list)
        if addresses:
            yield label, ", ".join(addresses)
    for name, label in (
        ("subject", "subject"),
        ("sent", "sent"),
        ("message_id", "Message-ID"),
        ("conversation", "conversation"),
        ("last_error", "last error"),
    ):
        if history[name]:
            yield label, f"{history[name]}"
    raw, outcomes, results = history["raw"], history["outcomes"], history["results"]
    assert isinstance(outcomes, dict)
    assert isinstance(results, list)
    missing = {result["recipient"] for result in results if not result["exists"]}
    if isinstance(raw, dict):
        yield "raw message", raw["path"] + ("" if raw["exists"] else " (missing)")
    for recipient, outcome in outcomes.items():
        label = "for any recipient" if recipient == "*" else f"for {recipient}"
        yield label, outcome + (" (missing)" if recipient in missing else "")
    yield from _record_rows(history)


def _record_rows(history: History) -> Iterator[tuple[str, str]]:
    records, claims, others = history["records"], history["claims"], history["same_message_id"]
    assert isinstance(records, list)
    assert isinstance(claims, list)
    assert isinstance(others, list)
    for other in others:
        yield "same Message-ID", f"{other['recipient']}: message {other['message']} has another body, {other['result']}"
    for record in records:
        yield "record", record["path"] + (" (resolved)" if record["resolved"] else "")
    kinds_by_recipient: defaultdict[str, list[str]] = defaultdict(list)
    for claim in claims:
        kinds_by_recipient[claim["recipient"]].append(claim["kind"])
    for recipient, kinds in kinds_by_recipient.items():
        yield "claims", f"{recipient}: {', '.join(kinds)}"


def _format_time(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)
