"""`mailroom settings`: the file to start from, for each preset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from mailroom_cli.commands.settings.reference import Scope, settings_of
from mailroom_cli.commands.settings.template import starting_file
from mailroom_cli.commands.settings.validate import check_file
from mailroom_cli.settings_file import load_settings_file
from shared.config import After, MailProtocol, load_settings
from shared.config.presets import PRESETS, Preset

STARTS = [None, *Preset]
FILLED = {
    "HOST": "imap.example.com",
    "ADDRESS": "support@example.com",
    "PASSWORD": "secret",
    "TENANT_ID": "example.com",
    "CLIENT_ID": "11111111-2222-3333-4444-555555555555",
    "CLIENT_SECRET": "secret",
}
NEEDED = {
    "GRAPH_WEBHOOK_URL": {"GRAPH_CLIENT_STATE_KEY": "k" * 32},
    "MAILBOXES__support__SHARED_LOGIN": {"MAILBOXES__support__SHARED_MAILBOX": "shared"},
}
"""Settings that another setting requires."""

_COMMENTED = re.compile(r'^( *)// ("\w+": .*,)$', re.MULTILINE)


def loaded(folder: Path, text: str) -> dict[str, str]:
    path = folder / "local.settings.json"
    path.write_text(text)
    return load_settings_file(path)


def filled(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value or FILLED[name.rpartition("__")[2]] for name, value in values.items()}


@pytest.mark.parametrize("preset", STARTS)
def test_only_the_values_to_fill_in_are_errors(preset: Preset | None, tmp_path: Path) -> None:
    values = loaded(tmp_path, starting_file(preset))
    empty = {name for name, value in values.items() if not value}
    result = check_file(tmp_path / "local.settings.json")
    reported = {error.partition(":")[0] for error in result.errors}
    assert reported == empty

    settings = load_settings(filled(values))
    assert settings.mailbox_errors == {}
    assert not [line for line in settings.warnings if not line.startswith("GRAPH_WEBHOOK_URL")]
    (mailbox,), (route,) = settings.mailboxes.values(), settings.routes
    assert mailbox.protocol is (PRESETS[preset].protocol if preset else MailProtocol.IMAP)
    assert mailbox.fallback == route.name
    assert mailbox.after is After.KEEP


@pytest.mark.parametrize("preset", STARTS)
def test_every_setting_that_is_commented_out_may_be_set(preset: Preset | None, tmp_path: Path) -> None:
    text = starting_file(preset)
    whole = set(loaded(tmp_path, text))
    commented = list(_COMMENTED.finditer(text))
    assert len(commented) > 20
    for line in commented:
        opened = text[: line.start()] + line[1] + line[2] + text[line.end() :]
        values = loaded(tmp_path, opened)
        (name,) = set(values) - whole
        if not values[name]:
            continue  # a secret: nothing is shown
        settings = load_settings({**NEEDED.get(name, {}), **filled(values)})
        errors = [error for errors in settings.mailbox_errors.values() for error in errors]
        allowed = 1 if name.endswith("__CA_FILE") else 0  # the file does not exist
        assert len(errors) == allowed, errors
        assert not any(name in warning for warning in settings.warnings)


@pytest.mark.parametrize("preset", STARTS)
def test_all_comments_may_be_removed_at_once(preset: Preset | None, tmp_path: Path) -> None:
    text = starting_file(preset)
    values = loaded(tmp_path, _COMMENTED.sub(r"\1\2", text))
    assert len(values) == len(loaded(tmp_path, text)) + len(_COMMENTED.findall(text))


def test_every_setting_of_the_app_of_routes_and_of_the_server_is_in_the_file(tmp_path: Path) -> None:
    shown: set[str] = set()
    for preset in STARTS:
        shown |= set(loaded(tmp_path, _COMMENTED.sub(r"\1\2", starting_file(preset))))
    owners: dict[Scope, str] = {"app": "", "mailboxes": "support", "routes": "helpdesk"}
    expected = {setting.key(owner) for scope, owner in owners.items() for setting in settings_of(scope)}
    other_sign_in = {"CERTIFICATE", "CERTIFICATE_FILE", "CERTIFICATE_PASSWORD"}
    assert expected - shown == {f"MAILBOXES__support__{name}" for name in other_sign_in}
    assert shown - expected == {"FUNCTIONS_WORKER_RUNTIME"}


def test_lines_are_short_enough_to_read() -> None:
    assert max(len(line) for preset in STARTS for line in starting_file(preset).splitlines()) <= 120
