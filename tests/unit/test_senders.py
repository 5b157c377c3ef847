"""SENDERS and BLOCKED_SENDERS with real From fields that other readers may read differently (rules 3.2, 3.7)."""

import pytest

from shared.dispatch.routing_input import to_routing_input, visible_content
from shared.mime.parser import parse
from shared.routing.decision import decide
from shared.routing.fingerprints import fingerprints
from shared.routing.model import Decision, Route
from shared.routing.route_table import RouteTable

BOSS = "boss@partner.example"
PARTNERS = Route(name="partners", address="*", senders=("*@partner.example", "ann@customer.example"))


def decision(headers: str, **table: tuple[str, ...]) -> Decision:
    message = parse(f"To: desk@example.com\n{headers}\n\nx".encode())
    routes = RouteTable([PARTNERS], **table)  # type: ignore[arg-type]
    return decide(to_routing_input(message, "INBOX", routes.trust_policy), routes)


@pytest.mark.parametrize(
    "headers",
    [
        f"From: {BOSS}",
        f"From: Boss <{BOSS}>",
        f"From: Boss, The <{BOSS}>",
        "From: Ann <Ann@Customer.example>",
        f"From: {BOSS}, ann@customer.example",
        f"From: {BOSS}\nFrom: ann@customer.example",
        f"From: =?utf-8?q?B=C3=B6ss?= <{BOSS}>\nSender: x@other.test\nReply-To: x@other.test",
        f'From: "me@other.test" <{BOSS}>',
    ],
)
def test_3_2_all_authors_match(headers: str) -> None:
    assert [match.route for match in decision(headers).matches] == ["partners"]


@pytest.mark.parametrize(
    "headers",
    [
        "From: x@other.test",
        f"From: {BOSS}, x@other.test",
        f"From: x@other.test, {BOSS}",
        f"From: x@other.test\nFrom: {BOSS}",
        f"From: {BOSS}\nFrom: x@other.test",
        f"From: {BOSS}\nFrom: x@@other.test",
        f"From: {BOSS}, x",
        f"From: {BOSS} x@other.test",
        f"From: x@other.test <{BOSS}>",
        "From: boss @ partner.example",
        "From: boss@partner .example",
        "From: =?utf-8?q?boss=40partner.example?=",
        f'From: "{BOSS}"',
        f'From: Boss <"{BOSS}">',
        f"From: Boss ({BOSS})",
        f"From: Boss <mail {BOSS}>",
        f"From: <{BOSS}> x",
        f"From: {BOSS}>",
        f"From: <@other.test:{BOSS}>",
        "From: boss@partner\u200b.example",
        "From: boss",
        "From: *@partner.example <boss>",
        f"Sender: {BOSS}",
        f"Reply-To: {BOSS}",
    ],
)
def test_3_2_not_all_authors_match_or_from_is_not_well_formed(headers: str) -> None:
    assert decision(headers).matches == ()


@pytest.mark.parametrize(
    "headers",
    [
        "From: ann@example.com, x@other.test",
        "From: ann@example.com\nFrom: x@other.test",
        'From: "x@other.test"',
        "From: =?utf-8?q?x=40other.test?=",
        "From: Ann <mail x@other.test>",
    ],
)
def test_3_7_any_blocked_author_blocks_the_message(headers: str) -> None:
    assert decision(headers, blocked_senders=("*@other.test",)).blocked_by == "*@other.test"


def test_3_6_an_invalid_from_is_not_an_invalid_recipient() -> None:
    message = parse(b"From: Mail System <MAILER-DAEMON>\n\nx")
    routes = RouteTable([PARTNERS])
    mail = to_routing_input(message, "INBOX", routes.trust_policy)
    assert (mail.invalid, mail.senders, mail.senders_well_formed) == ((), (), False)
    result = decide(mail, routes)
    assert result.unhandled is not None
    assert result.unhandled.value == "no-recipient"


def test_4_1_fingerprints_do_not_depend_on_names() -> None:
    date = "Date: Mon, 23 Nov 2026 08:00:00 +0000\nMessage-ID: <1@x.example>\n\nx"
    first, second, unnamed, system = (
        fingerprints("id", visible_content(parse(f"From: {author}\n{date}".encode())))
        for author in (BOSS, f"Boss, The <{BOSS}>", "", "Mail System <MAILER-DAEMON>")
    )
    assert first == second
    assert unnamed == system
    assert [len(first), len(unnamed)] == [3, 2]
