"""Sample mail: 60 % of 5 to 20 kB, 30 % of 50 to 200 kB, 10 % of 1 MB; all messages are different."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator

from tests.servers.mail import body, plain_mail

RECIPIENT = "sales@example.com"

_BINARY = random.Random(1).randbytes(800_000)


def mix(count: int, *, seed: int = 0) -> Iterator[bytes]:
    """Yield `count` shuffled messages, the same for the same arguments.

    Small messages are plain text. Larger messages have an attachment in base64, like most mail of that size.
    """
    source = random.Random(seed)
    sizes = [source.randrange(5_000, 20_000) for _ in range(count * 6 // 10)]
    sizes += [1_000_000] * (count // 10)
    sizes += [source.randrange(50_000, 200_000) for _ in range(count - len(sizes))]
    source.shuffle(sizes)
    for n, size in enumerate(sizes):
        yield plain_mail(n, size=size, to=RECIPIENT) if size < 50_000 else with_attachment(n, size)


def with_attachment(n: int, size: int, *, to: str = RECIPIENT) -> bytes:
    """Return message number `n` of about `size` bytes, most of them an attachment."""
    head = (
        f"From: Sender {n} <sender{n}@example.net>\r\nTo: {to}\r\nSubject: Files {n}\r\n"
        f"Date: Mon, 23 Nov 2026 09:00:00 +0000\r\nMessage-ID: <files-{n}@example.net>\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=frontier\r\n\r\n"
        "--frontier\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    ).encode()
    middle = (
        f'\r\n--frontier\r\nContent-Type: application/pdf; name="file-{n}.pdf"\r\n'
        f'Content-Disposition: attachment; filename="file-{n}.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    ).encode()
    # Base64 encodes 57 bytes as a line of 76 characters and CRLF.
    lines = max(size - len(head) - 1_500, 78) // 78
    data = n.to_bytes(8) + _BINARY * (lines * 57 // len(_BINARY) + 1)
    encoded = base64.encodebytes(data[: lines * 57]).replace(b"\n", b"\r\n")
    return b"".join([head, body(1_000, seed=n), middle, encoded, b"--frontier--\r\n"])
