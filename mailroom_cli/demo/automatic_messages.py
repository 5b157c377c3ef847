"""Mail of every automatic kind (rule 5.1), and mail that does not go the usual way."""

from __future__ import annotations

from mailroom_cli.demo.messages import PLAIN, dated, message

LARGEST = 50_000
"""Bytes that the mailbox `support` takes, for this demonstration."""

BLOCKED = "*@lottery.example"
"""Whose mail it does not want."""


def _report(kind: str, fields: str, returned: str) -> str:
    """The parts of a `multipart/report` (RFC 6522) with the boundary `parts`."""
    return (
        "--parts\nContent-Type: text/plain\n\nA machine writes to you.\n"
        f"--parts\nContent-Type: message/{kind}\n\n{fields}\n"
        f"--parts\nContent-Type: text/rfc822-headers\n\nMessage-ID: <{returned}>\nSubject: Your order\n--parts--\n"
    )


AUTOMATIC = [
    message(
        dated(
            14,
            "Supplier <desk@supplier.example>",
            f"To: sales@example.com\nSubject: We have your message\nAuto-Submitted: auto-replied\n{PLAIN}",
        ),
        "Somebody will answer it.\n",
    ),
    message(
        dated(
            15,
            "Ann <ann@customer.example>",
            "To: sales@example.com\nSubject: Out of office: your order\n"
            f"Auto-Submitted: auto-replied (vacation)\n{PLAIN}",
        ),
        "Back on Monday.\n",
    ),
    message(
        "Return-Path: <>\n"
        + dated(
            16,
            "Mail Delivery System <mailer-daemon@customer.example>",
            "To: sales@example.com\nSubject: Undelivered: your order\nAuto-Submitted: auto-replied\n"
            "Content-Type: multipart/report; report-type=delivery-status; boundary=parts",
        ),
        _report(
            "delivery-status",
            "Reporting-MTA: dns; mail.customer.example\n\nFinal-Recipient: rfc822; gone@customer.example\n"
            "Action: failed\nStatus: 5.1.1\n",
            "order-1@example.com",
        ),
    ),
    message(
        dated(
            17,
            "Bob <bob@supplier.example>",
            "To: sales@example.com\nSubject: Read: your order\n"
            "Content-Type: multipart/report; report-type=disposition-notification; boundary=parts",
        ),
        _report(
            "disposition-notification",
            "Final-Recipient: rfc822; bob@supplier.example\nDisposition: manual-action/MDN-sent-manually; displayed\n",
            "order-2@example.com",
        ),
    ),
    message(
        dated(
            18,
            "Dealers <dealers@lists.example>",
            "To: billing@example.com\nSubject: [dealers] Prices for oak\nList-Id: Dealers <dealers.lists.example>\n"
            f"Precedence: list\n{PLAIN}",
        ),
        "They rise.\n",
    ),
]
"""An automatic reply, an absence, a bounce, a report that mail was read, and a list's mail: routed like any other."""

OTHERWISE = [
    message(
        "Delivered-To: sales@example.com\n"
        + dated(
            19,
            "Lea <lea@customer.example>",
            f"To: chairs@example.com\nSubject: To an alias that has no route\n{PLAIN}",
        ),
        "Our own server wrote above its Received whom it delivered this to.\n",
    ),
    message(
        dated(
            20,
            "Support <support@example.com>",
            f"To: sales@example.com\nSubject: We answered ourselves\nAuto-Submitted: auto-replied\n{PLAIN}",
        ),
        "An automatic reply from one of our own mailboxes goes in circles.\n",
    ),
    message(
        dated(21, "Max <max@lottery.example>", f"To: sales@example.com\nSubject: You have won\n{PLAIN}"),
        "BLOCKED_SENDERS names its domain.\n",
    ),
    message(
        dated(22, "Nina <nina@customer.example>", f"To: sales@example.com\nSubject: All our plans\n{PLAIN}"),
        "Larger than MAX_MESSAGE_BYTES.\n" + "x" * LARGEST,
    ),
]
"""Found by a delivery hint; a loop; a blocked sender; too large to be taken."""
