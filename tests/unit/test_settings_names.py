"""Names of settings, mailboxes and routes: case, misspellings, what is unknown or not in this version."""

from __future__ import annotations

import pytest

from tests.unit.test_settings import SALES, SUPPORT, faults, mailbox, read, route, support_faults


@pytest.mark.parametrize("name", ["a", "support", "a1", "support_2", "a_b_c", "a" * 40])
def test_names_that_may_be(name: str) -> None:
    found = read(mailbox(name), route(name, MAILBOX=name, ADDRESS="a@example.com"))
    assert list(found.mailboxes) == [name]
    assert found.routes[0].mailbox == name


@pytest.mark.parametrize("name", ["1a", "_a", "a-b", "a.b", "ä", "a" * 41])
def test_names_that_may_not_be(name: str) -> None:
    found = read(mailbox("good"), mailbox(name), SALES)
    assert list(found.mailboxes) == ["good"]
    assert len(found.faulty) == 1
    assert all("has no name that a mailbox may have" in fault for fault in next(iter(found.faulty.values())))


def test_a_route_of_a_mailbox_without_a_good_name_stops_that_mailbox_alone() -> None:
    found = read(mailbox("good"), mailbox("my-box"), SALES, route("x", MAILBOX="my-box", ADDRESS="x@example.com"))
    assert list(found.mailboxes) == ["good"]
    assert list(found.faulty) == ["my-box"]


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
    (fault,) = found.faulty["support"]
    assert "MAILBOXES__Support" in fault
    assert "MAILBOXES__support" in fault
    assert "differs from" in fault
    assert "by case alone" in fault


def test_two_routes_that_differ_by_case_alone_stop_the_app() -> None:
    (fault,) = faults(SUPPORT, SALES, {"ROUTES__Sales__MAILBOX": "support"})
    assert "by case alone" in fault


def test_one_setting_twice_by_case_is_refused() -> None:
    found = read({**SUPPORT, "MAILBOXES__support__host": "other.example.com"}, SALES)
    (fault,) = found.faulty["support"]
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
    assert fault == f"MAILBOXES__support__{setting}: is no setting of a mailbox; did you mean {near}?"


def test_a_setting_that_is_like_none_lists_what_is_known() -> None:
    (fault,) = support_faults(QQQ="x")
    assert "known are ADDRESS, AFTER, ALIASES, ALLOW_PLAINTEXT" in fault


def test_a_setting_below_a_setting_is_unknown() -> None:
    (fault,) = support_faults(PASSWORD__X="x")
    assert "PASSWORD__X: is no setting" in fault


def test_a_key_that_ends_at_the_name() -> None:
    found = read(SUPPORT, SALES, {"MAILBOXES__other": "x"})
    (fault, *_) = found.faulty["other"]
    assert fault.startswith("MAILBOXES__other: names no setting")


@pytest.mark.parametrize("key", ["MAILBOXES", "routes"])
def test_json_in_one_setting_is_refused(key: str) -> None:
    (fault,) = faults(SUPPORT, SALES, {key: '{"support": {"password": "hush"}}'})
    assert fault.startswith(f"{key}: is no setting of its own")
    assert "hush" not in fault


def test_an_unknown_setting_of_everybodys_route_stops_the_app() -> None:
    (fault,) = faults(SUPPORT, SALES, {"ROUTES__sales__SENDER": "a@example.com"})
    assert fault == "ROUTES__sales__SENDER: is no setting of a route; did you mean SENDERS?"


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("MAILBOX__support__HOST", "MAILBOXES__support__HOST"),
        ("MAILBOXS__support__HOST", "MAILBOXES__support__HOST"),
        ("ROUTE__sales__ADDRESS", "ROUTES__sales__ADDRESS"),
    ],
)
def test_a_mailbox_or_route_that_would_go_unseen_stops_the_app(key: str, near: str) -> None:
    assert faults(SUPPORT, SALES, {key: "x"}) == (f"{key}: is no setting; did you mean {near}?",)


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
    assert read(SUPPORT, SALES, {key: "x"}).warnings == (f"{key}: is no setting and is ignored; did you mean {near}?",)


@pytest.mark.parametrize(
    "key", ["MAIL", "MAILTO", "MAILCHECK", "ROUTER", "GRAPHVIZ_DOT", "POLLUTION", "PATH", "MAIL__X"]
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
    (fault,) = faults(SUPPORT, SALES, {"ROUTES__sales__MAILBOX": REFERENCE})
    assert "did not resolve" in fault
