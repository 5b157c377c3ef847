"""Commands that change outcomes send their metrics: the ledger in the workbook agrees with `mailroom status`."""

from __future__ import annotations

from pathlib import Path

from shared.observability import metric_names
from tests.end_to_end.command import identity, mailboxes, mailroom, settings_file
from tests.servers.dovecot import Dovecot
from tests.servers.ingestion import WITHOUT_STATISTICS, connection_string, ingestion, metric_values
from tests.servers.mail import plain_mail


def test_run_once_and_forget_send_the_outcomes(dovecot: Dovecot, storage: str, tmp_path: Path) -> None:
    user = dovecot.user()
    message = plain_mail(1, to="sales@example.com")
    user.deliver([message])
    values = {**mailboxes(dovecot, support=user), "ROUTES__sales__ADDRESS": "sales@example.com"}
    with ingestion() as (address, items):
        values["APPLICATIONINSIGHTS_CONNECTION_STRING"] = connection_string(address)
        settings = settings_file(tmp_path, storage, values)

        def outcomes(*words: str) -> list[tuple[str, str]]:
            """Run a command that succeeds, and return the outcomes that it sent, each with the previous one."""
            ran = mailroom(*words, settings=settings, environment=WITHOUT_STATISTICS)
            assert ran.returncode == 0, ran.stderr
            sent = [
                (attributes["outcome"], attributes["previous"])
                for name, value, attributes in metric_values(items)
                if name == metric_names.OUTCOMES and value == 1
            ]
            items.clear()
            return sent

        assert outcomes("run-once") == [("routed", "waiting")]
        assert outcomes("forget", identity(message)) == []
        assert outcomes("forget", identity(message), "--yes") == [("erased", "routed")]
