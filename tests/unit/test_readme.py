"""What the README and the page on configuration show is what the app takes and writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from mailroom_cli.commands.settings.reference import MODELS, settings_of
from shared.config import load_settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
CONFIGURING = (ROOT / "docs/how-to/configuring.md").read_text()


def json_block(text: str) -> dict[str, object]:
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    value = json.loads(block)
    assert isinstance(value, dict)
    return value


def is_part_of(part: object, whole: object) -> bool:
    """Return whether all fields of `part` are in `whole`, with the same values."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(is_part_of(part[name], whole.get(name)) for name in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(part) == len(whole) and all(map(is_part_of, part, whole))
    return part == whole


def test_the_readme_has_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


def test_the_result_in_the_readme_is_part_of_the_published_example() -> None:
    result = json_block(README)
    assert len(result) >= 5
    assert is_part_of(result, json.loads((ROOT / "docs/examples/result.json").read_text()))


def test_the_pictures_of_the_readme_exist() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(pictures) == 2
    for picture in pictures:
        assert (ROOT / picture).read_text("utf-8").startswith("<svg ")


def test_the_settings_by_example_are_valid() -> None:
    values = json_block(CONFIGURING)["Values"]
    assert isinstance(values, dict)
    settings = load_settings(values)
    assert settings.mailbox_errors == {}
    assert set(settings.mailboxes) == {"support", "office", "contracts", "orders"}
    assert {route.name for route in settings.routes} == {"helpdesk", "sales", "invoices", "partners"}


def test_the_settings_in_the_table_exist() -> None:
    table = CONFIGURING.partition("| --- | --- | --- |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(?:\w+__x__)?(\w+)`", row)]
    assert len(named) >= 20
    existing = {setting.name for scope in MODELS for setting in settings_of(scope)}
    assert set(named) <= existing
    assert "(../reference/settings.md)" in CONFIGURING
