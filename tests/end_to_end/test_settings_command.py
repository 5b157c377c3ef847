"""`mailroom settings` as a separate process, from a new settings file to drained mail."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.command import ROOT, assert_all_stored, mailroom, opened, run_mailroom
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return run_mailroom("settings", *map(str, words), timeout=60, cwd=ROOT)


def write_settings(folder: Path, **values: str) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps({"Values": {"AzureWebJobsStorage": "folder:mail", **values}}))
    return path


def box(name: str, **settings: str) -> dict[str, str]:
    values = {"PROTOCOL": "imap", "HOST": "imap.example.com", "ADDRESS": f"{name}@example.com", **settings}
    return {f"MAILBOXES__{name}__{setting}": value for setting, value in values.items()}


def test_from_a_new_settings_file_to_drained_mail(dovecot: Dovecot, tmp_path: Path) -> None:
    user, file, storage = dovecot.user(), tmp_path / "local.settings.json", f"folder:{tmp_path / 'mail'}"
    mail = [plain_mail(n, to=user.address) for n in range(3)]
    user.deliver(mail)
    assert run("--output", file).returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    begun = run("--check", "--settings", file)
    assert begun.returncode == 1
    assert {line.split(":")[0] for line in begun.stdout.splitlines()} == {
        f"WRONG MAILBOXES__support__{name}" for name in ("HOST", "ADDRESS", "PASSWORD")
    }

    text = file.read_text()
    for before, after in {
        '"folder:./mailroom-mail"': json.dumps(storage),
        'HOST": ""': f'HOST": "{dovecot.host}"',
        'ADDRESS": "",': f'ADDRESS": "{user.address}", "MAILBOXES__support__USERNAME": "{user.name}",',
        'PASSWORD": ""': f'PASSWORD": "{user.password}"',
        '// "MAILBOXES__support__PORT": "993"': f'"MAILBOXES__support__PORT": "{dovecot.imaps}"',
        '// "MAILBOXES__support__CA_FILE": "roots.pem"': f'"MAILBOXES__support__CA_FILE": "{dovecot.ca_file}"',
    }.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    file.write_text(text)
    checked = run("--check", "--settings", file)
    assert (checked.returncode, checked.stdout) == (0, f"ok    {file}\n"), checked.stderr

    ran = mailroom("run-once", settings=file)
    assert ran.returncode == 0, ran.stderr
    assert len(user.left()) == 3
    stores = opened(storage)
    try:
        assert_all_stored(stores, mail)
        assert len(list(stores.blobs.list("routed/helpdesk/"))) == 3
    finally:
        stores.close()


def test_the_command_runs_in_a_new_interpreter_without_warnings(tmp_path: Path) -> None:
    """A new interpreter starts it; the other tests fork a process that has imported the app."""
    file = tmp_path / "local.settings.json"
    for words, status in (((), 0), (("--output", file), 0), (("--check", "--settings", file), 1)):
        command = [sys.executable, "-W", "error", "-m", "mailroom_cli", "settings", *words]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (ran.returncode, ran.stderr.count("Traceback")) == (status, 0), ran.stderr


def test_a_file_is_overwritten_only_with_force(tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text("mine" * 10_000)
    refused = run("--output", file)
    assert refused.returncode == 2
    assert refused.stderr == f"{file} exists already; name another file, or give --force to overwrite it\n"
    assert file.read_text().startswith("mine")
    written = run("--output", file, "--force", "--preset", "office365-graph")
    assert (written.returncode, written.stdout) == (0, "")
    assert written.stderr == (
        f"{file} is written; fill in its values, then run `mailroom settings --check --settings {file}`\n"
    )
    assert file.read_text() == run("--preset", "Office365-Graph").stdout
    unwritable = run("--output", tmp_path / "no" / "file")
    assert (unwritable.returncode, unwritable.stdout) == (2, "")
    assert "cannot be written: No such file or directory" in unwritable.stderr
    unknown = run("--preset", "gmail")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("gmail is not a preset; use one of gmail-imap, gmail-pop3,")


def test_all_errors_are_reported_at_once_without_secrets(tmp_path: Path) -> None:
    file = write_settings(
        tmp_path,
        POLL_SCHEDULE="* * *",
        **box("a", PORT="x", PASSWORD="hush"),
        **box("b", PASSWORD="@Microsoft.KeyVault(SecretUri=https://v)", TLS="hush"),
    )
    for words in (("--check", "--settings", file), ("--azure", "--settings", file)):
        ran = run(*words)
        assert ran.returncode == (1 if words[0] == "--check" else 2)
        output = ran.stdout + ran.stderr
        assert all(f"{name}: " in output for name in ("POLL_SCHEDULE", "MAILBOXES__a__PORT", "MAILBOXES__b__TLS"))
        assert "MAILBOXES__b__PASSWORD" not in output  # a vault has it
        assert "hush" not in output
        assert "appsettings" not in output


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"Values": {"A": "hush",,}}')
    for name, problem in (("none.json", "does not exist"), ("broken.json", "is not JSON: line 1")):
        ran = run("--check", "--settings", tmp_path / name)
        assert ran.returncode == 1
        assert problem in ran.stdout
        assert "hush" not in ran.stdout + ran.stderr


def test_notes_are_not_errors(tmp_path: Path) -> None:
    file = write_settings(tmp_path, **box("a", PASSWORD="@Microsoft.KeyVault(SecretUri=https://v)", FALLBACK="far"))
    ran = run("--check", "--settings", file)
    assert ran.returncode == 0
    notes = [line for line in ran.stdout.splitlines() if line.startswith("note  ")]
    assert [line.removeprefix("note  ").partition(":")[0] for line in notes] == [
        "MAILBOXES__a__PASSWORD",
        "MAILBOXES__a__FALLBACK",
        "POLL_SCHEDULE",
    ]


@pytest.mark.parametrize("reference", [True, False])
def test_certificates_are_checked_unless_they_are_vault_references(reference: bool, tmp_path: Path) -> None:
    value = "@Microsoft.KeyVault(SecretUri=https://v)" if reference else "no certificate"
    values = box("a", PRESET="office365-imap", TENANT_ID="example.com", CLIENT_ID="x", CERTIFICATE=value)
    del values["MAILBOXES__a__HOST"]
    ran = run("--check", "--settings", write_settings(tmp_path, **values))
    assert ran.returncode == (0 if reference else 1), ran.stdout
    assert ("WRONG MAILBOXES__a__CERTIFICATE: " in ran.stdout) is not reference


def test_the_environment_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILBOXES__other__HOST", "x")
    monkeypatch.setenv("POLL_SCHEDULE", "nonsense")
    assert run("--check", "--settings", write_settings(tmp_path, **box("a", PASSWORD="hush"))).returncode == 0


def test_the_azure_script_is_written_to_a_file_or_printed(tmp_path: Path) -> None:
    file, out = write_settings(tmp_path, **box("a", PASSWORD="hush")), tmp_path / "put.sh"
    printed = run("--azure", "--settings", file, "--resource-group", "g", "--app", "f", "--vault", "v")
    assert printed.returncode == 0, printed.stderr
    assert "--resource-group g --name f --settings" in printed.stdout
    assert "--vault-name v " in printed.stdout
    assert "https://v.vault.azure.net/secrets/a-password/" in printed.stdout
    assert run("--azure", "--settings", file, "--output", out).returncode == 0
    assert out.read_text().startswith("#!/usr/bin/env bash\n")


def test_a_settings_file_needs_exactly_one_of_check_and_azure(tmp_path: Path) -> None:
    file = write_settings(tmp_path, **box("a", PASSWORD="hush"))
    for words in (("--settings", file), ("--settings", file, "--check", "--azure")):
        ran = run(*words)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr.startswith("choose what to do: --check or")
