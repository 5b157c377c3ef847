"""How much is logged at level INFO: one line for a drain, one for a thousand messages, none for an idle poll."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mailroom_cli.logging_setup import JsonFormatter, UtcFormatter
from shared.bootstrap import App
from shared.dispatch.router import OutcomeSummary
from shared.errors import TransientError
from shared.intake import folder_sync
from shared.observability.log_context import install_log_context
from shared.observability.tracing import polling
from shared.queue_messages import Poll, PollReason, RouteRequest
from shared.receipts import Receipt
from shared.storage.base import QueueName, Table
from tests.end_to_end.own_process import in_own_process
from tests.integration.intake_fixture import IntakeFixture, letter

MESSAGES = 300


def log_to_memory(level: int, formatter: logging.Formatter, *, append_fields: bool) -> io.StringIO:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("mailroom").setLevel(level)
    install_log_context(append_fields=append_fields)
    return log


def work(app: App) -> None:
    """Poll and route as the functions do, each in its trace."""
    polls, requests = app.storage.queues[QueueName.POLLS], app.storage.queues[QueueName.ROUTE_REQUESTS]
    polls.put_many([poll.to_json() for poll in app.poller.due_polls(PollReason.TIMER)])
    for item in polls.receive(8, hidden_for=600):
        poll = Poll.from_json(item.body)
        with polling(poll.mailbox, poll.traceparent):
            app.poller.poll(poll)
        polls.delete(item)
    while items := requests.receive(8, hidden_for=600):
        for item in items:
            request = RouteRequest.from_json(item.body)
            app.router.route(request)
            requests.delete(item)
    app.router.sweep()


async def _drained(folder: str, *, every: int) -> tuple[str, str]:
    """Return the log of a drain, and the log of the idle hour after it."""
    folder_sync.LOGGED_MESSAGES = every
    log = log_to_memory(
        logging.INFO, UtcFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"), append_fields=True
    )
    fixture = IntakeFixture(Path(folder))
    for number in range(MESSAGES):
        fixture.server.deliver(letter(number))
    app = fixture.app()
    app = replace(app, router=replace(app.router, summary=OutcomeSummary(every)))
    work(app)
    drained = log.getvalue()
    for _ in range(60):
        fixture.time += timedelta(minutes=1)
        work(app)
    assert len(fixture.results()) == MESSAGES
    fixture.stores.close()
    return drained, log.getvalue().removeprefix(drained)


def test_a_drain_logs_two_lines_and_an_idle_hour_none(tmp_path: Path) -> None:
    drained, idle = in_own_process(_drained, str(tmp_path), every=1000)
    lines = drained.splitlines()
    assert len(lines) == 2, drained
    assert "mailbox support: 300 collected" in lines[0]
    assert "outcomes of 300 messages: 300 routed" in lines[1]
    assert len(drained) / MESSAGES < 5, "characters a message"
    assert idle == ""


def test_a_long_drain_logs_its_progress(tmp_path: Path) -> None:
    drained, _ = in_own_process(_drained, str(tmp_path), every=100)
    progress = [line for line in drained.splitlines() if "collected so far" in line]
    assert progress[-1].endswith("mailbox support, INBOX: 300 messages collected so far [mailbox=support folder=INBOX]")
    assert len(progress) == 3
    assert drained.count("outcomes of 100 messages: 100 routed") == 3


async def _json_lines(folder: str) -> tuple[list[dict[str, str]], Receipt]:
    """Return the log of a message at level DEBUG, and its receipt."""
    log = log_to_memory(logging.DEBUG, JsonFormatter(), append_fields=False)
    fixture = IntakeFixture(Path(folder))
    fixture.server.deliver(letter(1))
    work(fixture.app())
    (record,) = fixture.stores.records.scan(Table.RECEIPTS)
    fixture.stores.close()
    return [json.loads(line) for line in log.getvalue().splitlines()], Receipt.from_record(record)


def test_a_line_of_json_has_the_fields_with_complete_ids(tmp_path: Path) -> None:
    lines, receipt = in_own_process(_json_lines, str(tmp_path))
    (routed,) = [line for line in lines if line["logger"] == "mailroom.dispatch" and line["level"] == "DEBUG"]
    assert routed["time"].endswith("Z")
    assert routed["message"] == f"message {receipt.message[:12]} of mailbox support: routed"
    assert (routed["mailbox"], routed["arrival"], routed["id"]) == ("support", receipt.arrival, receipt.message)
    assert len(receipt.message) == len(receipt.arrival) == 64
    assert routed["route"] == "support"


@pytest.mark.parametrize("seconds", [0.0, 300.0])
def test_the_summary_of_a_quiet_process_is_logged_after_some_minutes(
    seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mailroom")
    now = [1000.0]
    summary = OutcomeSummary(monotonic=lambda: now[0])
    summary.add("routed")
    now[0] += seconds
    summary.add("unhandled")
    assert ("outcomes of 2 messages: 1 routed, 1 unhandled" in caplog.text) == (seconds > 0)


def test_many_messages_with_a_transient_error_log_one_warning_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "mailroom")
    fixture = IntakeFixture(tmp_path)
    for number in range(20):
        fixture.server.deliver(letter(number))
    app = fixture.app()
    app = replace(app, router=replace(app.router, route_table_for=lambda _: None))
    app.poller.poll(Poll("support", PollReason.MANUAL))
    requests = [RouteRequest(receipt.outbox) for receipt in fixture.receipts()]

    def levels() -> list[int]:
        """Return the level of each line about a retry, and forget the lines."""
        lines = [record for record in caplog.records if "transient error, next retry in" in record.getMessage()]
        caplog.clear()
        return [record.levelno for record in lines]

    for request in requests:
        with pytest.raises(TransientError) as caught:
            app.router.route(request)
        app.router.requeue(request, caught.value)
    assert levels() == [logging.WARNING, *[logging.DEBUG] * 19]
    fixture.time += timedelta(minutes=1)
    app.router.requeue(requests[0], caught.value)
    assert "mailbox support: its settings or routes are invalid" in caplog.text
    assert "(and 19 more since the last such line)" in caplog.text
    assert levels() == [logging.WARNING]
    fixture.stores.close()
