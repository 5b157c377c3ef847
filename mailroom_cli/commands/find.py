"""`mailroom find`: where a message is, and what became of it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Shown
from rich.text import Text

from mailroom_cli.terminal import escaped
from shared.dispatch.deduplication import Claim, Claims
from shared.dispatch.record_resolution import is_unresolved, resolved_record_path
from shared.documents.blob_paths import RECORD_KINDS, raw_path, skipped_path
from shared.documents.writer import format_time
from shared.operations.search import ArrivalQuery, find_arrivals
from shared.receipts import Receipt, State
from shared.routing.fingerprints import FingerprintKind
from shared.storage.base import Record, Storage, Table
from shared.storage.matching import scan_by_values

Story = dict[str, object]
"""What is known of one arrival, in the shape that `--json` gives it."""


def find_message_histories(stores: Storage, wanted: ArrivalQuery, limit: int) -> tuple[list[Story], bool]:
    """What is known of each arrival that fits, in the order in which they were stored.

    Args:
        stores: where they are.
        wanted: what is known of them.
        limit: how many are told at most.

    Returns:
        The stories, and whether there are more.

    Raises:
        TransientError: the storage is ill.
    """
    found = list(islice(find_arrivals(stores.records, wanted), limit + 1))
    receipts = sorted(found[:limit], key=lambda one: (one.stored_at, one.arrival))
    claims: defaultdict[str, list[Record]] = defaultdict(list)
    for record in scan_by_values(stores.records, Table.CLAIMS, "owner", (one.arrival for one in receipts)):
        claims[str(record.values["owner"])].append(record)
    return [_story(stores, one, claims[one.arrival]) for one in receipts], len(found) > limit


def show(told: Iterable[Story], console: Console) -> None:
    """For people: a table for each arrival."""
    for story in told:
        table = Shown(show_header=False, box=SIMPLE)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in _lines(story):
            table.add_row(name, Text(text))
        console.print(table)


def as_line(story: Story) -> str:
    """For programs: one line of JSON for each arrival."""
    return escaped(json.dumps(story, ensure_ascii=False))


def _story(stores: Storage, receipt: Receipt, claims: Sequence[Record]) -> Story:
    raw = raw_path(receipt.message) if receipt.message else ""
    return {
        "arrival": receipt.arrival,
        "message": receipt.message or None,
        "state": receipt.state.value,
        "outcome": receipt.outcome or None,
        "where": _where(receipt),
        "mailbox": receipt.mailbox,
        "protocol": receipt.protocol,
        "folder": receipt.folder,
        "server_key": receipt.server_key,
        "size": receipt.size,
        "received": _time(receipt.received),
        "stored": _time(receipt.stored_at),
        "routed": _time(receipt.routed_at),
        "removed": receipt.removed,
        "from": list(receipt.senders),
        "to_and_cc": list(receipt.to_and_cc),
        "message_id": receipt.message_id or None,
        "conversation": receipt.conversation or None,
        "raw": {"path": raw, "exists": stores.blobs.exists(raw)} if raw else None,
        "outcomes": receipt.outcomes,
        "results": [
            {"recipient": who, "path": path, "exists": stores.blobs.exists(path)}
            for who, path in receipt.results().items()
        ],
        "records": list(_records(stores, receipt)),
        "claims": [
            {name: claim.values[name] for name in ("recipient", "kind", "result")}
            for claim in sorted(claims, key=lambda one: (str(one.values["recipient"]), str(one.values["kind"])))
        ],
        "same_message_id": [
            {"recipient": recipient, **one.to_reference()}
            for recipient, one in _same_message_id(stores, receipt, claims)
        ],
        "last_error": receipt.last_error or None,
    }


def _same_message_id(stores: Storage, receipt: Receipt, claims: Sequence[Record]) -> Iterator[tuple[str, Claim]]:
    """The claims of messages with the same Message-ID and another body, by recipient."""
    for record in claims:
        recipient = str(record.values["recipient"])
        if record.values["kind"] == FingerprintKind.MESSAGE_ID and record.values["named"] == recipient:
            prints = Claim.from_record(record).fingerprints
            different = Claims(stores.records, receipt, stores.blobs).different(prints, recipient)
            yield from ((recipient, one) for one in different)


def _records(stores: Storage, receipt: Receipt) -> Iterator[dict[str, object]]:
    paths = [resolved_record_path(fate, receipt) for fate in RECORD_KINDS] if receipt.message else []
    if receipt.state is State.OVERSIZED:
        paths.append(skipped_path("oversized", receipt.mailbox, receipt.stored_at, receipt.arrival))
    if receipt.state is State.UNREADABLE:
        paths.append(skipped_path("unreadable", receipt.mailbox, receipt.stored_at, receipt.arrival))
    for path in paths:
        data = stores.blobs.read(path)
        if data is not None:
            yield {"path": path, "resolved": not is_unresolved(data)}


def _where(receipt: Receipt) -> str:
    if receipt.state is State.ERASED:
        return "nowhere: it was forgotten" if receipt.is_fully_erased else "being forgotten"
    if not receipt.was_downloaded:
        return "in the mailbox alone"
    return "in the storage" if receipt.removed else "in the storage, and not known to be removed from the mailbox"


def _lines(story: Story) -> Iterator[tuple[str, str]]:
    """Names and texts of what a person is shown; what is not known is left out."""
    yield "arrival", f"{story['arrival']}"
    if story["message"]:
        yield "message", f"{story['message']}, {story['size']} octets"
    yield "came in", f"{story['mailbox']}, {story['folder']} ({story['protocol']} {story['server_key']})"
    routed = f", routed {story['routed']}" if story["routed"] else ""
    yield "when", f"stored {story['stored']}{routed}"
    fate = f", {story['outcome']}" if story["outcome"] not in (None, story["state"]) else ""
    yield "state", f"{story['state']}{fate}"
    yield "where now", f"{story['where']}"
    for name, label in (("from", "from"), ("to_and_cc", "to and cc")):
        addresses = story[name]
        assert isinstance(addresses, list)
        if addresses:
            yield label, ", ".join(addresses)
    for name, label in (("message_id", "Message-ID"), ("conversation", "conversation"), ("last_error", "last error")):
        if story[name]:
            yield label, f"{story[name]}"
    raw, outcomes, results = story["raw"], story["outcomes"], story["results"]
    assert isinstance(outcomes, dict)
    assert isinstance(results, list)
    gone = {one["recipient"] for one in results if not one["exists"]}
    if isinstance(raw, dict):
        yield "bytes", raw["path"] + ("" if raw["exists"] else " (gone)")
    for who, what in outcomes.items():
        yield ("" if who == "*" else f"for {who}") or "for anybody", what + (" (gone)" if who in gone else "")
    yield from _kept(story)


def _kept(story: Story) -> Iterator[tuple[str, str]]:
    records, claims, others = story["records"], story["claims"], story["same_message_id"]
    assert isinstance(records, list)
    assert isinstance(claims, list)
    assert isinstance(others, list)
    for one in others:
        yield "same Message-ID", f"{one['recipient']}: another body in message {one['message']}, {one['result']}"
    for one in records:
        yield "record", one["path"] + (" (resolved)" if one["resolved"] else "")
    by_recipient: defaultdict[str, list[str]] = defaultdict(list)
    for claim in claims:
        by_recipient[claim["recipient"]].append(claim["kind"])
    for who, kinds in by_recipient.items():
        yield "claims", f"{who}: {', '.join(kinds)}"


def _time(time: datetime | None) -> str | None:
    return None if time is None else format_time(time)
