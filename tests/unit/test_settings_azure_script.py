"""`mailroom settings --azure`: the script is run by bash, with a fake az that logs its arguments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailroom_cli.commands.settings.azure_script import Target, script, secret_name
from shared.config import load_settings
from shared.errors import ConfigurationError

STORAGE = "DefaultEndpointsProtocol=https;AccountName=abc;AccountKey=aHVzaA==;EndpointSuffix=core.windows.net"
VALUES = {
    "AzureWebJobsStorage": STORAGE,
    "FUNCTIONS_WORKER_RUNTIME": "python",
    "POLL_SCHEDULE": "30 */5 * * * *",
    "MAILBOXES__support__PROTOCOL": "imap",
    "MAILBOXES__support__HOST": "imap.example.com",
    "MAILBOXES__support__ADDRESS": "o'neil@example.com",
    "mailboxes__support__password": " hush'1\\n$HOME ",
    "ROUTES__a__ADDRESS": "*@example.com",
    "ROUTES__a__SUBJECT_WORDS": 'it\'s $HOME;`id`;"y";(x) !! \\ ü',
}
AZ = """\
import json, sys
words = sys.argv[1:]
call = {"words": words, "input": None}
if "--file" in words:
    call["file"] = open(words[words.index("--file") + 1], "rb").read().decode("latin-1")
with open(LOG, "a") as log:
    log.write(json.dumps(call) + "\\n")
print("what az has set", "SECRET" if "none" not in words else "")
"""


@dataclass(frozen=True)
class AzCall:
    words: list[str]
    file: bytes | None

    def after(self, option: str) -> str:
        return self.words[self.words.index(option) + 1]

    @property
    def settings(self) -> dict[str, str]:
        pairs = self.words[self.words.index("--settings") + 1 :]
        return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def run(text: str, folder: Path, keyboard: str = "") -> tuple[subprocess.CompletedProcess[str], list[AzCall]]:
    commands, log = folder / "bin", folder / "log"
    commands.mkdir()
    (folder / "az.py").write_text(AZ.replace("LOG", repr(str(log))))
    az = commands / "az"
    az.write_text(f'#!/bin/sh\nexec {sys.executable} {folder}/az.py "$@"\n')
    az.chmod(0o755)
    (folder / "put.sh").write_text(text)
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir()
    ran = subprocess.run(
        ["bash", folder / "put.sh"],
        input=keyboard,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert list((folder / "tmp").iterdir()) == []  # no secret is left behind
    lines = log.read_text().splitlines() if log.exists() else []
    read = [json.loads(line) for line in lines]
    return ran, [AzCall(item["words"], item["file"].encode("latin-1") if "file" in item else None) for item in read]


def test_az_gets_every_value_unchanged_and_no_secret(tmp_path: Path) -> None:
    text = script(VALUES, Target("my group", "app", "kv"))
    assert "hush" not in text
    assert "aHVzaA" not in text
    ran, (secret, settings) = run(text, tmp_path, VALUES["mailboxes__support__password"] + "\n")
    assert ran.returncode == 0, ran.stderr

    assert secret.words[:3] == ["keyvault", "secret", "set"]
    assert secret.after("--vault-name") == "kv"
    assert secret.after("--name") == "support-password"
    assert secret.after("--encoding") == "utf-8"
    assert secret.file == VALUES["mailboxes__support__password"].encode()

    assert settings.words[:4] == ["functionapp", "config", "appsettings", "set"]
    assert settings.after("--resource-group") == "my group"
    assert settings.after("--name") == "app"
    plain = {name: value for name, value in VALUES.items() if name.startswith(("MAILBOXES", "ROUTES", "POLL"))}
    assert settings.settings == {
        **plain,
        "mailboxes__support__password": "@Microsoft.KeyVault(SecretUri=https://kv.vault.azure.net/secrets/support-password/)",
        "PYTHON_THREADPOOL_THREAD_COUNT": "32",
        "PYTHON_ENABLE_OPENTELEMETRY": "true",
    }
    # az prints what it has set, unless --output is none.
    assert all(item.after("--output") == "none" for item in (secret, settings))


def test_settings_that_bindings_name_are_set_even_if_the_file_lacks_them(tmp_path: Path) -> None:
    ran, (settings,) = run(script({}, Target()), tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert settings.settings["POLL_SCHEDULE"] == "0 * * * * *"


def test_without_an_answer_nothing_changes(tmp_path: Path) -> None:
    ran, calls = run(script(VALUES, Target()), tmp_path, "\n")
    assert ran.returncode != 0
    assert "mailboxes__support__password: nothing was entered" in ran.stderr
    assert calls == []


def test_a_secret_of_several_lines_is_read_whole(tmp_path: Path) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n"
    text = script({"MAILBOXES__a__CERTIFICATE": pem}, Target())
    assert "hush" not in text
    ran, (secret, _) = run(text, tmp_path, pem)
    assert ran.returncode == 0, ran.stderr
    assert secret.file == pem.encode()


@pytest.mark.parametrize(("content", "encoding"), [(b"-----BEGIN X-----\n", "utf-8"), (b"\x30\x82\xff", "base64")])
def test_a_certificates_file_becomes_a_secret(content: bytes, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "it's a key.pfx"
    file.write_bytes(content)
    _, (secret, settings) = run(script({"MAILBOXES__a__CERTIFICATE_FILE": str(file)}, Target()), tmp_path)
    assert secret.file == content
    assert secret.after("--encoding") == encoding
    assert settings.settings["MAILBOXES__a__CERTIFICATE"].endswith("/secrets/a-certificate/)")
    assert "MAILBOXES__a__CERTIFICATE_FILE" not in settings.settings


def test_a_certificates_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="MAILBOXES__a__CERTIFICATE_FILE: cannot be read: No such file"):
        script({"MAILBOXES__a__CERTIFICATE_FILE": str(tmp_path / "none.pem")}, Target())


def test_storages(tmp_path: Path) -> None:
    address = "https://abc.blob.core.windows.net"
    assert f"MAIL_STORAGE={address}" in script({"MAIL_STORAGE": address}, Target())
    for here in ("folder:./mail", "UseDevelopmentStorage=true"):
        text = script({"MAIL_STORAGE": here, "AzureWebJobsStorage": here}, Target())
        assert "# MAIL_STORAGE is left out" in text
        assert here not in text
    _, (secret, settings) = run(script({"MAIL_STORAGE": STORAGE}, Target()), tmp_path, STORAGE + "\n")
    assert secret.after("--name") == "mail-storage"
    assert settings.settings["MAIL_STORAGE"].startswith("@Microsoft.KeyVault(")
    for part in ("accountName", "credential"):
        assert f"AzureWebJobsStorage__{part} is left out" in script({f"AzureWebJobsStorage__{part}": "hush"}, Target())


def test_a_reference_stays_as_it_is(tmp_path: Path) -> None:
    reference = "@Microsoft.KeyVault(VaultName=other;SecretName=x)"
    _, (settings,) = run(script({"MAILBOXES__a__PASSWORD": reference}, Target()), tmp_path)
    assert settings.settings["MAILBOXES__a__PASSWORD"] == reference


def test_a_value_is_not_read_from_a_file(tmp_path: Path) -> None:
    _, (settings,) = run(script({"ROUTES__a__SUBJECT_WORDS": "@home;office"}, Target()), tmp_path)
    setting = settings.settings["ROUTES__a__SUBJECT_WORDS"]
    assert not setting.startswith("@")
    values = {"AzureWebJobsStorage": "folder:x", "ROUTES__a__ADDRESS": "a@example.com"}
    (route,) = load_settings({**values, "ROUTES__a__SUBJECT_WORDS": setting}).routes
    assert route.subject_words == ("@home", "office")


def test_variables_of_other_programs_are_named_and_left_out(tmp_path: Path) -> None:
    text = script({"OTHER\nrm -rf x": "hush", "MAILBOXES__a__COLOUR": "hush", "EMPTY": " "}, Target())
    assert "hush" not in text
    assert "EMPTY" not in text
    assert "\n# OTHER rm -rf x is left out: it is not Mailroom's, and may be a secret.\n" in text
    assert "\n# MAILBOXES__a__COLOUR is left out" in text


def test_no_two_secrets_share_a_name() -> None:
    keys = ["MAILBOXES__a__CERTIFICATE_PASSWORD", "MAILBOXES__a_certificate__PASSWORD", "MAILBOXES__b__PASSWORD"]
    assert [secret_name(key) for key in keys] == ["a-certificate-password", "a--certificate-password", "b-password"]
    assert secret_name("GRAPH_CLIENT_STATE_KEY") == "graph-client-state-key"


def test_a_ca_file_must_be_deployed() -> None:
    text = script({"MAILBOXES__a__CA_FILE": "roots.pem"}, Target())
    assert "# MAILBOXES__a__CA_FILE: deploy the file with the app" in text
    assert "MAILBOXES__a__CA_FILE=roots.pem" in text
