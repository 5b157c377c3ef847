"""Finds out what an app may do and what a server can do, without doing it.

Graph checks the path, then the permission, and then whether the message exists (observed; Microsoft does not document
the order). So a request about a message that does not exist shows the first two.
"""

from __future__ import annotations

from typing import Final

import httpx

from shared.mailboxes.graph.client import Build, GraphClient
from shared.mailboxes.graph.errors import BAD_REQUEST, FORBIDDEN, NOT_FOUND, GraphResponseError

NO_SUCH_MESSAGE: Final = "mailroom-check"
"""An id that no message has."""


async def refusal_text(client: GraphClient, build: Build) -> GraphResponseError:
    """Return how Graph refuses a request about `NO_SUCH_MESSAGE`.

    Raises:
        Answered: with a status that shows neither the permission nor the action, such as 500.
        MailboxBusy, httpx.HTTPError: as `GraphClient.json`.
    """

    async def read(response: httpx.Response) -> GraphResponseError:
        return GraphResponseError(response.status_code)

    try:
        return await client.send(build, read)
    except GraphResponseError as answer:
        if answer.status not in (FORBIDDEN, BAD_REQUEST, NOT_FOUND) and not answer.lacks_action:
            raise
        return answer
