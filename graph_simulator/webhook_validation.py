"""Asking an address whether it wants notifications."""

from __future__ import annotations

import asyncio
import uuid
from http import HTTPStatus
from urllib.parse import quote

import aiohttp
from yarl import URL

from graph_simulator.errors import GraphError, bad_request

AWKWARD = "+&=%2f #?/\"<'>~"
"""What a receiver gets wrong when it decodes the token once too often, or never."""


async def ask(session: aiohttp.ClientSession, url: str, within: float) -> None:
    """Send an address a token, which it must give back as it was, as plain text.

    Args:
        session: to send with.
        url: the address, which may have options of its own.
        within: seconds to answer in.

    Raises:
        GraphError: it did not.
    """
    token = f"Validation: can this address be reached? Request-Id: {uuid.uuid4()}{AWKWARD}"
    whole = f"{url}{'&' if '?' in url else '?'}validationToken={quote(token, safe='')}"
    try:
        # The time counts until the whole answer is there.
        async with asyncio.timeout(within):
            headers = {"Content-Type": "text/plain; charset=utf-8"}
            target = URL(whole, encoded=True)
            async with session.post(target, data=b"", headers=headers, allow_redirects=False) as answer:
                status, kind, body = answer.status, answer.content_type, await answer.read()
    except TimeoutError:
        raise refused("Subscription validation request timed out.") from None
    except (aiohttp.ClientError, OSError, ValueError):
        raise refused("Subscription validation request failed. The address could not be reached.") from None
    if status != HTTPStatus.OK:
        text = "Notification endpoint must respond with 200 OK to validation request."
        raise refused(f"Subscription validation request failed. HTTP status code is '{status}'. {text}")
    if kind != "text/plain":
        text = "The content type of the validation response must be text/plain."
        raise refused(f"Subscription validation request failed. {text}")
    if body != token.encode():
        text = "The validation response must hold the validation token, decoded, and nothing else."
        raise refused(f"Subscription validation request failed. {text}")


def refused(text: str) -> GraphError:
    """400 in the words that go with it."""
    return bad_request(text, "ValidationError")
