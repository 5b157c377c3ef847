"""Queues with base64-encoded text, as the Functions host expects them."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from azure.core.exceptions import HttpResponseError
from azure.storage.queue import QueueMessage, TextBase64EncodePolicy

from shared.storage.azure.accounts import StorageAccount
from shared.storage.azure.errors import Service, error_code
from shared.storage.azure.lazy_create import LazyResource
from shared.storage.base import BodyEncoding, QueueItem

NEVER_EXPIRES = -1
"""The time to live of a message that does not expire. The service's default is seven days."""

_STALE_RECEIPT = frozenset({"PopReceiptMismatch", "MessageNotFound"})
"""Error codes: another client received or deleted the message since."""


class AzureQueue:
    """A queue in Queue Storage.

    Args:
        account: the account that has the queue.
        name: the name of the queue.
    """

    def __init__(self, account: StorageAccount, name: str) -> None:
        # Received text is decoded here and not by the SDK: a message that is not base64 must not stop the others.
        service = account.queues()
        self._client = service.get_queue_client(str(name), message_encode_policy=TextBase64EncodePolicy())
        self._without_encoding = service.get_queue_client(str(name))
        self._queue = LazyResource(
            account.setting, Service.QUEUE, self._client.create_queue, is_emulator=account.is_emulator
        )
        self._pool = account.pool

    def put_many(self, bodies: Iterable[str], *, delay: float = 0, ttl: float | None = None) -> None:
        """Put messages, several in parallel."""
        time_to_live = NEVER_EXPIRES if ttl is None else max(1, math.ceil(ttl))

        def put(body: str) -> None:
            self._client.send_message(body, visibility_timeout=math.ceil(delay), time_to_live=time_to_live)

        with self._queue.used():
            for _ in self._pool.map(put, bodies):
                pass

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        """Return visible messages and hide them."""
        with self._queue.used():
            return [
                _to_item(message)
                for message in self._client.receive_messages(
                    messages_per_page=count, max_messages=count, visibility_timeout=max(1, math.ceil(hidden_for))
                )
            ]

    def delete(self, item: QueueItem) -> None:
        """Delete a received message, unless it has been received again since."""
        with self._queue.used():
            try:
                self._client.delete_message(item.id, item.receipt)
            except HttpResponseError as error:
                if error_code(error) not in _STALE_RECEIPT:
                    raise

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        """Make a received message visible again, unless it has been received again since."""
        with self._queue.used():
            try:
                self._client.update_message(item.id, item.receipt, visibility_timeout=math.ceil(delay))
            except HttpResponseError as error:
                if error_code(error) not in _STALE_RECEIPT:
                    raise

    def renew(self, item: QueueItem, *, hidden_for: float) -> QueueItem | None:
        """Hide a received message for longer. The service issues a new receipt."""
        with self._queue.used():
            try:
                message = self._client.update_message(
                    item.id, item.receipt, visibility_timeout=max(1, math.ceil(hidden_for))
                )
            except HttpResponseError as error:
                if error_code(error) not in _STALE_RECEIPT:
                    raise
                return None
            return replace(item, receipt=str(message.pop_receipt))

    def forward(self, item: QueueItem, *, ttl: float) -> None:
        """Put a message of another queue on this queue, byte for byte as it is there."""
        if item.encoded is None:
            self.put_many([item.body], ttl=ttl)
            return
        with self._queue.used():
            self._without_encoding.send_message(item.encoded, time_to_live=max(1, math.ceil(ttl)))

    def length(self) -> int:
        """Return the approximate number of messages."""
        with self._queue.used():
            return self._client.get_queue_properties().approximate_message_count or 0


def _to_item(message: QueueMessage) -> QueueItem:
    encoded = str(message.content or "")
    body, encoding = _decode(encoded)
    return QueueItem(
        str(message.id),
        str(message.pop_receipt),
        body,
        message.dequeue_count or 1,
        message.inserted_on or datetime.now(UTC),
        encoding,
        encoded,
    )


def _decode(encoded: str) -> tuple[str, BodyEncoding]:
    """Return a message's text, or what is on the queue if that cannot be decoded."""
    try:
        # As Convert.FromBase64String of .NET, which the Functions host uses: white space is ignored.
        data = base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError:
        return encoded, BodyEncoding.NOT_BASE64
    try:
        return data.decode("utf-8"), BodyEncoding.TEXT
    except UnicodeDecodeError:
        return encoded, BodyEncoding.NOT_UTF8
