"""Rules 2.1 to 2.5 and 3.1 to 3.7 on decisions alone: no storage, no parsing."""

from __future__ import annotations

import pytest

from shared.routing.decision import MAX_TRIED, decide, first_failed_condition
from shared.routing.model import Decision, Route, RoutingInput, Unhandled
from shared.routing.route_table import RouteTable

PRIMARY = "support@example.com"
SALES = Route(name="sales", address="sales@example.com")
BILLING = Route(name="billing", address="billing@example.com")
FALLBACK = Route(name="rest", address=None)
WILD = Route(name="wild", address="*", senders=("*@partner.example",))


def mail(
    to: str = "",
    cc: str = "",
    *,
    sender: str = "someone@elsewhere.example",
    subject: str = "",
    invalid: tuple[str, ...] = (),
    extensions: frozenset[str] = frozenset(),
    important: bool = False,
    folder: str = "INBOX",
) -> RoutingInput:
    return RoutingInput(
        to=tuple(to.split()),
        cc=tuple(cc.split()),
        invalid=invalid,
        senders=(sender,),
        subject=subject,
        extensions=extensions,
        important=important,
        folder=folder,
    )


def taken(decision: Decision) -> list[tuple[str, str, str]]:
    return [(match.recipient, match.route, match.matched) for match in decision.matches]


PARTNER = "boss@partner.example"

TABLE = [
    pytest.param(mail("sales@example.com"), (SALES,), [("sales@example.com", "sales", "to")], id="one in To"),
    pytest.param(mail("", "sales@example.com"), (SALES,), [("sales@example.com", "sales", "cc")], id="one in Cc"),
    pytest.param(
        mail("sales@example.com billing@example.com"),
        (SALES, BILLING),
        [("billing@example.com", "billing", "to"), ("sales@example.com", "sales", "to")],
        id="two in To",
    ),
    pytest.param(
        mail("sales@example.com", "billing@example.com", sender=PARTNER),
        (SALES, BILLING, WILD),
        [("billing@example.com", "billing", "cc"), ("sales@example.com", "sales", "to")],
        id="To, Cc and Bcc: one for To, one for Cc",
    ),
    pytest.param(
        mail("sales@example.com", sender=PARTNER),
        (SALES, WILD),
        [("sales@example.com", "sales", "to")],
        id="To and Bcc",
    ),
    pytest.param(
        mail(f"sales@example.com {PRIMARY}"),
        (SALES, FALLBACK),
        [("sales@example.com", "sales", "to"), (PRIMARY, "rest", "fallback")],
        id="a routed one and the primary one, which has the fallback alone",
    ),
    pytest.param(
        mail(PRIMARY, sender=PARTNER),
        (WILD, FALLBACK),
        [("*", "wild", "wildcard")],
        id="primary: wildcard before fallback",
    ),
    pytest.param(mail("alias@example.com"), (FALLBACK,), [], id="an alias without a route does not fall back"),
    pytest.param(mail(""), (SALES,), [], id="Bcc alone, no wildcard"),
    pytest.param(mail("nobody@example.com"), (SALES,), [], id="one address with no route"),
    pytest.param(
        mail("nobody@example.com sales@example.com"), (SALES,), [("sales@example.com", "sales", "to")], id="one of two"
    ),
    pytest.param(
        mail("else@where.example", sender=PARTNER), (WILD, SALES), [("*", "wild", "wildcard")], id="Bcc, wildcard"
    ),
    pytest.param(mail("else@where.example"), (WILD, SALES), [], id="Bcc, wildcard for another sender"),
]


@pytest.mark.parametrize(("message", "routes", "expected"), TABLE)
def test_3_5_the_table(message: RoutingInput, routes: tuple[Route, ...], expected: list[tuple[str, str, str]]) -> None:
    decision = decide(message, RouteTable(routes, primary=PRIMARY, fallback="rest"))
    assert taken(decision) == expected
    assert (decision.unhandled is None) == bool(expected)


def test_2_1_an_address_in_to_and_cc_counts_once() -> None:
    assert taken(decide(mail("sales@example.com", "sales@example.com"), RouteTable([SALES]))) == [
        ("sales@example.com", "sales", "to")
    ]


def test_2_4_a_plus_address_matches_its_base_and_keeps_the_reference() -> None:
    (match,) = decide(mail("sales+t42@example.com"), RouteTable([SALES])).matches
    assert (match.recipient, match.route, match.reference) == ("sales+t42@example.com", "sales", "t42")


def test_2_4_a_route_for_the_plus_address_itself_comes_before_its_base() -> None:
    own = Route(name="own", address="sales+t42@example.com", order=999)
    (match,) = decide(mail("sales+t42@example.com"), RouteTable([SALES, own])).matches
    assert (match.route, match.reference) == ("own", None)


def test_2_4_off_makes_a_plus_address_a_plain_address() -> None:
    assert decide(mail("sales+t42@example.com"), RouteTable([SALES], plus_addressing=False)).matches == ()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (mail(invalid=("Sales Team",)), Unhandled.INVALID_RECIPIENTS),
        (mail(), Unhandled.NO_RECIPIENT),
        (mail("nobody@example.com", invalid=("x y",)), Unhandled.NO_ROUTE),
        (mail("sales@example.com"), Unhandled.CONDITIONS),
    ],
)
def test_2_5_and_3_6_unhandled_has_a_reason(message: RoutingInput, reason: Unhandled) -> None:
    table = RouteTable([Route(name="sales", address="sales@example.com", important=True)])
    decision = decide(message, table)
    assert decision.unhandled is reason
    assert decision.unhandled.detail


def test_2_5_one_valid_recipient_is_enough() -> None:
    assert taken(decide(mail("sales@example.com", invalid=("junk",)), RouteTable([SALES])))


def test_3_6_unhandled_lists_the_routes_that_were_tried() -> None:
    picky = Route(name="picky", address="sales@example.com", subject_words=("urgent",))
    decision = decide(mail("sales@example.com other@example.com"), RouteTable([picky]))
    assert [(item.address, item.route) for item in decision.tried] == [
        ("sales@example.com", "picky"),
        ("other@example.com", None),
        ("*", None),
    ]
    assert "SUBJECT_WORDS" in decision.tried[0].reason


CONDITIONS = [
    (
        {"senders": ("ann@a.example",)},
        mail("x@y.example", sender="ann@a.example"),
        mail("x@y.example", sender="b@a.example"),
    ),
    (
        {"senders": ("*@a.example",)},
        mail("x@y.example", sender="b@a.example"),
        mail("x@y.example", sender="b@b.a.example"),
    ),
    ({"recipients": ("c@c.example",)}, mail("x@y.example", "c@c.example"), mail("x@y.example", "d@c.example")),
    (
        {"subject_words": ("Rechnung", "c++")},
        mail("x@y.example", subject="re: RECHNUNG 7"),
        mail("x@y.example", subject="rechnungen"),
    ),
    ({"subject_words": ("c++",)}, mail("x@y.example", subject="about c++, again"), mail("x@y.example", subject="c")),
    ({"attachment_types": (".PDF", "xml")}, mail("x@y.example", extensions=frozenset({"pdf"})), mail("x@y.example")),
    ({"important": True}, mail("x@y.example", important=True), mail("x@y.example")),
    ({"folders": ("inbox",)}, mail("x@y.example", folder="INBOX"), mail("x@y.example", folder="Archive")),
    ({"folders": ("*",)}, mail("x@y.example", folder="Anything"), None),
]


@pytest.mark.parametrize(("condition", "holds", "fails"), CONDITIONS)
def test_3_2_conditions(condition: dict[str, object], holds: RoutingInput, fails: RoutingInput | None) -> None:
    table = RouteTable([Route(name="r", address="x@y.example", **condition)])  # type: ignore[arg-type]
    assert decide(holds, table).matches
    if fails is not None:
        assert not decide(fails, table).matches


def test_3_3_the_first_matching_route_in_order_wins() -> None:
    late = Route(name="a", address="x@y.example", order=20)
    domain = Route(name="b", address="*@y.example", order=10)
    picky = Route(name="c", address="x@y.example", order=5, important=True)
    (match,) = decide(mail("x@y.example"), RouteTable([late, domain, picky])).matches
    assert match.route == "b"
    (match,) = decide(mail("x@y.example", important=True), RouteTable([late, domain, picky])).matches
    assert match.route == "c"


def test_3_7_mail_of_a_blocked_sender_is_not_routed() -> None:
    decision = decide(mail("sales@example.com"), RouteTable([SALES], blocked_senders=("*@elsewhere.example",)))
    assert decision.matches == ()
    assert decision.blocked_by == "*@elsewhere.example"
    assert decision.unhandled is None


def test_3_5_the_wildcard_recipient_comes_first_whatever_the_others_begin_with() -> None:
    odd = Route(name="odd", address="!@example.com")
    decision = decide(mail(f"!@example.com {PRIMARY}", sender=PARTNER), RouteTable([odd, WILD], primary=PRIMARY))
    assert [match.recipient for match in decision.matches] == ["*", "!@example.com"]


def test_of_ten_thousand_routes_only_those_for_the_address_are_tried() -> None:
    routes = [Route(name=f"r{n}", address=f"u{n}@example.com", important=True) for n in range(10_000)]
    decision = decide(mail("u7@example.com u8@example.com"), RouteTable(routes))
    assert [(item.address, item.route) for item in decision.tried] == [
        ("u7@example.com", "r7"),
        ("u8@example.com", "r8"),
        ("*", None),
    ]


def test_conditions_are_evaluated_once_a_route_however_many_recipients_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluated = []

    def count(route: Route, mail: RoutingInput) -> str | None:
        evaluated.append(route.name)
        return first_failed_condition(route, mail)

    monkeypatch.setattr("shared.routing.decision.first_failed_condition", count)
    route = Route(name="r", address="*@example.com", recipients=("nobody@example.com",))
    decision = decide(mail(" ".join(f"u{n}@example.com" for n in range(5_000))), RouteTable([route]))
    assert evaluated == ["r"]
    assert decision.unhandled is Unhandled.CONDITIONS
    assert len(decision.tried) == MAX_TRIED
