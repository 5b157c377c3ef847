"""Lists of folders and of messages, and single ones."""

from __future__ import annotations

from http import HTTPStatus

from graph_simulator import odata
from graph_simulator.errors import GraphError
from graph_simulator.items import Folder
from graph_simulator.paging import DEFAULT_PAGE, options_and_start, page
from graph_simulator.request import Request, Response
from graph_simulator.serialization import FOLDER_PROPERTIES, MESSAGE_PROPERTIES, folder_json, message_json

FOLDER_OPTIONS = frozenset({"$select", "$top", "$skip", "$count", "$filter", "$skiptoken", "includeHiddenFolders"})
MESSAGE_OPTIONS = frozenset({"$select", "$top", "$skip", "$count", "$filter", "$orderby", "$expand", "$skiptoken"})
MOST, FURTHEST = 1_000, 1_000_000


def top_folders(call: Request) -> Response:
    """GET mailFolders: those at the top."""
    return _folders(call, call.store.root)


def child_folders(call: Request) -> Response:
    """GET mailFolders/{id}/childFolders."""
    return _folders(call, call.folder())


def folder(call: Request) -> Response:
    """GET mailFolders/{id}."""
    odata.check_names(call.options, {"$select"})
    chosen = odata.selected(call.options, FOLDER_PROPERTIES, "mailFolder")
    return Response(HTTPStatus.OK, folder_json(call.store, call.folder(), chosen))


def messages(call: Request) -> Response:
    """GET mailFolders/{id}/messages."""
    odata.check_names(call.options, MESSAGE_OPTIONS)
    options, start = options_and_start(call)
    chosen = odata.selected(options, MESSAGE_PROPERTIES, "message")
    with_size = odata.wants_size(options)
    found = odata.message_filter(options)
    newest_first = odata.newest_first(options, found)
    passing = [each for each in call.store.in_folder(call.folder()) if found.holds(each)]
    passing.sort(key=lambda each: each.age, reverse=newest_first)
    immutable = call.preferences.immutable
    check_size(call, page_size(call, options))
    body = page(
        call,
        passing,
        lambda each: message_json(each, immutable=immutable, selected=chosen, with_size=with_size),
        options=options,
        start=start or odata.number(options, "$skip", 0, FURTHEST) or 0,
        size=page_size(call, options),
    )
    return Response(HTTPStatus.OK, body)


def message(call: Request) -> Response:
    """GET messages/{id}, with or without a folder before it."""
    odata.check_names(call.options, {"$select", "$expand"})
    chosen = odata.selected(call.options, MESSAGE_PROPERTIES, "message")
    with_size = odata.wants_size(call.options)
    immutable = call.preferences.immutable
    body = message_json(call.message(), immutable=immutable, selected=chosen, with_size=with_size)
    return Response(HTTPStatus.OK, body)


def check_size(call: Request, size: int) -> None:
    """Refuse a page that is larger than the trouble allows.

    Raises:
        GraphError: 504, as a gateway answers when the server behind it takes too long.
    """
    most = call.state.trouble.largest_page
    if most and size > most:
        raise GraphError(HTTPStatus.GATEWAY_TIMEOUT, "UnknownError", "")


def page_size(call: Request, options: dict[str, str]) -> int:
    """Items in a page: `$top`, or what the headers prefer, or ten."""
    return odata.number(options, "$top", 1, MOST) or call.preferences.page or DEFAULT_PAGE


def _folders(call: Request, parent: Folder) -> Response:
    odata.check_names(call.options, FOLDER_OPTIONS)
    options, start = options_and_start(call)
    chosen = odata.selected(options, FOLDER_PROPERTIES, "mailFolder")
    name = odata.folder_name(options)
    hidden = options.get("includeHiddenFolders", "false").lower() == "true"
    found = call.store.children(parent, hidden=hidden)
    if name is not None:
        found = [each for each in found if each.name.casefold() == name.casefold()]
    found.sort(key=lambda each: each.name.casefold())
    body = page(
        call,
        found,
        lambda each: folder_json(call.store, each, chosen),
        options=options,
        start=start or odata.number(options, "$skip", 0, FURTHEST) or 0,
        size=page_size(call, options),
    )
    return Response(HTTPStatus.OK, body)
