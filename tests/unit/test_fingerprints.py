"""Fingerprints by which two messages are the same (rules 4.1, 4.3)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from shared.dispatch.routing_input import visible_content
from shared.mime.parser import parse
from shared.routing.fingerprints import Comparison, Fingerprint, VisibleContent, fingerprints
from tests.cpu_time import within

ORIGINAL = VisibleContent(
    senders=("ann@customer.example",),
    to=("sales@example.com", "billing@example.com"),
    cc=("support@example.com",),
    subject="Ten chairs",
    sent=datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    message_id="1@customer.example",
    bodies=("We would like ten chairs.", ""),
    attachments=(("order.pdf", "aa"), ("logo.png", "bb")),
)


def kinds(content: VisibleContent, message: str = "x") -> dict[str, str]:
    return {fingerprint.kind: fingerprint.digest for fingerprint in fingerprints(message, content)}


def test_4_1_the_order_of_claims() -> None:
    assert list(kinds(ORIGINAL)) == ["raw", "content", "message-id"]
    assert kinds(ORIGINAL)["raw"] == "x"


@pytest.mark.parametrize(
    "same",
    [
        replace(ORIGINAL, to=("billing@example.com", "sales@example.com", "sales@example.com")),
        replace(ORIGINAL, subject="Ten  chairs "),
        replace(ORIGINAL, bodies=("We would\r\n  like ten chairs.\n\n", "")),
        replace(ORIGINAL, attachments=(("logo.png", "bb"), ("order.pdf", "aa"))),
    ],
)
def test_4_1_changes_in_transit_make_no_difference(same: VisibleContent) -> None:
    assert kinds(same, "y") == {**kinds(ORIGINAL), "raw": "y"}


def test_4_1_a_gateway_footer_keeps_the_message_id_fingerprint() -> None:
    other = kinds(replace(ORIGINAL, bodies=("We would like ten chairs.\n--\nScanned.", "")), "y")
    assert other["content"] != kinds(ORIGINAL)["content"]
    assert other["message-id"] == kinds(ORIGINAL)["message-id"]


def test_4_1_another_message_id_keeps_the_content_fingerprint() -> None:
    other = kinds(replace(ORIGINAL, message_id="2@customer.example"), "y")
    assert other["content"] == kinds(ORIGINAL)["content"]
    assert other["message-id"] != kinds(ORIGINAL)["message-id"]


@pytest.mark.parametrize(
    "other",
    [
        replace(ORIGINAL, sent=datetime(2026, 11, 24, 9, 0, 1, tzinfo=UTC)),
        replace(ORIGINAL, senders=("bob@customer.example",)),
        replace(ORIGINAL, to=("sales@example.com",)),
        replace(ORIGINAL, cc=()),
        replace(ORIGINAL, to=ORIGINAL.cc, cc=ORIGINAL.to),
        replace(ORIGINAL, subject="Eleven chairs"),
        replace(ORIGINAL, attachments=(("order2.pdf", "aa"), ("logo.png", "bb"))),
        replace(ORIGINAL, attachments=ORIGINAL.attachments[:1]),
    ],
)
def test_4_3_the_same_message_id_with_anything_else_visible_is_another_message(other: VisibleContent) -> None:
    assert kinds(other)["message-id"] != kinds(ORIGINAL)["message-id"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (replace(ORIGINAL, message_id=None), ["raw", "content"]),
        (replace(ORIGINAL, sent=None), ["raw"]),
        (replace(ORIGINAL, senders=()), ["raw", "message-id"]),
        (replace(ORIGINAL, whole=False), ["raw", "message-id"]),
    ],
)
def test_4_3_unreadable_headers_make_no_messages_the_same(content: VisibleContent, expected: list[str]) -> None:
    assert list(kinds(content)) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("Message-ID: <1@x>\nMessage-ID: <1@x>\n", ["raw", "content"]),
        ("Message-ID: \n", ["raw", "content"]),
        ("Message-ID: <1@x>\n", ["raw", "content", "message-id"]),
    ],
)
def test_4_3_a_missing_empty_or_repeated_message_id_has_no_fingerprint(head: str, expected: list[str]) -> None:
    raw = f"From: a@b.example\nDate: Tue, 24 Nov 2026 09:00:00 +0100\n{head}\ntext\n".encode()
    content = visible_content(parse(raw))
    assert list(kinds(content)) == expected
    assert content.sent == datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    assert replace(content, sent=content.sent + timedelta(seconds=1)) != content


def test_4_4_the_same_mail_with_other_boundaries_is_the_same() -> None:
    def built(boundary: str) -> bytes:
        return (
            "From: a@b.example\nTo: sales@example.com\nDate: Tue, 24 Nov 2026 09:00:00 +0100\n"
            f'Content-Type: multipart/mixed; boundary="{boundary}"\n\n--{boundary}\n\nhello\n--{boundary}\n'
            f"Content-Type: application/pdf; name=a.pdf\n\npdf\n--{boundary}--\n"
        ).encode()

    assert (
        kinds(visible_content(parse(built("one"))))["content"] == kinds(visible_content(parse(built("two"))))["content"]
    )


def test_4_1_a_message_beyond_a_limit_has_no_content_fingerprint() -> None:
    parts = b"".join(b"--b\r\n\r\nx\r\n" for _ in range(10_100))
    raw = b"From: a@b.example\r\nDate: Tue, 24 Nov 2026 09:00:00 +0100\r\nMessage-ID: <1@x>\r\n"
    raw += b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"
    assert list(kinds(visible_content(parse(raw)))) == ["raw", "message-id"]


def comparison(text: str, *attachments: str, sender: str = "") -> Comparison:
    content = replace(
        ORIGINAL, bodies=(text, ""), attachments=[("a.pdf", digest) for digest in attachments], authenticated=sender
    )
    compared = fingerprints("x", content)[-1].comparison
    assert compared is not None
    assert Comparison.from_json(json.loads(json.dumps(compared.to_json()))) == compared
    return compared


def are_same(first: Comparison, second: Comparison) -> bool:
    assert first.is_same(second) == second.is_same(first)
    return first.is_same(second)


BODY = "Dear team,\nwe would like\nten chairs.\n\nKind regards\nAnn"
MANY = "\n\n".join(f"paragraph {number}" for number in range(200))


@pytest.mark.parametrize(
    "other",
    [
        BODY,
        BODY + "\n\nScanned.",
        BODY + "\n-- \nScanned.",
        BODY + "\n" + 47 * "_" + "\nA list's address\n",
        "CAUTION: from outside.\n\n" + BODY,
        "First.\n\n" + BODY + "\n\nLast.\n\nVery last.",
        BODY.replace("\n\n", "\n \t\n") + "\n\nScanned.",
        "Dear team, we\nwould like ten  chairs.\n\nKind regards\nAnn\n***\nScanned",
        BODY.partition("\n\n")[0],
        BODY + "\nScanned by the gateway,\nand compared clean.",
        "[External]\n" + BODY,
        "[External]\nBeware.\n" + BODY + "\n" + "Scanned.\n" * 2,
    ],
)
def test_4_1_a_body_that_contains_the_other_is_the_same(other: str) -> None:
    assert are_same(comparison(BODY), comparison(other))


@pytest.mark.parametrize(
    "other",
    [
        "",
        "-- \n____\n",
        "Dear team,",
        "Kind regards",
        BODY.replace("ten", "two"),
        BODY.replace("ten", "two") + "\n\nKind regards\nAnn\n\nScanned.",
        BODY.replace("\n\n", "\n"),
        BODY.upper(),
        "Dear team,\nwe would like",
        BODY + "\nScanned.\n\nAnd more.",
        BODY + "\n" + "Scanned.\n" * 3,
        BODY.replace("\n\n", "\nKind lines between.\n\n"),
        BODY.replace("Ann", "Ann Other"),
        "We\nwould like\nten chairs.\n\nKind regards\nAnn",
    ],
)
def test_4_3_another_body_is_another_message(other: str) -> None:
    assert not are_same(comparison(BODY), comparison(other))


def test_4_1_lines_at_an_edge_are_a_banner_or_a_footer_if_they_are_few() -> None:
    text = "\n".join(f"line {number}" for number in range(20))
    for added in range(1, 9):
        lines = "\n".join(["added"] * added)
        assert are_same(comparison(text), comparison(f"{text}\n{lines}"))
        assert are_same(comparison(text), comparison(f"{lines}\n{text}"))
    lines = "\n".join(["added"] * 9)
    assert not are_same(comparison(text), comparison(f"{text}\n{lines}"))
    assert not are_same(comparison("line 0\nline 1"), comparison(text)), "most of it is missing"


@pytest.mark.parametrize("added", ["footer", "\n\n".join(f"footer {number}" for number in range(8))])
@pytest.mark.parametrize("count", [40, 46, 47, 48, 200])
def test_4_1_a_long_text_is_compared_without_additions_at_its_ends(count: int, added: str) -> None:
    text = MANY[: MANY.index(f"\n\nparagraph {count}")] if count < 200 else MANY
    for footer in ("", f"\n\n{added}", "\nfooter"):
        for banner in ("", "banner\n\n", "banner\n\nwith a link\n\n", "banner\n"):
            mixed = len({len(part.strip("\n")) + 2 == len(part) for part in (banner, footer) if part}) == 2
            if mixed and count < 47:
                continue  # in a short text, either paragraphs or lines were added
            other = comparison(f"{banner}{text}{footer}")
            assert are_same(comparison(text), other)
            assert not (banner or footer) or not are_same(comparison(f"{text}\n\nother"), other)


def test_4_3_a_claim_holds_64_digests_at_most() -> None:
    lines = "\n".join(f"line {number}" for number in range(20))
    for count in (1, 2, 46, 47, 48, 49, 1000):
        compared = comparison("\n\n".join(f"{lines} {number}" for number in range(count)))
        assert len(compared.paragraphs) + len(compared.edges) + bool(compared.whole) <= 64


@pytest.mark.parametrize(
    "other",
    [
        "",
        "paragraph 1",
        MANY.replace("paragraph", "line"),
        MANY.replace("paragraph 1", "line 1"),
        "\n\n".join(f"paragraph {number}" for number in range(45)),
        "\n\n".join(f"another {number}" for number in range(20_000)),
        "\n\n".join(reversed(MANY.split("\n\n"))),
    ],
)
def test_4_3_a_body_with_many_paragraphs_contains_no_shorter_body(other: str) -> None:
    assert not are_same(comparison(MANY), comparison(other))
    assert not are_same(comparison(BODY), comparison(MANY)), "nothing of it is among the digests"


@pytest.mark.parametrize("count", [47, 48, 60, 200])
def test_4_3_no_paragraph_of_a_long_text_can_be_replaced(count: int) -> None:
    """A digest of 48 paragraphs out of 200 would not show most of these, and a sender may choose which it shows."""
    paragraphs = MANY.split("\n\n")[:count]
    text = comparison("\n\n".join(paragraphs))
    for index in range(count):
        changed = [*paragraphs[:index], "pay to the new account", *paragraphs[index + 1 :]]
        assert not are_same(text, comparison("\n\n".join(changed))), index


@pytest.mark.parametrize(
    ("first", "second"), [("\U0001f44d", "\U0001f44e"), ("\u2713", "\u2717"), ("?", "!"), ("+", "\u00b1")]
)
def test_4_3_a_line_of_symbols_is_text(first: str, second: str) -> None:
    assert not are_same(comparison(f"Dear team,\n\n{first}"), comparison(f"Dear team,\n\n{second}"))
    assert are_same(comparison(first), comparison(f"{first}\n\nScanned."))


def test_4_3_another_attachment_of_the_same_name_is_another_message() -> None:
    invoice = comparison(BODY, "aa")
    assert are_same(invoice, comparison(f"{BODY}\n\nScanned.", "aa"))
    assert not are_same(invoice, comparison(f"{BODY}\n\nScanned.", "cc"))
    signed, replaced = (comparison(BODY, digest, sender="customer.example") for digest in ("aa", "cc"))
    assert are_same(signed, replaced)


def test_4_3_without_text_another_html_is_another_message() -> None:
    def pictures(html: str) -> Comparison:
        content = replace(ORIGINAL, bodies=("", html))
        compared = fingerprints("x", content)[-1].comparison
        assert compared is not None
        return compared

    assert are_same(pictures("<img src=cid:1>"), pictures("<img  src=cid:1>\n"))
    assert not are_same(pictures("<img src=cid:1>"), pictures("<a href=//forged.example><img src=cid:1>"))


def test_4_1_without_text_equal_attachments_make_a_body_the_same() -> None:
    assert are_same(comparison("", "aa", "bb"), comparison("", "bb", "aa"))
    assert are_same(comparison(" \n--\n", "aa"), comparison("", "aa"))
    assert not are_same(comparison("", "aa"), comparison("", "cc"))
    assert not are_same(comparison(""), comparison(""))
    assert not are_same(comparison(""), comparison("Scanned."))


def test_4_1_messages_of_the_same_authenticated_sender_are_the_same() -> None:
    ann = comparison("one", sender="customer.example")
    assert are_same(ann, comparison("two", sender="customer.example"))
    assert not are_same(ann, comparison("two", sender="other.example"))
    assert not are_same(ann, comparison("two"))
    assert not are_same(comparison("one"), comparison("two"))


def test_4_3_a_message_id_alone_does_not_make_two_messages_the_same() -> None:
    first, second = (fingerprints("x", replace(ORIGINAL, bodies=(text, "")))[-1] for text in ("one", "two"))
    assert first == second, "their digests are equal"
    assert not first.is_same(second)
    assert not Fingerprint(first.kind, first.digest).is_same(first), "a claim without paragraphs"
    raw = fingerprints("x", ORIGINAL)[0]
    assert raw.is_same(raw)
    assert not raw.is_same(fingerprints("y", ORIGINAL)[0])


def test_7_6_paragraphs_of_hostile_texts_take_linear_time() -> None:
    texts = [
        "a\n\n" * 350_000,
        "\n".join(f"{n:x}\n" for n in range(150_000)),
        "-\n" * 500_000,
        "_" * 1_000_000,
        "a\n" * 500_000,
    ]
    for text in texts:
        within(2, partial(comparison, text))
