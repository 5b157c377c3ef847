"""How a `folder:` path is resolved, which commands print it, and which commands create the store."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailroom_cli.cli import cli
from shared.documents.blob_paths import raw_path
from tests.end_to_end.command import command, identity, mailboxes, mailroom, opened, settings_file
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail

NO_MAILBOX: dict[str, str] = {}
READING = {
    "check": 1,
    "status": 1,
    "explain MESSAGE": 0,
    "find --mailbox support": 1,
    "replay --since 2026-01-01": 0,
    "replay --since 2026-01-01 --dry-run": 0,
    "forget ann@example.com": 1,
    "forget ann@example.com --yes": 1,
    "enable support": 1,
}
"""Commands that need a store, with their exit status if it does not exist.

The mailbox has no password, as on an operator's machine, which `check` and `status` report.
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return two folders: that of the settings file, and another one."""
    for name in ("settings", "elsewhere"):
        (tmp_path / name).mkdir()
    return tmp_path / "settings", tmp_path / "elsewhere"


def test_a_relative_folder_is_relative_to_the_settings_file(dovecot: Dovecot, folders: tuple[Path, Path]) -> None:
    home, elsewhere = folders
    user = dovecot.user()
    mail = [plain_mail(n, to=user.address) for n in range(3)]
    user.deliver(mail)
    values = {**mailboxes(dovecot, support=user), "MAILBOXES__support__AFTER": "keep"}
    settings = settings_file(home, "folder:./mailroom-mail", values)
    link = elsewhere / "link.json"
    link.symlink_to(settings)
    for cwd, file in ((home, Path("settings.json")), (elsewhere, settings), (elsewhere, Path("link.json"))):
        ran = mailroom("run-once", settings=file, cwd=cwd)
        assert ran.returncode == 0, ran.stderr
        assert [path.name for path in elsewhere.iterdir()] == ["link.json"]
    assert {path.name for path in home.iterdir()} == {"settings.json", "mailroom-mail"}
    stores = opened(f"folder:{home / 'mailroom-mail'}")
    stored = {path for path in stores.blobs.list("messages/") if path.endswith(".eml")}
    assert stored == {raw_path(identity(data)) for data in mail}
    assert len(list(stores.blobs.list("unhandled/"))) == 3, "each was stored once"
    stores.close()

    for words in ("check", "status"):
        shown = mailroom(words, settings=settings, cwd=elsewhere)
        assert shown.returncode == 0, shown.stderr
        assert f"storage: {home / 'mailroom-mail'}\n" in shown.stdout


def test_mail_and_queues_can_be_in_two_relative_folders(folders: tuple[Path, Path]) -> None:
    home, elsewhere = folders
    settings = settings_file(home, "folder:app", {"MAIL_STORAGE": "folder:../mail", "STORE_MODE": "0640"})
    assert mailroom("run-once", settings=settings, cwd=elsewhere).returncode == 0
    for folder in (home / "app", home.parent / "mail"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750
        assert stat.S_IMODE((folder / ".mailroom/state.sqlite3").stat().st_mode) == 0o640
    shown = mailroom("status", settings=settings, cwd=elsewhere).stdout
    assert f"storage of mail: {home.parent / 'mail'}\n" in shown
    assert f"storage of queues and leases: {home / 'app'}\n" in shown


@pytest.mark.parametrize("name", ["AzureWebJobsStorage", "MAIL_STORAGE", "azurewebjobsstorage"])
def test_a_relative_folder_in_the_environment_is_refused(folders: tuple[Path, Path], name: str) -> None:
    home, elsewhere = folders
    settings = settings_file(home, "folder:mail", NO_MAILBOX)
    for command_name in ("run-once", "status"):
        ran = mailroom(command_name, settings=settings, cwd=elsewhere, environment={name: "folder:mail"})
        assert ran.returncode == 2
        assert ran.stderr.startswith(f"{name}: the environment variable names a relative folder")
        assert list(elsewhere.iterdir()) == []
    absolute = {name: f"folder:{elsewhere / 'mail'}"}
    ran = mailroom("run-once", settings=settings, cwd=home, environment=absolute)
    assert ran.returncode == 0, ran.stderr
    assert (elsewhere / "mail").is_dir()


@pytest.mark.parametrize("words", READING)
def test_commands_that_only_read_create_no_store(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    home, elsewhere = folders
    (home / "MESSAGE").write_bytes(plain_mail(1))
    values = {"MAILBOXES__support__PRESET": "gmail-imap", "MAILBOXES__support__ADDRESS": "support@example.com"}
    settings = settings_file(home, "folder:new/mail", values)
    arguments = [str(home / word) if word == "MESSAGE" else word for word in words.split()]
    monkeypatch.chdir(elsewhere)
    ran = CliRunner().invoke(cli, [*arguments, "--settings", str(settings)])
    assert ran.exit_code == READING[words], ran.output
    assert f"{home / 'new' / 'mail'}" in ran.output
    assert "the store does not exist yet: no mail has been stored in it" in ran.output
    assert {path.name for path in home.iterdir()} == {"settings.json", "MESSAGE"}
    assert list(elsewhere.iterdir()) == []


def test_reading_an_empty_folder_creates_no_store(folders: tuple[Path, Path]) -> None:
    home, elsewhere = folders
    settings = settings_file(home, f"folder:{elsewhere}", NO_MAILBOX)
    assert mailroom("status", settings=settings).returncode == 0
    assert list(elsewhere.iterdir()) == []


def test_serve_prints_its_storage(folders: tuple[Path, Path]) -> None:
    home, elsewhere = folders
    settings = settings_file(home, "folder:mail", NO_MAILBOX)
    process = subprocess.Popen(
        command("serve", "--port", "0", settings=settings), cwd=elsewhere, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    process.terminate()
    assert process.wait(60) == 0
    process.stdout.close()
    assert lines[0] == f"storage: {home / 'mail'}\n"
    assert lines[1].startswith("Serving; ")


def test_the_function_app_resolves_a_relative_folder_from_its_own_folder(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import shared.bootstrap
assert (shared.bootstrap.ROOT / "function_app.py").is_file()
shared.bootstrap.ROOT = Path(sys.argv[1])
shared.bootstrap.app().storage.close()
"""
    (tmp_path / "app").mkdir()
    (tmp_path / "cwd").mkdir()
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "app")],
        cwd=tmp_path / "cwd",
        env={"AzureWebJobsStorage": "folder:some/mail", "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert (tmp_path / "app/some/mail/.mailroom/state.sqlite3").is_file()
    assert list((tmp_path / "cwd").iterdir()) == []


@pytest.mark.parametrize("words", ["forget nonsense", "replay", "enable nobody", "find --since lately"])
def test_an_invalid_argument_is_reported_before_a_missing_store(tmp_path: Path, words: str) -> None:
    settings = settings_file(tmp_path, "folder:mail", NO_MAILBOX)
    ran = CliRunner().invoke(cli, [*words.split(), "--settings", str(settings)])
    assert ran.exit_code == 2, ran.output
    assert "does not exist yet" not in ran.output
