"""Names of settings, mailboxes and routes: case, misspellings, unknown names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.test_config import SALES, SUPPORT, app_errors, mailbox, read, route, route_errors, support_errors


@pytest.mark.parametrize("name", ["a", "support", "a1", "support_2", "a_b_c", "a" * 40])
def test_valid_names(name: str) -> None:
    result = read(mailbox(name), route(name, MAILBOX=name, ADDRESS="a@example.com"))
    assert list(result.mailboxes) == [name]
    assert result.routes[0].mailbox == name


@pytest.mark.parametrize("name", ["1a", "_a", "a-b", "a.b", "ä", "a" * 41])
def test_invalid_names(name: str) -> None:
    result = read(mailbox("good"), mailbox(name), SALES)
    assert list(result.mailboxes) == ["good"]
    assert len(result.mailbox_errors) == 1
    assert all(
        "does not have a valid name of a mailbox" in error for error in next(iter(result.mailbox_errors.values()))
    )


def test_a_route_of_a_mailbox_with_an_invalid_name_stops_only_that_mailbox() -> None:
    result = read(mailbox("good"), mailbox("my-box"), SALES, route("x", MAILBOX="my-box", ADDRESS="x@example.com"))
    assert list(result.mailboxes) == ["good"]
    assert list(result.mailbox_errors) == ["my-box"]


def test_an_upper_cased_environment_is_the_same() -> None:
    environment = {**mailbox("support", FALLBACK="rest"), **route("rest", MAILBOX="support"), **SALES}
    plain, upper = read(environment), read({key.upper(): value for key, value in environment.items()})
    assert plain == upper


def test_names_are_matched_without_case() -> None:
    result = read(mailbox("Support", FALLBACK="REST"), route("Rest", MAILBOX="SUPPORT"))
    assert result.mailboxes["support"].fallback == "rest"
    assert result.routes[0].mailbox == "support"


def test_mailboxes_that_differ_only_by_case_are_refused() -> None:
    result = read({**SUPPORT, "MAILBOXES__Support__PORT": "994"}, SALES)
    (error,) = result.mailbox_errors["support"]
    assert "MAILBOXES__Support" in error
    assert "MAILBOXES__support" in error
    assert "differs from" in error
    assert "by case alone" in error


def test_routes_that_differ_only_by_case_hold_all_mail() -> None:
    (error,) = route_errors(SUPPORT, SALES, {"ROUTES__Sales__MAILBOX": "support"})
    assert "by case alone" in error


def test_a_route_that_is_set_twice_is_invalid() -> None:
    result = read(SUPPORT, SALES, {"ROUTES__Sales__MAILBOX": "support"}, {"ROUTES": "x"})
    assert result.routes == ()
    assert result.invalid_routes == {"sales"}


def test_settings_that_differ_only_by_case_are_refused() -> None:
    result = read({**SUPPORT, "MAILBOXES__support__host": "other.example.com"}, SALES)
    (error,) = result.mailbox_errors["support"]
    assert "MAILBOXES__support__HOST" in error
    assert "MAILBOXES__support__host" in error
    (error,) = app_errors(SUPPORT, SALES, {"MAIL_CONTAINER": "a23", "mail_container": "b23"})
    assert "by case alone" in error


@pytest.mark.parametrize(
    ("setting", "near"),
    [("PASWORD", "PASSWORD"), ("FOLDER", "FOLDERS"), ("pol_every", "POLL_EVERY"), ("_HOST", "HOST")],
)
def test_an_unknown_setting_of_a_mailbox_is_an_error_with_the_closest_name(setting: str, near: str) -> None:
    (error,) = support_errors(**{setting: "x"})
    assert error == f"MAILBOXES__support__{setting}: is not a setting of a mailbox; did you mean {near}?"


def test_an_unknown_setting_without_a_close_name_lists_the_known_names() -> None:
    (error,) = support_errors(QQQ="x")
    assert "known are ADDRESS, AFTER, ALIASES, ALLOW_PLAINTEXT" in error


def test_a_setting_below_a_setting_is_unknown() -> None:
    (error,) = support_errors(PASSWORD__X="x")
    assert "PASSWORD__X: is not a setting" in error


def test_a_key_that_ends_at_the_name() -> None:
    result = read(SUPPORT, SALES, {"MAILBOXES__other": "x"})
    (error, *_) = result.mailbox_errors["other"]
    assert error.startswith("MAILBOXES__other: does not name a setting")


@pytest.mark.parametrize(("key", "errors_of"), [("MAILBOXES", app_errors), ("routes", route_errors)])
def test_json_in_one_setting_is_refused(key: str, errors_of: Callable[..., tuple[str, ...]]) -> None:
    (error,) = errors_of(SUPPORT, SALES, {key: '{"support": {"password": "hush"}}'})
    assert error.startswith(f"{key}: is not a setting by itself")
    assert "hush" not in error


def test_a_misspelled_setting_is_not_reported_as_missing_too() -> None:
    (error,) = read(mailbox("support", HOST=""), SALES, {"MAILBOXES__support_HOST": "x"}).mailbox_errors["support"]
    assert error == "MAILBOXES__support_HOST: is not a setting; did you mean MAILBOXES__support__HOST?"


def test_an_unknown_setting_of_a_route_for_all_mailboxes_holds_all_mail() -> None:
    (error,) = route_errors(SUPPORT, SALES, {"ROUTES__sales__SENDER": "a@example.com"})
    assert error == "ROUTES__sales__SENDER: is not a setting of a route; did you mean SENDERS?"


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("ROUTE__bob__ADDRESS", "ROUTES__bob__ADDRESS"),
        ("ROUTS__bob__ADDRESS", "ROUTES__bob__ADDRESS"),
        ("routes_bob_address", "ROUTES__bob__ADDRESS"),
        ("ROUTES_bob_ADDRESS", "ROUTES__bob__ADDRESS"),
        ("ROUTES_bob_ADDRES", "ROUTES__bob__ADDRESS"),
        ("ROUTE_bob_ADDRESS", "ROUTES__bob__ADDRESS"),
        ("ROUTES_bob__ADDRESS", "ROUTES__bob__ADDRESS"),
        ("ROUTES__bob_ADDRESS", "ROUTES__bob__ADDRESS"),
        ("ROUTES:bob:ADDRESS", "ROUTES__bob__ADDRESS"),
        ("ROUTES_two_words_ADDRESS", "ROUTES__two_words__ADDRESS"),
        ("ROUTES_sales_SUBJECT_WORDS", "ROUTES__sales__SUBJECT_WORDS"),
        ("ROUTES__sales_SENDERS", "ROUTES__sales__SENDERS"),
        ("ROUTE_Sales_FOLDERS", "ROUTES__Sales__FOLDERS"),
    ],
)
def test_3_1_a_misspelled_route_holds_all_mail(key: str, near: str) -> None:
    (error,) = route_errors(SUPPORT, SALES, {key: "bob@example.com"})
    assert error.startswith(f"{key}: ")
    assert error.endswith(f" setting; did you mean {near}?")


def test_3_1_a_misspelled_setting_of_a_mailboxs_route_holds_only_its_mail() -> None:
    own = route("own", MAILBOX="support", ADDRESS="own@example.com")
    for key in ("ROUTES_own_SENDERS", "ROUTES__own_SENDERS", "ROUTE__own__SENDERS"):
        (error,) = route_errors(SUPPORT, mailbox("other"), own, {key: "x@y.example"}, mailbox="support")
        assert error.endswith("did you mean ROUTES__own__SENDERS?")


@pytest.mark.parametrize(
    "key",
    [
        *("MAILBOX__support__AFTER", "MAILBOXS__support__AFTER", "MAILBOXES_support_AFTER", "MAILBOX_support_AFTER"),
        *("MAILBOXES__support_AFTER", "MAILBOXES_support__AFTER", "MAILBOXES.support.AFTER"),
    ],
)
def test_a_misspelled_setting_of_a_mailbox_stops_that_mailbox(key: str) -> None:
    """If it were ignored, mail that should be kept might be removed."""
    result = read(SUPPORT, mailbox("other"), SALES, {key: "keep"})
    (error,) = result.mailbox_errors["support"]
    assert error.startswith(f"{key}: ")
    assert error.endswith("did you mean MAILBOXES__support__AFTER?")
    assert (list(result.mailboxes), result.route_errors) == (["other"], {})


def test_a_misspelled_mailbox_is_invalid() -> None:
    new = {key.replace("__", "_").replace("support", "new"): value for key, value in SUPPORT.items()}
    result = read(SUPPORT, SALES, new)
    assert list(result.mailboxes) == ["support"]
    assert {error.partition(": is not a setting; did you mean ")[2] for error in result.mailbox_errors["new"]} == {
        f"{key.replace('support', 'new')}?" for key in SUPPORT
    }


def test_a_variable_that_may_be_a_setting_is_a_warning() -> None:
    result = read(SUPPORT, SALES, {"MAILBOXES_new_HOST": "imap.example.com", "ROUTES_new_ORDER": "1"})
    assert result.warnings == (
        "MAILBOXES_new_HOST: is not a setting and is ignored; did you mean MAILBOXES__new__HOST?",
        "ROUTES_new_ORDER: is not a setting and is ignored; did you mean ROUTES__new__ORDER?",
    )
    assert (result.mailbox_errors, result.route_errors) == ({}, {})


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("MAIL_CONTAINR", "MAIL_CONTAINER"),
        ("POLL_SHEDULE", "POLL_SCHEDULE"),
        ("loop_limi", "LOOP_LIMIT"),
        ("SIGN_IN_AUTORITY", "SIGN_IN_AUTHORITY"),
    ],
)
def test_a_misspelled_setting_of_the_app_is_a_warning(key: str, near: str) -> None:
    assert read(SUPPORT, SALES, {key: "x"}).warnings == (
        f"{key}: is not a setting and is ignored; did you mean {near}?",
    )


@pytest.mark.parametrize(
    "key",
    [
        *("MAIL", "MAILTO", "MAILCHECK", "ROUTER", "GRAPHVIZ_DOT", "POLLUTION", "PATH", "MAIL__X", "ROUTES_FILE"),
        *("MAILBOX_HOST", "MAILBOXES_SERVICE_HOST", "MAILBOXES_SERVICE_PORT", "MAILBOX_PORT_993_TCP_PORT"),
        *("MAILBOXES_PORT_993_TCP_PORT", "ROUTES_SERVICE_HOST", "ROUTE_TABLE_ADDRESS", "ROUTER_MAIN_ADDRESS"),
        *("REQUESTS_CA_BUNDLE", "ROUTE_53_ENABLED", "MAILBOX_IMAP_HOST", "SMTP_MAILBOX_ADDRESS"),
    ],
)
def test_variables_of_other_programs_are_ignored(key: str) -> None:
    assert read(SUPPORT, SALES, {key: "/var/mail/root"}).warnings == ()


def test_the_identity_form_is_for_the_apps_storage_alone() -> None:
    (error,) = app_errors(SUPPORT, SALES, {"MAIL_STORAGE__accountName": "acct"})
    assert "MAIL_STORAGE takes one value" in error


REFERENCE = "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/hush)"


def test_an_unresolved_reference_is_an_error_in_any_setting() -> None:
    for setting in ("PASSWORD", "HOST", "PORT", "FOLDERS"):
        (error,) = support_errors(**{setting: REFERENCE})
        assert error.startswith(f"MAILBOXES__support__{setting}: is a reference that Azure did not resolve")
        assert "hush" not in error
    for setting in ("MAIL_STORAGE", "AzureWebJobsStorage", "AzureWebJobsStorage__accountName", "POLL_SCHEDULE"):
        (error,) = app_errors(SUPPORT, SALES, {setting: REFERENCE.lower()})
        assert error.startswith(f"{setting}: is a reference that Azure did not resolve")
    (error,) = route_errors(SUPPORT, SALES, {"ROUTES__sales__MAILBOX": REFERENCE})
    assert "did not resolve" in error
