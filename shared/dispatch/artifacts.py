"""The artifacts of an arrival: everything in storage that an erasure deletes (rule 8.5)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from shared.dispatch.claims import erase_claims
from shared.dispatch.record_resolution import resolved_record_path
from shared.dispatch.routing_input import conversation_key
from shared.documents.blob_paths import (
    RECORD_KINDS,
    RESULTS_PREFIX,
    message_folder,
    message_in_path,
    raw_path,
    skipped_path,
)
from shared.receipts import Receipt, State
from shared.storage.base import Blobs, Record, Records, Storage, Table, scan_by_values

CONCURRENCY = 16
"""Blob requests at once: what one client of the storage does best with."""


@dataclass(slots=True)
class Artifacts:
    """The artifacts of some arrivals.

    Attributes:
        results: paths of results.
        records: paths of records.
        claims: the kinds of claims, by key.
        conversations: keys of conversation entries.
        bytes: paths of the messages, raw and parsed, and of their attachments.
        kept: ids of messages whose bytes are kept, since another arrival has the same message.
    """

    results: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    claims: dict[str, str] = field(default_factory=dict)
    conversations: list[str] = field(default_factory=list)
    bytes: list[str] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to delete."""
        return not (self.results or self.records or self.claims or self.conversations or self.bytes)

    def retain(self, messages: Collection[str]) -> None:
        """Keep the bytes of these messages as well."""
        self.kept |= set(messages)
        prefixes = tuple(prefix for message in messages for prefix in (raw_path(message), message_folder(message)))
        self.bytes = [path for path in self.bytes if not path.startswith(prefixes)]


def collect_artifacts(
    storage: Storage, receipts: Sequence[Receipt], *, address: str = "", entries: Collection[str] = ()
) -> Artifacts:
    """Find all artifacts of arrivals.

    Args:
        storage: the storage.
        receipts: the arrivals'.
        address: the address of the person to be erased, if any: its plus-address conversations are included.
        entries: the keys of conversation entries that are included if they name one of the messages.
    """
    arrivals = {receipt.arrival for receipt in receipts}
    messages = {receipt.message for receipt in receipts} - {""}
    artifacts = Artifacts()
    claims = scan_by_values(storage.records, Table.CLAIMS, "owner", arrivals)
    artifacts.claims = {record.key: str(record.values["kind"]) for record in claims}
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="artifacts") as executor:
        artifacts.results = _result_paths(storage.blobs, messages, arrivals, executor)
        paths_by_receipt = executor.map(partial(_record_paths, storage.blobs), receipts)
        artifacts.records = [path for paths in paths_by_receipt for path in paths]
    artifacts.kept = shared_messages(storage.records, receipts)
    for message in sorted(messages - artifacts.kept):
        artifacts.bytes += storage.blobs.list(message_folder(message))
        # After the listing: if the message arrives again meanwhile, `roll_back` sees it, and keeps its files.
        if storage.blobs.exists(raw_path(message)):
            artifacts.bytes.append(raw_path(message))
    # A message that is kept must still be found by its Message-ID.
    erased = [receipt for receipt in receipts if receipt.message not in artifacts.kept]
    artifacts.conversations = list(_conversation_keys(storage, erased, arrivals, address, entries))
    return artifacts


def shared_messages(records: Records, receipts: Iterable[Receipt]) -> set[str]:
    """Return the ids of messages whose bytes must be kept, since other arrivals have the same message.

    Args:
        records: where the receipts are stored.
        receipts: the receipts of the arrivals to be erased.
    """
    erased = {receipt.arrival: receipt.message for receipt in receipts}
    siblings = scan_by_values(records, Table.RECEIPTS, "message", erased.values())
    return {str(record.values["message"]) for record in siblings if _is_kept(record, erased)}


def delete_artifacts(storage: Storage, artifacts: Artifacts, ensure: Callable[[], None] = lambda: None) -> None:
    """Delete artifacts, referrers before referents.

    Args:
        storage: the storage.
        artifacts: the artifacts to delete.
        ensure: raises if nothing may be deleted any more; called before each file of bytes.
    """
    for paths in (artifacts.results, artifacts.records):
        ensure()
        storage.blobs.delete_many(paths)
    storage.records.delete_many(Table.CONVERSATIONS, artifacts.conversations)
    erase_claims(storage.records, artifacts.claims)
    for path in artifacts.bytes:
        # One at a time: if our lease is lost, a drain may rely on bytes that it found stored.
        ensure()
        storage.blobs.delete_many([path])
    storage.blobs.flush()


def roll_back(storage: Storage, receipt: Receipt) -> None:
    """Delete what a routing attempt wrote for an arrival that was erased meanwhile.

    Args:
        storage: the storage.
        receipt: the receipt as the attempt would have written it, or as it is stored if the attempt died before.
    """
    if not receipt.message:
        message = _referenced_message(storage, receipt)
        # Without an earlier message of its thread, a message is the first of its conversation.
        receipt = replace(receipt, message=message, conversation=message)
    artifacts = collect_artifacts(storage, [receipt])
    if raw_path(receipt.message) in artifacts.bytes:
        # An attempt writes no raw bytes: the message has arrived again, and its files belong to the new arrival.
        artifacts.bytes = []
    delete_artifacts(storage, artifacts)


def _referenced_message(storage: Storage, receipt: Receipt) -> str:
    """Return the message of a bare receipt that its claims or records name; an empty string if there are none."""
    for claim in scan_by_values(storage.records, Table.CLAIMS, "owner", [receipt.arrival]):
        return str(claim.values["message"])
    for kind in RECORD_KINDS:
        folder, suffix = resolved_record_path(kind, receipt).rsplit("/", 1)
        for path in storage.blobs.list(f"{folder}/"):
            if path.endswith(suffix):
                return message_in_path(path)
    return ""


def _result_paths(
    blobs: Blobs, messages: Collection[str], arrivals: Collection[str], executor: ThreadPoolExecutor
) -> list[str]:
    """Return the paths of all results of these arrivals, by any route and replay.

    All results are listed. Receipts and claims do not name a result that a replay replaced, or wrote before it died.
    """
    if not messages:
        return []
    candidates = [path for path in blobs.list(RESULTS_PREFIX) if message_in_path(path) in messages]
    # Another arrival of the same message may have results for other recipients in the same folder.
    owners = executor.map(lambda path: result_owner(blobs.read(path)), candidates)
    return [path for path, owner in zip(candidates, owners, strict=True) if owner in arrivals]


def result_owner(data: bytes | None) -> str:
    """Return the arrival that a result belongs to; an empty string if the blob is gone or is not a result."""
    try:
        return str(json.loads(data or b"")["arrival"]["id"])
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""


def _record_paths(blobs: Blobs, receipt: Receipt) -> list[str]:
    paths = [resolved_record_path(kind, receipt) for kind in RECORD_KINDS] if receipt.message else []
    # A message may have been skipped as oversized, and downloaded after the limit was raised.
    paths += [
        skipped_path("oversized", receipt.mailbox, receipt.stored_at, receipt.arrival),
        skipped_path("unreadable", receipt.mailbox, receipt.stored_at, receipt.arrival),
    ]
    return [path for path in paths if blobs.exists(path)]


def _conversation_keys(
    storage: Storage, receipts: Sequence[Receipt], arrivals: Collection[str], address: str, entries: Collection[str]
) -> Iterator[str]:
    """Yield the keys of conversations that end with these arrivals, and of the entries that name their messages."""
    messages = {receipt.message for receipt in receipts} - {""}
    # An attempt that died may have begun a conversation that the receipt does not name.
    conversations = ({receipt.conversation for receipt in receipts} | messages) - {""}
    continued = {
        str(record.values["conversation"])
        for record in scan_by_values(storage.records, Table.RECEIPTS, "conversation", conversations)
        if _is_kept(record, arrivals)
    }
    own_keys = {conversation_key("message-id", receipt.message_id) for receipt in receipts if receipt.message_id}
    if address:
        own_keys.add(conversation_key("tag", address))
    ended = conversations - continued
    keys = {record.key for record in scan_by_values(storage.records, Table.CONVERSATIONS, "conversation", ended)}
    missing = sorted({*own_keys, *entries} - keys)
    rows = storage.records.get_many(Table.CONVERSATIONS, missing) if missing else {}
    for key, row in rows.items():
        # The entry of a Message-ID names the message, unless a reply created it. Another message may have the same one.
        message = str(row.values.get("message", ""))
        if message in messages or (not message and key in own_keys and row.values["conversation"] in conversations):
            keys.add(key)
    yield from sorted(keys)


def _is_kept(record: Record, erased: Collection[str]) -> bool:
    return record.key not in erased and record.values["state"] != State.ERASED.value
