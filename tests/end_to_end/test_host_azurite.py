"""The local host on Azurite's queues and blobs, with real functions on the worker engine."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

from functions_host import message_runner
from functions_host.host import Host
from functions_host.storage_retry import QueueStorageFailed
from functions_host.timer_status import CONTAINER, StatusBlobs, TimerStatus
from shared.storage.azure.accounts import StorageAccount
from shared.storage.azure.queues import AzureQueue
from shared.storage.base import Storage
from shared.storage.location import StorageLocation
from tests.end_to_end.own_process import APPS, in_own_process
from tests.end_to_end.queue_lab import QUEUES, QUICK, seen
from tests.memory_queue import storage_with_queues
from tests.servers.azurite import ACCOUNTS, Azurite


@contextmanager
def _account(connection_string: str) -> Iterator[StorageAccount]:
    account = StorageAccount(StorageLocation.parse(connection_string, setting="AzureWebJobsStorage"))
    try:
        yield account
    finally:
        account.close()


@contextmanager
def _storage(connection_string: str) -> Iterator[Storage]:
    with _account(connection_string) as account:
        yield storage_with_queues({name: AzureQueue(account, name) for name in QUEUES})


async def _with_undecodable_bodies(connection_string: str) -> tuple[list[object], dict[str, list[object]]]:
    with _storage(connection_string) as storage:
        storage.queues["work"].length()
        service = QueueServiceClient.from_connection_string(connection_string)
        for text in ("plain text", '{"a": "<1>"}', "Zm9yIHRoZSBmdW5jdGlvbg==", "/////w=="):
            service.get_queue_client("work").send_message(text)
        async with Host.started(APPS / "queues", storage, QUICK) as host:
            # The function of the poison queue would take the messages; its own trigger is tested elsewhere.
            host._queues = [queue for queue in host._queues if queue.name == "work"]
            storage.queues["work-poison"].length()
            service.delete_queue("work-poison")  # it is created again
            await host.drain()
        calls = [call["body"] for call in seen()]
        poisoned = [message.content for message in service.get_queue_client("work-poison").peek_messages(32)]
        left = [message.content for message in service.get_queue_client("work").peek_messages(32)]
        service.close()
        return calls, {"poisoned": poisoned, "left": left}


def test_bodies_that_are_not_base64_are_moved_byte_for_byte_without_a_call(azure_storage: str) -> None:
    calls, queues = in_own_process(_with_undecodable_bodies, azure_storage)
    assert calls == ["for the function"]
    assert sorted(map(str, queues["poisoned"])) == sorted(["plain text", '{"a": "<1>"}', "/////w=="])
    assert queues["left"] == []


async def _with_failing_poison_function(azurite: Azurite, connection_string: str) -> list[int]:
    with _storage(connection_string) as storage:
        storage.queues["work-poison"].put_many(["fail for good"], ttl=7 * 86400)
        try:
            async with Host.started(APPS / "queues", storage, QUICK) as host:
                for ahead in range(7):
                    azurite.set_clock(ahead=ahead * 601)
                    await host.drain()
        finally:
            azurite.set_clock(ahead=0)
        return [call["try"] for call in seen() if call["function"] == "work_poison"]


def test_a_message_of_a_poison_queue_is_tried_every_ten_minutes_without_a_limit(
    azurite: Azurite, azure_storage: str
) -> None:
    assert in_own_process(_with_failing_poison_function, azurite, azure_storage) == [1, 2, 3, 4, 5, 6, 7]


async def _renewing(connection_string: str) -> tuple[list[int], int]:
    message_runner.RENEW_EVERY = 0.3  # in this process only
    message_runner.HIDDEN_FOR = 1.0  # likewise
    with _storage(connection_string) as storage:
        storage.queues["work"].put_many(["sleep 2.5"])
        async with Host.started(APPS / "queues", storage, QUICK) as host:
            await host.drain()
        return [call["try"] for call in seen()], storage.queues["work"].length()


def test_a_renewed_message_is_run_once_and_deleted_with_its_last_receipt(azure_storage: str) -> None:
    assert in_own_process(_renewing, azure_storage) == ([1], 0)


async def _serve_denied(connection_string: str) -> tuple[float, str]:
    with _storage(connection_string) as storage:
        async with Host.started(APPS / "queues", storage, QUICK) as host:
            began = time.monotonic()
            try:
                await asyncio.wait_for(host.serve(asyncio.Event()), 60)
            except QueueStorageFailed as error:
                return time.monotonic() - began, str(error)
    return 0, "it served"


def test_a_403_ends_the_host_at_once(azurite: Azurite) -> None:
    wrong_key = azurite.connection_string(ACCOUNTS[990]).replace("AccountKey=E", "AccountKey=F")
    waited, text = in_own_process(_serve_denied, wrong_key)
    assert waited < 10
    assert text.startswith("queue ")
    assert "cannot be read: AzureWebJobsStorage: the Queue service denied access (403" in text


STATUS = TimerStatus(*(datetime(2026, 11, 23, hour, tzinfo=UTC) for hour in (12, 13, 12)))


def test_the_status_of_timers_is_a_blob_as_the_functions_host_writes_it(azure_storage: str) -> None:
    with _account(azure_storage) as account:
        statuses = StatusBlobs(account)
        assert statuses.read("tick") is None
        statuses.write("tick", STATUS)
        statuses.write("tick", STATUS)
        assert StatusBlobs(account).read("tick") == STATUS
        with BlobServiceClient.from_connection_string(azure_storage) as client:
            container = client.get_container_client(CONTAINER)
            (blob,) = container.list_blobs()
            assert blob.name == "timers/mailroom-local/tick/status"
            assert set(json.loads(container.download_blob(blob.name).readall())) == {"Last", "Next", "LastUpdated"}
            container.upload_blob(blob.name, "damaged", overwrite=True)
        assert statuses.read("tick") is None


def test_a_status_that_cannot_be_stored_is_logged(azurite: Azurite, caplog: pytest.LogCaptureFixture) -> None:
    wrong_key = azurite.connection_string(ACCOUNTS[990]).replace("AccountKey=E", "AccountKey=F")
    with _account(wrong_key) as account:
        StatusBlobs(account).write("tick", STATUS)
        assert StatusBlobs(account).read("tick") is None
    assert "timer tick: its status cannot be written: AzureWebJobsStorage: the Blob service denied" in caplog.text
    assert "timer tick: its status cannot be read" in caplog.text
