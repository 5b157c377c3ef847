"""Similar addresses that `explain` names for an address without a route, and the conditions that do not hold."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from shared.routing.decision import failed_conditions, first_failed_condition
from shared.routing.model import FailedCondition, Route, RoutingInput
from shared.routing.near_misses import MAX_LENGTH, NearMiss, NearMisses
from shared.routing.route_table import RouteTable
from tests.cpu_time import within

TABLE = RouteTable(
    [
        Route(name="sales", address="sales@example.com"),
        Route(name="later", address="sales@example.com", order=200),
        Route(name="billing", address="billing@example.com"),
        Route(name="partners", address="*@partner.example"),
        Route(name="rest", address="*"),
    ],
    primary="support@example.com",
)


@pytest.mark.parametrize(
    ("address", "similar"),
    [
        ("sales@exmaple.com", [NearMiss("sales@example.com", "sales")]),
        ("sals@example.com", [NearMiss("sales@example.com", "sales")]),
        ("sals+offer7@example.com", [NearMiss("sales@example.com", "sales")]),
        ("sales+offer7@exmaple.com", [NearMiss("sales@example.com", "sales")]),
        ("anyone@partnr.example", [NearMiss("*@partner.example", "partners")]),
        ("suport@example.com", [NearMiss("support@example.com", None)]),
        ("press@example.com", []),
        ("sales@elsewhere.org", []),
        ("sals@exmaple.com", []),
        ("*", []),
    ],
)
def test_an_address_with_a_similar_local_part_or_domain_is_found(address: str, similar: list[NearMiss]) -> None:
    assert NearMisses(TABLE).find(address) == similar


def test_a_message_with_many_recipients_and_routes_takes_bounded_time() -> None:
    chosen = random.Random(1)

    def address(length: int) -> str:
        return "".join(chosen.choices("abcd", k=length)) + "@example.com"

    table = RouteTable([Route(name=f"r{n}", address=address(MAX_LENGTH)) for n in range(10_000)])
    addresses = [*(address(MAX_LENGTH) for _ in range(1000)), "a" * 60 + "@" + "b" * 60 + ".example"]

    def search() -> NearMisses:
        near_misses = NearMisses(table)
        for item in addresses:
            near_misses.find(item)
        return near_misses

    near_misses = within(15, search)  # otherwise it compared more than MAX_COMPARISONS texts
    assert near_misses.find("sals@example.com") == [], "the limit counts for all addresses together"


def test_every_failed_condition_is_explained_with_the_wanted_and_the_actual_values() -> None:
    mail = RoutingInput(
        to=("sales@example.com",),
        cc=("x@example.com",),
        invalid=(),
        senders=("ann@customer.example",),
        senders_well_formed=False,
        subject="Chairs",
        extensions=frozenset({"png", "doc"}),
        important=False,
        folder="INBOX",
    )
    route = Route(
        name="strict",
        senders=("*@customer.example",),
        recipients=("*@partner.example",),
        subject_words=("tables", "lamps"),
        attachment_types=("pdf",),
        important=True,
        folders=("Orders",),
    )
    assert failed_conditions(route, mail) == [
        FailedCondition(
            "SENDERS", ("*@customer.example",), ("(From has more than one reading)", "ann@customer.example")
        ),
        FailedCondition("RECIPIENTS", ("*@partner.example",), ("sales@example.com", "x@example.com")),
        FailedCondition("SUBJECT_WORDS", ("tables", "lamps"), ("Chairs",)),
        FailedCondition("ATTACHMENT_TYPES", ("pdf",), ("doc", "png")),
        FailedCondition("IMPORTANT", ("true",), ("false",)),
        FailedCondition("FOLDERS", ("Orders",), ("INBOX",)),
    ]
    assert first_failed_condition(route, mail) == "SENDERS does not hold"
    assert failed_conditions(Route(name="any"), mail) == []
    many = replace(mail, to=tuple(f"{number}@example.com" for number in range(1000)))
    [recipients] = failed_conditions(Route(name="one", recipients=("x@y.example",)), many)
    assert recipients.actual == many.to[:100]
