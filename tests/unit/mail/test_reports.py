"""Delivery reports and their kin, as mail systems really send them."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.mail.as_json import as_json
from shared.mail.buffer import Buffer
from shared.mail.message import Message, parse, read_message
from shared.mail.reports import MOST_RECIPIENTS, Report, ReportedRecipient

GUARD = 20  # seconds a megabyte; machines that run tests are busy

POSTFIX = r"""Return-Path: <>
Received: by mx.a.example (Postfix) id 4Xy; Mon, 23 Nov 2026 10:00:00 +0100 (CET)
Date: Mon, 23 Nov 2026 10:00:00 +0100 (CET)
From: MAILER-DAEMON@mx.a.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: us@us.example
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
	boundary="4Xy.1/mx.a.example"
Message-Id: <20261123@mx.a.example>

--4Xy.1/mx.a.example
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

I'm sorry to have to inform you that your message could not be delivered.

--4Xy.1/mx.a.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.a.example
X-Postfix-Queue-ID: 4Xy
X-Postfix-Sender: rfc822; us@us.example
Arrival-Date: Mon, 23 Nov 2026 09:59:00 +0100 (CET)

Final-Recipient: rfc822; Nobody@b.example
Original-Recipient: rfc822;nobody@a.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.b.example
Diagnostic-Code: smtp; 550 5.1.1 <nobody@b.example>:
    Recipient address rejected: User unknown

Final-Recipient: rfc822; full@b.example
Original-Recipient: rfc822;full@b.example
Action: delayed
Status: 4.2.2
Remote-MTA: dns; mx.b.example
Diagnostic-Code: smtp; 452 4.2.2 mailbox full

--4Xy.1/mx.a.example
Content-Description: Undelivered Message
Content-Type: message/rfc822

Received: from us by mx.a.example; Mon, 23 Nov 2026 09:59:00 +0100
From: us@us.example
Message-ID:
 <1@us.example>
Subject: hello

Message-ID: <not-this@us.example>

--4Xy.1/mx.a.example--
"""

EXCHANGE = """From: <postmaster@us.example>
To: <us@us.example>
Content-Type: multipart/report; report-type=delivery-status; boundary="b"
Message-ID: <2@us.example>
In-Reply-To: <AM0@us.example>
Subject: Undeliverable: hello
Auto-Submitted: auto-replied

--b
Content-Type: multipart/alternative; differences=Content-Type; boundary="c"

--c
Content-Type: text/plain; charset="us-ascii"

Your message to x couldn't be delivered.
--c--
--b
Content-Type: message/delivery-status

Reporting-MTA: dns;AM0.example.outlook.com
Received-From-MTA: dns;AM1.example.outlook.com
Arrival-Date: Mon, 23 Nov 2026 09:00:00 +0000

Final-Recipient: rfc822;x@b.example
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup
X-Display-Name: x

--b
Content-Type: text/rfc822-headers

Received: from AM1 by AM0 with mapi id 15.20; Mon, 23 Nov 2026 09:00:00 +0000
Message-ID: <AM0PR@us.example>
Subject: hello
--b--
"""

GMAIL = """Return-Path: <>
From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>
To: us@us.example
Auto-Submitted: auto-replied
Subject: Delivery Status Notification (Failure)
References: <1@us.example>
In-Reply-To: <1@us.example>
X-Failed-Recipients: x@b.example
Content-Type: multipart/report; boundary="b"; report-type=delivery-status

--b
Content-Type: multipart/related; boundary="r"

--r
Content-Type: text/plain; charset="UTF-8"

** Address not found **
--r--
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; googlemail.com
Received-From-MTA: dns; us@us.example
Arrival-Date: Mon, 23 Nov 2026 01:00:00 -0800 (PST)
X-Original-Message-ID: <1@us.example>

Final-Recipient: rfc822; x@b.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.b.example. (192.0.2.7, the server for the domain b.example.)
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist.
Last-Attempt-Date: Mon, 23 Nov 2026 01:00:01 -0800 (PST)

--b
Content-Type: message/rfc822

Message-ID: <1@us.example>

x
--b--
"""

EXIM_WITHOUT_MIME = """Return-path: <>
From: Mail Delivery System <Mailer-Daemon@a.example>
To: us@us.example
Auto-Submitted: auto-replied
X-Failed-Recipients: x@b.example,
  Y@b.example
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software.
"""

MDN = """Return-Path: <>
From: reader@b.example
To: us@us.example
Subject: Read: hello
Content-Type: multipart/report; report-type=disposition-notification; boundary=b

--b
Content-Type: text/plain

Your message was read.
--b
Content-Type: message/disposition-notification

Reporting-UA: b.example; Reader 1.0
Final-Recipient: rfc822;reader@b.example
Original-Message-ID: <1@us.example>
Disposition: manual-action/MDN-sent-manually; displayed

--b--
"""

FEEDBACK = """From: <abuse@a.example>
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b

Complaint.
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: x/1
Original-Mail-From: <us@us.example>

--b
Content-Type: message/rfc822

Message-ID: <1@us.example>

--b--
"""


def reported(source: str | bytes) -> Report:
    report = parse(source.encode() if isinstance(source, str) else source).report
    assert report is not None
    return report


def delivery(fields: str, *, third: str = "", header: str = "", kind: str = "message/delivery-status") -> str:
    """A delivery report with the given fields, third part and further header lines."""
    return (
        f"{header}Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        f"--b\n\nSorry.\n--b\nContent-Type: {kind}\n\n{fields}\n{third and f'--b{chr(10)}{third}{chr(10)}'}--b--\n"
    )


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_5_2_postfix(line_end: str) -> None:
    assert reported(POSTFIX.replace("\n", line_end)) == Report(
        kind="delivery",
        found_in="message/delivery-status",
        failed=(
            ReportedRecipient(
                address="nobody@b.example",
                original="nobody@a.example",
                action="failed",
                status="5.1.1",
                diagnostic="smtp; 550 5.1.1 <nobody@b.example>: Recipient address rejected: User unknown",
                remote_mta="mx.b.example",
            ),
        ),
        others=(
            ReportedRecipient(
                address="full@b.example",
                action="delayed",
                status="4.2.2",
                diagnostic="smtp; 452 4.2.2 mailbox full",
                remote_mta="mx.b.example",
            ),
        ),
        reporting_mta="mx.a.example",
        original_message_id="1@us.example",
    )


def test_5_2_exchange() -> None:
    report = reported(EXCHANGE)
    assert [(one.address, one.status) for one in report.failed] == [("x@b.example", "5.1.10")]
    assert report.reporting_mta == "AM0.example.outlook.com"
    assert report.original_message_id == "AM0PR@us.example"


def test_5_2_gmail() -> None:
    report = reported(GMAIL)
    assert [(one.address, one.status, one.remote_mta) for one in report.failed] == [
        ("x@b.example", "5.1.1", "mx.b.example.")
    ]
    assert report.original_message_id == "1@us.example"


def test_5_2_without_a_report_the_header_names_who_failed() -> None:
    report = reported(EXIM_WITHOUT_MIME)
    assert [(one.address, one.action, one.status) for one in report.failed] == [
        ("x@b.example", "failed", None),
        ("y@b.example", "failed", None),
    ]
    assert (report.kind, report.found_in, report.original_message_id) == ("delivery", "", None)


def test_5_2_a_report_that_names_nobody_is_filled_from_the_header() -> None:
    header = "X-Failed-Recipients: x@b.example\nIn-Reply-To: <1@us.example>\n"
    report = reported(delivery("Action: failed\nStatus: 5.0.0\n", header=header))
    assert [one.address for one in report.failed] == ["x@b.example"]
    assert report.original_message_id == "1@us.example"
    assert reported(delivery("Action: failed\nStatus: 5.0.0\n")).failed == (
        ReportedRecipient(None, action="failed", status="5.0.0"),
    )


def test_5_2_a_bare_delivery_status() -> None:
    report = reported("Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822;x@b.example\nAction: failed\n")
    assert [one.address for one in report.failed] == ["x@b.example"]


def test_5_2_read_receipts() -> None:
    assert reported(MDN) == Report(
        kind="disposition",
        found_in="message/disposition-notification",
        original_message_id="1@us.example",
        disposition="displayed",
    )


@pytest.mark.parametrize(
    ("written", "disposition"),
    [
        ("automatic-action/MDN-sent-automatically; Deleted/Error", "deleted/error"),
        ("automatic-action / MDN-sent-automatically (x); processed (y)", "processed"),
        ("displayed", "displayed"),
        ("", None),
    ],
)
def test_5_2_dispositions(written: str, disposition: str | None) -> None:
    assert reported(MDN.replace("manual-action/MDN-sent-manually; displayed", written)).disposition == disposition


def test_5_2_feedback_and_other_reports() -> None:
    assert reported(FEEDBACK) == Report("feedback", "message/feedback-report", original_message_id="1@us.example")
    other = "Content-Type: multipart/report; report-type=tlsrpt; boundary=b\n\n--b\n\nx\n--b--\n"
    assert reported(other) == Report("other", "multipart/report")


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
    "an address is no status": ("Action: failed\nDiagnostic-Code: smtp; 550 blocked 5.1.1.9", True, None),
    "no status": ("Status: unknown", False, None),
    "first counts": ("Action: failed\nAction: delivered", True, None),
}


@pytest.mark.parametrize(("fields", "failed", "status"), FATES.values(), ids=FATES)
def test_5_2_who_failed(fields: str, failed: bool, status: str | None) -> None:
    report = reported(delivery(f"Final-Recipient: rfc822; x@b.example\n{fields}\n"))
    (found,) = report.failed or report.others
    assert (bool(report.failed), found.status) == (failed, status)


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
    assert [one.address for one in report.failed] == [address]


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
def test_5_2_recipients_are_told_apart(layout: str, first: str, second: str) -> None:
    report = reported(delivery(layout.format(first.format("x"), second.format("y"))))
    assert [one.address for one in report.failed] == ["x@b.example", "y@b.example"]
    assert [one.original for one in report.failed] == [
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
def test_5_2_where_nothing_was_returned_the_answered_message_is_meant(header: str, expected: str | None) -> None:
    assert reported(delivery("Action: failed\n", header=header)).original_message_id == expected


def test_5_2_a_report_that_a_gateway_wrapped() -> None:
    wrapped = "Content-Type: multipart/mixed; boundary=w\n\n--w\n{}\n--w\n\nThis mail was scanned.\n--w--\n"
    assert [one.address for one in reported(wrapped.format(POSTFIX[POSTFIX.index("Content-Type") :])).failed] == [
        "nobody@b.example"
    ]
    loose = "Content-Type: message/delivery-status\n{}\nFinal-Recipient: rfc822; x@b.example\nAction: failed\n"
    assert [one.address for one in reported(wrapped.format(loose.format(""))).failed] == ["x@b.example"]
    assert parse(wrapped.format(loose.format("Content-Disposition: attachment\n")).encode()).report is None


def test_5_2_a_forwarded_report_is_an_attachment() -> None:
    forwarded = f"--w\n\nsee\n--w\nContent-Type: message/rfc822\n\n{POSTFIX}\n--w--\n"
    message = parse(f"Content-Type: multipart/mixed; boundary=w\n\n{forwarded}".encode())
    assert message.report is None
    assert message.automatic is None
    assert len(message.attachments) == 1


def test_5_2_ordinary_mail_is_no_report() -> None:
    assert parse(b"To: a@b.example\n\nFinal-Recipient: rfc822; x@b.example\nAction: failed\n").report is None


def test_5_2_a_report_is_stored_with_the_message() -> None:
    stored = as_json(parse(POSTFIX.encode()))
    assert json.loads(json.dumps(stored)) == stored
    report = stored["report"]
    assert isinstance(report, dict)
    assert report["failed"][0]["address"] == "nobody@b.example"
    assert set(report) == {"kind", "failed", "others", "reporting_mta", "original_message_id", "disposition"}
    assert set(report["others"][0]) == {"address", "original", "action", "status", "diagnostic", "remote_mta"}


def test_5_2_endless_recipients_are_read_in_part() -> None:
    fields = "".join(f"Final-Recipient: rfc822; u{number}@b.example\nAction: failed\n\n" for number in range(3000))
    message = parse(delivery(fields).encode())
    assert message.report is not None
    assert len(message.report.failed) == MOST_RECIPIENTS
    assert any("recipients" in defect for defect in message.defects)
    names = ", ".join(f"u{number}@b.example" for number in range(3000))
    assert len(reported(f"X-Failed-Recipients: {names}\n\n").failed) == MOST_RECIPIENTS


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
    began = time.monotonic()
    message = read_message(Buffer(data))
    json.dumps(as_json(message))
    assert time.monotonic() - began < GUARD


def checked(message: Message) -> None:
    json.dumps(as_json(message), ensure_ascii=False).encode()
    if message.report is not None:
        assert len(message.report.failed) + len(message.report.others) <= 2 * MOST_RECIPIENTS


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
    at = int(len(source) * where)
    checked(read_message(Buffer((source[:at] + junk + source[at:]).encode())))
    checked(read_message(Buffer(delivery(junk).encode())))
