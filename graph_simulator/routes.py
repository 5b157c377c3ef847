"""Which path means what."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus

from aiohttp import web

from graph_simulator import content, deletion, delta, directory, listing, subscription_endpoints
from graph_simulator.errors import GraphError, bad_request, method_not_allowed, no_such_segment
from graph_simulator.request import Request, Response

Plain = Callable[[Request], Response]
"""Runs under the lock."""

Waiting = Callable[[Request], Awaitable[Response | web.StreamResponse]]
"""Waits for others, and takes the lock by itself."""

_KEYED = re.compile(r"(users|mailFolders|messages|subscriptions|childFolders)\('(.*)'\)", re.DOTALL)
_DELTA = frozenset({"delta", "delta()", "microsoft.graph.delta", "microsoft.graph.delta()"})


@dataclass(frozen=True, slots=True)
class Route:
    """What a path and a method mean.

    Attributes:
        plain: does it under the lock; or
        waiting: does it waiting.
        writes: whether the app must be allowed to write.
        user: the mailbox in the path; None: none.
        folder: the folder in the path.
        key: the message, subscription or user in the path.
        directory: it is about the directory, whose permissions are others.
    """

    plain: Plain | None = None
    waiting: Waiting | None = None
    writes: bool = False
    user: str | None = None
    folder: str = ""
    key: str = ""
    directory: bool = False


def find(method: str, segments: list[str]) -> Route:
    """The route of a path, given in decoded segments without the version.

    Raises:
        GraphError: the path means nothing, or takes another method.
    """
    match _spelled_out(segments):
        case ["users", user, *rest] if rest:
            return _in_mailbox(method, user, rest)
        case ["users", user]:
            return _pick(method, {"GET": Route(directory.user, key=user, directory=True)})
        case ["subscriptions"]:
            return _pick(
                method,
                {"GET": Route(subscription_endpoints.every), "POST": Route(waiting=subscription_endpoints.create)},
            )
        case ["subscriptions", key]:
            ways = {
                "GET": Route(subscription_endpoints.one, key=key),
                "PATCH": Route(waiting=subscription_endpoints.change, key=key),
                "DELETE": Route(subscription_endpoints.delete, key=key),
            }
            return _pick(method, ways)
        case ["subscriptions", key, "reauthorize"]:
            return _pick(method, {"POST": Route(subscription_endpoints.reauthorize, key=key)})
        case ["me", *_]:
            raise bad_request("/me request is only valid with delegated authentication flow.")
        case ["$batch"]:
            raise GraphError(HTTPStatus.NOT_FOUND, "UnknownError", "There is no batch here.")
        case ["users", *_]:
            text = "Insufficient privileges to complete the operation."
            raise GraphError(HTTPStatus.FORBIDDEN, "Authorization_RequestDenied", text)
        case other:
            raise no_such_segment(other[-1] if other else "")


def _in_mailbox(method: str, user: str, rest: list[str]) -> Route:
    match rest:
        case ["mailFolders", *further]:
            ways = _in_folders(further)
        case ["messages", key, *further]:
            ways = _in_message(key, further)
        case _:
            ways = None
    if ways is None:
        raise no_such_segment(rest[-1])
    return replace(_pick(method, ways), user=user)


def _in_folders(rest: list[str]) -> dict[str, Route] | None:
    match rest:
        case []:
            return {"GET": Route(listing.top_folders)}
        case [folder]:
            return {"GET": Route(listing.folder, folder=folder)}
        case [folder, "childFolders"]:
            return {"GET": Route(listing.child_folders, folder=folder)}
        case [folder, "messages"]:
            return {"GET": Route(listing.messages, folder=folder)}
        case [folder, "messages", name] if name in _DELTA:
            return {"GET": Route(delta.delta, folder=folder)}
        case [folder, "messages", key]:
            return {"GET": Route(listing.message, folder=folder, key=key)}
        case [_, "messages", _, "$value"]:
            # The form that some get 405 for.
            return {}
        case _:
            return None


def _in_message(key: str, rest: list[str]) -> dict[str, Route] | None:
    match rest:
        case []:
            delete = Route(deletion.delete, writes=True, key=key)
            return {"GET": Route(listing.message, key=key), "DELETE": delete}
        case ["$value"]:
            return {"GET": Route(waiting=content.content, key=key)}
        case ["move"]:
            return {"POST": Route(deletion.move, writes=True, key=key)}
        case ["permanentDelete"]:
            return {"POST": Route(deletion.permanent_delete, writes=True, key=key)}
        case _:
            return None


def _pick(method: str, ways: Mapping[str, Route]) -> Route:
    if method not in ways:
        raise method_not_allowed()
    return ways[method]


def _spelled_out(segments: list[str]) -> list[str]:
    """`mailFolders('inbox')` as `mailFolders`, `inbox`."""
    found: list[str] = []
    for segment in segments:
        match = _KEYED.fullmatch(segment)
        found += [match[1], match[2].replace("''", "'")] if match else [segment]
    return found
