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

from shared.settings import AllRoutes, AppSettings, RouteSettings, all_routes, read_settings
from shared.settings.written import WrittenRoute
from shared.sorting.route_tables import RouteTables
from tests.unit.test_settings import APP, SALES, SUPPORT, mailbox, route

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/routes.md").read_text()
MANY = 10_000


def settings(*parts: Mapping[str, str]) -> AppSettings:
    environment = dict(APP)
    for part in parts or (SUPPORT,):
        environment.update(part)
    return read_settings(environment, complete=False)


def written(**routes: object) -> bytes:
    return json.dumps({"routes": routes}).encode()


def read(data: bytes, *parts: Mapping[str, str]) -> AllRoutes:
    return all_routes(settings(*parts), data)


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
    found = all_routes(settings(SUPPORT, SALES), None)
    assert [one.name for one in found.routes] == ["sales"]
    assert (found.from_file, found.all_faults, found.warnings) == (None, (), ())
    assert "no route is set" in all_routes(settings(), None).warnings[0]
    assert not read(written(other={"ADDRESS": "a@example.com"})).warnings


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
    assert not read(written(), SUPPORT, mailbox("other"), twice).warnings


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
        (None, "the value is no route"),
        (written(rent={"ADDRESS": "a@b.example"}), "did you mean rent?"),
        (written(rest={"MAILBOX": "other", "ADDRESS": "a@b.example"}), "is another mailbox's route"),
        (written(rest={"ENABLED": False}), "is a route that is switched off"),
    ],
)
def test_3_1_a_fallback_that_is_no_route_anywhere_keeps_its_mailbox(data: bytes | None, said: str) -> None:
    found = all_routes(settings(mailbox("support", FALLBACK="rest"), mailbox("other")), data)
    (only,) = found.keeps("support")
    assert only.startswith("MAILBOXES__support__FALLBACK: ")
    assert said.replace("the value is", "rest is") in only
    assert found.keeps("other") == ()


def test_a_file_that_cannot_be_read_says_nothing_of_fallbacks() -> None:
    assert "is no JSON" in fault(b"{", mailbox("support", FALLBACK="rest"))


def test_3_8_a_shared_address_is_warned_of_across_both_places() -> None:
    file = written(
        theirs={"MAILBOX": "other", "ADDRESS": "sales@example.com", "ORDER": 200},
        also={"MAILBOX": "support", "ADDRESS": "b@example.com"},
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
        all_routes(whole, json.dumps(data).encode())


@given(st.binary())
def test_no_bytes_make_it_raise(data: bytes) -> None:
    assert all_routes(settings(), data).faults


def test_ten_thousand_routes_are_read_and_found_fast() -> None:
    file = written(
        **{f"route_{n}": {"ADDRESS": f"a{n}@example.com", "SENDERS": ["*@example.org"]} for n in range(MANY)}
    )
    whole = settings()
    began = thread_time()
    found = all_routes(whole, file)
    table = RouteTables(whole, lambda: found).of("support")
    read_in = thread_time() - began
    assert table is not None
    began = thread_time()
    for n in range(MANY):
        assert [one.route.name for one in table.plain(f"a{n}+ref@example.com")] == [f"route_{n}"]
    one_in = (thread_time() - began) / MANY
    print(f"\n{MANY} routes: read in {read_in:.2f} s, an address found in {one_in * 1e6:.1f} µs")
    # Ten times what it takes on a slow machine; one after the other would take a hundred times that.
    assert read_in < 10
    assert one_in < 0.0002


def test_the_example_in_the_document_has_no_fault() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    found = all_routes(settings(mailbox("support", FALLBACK="helpdesk")), example.encode())
    assert (found.all_faults, found.warnings) == ((), ())
    assert {one.name for one in found.routes} == {"helpdesk", "sales", "invoices", "partners"}
