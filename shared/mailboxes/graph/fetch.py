"""Downloads: several messages at once, each as the bytes that Graph sends, spooled to disk once it is large.

Batches come out in the order in which they went in. A large message is begun only when nothing before it is still to be
taken: it may have to wait for room on the temporary disk, which what comes before it holds until it was taken.
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
from shared.mailboxes.graph.client import AT_ONCE, GraphClient
from shared.mailboxes.graph.errors import FORBIDDEN, UNAUTHORIZED, GraphResponseError, graph_error
from shared.mailboxes.graph.refusals import NO_SUCH_MESSAGE, refusal_text
from shared.mailboxes.graph.requests import MailboxRequests
from shared.mailboxes.spool import MEMORY_LIMIT, Content, Spool

T = TypeVar("T")

OK: Final = 200

AHEAD: Final = 2
"""Batches under way besides the one that is waited for."""

LARGE: Final = MEMORY_LIMIT * 2 // 3
"""Octets of an item from which on its MIME may pass what is held in memory: base64 adds a third, headers a little."""

BROKEN: Final = 4
"""Messages that may break the connection in one session, each at all its tries, before the session is given up."""


GRACE: Final = 2.0
"""Seconds that downloads which nobody wants any more may take to end, before they are cut off."""


class Fetcher:
    """Downloads the messages of one mailbox.

    Args:
        client: the session.
        requests: about the mailbox.
        settings: the mailbox's.
    """

    def __init__(self, client: GraphClient, requests: MailboxRequests, settings: MailboxSettings) -> None:
        self._client = client
        self._requests = requests
        self._settings = settings
        # Fetches wait here, so that a removal never waits for more than those that have begun.
        self._width = asyncio.Semaphore(AT_ONCE)
        self._broken = 0
        self._asking = asyncio.Lock()
        self._may_read: bool | None = None

    def run(self, batches: Iterable[Sequence[ListedMessage]], max_bytes: int) -> Generator[Batch, None, None]:
        """See `shared.mailboxes.base.Mailbox.fetch`.

        Raises:
            MailboxError, MailboxBusy: the session cannot go on.
        """
        stopped = threading.Event()
        source = iter(batches)
        under_way: deque[list[Future[FetchResult]]] = deque()
        waiting = next(source, None)
        try:
            while waiting is not None or under_way:
                while waiting is not None and (not under_way or (len(under_way) <= AHEAD and not _is_large(waiting))):
                    under_way.append([self._client.start(self._fetched(one, max_bytes, stopped)) for one in waiting])
                    waiting = next(source, None)
                finished = [future.result() for future in under_way[0]]
                under_way.popleft()
                yield finished
        finally:
            stopped.set()
            _drop([future for batch in under_way for future in batch])

    async def _fetched(self, listed: ListedMessage, max_bytes: int, stopped: threading.Event) -> FetchResult:
        assert listed.key is not None
        try:
            async with self._width:
                if stopped.is_set():
                    raise asyncio.CancelledError
                content = await self._client.send(
                    self._requests.content(listed.key),
                    _Reader(listed, max_bytes),
                    elsewhere=self._requests.folder("inbox"),
                )
        except GraphResponseError as answer:
            if answer.is_gone:
                return FetchResult(listed, None)
            if answer.status == UNAUTHORIZED or (answer.status == FORBIDDEN and not await self._is_permitted()):
                raise graph_error(answer, self._settings, "reading a message") from answer
            told = await self._told(listed.key) if answer.is_for_good else None
            why = f"{answer.code} {answer.text}".strip() or f"HTTP {answer.status}"
            return FetchResult(listed, None, refused=why, unreadable=told)
        except httpx.HTTPError as error:
            self._broken += 1
            if self._broken > BROKEN:
                raise graph_error(error, self._settings, "reading a message") from error
            return FetchResult(listed, None, refused=f"the connection broke at it each time ({type(error).__name__})")
        except OSError as error:
            raise ConnectionLost(f"mailbox {self._settings.name}: no temporary file: {error.strerror}") from error
        return FetchResult(listed, content, oversized=content is None)

    async def _is_permitted(self) -> bool:
        """Return whether the app may read messages of this mailbox at all; asked once a session, after a 403."""
        async with self._asking:
            if self._may_read is None:
                try:
                    answer = await refusal_text(self._client, self._requests.content(NO_SUCH_MESSAGE))
                except (GraphResponseError, httpx.HTTPError):
                    return True  # not known: the next 403 asks again
                self._may_read = answer.status != FORBIDDEN
            return self._may_read

    async def _told(self, key: str) -> dict[str, object]:
        """What Graph tells of a message that it does not give out; less, if it does not tell that either."""
        try:
            item = await self._client.json(self._requests.told(key))
        except (GraphResponseError, httpx.HTTPError):
            return {}
        return {
            "subject": item.get("subject"),
            "from": _address(item.get("from")),
            "to": [_address(one) for one in item.get("toRecipients") or ()],
            "message_id": item.get("internetMessageId"),
            "received": item.get("receivedDateTime"),
        }


class _Reader:
    """Takes one message off the wire; anew at each try."""

    def __init__(self, listed: ListedMessage, max_bytes: int) -> None:
        self._listed = listed
        self._max_bytes = max_bytes

    async def __call__(self, response: httpx.Response) -> Content | None:
        """The message; None if it is larger than may be."""
        if response.status_code != OK:
            raise GraphResponseError(response.status_code, text="an answer that is no content")
        told = max(self._listed.size, int(response.headers.get("Content-Length") or 0))
        # Room on the disk may have to be waited for: not on the loop, where everything else runs.
        spool = await _in_thread(lambda: Spool(told, self._max_bytes), lambda made: made.discard())
        try:
            async for piece in response.aiter_bytes():
                if spool.size <= MEMORY_LIMIT < spool.size + len(piece):
                    await _in_thread(partial(spool.write, piece), lambda _: spool.discard())
                else:
                    spool.write(piece)
                if spool.overflowed:
                    return None
            content = spool.finish()
        except BaseException:
            spool.discard()
            raise
        if content is not None and not content.size:
            raise GraphResponseError(response.status_code, text="an answer without content")
        return content


async def _in_thread(work: Callable[[], T], undo: Callable[[T], None]) -> T:
    """Do what may block, in a thread of its own. If nobody waits for it any more, what it makes is undone."""
    made: Future[T] = Future()

    def run() -> None:
        try:
            made.set_result(work())
        except BaseException as error:  # noqa: BLE001  raised where it is waited for
            made.set_exception(error)

    threading.Thread(target=run, name="graph-spool", daemon=True).start()
    try:
        return await asyncio.shield(asyncio.wrap_future(made))
    except asyncio.CancelledError:
        made.add_done_callback(lambda done: undo(done.result()) if done.exception() is None else None)
        raise


def _is_large(batch: Sequence[ListedMessage]) -> bool:
    return any(one.size > LARGE for one in batch)


def _drop(futures: Sequence[Future[FetchResult]]) -> None:
    """Let nothing of what nobody will take stay on the disk. Those on the wire are given a moment to end well."""
    _, late = wait(futures, GRACE)
    for future in late:
        future.cancel()
    for future in futures:
        with suppress(CancelledError, MailroomError, Exception):
            content = future.result().content
            if content is not None:
                content.close()


def _address(found: Any) -> str | None:
    try:
        return str(found["emailAddress"]["address"])
    except (KeyError, TypeError):
        return None
