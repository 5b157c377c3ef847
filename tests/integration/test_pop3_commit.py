"""A lost response to QUIT is not a failure, and only certain removals are recorded (rule 8.2)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.bootstrap import App
from shared.mailboxes.pop3.server_record import ServerRecords
from shared.receipts import Receipt
from shared.storage.base import Table
from tests.integration.pop3_support import scripted_mailbox
from tests.servers.mail import plain_mail
from tests.servers.memory_app import app_on, settings_for
from tests.servers.pump import poll, work_until_idle
from tests.servers.scripted import Peer, ScriptedPop3

MAILS = [(f"key{n}", plain_mail(n)) for n in range(4)]
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Pop3WithoutQuitResponse(ScriptedPop3):
    """A server that does not respond to the first QUIT, with or without committing the deletions."""

    def __init__(self, *, counts: bool) -> None:
        self.counts = counts
        super().__init__(MAILS, self._hook)

    def _hook(self, peer: Peer, command: bytes) -> bool:
        if command == b"QUIT" and peer.number == 1:
            if self.counts:
                self.messages = []
            peer.cut()
        return False


@contextmanager
def running(server: ScriptedPop3, folder: Path) -> Iterator[App]:
    settings = settings_for(
        f"folder:{folder}",
        {
            "MAILBOXES__support__ADDRESS": "support@example.com",
            "MAILBOXES__support__PROTOCOL": "pop3",
            "ROUTES__support__ADDRESS": "support@example.com",
        },
    )
    records = ServerRecords()
    app = app_on(settings, lambda _: scripted_mailbox(server, records), now=lambda: NOW)
    yield app
    app.storage.close()


def poll_once(app: App) -> tuple[int, list[bool]]:
    """Poll; return the number of failures, and for each receipt whether the message was removed."""
    poll(app, "support")
    work_until_idle(app)
    receipts = [Receipt.from_record(record) for record in app.storage.records.scan(Table.RECEIPTS)]
    return app.poller.health.get("support").failures, [receipt.removed for receipt in receipts]


def test_8_2_a_lost_quit_response_is_neither_a_failure_nor_a_removal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        Pop3WithoutQuitResponse(counts=False) as server,
        running(server, tmp_path) as app,
    ):
        assert poll_once(app) == (0, [False] * 4)
        assert len(server.messages) == 4
        assert "QUIT was not answered" in caplog.text
        retrieved = sum(command.startswith(b"RETR") for command in server.commands)
        assert poll_once(app) == (0, [True] * 4)
        assert server.messages == []
        assert sum(command.startswith(b"RETR") for command in server.commands) == retrieved == 4
        assert len(list(app.storage.blobs.list("routed/"))) == 4


def test_8_2_deletions_with_a_lost_quit_response_are_recorded(tmp_path: Path) -> None:
    with Pop3WithoutQuitResponse(counts=True) as server, running(server, tmp_path) as app:
        assert poll_once(app)[0] == 0
        assert server.messages == []
        assert poll_once(app)[0] == 0
        assert len(list(app.storage.blobs.list("routed/"))) == 4
