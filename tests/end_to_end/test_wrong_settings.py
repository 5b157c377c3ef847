"""The operator's usual mistakes, as `mailroom` reports them: each in one line that names the setting and the fix."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailroom_cli.cli import cli
from shared.storage.azure import accounts
from tests.end_to_end.command import mailboxes, mailroom, settings_file
from tests.servers.answering import endpoints_at
from tests.servers.azurite import KEY, free_ports
from tests.servers.dovecot import Dovecot

PASTED = "hunter2-is-my-password"


def reports(dovecot: Dovecot, folder: Path, name: str, changes: Mapping[str, str]) -> list[str]:
    """Return what `check` and `run-once` report about a mailbox with wrong settings, and check that it comes soon."""
    values = {**mailboxes(dovecot, **{name: dovecot.user()}), "ROUTES__all__ADDRESS": "a@b.example"}
    values |= {f"MAILBOXES__{name}__{field}": value for field, value in changes.items()}
    settings = settings_file(folder, f"folder:{folder / 'mail'}", values)
    began = time.monotonic()
    checked, ran = mailroom("check", settings=settings), mailroom("run-once", settings=settings)
    assert time.monotonic() - began < 20, "two commands, of seconds each"
    assert (checked.returncode, ran.returncode) == (1, 1)
    assert checked.stderr == ""
    wrong = [line for line in checked.stdout.splitlines() if line.startswith("WRONG")]
    failed = ran.stderr.splitlines()
    assert len(wrong) == len(failed) == 1, (wrong, failed)
    return [*wrong, *failed]


def test_a_pop3_port_for_imap(dovecot: Dovecot, tmp_path: Path) -> None:
    for line in reports(dovecot, tmp_path, "support", {"PORT": str(dovecot.pop3s)}):
        assert "the server greets as POP3, not as IMAP; set MAILBOXES__support__PROTOCOL=pop3, or " in line
        assert "None" not in line


def test_starttls_at_a_port_for_tls(dovecot: Dovecot, tmp_path: Path) -> None:
    for line in reports(dovecot, tmp_path, "support", {"TLS": "starttls"}):
        assert "the server expects TLS from the start at this port; set MAILBOXES__support__TLS=implicit" in line
        assert "firewall" not in line


@pytest.mark.parametrize("name", ["imap_support", "pop_support"])
def test_a_wrong_password(dovecot: Dovecot, tmp_path: Path, name: str) -> None:
    for line in reports(dovecot, tmp_path, name, {"PASSWORD": PASTED}):
        assert f"MAILBOXES__{name}__PASSWORD" in line
        assert PASTED not in line


def test_a_server_that_does_not_run(dovecot: Dovecot, tmp_path: Path) -> None:
    for line in reports(dovecot, tmp_path, "support", {"HOST": "127.0.0.1", "PORT": str(free_ports(1)[0])}):
        assert line.endswith("check MAILBOXES__support__HOST and MAILBOXES__support__PORT")


def test_a_token_service_that_cannot_be_reached(tmp_path: Path) -> None:
    office = {
        "PRESET": "office365-graph",
        "ADDRESS": "a@b.example",
        "CLIENT_ID": "1" * 8 + "-1111" * 3 + "-" + "1" * 12,
    }
    office |= {"TENANT_ID": "contoso.example", "CLIENT_SECRET": PASTED}
    values = {f"MAILBOXES__office__{field}": value for field, value in office.items()}
    values |= {"SIGN_IN_AUTHORITY": f"https://localhost:{free_ports(1)[0]}", "ROUTES__all__ADDRESS": "a@b.example"}
    ran = mailroom("check", settings=settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values))
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("WRONG")]
    assert "cannot be reached; check SIGN_IN_AUTHORITY" in line
    assert (ran.returncode, ran.stderr) == (1, ""), "no warnings of libraries"


def test_the_storage_emulator_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its own ports may be taken on the machine of a developer.
    nowhere = f"AccountName=devstoreaccount1;AccountKey={KEY};{endpoints_at(free_ports(1)[0])}"
    monkeypatch.setattr(accounts, "_DEVELOPMENT", nowhere)
    settings = settings_file(tmp_path, "UseDevelopmentStorage=true", {})
    for command in ("status", "find"):
        ran = CliRunner().invoke(cli, [command, "--settings", str(settings)])
        assert ran.exit_code == 1
        (line,) = ran.stderr.splitlines()
        assert line.endswith("start Azurite: npx azurite --location azurite-data")
        assert "account's name" not in line


@pytest.mark.parametrize(
    "routes", [{PASTED: {}}, {"routes": {"sales": {PASTED: "x"}}}, {"routes": {"sales": PASTED}}, PASTED]
)
def test_what_was_pasted_into_the_routes_is_not_shown(tmp_path: Path, routes: object) -> None:
    file = tmp_path / "routes.json"
    file.write_text(json.dumps(routes))
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", {})
    for words in ([], ["--json"]):
        ran = mailroom("check", "--routes", str(file), *words, settings=settings)
        assert ran.returncode == 1
        assert str(file) in ran.stdout
        assert PASTED not in ran.stdout + ran.stderr
