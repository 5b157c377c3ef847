"""Queues as the Functions host expects them: texts in base64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property

from azure.core.exceptions import HttpResponseError
from azure.storage.queue import QueueClient, StorageErrorCode, TextBase64DecodePolicy, TextBase64EncodePolicy

from shared.storage.azure.accounts import Account
from shared.storage.azure.errors import mapped
from shared.storage.azure.making import make_once
from shared.storage.protocol import QueueItem

FOR_GOOD = -1
"""The time to live of a message that does not die after seven days."""


class AzureQueue:
    """One queue.

    Args:
        account: where it is.
        name: its name.
    """

    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self._name = str(name)

    def put_many(self, bodies: Iterable[str], *, delay: float = 0, ttl: float | None = None) -> None:
        """Put messages, several at once."""
        alive = FOR_GOOD if ttl is None else max(1, round(ttl))

        def put(body: str) -> None:
            self._client.send_message(body, visibility_timeout=round(delay), time_to_live=alive)

        with mapped(self._account.setting):
            self._make()
            list(self._account.pool.map(put, bodies))

    def receive(self, count: int, *, hidden_for: float) -> list[QueueItem]:
        """Take visible messages and hide them."""
        with mapped(self._account.setting):
            self._make()
            pages = self._client.receive_messages(
                messages_per_page=min(count, 32), max_messages=count, visibility_timeout=max(1, round(hidden_for))
            )
            return [
                QueueItem(
                    str(one.id),
                    str(one.pop_receipt),
                    str(one.content),
                    one.dequeue_count or 1,
                    one.inserted_on or datetime.now(UTC),
                )
                for one in pages
            ]

    def delete(self, item: QueueItem) -> None:
        """Remove a received message, unless another has received it since."""
        with mapped(self._account.setting), _unless_received_since():
            self._client.delete_message(item.id, item.receipt)

    def release(self, item: QueueItem, *, delay: float = 0) -> None:
        """Make a received message visible again, unless another has received it since."""
        with mapped(self._account.setting), _unless_received_since():
            self._client.update_message(item.id, item.receipt, visibility_timeout=round(delay))

    def length(self) -> int:
        """About how many messages there are."""
        with mapped(self._account.setting):
            self._make()
            return self._client.get_queue_properties().approximate_message_count or 0

    def _make(self) -> None:
        make_once(self._account, f"queue {self._name}", self._client.create_queue)

    @cached_property
    def _client(self) -> QueueClient:
        return self._account.queues.get_queue_client(
            self._name, message_encode_policy=TextBase64EncodePolicy(), message_decode_policy=TextBase64DecodePolicy()
        )


@contextmanager
def _unless_received_since() -> Iterator[None]:
    try:
        yield
    except HttpResponseError as error:
        # The service answers 400 where the message is there with another receipt, and 404 where it is gone.
        code = getattr(error, "error_code", None)
        if code not in {StorageErrorCode.POP_RECEIPT_MISMATCH, StorageErrorCode.MESSAGE_NOT_FOUND}:
            raise
