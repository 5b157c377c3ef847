"""No error, warning, repr or traceback shows a secret."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.config import AppSettings, MailboxSettings, load_settings
from shared.config.model import declarations
from shared.errors import ConfigurationError
from shared.routing.model import Route
from tests.sizes import size
from tests.unit.test_config import APP, SALES, mailbox, route

MARK = "Hush9Hush"
SECRET = f"{MARK}-0123"
CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=acct;AccountKey={MARK}==;EndpointSuffix=core.windows.net"
SECRETS = {
    "PASSWORD": SECRET,
    "CLIENT_SECRET": SECRET,
    "CERTIFICATE": f"-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----\n",
    "CERTIFICATE_PASSWORD": SECRET,
}


def outcome(environment: Mapping[str, str]) -> AppSettings | ConfigurationError:
    try:
        return load_settings(environment)
    except ConfigurationError as wrong:
        return wrong


def errors_and_warnings(result: AppSettings | ConfigurationError) -> list[str]:
    """Return all texts that are printed about invalid settings."""
    if isinstance(result, AppSettings):
        return [*result.warnings, *(error for errors in result.mailbox_errors.values() for error in errors)]
    assert result.__cause__ is None
    assert result.__context__ is None
    return [str(result), repr(result), *result.errors, *traceback.format_exception(result)]


def assert_silent(*texts: object) -> None:
    for text in texts:
        assert MARK.casefold() not in f"{text} {text!r} {text!s}".casefold()


def assert_silent_errors(*parts: Mapping[str, str]) -> None:
    result = errors_and_warnings(outcome({key: value for part in parts for key, value in part.items()}))
    assert_silent(*result)


@pytest.mark.parametrize("secret", SECRETS)
def test_valid_settings_show_no_secret(secret: str) -> None:
    for own in (
        mailbox("support", **({"PASSWORD": ""} | {secret: SECRETS[secret]})),
        {"AzureWebJobsStorage": CONNECTION},
        {"MAIL_STORAGE": CONNECTION},
    ):
        result = load_settings({**APP, **SALES, **mailbox("right", PASSWORD=SECRET), **own})
        assert "right" in result.mailboxes
        assert_silent(result, *result.mailboxes.values(), *result.mailbox_errors.values())


@pytest.mark.parametrize(
    "setting", [name.upper() for name in declarations(MailboxSettings)] + ["UNKNOWN", "DELIVERY_HINTS", ""]
)
def test_a_secret_in_the_wrong_setting_of_a_mailbox_is_not_shown(setting: str) -> None:
    for secret in SECRETS.values():
        right = mailbox("right", PASSWORD=secret, PROTOCOL="pop3")
        assert_silent_errors(APP, SALES, mailbox("support", **SECRETS | {setting: secret}))
        assert_silent_errors(APP, SALES, right, mailbox("support", **{setting: secret}))
        assert_silent_errors(SALES, mailbox("support", **SECRETS | {setting: secret}))  # with a error of the whole app


@pytest.mark.parametrize("setting", [name.upper() for name in declarations(Route)] + ["UNKNOWN"])
def test_a_secret_in_a_route_is_not_shown(setting: str) -> None:
    right = mailbox("support", PASSWORD=SECRET)
    assert_silent_errors(APP, right, route("sales", **{setting: SECRET}))
    assert_silent_errors(APP, right, route("sales", **{"MAILBOX": "support", setting: f"a;{SECRET}"}))


@pytest.mark.parametrize(
    "setting",
    [name.upper() for name in declarations(AppSettings)]
    + ["MAILBOXES", "ROUTES", "GRAPH_CLIENT_STATE_KEY", "MAIL_CONTAINR"],
)
def test_a_secret_in_a_setting_of_the_app_is_not_shown(setting: str) -> None:
    right = mailbox("support", PASSWORD=SECRET)
    assert_silent_errors(APP, SALES, right, {setting: SECRET})
    assert_silent_errors(SALES, right, {setting: SECRET})


@pytest.mark.parametrize(
    "text",
    [
        CONNECTION.replace("AccountName", "Account"),
        f"AccountKey={MARK}",
        f"https://{MARK}@acct.blob.core.windows.net",
        f"https://acct.blob.core.windows.net/?sv=1&sig={MARK}",
        f"https://[{MARK}",
        f"https://{MARK}\u2100.blob.core.windows.net",
        f"https://acct.example.com/{MARK}",
        f"sas:{MARK}",
    ],
)
def test_an_invalid_storage_is_not_shown(text: str) -> None:
    for setting in ("AzureWebJobsStorage", "MAIL_STORAGE"):
        assert_silent_errors(APP, SALES, mailbox("support", PASSWORD=SECRET), {setting: text})


def test_an_empty_or_a_common_secret_does_not_garble_errors() -> None:
    (error,) = load_settings({**APP, **SALES, **mailbox("support", PASSWORD="imap", PORT="0")}).mailbox_errors[
        "support"
    ]
    assert error == "MAILBOXES__support__PORT: 0 is not a port; use 1 to 65535"


def test_a_value_that_holds_a_secret_is_not_shown() -> None:
    result = load_settings({**APP, **SALES, **mailbox("support", PASSWORD=SECRET, FALLBACK=SECRET)})
    (error,) = result.route_errors["support"]
    assert error.startswith("MAILBOXES__support__FALLBACK: the value names a route that does not exist; ")
    (error,) = load_settings(
        {**APP, **SALES, "MAILBOXES_x_PASSWORD": SECRET, "ROUTES__a__ADDRESS": SECRET}
    ).route_errors[""]
    assert error.startswith("ROUTES__a__ADDRESS: the value is not an address")


def test_a_secret_survives_a_copy_and_stays_hidden() -> None:
    settings = load_settings({**APP, **SALES, **mailbox("support", PASSWORD=SECRET)}).mailboxes["support"]
    for other in (copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
        assert other == settings
        assert MARK not in repr(other)


BOXES = [f"MAILBOXES__{box}__{name.upper()}" for box in ("a", "A", "b") for name in declarations(MailboxSettings)]
NAMES = st.sampled_from(
    [
        *BOXES,
        *(f"ROUTES__{box}__{name.upper()}" for box in ("a", "b") for name in declarations(Route)),
        *(name.upper() for name in (*declarations(AppSettings), "mailboxes", "routes")),
        *(
            "MAILBOXES__-__HOST",
            "MAILBOXES__a",
            "MAILBOXES__",
            "ROUTES____",
            "ROUTES__a__b__c",
            "MAIL",
            "AzureWebJobsStorage",
        ),
    ]
)
VALUES = st.sampled_from(
    [
        "a",
        "b",
        "*",
        "a@example.com",
        "*@example.com",
        "imap",
        "pop3",
        "1",
        "true",
        "keep",
        "move:INBOX",
        "none",
        "folder:x",
        ";",
    ]
) | st.text(max_size=20)


@settings(max_examples=size(80, soak=3_000), deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=25))
def test_any_environment_gives_settings_or_errors(environment: dict[str, str]) -> None:
    result = outcome({"AzureWebJobsStorage": "folder:x", **environment})
    for line in errors_and_warnings(result) if isinstance(result, AppSettings) else result.errors:
        assert ": " in line
        assert line.isprintable()
    if isinstance(result, ConfigurationError):
        assert result.errors
        return
    assert not set(result.mailboxes) & set(result.mailbox_errors)
    given_names = {key.split("__")[1].lower() for key, text in environment.items() if key in BOXES and text.strip()}
    assert given_names <= {*result.mailboxes, *result.mailbox_errors}
    routes = {item.name for item in result.routes}
    assert all(item.fallback is None or item.fallback in routes for item in result.mailboxes.values())
