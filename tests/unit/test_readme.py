"""What the README shows is what the app takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared.settings import read_settings
from shared.settings.written import WrittenMailbox, WrittenRoute

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_settings_by_example_have_no_fault() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    settings = read_settings(json.loads(block)["Values"])
    assert settings.faulty == {}
    assert set(settings.mailboxes) == {"support", "office", "contracts", "orders"}
    assert {route.name for route in settings.routes} == {"helpdesk", "sales", "invoices", "partners"}


@pytest.mark.parametrize("model", [WrittenMailbox, WrittenRoute])
def test_every_setting_that_is_read_is_in_the_table(model: type[BaseModel]) -> None:
    missing = {name.upper() for name in model.model_fields} - set(re.findall(r"`(?:\w+__x__)?([A-Z_]+)`", README))
    assert missing == set()
