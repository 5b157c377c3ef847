"""Delivery reports and other reports, as mail systems send them."""

import json

import pytest

from shared.documents.message_document import message_fields
from shared.mime.parser import parse
from shared.mime.reports import Report, ReportedRecipient
from tests.unit.mime.report_samples import (
    EXCHANGE,
    EXIM_WITHOUT_MIME,
    FEEDBACK,
    GMAIL,
    MDN,
    POSTFIX,
    delivery,
    reported,
)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_5_2_postfix(line_end: str) -> None:
    assert reported(POSTFIX.replace("\n", line_end)) == Report(
        kind="delivery",
        fields_type="message/delivery-status",
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
    assert [(recipient.address, recipient.status) for recipient in report.failed] == [("x@b.example", "5.1.10")]
    assert report.reporting_mta == "AM0.example.outlook.com"
    assert report.original_message_id == "AM0PR@us.example"


def test_5_2_gmail() -> None:
    report = reported(GMAIL)
    assert [(recipient.address, recipient.status, recipient.remote_mta) for recipient in report.failed] == [
        ("x@b.example", "5.1.1", "mx.b.example.")
    ]
    assert report.original_message_id == "1@us.example"


def test_5_2_without_a_report_the_header_names_failed_recipients() -> None:
    report = reported(EXIM_WITHOUT_MIME)
    assert [(recipient.address, recipient.action, recipient.status) for recipient in report.failed] == [
        ("x@b.example", "failed", None),
        ("y@b.example", "failed", None),
    ]
    assert (report.kind, report.fields_type, report.original_message_id) == ("delivery", "", None)


def test_5_2_a_report_without_recipients_gets_them_from_the_header() -> None:
    header = "X-Failed-Recipients: x@b.example\nIn-Reply-To: <1@us.example>\n"
    report = reported(delivery("Action: failed\nStatus: 5.0.0\n", header=header))
    assert [recipient.address for recipient in report.failed] == ["x@b.example"]
    assert report.original_message_id == "1@us.example"
    assert reported(delivery("Action: failed\nStatus: 5.0.0\n")).failed == (
        ReportedRecipient(None, action="failed", status="5.0.0"),
    )


def test_5_2_a_bare_delivery_status() -> None:
    report = reported("Content-Type: message/delivery-status\n\nFinal-Recipient: rfc822;x@b.example\nAction: failed\n")
    assert [recipient.address for recipient in report.failed] == ["x@b.example"]


def test_5_2_read_receipts() -> None:
    assert reported(MDN) == Report(
        kind="disposition",
        fields_type="message/disposition-notification",
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


def test_5_2_a_report_that_a_gateway_wrapped() -> None:
    wrapped = "Content-Type: multipart/mixed; boundary=w\n\n--w\n{}\n--w\n\nThis mail was scanned.\n--w--\n"
    assert [
        recipient.address for recipient in reported(wrapped.format(POSTFIX[POSTFIX.index("Content-Type") :])).failed
    ] == ["nobody@b.example"]
    loose = "Content-Type: message/delivery-status\n{}\nFinal-Recipient: rfc822; x@b.example\nAction: failed\n"
    assert [recipient.address for recipient in reported(wrapped.format(loose.format(""))).failed] == ["x@b.example"]
    assert parse(wrapped.format(loose.format("Content-Disposition: attachment\n")).encode()).report is None


def test_5_2_a_forwarded_report_is_an_attachment() -> None:
    forwarded = f"--w\n\nsee\n--w\nContent-Type: message/rfc822\n\n{POSTFIX}\n--w--\n"
    message = parse(f"Content-Type: multipart/mixed; boundary=w\n\n{forwarded}".encode())
    assert message.report is None
    assert message.automatic is None
    assert len(message.attachments) == 1


def test_5_2_ordinary_mail_is_not_a_report() -> None:
    assert parse(b"To: a@b.example\n\nFinal-Recipient: rfc822; x@b.example\nAction: failed\n").report is None


def test_5_2_a_report_is_stored_with_the_message() -> None:
    stored = message_fields(parse(POSTFIX.encode()))
    assert json.loads(json.dumps(stored)) == stored
    report = stored["report"]
    assert isinstance(report, dict)
    assert report["failed"][0]["address"] == "nobody@b.example"
    assert set(report) == {"kind", "failed", "others", "reporting_mta", "original_message_id", "disposition"}
    assert set(report["others"][0]) == {"address", "original", "action", "status", "diagnostic", "remote_mta"}
