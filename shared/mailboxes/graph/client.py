"""The way to Microsoft Graph: one session's connection, signed in, patient and four requests wide.

msgraph-sdk builds the requests, signs them in and carries them; its models are left alone, since the first use of one
loads twelve hundred modules, which takes seconds. The SDK is asynchronous and we are not: its loop runs in a thread of
its own for as long as the session lives, and dies with it, so that no client ever outlives its loop.

The SDK's own retries are switched off: they sleep as long as a Retry-After says, up to three minutes at a time, while
they keep one of the four places that Graph gives an app at a mailbox, and know nothing of the time that a poll has.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx
from kiota_abstractions.authentication import (
    AccessTokenProvider,
    AllowedHostsValidator,
    BaseBearerTokenAuthenticationProvider,
)
from kiota_abstractions.request_information import RequestInformation
from kiota_http.middleware.options import RedirectHandlerOption, RetryHandlerOption
from msgraph.graph_request_adapter import GraphRequestAdapter
from msgraph_core import GraphClientFactory

from shared.config import MailboxSettings
from shared.errors import AuthenticationError, ConnectionLost, MailboxBusy, ServiceUnavailable
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.errors import (
    BUSY,
    NOT_IMPLEMENTED,
    SERVER_FAULTS,
    TOO_MANY,
    UNAUTHORIZED,
    GraphResponseError,
    graph_error,
)
from shared.mailboxes.graph.event_loop import LoopThread
from shared.mailboxes.oauth.token_cache import TokenCache
from shared.mailboxes.tls import forget_peer

# It tells every request with its whole address at INFO, which is what a worker logs.
logging.getLogger("httpx").setLevel(logging.WARNING)

T = TypeVar("T")
Build = Callable[[], RequestInformation]
Read = Callable[[httpx.Response], Awaitable[T]]

AT_ONCE: Final = 4
"""Requests in flight that Graph allows an app at a mailbox (Graph: service-specific throttling limits, Outlook)."""

TIMEOUT: Final = httpx.Timeout(60.0, connect=30.0)
"""Seconds for any silence, and for the connection."""

TRIES: Final = 3
"""How often a request is made whose connection broke, or that the server failed at."""

MOST_WAITS: Final = 5
"""How often a request waits out a "not now", as long as others are answered: then it is the request's own trouble."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds between two tries where Graph does not say; doubled from the first to the longest."""

TOKEN_KEPT: Final = 60.0
"""Seconds that a token is used without asking MSAL, which keeps it longer and renews it in time."""


class GraphClient:
    """A session with Graph, for one mailbox's sign-in.

    Args:
        settings: the mailbox's: whose sign-in, and which CA_FILE.
        tokens: where access tokens come from.
        way: to Graph.
        patience: seconds from now after which nothing is waited for any more.

    Attributes:
        adapter: the SDK's, for its request builders.
        requests: how many were made.

    Raises:
        ConfigurationError: `CA_FILE` cannot be read.
    """

    def __init__(self, settings: MailboxSettings, tokens: TokenCache, way: GraphEndpoint, *, patience: float) -> None:
        self._settings = settings
        self._tokens = tokens
        self._token: tuple[str, float] | None = None
        self._origin = _origin(way.endpoint)
        self._until = time.monotonic() + patience
        self._not_before = 0.0
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._renewing = asyncio.Lock()
        self._renewals = 0
        self._answered = 0
        self.requests = 0
        plain = httpx.AsyncClient(verify=way.trusts.for_settings(settings), timeout=TIMEOUT, follow_redirects=False)
        # Closed by us: what the SDK wraps around them does not hand a close on.
        ways = [plain._transport, *plain._mounts.values()]  # noqa: SLF001  made from the environment's proxies, too
        self._transports = [one for one in ways if one is not None]
        self._http = GraphClientFactory.create_with_default_middleware(
            client=plain,
            options={
                RetryHandlerOption.get_key(): RetryHandlerOption(delay=0, max_retries=0, should_retry=False),
                RedirectHandlerOption.get_key(): RedirectHandlerOption(should_redirect=False),
            },
        )
        self.adapter = GraphRequestAdapter(BaseBearerTokenAuthenticationProvider(_Bearer(self)), self._http)
        self.adapter.base_url = way.endpoint
        self._thread = LoopThread(f"graph-{settings.name}")

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Let a coroutine run on the session's loop."""
        return self._thread.start(work)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the session's loop to its end."""
        return self.start(work).result()

    async def json(self, build: Build, *, idempotent: bool = True, may_shrink: bool = False) -> dict[str, Any]:
        """What Graph answers, as JSON; empty where it has nothing to say.

        Args:
            build: makes the request; called anew for each try.
            idempotent: to ask twice is the same as once, so that a broken connection is no reason to give up.
            may_shrink: the caller will ask for less. A server error, or no answer in time, is raised at once.

        Raises:
            Answered: Graph refused.
            MailboxBusy: it asked to wait longer than patience lasts.
            httpx.HTTPError: the connection broke, or there is none.
        """

        async def read(response: httpx.Response) -> dict[str, Any]:
            await response.aread()
            if not response.content:
                return {}
            answer = json.loads(response.content)
            if not isinstance(answer, dict):
                raise TypeError("an answer that is no object")
            return answer

        return await self.send(build, read, idempotent=idempotent, may_shrink=may_shrink)

    async def send(
        self,
        build: Build,
        read: Read[T],
        *,
        idempotent: bool = True,
        may_shrink: bool = False,
        elsewhere: Build | None = None,
    ) -> T:
        """Send a request, and let `read` take the answer as it comes off the wire; see `json`.

        Args:
            build: makes the request.
            read: takes the answer.
            idempotent: as for `json`.
            may_shrink: as for `json`.
            elsewhere: makes a small request to the same mailbox. If the mailbox answers it while `build` is still asked
                to wait, the trouble is the request's own, and the answer is raised.
        """
        tries = _Tries(idempotent, may_shrink, elsewhere, self._answered)
        while True:
            tries.renewals = self._renewals
            try:
                return await self._once(build, read)
            except GraphResponseError as answer:
                await self._after(answer, tries)
            except httpx.ConnectError as error:
                # Here, where the certificate that was refused can still be told of.
                raise graph_error(error, self._settings, "connecting") from error
            except httpx.TransportError as error:
                if may_shrink and isinstance(error, httpx.ReadTimeout):
                    raise
                await self._after_failure(error, tries)

    async def _after(self, answer: GraphResponseError, tries: _Tries) -> None:
        """After a refusal, do what must be done before the next try, waiting included; or raise the refusal."""
        if answer.status == UNAUTHORIZED and not tries.renewed:
            tries.renewed = True
            await self._renew(tries.renewals)
        elif tries.may_shrink and answer.is_too_much:
            raise answer
        elif answer.says_when or answer.status == TOO_MANY:
            tries.waits += 1
            pause = _pause(answer.retry_after, tries.waits)
            often = tries.waits > MOST_WAITS
            if often and self._answered > tries.others:
                raise answer  # others are answered meanwhile: it is not the mailbox that is asked too much
            if (often or self._is_too_late(pause)) and await self._answers(tries.elsewhere, answer):
                raise answer
            await self._wait(pause, answer)
        elif answer.status < SERVER_FAULTS or answer.is_for_good or answer.status == NOT_IMPLEMENTED:
            raise answer
        else:
            await self._after_failure(answer, tries)

    async def _after_failure(self, error: GraphResponseError | httpx.TransportError, tries: _Tries) -> None:
        """After a failure that may pass, wait before the next try; or raise it, if there is none."""
        if not tries.idempotent or tries.failures + 1 >= TRIES:
            raise error
        await self._wait(_pause(None, tries.failures), error)
        tries.failures += 1

    async def _answers(self, elsewhere: Build | None, answer: GraphResponseError) -> bool:
        """Return whether the mailbox answers another request now. 429 is about the app and all its requests."""
        if elsewhere is None or answer.status == TOO_MANY:
            return False

        async def read(_response: httpx.Response) -> None:
            return None

        try:
            await self._once(elsewhere, read)
        except (GraphResponseError, httpx.TransportError):
            return False
        return True

    def is_own(self, link: str) -> bool:
        """Whether a link leads to the endpoint's own origin."""
        return _origin(link) == self._origin

    def check_origin(self, link: str) -> str:
        """A link of Graph's own, as it is.

        Raises:
            ConnectionLost: it leads somewhere else.
        """
        if not self.is_own(link):
            raise ConnectionLost(f"mailbox {self._settings.name}: Microsoft Graph gave a link that leads elsewhere")
        return link

    def close(self) -> None:
        """End what is under way, and disconnect. Never raises."""

        async def disconnect() -> None:
            await self._http.aclose()
            for transport in self._transports:
                await transport.aclose()

        self._thread.close(disconnect)

    async def token_for(self, url: str) -> str:
        """A token that is good now, for a request to Graph and nobody else."""
        self.check_origin(url)
        if self._token is None or time.monotonic() > self._token[1]:
            try:
                token = await asyncio.to_thread(self._tokens.token, self._settings)
            except ServiceUnavailable as error:
                # As at the session's beginning (`open_mailbox`).
                raise MailboxBusy(str(error), retry_after=error.retry_after) from error
            self._token = token, time.monotonic() + TOKEN_KEPT
        return self._token[0]

    async def _slot(self) -> None:
        """Wait for one of the places, and for the end of a pause that Graph asked for, be it while we waited."""
        while True:
            await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
            await self._slots.acquire()
            if self._not_before <= time.monotonic():
                return
            self._slots.release()

    async def _once(self, build: Build, read: Read[T]) -> T:
        await self._slot()
        try:
            forget_peer()
            info = build()
            self.adapter.set_base_url_for_request_information(info)
            request = await self.adapter.convert_to_native_async(info)
            self.requests += 1
            response = await self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    raise GraphResponseError.from_error(response)
                found = await read(response)
                self._answered += 1
                return found
            finally:
                await response.aclose()
        finally:
            self._slots.release()

    def _is_too_late(self, pause: float) -> bool:
        return time.monotonic() + pause > self._until

    async def _wait(self, pause: float, why: GraphResponseError | httpx.TransportError) -> None:
        """Wait before another try, with all others of this session if Graph asked for it."""
        if self._is_too_late(pause):
            if isinstance(why, GraphResponseError) and why.status in BUSY:
                raise MailboxBusy(
                    f"mailbox {self._settings.name}: Microsoft Graph asks to come back later "
                    f"({why.code or f'HTTP {why.status}'})",
                    retry_after=why.retry_after,
                )
            raise why
        if isinstance(why, GraphResponseError) and why.retry_after is not None:
            self._not_before = max(self._not_before, time.monotonic() + pause)
        await asyncio.sleep(pause)

    async def _renew(self, before: int) -> None:
        """After a refused token: another one, if the refused one was old enough for that to help.

        Args:
            before: `_renewals` as it was when the refused one was used: another request may have renewed it since.
        """
        async with self._renewing:
            if self._renewals != before:
                return
            refused, self._token = self._token, None
            if not await asyncio.to_thread(self._tokens.forget, self._settings, refused[0] if refused else None):
                raise AuthenticationError(
                    f"mailbox {self._settings.name}: Microsoft Graph refuses a token that was issued just now; look at "
                    "SIGN_IN_AUTHORITY, GRAPH_ENDPOINT, and the app registration"
                )
            self._renewals += 1


@dataclass(slots=True)
class _Tries:
    """The tries of one request so far.

    Attributes:
        idempotent: as for `GraphClient.json`.
        may_shrink: as for `GraphClient.json`.
        elsewhere: as for `GraphClient.send`.
        others: how many requests of the session had been answered when this one began.
        renewals: how often the session's token had been renewed before the latest try.
        renewed: whether this request has had the token renewed.
        failures: broken connections and server errors.
        waits: answers that asked to wait.
    """

    idempotent: bool
    may_shrink: bool
    elsewhere: Build | None
    others: int
    renewals: int = 0
    renewed: bool = False
    failures: int = 0
    waits: int = 0


class _Bearer(AccessTokenProvider):
    """Hands tokens to the SDK."""

    def __init__(self, client: GraphClient) -> None:
        self._client = client

    async def get_authorization_token(
        self, uri: str, additional_authentication_context: dict[str, Any] | None = None
    ) -> str:
        del additional_authentication_context
        return await self._client.token_for(uri)

    def get_allowed_hosts_validator(self) -> AllowedHostsValidator:
        return AllowedHostsValidator([str(urlsplit(self._client.adapter.base_url).hostname)])


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", "", None
    return parts.scheme, parts.hostname or "", port or (443 if parts.scheme == "https" else None)


def _pause(told: float | None, failures: int) -> float:
    own = min(FIRST_WAIT * 2.0**failures, LONGEST_WAIT)
    return told or own
