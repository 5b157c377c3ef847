"""The routing table: from a method and path to its handler."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

from aiohttp import web

from graph_simulator import content, deletion, delta, directory, listing, subscription_endpoints
from graph_simulator.errors import GraphError, bad_request, method_not_allowed, no_such_segment
from graph_simulator.request import Request, Response

Handler = Callable[[Request], Response]
"""A handler that is called under the lock."""

AsyncHandler = Callable[[Request], Awaitable[Response | web.StreamResponse]]
"""A handler that awaits other tasks and acquires the lock itself."""

_KEY_IN_PARENTHESES = re.compile(r"(users|mailFolders|messages|subscriptions|childFolders)\('(.*)'\)", re.DOTALL)
_DELTA = frozenset({"delta", "delta()", "microsoft.graph.delta", "microsoft.graph.delta()"})


@dataclass(frozen=True, slots=True)
class Route:
    """The handler of a method and path, with the path's parameters.

    Attributes:
        handler: the synchronous handler, or None.
        async_handler: the asynchronous handler, or None.
        writes: whether the app needs a write permission.
        user: the mailbox in the path; None: none.
        folder: the folder in the path.
        key: the message, subscription or user in the path.
        is_directory: whether the path is about the directory, which has other permissions.
    """

    handler: Handler | None = None
    async_handler: AsyncHandler | None = None
    writes: bool = False
    user: str | None = None
    folder: str = ""
    key: str = ""
    is_directory: bool = False


def find_route(method: str, segments: list[str]) -> Route:
    """Return the route of a path, given as decoded segments without the version.

    Raises:
        GraphError: the path is unknown, or does not support the method.
    """
    match _split_keys(segments):
        case ["users", user, *rest] if rest:
            return _mailbox_route(method, user, rest)
        case ["users", user]:
            return _select(method, {"GET": Route(directory.get_user, key=user, is_directory=True)})
        case ["subscriptions"]:
            methods = {
                "GET": Route(subscription_endpoints.list_all),
                "POST": Route(async_handler=subscription_endpoints.create),
            }
            return _select(method, methods)
        case ["subscriptions", key]:
            methods = {
                "GET": Route(subscription_endpoints.get, key=key),
                "PATCH": Route(async_handler=subscription_endpoints.update, key=key),
                "DELETE": Route(subscription_endpoints.delete, key=key),
            }
            return _select(method, methods)
        case ["subscriptions", key, "reauthorize"]:
            return _select(method, {"POST": Route(subscription_endpoints.reauthorize, key=key)})
        case ["me", *_]:
            raise bad_request("/me request is only valid with delegated authentication flow.")
        case ["$batch"]:
            raise GraphError(HTTPStatus.NOT_FOUND, "UnknownError", "The simulator does not support batches.")
        case ["users", *_]:
            text = "Insufficient privileges to complete the operation."
            raise GraphError(HTTPStatus.FORBIDDEN, "Authorization_RequestDenied", text)
        case other:
            raise no_such_segment(other[-1] if other else "")


def _mailbox_route(method: str, user: str, rest: list[str]) -> Route:
    match rest:
        case ["mailFolders", *further]:
            methods = _folder_methods(further)
        case ["messages", key, *further]:
            methods = _message_methods(key, further)
        case _:
            methods = None
    if methods is None:
        raise no_such_segment(rest[-1])
    return replace(_select(method, methods), user=user)


def _folder_methods(rest: list[str]) -> dict[str, Route] | None:
    match rest:
        case []:
            return {"GET": Route(listing.list_top_folders)}
        case [folder]:
            return {"GET": Route(listing.get_folder, folder=folder)}
        case [folder, "childFolders"]:
            return {"GET": Route(listing.list_child_folders, folder=folder)}
        case [folder, "messages"]:
            return {"GET": Route(listing.list_messages, folder=folder)}
        case [folder, "messages", name] if name in _DELTA:
            return {"GET": Route(delta.delta, folder=folder)}
        case [folder, "messages", key]:
            return {"GET": Route(listing.get_message, folder=folder, key=key)}
        case [_, "messages", _, "$value"]:
            # Graph has been observed to answer 405 to this form.
            return {}
        case _:
            return None


def _message_methods(key: str, rest: list[str]) -> dict[str, Route] | None:
    match rest:
        case []:
            delete = Route(deletion.delete, writes=True, key=key)
            return {"GET": Route(listing.get_message, key=key), "DELETE": delete}
        case ["$value"]:
            return {"GET": Route(async_handler=content.get_content, key=key)}
        case ["move"]:
            return {"POST": Route(deletion.move, writes=True, key=key)}
        case ["permanentDelete"]:
            return {"POST": Route(deletion.permanent_delete, writes=True, key=key)}
        case _:
            return None


def _select(method: str, methods: Mapping[str, Route]) -> Route:
    if method not in methods:
        raise method_not_allowed()
    return methods[method]


def _split_keys(segments: list[str]) -> list[str]:
    """Return the segments with `mailFolders('inbox')` split into `mailFolders` and `inbox`."""
    split: list[str] = []
    for segment in segments:
        match = _KEY_IN_PARENTHESES.fullmatch(segment)
        split += [match[1], match[2].replace("''", "'")] if match else [segment]
    return split
