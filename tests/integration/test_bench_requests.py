"""The benchmark's comparison with bare SDK clients sends as many requests of each kind as the app sent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bench.storage_requests import Replay, Request, RequestLog, read
from shared.storage.base import QueueName, Table
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation


def test_the_replay_sends_the_logged_requests(azure_storage: str, tmp_path: Path) -> None:
    log = RequestLog(azure_storage)
    with log.logging():
        location = StorageLocation.parse(azure_storage, setting="TEST_STORAGE")
        storage = open_storage(location, location, "mail")
        storage.blobs.create("a/b", b"x" * 1000, content_type="text/plain")
        assert storage.blobs.read("a/b") == b"x" * 1000
        assert storage.blobs.exists("a/b")
        keys = [f"{number:02x}" for number in range(5)]
        storage.records.create_many(Table.RECEIPTS, {key: {"name": "value"} for key in keys})
        storage.records.merge_many(Table.RECEIPTS, {key: {"more": 1} for key in keys[:3]})
        assert len(storage.records.get_many(Table.RECEIPTS, keys)) == 5
        storage.records.delete_many(Table.RECEIPTS, keys[:2])
        queue = storage.queues[QueueName.POLLS]
        queue.put_many(["one", "two"])
        for item in queue.receive(2, hidden_for=60):
            queue.delete(item)
        storage.close()
    log.write(tmp_path / "requests.json")
    logged = _kinds(read(tmp_path / "requests.json"))
    assert logged == {
        "blob PUT": 1,
        "blob GET": 1,
        "blob HEAD": 1,
        "table POST": 5,
        "table PATCH": 3,
        "table GET": 5,
        "table DELETE": 2,
        "queue POST": 2,
        "queue GET": 1,
        "queue DELETE": 2,
    }
    assert next(request for request in log.requests if request.kind == "blob PUT").size == 1000

    replay = Replay(azure_storage, log.requests, threads=4)
    again = RequestLog(azure_storage)
    with again.logging():
        replay.run()
    assert _kinds(again.requests) == logged
    assert replay.sent == logged.total()


def test_a_replayed_transaction_has_as_many_entities(azure_storage: str) -> None:
    replay = Replay(azure_storage, [Request("table transaction", 2_000, 3)], threads=1)
    log = RequestLog(azure_storage)
    with log.logging():
        replay.run()
    (request,) = log.requests
    assert (request.kind, request.items) == ("table transaction", 3)


def test_requests_to_other_hosts_are_not_logged(azure_storage: str) -> None:
    log = RequestLog(azure_storage.replace("http://127.0.0.1", "http://localhost"))
    with log.logging():
        location = StorageLocation.parse(azure_storage, setting="TEST_STORAGE")
        storage = open_storage(location, location, "mail")
        assert not storage.blobs.exists("a")
        storage.close()
    assert log.requests == []


def _kinds(requests: list[Request]) -> Counter[str]:
    return Counter(request.kind for request in requests if request.kind != "other")
