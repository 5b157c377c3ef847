"""An authenticated HTTP session with Microsoft Graph that retries and sends at most four requests at once.

msgraph-sdk builds, authenticates and sends the requests. Its response models are not used: the first use of one loads
twelve hundred modules, which takes seconds. The SDK is asynchronous and Mailroom is not. Each session therefore runs
an event loop in a thread and closes both together, so that no client outlives its loop.

The SDK's retries are disabled. They sleep for as long as `Retry-After` says, up to three minutes at a time. Meanwhile
they hold one of the four concurrent requests that Graph allows, and ignore how much time the poll has left.
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

from shared.backoff import exponential_backoff
from shared.config import MailboxSettings
from shared.errors import AuthenticationError, ConnectionLost, MailboxBusy, ServiceUnavailable
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.errors import (
    BUSY,
    NOT_IMPLEMENTED,
    SERVER_ERRORS,
    TOO_MANY_REQUESTS,
    UNAUTHORIZED,
    GraphResponseError,
    graph_error,
)
from shared.mailboxes.graph.event_loop import LoopThread
from shared.mailboxes.oauth.token_cache import TokenCache
from shared.mailboxes.tls import forget_peer

# httpx logs the full URL of every request at INFO, the level at which a Functions worker logs.
logging.getLogger("httpx").setLevel(logging.WARNING)

T = TypeVar("T")
Build = Callable[[], RequestInformation]
Read = Callable[[httpx.Response], Awaitable[T]]

MAX_CONCURRENT: Final = 4
"""Concurrent requests that Graph allows an app per mailbox (Graph: service-specific throttling limits, Outlook)."""

TIMEOUT: Final = httpx.Timeout(60.0, connect=30.0)
"""Seconds without any data, and seconds for connecting."""

MAX_ATTEMPTS: Final = 3
"""Attempts at a request after broken connections and server errors."""

MAX_BUSY_RESPONSES: Final = 5
"""Busy responses that a request accepts while other requests of the session succeed; then it fails by itself."""

MIN_BACKOFF, MAX_BACKOFF = 1.0, 30.0
"""Seconds between two attempts where Graph sends no `Retry-After`; doubled from the first value to the second."""

TOKEN_REUSE: Final = 60.0
"""Seconds for which a token is used without asking MSAL. MSAL caches it for longer and renews it in time."""


class GraphClient:
    """A session with Graph that uses one mailbox's credentials.

    Args:
        settings: the mailbox, with its credentials and CA_FILE.
        tokens: issues access tokens.
        endpoint: Graph's endpoint.
        patience: seconds from now after which the session no longer waits before a retry.

    Attributes:
        adapter: the SDK's adapter, for its request builders.
        requests: requests sent so far.

    Raises:
        ConfigurationError: `CA_FILE` cannot be read.
    """

    def __init__(
        self, settings: MailboxSettings, tokens: TokenCache, endpoint: GraphEndpoint, *, patience: float
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._token: tuple[str, float] | None = None
        self._origin = _origin(endpoint.url)
        self._deadline = time.monotonic() + patience
        self._not_before = 0.0
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._renewal_lock = asyncio.Lock()
        self._renewals = 0
        self._successes = 0
        self.requests = 0
        plain = httpx.AsyncClient(
            verify=endpoint.tls_contexts.for_settings(settings), timeout=TIMEOUT, follow_redirects=False
        )
        # Closed by `close`: the SDK's wrappers do not pass a close on. `_mounts` holds the environment's proxies.
        transports = [plain._transport, *plain._mounts.values()]  # noqa: SLF001
        self._transports = [transport for transport in transports if transport is not None]
        self._http = GraphClientFactory.create_with_default_middleware(
            client=plain,
            options={
                RetryHandlerOption.get_key(): RetryHandlerOption(delay=0, max_retries=0, should_retry=False),
                RedirectHandlerOption.get_key(): RedirectHandlerOption(should_redirect=False),
            },
        )
        self.adapter = GraphRequestAdapter(BaseBearerTokenAuthenticationProvider(_BearerTokens(self)), self._http)
        self.adapter.base_url = endpoint.url
        self._thread = LoopThread(f"graph-{settings.name}")

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Schedule a coroutine on the session's loop."""
        return self._thread.start(work)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the session's loop and return its result."""
        return self.start(work).result()

    async def json(self, build: Build, *, idempotent: bool = True, may_shrink: bool = False) -> dict[str, Any]:
        """Send a request and return the response as JSON; `{}` if the response has no body.

        Args:
            build: makes the request; called again for each attempt.
            idempotent: whether the request may be sent again after a broken connection.
            may_shrink: whether the caller will ask for less. A server error or a read timeout is then raised at once.

        Raises:
            GraphResponseError: Graph refused the request.
            MailboxBusy: Graph asked to wait longer than the session may.
            httpx.HTTPError: the connection broke, or could not be made.
        """

        async def read(response: httpx.Response) -> dict[str, Any]:
            await response.aread()
            if not response.content:
                return {}
            body = json.loads(response.content)
            if not isinstance(body, dict):
                raise TypeError("the response is not a JSON object")
            return body

        return await self.send(build, read, idempotent=idempotent, may_shrink=may_shrink)

    async def send(
        self,
        build: Build,
        read: Read[T],
        *,
        idempotent: bool = True,
        may_shrink: bool = False,
        probe: Build | None = None,
    ) -> T:
        """Send a request and return what `read` makes of the streamed response; see `json`.

        Args:
            build: makes the request.
            read: reads the response.
            idempotent: as for `json`.
            may_shrink: as for `json`.
            probe: makes a small request to the same mailbox. If the probe succeeds while `build` still gets busy
                responses, only this request is affected, and its refusal is raised.
        """
        attempts = _Attempts(idempotent, may_shrink, probe, self._successes)
        while True:
            attempts.renewals = self._renewals
            try:
                return await self._send_once(build, read)
            except GraphResponseError as error:
                await self._handle_refusal(error, attempts)
            except httpx.ConnectError as error:
                # Translated here: the peer's certificate is only available in this task.
                raise graph_error(error, self._settings, "connecting") from error
            except httpx.TransportError as error:
                if may_shrink and isinstance(error, httpx.ReadTimeout):
                    raise
                await self._handle_failure(error, attempts)

    async def _handle_refusal(self, error: GraphResponseError, attempts: _Attempts) -> None:
        """Prepare the next attempt after an error response, waiting included; or raise the error."""
        if error.status == UNAUTHORIZED and not attempts.renewed:
            attempts.renewed = True
            await self._renew_token(attempts.renewals)
        elif attempts.may_shrink and error.suggests_smaller_request:
            raise error
        elif error.has_retry_after or error.status == TOO_MANY_REQUESTS:
            attempts.busy_responses += 1
            delay = _delay(error.retry_after, attempts.busy_responses)
            exhausted = attempts.busy_responses > MAX_BUSY_RESPONSES
            if exhausted and self._successes > attempts.successes_before:
                raise error  # other requests succeed meanwhile, so the mailbox is not throttled
            if (exhausted or self._is_past_deadline(delay)) and await self._probe_succeeds(attempts.probe, error):
                raise error
            await self._sleep(delay, error)
        elif error.status < SERVER_ERRORS or error.is_permanent or error.status == NOT_IMPLEMENTED:
            raise error
        else:
            await self._handle_failure(error, attempts)

    async def _handle_failure(self, error: GraphResponseError | httpx.TransportError, attempts: _Attempts) -> None:
        """Wait before the next attempt after a failure that may pass; raise the failure if none is left."""
        if not attempts.idempotent or attempts.failures + 1 >= MAX_ATTEMPTS:
            raise error
        await self._sleep(_delay(None, attempts.failures), error)
        attempts.failures += 1

    async def _probe_succeeds(self, probe: Build | None, error: GraphResponseError) -> bool:
        """Return whether the mailbox answers another request now; False for 429, which covers all requests."""
        if probe is None or error.status == TOO_MANY_REQUESTS:
            return False

        async def ignore(_response: httpx.Response) -> None:
            return None

        try:
            await self._send_once(probe, ignore)
        except (GraphResponseError, httpx.TransportError):
            return False
        return True

    def has_endpoint_origin(self, link: str) -> bool:
        """Return whether a link has the endpoint's origin."""
        return _origin(link) == self._origin

    def check_origin(self, link: str) -> str:
        """Return a link from a Graph response unchanged.

        Raises:
            ConnectionLost: the link has another origin.
        """
        if not self.has_endpoint_origin(link):
            raise ConnectionLost(f"mailbox {self._settings.name}: Microsoft Graph sent a link to another server")
        return link

    def close(self) -> None:
        """Cancel the requests in progress and disconnect. Never raises."""

        async def disconnect() -> None:
            await self._http.aclose()
            for transport in self._transports:
                await transport.aclose()

        self._thread.close(disconnect)

    async def access_token(self, url: str) -> str:
        """Return a valid token for a request to Graph's endpoint.

        Raises:
            ConnectionLost: `url` has another origin, and must not receive a token.
        """
        self.check_origin(url)
        if self._token is None or time.monotonic() > self._token[1]:
            try:
                token = await asyncio.to_thread(self._tokens.token, self._settings)
            except ServiceUnavailable as error:
                # The same translation as when a session is opened (`open_mailbox`).
                raise MailboxBusy(str(error), retry_after=error.retry_after) from error
            self._token = token, time.monotonic() + TOKEN_REUSE
        return self._token[0]

    async def _acquire_slot(self) -> None:
        """Acquire a request slot once no `Retry-After` applies, even if Graph sent it while this task waited."""
        while True:
            await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
            await self._slots.acquire()
            if self._not_before <= time.monotonic():
                return
            self._slots.release()

    async def _send_once(self, build: Build, read: Read[T]) -> T:
        await self._acquire_slot()
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
                    raise GraphResponseError.from_response(response)
                result = await read(response)
                self._successes += 1
                return result
            finally:
                await response.aclose()
        finally:
            self._slots.release()

    def _is_past_deadline(self, delay: float) -> bool:
        return time.monotonic() + delay > self._deadline

    async def _sleep(self, delay: float, cause: GraphResponseError | httpx.TransportError) -> None:
        """Wait before the next attempt. A `Retry-After` delays all requests of the session.

        Raises:
            MailboxBusy: the wait would pass the deadline, and Graph answered that it is busy.
            GraphResponseError, httpx.TransportError: the wait would pass the deadline after another failure.
        """
        if self._is_past_deadline(delay):
            if isinstance(cause, GraphResponseError) and cause.status in BUSY:
                raise MailboxBusy(
                    f"mailbox {self._settings.name}: Microsoft Graph asks to come back later "
                    f"({cause.code or f'HTTP {cause.status}'})",
                    retry_after=cause.retry_after,
                )
            raise cause
        if isinstance(cause, GraphResponseError) and cause.retry_after is not None:
            self._not_before = max(self._not_before, time.monotonic() + delay)
        await asyncio.sleep(delay)

    async def _renew_token(self, renewals_before: int) -> None:
        """Replace a refused token, if it was not issued just now.

        Args:
            renewals_before: `_renewals` when the refused token was used. Another request may have renewed it since.

        Raises:
            AuthenticationError: the refused token was issued just now.
        """
        async with self._renewal_lock:
            if self._renewals != renewals_before:
                return
            refused, self._token = self._token, None
            if not await asyncio.to_thread(self._tokens.forget, self._settings, refused[0] if refused else None):
                raise AuthenticationError(
                    f"mailbox {self._settings.name}: Microsoft Graph refuses a token that was issued just now; check "
                    "SIGN_IN_AUTHORITY, GRAPH_ENDPOINT and the app registration"
                )
            self._renewals += 1


@dataclass(slots=True)
class _Attempts:
    """The state of one request between its attempts.

    Attributes:
        idempotent: as for `GraphClient.json`.
        may_shrink: as for `GraphClient.json`.
        probe: as for `GraphClient.send`.
        successes_before: the session's successful requests when this one began.
        renewals: the session's token renewals before the latest attempt.
        renewed: whether this request has had the token renewed.
        failures: broken connections and server errors.
        busy_responses: responses that asked to wait.
    """

    idempotent: bool
    may_shrink: bool
    probe: Build | None
    successes_before: int
    renewals: int = 0
    renewed: bool = False
    failures: int = 0
    busy_responses: int = 0


class _BearerTokens(AccessTokenProvider):
    """The source of the SDK's bearer tokens."""

    def __init__(self, client: GraphClient) -> None:
        self._client = client

    async def get_authorization_token(
        self, uri: str, additional_authentication_context: dict[str, Any] | None = None
    ) -> str:
        del additional_authentication_context
        return await self._client.access_token(uri)

    def get_allowed_hosts_validator(self) -> AllowedHostsValidator:
        return AllowedHostsValidator([str(urlsplit(self._client.adapter.base_url).hostname)])


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", "", None
    return parts.scheme, parts.hostname or "", port or (443 if parts.scheme == "https" else None)


def _delay(retry_after: float | None, failures: int) -> float:
    return retry_after or exponential_backoff(MIN_BACKOFF, MAX_BACKOFF, failures)
