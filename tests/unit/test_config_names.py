"""Names of settings, mailboxes and routes: case, misspellings, what is unknown or not in this version."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.test_config import SALES, SUPPORT, faults, mailbox, read, route, route_faults, support_faults


@pytest.mark.parametrize("name", ["a", "support", "a1", "support_2", "a_b_c", "a" * 40])
def test_names_that_may_be(name: str) -> None:
    found = read(mailbox(name), route(name, MAILBOX=name, ADDRESS="a@example.com"))
    assert list(found.mailboxes) == [name]
    assert found.routes[0].mailbox == name


@pytest.mark.parametrize("name", ["1a", "_a", "a-b", "a.b", "ä", "a" * 41])
def test_names_that_may_not_be(name: str) -> None:
    found = read(mailbox("good"), mailbox(name), SALES)
    assert list(found.mailboxes) == ["good"]
    assert len(found.mailbox_errors) == 1
    assert all(
        "does not have a valid name of a mailbox" in fault for fault in next(iter(found.mailbox_errors.values()))
    )


def test_a_route_of_a_mailbox_without_a_good_name_stops_that_mailbox_alone() -> None:
    found = read(mailbox("good"), mailbox("my-box"), SALES, route("x", MAILBOX="my-box", ADDRESS="x@example.com"))
    assert list(found.mailboxes) == ["good"]
    assert list(found.mailbox_errors) == ["my-box"]


def test_an_upper_cased_environment_is_the_same() -> None:
    given = {**mailbox("support", FALLBACK="rest"), **route("rest", MAILBOX="support"), **SALES}
    plain, upper = read(given), read({key.upper(): value for key, value in given.items()})
    assert plain == upper


def test_names_are_matched_without_case() -> None:
    found = read(mailbox("Support", FALLBACK="REST"), route("Rest", MAILBOX="SUPPORT"))
    assert found.mailboxes["support"].fallback == "rest"
    assert found.routes[0].mailbox == "support"


def test_two_mailboxes_that_differ_by_case_alone_are_refused() -> None:
    found = read({**SUPPORT, "MAILBOXES__Support__PORT": "994"}, SALES)
    (fault,) = found.mailbox_errors["support"]
    assert "MAILBOXES__Support" in fault
    assert "MAILBOXES__support" in fault
    assert "differs from" in fault
    assert "by case alone" in fault


def test_two_routes_that_differ_by_case_alone_hold_all_mail() -> None:
    (fault,) = route_faults(SUPPORT, SALES, {"ROUTES__Sales__MAILBOX": "support"})
    assert "by case alone" in fault


def test_one_setting_twice_by_case_is_refused() -> None:
    found = read({**SUPPORT, "MAILBOXES__support__host": "other.example.com"}, SALES)
    (fault,) = found.mailbox_errors["support"]
    assert "MAILBOXES__support__HOST" in fault
    assert "MAILBOXES__support__host" in fault
    (fault,) = faults(SUPPORT, SALES, {"MAIL_CONTAINER": "a23", "mail_container": "b23"})
    assert "by case alone" in fault


@pytest.mark.parametrize(
    ("setting", "near"),
    [("PASWORD", "PASSWORD"), ("FOLDER", "FOLDERS"), ("pol_every", "POLL_EVERY"), ("_HOST", "HOST")],
)
def test_an_unknown_setting_of_a_mailbox_is_a_fault_with_the_nearest_name(setting: str, near: str) -> None:
    (fault,) = support_faults(**{setting: "x"})
    assert fault == f"MAILBOXES__support__{setting}: is not a setting of a mailbox; did you mean {near}?"


def test_a_setting_that_is_like_none_lists_what_is_known() -> None:
    (fault,) = support_faults(QQQ="x")
    assert "known are ADDRESS, AFTER, ALIASES, ALLOW_PLAINTEXT" in fault


def test_a_setting_below_a_setting_is_unknown() -> None:
    (fault,) = support_faults(PASSWORD__X="x")
    assert "PASSWORD__X: is not a setting" in fault


def test_a_key_that_ends_at_the_name() -> None:
    found = read(SUPPORT, SALES, {"MAILBOXES__other": "x"})
    (fault, *_) = found.mailbox_errors["other"]
    assert fault.startswith("MAILBOXES__other: does not name a setting")


@pytest.mark.parametrize(("key", "faults_of"), [("MAILBOXES", faults), ("routes", route_faults)])
def test_json_in_one_setting_is_refused(key: str, faults_of: Callable[..., tuple[str, ...]]) -> None:
    (fault,) = faults_of(SUPPORT, SALES, {key: '{"support": {"password": "hush"}}'})
    assert fault.startswith(f"{key}: is not a setting by itself")
    assert "hush" not in fault


def test_an_unknown_setting_of_everybodys_route_holds_all_mail() -> None:
    (fault,) = route_faults(SUPPORT, SALES, {"ROUTES__sales__SENDER": "a@example.com"})
    assert fault == "ROUTES__sales__SENDER: is not a setting of a route; did you mean SENDERS?"


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
def test_3_1_a_route_that_would_go_unseen_holds_all_mail(key: str, near: str) -> None:
    (fault,) = route_faults(SUPPORT, SALES, {key: "bob@example.com"})
    assert fault.startswith(f"{key}: ")
    assert fault.endswith(f" setting; did you mean {near}?")


def test_3_1_a_misspelled_setting_of_a_mailboxs_route_holds_its_mail_alone() -> None:
    own = route("own", MAILBOX="support", ADDRESS="own@example.com")
    for key in ("ROUTES_own_SENDERS", "ROUTES__own_SENDERS", "ROUTE__own__SENDERS"):
        (fault,) = route_faults(SUPPORT, mailbox("other"), own, {key: "x@y.example"}, mailbox="support")
        assert fault.endswith("did you mean ROUTES__own__SENDERS?")


@pytest.mark.parametrize(
    "key",
    [
        *("MAILBOX__support__AFTER", "MAILBOXS__support__AFTER", "MAILBOXES_support_AFTER", "MAILBOX_support_AFTER"),
        *("MAILBOXES__support_AFTER", "MAILBOXES_support__AFTER", "MAILBOXES.support.AFTER"),
    ],
)
def test_a_setting_of_a_mailbox_that_would_go_unseen_stops_that_mailbox(key: str) -> None:
    """Without it, mail might be removed that was to be kept."""
    found = read(SUPPORT, mailbox("other"), SALES, {key: "keep"})
    (fault,) = found.mailbox_errors["support"]
    assert fault.startswith(f"{key}: ")
    assert fault.endswith("did you mean MAILBOXES__support__AFTER?")
    assert (list(found.mailboxes), found.route_errors) == (["other"], {})


def test_a_whole_mailbox_that_would_go_unseen_is_faulty() -> None:
    new = {key.replace("__", "_").replace("support", "new"): value for key, value in SUPPORT.items()}
    found = read(SUPPORT, SALES, new)
    assert list(found.mailboxes) == ["support"]
    assert {fault.partition(": is not a setting; did you mean ")[2] for fault in found.mailbox_errors["new"]} == {
        f"{key.replace('support', 'new')}?" for key in SUPPORT
    }


def test_what_may_be_a_setting_of_ours_is_warned_of() -> None:
    found = read(SUPPORT, SALES, {"MAILBOXES_new_HOST": "imap.example.com", "ROUTES_new_ORDER": "1"})
    assert found.warnings == (
        "MAILBOXES_new_HOST: is not a setting and is ignored; did you mean MAILBOXES__new__HOST?",
        "ROUTES_new_ORDER: is not a setting and is ignored; did you mean ROUTES__new__ORDER?",
    )
    assert (found.mailbox_errors, found.route_errors) == ({}, {})


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
def test_what_is_not_ours_is_left_alone(key: str) -> None:
    assert read(SUPPORT, SALES, {key: "/var/mail/root"}).warnings == ()


def test_the_identity_form_is_for_the_apps_storage_alone() -> None:
    (fault,) = faults(SUPPORT, SALES, {"MAIL_STORAGE__accountName": "acct"})
    assert "MAIL_STORAGE takes one value" in fault


REFERENCE = "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/hush)"


def test_a_reference_that_azure_did_not_resolve_is_a_fault_in_any_setting() -> None:
    for setting in ("PASSWORD", "HOST", "PORT", "FOLDERS"):
        (fault,) = support_faults(**{setting: REFERENCE})
        assert fault.startswith(f"MAILBOXES__support__{setting}: is a reference that Azure did not resolve")
        assert "hush" not in fault
    for setting in ("MAIL_STORAGE", "AzureWebJobsStorage", "AzureWebJobsStorage__accountName", "POLL_SCHEDULE"):
        (fault,) = faults(SUPPORT, SALES, {setting: REFERENCE.lower()})
        assert fault.startswith(f"{setting}: is a reference that Azure did not resolve")
    (fault,) = route_faults(SUPPORT, SALES, {"ROUTES__sales__MAILBOX": REFERENCE})
    assert "did not resolve" in fault
