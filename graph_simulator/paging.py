"""Pages of a list, and the links between them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from graph_simulator.errors import bad_request
from graph_simulator.request import Request

T = TypeVar("T")
DEFAULT_PAGE_SIZE = 10


def options_and_start(request: Request) -> tuple[dict[str, str], int]:
    """Return the query options of a list and the start of its page, from the link's token if it has one.

    As in Graph, a link counts from the start of the list at the time when the link is followed. A list that shrank
    meanwhile therefore loses items.

    Raises:
        GraphError: the token is invalid, belongs to another list, or is combined with other options.
    """
    token = request.options.get("$skiptoken")
    if token is None:
        return request.options, 0
    try:
        state = json.loads(base64.urlsafe_b64decode(token.encode()))
        url, options, start = state["url"], state["options"], state["start"]
    except (ValueError, KeyError, TypeError):
        raise bad_request("The skip token is not valid.", "ErrorInvalidUrlQuery") from None
    if url != request.url or len(request.options) > 1:
        raise bad_request("The skip token does not belong to this request.", "ErrorInvalidUrlQuery")
    return {str(name): str(value) for name, value in options.items()}, int(start)


def make_page(
    request: Request,
    items: Sequence[T],
    to_json: Callable[[T], dict[str, Any]],
    *,
    options: dict[str, str],
    start: int,
    size: int,
) -> dict[str, Any]:
    """Return a page of a list, with the link to the next page unless it is the last page."""
    body: dict[str, Any] = {"@odata.context": f"{request.state.url}/v1.0/$metadata#Collection"}
    if options.get("$count") == "true":
        body["@odata.count"] = len(items)
    body["value"] = [to_json(item) for item in items[start : start + size]]
    if start + size < len(items):
        state = {"url": request.url, "options": options, "start": start + size}
        token = base64.urlsafe_b64encode(json.dumps(state).encode()).decode()
        # Graph does not encode the dollar sign, and encodes the token's characters.
        body["@odata.nextLink"] = f"{request.url}?$skiptoken={token.replace('=', '%3d')}"
    return body
