"""Parse a file of messages once for each line on standard input, and print the seconds of CPU.

The script uses the version of Mailroom on the Python path: `python reader_worker.py READER FILE`.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path


def messages(file: Path) -> Iterator[bytes]:
    """Yield the messages of a file; four bytes with its length precede each message."""
    data = file.read_bytes()
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def mailroom() -> Callable[[bytes], object]:
    """Return Mailroom's reader: bytes to JSON with digests, text from HTML included."""
    from shared.documents.message_document import message_fields  # noqa: PLC0415  the version on the path
    from shared.mime.parser import parse  # noqa: PLC0415

    return lambda data: json.dumps(message_fields(parse(data)), ensure_ascii=False)


def policy_default() -> Callable[[bytes], object]:
    """Return CPython's reader: text, HTML, addresses and the content of attachments."""

    def read(data: bytes) -> object:
        mail = message_from_bytes(data, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        bodies = [mail.get_body((kind,)) for kind in ("plain", "html")]
        texts = [part.get_content() for part in bodies if part is not None]
        addresses = [str(mail[name]) for name in ("from", "to", "cc", "subject", "date") if mail[name] is not None]
        return texts, addresses, [part.get_content() for part in mail.iter_attachments()]

    return read


READERS = {"mailroom": mailroom, "policy.default": policy_default}


def main() -> None:
    """Parse all messages once, and again for each line on standard input."""
    read = READERS[sys.argv[1]]()
    mails = list(messages(Path(sys.argv[2])))
    for data in mails:
        read(data)
    print("ready", flush=True)
    for _ in sys.stdin:
        gc.collect()
        began = time.process_time()
        for data in mails:
            read(data)
        print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    main()
