"""The raw content of a message, as bytes, and all that can go wrong with it."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

from aiohttp import web

from graph_simulator import mime, odata
from graph_simulator.errors import GraphError, access_denied, no_such_item
from graph_simulator.items import Message
from graph_simulator.request import Request

WHOLE = 64 * 1024
"""Bytes up to which the length is said at once; what is larger comes in chunks."""

CHUNK = 32 * 1024
KIND = {"Content-Type": "text/plain"}


async def content(call: Request) -> web.StreamResponse:
    """GET messages/{id}/$value."""
    odata.check_names(call.options, ())
    with call.state.lock:
        data = _content(call, call.message())
        cut = call.state.trouble.cut_this_content()
    if len(data) <= WHOLE and not cut:
        return web.Response(body=data, headers=KIND)
    response = web.StreamResponse(headers=KIND)
    if len(data) <= WHOLE:
        response.content_length = len(data)
    else:
        response.enable_chunked_encoding()
    end = len(data) // 2 if cut else len(data)
    # Who asked may have gone away meanwhile.
    with contextlib.suppress(ConnectionError):
        await response.prepare(call.request)
        for start in range(0, end, CHUNK):
            await response.write(data[start : min(start + CHUNK, end)])
            # Lets others have their turn, and the news of a lost connection come through.
            await asyncio.sleep(0)
    if cut and call.request.transport is not None:
        call.request.transport.close()
    return response


def _content(call: Request, message: Message) -> bytes:
    trouble = call.state.trouble
    if message.id in trouble.broken:
        text = "The message content could not be converted to MIME."
        raise GraphError(HTTPStatus.INTERNAL_SERVER_ERROR, "ErrorMimeContentConversionFailed", text)
    if trouble.failing.get(message.id, 0) > 0:
        trouble.failing[message.id] -= 1
        raise GraphError(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError", "An internal server error occurred.")
    if message.id in trouble.forbidden:
        raise access_denied()
    if message.id in trouble.missing:
        raise no_such_item()
    if message.late < trouble.late_content:
        message.late += 1
        raise no_such_item()
    if trouble.vary_boundaries:
        return mime.with_other_boundaries(message.content, trouble.random)
    return message.content
