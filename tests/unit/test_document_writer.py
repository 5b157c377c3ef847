"""The jobs that write a message, and the results that may follow them (rules 7.2 to 7.5)."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from shared.documents.blob_paths import parsed_path
from shared.documents.schema import Duplicate, Original
from shared.documents.writer import MAX_IN_PARALLEL, DocumentWriter
from shared.errors import ServiceUnavailable
from shared.mime.parser import parse
from shared.receipts import Receipt
from shared.routing.fingerprints import FingerprintKind
from shared.routing.model import Decision, EnvelopeHint, Match, Unhandled
from shared.storage.folder.blobs import FolderBlobs

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


def run(jobs: Sequence[Callable[[], object]], threads: int = 16) -> None:
    """Run jobs in a thread pool, as the router does."""
    with ThreadPoolExecutor(threads) as pool:
        for job in [pool.submit(job) for job in jobs]:
            job.result()


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


LARGE = [random.Random(n).randbytes(MEGABYTE + MEGABYTE // 2) for n in range(2)]


@pytest.mark.parametrize("attachments", [SMALL, [*LARGE, *SMALL], []], ids=["small", "large", "none"])
@pytest.mark.parametrize("max_attachments", [200, 2])
def test_7_3_the_jobs_write_the_same_blobs_in_any_order_and_more_than_once(
    tmp_path: Path, attachments: list[bytes], max_attachments: int
) -> None:
    data = mail(attachments)
    jobs = writer_for(FolderBlobs(tmp_path / "in order"), data, max_attachments=max_attachments).message_writes()
    run(jobs, threads=1)
    blobs = FolderBlobs(tmp_path / "others")
    again = writer_for(blobs, data, max_attachments=max_attachments).message_writes()
    run([*reversed(again), *again])
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
    run([job for writer in writers for job in writer.message_writes()])
    run(
        [
            partial(writer.write_result, match(n), f"routed/{n}.json", conversation=CONVERSATION)
            for n, writer in enumerate(writers)
        ]
    )
    assert len(contents(tmp_path)) == len(SMALL) + 1 + len(writers)


def test_the_jobs_are_returned_once() -> None:
    writer = writer_for(MemoryBlobs(), mail(SMALL))
    assert len(writer.message_writes()) == len(SMALL) + 1
    assert not writer.message_writes()


WRITES: dict[str, Callable[[DocumentWriter], object]] = {
    "result": lambda writer: writer.write_result(match(), "routed/x.json", conversation=CONVERSATION),
    "unhandled": lambda writer: writer.write_unhandled(Decision(unhandled=Unhandled.NO_ROUTE)),
    "unserved": lambda writer: writer.write_unserved(["a@b.example"]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_7_4_no_document_is_written_before_what_it_refers_to(write: Callable[[DocumentWriter], None]) -> None:
    blobs = MemoryBlobs()
    writer = writer_for(blobs, mail(SMALL))
    with pytest.raises(RuntimeError, match="not requested"):
        write(writer)
    jobs = list(writer.message_writes())
    for missing in range(len(jobs), 0, -1):
        with pytest.raises(RuntimeError, match=f"{missing} missing"):
            write(writer)
        before = len(blobs.blobs)
        assert before == len(SMALL) + 1 - missing
        jobs.pop()()
    write(writer)
    assert len(blobs.blobs) == len(SMALL) + 2


def test_7_4_no_result_follows_a_job_that_failed() -> None:
    fails = [True]

    def fail_once(path: str, _data: object) -> None:
        if path.endswith("01-0.pdf") and fails.pop():
            fails.append(False)
            raise ServiceUnavailable("the storage is unavailable")

    writer = writer_for(MemoryBlobs(fail_once), mail(SMALL))
    jobs = writer.message_writes()
    with pytest.raises(ServiceUnavailable):
        run(jobs)
    with pytest.raises(RuntimeError, match="1 missing"):
        WRITES["result"](writer)
    run(jobs)
    WRITES["result"](writer)


def test_records_that_refer_to_nothing_are_written_without_the_message() -> None:
    blobs = MemoryBlobs()
    writer_for(blobs, mail(SMALL)).write_duplicates([DUPLICATE])
    writer_for(blobs, mail(SMALL)).write_blocked("*@b.example")
    assert [path.partition("/")[0] for path in blobs.blobs] == ["duplicates", "blocked"]


def test_7_4_results_are_written_by_several_threads() -> None:
    hints = [EnvelopeHint(f"user{n}@example.com", "x-original-to") for n in range(100)]
    blobs, one_by_one = MemoryBlobs(), MemoryBlobs()
    for target, threads in ((blobs, 16), (one_by_one, 1)):
        writer = writer_for(target, mail(SMALL), hints=hints)
        run(writer.message_writes())

        def write(n: int, writer: DocumentWriter = writer) -> None:
            different = [ORIGINAL] * (n % 5)
            writer.write_result(match(n), f"routed/{n}.json", conversation=CONVERSATION, different=different)

        with ThreadPoolExecutor(threads) as pool:
            assert len(list(pool.map(write, range(200)))) == 200
    assert blobs.blobs == one_by_one.blobs
    assert json.loads(blobs.blobs["routed/3.json"])["conversation"] == CONVERSATION
    assert json.loads(blobs.blobs["routed/3.json"])["truncated"] == ["hints"]


@pytest.mark.parametrize(
    ("sizes", "max_attachments", "jobs"),
    [
        pytest.param([MEGABYTE + 1] * 5, 200, 2, id="large"),
        pytest.param([MEGABYTE - 1] * 12, 200, 6, id="many"),
        pytest.param([MEGABYTE - 1] * 8, 2, 4, id="archive"),
        pytest.param([1000] * 300, 200, 202, id="small"),
    ],
)
def test_1_7_attachments_in_memory_and_on_disk_are_bounded(sizes: list[int], max_attachments: int, jobs: int) -> None:
    lock, in_memory, files, peaks = threading.Lock(), 0, 0, [0, 0]

    def hold(_path: str, data: bytes | Path) -> None:
        nonlocal in_memory, files
        size, file = (0, 1) if isinstance(data, Path) else (len(data), 0)
        with lock:
            in_memory, files = in_memory + size, files + file
            peaks[:] = [max(peaks[0], in_memory), max(peaks[1], files)]
        time.sleep(0.01)
        with lock:
            in_memory, files = in_memory - size, files - file

    writer = writer_for(MemoryBlobs(hold), mail([bytes(size) for size in sizes]), max_attachments=max_attachments)
    writes = writer.message_writes()
    assert len(writes) == jobs
    run(writes)
    one_in_turn, message_json = MEGABYTE, 64 * 1024
    assert peaks[0] <= MAX_IN_PARALLEL + one_in_turn + message_json
    assert peaks[1] <= 1
