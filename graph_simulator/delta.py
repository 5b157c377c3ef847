"""Delta: what changed in a folder since the last round, in no order, and some of it twice."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from graph_simulator import odata
from graph_simulator.delta_tokens import DeltaEntry, DeltaPosition, DeltaRound
from graph_simulator.errors import GraphError, bad_request
from graph_simulator.items import Change, Folder
from graph_simulator.listing import check_size, page_size
from graph_simulator.request import Request, Response
from graph_simulator.serialization import MESSAGE_PROPERTIES, message_json

FIRST = frozenset({"$select", "$top", "$filter", "$orderby", "$expand", "changeType"})
OPTIONS = FIRST | {"$skiptoken", "$deltatoken"}
KINDS = frozenset({"created", "updated", "deleted"})


def delta(call: Request) -> Response:
    """GET mailFolders/{id}/messages/delta."""
    odata.check_names(call.options, OPTIONS)
    found, start = _round(call)
    size = call.preferences.page or page_size(call, found.options)
    check_size(call, size)
    body: dict[str, Any] = {"@odata.context": f"{call.state.url}/v1.0/$metadata#Collection(message)"}
    items = [_item(call, found, entry) for entry in found.entries[start : start + size]]
    body["value"] = [item for item in items if item is not None]
    if start + size < len(found.entries):
        body["@odata.nextLink"] = f"{found.place}?$skiptoken={call.state.links.keep_round(found, start + size)}"
    else:
        body["@odata.deltaLink"] = f"{found.place}?$deltatoken={found.link}"
    return Response(HTTPStatus.OK, body)


def _round(call: Request) -> tuple[DeltaRound, int]:
    next_token, delta_token = call.options.get("$skiptoken"), call.options.get("$deltatoken")
    if next_token is None and delta_token is None:
        return _begin(call, call.folder(), call.options, None), 0
    if len(call.options) > 1:
        raise bad_request("Follow the link as it is, without further options.", "ErrorInvalidUrlQuery")
    if next_token is not None:
        known = call.state.links.round(next_token)
        if known is None or known[0].place != call.place:
            raise _expired(call)
        return known
    since = call.state.links.since(delta_token or "")
    if since is None or since.place != call.place:
        raise _expired(call)
    return _begin(call, since.folder, since.options, since.position), 0


def _expired(call: Request) -> GraphError:
    # Both have been seen, and so have both spellings of the word.
    text = "The sync state is not found; generation=12;[highest=20][20][19][18]."
    if call.state.links.count_refusal() % 2 == 0:
        return GraphError(HTTPStatus.GONE, "syncStateNotFound", text)
    return GraphError(HTTPStatus.BAD_REQUEST, "SyncStateNotFound", text)


def _begin(call: Request, folder: Folder, options: dict[str, str], position: int | None) -> DeltaRound:
    odata.selected(options, MESSAGE_PROPERTIES, "message")
    odata.wants_size(options)
    passing = odata.message_filter(options)
    if not odata.newest_first(options, passing) or "isRead" in passing.names:
        raise bad_request(
            "Delta is filtered and ordered by receivedDateTime alone, newest first.", "ErrorInvalidUrlQuery"
        )
    kinds = set(options.get("changeType", "created").split(","))
    if not kinds <= KINDS:
        raise bad_request("Invalid value for changeType.", "ErrorInvalidUrlQuery")
    store = call.store
    there = list(store.in_folder(folder))
    if position is None:
        entries = [DeltaEntry(each.id, each.mutable_id) for each in there]
    else:
        entries = _changed(store.log[position:], folder)
    if "changeType" in options and position is not None:
        entries = [each for each in entries if _kind(store.log[position:], each) in kinds]
    if passing.tests:
        entries = [each for each in entries if each.removed or passing.holds(store.messages[each.id])]
    trouble = call.state.trouble
    entries += [each for each in entries if trouble.chance(trouble.repeats)]
    trouble.random.shuffle(entries)
    link = call.state.links.keep_since(DeltaPosition(call.place, folder, options, len(store.log)))
    return DeltaRound(call.place, folder, options, tuple(entries), link)


def _changed(log: list[Change], folder: Folder) -> list[DeltaEntry]:
    """One entry for each stay of a message in the folder that began, ended or saw a change since then."""
    last = {change.mutable_id: change for change in log if change.folder is folder}
    return [DeltaEntry(each.id, each.mutable_id, each.kind == "deleted") for each in last.values()]


def _kind(log: list[Change], entry: DeltaEntry) -> str:
    if entry.removed:
        return "deleted"
    came = any(change.kind == "created" and change.mutable_id == entry.mutable_id for change in log)
    return "created" if came else "updated"


def _item(call: Request, found: DeltaRound, entry: DeltaEntry) -> dict[str, Any] | None:
    immutable = call.preferences.immutable
    message = call.store.messages.get(entry.id)
    here = message is not None and message.folder is found.folder
    if entry.removed:
        # Under its immutable id, a message that left and came back is there.
        if immutable and here:
            return None
        return {"id": entry.id if immutable else entry.mutable_id, "@removed": {"reason": "deleted"}}
    if message is None or not here or message.mutable_id != entry.mutable_id:
        # Gone since the round began: the next round tells.
        return None
    chosen = odata.selected(found.options, MESSAGE_PROPERTIES, "message")
    return message_json(message, immutable=immutable, selected=chosen, with_size=odata.wants_size(found.options))
