"""Routes that stand in the routes file, by themselves and together with those of the settings."""

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

from shared.config import AppSettings, RouteSet, RouteSettings, load_routes, load_settings
from shared.config.routes_file import LARGEST_FILE
from shared.config.schema import WrittenRoute
from shared.dispatch.route_tables import RouteTableCache
from tests.unit.test_config import APP, SALES, SUPPORT, mailbox, route

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/routes.md").read_text()
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


def fault(data: bytes, *parts: Mapping[str, str]) -> str:
    """The one fault, and everybody's."""
    found = read(data, *parts)
    (only,) = found.faults
    assert not found.faulty
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
    assert {name.lower() for name in values} == set(WrittenRoute.model_fields)
    as_settings = settings(SUPPORT, route("one", **values)).routes
    lists = ("SENDERS", "RECIPIENTS", "SUBJECT_WORDS", "ATTACHMENT_TYPES", "FOLDERS")
    as_json: dict[str, Any] = {**values, "ORDER": -5, "IMPORTANT": True, "ENABLED": False}
    as_json |= {name: values[name].split(";") for name in lists}
    for file in (written(One=values), written(one=as_json), b"\xef\xbb\xbf" + written(one=as_json)):
        found = read(file)
        assert (found.routes, found.from_file, found.all_faults) == (as_settings, 1, ())
    in_lower_case = {name.lower(): value for name, value in as_json.items()}
    assert read(written(one=in_lower_case)).routes == as_settings


def test_without_a_file_the_settings_routes_are_all() -> None:
    found = load_routes(settings(SUPPORT, SALES), None)
    assert [one.name for one in found.routes] == ["sales"]
    assert (found.from_file, found.all_faults) == (None, ())
    assert "no route is set" in load_routes(settings(), None).warnings[0]
    assert not read(written(other={"ADDRESS": "support@example.com"})).warnings


def test_3_1_routes_of_both_places_are_tried_by_order() -> None:
    file = written(first={"ADDRESS": "a@example.com", "ORDER": 1}, last={"ADDRESS": "a@example.com", "ORDER": 200})
    found = read(file, SUPPORT, SALES)
    assert [one.name for one in found.routes] == ["first", "sales", "last"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "config/routes.json: is no JSON: Expecting value, line 1, column 1"),
        (b'{"routes": {\n "a": }}', "config/routes.json: is no JSON: Expecting value, line 2, column 7"),
        (b'{"routes": {}}\xff', "config/routes.json: is not in UTF-8"),
        (b"[" * 100_000, "config/routes.json: is no JSON that can be read"),
        (b'{"routes": {"a": {"ORDER": ' + b"9" * 5000 + b"}}}", "config/routes.json: is no JSON that can be read"),
        (b"[]", "config/routes.json: is not of the one field routes"),
        (b"{}", "config/routes.json: is not of the one field routes"),
        (b'{"routes": {}, "more": 1}', "config/routes.json: is not of the one field routes"),
        (b'{"routes": {}, "routes": {}}', "config/routes.json: is not of the one field routes"),
        (b'{"routes": []}', "config/routes.json: has routes that are no object"),
        (written(**{"my-route": {}}), "config/routes.json, my-route: has no name that a route may have"),
        (written(a__b={"ADDRESS": "a@b.example"}), "config/routes.json, a__b: has no name that a route may have"),
        (written(a="x"), "config/routes.json, a: is no object"),
        (written(a={"ADDRESS": "a@b.example"}, A={}), "config/routes.json, A: is there twice"),
        (b'{"routes": {"a": {"ADDRESS": "a@b.c"}, "a": {}}}', "config/routes.json, a: is there twice"),
        (written(Sales={"ADDRESS": "x@y.example"}), "config/routes.json, Sales: is a route of the settings too"),
        (written(a={}), "config/routes.json, a.ADDRESS: is not set; give it an address"),
        (written(a={"ADDRESS": "x y"}), "config/routes.json, a.ADDRESS: x y is no address"),
        (written(a={"ADDRESS": "a@b.example", "SENDER": "x@y.example"}), "config/routes.json, a.SENDER: is no field"),
        (written(a={"ADDRESS": "a@b.example", "address": ""}), "config/routes.json, a.address: is there twice"),
        (written(a={"ADDRESS": None}), "config/routes.json, a.ADDRESS: is of the wrong kind; write a text"),
        (written(a={"ADDRESS": ["a@b.example"]}), "config/routes.json, a.ADDRESS: is of the wrong kind"),
        (written(a={"ADDRESS": "a@b.example", "ORDER": 1.5}), "config/routes.json, a.ORDER: is of the wrong kind"),
        (written(a={"ADDRESS": "a@b.example", "ORDER": True}), "config/routes.json, a.ORDER: is of the wrong kind"),
        (written(a={"ADDRESS": "a@b.example", "ORDER": "x"}), "config/routes.json, a.ORDER: the value is no whole"),
        (written(a={"ADDRESS": "a@b.example", "IMPORTANT": 1}), "config/routes.json, a.IMPORTANT: is of the wrong"),
        (written(a={"ADDRESS": "a@b.example", "SENDERS": {}}), "config/routes.json, a.SENDERS: is of the wrong kind"),
        (written(a={"ADDRESS": "a@b.example", "SENDERS": [1]}), "config/routes.json, a.SENDERS: has an entry that"),
        (written(a={"ADDRESS": "a@b.example", "SENDERS": ["x;y"]}), "config/routes.json, a.SENDERS: has an entry"),
        (written(a={"ADDRESS": "a@b.example", "SENDERS": ["x"]}), "config/routes.json, a.SENDERS: x is no address"),
        (written(a={"ADDRESS": "*", "SENDERS": []}), "config/routes.json, a.SENDERS: is not set; a route with"),
        (written(a={"ADDRESS": "a@b.example", "MAILBOX": "suport"}), "config/routes.json, a.MAILBOX: suport is no"),
    ],
)
def test_a_fault_names_the_file_and_the_field(data: bytes, said: str) -> None:
    assert fault(data, SUPPORT, SALES).startswith(said)


def test_a_route_of_both_places_is_there_once_and_all_mail_waits() -> None:
    found = read(written(sales={"ADDRESS": "b@example.com"}), SUPPORT, SALES)
    assert [(one.name, one.address) for one in found.routes] == [("sales", "sales@example.com")]
    assert found.keeps("support") == found.keeps("gone") == found.faults


def test_a_warning_of_the_settings_is_not_told_again() -> None:
    twice = {**route("one", ADDRESS="a@b.example"), **route("two", ADDRESS="a@b.example", MAILBOX="other")}
    assert settings(SUPPORT, mailbox("other"), twice).warnings
    own = route("own", ADDRESS="support@example.com")
    assert not read(written(), SUPPORT, mailbox("other"), twice, own).warnings


def test_a_fault_of_a_mailboxs_route_keeps_that_mailbox_alone() -> None:
    file = written(
        wrong={"MAILBOX": "support", "ADDRESS": "nobody"}, right={"MAILBOX": "other", "ADDRESS": "a@example.com"}
    )
    found = read(file, SUPPORT, mailbox("other"))
    assert found.keeps("other") == ()
    assert found.keeps("support") == found.all_faults
    assert found.keeps("support")[0].startswith("config/routes.json, wrong.ADDRESS: nobody is no address")
    assert [one.name for one in found.routes] == ["right"]


def test_3_1_a_fallback_may_be_a_route_of_the_file() -> None:
    support = mailbox("support", FALLBACK="rest")
    found = read(written(rest={"MAILBOX": "support"}), support)
    assert (found.routes, found.all_faults) == ((RouteSettings(name="rest", mailbox="support"),), ())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "rest names a route that does not exist; define it"),
        (written(rent={"ADDRESS": "a@b.example"}), "did you mean rent?"),
        (written(rest={"MAILBOX": "other", "ADDRESS": "a@b.example"}), "is another mailbox's route"),
        (written(rest={"ENABLED": False}), "is a route that is switched off"),
    ],
)
def test_3_1_a_fallback_that_is_no_route_anywhere_keeps_its_mailbox(data: bytes | None, said: str) -> None:
    found = load_routes(settings(mailbox("support", FALLBACK="rest"), mailbox("other")), data)
    (only,) = found.keeps("support")
    assert only.startswith("MAILBOXES__support__FALLBACK: ")
    assert said in only
    assert found.keeps("other") == ()


HELPDESK = route("helpdesk", ORDER="7")


@pytest.mark.parametrize("data", [None, b'{"routes": {}}', written(other={"ADDRESS": "a@example.com"})])
def test_3_1_a_misspelled_fallback_is_the_fault_and_not_the_route_that_it_means(data: bytes | None) -> None:
    found = load_routes(settings(mailbox("support", FALLBACK="helpdsk"), mailbox("other"), HELPDESK), data)
    expected = "MAILBOXES__support__FALLBACK: helpdsk names a route that does not exist; did you mean helpdesk?"
    assert (found.faults, dict(found.faulty)) == ((), {"support": (expected,)})


def test_3_1_a_misspelled_fallback_means_a_route_of_the_file_as_well() -> None:
    found = read(written(helpdesk={}), mailbox("support", FALLBACK="help-desk"))
    (fault,) = found.all_faults
    assert fault.startswith("MAILBOXES__support__FALLBACK: help-desk names a route that does not exist; did you mean")
    assert read(written(helpdesk={}), mailbox("support", FALLBACK="helpdesk")).all_faults == ()


def test_3_1_a_fallback_that_is_right_in_the_file_leaves_the_other_route_without_an_address() -> None:
    found = read(written(helpdsk={}), mailbox("support", FALLBACK="helpdsk"), HELPDESK)
    (fault,) = found.faults
    assert fault.startswith("ROUTES__helpdesk__ADDRESS: is not set; give it an address, or name the route as a mailbox")
    assert [one.name for one in found.routes] == ["helpdsk"]


def test_3_1_a_route_without_address_that_no_fallback_is_like_holds_the_mail_that_it_may_be_for() -> None:
    found = read(b'{"routes": {}}', mailbox("support", FALLBACK="rest"), route("zzz", MAILBOX="support"))
    assert [fault.partition(":")[0] for fault in found.faulty["support"]] == [
        "MAILBOXES__support__FALLBACK",
        "ROUTES__zzz__ADDRESS",
    ]
    assert found.faults == ()


def test_a_fallback_that_names_a_route_with_a_fault_has_none_of_its_own() -> None:
    found = read(b'{"routes": {}}', mailbox("support", FALLBACK="rest"), route("rest", MAILBOX="support", ORDER="x"))
    (fault,) = found.keeps("support")
    assert fault.startswith("ROUTES__rest__ORDER: ")
    assert found.keeps("other") == ()


@pytest.mark.parametrize("data", [None, b"{", written(other={"ADDRESS": "a@example.com"})])
def test_3_1_what_is_wrong_with_the_settings_routes_holds_mail_whatever_the_file_says(data: bytes | None) -> None:
    own = route("own", MAILBOX="support", ADDRESS="nobody")
    found = load_routes(settings(SUPPORT, SALES, mailbox("other"), own, {"ROUTES_bob_ADDRESS": "b@example.com"}), data)
    assert found.faults[0].startswith("ROUTES_bob_ADDRESS: is no setting; did you mean ROUTES__bob__ADDRESS?")
    assert found.faulty["support"] == ("ROUTES__own__ADDRESS: nobody is no address; write name@example.com",)
    assert len(found.faults) == (2 if data == b"{" else 1)
    assert found.keeps("other") == found.faults
    assert found.keeps("support") == (*found.faults, *found.faulty["support"])


def test_a_route_of_the_file_with_the_name_of_a_faulty_one_of_the_settings_is_there_twice() -> None:
    own = route("own", MAILBOX="support", ADDRESS="nobody")
    (fault,) = read(written(own={"ADDRESS": "a@b.example"}), SUPPORT, own).faults
    assert fault.startswith("config/routes.json, own: is a route of the settings too")


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


def test_3_5_a_mailbox_whose_own_address_no_route_takes_is_warned_of() -> None:
    assert read(b'{"routes": {}}', SUPPORT, SALES).warnings == (UNROUTED,)
    assert load_routes(settings(SUPPORT, SALES), None).warnings == (UNROUTED,)
    assert load_routes(settings(SUPPORT, SALES), None, complete=False).warnings == (), "the file may have it"
    for other in ({"ENABLED": "false"}, {"MAILBOX": "other"}):
        own = route("own", ADDRESS="support@example.com", **other)
        found = read(b'{"routes": {}}', SUPPORT, SALES, mailbox("other", ADDRESS="sales@example.com"), own)
        assert found.warnings == (UNROUTED,)
    plus = mailbox("support", ADDRESS="support+in@example.com")
    own = route("own", ADDRESS="support@example.com")
    assert read(b'{"routes": {}}', plus, own).warnings == ()
    assert len(read(b'{"routes": {}}', {**plus, "MAILBOXES__support__PLUS_ADDRESSING": "off"}, own).warnings) == 1
    shared = mailbox("support", SHARED_MAILBOX="team@example.com")
    assert "team@example.com has no route" in read(b'{"routes": {}}', shared, own).warnings[0]


def test_3_5_no_warning_where_a_fallback_takes_the_mail_or_nothing_is_collected_or_a_fault_says_more() -> None:
    assert read(written(rest={}), mailbox("support", FALLBACK="rest"), SALES).warnings == ()
    assert read(b'{"routes": {}}', mailbox("support", ENABLED="false"), SALES).warnings == ()
    own = route("own", MAILBOX="support", ADDRESS="support@example.com", ORDER="x")
    assert read(b'{"routes": {}}', SUPPORT, SALES, own).warnings == ()


def test_a_file_that_cannot_be_read_says_nothing_of_fallbacks() -> None:
    assert "is no JSON" in fault(b"{", mailbox("support", FALLBACK="rest"))


def test_3_8_a_shared_address_is_warned_of_across_both_places() -> None:
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
def test_no_fault_shows_a_secret(secret: str) -> None:
    given = {"MAIL_STORAGE": STORAGE, "APPLICATIONINSIGHTS_CONNECTION_STRING": TELEMETRY}
    found = read(written(a={"ADDRESS": secret}), SUPPORT, given)
    assert "the value is no address" in found.faults[0]
    assert secret not in str(found)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*WrittenRoute.model_fields, "x"]), inner),
        max_leaves=20,
    )
)
def test_no_json_makes_it_raise(value: object) -> None:
    whole = settings(SUPPORT, SALES)
    for data in (value, {"routes": value}, {"routes": {"a": value}}, {"routes": {"a": {"ADDRESS": value}}}):
        load_routes(whole, json.dumps(data).encode())


@given(st.binary())
def test_no_bytes_make_it_raise(data: bytes) -> None:
    assert load_routes(settings(), data).faults


def test_ten_thousand_routes_are_read_and_found_fast() -> None:
    file = written(
        **{f"route_{n}": {"ADDRESS": f"a{n}@example.com", "SENDERS": ["*@example.org"]} for n in range(MANY)}
    )
    whole = settings()
    began = thread_time()
    found = load_routes(whole, file)
    table = RouteTableCache(whole, lambda: found).for_mailbox("support")
    read_in = thread_time() - began
    assert table is not None
    began = thread_time()
    for n in range(MANY):
        assert [one.route.name for one in table.plain_routes(f"a{n}+ref@example.com")] == [f"route_{n}"]
    one_in = (thread_time() - began) / MANY
    print(f"\n{MANY} routes: read in {read_in:.2f} s, an address found in {one_in * 1e6:.1f} µs")
    # Ten times what it takes on a slow machine; one after the other would take a hundred times that.
    assert read_in < 10
    assert one_in < 0.0002


def test_the_example_in_the_document_has_no_fault() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    found = load_routes(settings(mailbox("support", FALLBACK="helpdesk")), example.encode())
    assert (found.all_faults, found.warnings) == ((), ())
    assert {one.name for one in found.routes} == {"helpdesk", "sales", "invoices", "partners"}


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
    found = load_routes(settings(mailbox("one", ALIASES=aliases), mailbox("two"), *routes), None)
    (warning,) = [warning for warning in found.warnings if "ALIASES" in warning]
    assert warning == (
        "MAILBOXES__one__ALIASES: sale@example.com has no route of this mailbox, so that its mail goes where mail to "
        "ADDRESS goes; set up a route with this ADDRESS, or correct the alias"
    )


def test_a_file_that_is_too_large_is_not_read() -> None:
    file = written(one={"ADDRESS": "one@example.com"})
    assert read(file.ljust(LARGEST_FILE)).from_file == 1
    assert "has more than 10000000 bytes" in fault(file.ljust(LARGEST_FILE + 1))
