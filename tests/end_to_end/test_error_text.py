"""An unexpected error while a message is parsed: host, log and record do not show text that the error quotes."""

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
from tests.end_to_end.command import mailboxes, mailroom, settings_file
from tests.end_to_end.own_process import in_own_process
from tests.integration.intake_fixture import IntakeFixture, letter
from tests.servers.dovecot import Dovecot

ROOT = Path(__file__).parents[2]
WORD = "Zwet" + "schge"  # a traceback quotes this line


def failing_parser(*_arguments: object, **_options: object) -> Message:
    """Fail like a parser whose error quotes the message, as errors of libraries do."""
    nothing: dict[str, Message] = {}
    try:
        return nothing[WORD]
    except KeyError as error:
        raise ValueError(f"cannot be parsed: {WORD}") from error


async def _failed(folder: str) -> tuple[list[str], str, list[bytes]]:
    """Return the error of each try as the host sees it, the log, and the records of the last try."""
    logged = io.StringIO()
    logging.basicConfig(level=logging.INFO, stream=logged)
    os.environ["POLL_SCHEDULE"] = "0 * * * * *"
    world = IntakeFixture(Path(folder))
    world.server.deliver(letter(1))
    app = world.app()
    app.poller.poll(Poll("support", PollReason.MANUAL))
    bootstrap.install_app(replace(app, router=replace(app.router, parse=failing_parser)))
    engine = await Engine.start(ROOT)
    errors = []
    (item,) = world.stores.queues[QueueName.ROUTE_REQUESTS].receive(1, hidden_for=60)
    for function in ("route_message", "route_message", "route_poison"):
        result = await engine.invoke(engine.function(function), {"item": TypedData(string=item.body)})
        errors.append(f"{result.error} {result.error.trace}" if result.error is not None else "")
    engine.stop()
    records = [world.stores.blobs.read(path) or b"" for path in world.stores.blobs.list("failed/")]
    world.stores.close()
    return errors, logged.getvalue(), records


def test_the_text_of_an_unexpected_error_is_not_shown(tmp_path: Path) -> None:
    errors, logged, records = in_own_process(_failed, str(tmp_path))
    assert [error.partition("\n")[0].partition(" ")[0] for error in errors] == ["ScrubbedError:", "ScrubbedError:", ""]
    assert all("ValueError" in error and "in failing_parser" in error for error in errors[:2]), "class and frames"
    (record,) = records
    assert b"an unexpected error: ValueError" in record
    assert "message-failed: message" in logged
    for shown in (*errors, logged, record.decode()):
        assert "Zwetschge" not in shown


def test_a_mailbox_is_named_once_in_each_line_about_it(dovecot: Dovecot, tmp_path: Path) -> None:
    values = mailboxes(dovecot, orders=dovecot.user())
    values["MAILBOXES__orders__PASSWORD"] = "wrong-and-secret"
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values)
    for _ in range(2):  # the second run meets the backoff
        ran = mailroom("run-once", settings=settings, verbose=True)
        lines = [line.partition(" [mailbox=")[0] for line in ran.stderr.splitlines() if "mailbox orders" in line]
        assert lines
        assert [line for line in lines if line.count("mailbox orders") != 1] == []
        failure = lines[-1]
        assert "MAILBOXES__orders__PASSWORD" in failure
        assert "wrong-and-secret" not in ran.stderr
    assert failure.endswith("correct the sign-in, then run `mailroom enable orders`")


def test_check_names_a_mailbox_whose_name_is_part_of_other_words(dovecot: Dovecot, tmp_path: Path) -> None:
    values = mailboxes(dovecot, o=dovecot.user())
    values["MAILBOXES__o__PASSWORD"] = "wrong-and-secret"
    ran = mailroom("check", settings=settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values))
    (line,) = [line for line in ran.stdout.splitlines() if "sign-in refused" in line]
    assert f"mailbox o at {dovecot.host}:{dovecot.imaps}: sign-in refused" in line
