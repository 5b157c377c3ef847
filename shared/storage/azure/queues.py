"""Queues as the Functions host expects them: texts in base64."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

from azure.core.exceptions import HttpResponseError
from azure.storage.queue import QueueMessage, TextBase64EncodePolicy

from shared.storage.azure.accounts import StorageAccount
from shared.storage.azure.errors import Service, code_of
from shared.storage.azure.lazy_create import LazyResource
from shared.storage.base import QueueItem

FOR_GOOD = -1
"""The time to live of a message that does not die after seven days."""

_RECEIVED_SINCE = frozenset({"PopReceiptMismatch", "MessageNotFound"})
"""Refusals that say that a message was received, or removed, by another since."""


class AzureQueue:
    """One queue.

    Args:
        account: where it is.
        name: its name.
    """

    def __init__(self, account: StorageAccount, name: str) -> None:
        # What is received is decoded here: one message that is no base64 must not stop the others.
        self._client = account.queues().get_queue_client(str(name), message_encode_policy=TextBase64EncodePolicy())
        self._queue = LazyResource(account.setting, Service.QUEUE, self._client.create_queue)
        self._pool = account.pool

    def put_many(self, bodies: Iterable[str], *, delay: float = 0, ttl: float | None = None) -> None:
        """Put messages, several at once."""
        alive = FOR_GOOD if ttl is None else max(1, math.ceil(ttl))

        def put(body: str) -> None:
            self._client.send_message(body, visibility_timeout=math.ceil(delay), time_to_live=alive)

        with self._queue.used():
            for _ in self._pool.map(put, bodies):
                pass

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        """Take visible messages and hide them."""
        with self._queue.used():
            return [
                _item(one)
                for one in self._client.receive_messages(
                    messages_per_page=count, max_messages=count, visibility_timeout=max(1, math.ceil(hidden_for))
                )
            ]

    def delete(self, item: QueueItem) -> None:
        """Remove a received message, unless another has received it since."""
        with self._queue.used():
            try:
                self._client.delete_message(item.id, item.receipt)
            except HttpResponseError as error:
                if code_of(error) not in _RECEIVED_SINCE:
                    raise

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        """Make a received message visible again, unless another has received it since."""
        with self._queue.used():
            try:
                self._client.update_message(item.id, item.receipt, visibility_timeout=math.ceil(delay))
            except HttpResponseError as error:
                if code_of(error) not in _RECEIVED_SINCE:
                    raise

    def length(self) -> int:
        """About how many messages there are."""
        with self._queue.used():
            return self._client.get_queue_properties().approximate_message_count or 0


def _item(one: QueueMessage) -> QueueItem:
    text = str(one.content)
    with suppress(ValueError):  # put by hand: its reader says what is wrong with it
        text = base64.b64decode(text, validate=True).decode("utf-8")
    return QueueItem(
        str(one.id), str(one.pop_receipt), text, one.dequeue_count or 1, one.inserted_on or datetime.now(UTC)
    )
