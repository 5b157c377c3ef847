"""Delivery hints come from fields of the receiving servers, and never from fields that a sender can write."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.addresses import normalise
from shared.mime.delivery_headers import (
    DELIVERY_FIELDS,
    MAX_FIELDS,
    MAX_HINTS,
    MAX_OTHER_FIELD_SIZE,
    MAX_OTHER_FIELDS,
    DeliveryHint,
    delivery_hints,
    received_count,
)
from shared.mime.parser import parse
from tests.cpu_time import within

GUARD = 2  # seconds for a fifth of a megabyte, as `within` counts them


def hints(source: str | bytes, *, hops: int = 1, received_by: str | None = None) -> list[tuple[str, str]]:
    """Return address and field of each hint of a message with this header."""
    data = source.encode() if isinstance(source, str) else source
    message = parse(data + b"\n\nbody")
    return [(hint.address, hint.where) for hint in delivery_hints(message.trace, hops=hops, received_by=received_by)]


LINES: dict[str, tuple[str, list[str]]] = {
    "postfix": (
        (
            "from a.example (a.example [192.0.2.1])\n\t(using TLSv1.3 with cipher X (256/256 bits))\n\t"
            '(Client CN "a.example", Issuer "CA" (verified OK))\n\tby mx.us.example (Postfix) with ESMTPS id 4Xy\n\t'
            "for <box@us.example>; Mon, 23 Nov 2026 10:00:00 +0100 (CET)"
        ),
        ["box@us.example"],
    ),
    "exim": (
        (
            "from [192.0.2.1] (helo=a.example)\n by mx.us.example with esmtps (TLS1.3) (Exim 4.96)\n"
            " (envelope-from <x@a.example>)\n id 1abc-0001\n for box@us.example; Mon, 23 Nov 2026 10:00:00 +0100"
        ),
        ["box@us.example"],
    ),
    "gmail": (
        (
            "from a.example (a.example. [192.0.2.1]) by mx.google.com with ESMTPS id a1-2.3.2026\n for <box@us.example>"
            " (version=TLS1_3 cipher=X bits=128/128); Mon, 23 Nov 2026 01:00:00 -0800 (PST)"
        ),
        ["box@us.example"],
    ),
    "dovecot": (
        (
            "from mx.us.example by store.us.example with LMTP id 12 (envelope-from <x@a.example>)\n"
            " for <box@us.example>; Mon, 23 Nov 2026 10:00:00 +0100"
        ),
        ["box@us.example"],
    ),
    "exchange": (
        (
            "from AM0.example (2603:10a6::1) by AM1.example (2603:10a6::2) with Microsoft SMTP\n Server"
            " (version=TLS1_2, cipher=X) id 15.20.1 via Frontend Transport; Mon, 23 Nov 2026 09:00:00 +0000"
        ),
        [],
    ),
    "pickup": ("from mail pickup service by a.example with Microsoft SMTPSVC; Mon, 23 Nov 2026 09:00:00 +0000", []),
    "qmail": ("(qmail 12 invoked by uid 89); 23 Nov 2026 09:00:00 -0000", []),
    "sendmail": (
        "(from root@localhost) by a.example (8.17/8.17/Submit) id 1 for box@us.example; Mon, 23 Nov 2026 10:00:00 GMT",
        ["box@us.example"],
    ),
    "sender behind the date": (
        "from a by b id 1 for <box@us.example>; Mon, 23 Nov 2026 10:00:00 GMT\n\t(envelope-from x@a.example)",
        ["box@us.example"],
    ),
    "two addresses": ("from a by b for <x@us.example>, <y@us.example>; date", ["x@us.example", "y@us.example"]),
    "two without a comma": ("from a by b for x@us.example y@us.example; date", ["x@us.example", "y@us.example"]),
    "more clauses behind": ("from a by b for <x@us.example> with ESMTP id 7; date", ["x@us.example"]),
    "quoted": ('from a by b for <"j. (x) <d> for"@us.example>; date', ['"j. (x) <d> for"@us.example']),
    "quoted without brackets": ('from a by b for "j;d"@us.example; date', ['"j;d"@us.example']),
    "source route": ("from a by b for <@r.example,@s.example:x@us.example>; date", ["x@us.example"]),
    "comments everywhere": ("(a)from(b)a(c)by(d)b(e)for(f (g))<x@us.example>(h);(i)date", ["x@us.example"]),
    "upper case": ("FROM a BY b FOR <X@US.example>; date", ["x@us.example"]),
    "international": ("from a by b for <jörg@bücher.example>; date", ["jörg@xn--bcher-kva.example"]),
    "no date": ("from a by b for <x@us.example>", ["x@us.example"]),
    "no domain": ("from a by b for <x>; date", []),
    "several people": ("from a by b for multiple recipients; date", []),
    "for in a name": ("from a by b with Mail for Windows id 1 for <x@us.example>; date", ["x@us.example"]),
    "for at the end": ("from a by b for", []),
    "no by": ("from a for <x@us.example>; date", []),
    "nothing": ("", []),
}


@pytest.mark.parametrize(("line", "expected"), LINES.values(), ids=LINES)
def test_2_2_the_for_clause_of_the_first_received(line: str, expected: list[str]) -> None:
    below = "Received: from c by d for <below@us.example>; date\nDelivered-To: below@us.example"
    for source in (line, line.replace("\n", "\r\n")):
        assert hints(f"Received: {source}\n{below}") == [(address, "received-for") for address in expected]


# Client names and sender addresses that a server quotes in its own line.
TRICKS = {
    "name": "from x by mx.us.example for <boss@us.example>; date (x [192.0.2.1]) by mx.us.example with SMTP id 1; date",
    "name, and a true for": "from x by y for <boss@us.example> by mx.us.example for <box@us.example>; date",
    "for in the name": "from x for <boss@us.example> (x [192.0.2.1]) by mx.us.example with SMTP id 1; date",
    "two fors": "from x for <boss@us.example> by mx.us.example for <box@us.example>; date",
    "open comment": "from x by mx.us.example for <boss@us.example> ( (x [192.0.2.1]) by mx.us.example id 1; date",
    "open quote": 'from x by mx.us.example for <boss@us.example> " (x [192.0.2.1]) by mx.us.example id 1; date',
    "open bracket": "from x by mx.us.example for <boss@us.example> < (x [192.0.2.1]) by mx.us.example id 1; date",
    "stray parenthesis": "from x ) by mx.us.example for <boss@us.example>; date",
    "sender's parenthesis": ('from x by mx.us.example id 1 (envelope-from <"a) for <boss@us.example> ("@x>); date'),
    "sender's escaped quotes": (
        'from x by mx.us.example id 1 (envelope-from <"\\") for <boss@us.example> (\\""@x>); date'
    ),
    "sender's date": 'from x by mx.us.example id 1 (envelope-from <"a); for <boss@us.example> ("@x>); date',
    "name and sender together": (
        'from x by mx.us.example for <boss@us.example> ( (x) by mx.us.example id 1 (envelope-from <"a))"@x>); date'
    ),
    "before by": "for <boss@us.example> from x by mx.us.example; date",
    "behind the date": "from x by mx.us.example id 1; date for <boss@us.example>",
    "encoded sender": (
        "from x by mx.us.example id 1 (envelope-from <=?utf-8?q?a=3E=29_for_=3Cboss=40us.example=3E_=28=3Cb?=@x>); date"
    ),
    "encoded name": "from =?utf-8?q?x_by_mx_for_=3Cboss=40us.example=3E_=28?= (x) by mx.us.example id 1; date",
}


@pytest.mark.parametrize("line", TRICKS.values(), ids=TRICKS)
def test_2_2_names_that_look_like_clauses_give_no_hint(line: str) -> None:
    assert hints(f"Delivered-To: box@us.example\nReceived: {line}") == [("box@us.example", "delivered-to")]


@pytest.mark.parametrize("field", sorted(DELIVERY_FIELDS))
def test_2_2_a_field_counts_above_the_first_received_only(field: str) -> None:
    received = "Received: from a by b id 1; date"
    assert hints(f"{field.title()}: Box <box@US.example>\n{received}") == [("box@us.example", field)]
    assert hints(f"{received}\n{field}: boss@us.example") == []


def test_2_2_forged_lines_below_the_first_received_are_ignored() -> None:
    source = (
        "Return-Path: <x@a.example>\nX-Original-To: alias@us.example\nDelivered-To: box@us.example\n"
        "Received: from a.example by mx.us.example (Postfix) id 1 for <alias@us.example>; date\n"
        "Received: from b by mx.us.example (Postfix) id 2 for <boss@us.example>; date\n"
        "Delivered-To: boss@us.example\nEnvelope-To: boss@us.example\nTo: x@y.example"
    )
    assert hints(source) == [
        ("alias@us.example", "x-original-to"),
        ("box@us.example", "delivered-to"),
        ("alias@us.example", "received-for"),
    ]


def test_2_2_without_received_there_are_no_hints() -> None:
    assert hints("Delivered-To: box@us.example\nX-Received: by b for <box@us.example>") == []


GATEWAY = (
    "Delivered-To: box@us.example\n"
    "Received: by 2002:a05::1 with SMTP id 1; date\n"
    "X-Forwarded-To: box@us.example\n"
    "Received: from gw.us.example by mx.us.example. (Postfix) id 2 for <group@us.example>; date\n"
    "X-Original-To: group@us.example\n"
    "Received: from a by gw.us.example id 3 for <old@us.example>; date\n"
)


@pytest.mark.parametrize(
    ("hops", "expected"),
    [
        (-1, []),
        (0, []),
        (1, ["delivered-to"]),
        (2, ["delivered-to", "x-forwarded-to", "received-for"]),
        (3, ["delivered-to", "x-forwarded-to", "received-for", "x-original-to", "received-for"]),
        (4, []),
    ],
)
def test_2_2_trusted_hops_move_the_line_down(hops: int, expected: list[str]) -> None:
    assert [where for _, where in hints(GATEWAY, hops=hops)] == expected


@pytest.mark.parametrize(
    ("hops", "received_by", "trusted"),
    [
        (2, "MX.us.example", True),
        (2, " mx.us.example. ", True),
        (2, "gw.us.example", False),
        (2, "us.example", False),
        (2, "", False),
        (1, "2002:a05::1", True),
        (1, "mx.us.example", False),
    ],
)
def test_2_2_received_by_must_have_written_the_trusted_line(hops: int, received_by: str, trusted: bool) -> None:
    assert bool(hints(GATEWAY, hops=hops, received_by=received_by)) is trusted


@pytest.mark.parametrize("line", ["(qmail 1 invoked by uid 8); date", "from x by mx.us.example by b; date", "("])
def test_2_2_a_line_with_an_ambiguous_host_is_not_trusted(line: str) -> None:
    source = f"Delivered-To: box@us.example\nReceived: {line}"
    assert hints(source)
    assert hints(source, received_by="mx.us.example") == []


def test_2_2_an_address_is_returned_once_for_each_field() -> None:
    source = "Delivered-To: a@us.example\nDelivered-To: A@us.example\nEnvelope-To: a@us.example, b@us.example\n"
    assert hints(f"{source}Received: from x by y; date") == [
        ("a@us.example", "delivered-to"),
        ("a@us.example", "envelope-to"),
        ("b@us.example", "envelope-to"),
    ]


def test_2_2_invalid_addresses_give_no_hint() -> None:
    assert hints("Delivered-To: box\nX-Original-To: =?utf-8?q?boss=40us.example?=\nReceived: from x by y; date") == []


def test_2_2_a_hint_is_not_a_participant() -> None:
    message = parse(b"Delivered-To: box@us.example\nReceived: from x by y; date\nTo: c@d.example\n\n")
    assert [address.address for address in (*message.to, *message.cc, *message.bcc)] == ["c@d.example"]
    assert delivery_hints(message.trace) == (DeliveryHint("box@us.example", "delivered-to"),)


def test_5_3_received_lines_are_counted() -> None:
    message = parse(b"received: x\nReceived: y\nX-Received: z\nRECEIVED : w\n\nReceived: v\n")
    assert message.received == 3
    assert received_count(message.headers) == 3


def test_5_3_all_received_lines_are_counted_and_a_limited_number_kept() -> None:
    message = parse(b"Received: x\n" * 5000 + b"\n")
    assert message.received == 5000
    assert len(message.trace) == MAX_FIELDS


ENDLESS = {
    "parentheses": b"(", "quotes": b'"', "escaped quotes": b'"\\', "angles": b"<", "angles and quotes": b'<"\\"',
    "words": b"by ", "fors": b"for <a@b.c> ", "comments": b"()", "open comments": b'(<"', "semicolons": b";",
    "routes": b"<@a,", "addresses": b"for a@b,", "spaces": b" ", "8-bit": b"\xe9", "empty words": b"=?utf-8?q??=",
}  # fmt: skip


@pytest.mark.parametrize("pattern", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("start", [b"from a by b for ", b""])
def test_7_6_no_received_takes_long(start: bytes, pattern: bytes) -> None:
    value = start + pattern * (100_000 // len(pattern))
    result = within(GUARD, lambda: hints(b"Delivered-To: " + value + b"\nReceived: " + value))
    assert len(result) <= 2 * MAX_HINTS


WORDS = ["from", "by", "for", "for <a@b.example>", "a@b.example", "b", "(", ")", "<", ">", '"', "\\", ";", ",", "\n\t"]
FIELDS = st.sampled_from(["Received", "RECEIVED", "Delivered-To", "X-Original-To", "Subject"])
TEXTS = st.text(max_size=40) | st.lists(st.sampled_from([*WORDS, " ", "é", "\0"]), max_size=14).map(" ".join)


@settings(deadline=None)
@given(st.lists(st.tuples(FIELDS, TEXTS), max_size=8), st.integers(-1, 5), st.none() | st.sampled_from(["b", ""]))
def test_2_2_any_header_is_read(fields: list[tuple[str, str]], hops: int, received_by: str | None) -> None:
    result = delivery_hints(fields, hops=hops, received_by=received_by)
    lines = received_count(fields)
    assert not result or 0 < hops <= lines
    for hint in result:
        assert normalise(hint.address) == hint.address
    # Lines below the trusted line change nothing.
    below = [("Delivered-To", "boss@us.example"), ("Received", "from x by b for <boss@us.example>; date")]
    if lines >= hops:
        assert delivery_hints([*fields, *below], hops=hops, received_by=received_by) == result
    named = {"subject": False}
    with_named = delivery_hints([*fields, ("Subject", "boss@us.example")], hops=hops, fields=named)
    assert lines < hops or with_named == delivery_hints(fields, hops=hops, fields=named)


FLOOD = [f"X-Junk-{number}: j{number}@x.example" for number in range(MAX_OTHER_FIELDS + 500)]


def test_2_2_a_configured_field_is_read_from_the_parsed_message() -> None:
    source = "X-Alias: Us <Box+T1@us.example>\nReceived: from x by y; date\nX-Alias: boss@us.example\nTo: c@d.example"
    trace = parse(f"{source}\n\nbody".encode()).trace
    assert delivery_hints(trace) == ()
    (above,) = delivery_hints(trace, fields={"x-alias": False})
    assert (above.address, above.where, above.tag, above.hop) == ("box+t1@us.example", "x-alias", "T1", 1)
    anywhere = delivery_hints(trace, fields={"x-alias": True})
    assert [(hint.address, hint.hop) for hint in anywhere] == [("box+t1@us.example", 1), ("boss@us.example", 2)]
    assert [hint.address for hint in delivery_hints(trace, fields={"x-alias": True}, hops=9)] == [
        "box+t1@us.example",
        "boss@us.example",
    ]
    assert delivery_hints(trace, fields={"to": True}) == ()


def test_7_6_a_limited_number_of_other_fields_is_kept_and_hides_no_trace_field() -> None:
    source = "\n".join([*FLOOD, "Delivered-To: box@us.example", "Received: from x by y; date"])
    message = parse(f"{source}\n\nbody".encode())
    assert len(message.trace) == MAX_OTHER_FIELDS + 2
    assert [hint.where for hint in delivery_hints(message.trace)] == ["delivered-to"]
    assert len(delivery_hints(message.trace, fields={f"x-junk-{n}": True for n in range(5000)})) == MAX_HINTS + 1


def test_7_6_a_field_that_is_long_or_has_no_address_is_not_kept() -> None:
    long = "a@b.example, " * (MAX_OTHER_FIELD_SIZE // 13)
    for value in (long + "a@b.example", "none", "=?utf-8?q?a=40b.example?="):
        assert parse(f"X-Alias: {value}\n\nbody".encode()).trace == ()
    assert parse(f"X-Alias: {long}\n\nbody".encode()).trace


def test_2_2_a_field_that_counts_anywhere_does_not_displace_trusted_hints() -> None:
    addresses = ", ".join(f"u{n}@us.example" for n in range(MAX_HINTS + 5))
    fields = [("x-alias", addresses), ("delivered-to", "box@us.example"), ("received", "from x by y; date")]
    result = delivery_hints(fields, fields={"x-alias": True})
    assert len(result) == MAX_HINTS + 1
    assert result[-1] == DeliveryHint("box@us.example", "delivered-to")


@pytest.mark.parametrize(
    ("line", "tags"),
    [
        ("for <Box+REF7@us.example>", ["REF7"]),
        ("for <box+ref7@US.example>", [None]),
        ('for <"box+REF7"@us.example>', ["REF7"]),
        ("for <@r.example:Box+A+b@us.example>", ["A+b"]),
        ("for Box@us.example", [None]),
    ],
)
def test_2_4_the_tag_is_as_written(line: str, tags: list[str | None]) -> None:
    assert [hint.tag for hint in delivery_hints([("Received", f"from x by y {line}; date")])] == tags


@pytest.mark.parametrize("field", ["delivered-to", "x-forwarded-to"])
def test_7_6_distinct_international_domains_do_not_take_long(field: str) -> None:
    text = ", ".join(f"a@d\u00fc{number}.example" for number in range(20_000))
    hints = within(2 * len(text) / 1e6, lambda: delivery_hints([(field, text), ("received", "from a by b; x")]))
    assert hints[0].address == "a@xn--d0-xka.example"
    assert len(hints) == 1_000
