"""The settings in the README are valid."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mailroom_cli.commands.settings.reference import MODELS, settings_of
from shared.config import load_settings

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_example_settings_are_valid() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    settings = load_settings(json.loads(block)["Values"])
    assert settings.faulty == {}
    assert set(settings.mailboxes) == {"support", "office", "contracts", "orders"}
    assert {route.name for route in settings.routes} == {"helpdesk", "sales", "invoices", "partners"}


def test_every_setting_in_the_table_exists() -> None:
    table = README.partition("\n## Settings\n")[2].partition("\n## ")[0].partition("| --- | --- | --- |")[2]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(?:\w+__x__)?(\w+)`", row)]
    assert len(named) >= 20
    assert set(named) <= {setting.name for scope in MODELS for setting in settings_of(scope)}
    assert "(docs/settings.md)" in table
