"""Well-formed and malformed fields of reports: failed recipients, addresses, and the reported message."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.documents.message_document import message_fields
from shared.mime.buffer import Buffer
from shared.mime.parser import Message, parse, read_message
from shared.mime.reports import MAX_RECIPIENTS
from tests.cpu_time import within
from tests.unit.mime.report_samples import EXCHANGE, FEEDBACK, MDN, POSTFIX, delivery, reported

GUARD = 4  # seconds a megabyte, as `within` counts them (twice the limit)

FATES: dict[str, tuple[str, bool, str | None]] = {
    "failed": ("Action: failed", True, None),
    "case and comment": ("ACTION: Failed (permanently)\nStatus: 5.1.1 (bad address)", True, "5.1.1"),
    "given up": ("Action: failed\nStatus: 4.4.1", True, "4.4.1"),
    "delivered": ("Action: delivered\nStatus: 2.0.0", False, "2.0.0"),
    "relayed": ("Action: relayed\nStatus: 2.1.9", False, "2.1.9"),
    "delayed": ("Action: delayed\nStatus: 4.4.1", False, "4.4.1"),
    "delayed, whatever the status": ("Action: delayed\nStatus: 5.0.0", False, "5.0.0"),
    "by the status": ("Status: 5.7.1", True, "5.7.1"),
    "by the status, unknown action": ("Action: error\nStatus: 5.7.1", True, "5.7.1"),
    "by the diagnostic": ("Diagnostic-Code: smtp; 550 5.7.26 no SPF for 5.1.1.9", True, "5.7.26"),
    "an address is not a status": ("Action: failed\nDiagnostic-Code: smtp; 550 blocked 5.1.1.9", True, None),
    "no status": ("Status: unknown", False, None),
    "first counts": ("Action: failed\nAction: delivered", True, None),
}


@pytest.mark.parametrize(("fields", "failed", "status"), FATES.values(), ids=FATES)
def test_5_2_failed_recipients(fields: str, failed: bool, status: str | None) -> None:
    report = reported(delivery(f"Final-Recipient: rfc822; x@b.example\n{fields}\n"))
    (recipient,) = report.failed or report.others
    assert (bool(report.failed), recipient.status) == (failed, status)


NAMES: dict[str, tuple[str, str]] = {
    "type": ("rfc822; x@b.example", "x@b.example"),
    "upper case": ("RFC822;X@B.example", "x@b.example"),
    "no type": ("x@b.example", "x@b.example"),
    "brackets and comment": ("rfc822; <x@b.example> (X)", "x@b.example"),
    "quoted": ('rfc822; "x (y)"@b.example', '"x (y)"@b.example'),
    "utf-8": ("utf-8; jörg@bücher.example", "jörg@xn--bcher-kva.example"),
    "utf-8 in escapes": ("utf-8; j\\x{F6}rg@b.example", "jörg@b.example"),
    "no characters": ("utf-8; \\x{D800}\\x{FFFFFF}", "\N{REPLACEMENT CHARACTER}" * 2),
    "escapes of another type": ("rfc822; j\\x{F6}rg", "j\\x{F6}rg"),
    "x400": ("x400; /C=us/S=x/", "/C=us/S=x/"),
    "local": ("local; x", "x"),
}


@pytest.mark.parametrize(("written", "address"), NAMES.values(), ids=NAMES)
def test_5_2_recipients_are_named(written: str, address: str) -> None:
    report = reported(delivery(f"Final-Recipient: {written}\nAction: failed\n", kind="message/global-delivery-status"))
    assert [recipient.address for recipient in report.failed] == [address]


LAYOUTS: dict[str, str] = {
    "usual": "Reporting-MTA: dns; m\n\n{0}Action: failed\n\n{1}Action: failed\n",
    "no empty lines": "Reporting-MTA: dns; m\n{0}Action: failed\n{1}Action: failed\n",
    "empty lines within": "Reporting-MTA: dns; m\n\n\n{0}\nAction: failed\n\n\n{1}\nAction: failed\n\n",
    "junk": "junk\nReporting-MTA: dns; m\n: x\n\n{0}junk\nAction: failed\n\n{1}Action: failed\n--\n",
    "no report's fields": "{0}Action: failed\n\n{1}Action: failed\n",
    "white lines": "Reporting-MTA: dns; m\n \n{0}Action: failed\n \n{1}Action: failed\n",
}
ONE = "Final-Recipient: rfc822; {0}@b.example\n"
TWO = "Original-Recipient: rfc822; o{0}@b.example\nFinal-Recipient: rfc822; {0}@b.example\n"


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize(("first", "second"), [(ONE, ONE), (TWO, TWO), (TWO, ONE)])
def test_5_2_recipients_are_separated(layout: str, first: str, second: str) -> None:
    report = reported(delivery(layout.format(first.format("x"), second.format("y"))))
    assert [recipient.address for recipient in report.failed] == ["x@b.example", "y@b.example"]
    assert [recipient.original for recipient in report.failed] == [
        "ox@b.example" if first == TWO else None,
        "oy@b.example" if second == TWO else None,
    ]


THIRD: dict[str, tuple[str, str | None]] = {
    "message": ("Content-Type: message/rfc822\n\nMessage-ID: <1@b>\nX: y\n\nMessage-ID: <2@b>", "1@b"),
    "header": ("Content-Type: text/rfc822-headers\n\nX: y\nMessage-ID: <1@b>", "1@b"),
    "utf-8 header": ("Content-Type: message/global-headers\n\nSubject: é\nMessage-ID: <1é@b>", "1é@b"),
    "utf-8 message": ("Content-Type: message/global\n\nMessage-ID: <1@b>\n\n", "1@b"),
    "encoded": (
        "Content-Type: text/rfc822-headers\nContent-Transfer-Encoding: base64\n\nTWVzc2FnZS1JRDogPDFAYj4K",
        "1@b",
    ),
    "empty lines first": ("Content-Type: text/rfc822-headers\n\n\n\nMessage-ID: <1@b>", "1@b"),
    "two": ("Content-Type: message/rfc822\n\nMessage-ID: <1@b>\nMessage-ID: <2@b>\n\n", "1@b"),
    "none": ("Content-Type: message/rfc822\n\nX: y\n\nMessage-ID: <2@b>", None),
    "empty": ("Content-Type: message/rfc822\n\n", None),
    "not returned": ("Content-Type: text/plain\n\nMessage-ID: <1@b>", None),
}


@pytest.mark.parametrize(("third", "expected"), THIRD.values(), ids=THIRD)
def test_5_2_the_original_message_id(third: str, expected: str | None) -> None:
    assert reported(delivery("Action: failed\n", third=third)).original_message_id == expected


@pytest.mark.parametrize(
    ("header", "expected"), [("In-Reply-To: <1@b>\n", "1@b"), ("In-Reply-To: <1@b> <2@b>\n", None), ("", None)]
)
def test_5_2_without_a_returned_message_the_replied_message_is_used(header: str, expected: str | None) -> None:
    assert reported(delivery("Action: failed\n", header=header)).original_message_id == expected


def test_5_2_the_number_of_recipients_is_limited() -> None:
    fields = "".join(f"Final-Recipient: rfc822; u{number}@b.example\nAction: failed\n\n" for number in range(3000))
    message = parse(delivery(fields).encode())
    assert message.report is not None
    assert len(message.report.failed) == MAX_RECIPIENTS
    assert any("recipients" in defect for defect in message.defects)
    names = ", ".join(f"u{number}@b.example" for number in range(3000))
    assert len(reported(f"X-Failed-Recipients: {names}\n\n").failed) == MAX_RECIPIENTS


def test_5_2_long_values_are_cut() -> None:
    report = reported(delivery(f"Action: failed\nDiagnostic-Code: {'é ' * 9000}\nRemote-MTA: dns; {'x' * 9000}\n"))
    assert len(report.failed[0].diagnostic or "") == 1000
    assert len(report.failed[0].remote_mta or "") == 1000


ENDLESS = {
    "names": b"Final-Recipient: x\n", "fields": b"a:\n", "folds": b"Status: 5\n" + b" 5.1\n" * 50, "numbers": b"5.1.1.",
    "lines": b"\n", "comments": b"Final-Recipient: (((\n", "colons": b":", "spaces": b" ", "escapes": b"\\x{41}",
}  # fmt: skip


@pytest.mark.parametrize("pattern", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("start", [b"", b"Final-Recipient: utf-8;", b"Status: "])
def test_7_6_no_report_takes_long(start: bytes, pattern: bytes) -> None:
    content = start + pattern * (1_000_000 // len(pattern))
    data = b"Content-Type: message/delivery-status\nX-Failed-Recipients: a@b.example\n\n" + content
    within(GUARD, lambda: json.dumps(message_fields(read_message(Buffer(data)))))


def check(message: Message) -> None:
    json.dumps(message_fields(message), ensure_ascii=False).encode()
    if message.report is not None:
        assert len(message.report.failed) + len(message.report.others) <= 2 * MAX_RECIPIENTS


PIECES = st.sampled_from(
    [
        *("Final-Recipient: rfc822; x@b.example\n", "Action: failed\n", "Status: 5.1.1\n", "\n", "--b\n", "--b--\n"),
        *(
            "Diagnostic-Code: x;\n y\n",
            "Disposition: ;;\n",
            "Message-ID: <a\n",
            "utf-8;\\x{DC00}\n",
            " x\n",
            "\r",
            "\0",
        ),
        *("Content-Type: message/rfc822\n", "Content-Type: message/delivery-status\n", "(", '"', "<", "é", "x"),
        *("Content-Transfer-Encoding: base64\n", "Content-Type: multipart/report; boundary=b\n", "=?utf-8?q?=ED?="),
    ]
)


@settings(deadline=None)
@given(
    st.lists(PIECES, max_size=25).map("".join), st.sampled_from([POSTFIX, EXCHANGE, MDN, FEEDBACK, ""]), st.floats(0, 1)
)
def test_7_6_any_report_is_read(junk: str, source: str, where: float) -> None:
    position = int(len(source) * where)
    check(read_message(Buffer((source[:position] + junk + source[position:]).encode())))
    check(read_message(Buffer(delivery(junk).encode())))
