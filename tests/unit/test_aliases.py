"""Rules 2.2, 2.4 and 3.9: which delivery header counts, and whether an alias takes the primary address's place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.dispatch.routing_input import thread_references, to_routing_input
from shared.mime.parser import parse
from shared.routing.decision import decide
from shared.routing.model import ANY_RECIPIENT, Decision, EnvelopeHint, Route, RoutingInput
from shared.routing.route_table import RouteTable, TrustPolicy

PRIMARY = "production@example.com"
SALES = "sales@example.com"
BILLING = "billing@example.com"
RECEIVED = "from mx.sender.example by mx.example.com with ESMTPS id 1{clause}; Tue, 24 Nov 2026 09:00:00 +0000"
OURS = f"Received: {RECEIVED.format(clause='')}"
FOR_SALES = f"Received: {RECEIVED.format(clause=f' for <{SALES}>')}"
FOR_PRIMARY = f"Received: {RECEIVED.format(clause=f' for <{PRIMARY}>')}"

ROUTES = (
    Route(name="production", address=PRIMARY),
    Route(name="sales", address=SALES),
    Route(name="billing", address=BILLING),
)
FALLBACK = Route(name="rest", address=None)
WILDCARD = Route(name="partners", address=ANY_RECIPIENT, senders=("*@partner.example",))


def decided(
    *lines: str,
    to: str = PRIMARY,
    routes: tuple[Route, ...] = ROUTES,
    aliases: tuple[str, ...] = (),
    reading: TrustPolicy | None = None,
    fallback: str | None = None,
    plus_addressing: bool = True,
) -> Decision:
    """Decide on a message with these header lines above its To."""
    table = RouteTable(
        routes,
        primary=PRIMARY,
        aliases=aliases,
        fallback=fallback,
        plus_addressing=plus_addressing,
        trust_policy=reading,
    )
    data = "\r\n".join([*lines, f"To: {to}", "From: ann@partner.example", "", "text"]).encode()
    return decide(to_routing_input(parse(data), "INBOX", table.trust_policy), table)


def taken(decision: Decision) -> list[tuple[str, str, str]]:
    return [(match.recipient, match.route, match.matched) for match in decision.matches]


BY_ADDRESS = (PRIMARY, "production", "to")


def by_alias(where: str) -> tuple[str, str, str]:
    return (SALES, "sales", where)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"X-Original-To: {SALES}", OURS], [by_alias("x-original-to")]),
        ([f"Envelope-To: {SALES}", OURS], [by_alias("envelope-to")]),
        ([f"X-Envelope-To: {SALES}", OURS], [by_alias("x-envelope-to")]),
        ([FOR_SALES], [by_alias("received-for")]),
        ([f"Delivered-To: {SALES}", OURS], [by_alias("delivered-to")]),
        ([f"X-Original-To: {SALES}", f"Delivered-To: {PRIMARY}", OURS], [by_alias("x-original-to")]),
        ([f"Delivered-To: {PRIMARY}", FOR_SALES], [by_alias("received-for")]),
        ([f"Delivered-To: {SALES}", f"X-Original-To: {PRIMARY}", OURS], [BY_ADDRESS]),
        ([f"Delivered-To: {SALES}", FOR_PRIMARY], [BY_ADDRESS]),
        ([f"Delivered-To: {SALES}", "X-Original-To: press@example.com", OURS], [BY_ADDRESS]),
        ([f"X-Original-To: {PRIMARY}", OURS], [BY_ADDRESS]),
        ([f"X-Forwarded-To: {SALES}", OURS], [BY_ADDRESS]),
        ([f"Resent-To: {SALES}", OURS], [BY_ADDRESS]),
        ([f"Envelope-To: {SALES}, {PRIMARY}", OURS], [BY_ADDRESS, by_alias("envelope-to")]),
        ([f"X-Original-To: {SALES}", f"X-Original-To: {PRIMARY}", OURS], [BY_ADDRESS, by_alias("x-original-to")]),
        ([f"X-Original-To: {PRIMARY}", FOR_SALES], [by_alias("received-for")]),
        (
            [f"Envelope-To: {SALES}, {BILLING}", OURS],
            [(BILLING, "billing", "envelope-to"), by_alias("envelope-to")],
        ),
        ([OURS, f"X-Original-To: {SALES}", f"Delivered-To: {SALES}"], [BY_ADDRESS]),
        ([OURS, FOR_SALES], [BY_ADDRESS]),
        ([f"X-Original-To: {SALES}"], [BY_ADDRESS]),
    ],
)
@pytest.mark.parametrize("aliases", [(), (SALES, BILLING)], ids=["without ALIASES", "with ALIASES"])
def test_3_9_the_most_specific_trusted_header_counts(
    lines: list[str], expected: list[tuple[str, str, str]], aliases: tuple[str, ...]
) -> None:
    assert taken(decided(*lines, aliases=aliases)) == expected


def test_3_9_the_primary_address_in_cc_is_replaced_too() -> None:
    assert taken(decided(f"X-Original-To: {SALES}", OURS, f"Cc: {PRIMARY}", to="x@elsewhere.example")) == [
        by_alias("x-original-to")
    ]


def test_3_9_other_recipients_are_matched_as_ever() -> None:
    decision = decided(f"X-Original-To: {SALES}", OURS, to=f"{PRIMARY}, {BILLING}")
    assert taken(decision) == [(BILLING, "billing", "to"), by_alias("x-original-to")]


def test_3_9_an_alias_that_to_names_was_not_rewritten() -> None:
    """The sender wrote to both, and both are there: nothing is to be replaced."""
    decision = decided(f"X-Original-To: {SALES}", OURS, to=f"{PRIMARY}, {SALES}")
    assert taken(decision) == [BY_ADDRESS, by_alias("to")]


def test_3_9_without_the_primary_address_in_to_and_cc_nothing_is_replaced() -> None:
    assert taken(decided(f"X-Original-To: {SALES}", OURS, to=BILLING)) == [(BILLING, "billing", "to")]


def test_3_9_aliases_names_all_that_may_take_the_place() -> None:
    assert taken(decided(f"X-Original-To: {SALES}", OURS, aliases=(BILLING,))) == [BY_ADDRESS]
    assert taken(decided(f"X-Original-To: {PRIMARY}", OURS, aliases=(PRIMARY,))) == [BY_ADDRESS]


def test_3_9_a_route_whose_condition_does_not_hold_takes_no_alias() -> None:
    picky = Route(name="sales", address=SALES, important=True)
    decision = decided(f"X-Original-To: {SALES}", OURS, routes=(ROUTES[0], picky))
    assert taken(decision) == [BY_ADDRESS]
    assert [(item.address, item.route) for item in decision.tried] == [(SALES, "sales")]


def test_3_9_a_wildcard_route_takes_no_alias() -> None:
    decision = decided(f"X-Original-To: {SALES}", OURS, routes=(WILDCARD, ROUTES[0]), aliases=(SALES,))
    assert taken(decision) == [BY_ADDRESS]


def test_3_9_an_alias_keeps_the_primary_address_from_wildcard_routes_and_the_fallback() -> None:
    routes = (ROUTES[1], WILDCARD, FALLBACK)
    assert taken(decided(f"X-Original-To: {SALES}", OURS, routes=routes, fallback="rest")) == [
        by_alias("x-original-to")
    ]
    assert taken(decided(OURS, routes=routes[::2], fallback="rest")) == [(PRIMARY, "rest", "fallback")]


def test_3_9_a_route_of_a_whole_domain_takes_an_alias() -> None:
    routes = (ROUTES[0], Route(name="all", address="*@example.com", order=200))
    for aliases in ((), (SALES,)):
        decision = decided(f"X-Original-To: {SALES}", OURS, routes=routes, aliases=aliases)
        assert taken(decision) == [(SALES, "all", "x-original-to")]
    brand = Route(name="brand", address="*@brand.example")
    decision = decided("Delivered-To: any@brand.example", OURS, routes=(ROUTES[0], brand))
    assert taken(decision) == [("any@brand.example", "brand", "delivered-to")]


def test_3_9_an_internal_name_in_delivered_to_is_no_alias() -> None:
    """Plesk's qmail writes the mailbox's domain number before each address."""
    routes = (ROUTES[0], Route(name="all", address="*@example.com", order=200))
    assert taken(decided("Delivered-To: 3-production@example.com", OURS, routes=routes)) == [BY_ADDRESS]


def test_3_9_a_match_says_in_whose_place_it_is() -> None:
    (match,) = decided(f"X-Original-To: {SALES}", OURS).matches
    assert match.instead_of == PRIMARY
    both = decided(f"Envelope-To: {SALES}, {PRIMARY}", OURS).matches
    assert [item.instead_of for item in both] == [None, None]


# DELIVERY_FIELDS ------------------------------------------------------------------------------------------------------


ABOVE = TrustPolicy(fields={"x-alias": False, "x-second": False})
ANYWHERE = TrustPolicy(fields={"x-alias": True})


@pytest.mark.parametrize(
    ("lines", "reading", "expected"),
    [
        ([f"X-Alias: {SALES}", f"X-Original-To: {PRIMARY}", OURS], ABOVE, [by_alias("x-alias")]),
        ([f"X-Alias: {PRIMARY}", f"X-Original-To: {SALES}", OURS], ABOVE, [BY_ADDRESS]),
        ([f"X-Alias: {SALES}", f"X-Second: {PRIMARY}", OURS], ABOVE, [BY_ADDRESS, by_alias("x-alias")]),
        ([OURS, f"X-Alias: {SALES}"], ABOVE, [BY_ADDRESS]),
        ([OURS, f"X-Alias: {SALES}"], ANYWHERE, [by_alias("x-alias")]),
        ([f"x-ALIAS: Sales <{SALES}>"], ANYWHERE, [by_alias("x-alias")]),
        ([OURS, "X-Alias: yes", f"X-Alias: {SALES}"], ANYWHERE, [by_alias("x-alias")]),
        ([OURS, f"X-Alias: =?utf-8?q?{SALES.replace('@', '=40')}?="], ANYWHERE, [BY_ADDRESS]),
        ([OURS, f"X-Other: {SALES}"], ANYWHERE, [BY_ADDRESS]),
        ([f"Delivered-To: {SALES}", f"X-Original-To: {PRIMARY}", OURS], TrustPolicy(fields={"delivered-to": False}),
         [by_alias("delivered-to")]),
        ([OURS, f"X-Alias: {SALES}"], TrustPolicy(fields={"x-alias": True}, hops=3), [by_alias("x-alias")]),
        ([OURS, f"X-Alias: {SALES}"], TrustPolicy(fields={"x-alias": True}, received_by="b.example"),
         [by_alias("x-alias")]),
        ([f"X-Alias: {SALES}", OURS], TrustPolicy(fields={"x-alias": False}, received_by="b.example"), [BY_ADDRESS]),
        ([f"X-Alias: {SALES}", OURS], TrustPolicy(fields={"x-alias": True}, hints=False), [BY_ADDRESS]),
    ],
)  # fmt: skip
def test_2_2_delivery_fields(lines: list[str], reading: TrustPolicy, expected: list[tuple[str, str, str]]) -> None:
    assert taken(decided(*lines, reading=reading)) == expected


def test_2_2_behind_a_gateway_the_lowest_trusted_header_is_the_most_specific() -> None:
    """The gateway expands the alias; the server behind it knows the mailbox alone."""
    reading = TrustPolicy(hops=2)
    lines = [f"X-Original-To: {PRIMARY}", f"Delivered-To: {PRIMARY}", FOR_PRIMARY, FOR_SALES]
    assert taken(decided(*lines, reading=reading)) == [by_alias("received-for")]
    lines = [FOR_SALES, FOR_PRIMARY]
    assert taken(decided(*lines, reading=reading)) == [BY_ADDRESS], "of the lines, only the trusted one counts"
    lines = [f"X-Original-To: {PRIMARY}", OURS, f"X-Original-To: {SALES}", OURS]
    assert taken(decided(*lines, reading=reading)) == [by_alias("x-original-to")]
    lines = [f"Delivered-To: {PRIMARY}", OURS, f"Delivered-To: {SALES}", OURS, f"X-Original-To: {BILLING}"]
    assert taken(decided(*lines, reading=reading)) == [by_alias("delivered-to")]


# Mail by Bcc ----------------------------------------------------------------------------------------------------------

UNDISCLOSED = "undisclosed-recipients:;"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"X-Original-To: {SALES}", f"Delivered-To: {PRIMARY}", OURS], [by_alias("x-original-to")]),
        ([f"Delivered-To: {PRIMARY}", f"X-Original-To: {SALES}", OURS], [by_alias("x-original-to")]),
        ([f"Envelope-To: {SALES}", f"Delivered-To: {PRIMARY}", FOR_SALES], [by_alias("envelope-to")]),
        ([f"Delivered-To: {PRIMARY}", FOR_SALES], [by_alias("received-for")]),
        ([f"X-Original-To: {PRIMARY}", FOR_SALES], [by_alias("received-for")]),
        ([f"X-Original-To: {PRIMARY}", f"Delivered-To: {PRIMARY}", OURS], [(PRIMARY, "production", "x-original-to")]),
        (["X-Original-To: press@example.com", f"Delivered-To: {PRIMARY}", OURS],
         [(PRIMARY, "production", "delivered-to")]),
        ([f"Delivered-To: {SALES}", f"Resent-To: {BILLING}", OURS], [by_alias("delivered-to")]),
        ([f"Resent-To: {BILLING}", OURS], [(BILLING, "billing", "resent-to")]),
    ],
)  # fmt: skip
def test_3_5_mail_by_bcc_has_one_result(lines: list[str], expected: list[tuple[str, str, str]]) -> None:
    assert taken(decided(*lines, to=UNDISCLOSED)) == expected


# Plus tags ------------------------------------------------------------------------------------------------------------


def tagged(decision: Decision) -> list[tuple[str, str, str | None]]:
    return [(match.recipient, match.matched, match.reference) for match in decision.matches]


@pytest.mark.parametrize("tag", ["T1", "t1", "Ärger", "a+B"])
def test_2_4_the_primary_address_with_a_tag_is_the_primary_address(tag: str) -> None:
    recipient = f"production+{tag.lower()}@example.com"
    to = f"Production+{tag}@Example.com"
    assert tagged(decided(to=to, routes=(FALLBACK,), fallback="rest")) == [(recipient, "fallback", tag)]
    wildcard = decided(to=to, routes=(FALLBACK, WILDCARD), fallback="rest")
    assert tagged(wildcard) == [(ANY_RECIPIENT, "wildcard", tag)]
    thread = thread_references(parse(b"To: x@y.example\r\n\r\n"), wildcard, by_tag_alone=True)
    assert thread.tagged == [recipient]


def test_2_4_a_tag_of_nothing_is_no_reference() -> None:
    decision = decided(to="production+@example.com", routes=(FALLBACK,), fallback="rest")
    assert tagged(decision) == [("production+@example.com", "fallback", None)]


def test_2_4_the_primary_address_with_and_without_a_tag_are_two_recipients() -> None:
    to = f"{PRIMARY}, production+T1@example.com"
    assert tagged(decided(to=to, routes=(FALLBACK,), fallback="rest")) == [
        ("production+t1@example.com", "fallback", "T1"),
        (PRIMARY, "fallback", None),
    ]


def test_2_4_switched_off_a_tag_makes_another_address() -> None:
    to = "production+T1@example.com"
    assert decided(to=to, routes=(FALLBACK,), fallback="rest", plus_addressing=False).matches == ()


def test_2_4_a_plus_address_with_a_route_of_its_own_is_not_the_primary_address() -> None:
    own = Route(name="own", address="production+t1@example.com", important=True)
    assert decided(to="production+T1@example.com", routes=(FALLBACK, own), fallback="rest").matches == ()


def test_2_4_an_alias_may_have_a_tag() -> None:
    for aliases in ((), (SALES,)):
        (match,) = decided("X-Original-To: Sales+REF7@example.com", OURS, aliases=aliases).matches
        assert (match.recipient, match.route, match.reference) == ("sales+ref7@example.com", "sales", "REF7")


def test_2_4_a_header_that_names_the_tagged_primary_address_names_the_primary_address() -> None:
    decision = decided(f"Envelope-To: production+T1@example.com, {SALES}", OURS)
    assert taken(decision) == [BY_ADDRESS, by_alias("envelope-to")]


@pytest.mark.parametrize(
    ("to", "reference"),
    [
        ("sales+REF7@example.com", "REF7"),
        ("SALES+ref7@example.com", "ref7"),
        ('"sales+REF7"@example.com', "REF7"),
        ("sales+Ref7@example.com, sales+REF7@example.com", "Ref7"),
        ("sales+ref7@example.com, sales+REF7@example.com", "ref7"),
        ("Sales <sales+A+b@example.com>", "A+b"),
        ("sales+\u0041\u0308X@example.com", "\u00c4X"),
    ],
)
def test_2_4_the_reference_keeps_its_case(to: str, reference: str) -> None:
    (match,) = decided(to=to).matches
    assert match.reference == reference
    assert match.recipient == match.recipient.lower()


def test_2_4_the_reference_of_each_place_is_as_written_there() -> None:
    (match,) = decided(f"Received: {RECEIVED.format(clause=' for <sales+REF7@example.com>')}", to=UNDISCLOSED).matches
    assert (match.recipient, match.matched, match.reference) == ("sales+ref7@example.com", "received-for", "REF7")


# Properties -----------------------------------------------------------------------------------------------------------

ADDRESSES = [PRIMARY, SALES, BILLING, "production+T1@example.com", "sales+X@example.com", "press@example.com", "x"]
PLACES = ["Delivered-To", "X-Original-To", "Envelope-To", "Resent-To", "X-Alias", "X-Forwarded-To", "Received", "Cc"]
LINES = st.lists(
    st.tuples(st.sampled_from(PLACES), st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2)), max_size=6
)
NAMED = st.lists(st.sampled_from(ADDRESSES), max_size=3)
READINGS = st.builds(
    TrustPolicy,
    hops=st.integers(1, 3),
    received_by=st.none() | st.sampled_from(["mx.example.com", "b.example"]),
    fields=st.sampled_from([{}, {"x-alias": False}]),
)
ALIAS_LISTS = st.sampled_from([(), (SALES,), (SALES, BILLING)])
WITH_ALL = (*ROUTES, WILDCARD, FALLBACK)


def written(lines: list[tuple[str, list[str]]]) -> list[str]:
    return [
        f"Received: {RECEIVED.format(clause=f' for <{addresses[0]}>')}"
        if place == "Received"
        else f"{place}: {', '.join(addresses)}"
        for place, addresses in lines
    ]


@settings(max_examples=300, deadline=None)
@given(
    above=LINES,
    below=LINES,
    to=NAMED,
    reading=READINGS,
    aliases=ALIAS_LISTS,
    routes=st.sampled_from([WITH_ALL, ROUTES, WITH_ALL[1:]]),
)
def test_2_2_no_field_below_the_trusted_line_changes_the_decision(
    *,
    above: list[tuple[str, list[str]]],
    below: list[tuple[str, list[str]]],
    to: list[str],
    reading: TrustPolicy,
    aliases: tuple[str, ...],
    routes: tuple[Route, ...],
) -> None:
    trusted = [*written(above), *[OURS] * (reading.hops - sum(place == "Received" for place, _ in above))]
    below = [line for line in below if line[0] != "Cc"]  # Cc is the sender's to choose
    fallback = "rest" if FALLBACK in routes else None

    def decision(lines: list[str]) -> Decision:
        return decided(
            *lines, to=", ".join(to) or UNDISCLOSED, routes=routes, aliases=aliases, reading=reading, fallback=fallback
        )

    assert decision([*trusted, *written(below)]) == decision(trusted)


@settings(max_examples=200, deadline=None)
@given(NAMED, NAMED, ALIAS_LISTS, st.booleans(), st.sampled_from([WITH_ALL, WITH_ALL[1:], WITH_ALL[2:]]))
def test_3_5_without_delivery_headers_to_and_cc_alone_decide(
    to: list[str], cc: list[str], aliases: tuple[str, ...], partner: bool, routes: tuple[Route, ...]
) -> None:
    """Rule 3.5 written down a second time, as short as it can be, for mail without a tag and without hints."""
    named = [fromkey for fromkey in dict.fromkeys((*to, *cc)) if "@" in fromkey and "+" not in fromkey]
    by_address = {route.address: route.name for route in routes}
    expected = {item: by_address[item] for item in named if item in by_address}
    if PRIMARY in named and PRIMARY not in expected and not partner:
        expected[PRIMARY] = "rest"
    if partner and (not expected or (PRIMARY in named and PRIMARY not in expected)):
        expected[ANY_RECIPIENT] = "partners"
    mail = RoutingInput(
        to=tuple(fromkey for fromkey in dict.fromkeys(to) if fromkey in named),
        cc=tuple(fromkey for fromkey in dict.fromkeys(cc) if fromkey in named),
        invalid=(),
        senders=("ann@partner.example" if partner else "eve@elsewhere.example",),
        subject="",
        extensions=frozenset(),
        important=False,
        folder="INBOX",
    )
    table = RouteTable(routes, primary=PRIMARY, aliases=aliases, fallback="rest")
    assert {match.recipient: match.route for match in decide(mail, table).matches} == expected


HINTS = st.lists(
    st.builds(
        EnvelopeHint, st.sampled_from(ADDRESSES[:-1]).map(str.lower), st.sampled_from([*map(str.lower, PLACES[:6])])
    ),
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(HINTS, NAMED, ALIAS_LISTS)
def test_3_9_an_alias_takes_no_other_place_than_the_primary_address_s(
    hints: list[EnvelopeHint], to: list[str], aliases: tuple[str, ...]
) -> None:
    """With delivery headers, each recipient of the decision without them has a result, or an alias took its place."""
    mail = RoutingInput(
        to=tuple(dict.fromkeys(item.lower() for item in to if "@" in item)),
        cc=(),
        invalid=(),
        senders=("eve@elsewhere.example",),
        subject="",
        extensions=frozenset(),
        important=False,
        folder="INBOX",
        hints=tuple(hints),
    )
    table = RouteTable(WITH_ALL, primary=PRIMARY, aliases=aliases, fallback="rest")
    without = {matche.recipient for matche in decide(replace(mail, hints=()), table).matches}
    matches = decide(mail, table).matches
    lost = without - {matche.recipient for matche in matches}
    assert all(map(table.is_primary, lost))
    assert not lost or any(matche.instead_of is not None for matche in matches)
    assert len({matche.recipient for matche in matches}) == len(matches)
    assert all(matche.matched != "to" or matche.recipient in mail.to for matche in matches)
