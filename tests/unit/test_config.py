"""The settings of the whole app: storages, schedules, and the collection of errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from shared.config import AppSettings, MailboxSettings, load_settings
from shared.config.model import SECRETS, declarations
from shared.errors import ConfigurationError
from shared.routing.model import Route
from tests.sizes import size

APP = {"AzureWebJobsStorage": "folder:here"}
SUPPORT = {
    "MAILBOXES__support__PROTOCOL": "imap",
    "MAILBOXES__support__HOST": "imap.example.com",
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "MAILBOXES__support__PASSWORD": "correct-horse",
}
SALES = {"ROUTES__sales__ADDRESS": "sales@example.com"}
TEXTS = [
    *("imap", "gmail-imap", "a@Example.com", "*@example.com", "*", "imap.example.com.", "[::1]", ".", "993", "none"),
    *("true", "client-secret", "INBOX;Sub", "inbox;*", "move:Archive", "keep", "now", "2026-11-23", "60", "150MB"),
    *(
        "X-Alias!;Resent-From",
        "mixed",
        "PDF;*.docx",
        "mail-2",
        "0640",
        "0 * * * * *",
        "12.5",
        "https://x.example:8443/",
    ),
    *("https://graph.microsoft.com/v1.0/", "https://x.example/api/hook", "k" * 32, f"{'k' * 32};{'l' * 40}"),
]


def mailbox(name: str, **settings: str) -> dict[str, str]:
    """Return a valid mailbox with other settings; an empty value removes a setting."""
    whole = {key.rpartition("__")[2]: value for key, value in SUPPORT.items()} | settings
    return {f"MAILBOXES__{name}__{setting}": value for setting, value in whole.items()}


def route(name: str, **settings: str) -> dict[str, str]:
    return {f"ROUTES__{name}__{setting}": value for setting, value in settings.items()}


def read(*parts: Mapping[str, str]) -> AppSettings:
    environment = dict(APP)
    for part in parts:
        environment.update(part)
    return load_settings(environment)


def app_errors(*parts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the errors of the whole app."""
    with pytest.raises(ConfigurationError) as caught:
        read(*parts)
    return caught.value.errors


def route_errors(*parts: Mapping[str, str], mailbox: str = "") -> tuple[str, ...]:
    """Return the errors that hold the mail of a mailbox, or all mail; the app itself runs and polls."""
    result = read(*parts)
    assert result.mailbox_errors == {}
    assert list(result.route_errors) == [mailbox]
    return result.route_errors[mailbox]


def support_errors(**settings: str) -> tuple[str, ...]:
    """Return the errors of the mailbox `support` with these settings."""
    result = read(mailbox("support", **settings), SALES)
    assert "support" not in result.mailboxes
    return result.mailbox_errors["support"]


def test_the_minimal_settings() -> None:
    result = read(SUPPORT, SALES)

    assert result.app_storage == result.mail_storage
    assert result.app_storage.folder == Path("here")
    assert (result.mail_container, result.poll_schedule, result.telemetry) == ("mail", "", None)
    assert (result.poll_budget, result.sign_in_authority) == (300, "https://login.microsoftonline.com")
    assert list(result.mailboxes) == ["support"]
    assert [route.name for route in result.routes] == ["sales"]
    assert result.mailbox_errors == {}
    assert result.warnings == ()


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**APP, **SUPPORT, **SALES}.items():
        monkeypatch.setenv(name, value)
    assert "support" in load_settings().mailboxes


def test_only_the_given_mapping_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_CONTAINER", "elsewhere")
    monkeypatch.setenv("MAILBOXES__other__HOST", "imap.example.org")
    result = read(SUPPORT, SALES)
    assert result.mail_container == "mail"
    assert list(result.mailboxes) == ["support"]


def test_every_setting_of_the_app() -> None:
    result = read(
        SUPPORT,
        SALES,
        {
            "MAIL_STORAGE": "folder:there",
            "MAIL_CONTAINER": "post-2",
            "POLL_SCHEDULE": " 0  * * * * * ",
            "POLL_BUDGET": "12.5",
            "SIGN_IN_AUTHORITY": "https://login.microsoftonline.us/",
        },
    )
    assert (result.app_storage.folder, result.mail_storage.folder) == (Path("here"), Path("there"))
    assert (result.mail_container, result.poll_schedule) == ("post-2", "0 * * * * *")
    assert result.poll_budget == 12.5
    assert result.sign_in_authority == "https://login.microsoftonline.us"


def test_the_hosts_identity_form() -> None:
    result = load_settings({"AzureWebJobsStorage__accountName": "acct", **SUPPORT, **SALES})
    assert result.app_storage.blob == "https://acct.blob.core.windows.net"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("MAIL_STORAGE", "somewhere"),
        ("MAIL_STORAGE", "https://[bad.blob.core.windows.net"),
        ("MAIL_CONTAINER", "Mail"),
        ("MAIL_CONTAINER", "a--b"),
        ("MAIL_CONTAINER", "ab"),
        *(("STORE_MODE", mode) for mode in ("0700", "0641", "4600", "0200", "0440", "0602", "0666", "384", "rw", "60")),
        ("POLL_SCHEDULE", "* * * * *"),
        ("POLL_SCHEDULE", "0 * * * * * *"),
        ("POLL_SCHEDULE", "00:10:00"),
        ("POLL_BUDGET", "0"),
        ("POLL_BUDGET", "five"),
        ("POLL_BUDGET", "nan"),
        ("SIGN_IN_AUTHORITY", "http://login.microsoftonline.com"),
        ("SIGN_IN_AUTHORITY", "https://login.microsoftonline.com/common"),
        ("SIGN_IN_AUTHORITY", "https://user:pw@login.microsoftonline.com"),
        ("SIGN_IN_AUTHORITY", "https://login:port"),
    ],
)
def test_an_error_of_the_app_stops_it_and_names_the_setting(setting: str, value: str) -> None:
    (error,) = app_errors(SUPPORT, SALES, {setting: value})
    assert error.startswith(f"{setting}: ")
    assert ";" in error, "no fix"


def test_without_the_apps_own_storage_nothing_starts() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({**SUPPORT, **SALES})
    (error,) = caught.value.errors
    assert error.startswith("AzureWebJobsStorage: is missing")


def test_all_errors_are_reported_at_once_those_of_the_app_first() -> None:
    result = app_errors(
        {"AzureWebJobsStorage": "nonsense", "MAIL_CONTAINER": "M", "POLL_BUDGET": "-1", "POLL_SCHEDULE": "x"},
        mailbox("support", PORT="0", FOLDERS="A;A"),
        mailbox("other", HOST="", ADDRESS="nobody"),
        route("sales", ADDRESS="*"),
    )
    assert [error.partition(":")[0] for error in result] == [
        "MAIL_CONTAINER",
        "POLL_SCHEDULE",
        "POLL_BUDGET",
        "AzureWebJobsStorage",
        "ROUTES__sales__SENDERS",
        "MAILBOXES__other__ADDRESS",
        "MAILBOXES__other__HOST",
        "MAILBOXES__support__PORT",
        "MAILBOXES__support__FOLDERS",
    ]


def test_an_error_in_a_mailbox_disables_only_that_mailbox() -> None:
    result = read(mailbox("good"), mailbox("bad", PORT="99999"), SALES)
    assert list(result.mailboxes) == ["good"]
    assert result.mailbox_errors == {"bad": ("MAILBOXES__bad__PORT: 99999 is not a port; use 1 to 65535",)}


def test_an_empty_value_counts_as_not_set() -> None:
    result = read(mailbox("support", PORT="", CLIENT_SECRET=" ", BLOCKED_SENDERS=""), SALES, {"MAIL_CONTAINER": " "})
    assert result.mailboxes["support"].port == 993
    assert result.mail_container == "mail"


def test_a_mailbox_with_only_empty_values_does_not_exist() -> None:
    result = read({"MAILBOXES__support__HOST": ""}, SALES)
    assert (result.mailboxes, result.mailbox_errors) == ({}, {})


def test_no_mailbox_is_a_warning() -> None:
    (warning,) = read(SALES).warnings
    assert "no mailbox is set" in warning


def test_no_route_is_a_warning() -> None:
    (warning,) = read(SUPPORT).warnings
    assert "no route is set" in warning


def test_settings_are_frozen() -> None:
    result = read(SUPPORT, SALES)
    for instance, name in (
        (result, "mail_container"),
        (result.mailboxes["support"], "host"),
        (result.routes[0], "order"),
    ):
        with pytest.raises(AttributeError):
            setattr(instance, name, "x")
    with pytest.raises(TypeError):
        result.mailboxes["x"] = result.mailboxes["support"]  # type: ignore[index]  # the test assigns on purpose


def test_every_setting_has_a_description_for_the_reference() -> None:
    derived = {
        AppSettings: {"mailboxes", "mailbox_errors", "routes", "fallbacks", "route_errors", "invalid_routes"}
        | {"warnings", "secrets"},
        MailboxSettings: {"name", "move_to", "poll_every_subscribed"},
        Route: {"name"},
    }
    for model, names in derived.items():
        described = {declaration.field for declaration in declarations(model).values()}
        assert {field.name for field in fields(model)} - described == names


def adapter(info: FieldInfo) -> TypeAdapter[Any]:
    annotated: Any = Annotated[info.annotation, info]
    return TypeAdapter(annotated)


@settings(max_examples=size(50, soak=3_000), deadline=None)
@given(st.text(min_size=1, max_size=12))
def test_validating_a_validated_value_changes_nothing(text: str) -> None:
    """The models validate values that were validated when the settings were read."""
    for candidate in (text.strip(), *TEXTS):
        for validator in ADAPTERS:
            try:
                value = validator.validate_python(candidate)
            except ValidationError:
                continue
            assert validator.validate_python(value) == value


ADAPTERS = [
    adapter(declaration.info)
    for model in (AppSettings, MailboxSettings, Route)
    for declaration in declarations(model).values()
]


def test_which_settings_are_secret() -> None:
    assert {
        "applicationinsights_connection_string",
        "azurewebjobsstorage",
        "graph_client_state_key",
        "certificate",
        "certificate_password",
        "client_secret",
        "mail_storage",
        "password",
    } == SECRETS


@pytest.mark.parametrize(
    ("text", "mode"), [("0600", 0o600), ("640", 0o640), ("0o664", 0o664), ("0644", 0o644), ("0660", 0o660)]
)
def test_the_mode_of_stored_files_is_octal(text: str, mode: int) -> None:
    result = read(SUPPORT, SALES, {"STORE_MODE": text, "MAIL_STORAGE": "folder:there"})
    assert (result.app_storage.file_mode, result.mail_storage.file_mode) == (mode, mode)


def test_stored_files_are_readable_only_by_their_owner_by_default() -> None:
    assert read(SUPPORT, SALES).mail_storage.file_mode == 0o600


def test_a_relative_folder_is_relative_to_a_base() -> None:
    result = load_settings(
        {**SUPPORT, **SALES, "AzureWebJobsStorage": "folder:here", "MAIL_STORAGE": "folder:/there"}, base=Path("/base")
    )
    assert (result.app_storage.folder, result.mail_storage.folder) == (Path("/base/here"), Path("/there"))
