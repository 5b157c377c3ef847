"""Parallel downloads of messages as MIME, spooled to disk when they are large.

Batches are returned in the order in which they were requested. The download of a large message starts only when every
earlier batch was consumed: it may have to wait for disk space that earlier messages hold.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import httpx

from shared.config import MailboxSettings
from shared.errors import ConnectionLost, MailroomError
from shared.mailboxes.base import Batch, FetchResult, ListedMessage
from shared.mailboxes.graph.client import MAX_CONCURRENT, GraphClient
from shared.mailboxes.graph.errors import FORBIDDEN, UNAUTHORIZED, GraphResponseError, graph_error
from shared.mailboxes.graph.refusals import NO_SUCH_MESSAGE, request_refusal
from shared.mailboxes.graph.requests import MailboxRequests
from shared.mailboxes.spool import MEMORY_LIMIT, Content, Spool

T = TypeVar("T")

OK: Final = 200

BATCHES_AHEAD: Final = 2
"""Batches downloaded ahead of the batch that the caller waits for."""

LARGE: Final = MEMORY_LIMIT * 2 // 3
"""Item size in bytes above which the MIME may not fit in memory: base64 adds a third, headers add a little."""

MAX_BROKEN: Final = 4
"""Messages whose download may break the connection on every attempt before the session fails."""

GRACE: Final = 2.0
"""Seconds that abandoned downloads may take to finish before they are cancelled."""


class Fetcher:
    """Downloads the messages of one mailbox.

    Args:
        client: the session.
        requests: the mailbox's request builders.
        settings: the mailbox's settings.
    """

    def __init__(self, client: GraphClient, requests: MailboxRequests, settings: MailboxSettings) -> None:
        self._client = client
        self._requests = requests
        self._settings = settings
        # Downloads queue here and not in the client, so that a removal waits only for downloads that have started.
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._broken = 0
        self._permission_lock = asyncio.Lock()
        self._may_read: bool | None = None

    def run(self, batches: Iterable[Sequence[ListedMessage]], max_bytes: int) -> Generator[Batch, None, None]:
        """Download batches; see `shared.mailboxes.base.Mailbox.fetch`.

        Raises:
            MailboxError, MailboxBusy: the session cannot go on.
        """
        stopped = threading.Event()
        source = iter(batches)
        in_progress: deque[list[Future[FetchResult]]] = deque()
        batch = next(source, None)
        try:
            while batch is not None or in_progress:
                while batch is not None and (
                    not in_progress or (len(in_progress) <= BATCHES_AHEAD and not _is_large(batch))
                ):
                    in_progress.append(
                        [self._client.start(self._fetch(listed, max_bytes, stopped)) for listed in batch]
                    )
                    batch = next(source, None)
                finished = [future.result() for future in in_progress[0]]
                in_progress.popleft()
                yield finished
        finally:
            stopped.set()
            _discard([future for futures in in_progress for future in futures])

    async def _fetch(self, listed: ListedMessage, max_bytes: int, stopped: threading.Event) -> FetchResult:
        assert listed.key is not None
        try:
            async with self._slots:
                if stopped.is_set():
                    raise asyncio.CancelledError
                content = await self._client.send(
                    self._requests.content(listed.key),
                    _ContentReader(listed, max_bytes),
                    probe=self._requests.folder("inbox"),
                )
        except GraphResponseError as error:
            if error.is_gone:
                return FetchResult(listed, None)
            if error.status == UNAUTHORIZED or (error.status == FORBIDDEN and not await self._is_permitted()):
                raise graph_error(error, self._settings, "reading a message") from error
            properties = await self._properties(listed.key) if error.is_permanent else None
            reason = f"{error.code} {error.text}".strip() or f"HTTP {error.status}"
            return FetchResult(listed, None, refused=reason, unreadable=properties)
        except httpx.HTTPError as error:
            self._broken += 1
            if self._broken > MAX_BROKEN:
                raise graph_error(error, self._settings, "reading a message") from error
            return FetchResult(listed, None, refused=f"the connection broke on every attempt ({type(error).__name__})")
        except OSError as error:
            raise ConnectionLost(
                f"mailbox {self._settings.name}: a temporary file cannot be written: {error.strerror}"
            ) from error
        return FetchResult(listed, content, oversized=content is None)

    async def _is_permitted(self) -> bool:
        """Return whether the app may read messages of this mailbox; asked once per session, after a 403."""
        async with self._permission_lock:
            if self._may_read is None:
                try:
                    refusal = await request_refusal(self._client, self._requests.content(NO_SUCH_MESSAGE))
                except (GraphResponseError, httpx.HTTPError):
                    return True  # unknown: the next 403 asks again
                self._may_read = refusal.status != FORBIDDEN
            return self._may_read

    async def _properties(self, key: str) -> dict[str, object]:
        """Return the properties of a message whose content Graph refuses; empty if it refuses these as well."""
        try:
            item = await self._client.json(self._requests.properties(key))
        except (GraphResponseError, httpx.HTTPError):
            return {}
        return {
            "subject": item.get("subject"),
            "from": _address(item.get("from")),
            "to": [_address(recipient) for recipient in item.get("toRecipients") or ()],
            "message_id": item.get("internetMessageId"),
            "received": item.get("receivedDateTime"),
        }


class _ContentReader:
    """Reads one message's content from a response. Each attempt starts with an empty spool."""

    def __init__(self, listed: ListedMessage, max_bytes: int) -> None:
        self._listed = listed
        self._max_bytes = max_bytes

    async def __call__(self, response: httpx.Response) -> Content | None:
        """Return the content; None if it is larger than `max_bytes`."""
        if response.status_code != OK:
            raise GraphResponseError(response.status_code, text="the response is not a message's content")
        expected = max(self._listed.size, int(response.headers.get("Content-Length") or 0))
        # Waiting for disk space must not block the event loop.
        spool = await _in_thread(lambda: Spool(expected, self._max_bytes), lambda created: created.discard())
        try:
            async for chunk in response.aiter_bytes():
                if spool.size <= MEMORY_LIMIT < spool.size + len(chunk):
                    await _in_thread(partial(spool.write, chunk), lambda _: spool.discard())
                else:
                    spool.write(chunk)
                if spool.overflowed:
                    return None
            content = spool.finish()
        except BaseException:
            spool.discard()
            raise
        if content is not None and not content.size:
            raise GraphResponseError(response.status_code, text="the response has no content")
        return content


async def _in_thread(work: Callable[[], T], undo: Callable[[T], None]) -> T:
    """Run a blocking call in a thread of its own. If the caller is cancelled, `undo` receives the result."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001  raised again in the caller
            outcome.set_exception(error)

    threading.Thread(target=run, name="graph-spool", daemon=True).start()
    try:
        return await asyncio.shield(asyncio.wrap_future(outcome))
    except asyncio.CancelledError:
        outcome.add_done_callback(lambda done: undo(done.result()) if done.exception() is None else None)
        raise


def _is_large(batch: Sequence[ListedMessage]) -> bool:
    return any(listed.size > LARGE for listed in batch)


def _discard(futures: Sequence[Future[FetchResult]]) -> None:
    """Remove the temporary files of abandoned downloads, which get `GRACE` seconds to finish."""
    _, late = wait(futures, GRACE)
    for future in late:
        future.cancel()
    for future in futures:
        with suppress(CancelledError, MailroomError, Exception):
            content = future.result().content
            if content is not None:
                content.close()


def _address(recipient: Any) -> str | None:
    try:
        return str(recipient["emailAddress"]["address"])
    except (KeyError, TypeError):
        return None
