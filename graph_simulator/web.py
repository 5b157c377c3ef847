"""The web server: parses requests, calls their handlers and writes the responses."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from weakref import WeakSet

from aiohttp import web

from graph_simulator import routes, token_endpoint
from graph_simulator.auth_and_throttling import RequestGate
from graph_simulator.errors import GraphError, bad_request
from graph_simulator.request import Request, Response, parse_preferences
from graph_simulator.request_log import RecordedRequest, RecordedTokenRequest
from graph_simulator.state import State
from graph_simulator.token_endpoint import TokenRequestRefused

log = logging.getLogger("graph_simulator")

VERSION = "v1.0"
CONTROL = "simulator"
"""First path segment of the requests that control the simulator."""

JSON = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
UNENCODED = "!$'()*+,;:@"
"""Characters that are not percent-encoded in the links that the simulator writes."""

Deliver = Callable[[str, str, bytes], str]
"""Delivers a message: address, folder, raw MIME -> immutable id."""


@dataclass
class _Exchange:
    """A request and response so far, for the request log."""

    segments: list[str]
    prefer: str
    headers: dict[str, str]
    query: dict[str, str]
    mailbox: str | None = None
    app: str | None = None
    status: int = 0


class WebServer:
    """The HTTP interface of the simulator.

    Args:
        state: the simulator's state.
        deliver: delivers a message that a control request brings.

    Attributes:
        app: aiohttp's application.
    """

    def __init__(self, state: State, deliver: Deliver) -> None:
        self._state = state
        self._deliver = deliver
        self._gate = RequestGate(state)
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self._handle)
        self._connections: WeakSet[asyncio.Transport] = WeakSet()

    async def close_connections(self) -> None:
        """Abort every connection: a TLS shutdown would wait for clients that do not read."""
        for connection in list(self._connections):
            connection.abort()
        # The event loop closes the sockets in its next iterations.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _handle(self, http_request: web.Request) -> web.StreamResponse:
        if http_request.transport is not None:
            self._connections.add(http_request.transport)
        parts = urlsplit(http_request.raw_path)
        segments = [unquote(segment) for segment in parts.path.split("/")[1:]]
        if segments[0] == CONTROL:
            return await self._handle_control(http_request, segments[1:])
        with self._state.lock:
            is_dropped = self._state.fault_plan.take_dropped_request()
        if segments[0] != VERSION:
            if is_dropped:
                return _drop_connection(http_request)
            return await self._handle_token_request(http_request, segments[0], "/" + "/".join(segments[1:]))
        prefer = ", ".join(http_request.headers.getall("Prefer", []))
        exchange = _Exchange(segments, prefer, {}, {})
        try:
            if is_dropped:
                return _drop_connection(http_request)
            response = await self._handle_graph_request(http_request, parts.query, exchange)
            with self._state.lock:
                if not response.prepared and self._state.fault_plan.take_dropped_response():
                    response = _drop_connection(http_request)
            # A response whose connection broke counts as no response.
            is_broken = http_request.transport is None or http_request.transport.is_closing()
            exchange.status = 0 if is_broken else response.status
            return response
        finally:
            # Recorded before the response's last byte is written, so that a client with the response finds the record.
            self._record(http_request.method, exchange)

    async def _handle_graph_request(
        self, http_request: web.Request, query: str, exchange: _Exchange
    ) -> web.StreamResponse:
        request_id = str(uuid.uuid4())
        client_id = http_request.headers.get("client-request-id", request_id)
        exchange.headers = {"request-id": request_id, "client-request-id": client_id}
        try:
            response = await self._dispatch(http_request, query, exchange)
        except GraphError as error:
            body = error.body(request_id, client_id)
            return _json_response(error.status, body, {**exchange.headers, **error.headers})
        except Exception:  # a bug in the simulator, which must not look like a response of Graph
            log.exception("the simulator failed at %s %s", http_request.method, "/".join(exchange.segments))
            raise
        if isinstance(response, web.StreamResponse):
            return response
        return _json_response(response.status, response.body, exchange.headers)

    async def _dispatch(
        self, http_request: web.Request, query: str, exchange: _Exchange
    ) -> Response | web.StreamResponse:
        app = self._gate.authenticate(http_request)
        exchange.app = app.client_id
        pairs = parse_qsl(query, keep_blank_values=True)
        exchange.query = dict(pairs)
        route = routes.find_route(http_request.method, exchange.segments[1:])
        store = self._gate.authorize(app, route)
        exchange.mailbox = None if store is None else store.address
        if len(exchange.query) != len(pairs):
            raise bad_request("A query option must not be given twice.", "ErrorInvalidUrlQuery")
        preferences = parse_preferences(exchange.prefer)
        if preferences.applied():
            exchange.headers["Preference-Applied"] = preferences.applied()
        async with self._gate.slot(app, store):
            request = Request(
                state=self._state,
                http_request=http_request,
                app=app,
                url=self._state.url + "".join("/" + quote(segment, safe=UNENCODED) for segment in exchange.segments),
                options=exchange.query,
                preferences=preferences,
                body=await http_request.read(),
                mailbox=store,
                folder_key=route.folder,
                key=route.key,
            )
            if route.async_handler is not None:
                return await route.async_handler(request)
            assert route.handler is not None
            with self._state.lock:
                return route.handler(request)

    async def _handle_token_request(self, http_request: web.Request, tenant: str, path: str) -> web.Response:
        state = self._state
        if (http_request.method, path) not in {("GET", token_endpoint.DISCOVERY), ("POST", token_endpoint.TOKEN)}:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        form = {name: str(value) for name, value in (await http_request.post()).items()}
        status = int(HTTPStatus.OK)
        with state.lock:
            try:
                token_endpoint.check_tenant(tenant, state.tenant)
                if path == token_endpoint.DISCOVERY:
                    body = token_endpoint.discovery(f"{state.url}/{state.tenant}")
                else:
                    body = token_endpoint.grant_token(form, state.apps, state.tokens, state.token_lifetime)
            except TokenRequestRefused as refused:
                status, body = refused.status, refused.body
            record = RecordedTokenRequest(path, form.get("client_id", ""), form.get("scope", ""), status)
            state.token_requests.append(record)
        return web.json_response(body, status=status)

    async def _handle_control(self, http_request: web.Request, segments: list[str]) -> web.Response:
        """Handle POST /simulator/mailboxes/{address}[/{folder path}]: deliver the body as a message."""
        match http_request.method, segments:
            case "POST", ["mailboxes", address, *folder] if address:
                content = await http_request.content.read()
                message_id = self._deliver(address, "/".join(folder) or "Inbox", content)
                return web.json_response({"id": message_id}, status=HTTPStatus.CREATED)
        return web.Response(status=HTTPStatus.NOT_FOUND)

    def _record(self, method: str, exchange: _Exchange) -> None:
        path = "/" + "/".join(exchange.segments)
        record = RecordedRequest(
            method, path, exchange.query, exchange.mailbox, exchange.status, exchange.app, exchange.prefer
        )
        with self._state.lock:
            self._state.requests.append(record)


def _json_response(status: int, body: dict[str, Any] | None, headers: dict[str, str]) -> web.Response:
    if body is None:
        return web.Response(status=status, headers=headers)
    return web.Response(status=status, body=json.dumps(body).encode(), headers={**headers, "Content-Type": JSON})


def _drop_connection(http_request: web.Request) -> web.Response:
    """Drop the connection. The returned response is never written."""
    if http_request.transport is not None:
        http_request.transport.abort()
    return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)
