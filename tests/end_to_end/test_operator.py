"""The command on the storage of a deployment, from a machine without the mailboxes' secrets."""

from __future__ import annotations

from pathlib import Path

from shared.mailbox_health import HealthRecords
from shared.storage.base import Table
from tests.end_to_end.command import mailroom, opened, settings_file

WITHOUT_SECRET = {
    "MAILBOXES__support__PROTOCOL": "imap",
    "MAILBOXES__support__HOST": "imap.example.com",
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "ROUTES__sales__ADDRESS": "sales@example.com",
}


def test_1_9_a_mailbox_can_be_enabled_without_its_secret(tmp_path: Path) -> None:
    storage = f"folder:{tmp_path / 'mail'}"
    settings = settings_file(tmp_path, storage, WITHOUT_SECRET)
    stores = opened(storage)
    health = HealthRecords(stores.records)
    health.enable("support")
    (record,) = stores.records.scan(Table.MAILBOXES)
    stores.records.merge(Table.MAILBOXES, record.key, {"disabled": True, "failures": 10})
    assert health.get("support").disabled

    ran = mailroom("enable", "Support", settings=settings)
    assert ran.returncode == 0, ran.stderr
    assert not health.get("support").disabled

    ran = mailroom("status", settings=settings)
    assert ran.returncode == 1, "this machine cannot poll the mailbox"
    assert ran.stdout.startswith("1 of 1 mailbox is unhealthy: support (invalid settings)")
    assert "MAILBOXES__support__PASSWORD" in ran.stdout

    ran = mailroom("enable", "suport", settings=settings)
    assert ran.returncode == 2
    assert "their mailboxes are: support" in ran.stderr
    stores.close()
