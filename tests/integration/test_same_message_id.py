"""One Message-ID and different bodies: a forged copy that comes first suppresses nothing (rules 4.1, 4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from mailroom_cli.commands.find import find_message_histories
from mailroom_cli.commands.forget import forget
from shared.dispatch import attempt, claims
from shared.errors import ServiceUnavailable
from shared.operations.search import ArrivalQuery
from shared.queue_messages import Poll, PollReason
from shared.receipts import Receipt, State
from shared.routing.fingerprints import fingerprints
from shared.storage.base import Table
from tests.integration.replay_fixture import ReplayFixture
from tests.integration.routing_fixture import identity
from tests.integration.stored_arrivals import arrival_of, current_receipt, replay_request, route_request
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled

SALES = {"ROUTES__sales__ADDRESS": "sales@example.com"}
WILD = {"ROUTES__wild__ADDRESS": "*", "ROUTES__wild__SENDERS": "*@customer.example"}
RECEIVED = "Received: from mail.customer.example by mx.example.com with ESMTPS; Tue, 24 Nov 2026 09:00:00 +0000\r\n"
PASSED = "Authentication-Results: mx.example.com; dmarc=pass header.from=customer.example\r\n"
GENUINE = "Dear team,\r\n\r\nwe would like ten chairs.\r\n\r\nKind regards\r\nAnn"
FORGED = "Dear team,\r\n\r\nplease pay to the new account.\r\n\r\nKind regards\r\nAnn"
FOOTER = GENUINE + "\r\n\r\n-- \r\nThis message was scanned."
BANNER = "Caution: from outside.\r\n\r\n" + GENUINE


def letter(body: str, top: str = "", to: str = "sales@example.com", number: int = 1) -> bytes:
    return (
        f"{top}From: Ann <ann@customer.example>\r\nTo: {to}\r\nSubject: Chairs {number}\r\n"
        f"Date: Tue, 24 Nov 2026 09:00:00 +0000\r\nMessage-ID: <{number}@customer.example>\r\n\r\n{body}\r\n"
    ).encode()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(f"folder:{tmp_path}/mail")
    yield fixture
    fixture.stores.close()


def arrives(
    world: ReplayFixture, data: bytes, mailbox: str = "support", settings: dict[str, str] = SALES, *, route: bool = True
) -> Receipt:
    """Store a message, and route it. Return its receipt as it was before."""
    world.servers[mailbox].deliver(data)
    app = world.app(settings)
    app.poller.poll(Poll(mailbox, PollReason.MANUAL))
    (request,) = world.take_route_requests()
    arrival = arrival_of(world.stores, request)
    if route:
        app.router.route(request)
    return arrival


def receipt(world: ReplayFixture, arrival: Receipt) -> Receipt:
    return current_receipt(world.stores, arrival.arrival)


def result(world: ReplayFixture, arrival: Receipt, recipient: str = "sales@example.com") -> dict[str, Any]:
    read: dict[str, Any] = world.read(receipt(world, arrival).results()[recipient])
    return read


def outcome(world: ReplayFixture, arrival: Receipt) -> str:
    (text,) = receipt(world, arrival).outcomes.values()
    return text


def reference(world: ReplayFixture, arrival: Receipt) -> dict[str, str]:
    record = receipt(world, arrival)
    (path,) = record.results().values()
    return {"arrival": record.arrival, "message": record.message, "result": path}


def erase(world: ReplayFixture, message: str) -> None:
    forget(world.app(SALES), message, really=True, progress=lambda *_: None, waiting=lambda *_: None)


@pytest.mark.parametrize("bodies", list(permutations((FORGED, GENUINE, "a third body"))))
def test_4_3_different_bodies_have_results_each_and_name_those_before(
    world: ReplayFixture, bodies: tuple[str, ...]
) -> None:
    first, second, third = (arrives(world, letter(body)) for body in bodies)
    assert result(world, first)["same_message_id"] == []
    assert result(world, second)["same_message_id"] == [reference(world, first)]
    assert result(world, third)["same_message_id"] == [reference(world, first), reference(world, second)]
    assert world.paths("duplicates/") == []


@pytest.mark.parametrize("body", ["", "\r\n-- \r\n", "Dear", "Ann", GENUINE.replace("ten", "two")])
def test_4_3_a_forged_body_that_is_empty_or_almost_the_same_suppresses_nothing(world: ReplayFixture, body: str) -> None:
    arrives(world, letter(body))
    genuine = arrives(world, letter(GENUINE))
    assert outcome(world, genuine).startswith("routed")


@pytest.mark.parametrize("bodies", list(permutations((GENUINE, FOOTER, BANNER))))
def test_4_1_a_footer_or_a_banner_that_a_gateway_adds_causes_no_second_result(
    world: ReplayFixture, bodies: tuple[str, ...]
) -> None:
    """Two copies with different additions are not the same: neither contains the other. They are the original's."""
    original = arrives(world, letter(GENUINE))
    copies = [arrives(world, letter(body, "X-Copy: 1\r\n")) for body in bodies]
    assert [outcome(world, copy) for copy in copies] == [f"duplicate {original.arrival}"] * 3


INVOICE = (
    "--b\r\n\r\nDear team,\r\n\r\nsee the invoice.{footer}\r\n--b\r\nContent-Type: application/pdf\r\n"
    "Content-Disposition: attachment; filename=invoice.pdf\r\n\r\n{account}\r\n--b--"
)
MIXED = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
HTML = "MIME-Version: 1.0\r\nContent-Type: text/html\r\n"


def test_4_3_another_attachment_of_the_same_name_suppresses_nothing(world: ReplayFixture) -> None:
    forged = arrives(world, letter(INVOICE.format(footer="", account="a new account"), MIXED))
    genuine = arrives(world, letter(INVOICE.format(footer="", account="the account"), MIXED))
    assert result(world, genuine)["same_message_id"] == [reference(world, forged)]
    copy = arrives(world, letter(INVOICE.format(footer="\r\n\r\nScanned.", account="the account"), MIXED))
    assert outcome(world, copy) == f"duplicate {genuine.arrival}"


def test_4_3_messages_of_html_alone_are_compared_by_its_text(world: ReplayFixture) -> None:
    page = "<p>Dear team,</p><p>we would like {} chairs.</p>"
    forged = arrives(world, letter(page.format("two"), HTML))
    genuine = arrives(world, letter(page.format("ten"), HTML))
    assert result(world, genuine)["same_message_id"] == [reference(world, forged)]
    copy = arrives(world, letter(f"<div><b></b>{page.format('ten')}</div><p>Scanned.</p>", HTML))
    assert outcome(world, copy) == f"duplicate {genuine.arrival}"


def test_4_3_another_paragraph_among_two_hundred_is_another_message(world: ReplayFixture) -> None:
    paragraphs = [f"{number}. chair" for number in range(200)]
    genuine = arrives(world, letter("\r\n\r\n".join(paragraphs)))
    for place in (0, 57, 101, 150, 199):
        changed = [*paragraphs[:place], "a table", *paragraphs[place + 1 :]]
        assert outcome(world, arrives(world, letter("\r\n\r\n".join(changed)))).startswith("routed"), place
    footer = arrives(world, letter("\r\n\r\n".join([*paragraphs, "-- ", "Scanned."])))
    assert outcome(world, footer) == f"duplicate {genuine.arrival}"


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("Message-ID:\r\n <1@customer.example>", True),
        ("MESSAGE-Id: <1@customer.example> (comment)", True),
        ("Message-ID: <1@CUSTOMER.example>", False),
        ("Message-ID: <1@customer.example>\r\nMessage-ID: <2@customer.example>", False),
        ("X-Message-ID: <1@customer.example>", False),
    ],
)
def test_4_3_a_message_id_counts_as_written_and_alone(world: ReplayFixture, written: str, *, same: bool) -> None:
    arrives(world, letter(GENUINE))
    data = letter(FOOTER).replace(b"Message-ID: <1@customer.example>", written.encode())
    assert outcome(world, arrives(world, data)).startswith("duplicate" if same else "routed")


@pytest.mark.parametrize("mailbox", ["support", "office"])
def test_4_1_copies_of_the_second_message_are_duplicates_of_it(world: ReplayFixture, mailbox: str) -> None:
    forged = arrives(world, letter(FORGED))
    genuine = arrives(world, letter(GENUINE))
    same_bytes = arrives(world, letter(GENUINE), "office")
    rebuilt = arrives(world, letter(GENUINE, "X-Gateway: 1\r\n"), mailbox)
    footer = arrives(world, letter(FOOTER), mailbox)
    of_the_forged = arrives(world, letter(FORGED + "\r\n\r\nfooter"), mailbox)
    expected = [genuine, genuine, genuine, forged]
    copies = [same_bytes, rebuilt, footer, of_the_forged]
    assert [outcome(world, copy) for copy in copies] == [f"duplicate {item.arrival}" for item in expected]
    kinds = [world.read(path)["duplicates"][0]["by"] for path in world.paths("duplicates/")]
    assert sorted(kinds) == ["content", "message-id", "message-id", "raw"]


def test_4_1_two_bodies_of_the_same_authenticated_sender_have_one_result(world: ReplayFixture) -> None:
    first = arrives(world, letter(GENUINE, PASSED + RECEIVED))
    second = arrives(world, letter("the same in other words", PASSED + RECEIVED))
    assert outcome(world, second) == f"duplicate {first.arrival}"
    third = arrives(world, letter("written below", RECEIVED + PASSED))
    assert outcome(world, third).startswith("routed"), "a sender writes below the trusted line"


@pytest.mark.parametrize(
    "top",
    [
        RECEIVED + PASSED,
        PASSED.replace("mx.example.com", "mx.elsewhere.example") + RECEIVED,
        PASSED.replace("pass", "fail") + RECEIVED,
        PASSED.replace("customer.example", "elsewhere.example") + RECEIVED,
        PASSED,
    ],
    ids=["below the line", "another server's", "failed", "another domain", "no line"],
)
def test_4_3_a_sender_that_no_server_of_ours_authenticated_has_a_result_for_each_body(
    world: ReplayFixture, top: str
) -> None:
    arrives(world, letter(FORGED, top))
    genuine = arrives(world, letter(GENUINE, PASSED + RECEIVED))
    assert len(result(world, genuine)["same_message_id"]) == 1


def test_4_1_the_settings_say_which_line_is_trusted(world: ReplayFixture) -> None:
    inner = RECEIVED.replace("mx.example.com", "inner.example.com").replace("mail.customer.example", "mx.example.com")
    hops = {**SALES, "MAILBOXES__support__TRUSTED_HOPS": "2", "MAILBOXES__support__RECEIVED_BY": "mx.example.com"}
    top = inner + PASSED + RECEIVED
    first = arrives(world, letter(GENUINE, top), settings=hops)
    assert outcome(world, arrives(world, letter(FORGED, top), settings=hops)) == f"duplicate {first.arrival}"
    other = hops | {"MAILBOXES__support__RECEIVED_BY": "mx.other.example"}
    assert outcome(world, arrives(world, letter("a third", top), settings=other)).startswith("routed")
    unread = hops | {"MAILBOXES__support__DELIVERY_HINTS": "false"}
    assert outcome(world, arrives(world, letter("a fourth", top), settings=unread)).startswith("routed")


def test_4_2_each_recipient_is_deduplicated_on_its_own(world: ReplayFixture) -> None:
    settings = {**SALES, "ROUTES__press__ADDRESS": "press@example.com", "ROUTES__press__SENDERS": "*@customer.example"}
    to = "sales@example.com, press@example.com"
    first = arrives(world, letter(FORGED, to=to))
    second = arrives(world, letter(GENUINE, to=to), settings=settings)
    assert len(result(world, second)["same_message_id"]) == 1
    assert result(world, second, "press@example.com")["same_message_id"] == []
    third = arrives(world, letter(FOOTER, to=to), "office", settings)
    assert set(receipt(world, third).outcomes.values()) == {f"duplicate {second.arrival}"}
    assert set(receipt(world, first).outcomes) == {"sales@example.com"}


def test_4_1_a_wildcards_copy_is_a_duplicate_of_the_message_with_its_body(world: ReplayFixture) -> None:
    """Mail for a named recipient takes a position on `*` behind a forged message, too."""
    arrives(world, letter(FORGED))
    genuine = arrives(world, letter(GENUINE))
    copy = arrives(world, letter(FOOTER), "office", WILD)
    assert outcome(world, copy) == f"duplicate {genuine.arrival}"
    other = arrives(world, letter("a third body"), "office", WILD)
    assert len(result(world, other, "*")["same_message_id"]) == 2


@pytest.mark.parametrize("tried", [False, True], ids=["first try", "second try"])
@pytest.mark.parametrize("way", [FailureMode.GONE_BEFORE, FailureMode.GONE_AFTER, FailureMode.REPLY_LOST])
@pytest.mark.parametrize("bodies", [(FORGED, GENUINE), (GENUINE, FORGED)], ids=["forged first", "genuine first"])
def test_8_1_after_a_crash_at_any_operation_both_messages_have_a_result(
    world: ReplayFixture, bodies: tuple[str, str], way: FailureMode, *, tried: bool
) -> None:
    """The second dies, and its copy with a footer is routed before it comes back; the first one before or after."""
    at = 0
    while True:
        at += 1
        first, second = (arrives(world, letter(body, number=at), route=False) for body in bodies)
        copy = arrives(world, letter(bodies[1] + "\r\n\r\nfooter", number=at), "office", route=False)
        if at % 2:
            world.app(SALES).router.route(route_request(first))
        faults = FaultInjector((at + 1) // 2, way)
        with suppress(ProcessKilled, ServiceUnavailable):
            world.app(SALES, faults.stores(world.stores)).router.route(route_request(second), tried=tried)
        for item in (first, copy, second):
            world.app(SALES).router.route(route_request(item), tried=True)
        results = [item for item in (first, second, copy) if receipt(world, item).results()]
        assert first in results
        assert len(results) == 2, "the second or its copy"
        if faults.count < (at + 1) // 2:
            break
    assert at > 20


def test_8_5_an_erased_message_differs_from_all_and_keeps_its_position(world: ReplayFixture) -> None:
    forged = arrives(world, letter(FORGED))
    genuine = arrives(world, letter(GENUINE))
    erase(world, receipt(world, forged).message)
    assert receipt(world, forged).state is State.ERASED
    footer = arrives(world, letter(FOOTER))
    assert outcome(world, footer) == f"duplicate {genuine.arrival}", "though the first position is blank"
    again = arrives(world, letter(FORGED, "X-Copy: 1\r\n"))
    assert result(world, again)["same_message_id"] == [reference(world, genuine)], "what is sent again is new mail"
    left = [record for record in world.stores.records.scan(Table.CLAIMS) if not record.values["owner"]]
    assert {item.values["kind"] for item in left} == {"message-id"}
    assert {value for item in left for name, value in item.values.items() if name != "kind"} == {"", "[]"}


@pytest.mark.parametrize("tried", [False, True], ids=["first try", "second try"])
@pytest.mark.parametrize("erased", [FORGED, GENUINE], ids=["the first", "the second"])
def test_8_5_erasing_during_any_operation_leaves_one_result_to_each_body(
    world: ReplayFixture, erased: str, *, tried: bool
) -> None:
    for at in range(1, 60):
        first = arrives(world, letter(FORGED, number=at))
        second = arrives(world, letter(GENUINE, number=at), route=erased is GENUINE)
        third = arrives(world, letter(FOOTER, number=at), "office", route=False)
        routed, gone = (second, first) if erased is FORGED else (third, second)
        erasing = _AtOperation(world, at, receipt(world, gone).message)
        message_router = world.app(SALES).router
        with suppress(ServiceUnavailable):
            replace(message_router, storage=replace(world.stores, records=erasing)).route(
                route_request(routed), tried=tried
            )
        for item in (second, third):
            message_router.route(route_request(item), tried=True)
        copy = arrives(world, letter(FOOTER + "\n\nscanned twice", number=at))
        results = [item for item in (second, third, copy) if receipt(world, item).results()]
        # A duplicate of an erased message stays one, and further copies are new mail.
        duplicates = [outcome(world, item).split(" ")[1] for item in (third, copy) if item not in results]
        owners = {result.arrival for result in results} | {second.arrival}
        assert len(results) == 1
        assert set(duplicates) <= owners
        if erasing.calls < at:
            return
    pytest.fail("it did not come to its end")


class _AtOperation:
    """Records that erase a message before one operation."""

    def __init__(self, world: ReplayFixture, at: int, message: str) -> None:
        self.world, self.at, self.message, self.calls = world, at, message, 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        if self.calls == self.at:
            erase(self.world, self.message)
        return getattr(self.world.stores.records, name)


def test_8_5_an_original_that_is_erased_makes_its_copies_new_mail(world: ReplayFixture) -> None:
    genuine = arrives(world, letter(GENUINE))
    footer = arrives(world, letter(FOOTER))
    assert outcome(world, footer) == f"duplicate {genuine.arrival}"
    erase(world, receipt(world, genuine).message)
    third = arrives(world, letter(FOOTER + "\r\n\r\nscanned twice"))
    assert result(world, third)["same_message_id"] == []
    world.replay(SALES, world.only_path("duplicates/"))
    assert outcome(world, footer) == f"duplicate {third.arrival}", "a replay finds who has the result now"


def test_4_4_a_replay_marks_the_first_message_and_writes_no_second_result(world: ReplayFixture) -> None:
    forged = arrives(world, letter(FORGED))
    genuine = arrives(world, letter(GENUINE))
    (path,) = receipt(world, forged).results().values()
    message_router = world.app(SALES).router
    message_router.route(replay_request(world.stores, forged, path, "again-1"))
    (new,) = [item for item in world.paths("routed/") if world.read(item)["replaces"] == path]
    assert world.read(new)["same_message_id"] == [reference(world, genuine)]
    before = world.paths("")
    for item in (forged, genuine):
        message_router.route(replay_request(world.stores, item, "unhandled/support/x"), tried=True)
    assert world.paths("") == before


@pytest.mark.parametrize("tried", [False, True], ids=["first try", "second try"])
def test_4_4_the_first_comparison_applies_when_settings_change_between_two_attempts(
    world: ReplayFixture, *, tried: bool
) -> None:
    """A copy was compared with the fingerprints of the first attempt; the second must not decide differently."""
    top = PASSED + RECEIVED
    trusting = SALES
    doubting = {**SALES, "MAILBOXES__support__DELIVERY_HINTS": "false"}
    first = arrives(world, letter(FORGED, top))
    for at in range(1, 40):
        second = arrives(world, letter(f"{GENUINE} {at}", top), settings=doubting, route=False)
        faults = FaultInjector(at, FailureMode.GONE_AFTER)
        with suppress(ProcessKilled):
            world.app(doubting, faults.stores(world.stores)).router.route(route_request(second), tried=tried)
        copy = arrives(world, letter(f"{GENUINE} {at}\r\n\r\nfooter {at}"), "office")
        world.app(trusting).router.route(route_request(second), tried=True)
        third = receipt(world, copy)
        owners = {second.arrival, copy.arrival}
        has = [owner for owner in owners if current_receipt(world.stores, owner).results()]
        # The second is a duplicate of the first only if no copy was compared with it before.
        assert has, "one of the two has a result"
        for text in third.outcomes.values():
            kind, _, what = text.partition(" ")
            assert kind == "routed" or current_receipt(world.stores, what).results()
        if faults.count < at:
            break
    else:
        pytest.fail("it did not come to its end")
    assert outcome(world, first).startswith("routed")


@pytest.mark.parametrize("tried", [False, True], ids=["first try", "second try"])
def test_4_4_a_message_parsed_differently_than_at_the_first_attempt_takes_the_same_claims(
    world: ReplayFixture, monkeypatch: pytest.MonkeyPatch, *, tried: bool
) -> None:
    """A version that parses more of a message is deployed between two attempts."""
    for at in range(1, 40):
        monkeypatch.setattr(attempt, "fingerprints", lambda message, content: fingerprints(message, content)[:1])
        data = letter(GENUINE, number=at)
        first = arrives(world, data, route=False)
        faults = FaultInjector(at, FailureMode.GONE_AFTER)
        with suppress(ProcessKilled):
            world.app(SALES, faults.stores(world.stores)).router.route(route_request(first), tried=tried)
        monkeypatch.undo()
        world.app(SALES).router.route(route_request(first), tried=True)
        assert set(receipt(world, first).results()) == {"sales@example.com"}
        assert outcome(world, arrives(world, data, "office")) == f"duplicate {first.arrival}"
        if faults.count < at:
            return
    pytest.fail("it did not come to its end")


def test_4_3_more_different_messages_than_positions_still_have_results(
    world: ReplayFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MAX_POSITIONS", 4)
    arrivals = [arrives(world, letter(f"body {number}")) for number in range(8)]
    assert [len(result(world, arrival)["same_message_id"]) for arrival in arrivals] == [
        0,
        1,
        2,
        3,
        3,
        3,
        3,
        3,
    ]
    copies = [arrives(world, letter(f"body {number}", "X-Copy: 1\r\n")) for number in (2, 7)]
    expected = [f"duplicate {arrivals[number].arrival}" for number in (2, 7)]
    assert [outcome(world, copy) for copy in copies] == expected, "by content, whatever the place"
    footer = arrives(world, letter("body 3\r\n\r\nfooter"))
    assert outcome(world, footer) == f"duplicate {arrivals[3].arrival}"


def test_4_3_a_result_names_three_others_at_most(world: ReplayFixture) -> None:
    arrivals = [arrives(world, letter(f"body {number}")) for number in range(8)]
    assert [len(result(world, arrival)["same_message_id"]) for arrival in arrivals] == [
        0,
        1,
        2,
        3,
        3,
        3,
        3,
        3,
    ]
    (story,), _ = find_message_histories(world.stores, ArrivalQuery(id=arrivals[0].arrival), 10)
    others = story["same_message_id"]
    assert isinstance(others, list)
    assert len(others) == 7


def test_4_3_a_result_names_the_others_whatever_the_size_of_its_headers(world: ReplayFixture) -> None:
    to = ", ".join(["sales@example.com", *(f"somebody.number.{number}@elsewhere.example" for number in range(300))])
    top = "References: " + " ".join(f"<{number}@customer.example>" for number in range(300)) + "\r\n"
    arrivals = [arrives(world, letter(f"body {number}", top, to)) for number in range(5)]
    last = result(world, arrivals[-1])
    assert last["same_message_id"] == [reference(world, arrival) for arrival in arrivals[:3]]
    assert "same_message_id" not in last["truncated"]
    (path,) = receipt(world, arrivals[-1]).results().values()
    assert len(world.stores.blobs.read(path) or b"") <= 3584


def test_find_and_explain_show_messages_with_the_same_message_id(world: ReplayFixture, tmp_path: Path) -> None:
    forged = arrives(world, letter(FORGED))
    genuine = arrives(world, letter(GENUINE))
    for first, other in ((forged, genuine), (genuine, forged)):
        (story,), _ = find_message_histories(world.stores, ArrivalQuery(id=first.arrival), 10)
        expected = {"recipient": "sales@example.com", **reference(world, other)}
        assert story["same_message_id"] == [expected], "of the first one as well, whose result was written before"
    file = tmp_path / "third.eml"
    file.write_bytes(letter("a third body"))
    lines = [line for line in world.explain(SALES, file, "office") if "the same Message-ID" in line]
    assert [identity(letter(body))[:8] in line for body, line in zip((FORGED, GENUINE), lines, strict=True)] == [
        True,
        True,
    ]
    file.write_bytes(letter(FOOTER))
    assert not [line for line in world.explain(SALES, file, "office") if "stored as" in line]
