"""Requests about a message that does not exist, which show what the app may do and what the server supports.

Graph checks the path, then the permission, and then whether the message exists (observed; Microsoft does not document
the order). The refusal therefore shows a missing action or a missing permission without changing anything.
"""

from __future__ import annotations

from typing import Final

import httpx

from shared.mailboxes.graph.client import Build, GraphClient
from shared.mailboxes.graph.errors import BAD_REQUEST, FORBIDDEN, NOT_FOUND, GraphResponseError

NO_SUCH_MESSAGE: Final = "mailroom-check"
"""An id that no message has."""


async def request_refusal(client: GraphClient, build: Build) -> GraphResponseError:
    """Return Graph's refusal of a request about `NO_SUCH_MESSAGE`.

    Raises:
        GraphResponseError: the status shows neither the permission nor the action, such as 500.
        MailboxBusy, httpx.HTTPError: as `GraphClient.json`.
    """

    async def read(response: httpx.Response) -> GraphResponseError:
        return GraphResponseError(response.status_code)

    try:
        return await client.send(build, read)
    except GraphResponseError as error:
        if error.status not in (FORBIDDEN, BAD_REQUEST, NOT_FOUND) and not error.lacks_action:
            raise
        return error
