"""Messages for the scenarios: content that servers change or send in an unusual way."""

from __future__ import annotations

from collections.abc import Iterable

from tests.servers.mail import plain_mail

FEW = [plain_mail(n) for n in range(6)]
MBOX_FIELDS = (b"X-IMAPbase:", b"X-UID:", b"X-UIDL:", b"Status:")
HEAD = b"From: a@example.net\r\nTo: support@example.com\r\nSubject: %s\r\n\r\n"
NESTED = (
    b"From: a@example.net\r\nTo: support@example.com\r\nSubject: forwarded\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b1"\r\n\r\npreamble\r\n--b1\r\nContent-Type: text/plain\r\n\r\nsee\r\n'
    b"--b1\r\nContent-Type: message/rfc822\r\n\r\nFrom: b@example.net\r\nSubject: inner\r\n\r\ninner\r\n--b1--\r\n\r\n"
)
MAILS = [
    *(plain_mail(n, size=500 + n * 137) for n in range(12)),
    HEAD % b"dots" + b".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n\r\n",
    HEAD % b"From lines"
    + b"From here on\r\n>From there\r\n\r\nFrom a@example.net Mon Nov  2 00:00:00 2026\r\n\r\nx\r\n",
    HEAD % b"long line" + b"x" * 30_000 + b"\r\n." + b"y" * 7_000 + b"\r\n",
    HEAD % b"8-bit" + bytes(range(128, 256)) * 20 + b"\r\n",
    HEAD % b"empty lines" + b"x\r\n\r\n\r\n\r\n",
    NESTED,
    plain_mail(20, size=300_000),
]


def without_mbox_fields(mail: bytes) -> bytes:
    """Return a message without the header fields in which an mbox keeps flags and UIDs; they change at every access."""
    head, empty, body = mail.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(MBOX_FIELDS)]
    return b"\r\n".join(lines) + empty + body


def all_without_mbox_fields(mails: Iterable[bytes]) -> list[bytes]:
    """Return messages without those fields, sorted."""
    return sorted(map(without_mbox_fields, mails))
