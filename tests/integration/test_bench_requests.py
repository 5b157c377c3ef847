"""The benchmark's comparison with bare SDK clients sends as many requests of each kind as the app sent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from azure.data.tables import TableClient

from bench.bare_requests import Replay
from bench.storage_requests import GROUPS, Request, RequestLog, count_groups, read
from shared.storage.base import Filter, QueueName, Table
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
        assert queue.receive(2, hidden_for=60) == []
        assert len(list(storage.records.scan(Table.RECEIPTS, Filter(key_prefix="02")))) == 1
        storage.close()
    log.write(tmp_path / "requests.json")
    logged = _kinds(read(tmp_path / "requests.json"))
    assert logged == {
        "blob PUT": 1,
        "blob GET": 1,
        "blob HEAD": 1,
        "table transaction": 10,
        "table GET": 5,
        "table query": 1,
        "queue POST": 2,
        "queue GET": 1,
        "queue check": 1,
        "queue DELETE": 2,
    }
    groups = count_groups(request for request in log.requests if request.kind != "other")
    assert groups == dict(zip(("requests", *GROUPS), (25, 1, 2, 16, 6, 0), strict=True))
    assert next(request for request in log.requests if request.kind == "blob PUT").size == 1000

    replay = Replay(azure_storage, log.requests, threads=4)
    again = RequestLog(azure_storage)
    with again.logging():
        replay.run()
    # The replay's query is of a whole partition, and it does not check empty queues.
    assert _kinds(again.requests) + Counter({"table query": 1, "queue check": 1}) == logged
    assert _kinds(replay.sent) + Counter({"queue check": 1}) == logged


def test_a_transaction_is_logged_and_replayed_with_its_operations(azure_storage: str) -> None:
    first, second, third = ({"PartitionKey": "a", "RowKey": row, "data": "x" * 400} for row in "123")
    log, again = RequestLog(azure_storage), RequestLog(azure_storage)
    with TableClient.from_connection_string(azure_storage, "receipts") as table:
        table.create_table()
        with log.logging():
            table.submit_transaction([("create", first), ("create", second), ("create", third)])
            table.submit_transaction([("update", first), ("upsert", second), ("delete", third)])
    shapes = [("table transaction", 3, 0, 0), ("table transaction", 3, 2, 1)]
    assert [(kind, *numbers) for kind, _, *numbers in log.requests] == shapes
    replay = Replay(azure_storage, log.requests, threads=1)
    with again.logging():
        replay.run()
    assert [(kind, *numbers) for kind, _, *numbers in again.requests] == shapes
    for request, replayed in zip(log.requests, again.requests, strict=True):
        assert abs(replayed.size - request.size) < 0.3 * request.size


def test_what_is_read_is_replayed_in_its_size(azure_storage: str) -> None:
    requests = [
        Request("blob PUT", 50),
        Request("blob PUT", 70_000),
        Request("blob GET", 69_000),
        Request("table query", 0, 16),
        Request("queue POST", 100),
        Request("queue GET", 0, 1),
    ]
    replay = Replay(azure_storage, requests, threads=2)
    log = RequestLog(azure_storage)
    with log.logging():
        replay.run()
    replayed = {request.kind: request for request in log.requests}
    assert replayed["blob GET"].size == 70_000
    assert replayed["queue GET"].items == 1
    assert [request.items for request in log.requests if request.size == 0 and request.kind == "other"] == [16]


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
