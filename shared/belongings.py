"""What an arrival left in the storage: everything that has to go for it to be forgotten (rule 8.5)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from shared.conversations import conversation_key
from shared.finding import matching
from shared.layout import FATES, is_first_result, left_path, message_folder, raw_path, results_prefix
from shared.receipts import Receipt, State
from shared.resolving import path_of
from shared.storage.protocol import Blobs, Record, Stores, Table

AT_ONCE = 16
"""Arrivals whose documents are looked for at once: what one client of the storage does best with."""


@dataclass(slots=True)
class Belongings:
    """What goes with some arrivals.

    Attributes:
        results: paths.
        records: paths of what was recorded of arrivals without results.
        claims: keys.
        conversations: keys of entries.
        bytes: paths of the messages, raw and parsed, and of their attachments.
        kept: ids of messages whose bytes stay, since another arrival of theirs does.
    """

    results: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)
    conversations: list[str] = field(default_factory=list)
    bytes: list[str] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)


def belongings_of(
    stores: Stores, receipts: Sequence[Receipt], *, routes: Collection[str] = (), address: str = ""
) -> Belongings:
    """Look for all that these arrivals left.

    Args:
        stores: where.
        receipts: the arrivals'.
        routes: the names of today's routes: a replay may have put results there.
        address: whom it is about, where it is about somebody: conversations are found by their plus-address, too.
    """
    arrivals = {receipt.arrival for receipt in receipts}
    found = Belongings()
    claims: defaultdict[str, list[Record]] = defaultdict(list)
    for record in matching(stores.records, Table.CLAIMS, "owner", arrivals):
        claims[str(record.values["owner"])].append(record)
        found.claims.append(record.key)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="belongings") as several:
        found.results = _each(
            several.map(lambda one: _results(stores.blobs, one, claims[one.arrival], routes), receipts)
        )
        found.records = _each(several.map(lambda one: _records(stores.blobs, one), receipts))
    messages = {receipt.message for receipt in receipts}
    found.kept = {
        str(record.values["message"])
        for record in matching(stores.records, Table.RECEIPTS, "message", messages)
        if _stays(record, arrivals)
    }
    for message in sorted(messages - found.kept - {""}):
        found.bytes += stores.blobs.list(message_folder(message))
    found.conversations = list(_conversations(stores, receipts, arrivals, address))
    return found


def remove(stores: Stores, found: Belongings, ensure: Callable[[], None] = lambda: None) -> None:
    """Remove what arrivals left: what points to something before that to which it points.

    Args:
        stores: where it is.
        found: what goes.
        ensure: raises when nothing may be removed any more.
    """
    for paths in (found.results, found.records):
        ensure()
        stores.blobs.delete_many(paths)
    # Results are found by claims as well: whoever goes on after us must find them, until the results are gone.
    stores.blobs.settle()
    stores.records.delete_many(Table.CONVERSATIONS, found.conversations)
    stores.records.delete_many(Table.CLAIMS, found.claims)
    ensure()
    stores.blobs.delete_many(found.bytes)
    stores.blobs.settle()


def take_back(stores: Stores, receipt: Receipt) -> None:
    """Remove what was given of an arrival by a worker who found at the end that it had been forgotten meanwhile.

    Args:
        stores: where.
        receipt: the arrival's, as the worker would have written it.
    """
    found = belongings_of(stores, [receipt])
    # The raw bytes are not a worker's: if there are any, they have arrived anew.
    found.bytes = [path for path in found.bytes if path != raw_path(receipt.message)]
    remove(stores, found)


def _results(blobs: Blobs, receipt: Receipt, claims: Sequence[Record], routes: Collection[str]) -> list[str]:
    known = {*receipt.results().values(), *(str(claim.values["result"]) for claim in claims)}
    within = {path.split("/")[1] for path in known}
    if not all(map(is_first_result, known)):
        within |= set(routes)
    waiting = {path for path in known if blobs.exists(path)}
    for route in within:
        waiting.update(blobs.list(results_prefix(route, receipt.stored_at, receipt.message)))
    found: dict[str, None] = {}
    while waiting:
        path = waiting.pop()
        told = _told(blobs.read(path))
        # The same message for somebody else, by another arrival of the same day, stands beside it.
        if path in found or told.get("arrival") != receipt.arrival:
            continue
        found[path] = None
        if told["replaces"]:
            waiting.add(told["replaces"])
    return sorted(found)


def _told(data: bytes | None) -> dict[str, str]:
    """Whose a result is, and what it was written in place of; nothing, if it is gone, or none."""
    try:
        result = json.loads(data or b"")
        return {"arrival": str(result["arrival"]["id"]), "replaces": str(result["replaces"] or "")}
    except (ValueError, RecursionError, LookupError, TypeError):
        return {}


def _records(blobs: Blobs, receipt: Receipt) -> list[str]:
    paths = [path_of(fate, receipt) for fate in FATES] if receipt.message else []
    # An arrival may have been left for its size, and been downloaded once the limit was larger.
    paths += [
        left_path("oversized", receipt.mailbox, receipt.stored_at, receipt.arrival),
        left_path("unreadable", receipt.mailbox, receipt.stored_at, receipt.arrival),
    ]
    return [path for path in paths if blobs.exists(path)]


def _conversations(
    stores: Stores, receipts: Sequence[Receipt], arrivals: Collection[str], address: str
) -> Iterator[str]:
    """Entries of conversations that end with these arrivals, and those that name one of these messages themselves."""
    threads = {receipt.conversation for receipt in receipts if receipt.conversation}
    going_on = {
        str(record.values["conversation"])
        for record in matching(stores.records, Table.RECEIPTS, "conversation", threads)
        if _stays(record, arrivals)
    }
    own = {conversation_key("message-id", receipt.message_id) for receipt in receipts if receipt.message_id}
    if address:
        own.add(conversation_key("tag", address))
    found = {record.key for record in matching(stores.records, Table.CONVERSATIONS, "conversation", threads - going_on)}
    there = stores.records.get_many(Table.CONVERSATIONS, sorted(own - found)) if own - found else {}
    yield from sorted(found | {key for key, one in there.items() if one.values["conversation"] in threads})


def _stays(record: Record, going: Collection[str]) -> bool:
    return record.key not in going and record.values["state"] != State.FORGOTTEN.value


def _each(lists: Iterable[list[str]]) -> list[str]:
    return [path for one in lists for path in one]
