"""Routes by themselves, and with mailboxes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.addresses import normalise, parse_address
from shared.dispatch.routing_input import to_routing_input
from shared.errors import InvalidValue
from shared.mime.parser import parse
from shared.routing.model import Route
from shared.routing.route_table import TrustPolicy
from tests.cpu_time import within
from tests.unit.test_config import SALES, SUPPORT, mailbox, read, route, route_errors


def only(**settings: str) -> Route:
    (result,) = read(SUPPORT, route("one", **settings)).routes
    return result


def test_the_defaults() -> None:
    assert only(ADDRESS="Sales@Example.COM") == Route(name="one", address="sales@example.com")


def test_every_setting() -> None:
    assert only(
        MAILBOX="Support",
        ADDRESS="*@BÜCHER.example",
        ORDER="-5",
        SENDERS="A@Example.com; *@Example.org",
        RECIPIENTS="*@example.net",
        SUBJECT_WORDS="Order; C++ ;",
        ATTACHMENT_TYPES="PDF;.docx;*.xml",
        IMPORTANT="true",
        FOLDERS="inbox;Sub/Folder",
        ENABLED="false",
    ) == Route(
        name="one",
        mailbox="support",
        address="*@xn--bcher-kva.example",
        order=-5,
        senders=("a@example.com", "*@example.org"),
        recipients=("*@example.net",),
        subject_words=("Order", "C++"),
        attachment_types=("pdf", "docx", "xml"),
        important=True,
        folders=("INBOX", "Sub/Folder"),
        enabled=False,
    )


def test_a_route_accepts_texts_and_values_alike() -> None:
    texts: dict[str, Any] = {
        "order": "5",
        "senders": "A@x.example; *@y.example",
        "important": "yes",
        "folders": "inbox;*",
    }
    values: dict[str, Any] = {"order": 5, "senders": ("a@x.example", "*@y.example"), "important": True, "folders": ()}
    assert Route(name="r", address="A@b.example", **texts) == Route(name="r", address="a@b.example", **values)


def test_a_route_reports_all_errors_at_once_and_no_value() -> None:
    invalid: dict[str, Any] = {"address": "hush", "order": "hush", "important": "hush", "color": "hush"}
    with pytest.raises(ValidationError) as caught:
        Route(name="r", **invalid)
    assert {error["loc"] for error in caught.value.errors()} == {("address",), ("order",), ("important",), ("color",)}
    assert "hush" not in f"{caught.value} {caught.value!r}"


def test_folders_of_a_star_are_all_folders() -> None:
    assert only(ADDRESS="a@example.com", FOLDERS="*").folders == ()


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("a@example.com", "a@example.com"),
        ("A+Ref@example.com", "a+ref@example.com"),
        ('"A B"@example.com', '"a b"@example.com'),
        ('"plain"@example.com', "plain@example.com"),
        ("o'neill@example.com", "o'neill@example.com"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("a@localhost", "a@localhost"),
        ("a@example.com.", "a@example.com"),
        ("a@Straße.example", "a@xn--strae-oqa.example"),
        (r'"a\b\"c"@example.com', r'"ab\"c"@example.com'),
        ('"a..b"@example.com', '"a..b"@example.com'),
        ("Ä@example.com", "ä@example.com"),
        ("a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
        ("*@Example.com", "*@example.com"),
    ],
)
def test_2_1_addresses_are_normalised(written: str, address: str) -> None:
    assert only(ADDRESS=written).address == address


@pytest.mark.parametrize(
    "written",
    [
        *("a", "@example.com", "a@", "a b@example.com", "a@exa mple.com", "a@.example.com", "a@-x.com", "*@*", "*@"),
        *("A <a@example.com>", "a@example.com;b@example.com", f"a@{'x' * 64}.com", "a@ä..com"),
    ],
)
def test_2_1_an_invalid_address_is_refused(written: str) -> None:
    (error,) = route_errors(SUPPORT, route("one", ADDRESS=written))
    assert error.startswith("ROUTES__one__ADDRESS: ")


INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2066\u2069\ufe0f\ufeff"
DOMAINS = (
    *("example.com", "EXAMPLE.com.", "bücher.example", "ß.example", "[::1]", "a_b.c", "a\u3002b", "x..y", "-x.y", ""),
    *(
        "\u0928\u0940.example",
        "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example",
        "\uff45xample.com",
        "a.b-",
        "xn--bcher-kva.example",
        f"{'ü' * 60}.example",
    ),
)


@st.composite
def written_addresses(draw: st.DrawFn) -> str:
    """Draw addresses as they are typed or pasted: quoted or not, in any script, with invisible characters."""
    plain = st.text("aÄßİΣς\u0308\u094d.+" + INVISIBLE, max_size=8)
    escaped = st.lists(st.sampled_from([*'aÄ."@,;<(+', *INVISIBLE, r"\"", r"\\", "a b", r"\a"]), max_size=6)
    quoted = escaped.map(lambda parts: '"' + "".join(part for part in parts if part != '"') + '"')
    domain = draw(st.sampled_from(DOMAINS))
    for mark in draw(st.text(INVISIBLE, max_size=3)):
        at = draw(st.integers(0, len(domain)))
        domain = domain[:at] + mark + domain[at:]
    return f"{draw(plain | quoted)}@{domain}"


@settings(max_examples=600)
@given(written_addresses())
@example('"a b"@example.com')
@example("desk@example.com\u200b")
@example("\ufeffdesk@example.com")
@example("a@example.com.")
def test_2_1_settings_routes_and_messages_normalise_an_address_alike(text: str) -> None:
    try:
        ours = parse_address(text)
    except InvalidValue:
        ours = None
    message = parse(f"From: x@y.example\r\nTo: Desk <{text}>\r\nSubject: x\r\n\r\ntext\r\n".encode())
    asked = to_routing_input(message, "INBOX", TrustPolicy())
    assert asked.to == ((ours,) if ours is not None else ())
    if ours is not None:
        assert (normalise(ours), parse_address(ours), normalise(message.to[0].address)) == (ours, ours, ours)
        assert not set(ours) & set(INVISIBLE)
        assert only(ADDRESS=text).address == ours


def test_2_1_invisible_characters_in_a_copied_address_are_removed() -> None:
    result = read(
        mailbox("support", ADDRESS="\u202asupport@example.com\u202c", BLOCKED_SENDERS="*@\u200bspam.example"),
        route(
            "one", ADDRESS="\ufeffsales@example.com", SENDERS="\u2060*@customer.exam\u00adple", RECIPIENTS="a@b.c\u200b"
        ),
        route("bcc", ADDRESS="\u200b*", SENDERS="ann@b.example\u200d"),
    )
    assert result.mailboxes["support"].address == "support@example.com"
    assert result.mailboxes["support"].blocked_senders == ("*@spam.example",)
    bcc, named = result.routes
    assert (bcc.address, bcc.senders) == ("*", ("ann@b.example",))
    assert (named.address, named.senders, named.recipients) == (
        "sales@example.com",
        ("*@customer.example",),
        ("a@b.c",),
    )


@pytest.mark.parametrize(
    "text", ["\u200c" * 200_000 + "@b.c", "a@" + "\u0646\u200c" * 100_000, "a@" + "\u200b.\u200d" * 80_000]
)
def test_2_1_hostile_invisible_characters_cost_no_more_than_their_number(text: str) -> None:
    within(2, lambda: normalise(text))


def test_3_1_routes_are_sorted_by_order_then_name() -> None:
    result = read(
        SUPPORT,
        route("b", ADDRESS="b@example.com"),
        route("a", ADDRESS="a@example.com"),
        route("z", ADDRESS="z@example.com", ORDER="1"),
    )
    assert [item.name for item in result.routes] == ["z", "a", "b"]


def test_3_1_a_fallback_needs_no_address() -> None:
    result = read(mailbox("support", FALLBACK="rest"), route("rest", ORDER="7"))
    assert result.routes == (Route(name="rest", order=7),)


def test_3_1_a_route_without_address_that_is_no_fallback_is_refused() -> None:
    (error,) = route_errors(SUPPORT, route("one", ORDER="1"))
    assert error == "ROUTES__one__ADDRESS: is not set; give it an address, or name the route as a mailbox's FALLBACK"
    assert read(SUPPORT, SALES, route("one", ENABLED="false")).mailbox_errors == {}


@pytest.mark.parametrize("senders", ["", ";"])
def test_3_4_a_wildcard_route_must_name_senders(senders: str) -> None:
    (error,) = route_errors(SUPPORT, route("bcc", ADDRESS="*", SENDERS=senders))
    assert error.startswith("ROUTES__bcc__SENDERS: is not set; a route with ADDRESS=* must name")
    assert only(ADDRESS="*", SENDERS="*@example.com").address == "*"


def test_3_4_a_sender_may_not_be_a_bare_star() -> None:
    (error,) = route_errors(SUPPORT, route("bcc", ADDRESS="*", SENDERS="a@example.com; *"))
    assert error.startswith("ROUTES__bcc__SENDERS: * is not allowed alone")


def test_3_1_an_error_in_a_route_holds_its_mailboxs_mail_and_the_mailbox_is_polled() -> None:
    result = read(mailbox("good"), SUPPORT, SALES, route("own", MAILBOX="Support", ADDRESS="nobody", ORDER="x"))
    assert (list(result.mailboxes), result.mailbox_errors) == (["good", "support"], {})
    assert result.route_errors == {
        "support": (
            "ROUTES__own__ADDRESS: nobody is not an address; write name@example.com",
            "ROUTES__own__ORDER: the value is not a whole number; use -1000000 to 1000000",
        )
    }
    assert [item.name for item in result.routes] == ["sales"]
    assert result.invalid_routes == {"own"}


def test_3_1_an_error_in_a_route_for_all_mailboxes_holds_all_mail_and_stops_nothing_else() -> None:
    (error,) = route_errors(SUPPORT, SALES, route("one", ADDRESS="nobody"))
    assert error.startswith("ROUTES__one__ADDRESS: ")


def test_3_1_a_route_of_an_unknown_mailbox_holds_all_mail() -> None:
    (error,) = route_errors(SUPPORT, SALES, route("one", MAILBOX="suport", ADDRESS="a@example.com"))
    assert error == "ROUTES__one__MAILBOX: suport is not a mailbox; did you mean support?"


def test_routes_of_an_invalid_mailbox_stay() -> None:
    result = read(mailbox("support", PORT="x"), route("own", MAILBOX="support", ADDRESS="a@example.com"))
    assert list(result.mailbox_errors) == ["support"]
    assert [item.name for item in result.routes] == ["own"]


def test_3_8_one_address_in_two_mailboxes_is_a_warning() -> None:
    two = {**mailbox("one"), **mailbox("two")}
    result = read(
        two,
        route("a", MAILBOX="one", ADDRESS="sales@example.com"),
        route("b", MAILBOX="two", ADDRESS="SALES@example.com"),
    )
    (warning,) = result.warnings
    assert warning == (
        "ROUTES__b__ADDRESS: sales@example.com is the address of route a too, for another mailbox; "
        "only the copy that arrives first is routed"
    )


def test_3_8_no_warning_where_nothing_is_shared() -> None:
    two = {**mailbox("one"), **mailbox("two"), **mailbox("off", ENABLED="false")}
    for first, second in (
        ({"MAILBOX": "one"}, {"MAILBOX": "one", "SENDERS": "*@example.org"}),
        ({"MAILBOX": "one"}, {"MAILBOX": "two", "ENABLED": "false"}),
        ({"MAILBOX": "one"}, {"MAILBOX": "off"}),
    ):
        result = read(two, route("a", ADDRESS="x@example.com", **first), route("b", ADDRESS="x@example.com", **second))
        assert result.warnings == ()
    stars = [route(name, MAILBOX=name, ADDRESS="*", SENDERS="*@example.org") for name in ("one", "two")]
    assert read(two, *stars).warnings == ()
