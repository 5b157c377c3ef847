"""Sample messages for tests, with CRLF line ends and 8-bit text. Equal arguments give equal bytes."""

from __future__ import annotations

import functools
import random

DOMAIN = "example.com"


def plain_mail(n: int, *, size: int = 2_000, to: str = f"support@{DOMAIN}", headers: str = "") -> bytes:
    """Return message number `n` of about `size` bytes to `to`; `headers` are more header lines, each with CRLF."""
    day, hour, minute = 1 + n % 28, n // 60 % 24, n % 60
    head = (
        f"Received: from out.example.net by mx.{DOMAIN}; Sun, {day:02} Nov 2026 {hour:02}:{minute:02}:00 +0000\r\n"
        f"From: Sender {n} <sender{n}@example.net>\r\n"
        f"To: {to}\r\n"
        f"Subject: Message {n} grüßt\r\n"
        f"Date: Sun, {day:02} Nov 2026 {hour:02}:{minute:02}:00 +0000\r\n"
        f"Message-ID: <{n}@example.net>\r\n"
        f"{headers}"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\n"
        "\r\n"
    ).encode()
    return head + body(size - len(head), seed=n)


def body(size: int, *, seed: int = 0) -> bytes:
    """Return lines of 8-bit text with CRLF, about `size` bytes. Some lines begin with a dot."""
    if size <= 0:
        return b"\r\n"
    block = _block(seed % 16)
    repeats = size // len(block) + 1
    text = (b"%d\r\n" % seed + block * repeats)[: max(size - 2, 0)].rstrip(b"\r\n")
    return text + b"\r\n"


def hostile_bodies() -> dict[str, bytes]:
    """Return messages that challenge parsers of line-based protocols, by their peculiarity.

    No message begins with a dot, which Dovecot 2.3 does not stuff in the first line of RETR and TOP. A message that
    was received over SMTP cannot begin with a dot, since the server writes the first line.
    """
    head = b"From: a@example.net\r\nTo: support@example.com\r\nSubject: x\r\n\r\n"
    return {
        "8-bit": head + bytes(range(128, 256)) * 20 + b"\r\n",
        "dots": head + b".\r\n..\r\n...\r\n.x\r\n\r\n.\r\n\r\n",
        "long line": head + b"x" * 300_000 + b"\r\n." + b"y" * 70_000 + b"\r\n",
        "dots at every border": head + b".a\r\n" * 40_000,
        "no body": head,
        "no headers": b"\r\nbody alone\r\n",
        "empty lines at the end": head + b"x\r\n\r\n\r\n\r\n",
        "control characters": head + bytes(c for c in range(1, 32) if c not in (10, 13)) + b"\r\n",
        "20 MB": plain_mail(20, size=20_000_000),
    }


@functools.cache
def _block(seed: int) -> bytes:
    source = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyzäöüßé      "
    lines: list[str] = []
    while len(lines) < 60:
        line = "".join(source.choices(letters, k=source.randrange(76)))
        lines.append("." + line if source.random() < 0.1 else line)
    return "\r\n".join([*lines, ""]).encode()
