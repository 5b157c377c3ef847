"""Handlers that list folders and messages, or return a single one."""

from __future__ import annotations

from http import HTTPStatus

from graph_simulator import odata
from graph_simulator.errors import GraphError
from graph_simulator.items import Folder
from graph_simulator.paging import DEFAULT_PAGE_SIZE, make_page, options_and_start
from graph_simulator.request import Request, Response
from graph_simulator.serialization import FOLDER_PROPERTIES, MESSAGE_PROPERTIES, folder_json, message_json

FOLDER_OPTIONS = frozenset({"$select", "$top", "$skip", "$count", "$filter", "$skiptoken", "includeHiddenFolders"})
MESSAGE_OPTIONS = frozenset({"$select", "$top", "$skip", "$count", "$filter", "$orderby", "$expand", "$skiptoken"})
MAX_TOP, MAX_SKIP = 1_000, 1_000_000


def list_top_folders(request: Request) -> Response:
    """Handle GET mailFolders."""
    return _list_folders(request, request.store.root)


def list_child_folders(request: Request) -> Response:
    """Handle GET mailFolders/{id}/childFolders."""
    return _list_folders(request, request.folder())


def get_folder(request: Request) -> Response:
    """Handle GET mailFolders/{id}."""
    odata.check_names(request.options, {"$select"})
    selected = odata.selected(request.options, FOLDER_PROPERTIES, "mailFolder")
    return Response(HTTPStatus.OK, folder_json(request.store, request.folder(), selected))


def list_messages(request: Request) -> Response:
    """Handle GET mailFolders/{id}/messages."""
    odata.check_names(request.options, MESSAGE_OPTIONS)
    options, start = options_and_start(request)
    selected = odata.selected(options, MESSAGE_PROPERTIES, "message")
    with_size = odata.wants_size(options)
    message_filter = odata.message_filter(options)
    newest_first = odata.newest_first(options, message_filter)
    messages = [message for message in request.store.messages_in(request.folder()) if message_filter.matches(message)]
    messages.sort(key=lambda message: message.age, reverse=newest_first)
    immutable = request.preferences.immutable
    check_size(request, page_size(request, options))
    body = make_page(
        request,
        messages,
        lambda message: message_json(message, immutable=immutable, selected=selected, with_size=with_size),
        options=options,
        start=start or odata.number(options, "$skip", 0, MAX_SKIP) or 0,
        size=page_size(request, options),
    )
    return Response(HTTPStatus.OK, body)


def get_message(request: Request) -> Response:
    """Handle GET messages/{id} and mailFolders/{id}/messages/{id}."""
    odata.check_names(request.options, {"$select", "$expand"})
    selected = odata.selected(request.options, MESSAGE_PROPERTIES, "message")
    with_size = odata.wants_size(request.options)
    immutable = request.preferences.immutable
    body = message_json(request.message(), immutable=immutable, selected=selected, with_size=with_size)
    return Response(HTTPStatus.OK, body)


def check_size(request: Request, size: int) -> None:
    """Refuse a page that is larger than the fault plan allows.

    Raises:
        GraphError: 504, as a gateway answers when the server behind it is too slow.
    """
    limit = request.state.fault_plan.max_page_size
    if limit and size > limit:
        raise GraphError(HTTPStatus.GATEWAY_TIMEOUT, "UnknownError", "")


def page_size(request: Request, options: dict[str, str]) -> int:
    """Return the items in a page: `$top`, else `odata.maxpagesize`, else ten."""
    return odata.number(options, "$top", 1, MAX_TOP) or request.preferences.page or DEFAULT_PAGE_SIZE


def _list_folders(request: Request, parent: Folder) -> Response:
    odata.check_names(request.options, FOLDER_OPTIONS)
    options, start = options_and_start(request)
    selected = odata.selected(options, FOLDER_PROPERTIES, "mailFolder")
    name = odata.folder_name(options)
    hidden = options.get("includeHiddenFolders", "false").lower() == "true"
    folders = request.store.children(parent, hidden=hidden)
    if name is not None:
        folders = [folder for folder in folders if folder.name.casefold() == name.casefold()]
    folders.sort(key=lambda folder: folder.name.casefold())
    body = make_page(
        request,
        folders,
        lambda folder: folder_json(request.store, folder, selected),
        options=options,
        start=start or odata.number(options, "$skip", 0, MAX_SKIP) or 0,
        size=page_size(request, options),
    )
    return Response(HTTPStatus.OK, body)
