"""The demo's messages; their bytes are the same in every run.

The first three lists are mail from people. `AUTOMATIC` has a message of each automatic kind (rule 5.1), and `SPECIAL`
messages with an outcome of their own.
"""

from __future__ import annotations

import base64

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


MAX_BYTES = 50_000
"""The mailbox `support` skips messages that are larger."""

BLOCKED = "*@lottery.example"
"""The mailbox `support` blocks these senders."""


def message(headers: str, body: str | bytes, *, charset: str = "utf-8") -> bytes:
    """Return a message with these header lines and this body; its lines end with CRLF."""
    text = body.encode(charset) if isinstance(body, str) else body
    whole = headers.strip().encode(charset) + b"\n\n" + text
    return whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def numbered_header(number: int, sender: str, rest: str) -> str:
    """Return the header of message `number`, as the mail server returns it.

    Args:
        number: gives the message its date and Message-ID.
        sender: content of From.
        rest: the header lines after MIME-Version.
    """
    return (
        f"Received: from mx.example.com by mail.example.com; Mon, 23 Nov 2026 09:{number:02}:30 +0000\n"
        f"From: {sender}\nDate: Mon, 23 Nov 2026 09:{number:02}:00 +0000\nMessage-ID: <demo-{number}@demo.example>\n"
        f"MIME-Version: 1.0\n{rest}"
    )


PLAIN = "Content-Type: text/plain; charset=utf-8"

ORDER = message(
    numbered_header(1, "Ann <ann@customer.example>", f"To: sales@example.com\nSubject: Ten chairs, please\n{PLAIN}"),
    "We would like to order ten chairs.\n",
)

INVOICE = message(
    numbered_header(
        5,
        "Bob <bob@supplier.example>",
        "To: billing@example.com\nSubject: Invoice 2026-117\nContent-Type: multipart/mixed; boundary=frontier",
    ),
    "--frontier\nContent-Type: text/plain\n\nThe invoice is attached.\n"
    '--frontier\nContent-Type: application/pdf; name="invoice.pdf"\nContent-Transfer-Encoding: base64\n'
    'Content-Disposition: attachment; filename="invoice.pdf"\n\n'
    + base64.encodebytes(b"%PDF-1.4 a very small invoice\n%%EOF\n").decode()
    + '--frontier\nContent-Type: image/png; name="logo.png"\nContent-Transfer-Encoding: base64\n'
    "Content-Disposition: inline\nContent-ID: <logo@demo.example>\n\n"
    + base64.encodebytes(PIXEL).decode()
    + "--frontier--\n",
)

SUPPORT = [
    ORDER,
    message(
        numbered_header(
            2,
            "Ann <ann@customer.example>",
            f'To: "Billing, please" <BILLING@example.com>\nCc: sales@example.com\nSubject: To two of you\n{PLAIN}',
        ),
        "One result each.\n",
    ),
    message(
        numbered_header(
            3, "Cem <cem@customer.example>", f"To: support@example.com\nSubject: My chair squeaks\n{PLAIN}"
        ),
        "It does. The mailbox's own address has a fallback.\n",
    ),
    message(
        numbered_header(
            4, "Ann <ann@customer.example>", f"To: sales+offer7@example.com\nSubject: Re: offer 7\n{PLAIN}"
        ),
        "The text after the plus sign becomes the reference.\n",
    ),
    INVOICE,
    message(
        numbered_header(
            6, "Dana <dana@partner.example>", f"To: undisclosed-recipients:;\nSubject: By Bcc, from a partner\n{PLAIN}"
        ),
        "To has no address; a wildcard route takes this sender's mail.\n",
    ),
    message(
        numbered_header(7, "Eve <eve@elsewhere.example>", f"To: press@example.com\nSubject: For the press\n{PLAIN}"),
        "No route is for press@, and an alias does not fall back.\n",
    ),
    message(
        numbered_header(
            8,
            "Fritz <fritz@customer.example>",
            "To: support@example.com\nSubject: Grüße aus Köln\nContent-Type: text/plain; charset=iso-8859-1",
        ),
        "Der Betreff ist roh, acht Bit, ohne Angabe des Zeichensatzes.\n",
        charset="iso-8859-1",
    ),
    message(
        numbered_header(
            9,
            "=?utf-8?q?G=C3=BCl?= <guel@customer.example>",
            "To: sales@example.com\nSubject: =?utf-8?b?8J+qkQ==?= =?utf-8?q?_twelve_more?=\n"
            "Content-Type: text/html; charset=utf-8",
        ),
        "<p>HTML <b>alone</b>: the text is made from it.</p>\n",
    ),
    message(
        numbered_header(
            10, "Hans <hans@elsewhere.example>", f"To: The Sales Team\nSubject: To an unparseable address\n{PLAIN}"
        ),
        "No address in To can be parsed.\n",
    ),
    ORDER,
]
"""Mail from people in the mailbox `support`; the last message is a copy of the first."""

OFFICE = [
    message(
        numbered_header(
            11, "Ida <ida@landlord.example>", f"To: office@example.com\nSubject: The heating is off on Tuesday\n{PLAIN}"
        ),
        "This mailbox is shared: Mailroom signs in as Ann to open it.\n",
    ),
    ORDER,
]
"""Content of the shared mailbox `office`, including another copy of the order."""

CONTRACTS = [
    message(
        numbered_header(
            12,
            "Jale <jale@customer.example>",
            "To: contracts@example.com\nSubject: Vertrag unterschrieben\n"
            "Content-Type: text/plain; charset=windows-1252\nContent-Transfer-Encoding: 8bit",
        ),
        "Anbei die Unterschrift f\u00fcr den Vertrag \u2013 100 \u20ac im Monat.\n",
        charset="windows-1252",
    ),
    ORDER,
]
"""Content of the Office 365 mailbox `contracts`: an eight-bit message, and another copy of the order."""

ENCRYPTED = [
    message(
        numbered_header(
            13,
            "Kai <kai@customer.example>",
            "To: contracts@example.com\nSubject: For your eyes only\n"
            'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"',
        ),
        "sealed\n",
    ),
]
"""Encrypted mail in `contracts`, which Graph does not return."""


def _report(kind: str, fields: str, returned: str) -> str:
    """Return the parts of a `multipart/report` (RFC 6522) with the boundary `parts`."""
    return (
        "--parts\nContent-Type: text/plain\n\nThis report was generated automatically.\n"
        f"--parts\nContent-Type: message/{kind}\n\n{fields}\n"
        f"--parts\nContent-Type: text/rfc822-headers\n\nMessage-ID: <{returned}>\nSubject: Your order\n--parts--\n"
    )


AUTOMATIC = [
    message(
        numbered_header(
            14,
            "Supplier <desk@supplier.example>",
            f"To: sales@example.com\nSubject: We have your message\nAuto-Submitted: auto-replied\n{PLAIN}",
        ),
        "We will answer it.\n",
    ),
    message(
        numbered_header(
            15,
            "Ann <ann@customer.example>",
            "To: sales@example.com\nSubject: Out of office: your order\n"
            f"Auto-Submitted: auto-replied (vacation)\n{PLAIN}",
        ),
        "Back on Monday.\n",
    ),
    message(
        "Return-Path: <>\n"
        + numbered_header(
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
        numbered_header(
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
        numbered_header(
            18,
            "Dealers <dealers@lists.example>",
            "To: billing@example.com\nSubject: [dealers] Prices for oak\nList-Id: Dealers <dealers.lists.example>\n"
            f"Precedence: list\n{PLAIN}",
        ),
        "They rise.\n",
    ),
]
"""An automatic reply, an out-of-office reply, a bounce, a read receipt and a mailing list's mail; all are routed."""

SPECIAL = [
    message(
        "Delivered-To: sales@example.com\n"
        + numbered_header(
            19,
            "Lea <lea@customer.example>",
            f"To: chairs@example.com\nSubject: To an alias that has no route\n{PLAIN}",
        ),
        "Delivered-To, which our server added above its Received, has the envelope recipient.\n",
    ),
    message(
        numbered_header(
            20,
            "Support <support@example.com>",
            f"To: sales@example.com\nSubject: We answered ourselves\nAuto-Submitted: auto-replied\n{PLAIN}",
        ),
        "An automatic reply from one of our own mailboxes could cause a mail loop.\n",
    ),
    message(
        numbered_header(21, "Max <max@lottery.example>", f"To: sales@example.com\nSubject: You have won\n{PLAIN}"),
        "BLOCKED_SENDERS names its domain.\n",
    ),
    message(
        numbered_header(22, "Nina <nina@customer.example>", f"To: sales@example.com\nSubject: All our plans\n{PLAIN}"),
        "Larger than MAX_MESSAGE_BYTES.\n" + "x" * MAX_BYTES,
    ),
]
"""A message routed by its envelope recipient, a mail loop, a blocked sender, and an oversized message."""
