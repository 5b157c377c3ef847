"""Times in logs are in UTC with their zone, whatever the machine's time zone is."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.end_to_end.command import mailroom, settings_file


def test_log_lines_begin_with_a_time_in_utc(tmp_path: Path) -> None:
    values = {
        "MAILBOXES__support__PROTOCOL": "imap",
        "MAILBOXES__support__HOST": "localhost",
        "MAILBOXES__support__PORT": "1",
        "MAILBOXES__support__ADDRESS": "support@example.com",
        "MAILBOXES__support__PASSWORD": "secret",
    }
    settings = settings_file(tmp_path, "folder:mail", values)
    # Kathmandu is 5 hours and 45 minutes ahead of UTC, so that its time cannot be mistaken for UTC.
    began = datetime.now(UTC)
    ran = mailroom("run-once", settings=settings, environment={"TZ": "Asia/Kathmandu"}, verbose=True)
    assert ran.returncode == 1
    times = re.findall(r"^(\S+) (?:INFO|WARNING|ERROR) mailroom\S*: ", ran.stderr, re.MULTILINE)
    assert times, ran.stderr
    for text in times:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text), text
        assert began - timedelta(seconds=1) <= datetime.fromisoformat(text) <= datetime.now(UTC)
