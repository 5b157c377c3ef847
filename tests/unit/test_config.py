"""The app as a whole: storages, schedules, and how faults are gathered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from shared.config import AppSettings, MailboxSettings, load_settings
from shared.config.model import SECRETS, declarations
from shared.errors import ConfigurationError
from shared.routing.model import Route

APP = {"AzureWebJobsStorage": "folder:here"}
SUPPORT = {
    "MAILBOXES__support__PROTOCOL": "imap",
    "MAILBOXES__support__HOST": "imap.example.com",
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "MAILBOXES__support__PASSWORD": "correct-horse",
}
SALES = {"ROUTES__sales__ADDRESS": "sales@example.com"}


def mailbox(name: str, **settings: str) -> dict[str, str]:
    """A mailbox that is right, with settings of its own; an empty one takes a setting away."""
    whole = {key.rpartition("__")[2]: value for key, value in SUPPORT.items()} | settings
    return {f"MAILBOXES__{name}__{setting}": value for setting, value in whole.items()}


def route(name: str, **settings: str) -> dict[str, str]:
    return {f"ROUTES__{name}__{setting}": value for setting, value in settings.items()}


def read(*parts: Mapping[str, str]) -> AppSettings:
    environment = dict(APP)
    for part in parts:
        environment.update(part)
    return load_settings(environment)


def faults(*parts: Mapping[str, str]) -> tuple[str, ...]:
    """The faults of the whole app."""
    with pytest.raises(ConfigurationError) as caught:
        read(*parts)
    return caught.value.faults


def route_faults(*parts: Mapping[str, str], mailbox: str = "") -> tuple[str, ...]:
    """The faults that hold the mail of a mailbox, or of all, and nothing else: the app runs, and collects."""
    found = read(*parts)
    assert found.mailbox_errors == {}
    assert list(found.route_errors) == [mailbox]
    return found.route_errors[mailbox]


def support_faults(**settings: str) -> tuple[str, ...]:
    """The faults of the mailbox `support` with these settings."""
    found = read(mailbox("support", **settings), SALES)
    assert "support" not in found.mailboxes
    return found.mailbox_errors["support"]


def test_the_least_that_works() -> None:
    found = read(SUPPORT, SALES)

    assert found.app_storage == found.mail_storage
    assert found.app_storage.folder == Path("here")
    assert (found.mail_container, found.poll_schedule, found.telemetry) == ("mail", "", None)
    assert (found.poll_budget, found.sign_in_authority) == (300, "https://login.microsoftonline.com")
    assert list(found.mailboxes) == ["support"]
    assert [route.name for route in found.routes] == ["sales"]
    assert found.mailbox_errors == {}
    assert found.warnings == ()


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**APP, **SUPPORT, **SALES}.items():
        monkeypatch.setenv(name, value)
    assert "support" in load_settings().mailboxes


def test_a_given_mapping_is_all_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_CONTAINER", "elsewhere")
    monkeypatch.setenv("MAILBOXES__other__HOST", "imap.example.org")
    found = read(SUPPORT, SALES)
    assert found.mail_container == "mail"
    assert list(found.mailboxes) == ["support"]


def test_every_setting_of_the_app() -> None:
    found = read(
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
    assert (found.app_storage.folder, found.mail_storage.folder) == (Path("here"), Path("there"))
    assert (found.mail_container, found.poll_schedule) == ("post-2", "0 * * * * *")
    assert found.poll_budget == 12.5
    assert found.sign_in_authority == "https://login.microsoftonline.us"


def test_the_hosts_identity_form() -> None:
    found = load_settings({"AzureWebJobsStorage__accountName": "acct", **SUPPORT, **SALES})
    assert found.app_storage.blob == "https://acct.blob.core.windows.net"


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
def test_a_fault_of_the_app_stops_it_and_names_the_setting(setting: str, value: str) -> None:
    (fault,) = faults(SUPPORT, SALES, {setting: value})
    assert fault.startswith(f"{setting}: ")
    assert ";" in fault, "a remedy follows"


def test_without_the_apps_own_storage_nothing_starts() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings({**SUPPORT, **SALES})
    (fault,) = caught.value.faults
    assert fault.startswith("AzureWebJobsStorage: is missing")


def test_every_fault_is_told_at_once_the_apps_first() -> None:
    found = faults(
        {"AzureWebJobsStorage": "nonsense", "MAIL_CONTAINER": "M", "POLL_BUDGET": "-1", "POLL_SCHEDULE": "x"},
        mailbox("support", PORT="0", FOLDERS="A;A"),
        mailbox("other", HOST="", ADDRESS="nobody"),
        route("sales", ADDRESS="*"),
    )
    assert [fault.partition(":")[0] for fault in found] == [
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


def test_a_fault_in_one_mailbox_disables_that_mailbox_alone() -> None:
    found = read(mailbox("good"), mailbox("bad", PORT="99999"), SALES)
    assert list(found.mailboxes) == ["good"]
    assert found.mailbox_errors == {"bad": ("MAILBOXES__bad__PORT: 99999 is not a port; use 1 to 65535",)}


def test_an_empty_value_counts_as_not_set() -> None:
    found = read(mailbox("support", PORT="", CLIENT_SECRET=" ", BLOCKED_SENDERS=""), SALES, {"MAIL_CONTAINER": " "})
    assert found.mailboxes["support"].port == 993
    assert found.mail_container == "mail"


def test_a_mailbox_of_empty_values_alone_is_none() -> None:
    found = read({"MAILBOXES__support__HOST": ""}, SALES)
    assert (found.mailboxes, found.mailbox_errors) == ({}, {})


def test_no_mailbox_is_a_warning() -> None:
    (warning,) = read(SALES).warnings
    assert "no mailbox is set" in warning


def test_no_route_is_a_warning() -> None:
    (warning,) = read(SUPPORT).warnings
    assert "no route is set" in warning


def test_what_is_read_is_frozen() -> None:
    found = read(SUPPORT, SALES)
    for thing, name in ((found, "mail_container"), (found.mailboxes["support"], "host"), (found.routes[0], "order")):
        with pytest.raises(AttributeError):
            setattr(thing, name, "x")
    with pytest.raises(TypeError):
        found.mailboxes["x"] = found.mailboxes["support"]  # type: ignore[index]  # that is what is tested


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
    found = read(SUPPORT, SALES, {"STORE_MODE": text, "MAIL_STORAGE": "folder:there"})
    assert (found.app_storage.file_mode, found.mail_storage.file_mode) == (mode, mode)


def test_stored_files_are_their_owners_alone_by_default() -> None:
    assert read(SUPPORT, SALES).mail_storage.file_mode == 0o600


def test_a_relative_folder_is_relative_to_a_base() -> None:
    found = load_settings(
        {**SUPPORT, **SALES, "AzureWebJobsStorage": "folder:here", "MAIL_STORAGE": "folder:/there"}, base=Path("/base")
    )
    assert (found.app_storage.folder, found.mail_storage.folder) == (Path("/base/here"), Path("/there"))
