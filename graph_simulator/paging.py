"""Pages of a list, and the links from one to the next."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from graph_simulator.errors import bad_request
from graph_simulator.request import Request

T = TypeVar("T")
DEFAULT_PAGE = 10


def options_and_start(call: Request) -> tuple[dict[str, str], int]:
    """The options of a list, and where its page starts: from the link's token if there is one.

    As with Graph, a link counts from the start of the list as it is when the link is followed, so that a list that
    shrank meanwhile loses items.

    Raises:
        GraphError: a token that was not made for this list, or one with other options beside it.
    """
    token = call.options.get("$skiptoken")
    if token is None:
        return call.options, 0
    try:
        kept = json.loads(base64.urlsafe_b64decode(token.encode()))
        place, options, start = kept["place"], kept["options"], kept["start"]
    except (ValueError, KeyError, TypeError):
        raise bad_request("The skip token is not valid.", "ErrorInvalidUrlQuery") from None
    if place != call.place or len(call.options) > 1:
        raise bad_request("The skip token does not belong to this request.", "ErrorInvalidUrlQuery")
    return {str(name): str(value) for name, value in options.items()}, int(start)


def page(
    call: Request,
    items: Sequence[T],
    write: Callable[[T], dict[str, Any]],
    *,
    options: dict[str, str],
    start: int,
    size: int,
) -> dict[str, Any]:
    """One page of a list, with the link to the next if there is more."""
    body: dict[str, Any] = {"@odata.context": f"{call.state.url}/v1.0/$metadata#Collection"}
    if options.get("$count") == "true":
        body["@odata.count"] = len(items)
    body["value"] = [write(item) for item in items[start : start + size]]
    if start + size < len(items):
        kept = {"place": call.place, "options": options, "start": start + size}
        token = base64.urlsafe_b64encode(json.dumps(kept).encode()).decode()
        # As Graph writes it: the dollar sign bare, the token's own signs encoded.
        body["@odata.nextLink"] = f"{call.place}?$skiptoken={token.replace('=', '%3d')}"
    return body
