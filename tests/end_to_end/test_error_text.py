"""A fault of ours over a message: neither the host nor a log line nor a record shows what its text quotes."""

from __future__ import annotations

import io
import logging
import os
from dataclasses import replace
from pathlib import Path

from functions_host import Engine
from functions_host.worker_messages import TypedData
from shared import bootstrap
from shared.mime.parser import Message
from shared.queue_messages import Poll, PollReason
from shared.storage.base import QueueName
from tests.end_to_end.own_process import in_own_process
from tests.integration.intake_fixture import IntakeFixture, letter

ROOT = Path(__file__).parents[2]
WORD = "Zwet" + "schge"  # a traceback quotes this line


def faulty(*_given: object, **_more: object) -> Message:
    """A parser that fails, and quotes what it read, as the errors of the libraries below it do."""
    nothing: dict[str, Message] = {}
    try:
        return nothing[WORD]
    except KeyError as error:
        raise ValueError(f"cannot be parsed: {WORD}") from error


async def _failed(folder: str) -> tuple[list[str], str, list[bytes]]:
    """What the host is told of each of a message's tries, what is logged, and the records that the last one leaves."""
    logged = io.StringIO()
    logging.basicConfig(level=logging.INFO, stream=logged)
    os.environ["POLL_SCHEDULE"] = "0 * * * * *"
    world = IntakeFixture(Path(folder))
    world.server.deliver(letter(1))
    app = world.app()
    app.poller.poll(Poll("support", PollReason.MANUAL))
    bootstrap.install_app(replace(app, router=replace(app.router, parse=faulty)))
    engine = await Engine.start(ROOT)
    told = []
    (item,) = world.stores.queues[QueueName.ROUTE_REQUESTS].receive(1, hidden_for=60)
    for function in ("route_message", "route_message", "route_poison"):
        result = await engine.invoke(engine.function(function), {"item": TypedData(string=item.body)})
        told.append(f"{result.error} {result.error.trace}" if result.error is not None else "")
    engine.stop()
    records = [world.stores.blobs.read(path) or b"" for path in world.stores.blobs.list("failed/")]
    world.stores.close()
    return told, logged.getvalue(), records


def test_the_text_of_a_fault_goes_nowhere(tmp_path: Path) -> None:
    told, logged, records = in_own_process(_failed, str(tmp_path))
    assert [one.partition("\n")[0].partition(" ")[0] for one in told] == ["ScrubbedError:", "ScrubbedError:", ""]
    assert all("ValueError" in one and "in faulty" in one for one in told[:2]), "its class and its frames"
    (record,) = records
    assert b"an unexpected error: ValueError" in record
    assert "message-failed: message" in logged
    for shown in (*told, logged, record.decode()):
        assert "Zwetschge" not in shown
