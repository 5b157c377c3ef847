"""What the README shows is what the app takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mailroom_cli.commands.settings.reference import MODELS, settings_of
from shared.config import load_settings

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_settings_by_example_have_no_fault() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    settings = load_settings(json.loads(block)["Values"])
    assert settings.mailbox_errors == {}
    assert set(settings.mailboxes) == {"support", "office", "contracts", "orders"}
    assert {route.name for route in settings.routes} == {"helpdesk", "sales", "invoices", "partners"}


def test_what_the_table_of_settings_names_is_read() -> None:
    table = README.partition("\n## Settings\n")[2].partition("\n## ")[0].partition("| --- | --- | --- |")[2]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(?:\w+__x__)?(\w+)`", row)]
    assert len(named) >= 20
    known = {setting.name for scope in MODELS for setting in settings_of(scope)}
    assert set(named) <= known
    assert "(docs/settings.md)" in table
