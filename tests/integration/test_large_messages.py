"""A message of 100 MB is read from its spooled file, and its size does not become memory (rule 1.7)."""

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

from shared.documents.blob_paths import raw_path

MEGABYTE = 1024 * 1024
SIZE = 100 * MEGABYTE
ABOVE_BASE = 64 * MEGABYTE

HEAD = (
    b"From: a@b.example\r\nTo: sales@example.com\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\nContent-Type: text/plain\r\n\r\nhello\r\n"
)
ATTACHMENT = (
    b"--outer\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="x.pdf"\r\n\r\n'
)
LINES = (base64.b64encode(bytes(range(57))) + b"\r\n") * 600
LONG_LINE = b"QUJD" * 12_000
QUOTED = ATTACHMENT.replace(b"base64", b"quoted-printable")
UUENCODED = ATTACHMENT.replace(b"base64", b"x-uuencode") + b"begin 644 x.pdf\r\n"
FORWARDED = b"--outer\r\nContent-Type: message/rfc822\r\n\r\n" + HEAD.replace(b"outer", b"inner")

KINDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "one attachment": lambda: itertools.chain([ATTACHMENT], itertools.repeat(LINES)),
    "two thousand attachments": lambda: itertools.repeat(ATTACHMENT + LINES),
    "an attachment without line breaks": lambda: itertools.chain([ATTACHMENT], itertools.repeat(LONG_LINE)),
    "quoted-printable in one line": lambda: itertools.chain([QUOTED], itertools.repeat(b"=41=00" * 8_000)),
    "uuencoded": lambda: itertools.chain([UUENCODED], itertools.repeat((b"M" + b"0" * 60 + b"\r\n") * 700)),
    "a forwarded message": lambda: itertools.chain([FORWARDED], itertools.repeat(LINES)),
    "a long text beside it": lambda: itertools.chain(
        [b"--outer\r\nContent-Type: text/html\r\n\r\n" + b"<p>x</p>" * 500_000 + b"\r\n" + ATTACHMENT],
        itertools.repeat(LINES),
    ),
}

CHILD = """
import json, sys
from pathlib import Path
from shared.mime.parser import parse
from shared.dispatch.routing_input import opened
from shared.storage.folder.blobs import FolderBlobs

def most():
    # Not ru_maxrss: a new process starts with that of the one it came from.
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

folder, message, size = sys.argv[1:]
parse(b"From: a@b.example\\r\\n\\r\\nx")
before = most()
with opened(FolderBlobs(Path(folder)), message, size=int(size)) as data:
    read = parse(data)
    content = sum(len(piece) for one in read.attachments for piece in one.chunks())
print(json.dumps([most() - before, read.size, content, len(read.attachments), read.text.strip()[:5]]))
"""


def written(folder: Path, pieces: Iterator[bytes]) -> tuple[str, int]:
    """A message of `SIZE` octets, or a little more, stored as intake stores it; its id and its size."""
    digest = hashlib.sha256()
    spooled = folder / "spooled"
    with spooled.open("wb") as file:
        for piece in itertools.chain([HEAD], pieces):
            digest.update(piece)
            file.write(piece)
            if file.tell() >= SIZE:
                break
    path = folder / raw_path(digest.hexdigest())
    path.parent.mkdir(parents=True)
    spooled.rename(path)
    return digest.hexdigest(), path.stat().st_size


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_1_7_a_message_of_100_mb_is_read_within_64_mb(tmp_path: Path, kind: Callable[[], Iterator[bytes]]) -> None:
    message, size = written(tmp_path, kind())
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), message, str(size)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    memory, read, content, attachments, text = json.loads(done.stdout)
    assert (read, text) == (size, "hello")
    assert attachments >= 1
    assert content > SIZE // 3
    assert memory < ABOVE_BASE, f"{memory / MEGABYTE:.0f} MB"
