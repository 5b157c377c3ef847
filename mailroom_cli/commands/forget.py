"""`mailroom forget`: erase messages permanently, after a list of what would be erased."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from mailroom_cli.ids import ShortIds
from mailroom_cli.terminal import escape_json_line, quantity
from shared.bootstrap import App
from shared.dispatch.artifacts import Artifacts
from shared.errors import ConfigurationError
from shared.operations.erasure import Eraser, ErasureGroup
from shared.operations.search import MIN_ID_DIGITS, is_id, parse_id, parse_recipient
from shared.receipts import TRUNCATED
from shared.routing.model import ANY_RECIPIENT
from shared.storage.base import Records

BATCH = 2000
"""Messages erased while the mailboxes' leases are held once. Each batch reads whole tables."""

SHOWN_RECIPIENTS = 5
"""The number of other recipients that the command names."""


@dataclass(slots=True)
class ErasureResult:
    """What was erased, or would be erased.

    Attributes:
        address: the person's address; empty if a message is erased.
        groups: the messages.
        refused: messages that cannot be erased now.
        artifacts: what is stored for each batch of the messages.
        unread: number of arrivals whose sender and recipients are unknown.
    """

    address: str
    groups: list[ErasureGroup]
    refused: list[ErasureGroup]
    artifacts: list[Artifacts] = field(default_factory=list)
    unread: int = 0


def check_target(target: str) -> None:
    """Return if `target` is an id or an address.

    Raises:
        ConfigurationError: it is neither.
    """
    if "@" in target:
        parse_recipient(target)
    elif not is_id(target):
        raise ConfigurationError(
            f"{target.strip()!r} is neither an id ({MIN_ID_DIGITS} to 64 hex digits, as `find` shows it) nor an address"
        )


def forget(
    app: App, target: str, *, really: bool, progress: Callable[[int, int], None], waiting: Callable[[str], None]
) -> ErasureResult:
    """Find the messages to erase, and erase them if `really` is true.

    Args:
        app: supplies the storage and the mailboxes that are drained into it.
        target: an id or an address.
        really: erase the messages; otherwise only collect what would be erased.
        progress: called with the number of erased messages and the total.
        waiting: called with the name of a mailbox that is being drained and must be waited for.

    Raises:
        ConfigurationError: the target is neither an id nor an address, or matches several messages.
        MessageMissing: no message has this id.
        TransientError: the storage failed, or a message changed meanwhile. The same call continues the work.
    """
    eraser = Eraser.from_settings(app.settings, app.storage)
    address = parse_recipient(target) if "@" in target else ""
    groups = eraser.find_by_address(address) if address else eraser.find_by_id(parse_id(target))
    result = ErasureResult(
        address, [group for group in groups if not group.refused], [group for group in groups if group.refused]
    )
    if not really and result.groups:
        result.artifacts.append(eraser.collect_artifacts(result.groups, address))
    for start in range(0, len(result.groups) if really else 0, BATCH):
        batch = result.groups[start : start + BATCH]
        result.artifacts.append(eraser.erase(batch, address, waiting))
        progress(start + len(batch), len(result.groups))
    result.unread = eraser.count_unparsed() if address else 0
    return result


def show(records: Records, result: ErasureResult, console: Console, *, really: bool) -> None:
    """Print what was erased or would be erased: each path, and the number of other records."""
    for batch in result.artifacts:
        for path in (*batch.results, *batch.records, *batch.bytes):
            console.print(path, markup=False, highlight=False, soft_wrap=True)
    arrivals = sum(len(group.receipts) for group in result.groups)
    counts = [
        f"{quantity(arrivals, 'arrival')} of {quantity(len(result.groups), 'message')}",
        quantity(_count(result, "results"), "result"),
        quantity(_count(result, "records"), "record"),
        f"{quantity(_count(result, 'bytes'), 'file')} of raw and parsed messages",
        quantity(_count(result, "claims"), "claim"),
        f"{_count(result, 'conversations')} conversation entries",
    ]
    if result.unread:
        console.print(
            f"senders and recipients are unknown of {quantity(result.unread, 'arrival')} not routed yet or failed",
            highlight=False,
            soft_wrap=True,
        )
    if not result.groups:
        console.print("nothing can be erased now" if result.refused else "nothing to erase")
        return
    console.print(("erased: " if really else "would be erased: ") + ", ".join(counts), highlight=False)
    others = _other_recipients(result)
    if others:
        names = ", ".join(others)
        if len(others) > SHOWN_RECIPIENTS:
            names = f"{len(others)} recipients, such as {', '.join(others[:SHOWN_RECIPIENTS])}"
        console.print(f"these messages also have results for others: {names}", markup=False, highlight=False)
    kept = sorted({message for batch in result.artifacts for message in batch.kept})
    ids = ShortIds.of_ids(records, kept)
    for message in kept:
        console.print(
            f"message {ids.short(message)}: its raw message is kept, since another arrival of it is not erased",
            highlight=False,
        )
    if not really:
        console.print("nothing was changed; use --yes to erase all of this permanently")


def to_json_line(result: ErasureResult, *, really: bool) -> str:
    """Return what was erased, or would be erased, as a line of JSON."""
    artifacts = result.artifacts
    fields = {
        "address": result.address or None,
        "erased": really,
        "messages": [
            {"message": group.message or None, "arrivals": [receipt.arrival for receipt in group.receipts]}
            for group in result.groups
        ],
        "refused": [{"message": group.message or None, "reason": group.refused} for group in result.refused],
        "results": [path for batch in artifacts for path in batch.results],
        "records": [path for batch in artifacts for path in batch.records],
        "bytes": [path for batch in artifacts for path in batch.bytes],
        "claims": _count(result, "claims"),
        "conversations": _count(result, "conversations"),
        "bytes_kept": sorted({message for batch in artifacts for message in batch.kept}),
        "other_recipients": list(_other_recipients(result)),
        "unread_arrivals": result.unread,
    }
    return escape_json_line(json.dumps(fields, ensure_ascii=False))


def refusals(records: Records, result: ErasureResult) -> list[str]:
    """Return a line for each message that cannot be erased now."""
    ids = ShortIds.of_ids(records, [group.message for group in result.refused])
    return [f"message {ids.short(group.message)}: {group.refused}" for group in result.refused]


def _count(result: ErasureResult, kind: str) -> int:
    return sum(len(getattr(batch, kind)) for batch in result.artifacts)


def _other_recipients(result: ErasureResult) -> Sequence[str]:
    """Return the other recipients whose results are erased with a person's mail."""
    if not result.address:
        return ()
    receipts = [receipt for group in result.groups for receipt in group.receipts]
    recipients = {recipient for receipt in receipts for recipient in receipt.results()}
    # A receipt has room for a limited number of recipients. TRUNCATED marks one that had more.
    recipients |= {TRUNCATED for receipt in receipts if TRUNCATED in receipt.outcomes}
    return sorted(recipients - {result.address, ANY_RECIPIENT})
