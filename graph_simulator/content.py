"""The raw content of a message, and the faults in its delivery."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

from aiohttp import web

from graph_simulator import mime, odata
from graph_simulator.errors import GraphError, access_denied, no_such_item
from graph_simulator.items import Message
from graph_simulator.request import Request

MAX_UNCHUNKED = 64 * 1024
"""Bytes up to which a response has a Content-Length; larger content is sent in chunks."""

CHUNK = 32 * 1024
HEADERS = {"Content-Type": "text/plain"}


async def get_content(request: Request) -> web.StreamResponse:
    """Handle GET messages/{id}/$value."""
    odata.check_names(request.options, ())
    with request.state.lock:
        data = _read_content(request, request.message())
        is_truncated = request.state.fault_plan.take_truncated_content()
    if len(data) <= MAX_UNCHUNKED and not is_truncated:
        return web.Response(body=data, headers=HEADERS)
    response = web.StreamResponse(headers=HEADERS)
    if len(data) <= MAX_UNCHUNKED:
        response.content_length = len(data)
    else:
        response.enable_chunked_encoding()
    end = len(data) // 2 if is_truncated else len(data)
    # The client may disconnect meanwhile.
    with contextlib.suppress(ConnectionError):
        await response.prepare(request.http_request)
        for start in range(0, end, CHUNK):
            await response.write(data[start : min(start + CHUNK, end)])
            # Yields to the event loop, which runs other requests and notices a lost connection.
            await asyncio.sleep(0)
    if is_truncated and request.http_request.transport is not None:
        request.http_request.transport.close()
    return response


def _read_content(request: Request, message: Message) -> bytes:
    faults = request.state.fault_plan
    if message.id in faults.unconvertible:
        text = "The message content could not be converted to MIME."
        raise GraphError(HTTPStatus.INTERNAL_SERVER_ERROR, "ErrorMimeContentConversionFailed", text)
    if faults.failing.get(message.id, 0) > 0:
        faults.failing[message.id] -= 1
        raise GraphError(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError", "An internal server error occurred.")
    if message.id in faults.forbidden:
        raise access_denied()
    if message.id in faults.missing:
        raise no_such_item()
    if message.content_misses < faults.late_content:
        message.content_misses += 1
        raise no_such_item()
    if faults.vary_boundaries:
        return mime.replace_boundaries(message.content, faults.random)
    return message.content
