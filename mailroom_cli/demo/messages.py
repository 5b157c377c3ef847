"""A dozen telling messages from people, byte for byte the same at every run."""

from __future__ import annotations

import base64

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


def message(headers: str, body: str | bytes, *, charset: str = "utf-8") -> bytes:
    """A message from its header lines and its body, with CRLF line ends."""
    text = body.encode(charset) if isinstance(body, str) else body
    whole = headers.strip().encode(charset) + b"\n\n" + text
    return whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def dated(number: int, sender: str, rest: str) -> str:
    """The header of the message with that number, as our server hands it out; `rest` is what stands below its date."""
    return (
        f"Received: from mx.example.com by mail.example.com; Mon, 23 Nov 2026 09:{number:02}:30 +0000\n"
        f"From: {sender}\nDate: Mon, 23 Nov 2026 09:{number:02}:00 +0000\nMessage-ID: <demo-{number}@demo.example>\n"
        f"MIME-Version: 1.0\n{rest}"
    )


PLAIN = "Content-Type: text/plain; charset=utf-8"

ORDER = message(
    dated(1, "Ann <ann@customer.example>", f"To: sales@example.com\nSubject: Ten chairs, please\n{PLAIN}"),
    "We would like to order ten chairs.\n",
)

INVOICE = message(
    dated(
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
        dated(
            2,
            "Ann <ann@customer.example>",
            f'To: "Billing, please" <BILLING@example.com>\nCc: sales@example.com\nSubject: To two of you\n{PLAIN}',
        ),
        "One result each.\n",
    ),
    message(
        dated(3, "Cem <cem@customer.example>", f"To: support@example.com\nSubject: My chair squeaks\n{PLAIN}"),
        "It does. The mailbox's own address has a fallback.\n",
    ),
    message(
        dated(4, "Ann <ann@customer.example>", f"To: sales+offer7@example.com\nSubject: Re: offer 7\n{PLAIN}"),
        "What stands behind the plus is kept as the reference.\n",
    ),
    INVOICE,
    message(
        dated(
            6, "Dana <dana@partner.example>", f"To: undisclosed-recipients:;\nSubject: By Bcc, from a partner\n{PLAIN}"
        ),
        "Nobody is named; a wildcard route takes this sender's mail.\n",
    ),
    message(
        dated(7, "Eve <eve@elsewhere.example>", f"To: press@example.com\nSubject: For the press\n{PLAIN}"),
        "No route is for press@, and an alias does not fall back.\n",
    ),
    message(
        dated(
            8,
            "Fritz <fritz@customer.example>",
            "To: support@example.com\nSubject: Grüße aus Köln\nContent-Type: text/plain; charset=iso-8859-1",
        ),
        "Der Betreff ist roh, acht Bit, ohne ein Wort über den Zeichensatz.\n",
        charset="iso-8859-1",
    ),
    message(
        dated(
            9,
            "=?utf-8?q?G=C3=BCl?= <guel@customer.example>",
            "To: sales@example.com\nSubject: =?utf-8?b?8J+qkQ==?= =?utf-8?q?_twelve_more?=\n"
            "Content-Type: text/html; charset=utf-8",
        ),
        "<p>HTML <b>alone</b>: the text is made from it.</p>\n",
    ),
    message(
        dated(10, "Hans <hans@elsewhere.example>", f"To: The Sales Team\nSubject: To nobody that can be read\n{PLAIN}"),
        "No address in To can be parsed.\n",
    ),
    ORDER,
]
"""What the mailbox `support` holds; the last one is the first again, byte for byte."""

OFFICE = [
    message(
        dated(
            11, "Ida <ida@landlord.example>", f"To: office@example.com\nSubject: The heating is off on Tuesday\n{PLAIN}"
        ),
        "This mailbox is shared: it is opened with Ann's sign-in.\n",
    ),
    ORDER,
]
"""What the shared mailbox `office` holds: the order arrived here as well."""

CONTRACTS = [
    message(
        dated(
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
"""What the mailbox `contracts` holds at Office 365: mail of eight bits, and the order once more."""

OPAQUE = [
    message(
        dated(
            13,
            "Kai <kai@customer.example>",
            "To: contracts@example.com\nSubject: For your eyes only\n"
            'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"',
        ),
        "sealed\n",
    ),
]
"""What it never gives out: encrypted mail."""
