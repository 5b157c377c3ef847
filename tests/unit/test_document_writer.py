"""The jobs that write a message, and the results that may follow them (rules 7.2 to 7.5)."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from shared.documents.blob_paths import parsed_path
from shared.documents.schema import Duplicate, Original
from shared.documents.writer import MAX_TOGETHER, DocumentWriter
from shared.errors import ServiceUnavailable
from shared.mime.parser import parse
from shared.receipts import Receipt
from shared.routing.fingerprints import FingerprintKind
from shared.routing.model import Decision, EnvelopeHint, Match, Unhandled
from shared.storage.base import NewBlob
from shared.storage.folder.blobs import FolderBlobs
from tests.servers.one_by_one import create_one_by_one

STORED_AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
CONVERSATION = "c" * 64
ORIGINAL: Original = {"arrival": "a" * 64, "message": "b" * 64, "result": "routed/sales/2026/11/23/x.json"}
DUPLICATE: Duplicate = {
    "recipient": "a@b.example",
    "route": "sales",
    "duplicate_of": ORIGINAL,
    "by": FingerprintKind.RAW,
}

SMALL = [b"first", b"second", b"third"]
MEGABYTE = 1024 * 1024


def mail(attachments: Sequence[bytes]) -> bytes:
    """Return a message with these attachments."""
    head = (
        b"From: Ann <ann@b.example>\r\nTo: sales@example.com\r\nSubject: Files\r\n"
        b"Date: Mon, 23 Nov 2026 10:00:00 +0100\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhello\r\n"
    )
    parts = [
        b"--x\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment; filename=%d.pdf\r\n\r\n%s" % (number, base64.encodebytes(content))
        for number, content in enumerate(attachments)
    ]
    return b"".join([head, *parts, b"--x--\r\n"])


def writer_for(blobs: Any, data: bytes, **arguments: Any) -> DocumentWriter:
    """Return the writer of a message that arrived."""
    receipt = Receipt(
        arrival="a" * 64, mailbox="support", protocol="imap", folder="INBOX", server_key="1.1",
        message=hashlib.sha256(data).hexdigest(), size=len(data), reported_size=len(data), received=None,
        stored_at=STORED_AT,
    )  # fmt: skip
    return DocumentWriter(blobs, receipt, parse(data), **arguments)


def match(number: int = 0) -> Match:
    return Match(f"user{number}@example.com", "sales", "to")


def write_message(writer: DocumentWriter) -> None:
    """Write a message, as the router does."""
    blobs = writer.message_blobs()
    writer.blobs.create_many([*reversed(blobs)])
    writer.accept_message()
    if writer.has_rest:
        writer.write_rest()


def write_result(writer: DocumentWriter, number: int, **arguments: Any) -> None:
    """Write the result of a recipient."""
    blob = writer.result_blob(match(number), f"routed/{number}.json", conversation=CONVERSATION, **arguments)
    assert writer.blobs.create_many([blob]) == [True]


def contents(folder: Path) -> dict[str, bytes]:
    """Return all blobs of a folder by path."""
    blobs = FolderBlobs(folder)
    return {path: blobs.read(path) or b"" for path in blobs.list()}


class MemoryBlobs:
    """Blobs in memory; `on_create` is called with each before it is stored."""

    def __init__(self, on_create: Callable[[str, bytes | Path], None] = lambda _path, _data: None) -> None:
        self.blobs: dict[str, bytes] = {}
        self._on_create = on_create

    def create(self, path: str, data: bytes | Path, **_how: object) -> bool:
        self._on_create(path, data)
        self.blobs[path] = data.read_bytes() if isinstance(data, Path) else data
        return True

    def create_many(self, blobs: Sequence[NewBlob]) -> list[bool]:
        return create_one_by_one(self.create, blobs)


LARGE = [random.Random(n).randbytes(MEGABYTE + MEGABYTE // 2) for n in range(2)]


@pytest.mark.parametrize("attachments", [SMALL, [*LARGE, *SMALL], []], ids=["small", "large", "none"])
@pytest.mark.parametrize("max_attachments", [200, 2])
def test_7_3_the_same_blobs_are_written_in_any_order_and_more_than_once(
    tmp_path: Path, attachments: list[bytes], max_attachments: int
) -> None:
    data = mail(attachments)
    write_message(writer_for(FolderBlobs(tmp_path / "in order"), data, max_attachments=max_attachments))
    others = FolderBlobs(tmp_path / "others")
    for _ in range(2):
        write_message(writer_for(others, data, max_attachments=max_attachments))
    written = contents(tmp_path / "in order")
    assert written == contents(tmp_path / "others")
    document = json.loads(written[parsed_path(hashlib.sha256(data).hexdigest())])
    for content, stored in zip(attachments, document["attachments"], strict=True):
        if stored["member"] is None:
            assert written[stored["path"]] == content
        else:
            with ZipFile(tmp_path / "others" / stored["path"]) as archive:
                assert archive.read(stored["member"]) == content


def test_7_3_two_arrivals_of_the_same_message_are_written_at_the_same_time(tmp_path: Path) -> None:
    data, blobs = mail(SMALL), FolderBlobs(tmp_path)
    writers = [writer_for(blobs, data) for _ in range(8)]

    def write(number: int) -> None:
        write_message(writers[number])
        write_result(writers[number], number)

    with ThreadPoolExecutor(len(writers)) as pool:
        list(pool.map(write, range(len(writers))))
    assert len(contents(tmp_path)) == len(SMALL) + 1 + len(writers)


def test_the_blobs_of_a_message_are_returned_once() -> None:
    writer = writer_for(MemoryBlobs(), mail(SMALL))
    assert len(writer.message_blobs()) == len(SMALL) + 1
    assert not writer.message_blobs()


WRITES: dict[str, Callable[[DocumentWriter], object]] = {
    "result": lambda writer: write_result(writer, 0),
    "unhandled": lambda writer: writer.write_unhandled(Decision(unhandled=Unhandled.NO_ROUTE)),
    "unserved": lambda writer: writer.write_unserved(["a@b.example"]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_7_4_no_document_is_written_before_what_it_refers_to(write: Callable[[DocumentWriter], None]) -> None:
    blobs = MemoryBlobs()
    writer = writer_for(blobs, mail(SMALL), max_attachments=1)
    with pytest.raises(RuntimeError, match="not requested"):
        write(writer)
    blobs.create_many(writer.message_blobs())
    with pytest.raises(RuntimeError, match="3 missing"):
        write(writer)
    writer.accept_message()
    with pytest.raises(RuntimeError, match="1 missing"):
        write(writer)
    writer.write_rest()
    write(writer)
    assert [path.rpartition("/")[2] for path in blobs.blobs][:3] == ["message.json", "01-0.pdf", "archive.zip"]
    assert len(blobs.blobs) == 4


def test_7_4_no_result_follows_an_attachment_that_failed() -> None:
    fails = [True]

    def fail_once(path: str, _data: object) -> None:
        if path.endswith("archive.zip") and fails.pop():
            fails.append(False)
            raise ServiceUnavailable("the storage is unavailable")

    writer = writer_for(MemoryBlobs(fail_once), mail(SMALL), max_attachments=1)
    with pytest.raises(ServiceUnavailable):
        write_message(writer)
    with pytest.raises(RuntimeError, match="1 missing"):
        write_result(writer, 0)
    writer.write_rest()
    write_result(writer, 0)


def test_records_that_refer_to_nothing_are_written_without_the_message() -> None:
    blobs = MemoryBlobs()
    writer_for(blobs, mail(SMALL)).write_duplicates([DUPLICATE])
    writer_for(blobs, mail(SMALL)).write_blocked("*@b.example")
    assert [path.partition("/")[0] for path in blobs.blobs] == ["duplicates", "blocked"]


def test_7_4_many_results_have_the_fields_of_the_message_in_common() -> None:
    hints = [EnvelopeHint(f"user{n}@example.com", "x-original-to") for n in range(100)]
    blobs = MemoryBlobs()
    writer = writer_for(blobs, mail(SMALL), hints=hints)
    write_message(writer)
    for n in range(200):
        write_result(writer, n, different=[ORIGINAL] * (n % 5))
    assert json.loads(blobs.blobs["routed/3.json"])["conversation"] == CONVERSATION
    assert json.loads(blobs.blobs["routed/3.json"])["truncated"] == ["hints"]


@pytest.mark.parametrize(
    ("sizes", "max_attachments", "together", "has_rest"),
    [
        pytest.param([MEGABYTE + 1] * 5, 200, 1, True, id="large"),
        pytest.param([MEGABYTE - 1] * 12, 200, 5, True, id="many"),
        pytest.param([MEGABYTE - 1] * 8, 2, 3, True, id="archive"),
        pytest.param([1000] * 300, 200, 201, True, id="small, with an archive"),
        pytest.param([1000] * 200, 200, 201, False, id="small"),
    ],
)
def test_1_7_attachments_in_memory_and_on_disk_are_bounded(
    sizes: list[int], max_attachments: int, together: int, *, has_rest: bool
) -> None:
    on_disk: list[Path] = []

    def look(_path: str, data: bytes | Path) -> None:
        assert [path for path in on_disk if path.exists()] == []
        if isinstance(data, Path):
            on_disk.append(data)
        else:
            assert len(data) <= MEGABYTE

    writer = writer_for(MemoryBlobs(look), mail([bytes(size) for size in sizes]), max_attachments=max_attachments)
    blobs = writer.message_blobs()
    assert len(blobs) == together
    assert sum(len(blob.data) for blob in blobs if isinstance(blob.data, bytes)) <= MAX_TOGETHER + 64 * 1024
    writer.accept_message()
    assert writer.has_rest == has_rest
    if has_rest:
        writer.write_rest()
        assert on_disk or max(sizes) < MEGABYTE
