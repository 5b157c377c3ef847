"""What an arrival left in the storage: everything that has to go for it to be forgotten (rule 8.5)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from shared.dispatch.conversations import conversation_key
from shared.dispatch.deduplication import erase_claims
from shared.dispatch.record_resolution import resolved_record_path
from shared.documents.blob_paths import FATES, RESULTS, message_folder, message_of, raw_path, skipped_path
from shared.receipts import Receipt, State
from shared.storage.base import Blobs, Record, Records, Storage, Table, scan_by_values

AT_ONCE = 16
"""Arrivals whose documents are looked for at once: what one client of the storage does best with."""


@dataclass(slots=True)
class Artifacts:
    """What goes with some arrivals.

    Attributes:
        results: paths.
        records: paths of what was recorded of the arrivals besides.
        claims: what they are on, by key.
        conversations: keys of entries.
        bytes: paths of the messages, raw and parsed, and of their attachments.
        kept: ids of messages whose bytes stay, since another arrival of theirs does.
    """

    results: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    claims: dict[str, str] = field(default_factory=dict)
    conversations: list[str] = field(default_factory=list)
    bytes: list[str] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)

    def retain(self, messages: Collection[str]) -> None:
        """Let the bytes of these messages stay as well."""
        self.kept |= set(messages)
        folders = tuple(map(message_folder, messages))
        self.bytes = [path for path in self.bytes if not path.startswith(folders)]


def collect_artifacts(stores: Storage, receipts: Sequence[Receipt], *, address: str = "") -> Artifacts:
    """Look for all that these arrivals left.

    Args:
        stores: where.
        receipts: the arrivals'.
        address: whom it is about, where it is about somebody: conversations are found by their plus-address, too.
    """
    arrivals = {receipt.arrival for receipt in receipts}
    messages = {receipt.message for receipt in receipts} - {""}
    found = Artifacts()
    claims = scan_by_values(stores.records, Table.CLAIMS, "owner", arrivals)
    found.claims = {record.key: str(record.values["kind"]) for record in claims}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="belongings") as several:
        found.results = _results(stores.blobs, messages, arrivals, several)
        found.records = [path for paths in several.map(partial(_records, stores.blobs), receipts) for path in paths]
    found.kept = shared_messages(stores.records, receipts)
    for message in sorted(messages - found.kept):
        found.bytes += stores.blobs.list(message_folder(message))
    # What stays goes on to be found by its Message-ID.
    gone = [receipt for receipt in receipts if receipt.message not in found.kept]
    found.conversations = list(_conversations(stores, gone, arrivals, address))
    return found


def shared_messages(records: Records, receipts: Iterable[Receipt]) -> set[str]:
    """The ids of messages whose bytes have to stay, since other arrivals of theirs do.

    Args:
        records: where the receipts are.
        receipts: those of the arrivals that go.
    """
    going = {receipt.arrival: receipt.message for receipt in receipts}
    siblings = scan_by_values(records, Table.RECEIPTS, "message", going.values())
    return {str(record.values["message"]) for record in siblings if _stays(record, going)}


def delete_artifacts(stores: Storage, found: Artifacts, ensure: Callable[[], None] = lambda: None) -> None:
    """Remove what arrivals left: what points to something before that to which it points.

    Args:
        stores: where it is.
        found: what goes.
        ensure: raises when nothing may be removed any more; asked before each file of bytes.
    """
    for paths in (found.results, found.records):
        ensure()
        stores.blobs.delete_many(paths)
    stores.records.delete_many(Table.CONVERSATIONS, found.conversations)
    erase_claims(stores.records, found.claims)
    for path in found.bytes:
        # One by one: an intake that comes by our lease may count on bytes that it found stored.
        ensure()
        stores.blobs.delete_many([path])
    stores.blobs.flush()


def roll_back(stores: Storage, receipt: Receipt) -> None:
    """Remove what was given of an arrival by a worker who found at the end that it had been forgotten meanwhile.

    Args:
        stores: where.
        receipt: the arrival's, as the worker would have written it; or as it stands, if the worker did not come so far.
    """
    if not receipt.message:
        message = _still_named(stores, receipt)
        # What is told by no thread before it is a conversation's first message.
        receipt = replace(receipt, message=message, conversation=message)
    found = collect_artifacts(stores, [receipt])
    if raw_path(receipt.message) in found.bytes:
        # The raw bytes are not a worker's: they have arrived anew, and all that is made of them is that arrival's.
        found.bytes = []
    delete_artifacts(stores, found)


def _still_named(stores: Storage, receipt: Receipt) -> str:
    """The message of a bare receipt, as what a worker left of it tells; empty, if none left anything."""
    for claim in scan_by_values(stores.records, Table.CLAIMS, "owner", [receipt.arrival]):
        return str(claim.values["message"])
    for fate in FATES:
        before, after = resolved_record_path(fate, receipt).rsplit("/", 1)
        for path in stores.blobs.list(f"{before}/"):
            if path.endswith(after):
                return message_of(path)
    return ""


def _results(
    blobs: Blobs, messages: Collection[str], arrivals: Collection[str], several: ThreadPoolExecutor
) -> list[str]:
    """Whatever results there are of these arrivals, whichever routes and replays they are of.

    All results are listed for it: receipts and claims do not tell of those that a replay replaced, or died over, and
    what one is written in place of may be gone.
    """
    if not messages:
        return []
    named = [path for path in blobs.list(RESULTS) if message_of(path) in messages]
    # The same message for somebody else, by another arrival, stands beside it.
    owners = several.map(lambda path: _owner(blobs.read(path)), named)
    return [path for path, owner in zip(named, owners, strict=True) if owner in arrivals]


def _owner(data: bytes | None) -> str:
    """The arrival whose a result is; empty, if it is gone, or is none."""
    try:
        return str(json.loads(data or b"")["arrival"]["id"])
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""


def _records(blobs: Blobs, receipt: Receipt) -> list[str]:
    paths = [resolved_record_path(fate, receipt) for fate in FATES] if receipt.message else []
    # An arrival may have been left for its size, and been downloaded once the limit was larger.
    paths += [
        skipped_path("oversized", receipt.mailbox, receipt.stored_at, receipt.arrival),
        skipped_path("unreadable", receipt.mailbox, receipt.stored_at, receipt.arrival),
    ]
    return [path for path in paths if blobs.exists(path)]


def _conversations(
    stores: Storage, receipts: Sequence[Receipt], arrivals: Collection[str], address: str
) -> Iterator[str]:
    """Entries of conversations that end with these arrivals, and those that name one of these messages themselves."""
    threads = {receipt.conversation for receipt in receipts if receipt.conversation}
    going_on = {
        str(record.values["conversation"])
        for record in scan_by_values(stores.records, Table.RECEIPTS, "conversation", threads)
        if _stays(record, arrivals)
    }
    own = {conversation_key("message-id", receipt.message_id) for receipt in receipts if receipt.message_id}
    if address:
        own.add(conversation_key("tag", address))
    found = {
        record.key for record in scan_by_values(stores.records, Table.CONVERSATIONS, "conversation", threads - going_on)
    }
    there = stores.records.get_many(Table.CONVERSATIONS, sorted(own - found)) if own - found else {}
    yield from sorted(found | {key for key, one in there.items() if one.values["conversation"] in threads})


def _stays(record: Record, going: Collection[str]) -> bool:
    return record.key not in going and record.values["state"] != State.ERASED.value
