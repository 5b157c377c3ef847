"""What every request to Graph passes: the token, the permission, and the limits of a mailbox."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from graph_simulator.access_tokens import TokenRefused
from graph_simulator.app_registrations import App
from graph_simulator.errors import access_denied, no_such_user, throttled, unauthorized, unavailable
from graph_simulator.mailbox_store import Store
from graph_simulator.routes import Route
from graph_simulator.state import State


class Gate:
    """Lets requests in. Runs in the stand-in's loop."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._under_way: Counter[tuple[str, str]] = Counter()

    def app(self, request: web.Request) -> App:
        """Who asks.

        Raises:
            GraphError: 401: no token, or one that opens nothing.
        """
        state = self._state
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized("Access token is empty.", state.url)
        try:
            with state.lock:
                return state.tokens.app_of(token.strip(), state.url, state.apps)
        except TokenRefused as refused:
            raise unauthorized(str(refused), state.url) from None

    def mailbox(self, app: App, route: Route) -> Store | None:
        """The mailbox that a path names, if it names one.

        Raises:
            GraphError: there is none such, or the app may not do this there.
        """
        store = None
        if route.directory:
            return None
        if route.user is not None:
            store = self._state.store_of(route.user)
            if store is None:
                raise no_such_user(route.user)
        with self._state.lock:
            allowed = app.may_write() if route.writes else app.may_read()
            if not allowed or (store is not None and not app.may_open(store.address)):
                raise access_denied()
        return store

    @asynccontextmanager
    async def slot(self, app: App, store: Store | None) -> AsyncIterator[None]:
        """A place among the requests that an app has under way in a mailbox; without a mailbox, there is no limit.

        The place is free again before an answer's last byte is written, so that who has read all of it may ask again.

        Raises:
            GraphError: 429 or 503, by the rules or as the trouble has it.
        """
        if store is None:
            yield
            return
        state, key = self._state, (app.client_id, store.address)
        self._under_way[key] += 1
        try:
            with state.lock:
                state.most_seen_at_once = max(state.most_seen_at_once, self._under_way[key])
            if self._under_way[key] > state.most_at_once:
                raise throttled(1)
            if state.trouble.latency > 0:
                await asyncio.sleep(state.trouble.latency)
            if state.trouble.chance(state.trouble.throttle):
                raise throttled(state.trouble.retry_after)
            if state.trouble.chance(state.trouble.unavailable):
                raise unavailable(state.trouble.retry_after)
            yield
        finally:
            self._under_way[key] -= 1
