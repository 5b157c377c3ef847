"""A message of 100 MB is parsed from its file and written, with much less memory than its size (rule 1.7)."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.documents.blob_paths import message_folder, raw_path
from tests.unit.mime import hostile

MEGABYTE = 1024 * 1024
SIZE = 100 * MEGABYTE
MAX_INCREASE = 64 * MEGABYTE

HEAD = (
    b"From: a@b.example\r\nTo: sales@example.com\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
)
ATTACHMENT = (
    b"--outer\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="x.pdf"\r\n\r\n'
)
BASE64_LINES = (base64.b64encode(bytes(range(57))) + b"\r\n") * 600
LONG_LINE = b"QUJD" * 12_000
QUOTED = ATTACHMENT.replace(b"base64", b"quoted-printable")
UUENCODED = ATTACHMENT.replace(b"base64", b"x-uuencode") + b"begin 644 x.pdf\r\n"
FORWARDED = b"--outer\r\nContent-Type: message/rfc822\r\n\r\n" + HEAD.replace(b"outer", b"inner")

MESSAGES: dict[str, Callable[[], Iterator[bytes]]] = {
    "one attachment": lambda: itertools.chain([ATTACHMENT], itertools.repeat(BASE64_LINES)),
    "two thousand attachments": lambda: itertools.repeat(ATTACHMENT + BASE64_LINES),
    "an attachment without line breaks": lambda: itertools.chain([ATTACHMENT], itertools.repeat(LONG_LINE)),
    "quoted-printable in one line": lambda: itertools.chain([QUOTED], itertools.repeat(b"=41=00" * 8_000)),
    "uuencoded": lambda: itertools.chain([UUENCODED], itertools.repeat((b"M" + b"0" * 60 + b"\r\n") * 700)),
    "a forwarded message": lambda: itertools.chain([FORWARDED], itertools.repeat(BASE64_LINES)),
    "an attachment and a long text": lambda: itertools.chain(
        [b"--outer\r\nContent-Type: text/html\r\n\r\n" + b"<p>x</p>" * 500_000 + b"\r\n" + ATTACHMENT],
        itertools.repeat(BASE64_LINES),
    ),
}

WRITTEN: dict[str, Callable[[], Iterator[bytes]]] = {
    "one attachment": MESSAGES["one attachment"],
    "two thousand attachments": MESSAGES["two thousand attachments"],
    "attachments of a megabyte": lambda: itertools.repeat(ATTACHMENT + BASE64_LINES * 30),
    "an attachment and a long text": MESSAGES["an attachment and a long text"],
}

HOSTILE = (
    "fields of two letters",
    "fields without a name",
    "lines without a colon",
    "routes",
    "short addresses",
    "short fields",
    "two-letter fields without a value",
)
"""The kinds that needed most memory: fields and addresses of a few bytes, of which a megabyte has 300,000."""

HOSTILE_SIZE = 20 * MEGABYTE

PROGRAM = """
import json, sys
from pathlib import Path
from shared.mime.parser import parse
from shared.dispatch.routing_input import open_raw
from shared.storage.folder.blobs import FolderBlobs

def peak_memory():
    # Not ru_maxrss, which a new process inherits from its parent.
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

folder, message_id, size = sys.argv[1:]
parse(b"From: a@b.example\\r\\n\\r\\nx")
before = peak_memory()
with open_raw(FolderBlobs(Path(folder)), message_id, size=int(size)) as data:
    message = parse(data)
    content = sum(len(piece) for attachment in message.attachments for piece in attachment.chunks())
print(json.dumps([peak_memory() - before, message.size, content, len(message.attachments), message.text.strip()[:5]]))
"""

WRITE_PROGRAM = (
    PROGRAM.replace(
        "import json, sys",
        "import json, sys\nfrom datetime import UTC, datetime",
    )
    .replace(
        "from shared.mime.parser import parse",
        """from shared.mime.parser import parse
from shared.documents.writer import DocumentWriter
from shared.receipts import Receipt
from shared.routing.model import Match""",
    )
    .replace(
        "    content = sum(len(piece) for attachment in message.attachments for piece in attachment.chunks())",
        """    receipt = Receipt(
        arrival="a" * 64, mailbox="support", protocol="imap", folder="INBOX", server_key="1.1", message=message_id,
        size=int(size), reported_size=int(size), received=None, stored_at=datetime(2026, 11, 23, tzinfo=UTC),
    )
    blobs = FolderBlobs(Path(folder))
    writer = DocumentWriter(blobs, receipt, message)
    blobs.create_many(writer.message_blobs())
    writer.accept_message()
    writer.write_rest()
    blobs.flush()
    match = Match("sales@example.com", "sales", "to")
    blobs.create_many([writer.result_blob(match, "routed/result.json", conversation=message_id)])
    content = sum(len(piece) for attachment in message.attachments for piece in attachment.chunks())""",
    )
)
"""`PROGRAM`, which also writes all documents of the message, as the router does."""


def store_message(
    folder: Path, pieces: Iterator[bytes], *, head: bytes = HEAD, min_size: int = SIZE
) -> tuple[str, int]:
    """Store a message of `min_size` bytes or a little more, as intake does, and return its id and size."""
    digest = hashlib.sha256()
    spooled = folder / "spooled"
    with spooled.open("wb") as file:
        for piece in itertools.chain([head], pieces):
            digest.update(piece)
            file.write(piece)
            if file.tell() >= min_size:
                break
    path = folder / raw_path(digest.hexdigest())
    path.parent.mkdir(parents=True)
    spooled.rename(path)
    return digest.hexdigest(), path.stat().st_size


def parse_in_process(
    folder: Path, message: str, size: int, *, program: str = PROGRAM
) -> tuple[int, int, int, int, str]:
    """Parse a message in a process of its own, and return what the program prints."""
    process = subprocess.run(
        [sys.executable, "-c", program, str(folder), message, str(size)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert process.returncode == 0, process.stderr
    memory, parsed_size, content, attachments, text = json.loads(process.stdout)
    return memory, parsed_size, content, attachments, text


@pytest.mark.parametrize("pieces", MESSAGES.values(), ids=MESSAGES)
def test_1_7_a_message_of_100_mb_is_parsed_within_64_mb(tmp_path: Path, pieces: Callable[[], Iterator[bytes]]) -> None:
    message, size = store_message(tmp_path, pieces())
    memory, parsed_size, content, attachments, text = parse_in_process(tmp_path, message, size)
    assert (parsed_size, text) == (size, "hello")
    assert attachments >= 1
    assert content > SIZE // 3
    assert memory < MAX_INCREASE, f"{memory / MEGABYTE:.0f} MB"


@pytest.mark.parametrize("kind", WRITTEN)
def test_1_7_the_documents_of_a_message_of_100_mb_are_written_within_64_mb(tmp_path: Path, kind: str) -> None:
    message, size = store_message(tmp_path, WRITTEN[kind]())
    memory, parsed_size, content, attachments, _ = parse_in_process(tmp_path, message, size, program=WRITE_PROGRAM)
    assert parsed_size == size
    folder = tmp_path / message_folder(message) / "attachments"
    written = [file.stat().st_size for file in folder.iterdir()]
    assert len(written) == (201 if attachments > 200 else attachments)
    assert content <= sum(written) <= content + 500 * attachments
    assert (tmp_path / "routed/result.json").is_file()
    assert memory < MAX_INCREASE, f"{memory / MEGABYTE:.0f} MB"


@pytest.mark.parametrize("kind", HOSTILE)
def test_1_7_hostile_mail_is_parsed_within_64_mb(tmp_path: Path, kind: str) -> None:
    data = hostile.KINDS[kind](HOSTILE_SIZE)
    message, size = store_message(tmp_path, iter([data]), head=b"", min_size=1)
    memory, parsed_size, *_ = parse_in_process(tmp_path, message, size)
    assert parsed_size == len(data)
    assert memory < MAX_INCREASE, f"{memory / MEGABYTE:.0f} MB"
