"""The sample consumer of docs/how-to/consuming.md on the worker engine, with results that the app wrote."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import azure_functions_runtime as runtime
import pytest
from azure.data.tables import TableClient

from functions_host import worker
from functions_host.function_index import Function, QueueTrigger
from functions_host.worker import Engine, InvocationResult
from functions_host.worker_messages import TypedData
from shared.storage.base import Blobs
from tests.end_to_end.command import mailboxes, mailroom, opened, settings_file
from tests.end_to_end.own_process import in_own_process
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail

SAMPLE = Path(__file__).resolve().parents[2] / "docs" / "samples" / "consumer"


def event(path: str, container: str = "mail") -> dict[str, Any]:
    """Return an event in the Event Grid schema."""
    return {
        "id": "4d2b1e5c-301e-0034-1b2a-0f2f3a06b7a2",
        "topic": "/subscriptions/S/resourceGroups/G/providers/Microsoft.Storage/storageAccounts/A",
        "subject": f"/blobServices/default/containers/{container}/blobs/{path}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-11-23T10:00:00.0000000Z",
        "data": {"api": "PutBlob", "blobType": "BlockBlob", "url": f"https://elsewhere.example/{container}/{path}"},
        "dataVersion": "",
        "metadataVersion": "1",
    }


async def delivered(storage: str, events: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Deliver events, all at once; return the names of the functions and the errors."""
    os.environ.update(MAIL_STORAGE=storage, TICKETS_STORAGE=storage)
    indexed = await worker._index(SAMPLE)
    runtime.start_threadpool_executor()
    (metadata,) = indexed
    (binding,) = [json.loads(raw) for raw in metadata.raw_bindings]
    assert binding["type"] == "eventGridTrigger"
    # The engine ignores the trigger's type, and the local host does not support Event Grid.
    function = Function(metadata.name, metadata.function_id, QueueTrigger(binding["name"], ""))
    engine = Engine((function,), SAMPLE)
    results: list[InvocationResult] = await asyncio.gather(
        *(engine.invoke(function, {binding["name"]: TypedData(json=json.dumps(item))}) for item in events)
    )
    engine.stop()
    return [metadata.name], [str(result.error) for result in results if result.error is not None]


def tickets(storage: str) -> list[dict[str, Any]]:
    with TableClient.from_connection_string(storage, "tickets") as table:
        return sorted((dict(entity) for entity in table.list_entities()), key=lambda entity: str(entity["recipient"]))


@pytest.fixture
def mail(azure_storage: str, dovecot: Dovecot, tmp_path: Path) -> Blobs:
    """Let the app write results for two recipients, and return the blobs."""
    user = dovecot.user()
    user.deliver([plain_mail(1, to="sales@example.com, billing@example.com")])
    routes = {"ROUTES__sales__ADDRESS": "sales@example.com", "ROUTES__billing__ADDRESS": "billing@example.com"}
    settings = settings_file(tmp_path, azure_storage, {**mailboxes(dovecot, support=user), **routes})
    ran = mailroom("run-once", settings=settings)
    assert ran.returncode == 0, ran.stderr
    with TableClient.from_connection_string(azure_storage, "tickets") as table:
        table.create_table()
    return opened(azure_storage).blobs


def test_each_result_has_one_ticket_however_often_its_event_arrives(mail: Blobs, azure_storage: str) -> None:
    paths = list(mail.list("routed/"))
    assert len(paths) == 2
    functions, failures = in_own_process(delivered, azure_storage, [event(path) for path in paths * 3])
    assert functions == ["on_result"]
    assert failures == []
    created = tickets(azure_storage)
    assert [ticket["recipient"] for ticket in created] == ["billing@example.com", "sales@example.com"]
    assert [ticket["route"] for ticket in created] == ["billing", "sales"]
    assert {ticket["subject"] for ticket in created} == {"Message 1 grüßt"}
    assert {ticket["sender"] for ticket in created} == {"sender1@example.net"}
    assert sorted(ticket["result"] for ticket in created) == sorted(paths)
    assert all(mail.exists(ticket["text"]) for ticket in created)


def test_events_of_other_blobs_are_ignored(mail: Blobs, azure_storage: str) -> None:
    (path, _) = mail.list("routed/")
    (raw,) = [blob for blob in mail.list("messages/") if blob.endswith(".eml")]
    others = [event(raw), event(path, "others"), event(path.removesuffix(".json") + "/x")]
    _, failures = in_own_process(delivered, azure_storage, others)
    assert failures == []
    assert tickets(azure_storage) == []


def test_an_unknown_schema_fails_so_that_the_event_is_delivered_again(mail: Blobs, azure_storage: str) -> None:
    (path, _) = mail.list("routed/")
    result = json.loads(mail.read(path) or b"")
    later = path.replace("routed/", "routed/later/")
    mail.create(later, json.dumps({**result, "schema": "mailroom/result/2"}).encode(), content_type="application/json")
    _, (failure,) = in_own_process(delivered, azure_storage, [event(later)])
    assert "mailroom/result/2" in failure
    assert tickets(azure_storage) == []
