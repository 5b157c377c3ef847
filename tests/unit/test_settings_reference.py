"""docs/reference/settings.md matches the code, and is complete."""

from __future__ import annotations

import re

import pytest

from mailroom_cli.commands.settings.reference import (
    LOCAL_DEFAULTS,
    MODELS,
    PLATFORM,
    Scope,
    format_default,
    settings_of,
)
from shared.config import After, load_settings
from shared.config.model import declarations
from shared.config.presets import Preset
from tests.unit.test_operating_docs import read
from tools.settings_reference import PAGE, _code, named_by_bindings, page

TEXT = PAGE.read_text()


def chapter(heading: str) -> str:
    return TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_the_page_matches_the_code() -> None:
    assert page() == TEXT, "run `make docs`"


@pytest.mark.parametrize(("scope", "heading"), [("app", "The app"), ("mailboxes", "A mailbox"), ("routes", "A route")])
def test_every_setting_that_is_read_is_in_its_table(scope: Scope, heading: str) -> None:
    names = re.findall(r"^\| `(\w+)`(?: \*\*secret\*\*)? \|", chapter(heading), re.MULTILINE)
    read_by_the_code = list(declarations(MODELS[scope]))
    assert [name.lower() for name in names] == read_by_the_code


def test_secrets_are_marked_and_nothing_else() -> None:
    marked = set(re.findall(r"`(\w+)` \*\*secret\*\*", TEXT))
    assert marked == {
        *("AzureWebJobsStorage", "MAIL_STORAGE", "GRAPH_CLIENT_STATE_KEY", "APPLICATIONINSIGHTS_CONNECTION_STRING"),
        *("PASSWORD", "CLIENT_SECRET", "CERTIFICATE", "CERTIFICATE_PASSWORD"),
    }


def test_a_default_that_is_shown_as_a_value_is_valid_and_changes_nothing() -> None:
    base = {
        "AzureWebJobsStorage": "folder:mail",
        "MAILBOXES__m__PROTOCOL": "imap",
        "MAILBOXES__m__HOST": "imap.example.com",
        "MAILBOXES__m__ADDRESS": "m@example.com",
        "MAILBOXES__m__PASSWORD": "secret",
        "ROUTES__m__ADDRESS": "r@example.com",
    }
    without, shown = load_settings(base), 0
    for scope in MODELS:
        for setting in settings_of(scope):
            if setting.value:
                shown += 1
                assert load_settings(base | {setting.key("m"): setting.default}) == without, setting.name
    assert shown >= 15


def test_settings_that_bindings_name_have_a_local_value_and_are_described() -> None:
    bindings = named_by_bindings()
    assert bindings == {"POLL_SCHEDULE": ["poll_timer"]}
    assert set(bindings) == set(LOCAL_DEFAULTS)
    assert "The binding of `poll_timer` names it" in chapter("The app")


def test_the_platforms_settings_match_the_templates() -> None:
    template = read("infra/app/settings.bicep")
    platform = template.partition("var platform = {")[2].partition("\n}")[0]
    template_platform = dict(re.findall(r"^  (PYTHON_\w+): '(\w+)'$", platform, re.MULTILINE))
    assert template_platform == PLATFORM
    names = set(
        re.findall(r"^  (\w+):", platform + template.partition("var userAssigned")[2].partition("\n}")[0], re.MULTILINE)
    )
    assert len(names) >= 5
    page_has = set(re.findall(r"`(\w+)`", chapter("Azure Functions") + chapter("The app")))
    assert names <= page_has


def test_every_preset_is_described() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", chapter("Presets"), re.MULTILINE) == list(Preset)


def test_how_defaults_are_written() -> None:
    assert format_default(150 * 1024**2) == "150MB"
    assert format_default(1024**2 + 1) == "1048577"
    assert format_default(True) == "true"
    assert format_default(("a", "b")) == "a;b"
    assert format_default(After.KEEP) == "keep"
    assert format_default(None) == format_default(()) == format_default("") == ""
    with pytest.raises(TypeError, match="kind object"):
        format_default(object())


def test_texts_to_type_are_code() -> None:
    assert (
        _code("TLS as in TLS=none; HOST, by ;, or *. Not HOSTS.")
        == "TLS as in `TLS=none`; `HOST`, by `;`, or `*`. Not HOSTS."
    )
