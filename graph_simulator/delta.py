"""Delta queries: the changes in a folder since the last query, in random order, some of them twice."""

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

FIRST_OPTIONS = frozenset({"$select", "$top", "$filter", "$orderby", "$expand", "changeType"})
OPTIONS = FIRST_OPTIONS | {"$skiptoken", "$deltatoken"}
KINDS = frozenset({"created", "updated", "deleted"})


def delta(request: Request) -> Response:
    """Handle GET mailFolders/{id}/messages/delta."""
    odata.check_names(request.options, OPTIONS)
    delta_round, start = _find_round(request)
    size = request.preferences.page or page_size(request, delta_round.options)
    check_size(request, size)
    body: dict[str, Any] = {"@odata.context": f"{request.state.url}/v1.0/$metadata#Collection(message)"}
    items = [_entry_json(request, delta_round, entry) for entry in delta_round.entries[start : start + size]]
    body["value"] = [item for item in items if item is not None]
    url = delta_round.url
    if start + size < len(delta_round.entries):
        token = request.state.delta_links.add_round(delta_round, start + size)
        body["@odata.nextLink"] = f"{url}?$skiptoken={token}"
    else:
        body["@odata.deltaLink"] = f"{url}?$deltatoken={delta_round.delta_token}"
    return Response(HTTPStatus.OK, body)


def _find_round(request: Request) -> tuple[DeltaRound, int]:
    skip_token, delta_token = request.options.get("$skiptoken"), request.options.get("$deltatoken")
    if skip_token is None and delta_token is None:
        return _start_round(request, request.folder(), request.options, None), 0
    if len(request.options) > 1:
        raise bad_request("Follow the link as it is, without further options.", "ErrorInvalidUrlQuery")
    if skip_token is not None:
        round_and_start = request.state.delta_links.find_round(skip_token)
        if round_and_start is None or round_and_start[0].url != request.url:
            raise _expired(request)
        return round_and_start
    position = request.state.delta_links.find_position(delta_token or "")
    if position is None or position.url != request.url:
        raise _expired(request)
    return _start_round(request, position.folder, position.options, position.position), 0


def _expired(request: Request) -> GraphError:
    # Graph has been observed to use both statuses and both spellings.
    text = "The sync state is not found; generation=12;[highest=20][20][19][18]."
    if request.state.delta_links.count_refusal() % 2 == 0:
        return GraphError(HTTPStatus.GONE, "syncStateNotFound", text)
    return GraphError(HTTPStatus.BAD_REQUEST, "SyncStateNotFound", text)


def _start_round(request: Request, folder: Folder, options: dict[str, str], position: int | None) -> DeltaRound:
    odata.selected(options, MESSAGE_PROPERTIES, "message")
    odata.wants_size(options)
    message_filter = odata.message_filter(options)
    if not odata.newest_first(options, message_filter) or "isRead" in message_filter.names:
        raise bad_request(
            "Delta is filtered and ordered by receivedDateTime alone, newest first.", "ErrorInvalidUrlQuery"
        )
    kinds = set(options.get("changeType", "created").split(","))
    if not kinds <= KINDS:
        raise bad_request("Invalid value for changeType.", "ErrorInvalidUrlQuery")
    store = request.store
    messages = list(store.messages_in(folder))
    if position is None:
        entries = [DeltaEntry(message.id, message.mutable_id) for message in messages]
    else:
        entries = _changed_entries(store.log[position:], folder)
    if "changeType" in options and position is not None:
        entries = [entry for entry in entries if _kind(store.log[position:], entry) in kinds]
    if message_filter.tests:
        entries = [entry for entry in entries if entry.removed or message_filter.matches(store.messages[entry.id])]
    faults = request.state.fault_plan
    entries += [entry for entry in entries if faults.chance(faults.repeat)]
    faults.random.shuffle(entries)
    delta_token = request.state.delta_links.add_position(DeltaPosition(request.url, folder, options, len(store.log)))
    return DeltaRound(request.url, folder, options, tuple(entries), delta_token)


def _changed_entries(log: list[Change], folder: Folder) -> list[DeltaEntry]:
    """Return an entry for each mutable id that appeared, disappeared or changed in the folder."""
    last_changes = {change.mutable_id: change for change in log if change.folder is folder}
    return [DeltaEntry(change.id, change.mutable_id, change.kind == "deleted") for change in last_changes.values()]


def _kind(log: list[Change], entry: DeltaEntry) -> str:
    if entry.removed:
        return "deleted"
    is_new = any(change.kind == "created" and change.mutable_id == entry.mutable_id for change in log)
    return "created" if is_new else "updated"


def _entry_json(request: Request, delta_round: DeltaRound, entry: DeltaEntry) -> dict[str, Any] | None:
    immutable = request.preferences.immutable
    message = request.store.messages.get(entry.id)
    is_in_folder = message is not None and message.folder is delta_round.folder
    if entry.removed:
        # By its immutable id, a message that left the folder and came back was not removed.
        if immutable and is_in_folder:
            return None
        return {"id": entry.id if immutable else entry.mutable_id, "@removed": {"reason": "deleted"}}
    if message is None or not is_in_folder or message.mutable_id != entry.mutable_id:
        # Removed since the round began: the next round reports it.
        return None
    selected = odata.selected(delta_round.options, MESSAGE_PROPERTIES, "message")
    with_size = odata.wants_size(delta_round.options)
    return message_json(message, immutable=immutable, selected=selected, with_size=with_size)
