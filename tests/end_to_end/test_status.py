"""`mailroom status` answers "is it all right?" in its first line, and fits a terminal of 80 columns."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from mailroom_cli.app_context import open_app
from mailroom_cli.cli import cli
from mailroom_cli.commands.status import MailboxStatus, Status, read_status, show
from shared.bootstrap import App
from shared.clock import utc_now
from shared.errors import AuthenticationError, ConnectFailed, MailboxBusy
from shared.mailbox_health import PROGRESS_LIFETIME, DrainProgress
from shared.operations.ledger import Counts, Ledger
from shared.storage.base import QueueName, Table, Values
from tests.end_to_end.command import settings_file

REFUSED = (
    "mailbox orders at mail.example.com:993: sign-in was refused: [AUTHENTICATIONFAILED] the password has expired; "
    "set MAILBOXES__orders__PASSWORD"
)


def mailbox(name: str, **changes: str) -> dict[str, str]:
    settings = {"PROTOCOL": "imap", "HOST": "mail.example.com", "ADDRESS": f"{name}@example.com", "PASSWORD": "secret"}
    return {f"MAILBOXES__{name}__{key}": value for key, value in {**settings, **changes}.items()}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Return a settings file with two mailboxes."""
    return settings_file(tmp_path, "folder:mail", {**mailbox("support"), **mailbox("orders", DISABLE_AFTER="3")})


@contextmanager
def app_of(settings: Path) -> Iterator[App]:
    """Open the app of a settings file whose mailbox support was polled."""
    with open_app(settings) as app:
        support = app.settings.mailboxes["support"]
        app.health.record_contact(support)
        app.health.record_success(support, collected=0, left=0)
        yield app


def status(settings: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["status", *words, "--settings", str(settings)])


def first_line(settings: Path) -> str:
    return status(settings).stdout.splitlines()[0]


def test_all_is_well(settings: Path) -> None:
    with app_of(settings):
        pass
    ran = status(settings)
    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[0] == ("All 2 mailboxes are healthy, not yet polled: orders; nothing is waiting.")
    with app_of(settings) as app:
        app.health.record_success(app.settings.mailboxes["orders"], collected=1, left=0)
    assert first_line(settings) == "All 2 mailboxes are healthy; nothing is waiting."


def test_a_failing_mailbox_is_named_with_its_error_below_the_table(settings: Path) -> None:
    with app_of(settings) as app:
        app.health.record_failure(app.settings.mailboxes["orders"], AuthenticationError(REFUSED))
        since = app.health.get("orders").failing_since
    assert since is not None
    ran = status(settings)
    assert ran.exit_code == 1
    lines = ran.stdout.splitlines()
    assert lines[0] == (
        f"1 of 2 mailboxes is unhealthy: orders (failing since {since:%Y-%m-%d %H:%M} UTC); nothing is waiting."
    )
    error = REFUSED.replace("orders at ", "orders: ")
    assert lines.count(f"{error} (`mailroom enable orders` ends the backoff)") == 1, "whole, and not in a cell"
    shown = json.loads(status(settings, "--json").stdout)
    assert shown["healthy"] is False
    orders = shown["mailboxes"][0]
    assert (orders["state"], orders["failures"], orders["problems"][0][:20]) == ("failing", 1, error[:20])
    assert datetime.fromisoformat(orders["next_try"]) > utc_now()


def test_a_disabled_mailbox_and_invalid_settings_are_unhealthy(settings: Path, tmp_path: Path) -> None:
    with app_of(settings) as app:
        for _ in range(3):
            app.health.record_failure(app.settings.mailboxes["orders"], ConnectFailed("mailbox orders: no route"))
    ran = status(settings)
    assert ran.exit_code == 1
    assert "orders (disabled since " in ran.stdout
    assert "mailbox orders: no route (`mailroom enable orders` enables it)" in ran.stdout
    values = {**mailbox("support"), **mailbox("orders", PASSWORD="")}
    ran = status(settings_file(tmp_path, "folder:mail", values))
    assert ran.exit_code == 1
    assert ran.stdout.startswith("1 of 2 mailboxes is unhealthy: orders (invalid settings); ")
    assert "\nMAILBOXES__orders__PASSWORD: " in ran.stdout


def test_a_mailbox_that_is_busy_or_switched_off_is_healthy(settings: Path, tmp_path: Path) -> None:
    with app_of(settings) as app:
        app.health.record_busy(app.settings.mailboxes["support"], MailboxBusy("mailbox support: [IN-USE]"))
    assert status(settings).exit_code == 0
    values = {**mailbox("support"), **mailbox("orders", ENABLED="false")}
    ran = status(settings_file(tmp_path, "folder:mail", values))
    assert ran.exit_code == 0
    assert "orders\tswitched off\tnever" in ran.stdout


def test_a_drain_under_way_is_shown(settings: Path) -> None:
    time = [0.0]
    with app_of(settings) as app:
        support = app.settings.mailboxes["support"]
        progress = app.poller.intake.progress
        assert isinstance(progress, DrainProgress)
        progress._monotonic = lambda: time[0]
        app.health.record_contact(support)
        progress("support", 10, 100)
        assert read_status(app).mailboxes[1].drained is None, "a short drain writes nothing"
        time[0] += 5
        progress("support", 30, 100)
        time[0] += 1
        progress("support", 40, 100)
        assert read_status(app).mailboxes[1].drained == (30, 100)
        later = utc_now() + PROGRESS_LIFETIME + timedelta(seconds=1)
        assert read_status(app, lambda: later).mailboxes[1].drained is None, "the worker may have been killed"
    ran = status(settings)
    assert "support\tdraining 30 of 100\t" in ran.stdout
    shown = json.loads(status(settings, "--json").stdout)["mailboxes"][1]
    assert shown["draining"] == {"drained": 30, "listed": 100}
    with open_app(settings) as app:
        app.health.record_success(support, collected=100, left=0)
        assert read_status(app).mailboxes[1].drained is None


def test_waiting_messages_and_queues_are_counted(settings: Path) -> None:
    with app_of(settings) as app:
        values: Values = {"mailbox": "support", "stored_at": utc_now(), "arrival": "ab" * 32}
        app.storage.records.create(Table.OUTBOX, "ab" * 32, values)
        app.storage.queues[QueueName.POLLS_POISON].put_many(["one"])
    ran = status(settings)
    assert ran.stdout.splitlines()[0].endswith("; 1 message waits to be routed; 1 message on a poison queue.")
    assert "\nqueues: polls-poison 1\n" in ran.stdout
    assert "\noutbox: 1 to be routed, the oldest stored at 2" in ran.stdout


def test_nothing_is_padded_in_a_pipe(settings: Path) -> None:
    with app_of(settings):
        pass
    lines = status(settings).stdout.splitlines()
    assert "mailbox\tstate\tlast success (UTC)\tnext try (UTC)" in lines
    assert (
        "mailbox\tperiod\tcollected\trouted\tduplicate\tunhandled\tblocked\tfailed\twaiting\terased\tskipped" in lines
    )
    assert [line for line in lines if "  " in line or line != line.rstrip()] == []


def rendered(current: Status, width: int) -> list[str]:
    printed = io.StringIO()
    show(current, Console(file=printed, width=width, force_terminal=True, color_system=None))
    return printed.getvalue().splitlines()


def test_the_tables_fit_80_columns_and_nothing_else_is_cut() -> None:
    time = datetime(2026, 11, 29, 10, 41, 7, tzinfo=UTC)
    names = ("support", "a-mailbox-with-a-rather-long-name")
    counts = Counts(1_234_567, 12_345, 1_234, 123, 12, 1_000, 100, 10)
    folder = "storage: /srv/" + "very-long-name/" * 8 + "mail"
    current = Status(
        mailboxes=[
            MailboxStatus(name=name, state="invalid settings", last_success=time, next_try=time, problems=("x" * 200,))
            for name in names
        ],
        ledger=Ledger(time.date(), dict.fromkeys(names, counts), dict.fromkeys(names, counts)),
        storage=[folder],
        routes=["routes: 1 in the settings"],
        routes_are_valid=True,
    )
    lines = rendered(current, 80)
    assert folder in lines, "a path is never folded"
    assert "x" * 200 in lines, "an error is whole"
    tables = [line for line in lines if line.startswith(("mailbox", "support", "a-mailbox", "total"))]
    assert len(tables) >= 3 + 2 * 7
    assert max(map(len, tables)) <= 80
    headings = " ".join(line for line in tables if line.startswith("mailbox"))
    for name in ("collected", "routed", "duplicate", "unhandled", "blocked", "failed", "waiting", "erased", "skipped"):
        assert f" {name}" in headings
    assert str(counts.collected) in " ".join(tables)
    zero = replace(current, ledger=Ledger(time.date(), {}, {"support": Counts(routed=2)}))
    assert "mailbox                            period  collected  routed" in rendered(zero, 80), "no column of zeros"
