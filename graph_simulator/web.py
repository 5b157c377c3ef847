"""The web side: takes requests apart, hands them on, and writes the answers."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from weakref import WeakSet

from aiohttp import web

from graph_simulator import routes, token_endpoint
from graph_simulator.auth_and_throttling import Gate
from graph_simulator.errors import GraphError, bad_request
from graph_simulator.request import Request, Response, preferences
from graph_simulator.request_log import RecordedRequest, RecordedTokenRequest
from graph_simulator.state import State
from graph_simulator.token_endpoint import TokenRequestRefused

log = logging.getLogger("mailroom.standin")

VERSION = "v1.0"
JSON = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
BARE = "!$'()*+,;:@"
"""Signs that stand as they are in the links that the stand-in writes."""


@dataclass
class _Seen:
    """What has been found out about a request so far."""

    segments: list[str]
    prefer: str
    headers: dict[str, str]
    query: dict[str, str]
    mailbox: str | None = None
    app: str | None = None
    status: int = 0


class Web:
    """Answers every request.

    Attributes:
        app: what aiohttp is to serve.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._gate = Gate(state)
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self._answer)
        self._connections: WeakSet[asyncio.Transport] = WeakSet()

    async def hang_up(self) -> None:
        """End every connection at once: over TLS, a client that does not listen would hold up a polite end."""
        for connection in list(self._connections):
            connection.abort()
        # The sockets are closed in the loop's next rounds.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            self._connections.add(request.transport)
        with self._state.lock:
            cut = self._state.trouble.cut_this_request()
        parts = urlsplit(request.raw_path)
        segments = [unquote(each) for each in parts.path.split("/")[1:]]
        if segments[0] != VERSION:
            return _drop(request) if cut else await self._sign_in(request, segments[0], "/" + "/".join(segments[1:]))
        seen = _Seen(segments, ", ".join(request.headers.getall("Prefer", [])), {}, {})
        try:
            if cut:
                return _drop(request)
            response = await self._graph(request, parts.query, seen)
            with self._state.lock:
                if not response.prepared and self._state.trouble.cut_this_answer():
                    response = _drop(request)
            # An answer that broke off counts as none.
            broken = request.transport is None or request.transport.is_closing()
            seen.status = 0 if broken else response.status
            return response
        finally:
            # Before the answer's last byte is written: who has the answer finds the request here.
            self._record(request.method, seen)

    async def _graph(self, request: web.Request, query: str, seen: _Seen) -> web.StreamResponse:
        request_id = str(uuid.uuid4())
        client_id = request.headers.get("client-request-id", request_id)
        seen.headers = {"request-id": request_id, "client-request-id": client_id}
        try:
            answer = await self._let_in(request, query, seen)
        except GraphError as error:
            body = error.body(request_id, client_id)
            return _json(error.status, body, {**seen.headers, **error.headers})
        except Exception:  # a fault of the stand-in itself: told, and never taken for an answer of Graph's
            log.exception("the stand-in failed at %s %s", request.method, "/".join(seen.segments))
            raise
        if isinstance(answer, web.StreamResponse):
            return answer
        return _json(answer.status, answer.body, seen.headers)

    async def _let_in(self, request: web.Request, query: str, seen: _Seen) -> Response | web.StreamResponse:
        app = self._gate.app(request)
        seen.app = app.client_id
        pairs = parse_qsl(query, keep_blank_values=True)
        seen.query = dict(pairs)
        route = routes.find(request.method, seen.segments[1:])
        store = self._gate.mailbox(app, route)
        seen.mailbox = None if store is None else store.address
        if len(seen.query) != len(pairs):
            raise bad_request("A query option must not be given twice.", "ErrorInvalidUrlQuery")
        wishes = preferences(seen.prefer)
        if wishes.applied():
            seen.headers["Preference-Applied"] = wishes.applied()
        async with self._gate.slot(app, store):
            call = Request(
                state=self._state,
                request=request,
                app=app,
                place=self._state.url + "".join("/" + quote(each, safe=BARE) for each in seen.segments),
                options=seen.query,
                preferences=wishes,
                body=await request.read(),
                mailbox=store,
                folder_key=route.folder,
                key=route.key,
            )
            if route.waiting is not None:
                return await route.waiting(call)
            assert route.plain is not None
            with self._state.lock:
                return route.plain(call)

    async def _sign_in(self, request: web.Request, tenant: str, rest: str) -> web.Response:
        state = self._state
        if (request.method, rest) not in {("GET", token_endpoint.DISCOVERY), ("POST", token_endpoint.TOKEN)}:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        form = {name: str(value) for name, value in (await request.post()).items()}
        status = int(HTTPStatus.OK)
        with state.lock:
            try:
                token_endpoint.check_tenant(tenant, state.tenant)
                if rest == token_endpoint.DISCOVERY:
                    body = token_endpoint.discovery(f"{state.url}/{state.tenant}")
                else:
                    body = token_endpoint.grant(form, state.apps, state.tokens, state.token_lifetime)
            except TokenRequestRefused as refused:
                status, body = refused.status, refused.body
            asked = RecordedTokenRequest(rest, form.get("client_id", ""), form.get("scope", ""), status)
            state.token_requests.append(asked)
        return web.json_response(body, status=status)

    def _record(self, method: str, seen: _Seen) -> None:
        path = "/" + "/".join(seen.segments)
        request = RecordedRequest(method, path, seen.query, seen.mailbox, seen.status, seen.app, seen.prefer)
        with self._state.lock:
            self._state.requests.append(request)


def _json(status: int, body: dict[str, Any] | None, headers: dict[str, str]) -> web.Response:
    if body is None:
        return web.Response(status=status, headers=headers)
    return web.Response(status=status, body=json.dumps(body).encode(), headers={**headers, "Content-Type": JSON})


def _drop(request: web.Request) -> web.Response:
    """Drop the connection; what is returned is written nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)
