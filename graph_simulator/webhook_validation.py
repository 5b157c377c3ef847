"""The validation of a URL before it receives notifications."""

from __future__ import annotations

import asyncio
import uuid
from http import HTTPStatus
from urllib.parse import quote

import aiohttp
from yarl import URL

from graph_simulator.errors import GraphError, bad_request

SPECIAL_CHARACTERS = "+&=%2f #?/\"<'>~"
"""Characters that a receiver returns wrongly if it decodes the token twice or never."""


async def validate(session: aiohttp.ClientSession, url: str, seconds: float) -> None:
    """Send a token to a URL, which must return it unchanged as plain text.

    Args:
        session: the HTTP session.
        url: the URL, which may have a query.
        seconds: time allowed for the whole response.

    Raises:
        GraphError: the URL did not return the token.
    """
    token = f"Validation: can this address be reached? Request-Id: {uuid.uuid4()}{SPECIAL_CHARACTERS}"
    url_with_token = f"{url}{'&' if '?' in url else '?'}validationToken={quote(token, safe='')}"
    try:
        async with asyncio.timeout(seconds):
            headers = {"Content-Type": "text/plain; charset=utf-8"}
            target = URL(url_with_token, encoded=True)
            async with session.post(target, data=b"", headers=headers, allow_redirects=False) as response:
                status, content_type, body = response.status, response.content_type, await response.read()
    except TimeoutError:
        raise _validation_error("Subscription validation request timed out.") from None
    except (aiohttp.ClientError, OSError, ValueError):
        raise _validation_error("Subscription validation request failed. The address could not be reached.") from None
    if status != HTTPStatus.OK:
        text = "Notification endpoint must respond with 200 OK to validation request."
        raise _validation_error(f"Subscription validation request failed. HTTP status code is '{status}'. {text}")
    if content_type != "text/plain":
        text = "The content type of the validation response must be text/plain."
        raise _validation_error(f"Subscription validation request failed. {text}")
    if body != token.encode():
        text = "The validation response must hold the validation token, decoded, and nothing else."
        raise _validation_error(f"Subscription validation request failed. {text}")


def _validation_error(text: str) -> GraphError:
    return bad_request(text, "ValidationError")
