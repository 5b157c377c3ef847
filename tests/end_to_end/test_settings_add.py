"""`mailroom settings add` adds a mailbox, keeps the rest of the file, and never shows a secret."""

from __future__ import annotations

import json
import os
import pty
import select
import stat
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailroom_cli.cli import cli
from mailroom_cli.commands.settings.template import starting_file
from mailroom_cli.settings_file import insert_values, load_settings_file
from tests.end_to_end.command import ROOT
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail

TIMEOUT = 120
"""Seconds to wait for a question, on a busy machine."""

LOCAL_MODES = 3
"""The place of the local modes in what `tcgetattr` returns."""

SECRET = "not-to-be-shown"
POP = ("--protocol", "pop3", "--host", "pop.example.com", "--address", "orders@example.com")


def add(file: Path, *words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["settings", "add", *words, "--settings", str(file)], input=stdin)


def test_a_mailbox_is_added_to_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    ran = add(file, "Orders", *POP, "--route", "orders", "--password-stdin", stdin=SECRET + "\n")
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == f"mailbox orders is added to {file}\n"
    assert ran.stderr.splitlines()[-1] == f"Next: mailroom check orders --settings {file}"
    assert SECRET not in ran.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    values = load_settings_file(file)
    mailbox = {name.split("__")[2]: value for name, value in values.items() if name.startswith("MAILBOXES__orders__")}
    assert mailbox == {
        "PROTOCOL": "pop3",
        "HOST": "pop.example.com",
        "ADDRESS": "orders@example.com",
        "PASSWORD": SECRET,
        "AFTER": "keep",
        "FALLBACK": "orders",
    }
    assert values["ROUTES__orders__MAILBOX"] == "orders"
    assert CliRunner().invoke(cli, ["settings", "--check", "--settings", str(file)]).stdout == f"ok    {file}\n"


def test_the_rest_of_the_file_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    before = starting_file()
    file.write_text(before)
    file.chmod(0o644)
    refused = add(file, "orders", *POP, "--route", "helpdesk")
    assert refused.exit_code == 2
    assert "helpdesk" in refused.stderr, "the route takes the mail of another mailbox alone"
    assert file.read_text() == before
    ran = add(file, "orders", *POP, "--route", "orders", "--folders", "", "--after", "delete")
    assert ran.exit_code == 1, "the template's own mailbox is not filled in"
    assert "WRONG MAILBOXES__support__HOST" in ran.stderr
    assert "note  MAILBOXES__orders__PASSWORD is empty: fill it in" in ran.stderr
    assert "orders__AFTER" not in ran.stderr
    after = file.read_text()
    assert set(before.splitlines()) - set(after.splitlines()) == {'    "FUNCTIONS_WORKER_RUNTIME": "python"'}
    assert load_settings_file(file)["ROUTES__orders__MAILBOX"] == "orders"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(tmp_path.glob(".*")), "no temporary file is left"
    assert load_settings_file(file)["MAILBOXES__orders__AFTER"] == "delete"
    again = add(file, "ORDERS", *POP)
    assert again.exit_code == 2
    assert "has a mailbox orders already" in again.stderr
    assert file.read_text() == after


def test_an_existing_route_is_used(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    route = {"ROUTES__everything__ADDRESS": "*@example.com"}
    file.write_text(json.dumps({"Values": {"AzureWebJobsStorage": "folder:mail", **route}}))
    ran = add(file, "orders", *POP, "--route", "Everything", "--password-stdin", stdin=SECRET)
    assert ran.exit_code == 0, ran.output
    values = load_settings_file(file)
    assert values["MAILBOXES__orders__FALLBACK"] == "everything"
    assert [name for name in values if name.startswith("ROUTES__")] == list(route)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "--preset or --protocol is missing"),
        (("--preset", "gmail"), "--preset gmail is not a preset"),
        (("--protocol", "imap", "--address", "a@b.example"), "--host is missing"),
        (("--preset", "gmail-imap"), "--address is missing"),
        ((*POP, "--folders", "INBOX;Other"), "MAILBOXES__orders__FOLDERS"),
        (("--protocol", "imap", "--host", "mail.example.com", "--address", "nonsense"), "MAILBOXES__orders__ADDRESS"),
        ((*POP, "--port", "x"), "MAILBOXES__orders__PORT"),
        ((*POP, "--after", "burn"), "MAILBOXES__orders__AFTER"),
        ((*POP, "--password-stdin"), "--password-stdin: standard input is empty"),
    ],
)
def test_invalid_values_are_refused_and_nothing_is_written(tmp_path: Path, words: tuple[str, ...], error: str) -> None:
    file = tmp_path / "settings.json"
    ran = add(file, "orders", *words)
    assert ran.exit_code == 2, ran.output
    assert error in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["my mailbox", "a__b", "ü", "", "1st"])
def test_an_invalid_name_is_refused(tmp_path: Path, name: str) -> None:
    for words in ((name, *POP), ("orders", *POP, "--route", name or "-")):
        ran = add(tmp_path / "settings.json", *words)
        assert ran.exit_code == 2
        assert "use letters, digits and single underscores" in ran.stderr
        assert len(ran.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_office_365_gets_a_client_secret(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    options = (
        "--preset",
        "Office365-Graph",
        "--address",
        "a@b.example",
        "--tenant-id",
        "b.example",
        "--client-id",
        "x",
    )
    ran = add(file, "office", *options, "--folders", "INBOX;INBOX/Signed", "--username", "", stdin=SECRET)
    assert ran.exit_code == 0, ran.output
    values = load_settings_file(file)
    assert values["MAILBOXES__office__CLIENT_SECRET"] == "", "it is not read without --password-stdin"
    assert values["MAILBOXES__office__TENANT_ID"] == "b.example"
    assert values["MAILBOXES__office__FOLDERS"] == "INBOX;INBOX/Signed"
    assert "MAILBOXES__office__PASSWORD" not in values
    assert "MAILBOXES__office__CLIENT_SECRET is empty" in ran.stderr


@pytest.mark.parametrize(
    "text",
    [
        '{"Values": {}}',
        '{"Values":{"A":"1"}}',
        '// "Values": {\n{"X": {"Values": {}}, "Values": {"A": "1" /* } */ // last\n  }, "Host": {"P": [1, {}]}}\n',
        '{"Values": {"A": "with } and \\" and // in it"\n// a comment at the end\n}}',
    ],
)
def test_settings_are_inserted_among_comments(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    before = load_settings_file(file)
    file.write_text(insert_values(text, {"B": 'x"y\\', "C": "ü"}))
    assert load_settings_file(file) == {**before, "B": 'x"y\\', "C": "ü"}


def test_on_a_terminal_it_asks_and_hides_the_password(dovecot: Dovecot, tmp_path: Path) -> None:
    """Answer in a terminal, and check the mailbox as the last line says."""
    user, file = dovecot.user(), tmp_path / "settings.json"
    user.deliver([plain_mail(1)])
    command = [sys.executable, "-m", "mailroom_cli", "settings", "add", "support", "--settings", str(file)]
    options = ["--port", str(dovecot.imaps), "--username", user.name]
    controller, terminal = pty.openpty()
    shown = ""
    with subprocess.Popen([*command, *options], cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        for question, answer in (
            ("Preset or protocol", "imap"),
            ("Server", dovecot.host),
            ("E-mail address", user.address),
            ("Password", user.password),
            ("Next:", ""),
        ):
            until = time.monotonic() + TIMEOUT
            while question not in shown:
                if time.monotonic() > until:
                    process.kill()
                    pytest.fail(shown)
                if select.select([controller], [], [], 1)[0]:
                    shown += os.read(controller, 4096).decode()
            # What is typed while the terminal still echoes is shown, and discarded when the echo is switched off.
            while question == "Password" and termios.tcgetattr(controller)[LOCAL_MODES] & termios.ECHO:
                assert time.monotonic() < until, "the terminal still echoes"
                time.sleep(0.01)
            if answer:
                os.write(controller, f"{answer}\n".encode())
        assert process.wait(TIMEOUT) == 0, shown
    os.close(controller)
    assert user.password not in shown
    values = json.loads(file.read_text())["Values"]
    assert values["MAILBOXES__support__PASSWORD"] == user.password
    file.write_text(insert_values(file.read_text(), {"MAILBOXES__support__CA_FILE": str(dovecot.ca_file)}))
    checked = CliRunner().invoke(cli, ["check", "support", "--settings", str(file)])
    assert checked.exit_code == 0, checked.output
    assert "1 messages" in checked.stdout
