"""Routes of the routes file, by themselves and together with the routes of the settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import AppSettings, RouteSet, load_routes, load_settings
from shared.config.model import declarations
from shared.config.routes_file import LARGEST_FILE
from shared.dispatch.route_repository import RouteTableCache
from shared.routing.model import Route
from tests.unit.test_config import APP, SALES, SUPPORT, mailbox, route

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/how-to/routes.md").read_text()
MANY = 10_000


def settings(*parts: Mapping[str, str]) -> AppSettings:
    environment = dict(APP)
    for part in parts or (SUPPORT,):
        environment.update(part)
    return load_settings(environment, complete=False)


def written(**routes: object) -> bytes:
    return json.dumps({"routes": routes}).encode()


def read(data: bytes, *parts: Mapping[str, str]) -> RouteSet:
    return load_routes(settings(*parts), data)


def error(data: bytes, *parts: Mapping[str, str]) -> str:
    """Return the only error, which holds all mail."""
    result = read(data, *parts)
    (only,) = result.errors
    assert not result.mailbox_errors
    return only


def test_3_1_a_route_of_the_file_is_read_as_one_of_the_settings() -> None:
    values = {
        "MAILBOX": "Support",
        "ADDRESS": "*@BÜCHER.example",
        "ORDER": "-5",
        "SENDERS": "A@Example.com; *@Example.org",
        "RECIPIENTS": "*@example.net",
        "SUBJECT_WORDS": "Order; C++ ;",
        "ATTACHMENT_TYPES": "PDF;.docx",
        "IMPORTANT": "true",
        "FOLDERS": "inbox;Sub/Folder",
        "ENABLED": "false",
    }
    assert {name.lower() for name in values} == set(declarations(Route))
    as_settings = settings(SUPPORT, route("one", **values)).routes
    lists = ("SENDERS", "RECIPIENTS", "SUBJECT_WORDS", "ATTACHMENT_TYPES", "FOLDERS")
    as_json: dict[str, Any] = {**values, "ORDER": -5, "IMPORTANT": True, "ENABLED": False}
    as_json |= {name: values[name].split(";") for name in lists}
    for file in (written(One=values), written(one=as_json), b"\xef\xbb\xbf" + written(one=as_json)):
        result = read(file)
        assert (result.routes, result.from_file, result.all_errors) == (as_settings, 1, ())
    in_lower_case = {name.lower(): value for name, value in as_json.items()}
    assert read(written(one=in_lower_case)).routes == as_settings


def test_without_a_file_the_routes_are_those_of_the_settings() -> None:
    result = load_routes(settings(SUPPORT, SALES), None)
    assert [item.name for item in result.routes] == ["sales"]
    assert (result.from_file, result.all_errors) == (None, ())
    assert "no route is set" in load_routes(settings(), None).warnings[0]
    assert not read(written(other={"ADDRESS": "support@example.com"})).warnings


def test_3_1_routes_of_file_and_settings_are_sorted_together() -> None:
    file = written(first={"ADDRESS": "a@example.com", "ORDER": 1}, last={"ADDRESS": "a@example.com", "ORDER": 200})
    result = read(file, SUPPORT, SALES)
    assert [item.name for item in result.routes] == ["first", "sales", "last"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "config/routes.json: is not JSON: Expecting value, line 1, column 1"),
        (b'{"routes": {\n "a": }}', "config/routes.json: is not JSON: Expecting value, line 2, column 7"),
        (b'{"routes": {}}\xff', "config/routes.json: is not in UTF-8"),
        (b"[" * 100_000, "config/routes.json: is not JSON that can be read"),
        (b'{"routes": {"a": {"ORDER": ' + b"9" * 5000 + b"}}}", "config/routes.json: is not JSON that can be read"),
        (b"[]", "config/routes.json: does not have routes as its only field"),
        (b"{}", "config/routes.json: does not have routes as its only field"),
        (b'{"routes": {}, "more": 1}', "config/routes.json: does not have routes as its only field"),
        (b'{"routes": {}, "routes": {}}', "config/routes.json: does not have routes as its only field"),
        (b'{"routes": []}', "config/routes.json: has routes that are not an object"),
        (written(**{"my-route": {}}), "config/routes.json, route 1: does not have a valid name of a route"),
        (
            written(a__b={"ADDRESS": "a@b.example"}),
            "config/routes.json, route 1: does not have a valid name of a route",
        ),
        (written(a="x"), "config/routes.json, route 1: is not an object"),
        (written(a={"ADDRESS": "a@b.example"}, A={}), "config/routes.json, route 2, A: is repeated"),
        (b'{"routes": {"a": {"ADDRESS": "a@b.c"}, "a": {}}}', "config/routes.json, route 2, a: is repeated"),
        (written(Sales={"ADDRESS": "x@y.example"}), "config/routes.json, Sales: is a route of the settings too"),
        (written(a={}), "config/routes.json, a.ADDRESS: is not set; give it an address"),
        (written(a={"ADDRESS": "x y"}), "config/routes.json, a.ADDRESS: x y is not an address"),
        (
            written(a={"ADDRESS": "a@b.example", "SENDER": "x@y.example"}),
            "config/routes.json, route 1, a, field 2: is not a field",
        ),
        (written(a={"ADDRESS": "a@b.example", "address": ""}), "config/routes.json, a.address: is repeated"),
        (written(a={"ADDRESS": None}), "config/routes.json, a.ADDRESS: is of the wrong kind; write a text"),
        (written(a={"ADDRESS": ["a@b.example"]}), "config/routes.json, a.ADDRESS: is of the wrong kind"),
        (written(a={"ADDRESS": "a@b.example", "ORDER": 1.5}), "config/routes.json, a.ORDER: is of the wrong kind"),
        (written(a={"ADDRESS": "a@b.example", "ORDER": True}), "config/routes.json, a.ORDER: is of the wrong kind"),
        (written(a={"ADDRESS": "a@b.example", "ORDER": "x"}), "config/routes.json, a.ORDER: the value is not a whole"),
        (written(a={"ADDRESS": "a@b.example", "IMPORTANT": 1}), "config/routes.json, a.IMPORTANT: is of the wrong"),
        (written(a={"ADDRESS": "a@b.example", "SENDERS": {}}), "config/routes.json, a.SENDERS: is of the wrong kind"),
        (written(a={"ADDRESS": "a@b.example", "SENDERS": [1]}), "config/routes.json, a.SENDERS: has an entry that"),
        (written(a={"ADDRESS": "a@b.example", "SENDERS": ["x;y"]}), "config/routes.json, a.SENDERS: has an entry"),
        (written(a={"ADDRESS": "a@b.example", "SENDERS": ["x"]}), "config/routes.json, a.SENDERS: x is not an address"),
        (written(a={"ADDRESS": "*", "SENDERS": []}), "config/routes.json, a.SENDERS: is not set; a route with"),
        (
            written(a={"ADDRESS": "a@b.example", "MAILBOX": "suport"}),
            "config/routes.json, a.MAILBOX: suport is not a mailbox",
        ),
    ],
)
def test_an_error_names_the_file_and_the_field(data: bytes, expected: str) -> None:
    assert error(data, SUPPORT, SALES).startswith(expected)


def test_a_route_in_both_file_and_settings_holds_all_mail() -> None:
    result = read(written(sales={"ADDRESS": "b@example.com"}), SUPPORT, SALES)
    assert [(item.name, item.address) for item in result.routes] == [("sales", "sales@example.com")]
    assert result.errors_for("support") == result.errors_for("gone") == result.errors


def test_a_warning_of_the_settings_is_not_repeated() -> None:
    twice = {**route("one", ADDRESS="a@b.example"), **route("two", ADDRESS="a@b.example", MAILBOX="other")}
    assert settings(SUPPORT, mailbox("other"), twice).warnings
    own = route("own", ADDRESS="support@example.com")
    assert not read(written(), SUPPORT, mailbox("other"), twice, own).warnings


def test_an_error_of_a_mailboxs_route_holds_only_its_mail() -> None:
    file = written(
        wrong={"MAILBOX": "support", "ADDRESS": "nobody"}, right={"MAILBOX": "other", "ADDRESS": "a@example.com"}
    )
    result = read(file, SUPPORT, mailbox("other"))
    assert result.errors_for("other") == ()
    assert result.errors_for("support") == result.all_errors
    assert result.errors_for("support")[0].startswith("config/routes.json, wrong.ADDRESS: nobody is not an address")
    assert [item.name for item in result.routes] == ["right"]


def test_3_1_a_fallback_may_be_a_route_of_the_file() -> None:
    support = mailbox("support", FALLBACK="rest")
    result = read(written(rest={"MAILBOX": "support"}), support)
    assert (result.routes, result.all_errors) == ((Route(name="rest", mailbox="support"),), ())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, "rest names a route that does not exist; define it"),
        (written(rent={"ADDRESS": "a@b.example"}), "did you mean rent?"),
        (written(rest={"MAILBOX": "other", "ADDRESS": "a@b.example"}), "is another mailbox's route"),
        (written(rest={"ENABLED": False}), "is a disabled route"),
    ],
)
def test_3_1_a_fallback_that_names_no_route_holds_its_mailboxs_mail(data: bytes | None, expected: str) -> None:
    result = load_routes(settings(mailbox("support", FALLBACK="rest"), mailbox("other")), data)
    (only,) = result.errors_for("support")
    assert only.startswith("MAILBOXES__support__FALLBACK: ")
    assert expected in only
    assert result.errors_for("other") == ()


HELPDESK = route("helpdesk", ORDER="7")


@pytest.mark.parametrize("data", [None, b'{"routes": {}}', written(other={"ADDRESS": "a@example.com"})])
def test_3_1_a_misspelled_fallback_is_reported_and_not_the_route_that_it_means(data: bytes | None) -> None:
    result = load_routes(settings(mailbox("support", FALLBACK="helpdsk"), mailbox("other"), HELPDESK), data)
    expected = "MAILBOXES__support__FALLBACK: helpdsk names a route that does not exist; did you mean helpdesk?"
    assert (result.errors, dict(result.mailbox_errors)) == ((), {"support": (expected,)})


def test_3_1_a_misspelled_fallback_means_a_route_of_the_file_as_well() -> None:
    result = read(written(helpdesk={}), mailbox("support", FALLBACK="help-desk"))
    (error,) = result.all_errors
    assert error.startswith("MAILBOXES__support__FALLBACK: help-desk names a route that does not exist; did you mean")
    assert read(written(helpdesk={}), mailbox("support", FALLBACK="helpdesk")).all_errors == ()


def test_3_1_a_fallback_of_the_file_leaves_a_similar_route_of_the_settings_without_an_address() -> None:
    result = read(written(helpdsk={}), mailbox("support", FALLBACK="helpdsk"), HELPDESK)
    (error,) = result.errors
    assert error.startswith("ROUTES__helpdesk__ADDRESS: is not set; give it an address, or name the route as a mailbox")
    assert [item.name for item in result.routes] == ["helpdsk"]


def test_3_1_a_route_without_address_and_without_a_similar_fallback_holds_mail() -> None:
    result = read(b'{"routes": {}}', mailbox("support", FALLBACK="rest"), route("zzz", MAILBOX="support"))
    assert [error.partition(":")[0] for error in result.mailbox_errors["support"]] == [
        "MAILBOXES__support__FALLBACK",
        "ROUTES__zzz__ADDRESS",
    ]
    assert result.errors == ()


def test_a_fallback_that_names_an_invalid_route_is_not_reported_itself() -> None:
    result = read(b'{"routes": {}}', mailbox("support", FALLBACK="rest"), route("rest", MAILBOX="support", ORDER="x"))
    (error,) = result.errors_for("support")
    assert error.startswith("ROUTES__rest__ORDER: ")
    assert result.errors_for("other") == ()


@pytest.mark.parametrize("data", [None, b"{", written(other={"ADDRESS": "a@example.com"})])
def test_3_1_errors_in_the_routes_of_the_settings_hold_mail_whatever_the_file_contains(data: bytes | None) -> None:
    own = route("own", MAILBOX="support", ADDRESS="nobody")
    result = load_routes(settings(SUPPORT, SALES, mailbox("other"), own, {"ROUTES_bob_ADDRESS": "b@example.com"}), data)
    assert result.errors[0].startswith("ROUTES_bob_ADDRESS: is not a setting; did you mean ROUTES__bob__ADDRESS?")
    assert result.mailbox_errors["support"] == (
        "ROUTES__own__ADDRESS: nobody is not an address; write name@example.com",
    )
    assert len(result.errors) == (2 if data == b"{" else 1)
    assert result.errors_for("other") == result.errors
    assert result.errors_for("support") == (*result.errors, *result.mailbox_errors["support"])


def test_a_route_of_the_file_with_the_name_of_an_invalid_route_of_the_settings_is_repeated() -> None:
    own = route("own", MAILBOX="support", ADDRESS="nobody")
    (error,) = read(written(own={"ADDRESS": "a@b.example"}), SUPPORT, own).errors
    assert error.startswith("config/routes.json, own: is a route of the settings too")


UNROUTED = (
    "MAILBOXES__support__ADDRESS: support@example.com has no route, so that mail to it will be unhandled; "
    "add one, or set MAILBOXES__support__FALLBACK"
)


@pytest.mark.parametrize(
    ("address", "values"),
    [
        ("support@example.com", {}),
        ("*@example.com", {}),
        ("*", {"SENDERS": "*@customer.example"}),
        ("support@example.com", {"MAILBOX": "support", "SENDERS": "*@customer.example"}),
    ],
)
def test_3_5_a_mailbox_whose_address_a_route_takes_has_no_warning(address: str, values: dict[str, str]) -> None:
    taking = {"ADDRESS": address, **values}
    assert read(b'{"routes": {}}', SUPPORT, SALES, route("own", **taking)).warnings == ()
    assert read(written(own=taking), SUPPORT, SALES).warnings == ()


def test_3_5_a_mailbox_whose_own_address_no_route_takes_is_a_warning() -> None:
    assert read(b'{"routes": {}}', SUPPORT, SALES).warnings == (UNROUTED,)
    assert load_routes(settings(SUPPORT, SALES), None).warnings == (UNROUTED,)
    assert load_routes(settings(SUPPORT, SALES), None, complete=False).warnings == (), "the file may have it"
    for other in ({"ENABLED": "false"}, {"MAILBOX": "other"}):
        own = route("own", ADDRESS="support@example.com", **other)
        result = read(b'{"routes": {}}', SUPPORT, SALES, mailbox("other", ADDRESS="sales@example.com"), own)
        assert result.warnings == (UNROUTED,)
    plus = mailbox("support", ADDRESS="support+in@example.com")
    own = route("own", ADDRESS="support@example.com")
    assert read(b'{"routes": {}}', plus, own).warnings == ()
    assert len(read(b'{"routes": {}}', {**plus, "MAILBOXES__support__PLUS_ADDRESSING": "off"}, own).warnings) == 1
    shared = mailbox("support", SHARED_MAILBOX="team@example.com")
    assert "team@example.com has no route" in read(b'{"routes": {}}', shared, own).warnings[0]


def test_3_5_no_warning_with_a_fallback_or_a_disabled_mailbox_or_an_error_in_a_route() -> None:
    assert read(written(rest={}), mailbox("support", FALLBACK="rest"), SALES).warnings == ()
    assert read(b'{"routes": {}}', mailbox("support", ENABLED="false"), SALES).warnings == ()
    own = route("own", MAILBOX="support", ADDRESS="support@example.com", ORDER="x")
    assert read(b'{"routes": {}}', SUPPORT, SALES, own).warnings == ()


def test_an_unreadable_file_reports_no_fallback() -> None:
    assert "is not JSON" in error(b"{", mailbox("support", FALLBACK="rest"))


def test_3_8_an_address_shared_by_file_and_settings_is_a_warning() -> None:
    file = written(
        theirs={"MAILBOX": "other", "ADDRESS": "sales@example.com", "ORDER": 200},
        also={"MAILBOX": "support", "ADDRESS": "b@example.com"},
        own={"ADDRESS": "support@example.com"},
    )
    (warning,) = read(file, SUPPORT, mailbox("other"), SALES).warnings
    assert warning.startswith("config/routes.json, theirs.ADDRESS: sales@example.com is the address of route sales too")


STORAGE_KEY = "c3RvcmFnZQ+/storage=="
STORAGE = f"DefaultEndpointsProtocol=https;AccountName=mail;AccountKey={STORAGE_KEY};EndpointSuffix=core.windows.net"
TELEMETRY = "InstrumentationKey=5a8f1c3e-7b9d-4f2a-8c6e-1d3b5f7a9c2e"


@pytest.mark.parametrize("secret", ["correct-horse", STORAGE_KEY, TELEMETRY])
def test_no_error_shows_a_secret(secret: str) -> None:
    environment = {"MAIL_STORAGE": STORAGE, "APPLICATIONINSIGHTS_CONNECTION_STRING": TELEMETRY}
    result = read(written(a={"ADDRESS": secret}), SUPPORT, environment)
    assert "the value is not an address" in result.errors[0]
    assert secret not in str(result)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*declarations(Route), "x"]), inner),
        max_leaves=20,
    )
)
def test_no_json_raises(value: object) -> None:
    whole = settings(SUPPORT, SALES)
    for data in (value, {"routes": value}, {"routes": {"a": value}}, {"routes": {"a": {"ADDRESS": value}}}):
        load_routes(whole, json.dumps(data).encode())


@given(st.binary())
def test_no_bytes_raise(data: bytes) -> None:
    assert load_routes(settings(), data).errors


def test_ten_thousand_routes_are_read_and_looked_up_fast() -> None:
    file = written(
        **{f"route_{n}": {"ADDRESS": f"a{n}@example.com", "SENDERS": ["*@example.org"]} for n in range(MANY)}
    )
    whole = settings()
    began = thread_time()
    result = load_routes(whole, file)
    table = RouteTableCache(whole, lambda: result).for_mailbox("support")
    read_in = thread_time() - began
    assert table is not None
    began = thread_time()
    for n in range(MANY):
        assert [item.route.name for item in table.plain_routes(f"a{n}+ref@example.com")] == [f"route_{n}"]
    one_in = (thread_time() - began) / MANY
    print(f"\n{MANY} routes: read in {read_in:.2f} s, an address result in {one_in * 1e6:.1f} µs")
    # Ten times what it takes on a slow machine; one after the other would take a hundred times that.
    assert read_in < 10
    assert one_in < 0.0002


def test_the_example_in_the_document_has_no_error() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    result = load_routes(settings(mailbox("support", FALLBACK="helpdesk")), example.encode())
    assert (result.all_errors, result.warnings) == ((), ())
    assert {item.name for item in result.routes} == {"helpdesk", "sales", "invoices", "partners"}


def test_3_9_a_route_of_the_file_may_be_for_an_alias() -> None:
    support = mailbox("support", ALIASES="press@example.com")
    assert not settings(support).warnings, "the file may have its route"
    helpdesk = {"ADDRESS": "support@example.com"}
    assert "press@example.com has no route" in read(written(helpdesk=helpdesk), support).warnings[0]
    assert not read(written(helpdesk=helpdesk, press={"ADDRESS": "press@example.com"}), support).warnings


def test_3_9_an_alias_without_a_route_is_a_warning() -> None:
    aliases = "sales@example.com;billing+x@example.com;a@brand.example;sale@example.com"
    routes = (
        route("sales", ADDRESS="sales@example.com"),
        route("billing", ADDRESS="billing@example.com", MAILBOX="one"),
        route("brand", ADDRESS="*@brand.example"),
        route("off", ADDRESS="sale@example.com", ENABLED="false"),
        route("other", ADDRESS="sale@example.com", MAILBOX="two"),
    )
    result = load_routes(settings(mailbox("one", ALIASES=aliases), mailbox("two"), *routes), None)
    (warning,) = [warning for warning in result.warnings if "ALIASES" in warning]
    assert warning == (
        "MAILBOXES__one__ALIASES: sale@example.com has no route of this mailbox, so that its mail goes where mail to "
        "ADDRESS goes; set up a route with this ADDRESS, or correct the alias"
    )


def test_a_too_large_file_is_not_read() -> None:
    file = written(one={"ADDRESS": "one@example.com"})
    assert read(file.ljust(LARGEST_FILE)).from_file == 1
    assert "has more than 10000000 bytes" in error(file.ljust(LARGEST_FILE + 1))


SECRET = "Hunter2-s3cr3t"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (written(a={"ADDRESS": "a@b.example"}, **{SECRET: {}}), "route 2: does not have a valid name of a route"),
        (written(a={"ADDRESS": "a@b.example"}, hunter2="x"), "route 2: is not an object"),
        (written(a={"ADDRESS": "a@b.example", SECRET: "x"}), "route 1, a, field 2: is not a field of a route; known"),
        (written(a={"ADDRESS": "a@b.example", "Adress": "x"}), "route 1, a, field 2: is not a field of a route; did"),
    ],
)
def test_a_secret_in_the_place_of_a_name_is_not_shown(data: bytes, expected: str) -> None:
    errors = "\n".join([*read(data).all_errors, *read(data).warnings])
    assert f"config/routes.json, {expected}" in errors
    assert SECRET.lower() not in errors.lower()
    assert "hunter2" not in errors.lower()
