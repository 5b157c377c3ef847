"""The checks that every Graph request passes: the token, the permission and the limits of a mailbox."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from graph_simulator.access_tokens import TokenRefused
from graph_simulator.app_registrations import App
from graph_simulator.errors import access_denied, no_such_user, throttled, unauthorized, unavailable
from graph_simulator.mailbox_store import MailboxStore
from graph_simulator.routes import Route
from graph_simulator.state import State


class RequestGate:
    """The access control and throttling of requests. Runs in the simulator's event loop."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._in_progress: Counter[tuple[str, str]] = Counter()

    def authenticate(self, http_request: web.Request) -> App:
        """Return the app that sent a request.

        Raises:
            GraphError: 401: the request has no token, or one that is not valid.
        """
        state = self._state
        scheme, _, token = http_request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized("Access token is empty.", state.url)
        try:
            with state.lock:
                return state.tokens.verify(token.strip(), state.url, state.apps)
        except TokenRefused as refused:
            raise unauthorized(str(refused), state.url) from None

    def authorize(self, app: App, route: Route) -> MailboxStore | None:
        """Return the mailbox that a path names; None if it names no mailbox.

        Raises:
            GraphError: the mailbox does not exist, or the app lacks the permission.
        """
        store = None
        if route.is_directory:
            return None
        if route.user is not None:
            store = self._state.find_store(route.user)
            if store is None:
                raise no_such_user(route.user)
        with self._state.lock:
            allowed = app.may_write() if route.writes else app.may_read()
            if not allowed or (store is not None and not app.may_open(store.address)):
                raise access_denied()
        return store

    @asynccontextmanager
    async def slot(self, app: App, store: MailboxStore | None) -> AsyncIterator[None]:
        """Hold one of an app's concurrent requests to a mailbox; a path without a mailbox has no limit.

        The slot is released before the response's last byte is written. A client that has read the whole response can
        therefore send the next request.

        Raises:
            GraphError: 429 or 503, because of the limit or the fault plan.
        """
        if store is None:
            yield
            return
        state, key = self._state, (app.client_id, store.address)
        faults = state.fault_plan
        self._in_progress[key] += 1
        try:
            with state.lock:
                state.peak_concurrency = max(state.peak_concurrency, self._in_progress[key])
            if self._in_progress[key] > state.max_concurrency:
                raise throttled(1)
            if faults.latency > 0:
                await asyncio.sleep(faults.latency)
            if faults.chance(faults.throttle):
                raise throttled(faults.retry_after)
            if faults.chance(faults.unavailable):
                raise unavailable(faults.retry_after)
            yield
        finally:
            self._in_progress[key] -= 1
