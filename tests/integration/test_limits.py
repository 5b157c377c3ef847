"""A small message is not multiplied: by its recipients, its attachments, its lists (rules 3.10, 7.8)."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from zipfile import ZipFile

import pytest

from shared.queue_messages import Poll, PollReason
from shared.storage.base import Record, Table
from tests.integration.replay_fixture import ReplayFixture
from tests.integration.routing_fixture import RoutingFixture, identity
from tests.servers.counting import CountingBlobs
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled

TWO = {"MAX_RECIPIENTS": "2"}
ALL = {"ROUTES__all__ADDRESS": "*@example.com"}
FIVE = ("eve@example.com", "dan@example.com", "cho@example.com", "bob@example.com", "ann@example.com")
"""In the order of To, which is not alphabetical."""


def letter(*to: str, number: int = 1, cc: str = "") -> bytes:
    head = f"From: a@b.example\r\nTo: {', '.join(to)}\r\n{f'Cc: {cc}{chr(13)}{chr(10)}' if cc else ''}"
    return f"{head}Subject: {number}\r\nMessage-ID: <{number}@b.example>\r\n\r\ntext\r\n".encode()


@pytest.fixture
def world(storage: str) -> Iterator[ReplayFixture]:
    fixture = ReplayFixture(storage)
    yield fixture
    fixture.stores.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RoutingFixture]:
    fixture = RoutingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def served(world: ReplayFixture) -> list[str]:
    return sorted(recipient for _, recipient in world.results())


def test_3_10_the_recipients_that_a_message_names_first_are_served(world: ReplayFixture) -> None:
    world.poll_and_route({**ALL, **TWO}, letter(*FIVE))
    assert served(world) == ["dan@example.com", "eve@example.com"]
    record = world.read(world.only_path("unhandled/"))
    assert record["reason"] == "too-many-recipients"
    assert record["recipients"] == list(FIVE[2:])
    assert record["resolved"] is None
    [parsed] = [world.read(path) for path in world.paths("messages/") if path.endswith("message.json")]
    assert any("3 recipients beyond MAX_RECIPIENTS" in defect for defect in parsed["defects"])
    [receipt] = world.receipts()
    assert receipt.outcome == "routed"


def test_3_10_to_comes_before_cc_and_each_address_counts_once(world: ReplayFixture) -> None:
    world.poll_and_route(
        {**ALL, **TWO}, letter("zoe@example.com", "ZOE@example.com", cc="bob@example.com, ann@example.com")
    )
    assert served(world) == ["bob@example.com", "zoe@example.com"]


def test_3_10_as_many_recipients_as_allowed_leave_no_record(world: ReplayFixture) -> None:
    world.poll_and_route({**ALL, **TWO}, letter(*FIVE[:2]))
    assert len(world.results()) == 2
    assert not world.paths("unhandled/")


@pytest.mark.parametrize("way", [FailureMode.GONE_BEFORE, FailureMode.GONE_AFTER])
def test_4_1_after_a_crash_at_any_operation_the_same_recipients_are_served(
    world: ReplayFixture, way: FailureMode
) -> None:
    for number in count(1):
        world.servers["support"].deliver(letter(*FIVE, number=number))
        app = world.app({**ALL, **TWO})
        app.poller.poll(Poll("support", PollReason.MANUAL))
        [route_request] = world.take_route_requests()
        faults = FaultInjector(number, way)
        with suppress(ProcessKilled):
            world.app({**ALL, **TWO}, faults.stores(world.stores)).router.route(route_request)
        world.app({**ALL, **TWO}).router.route(route_request, tried=True)
        if faults.count < number:
            break
    result_counts = Counter(
        (item["recipient"], item["envelope"]["subject"]) for item in map(world.read, world.paths("routed/"))
    )
    assert result_counts == {(who, str(n)): 1 for who in FIVE[:2] for n in range(1, number + 1)}
    records = [world.read(path) for path in world.paths("unhandled/")]
    assert [record["recipients"] for record in records] == [list(FIVE[2:])] * number
    assert all(record["resolved"] is None for record in records)
    assert number > 10, "it died at operations"


@pytest.mark.parametrize("storage", ["folder", pytest.param("azure", marks=pytest.mark.soak)], indirect=True)
def test_4_1_claims_of_an_attempt_with_a_larger_limit_are_finished_with_a_smaller_one(world: ReplayFixture) -> None:
    for number in count(1):
        world.servers["support"].deliver(letter(*FIVE, number=number))
        world.app(ALL).poller.poll(Poll("support", PollReason.MANUAL))
        [route_request] = world.take_route_requests()
        faults = FaultInjector(number, FailureMode.GONE_BEFORE)
        with suppress(ProcessKilled):
            world.app(ALL, faults.stores(world.stores)).router.route(route_request)
        world.app({**ALL, **TWO}).router.route(route_request, tried=True)
        owned = {
            str(record.values["named"])
            for record in world.stores.records.scan(Table.CLAIMS)
            if number_of(world, record) == number
        }
        result_counts = {
            item["recipient"]
            for item in map(world.read, world.paths("routed/"))
            if item["envelope"]["subject"] == str(number)
        }
        assert result_counts == owned >= set(FIVE[:2]), "each recipient that is claimed has its result"
        if faults.count < number:
            break


def number_of(world: ReplayFixture, claim: Record) -> int:
    message = str(claim.values["message"])
    return int(world.read(f"messages/{message[:2]}/{message}/message.json")["subject"])


def test_3_10_a_replay_with_a_larger_limit_serves_the_others(world: ReplayFixture) -> None:
    world.poll_and_route({**ALL, **TWO}, letter(*FIVE))
    record = world.only_path("unhandled/")
    world.replay({**ALL, **TWO}, record)
    assert len(world.results()) == 2
    assert world.read(record)["resolved"] is None
    world.replay({**ALL, "MAX_RECIPIENTS": "4"}, record)
    assert len(world.results()) == 4
    assert world.read(record)["recipients"] == [FIVE[4]]
    assert world.read(record)["resolved"] is None
    world.replay(ALL, record)
    assert served(world) == sorted(FIVE)
    assert world.read(record)["resolved"]["outcome"] == "routed"


def test_3_10_a_copy_is_a_duplicate_for_the_recipients_that_were_served(world: ReplayFixture) -> None:
    world.poll_and_route({**ALL, **TWO}, letter(*FIVE))
    world.poll_and_route({**ALL, **TWO}, b"X-Copy: 1\r\n" + letter(*FIVE), mailbox="office")
    world.poll_and_route({**ALL, **TWO}, letter(*FIVE), mailbox="office")
    [same] = [
        item for item in map(world.read, world.paths("duplicates/")) if item["message"] == identity(letter(*FIVE))
    ]
    assert [duplicate["recipient"] for duplicate in same["duplicates"]] == ["dan@example.com", "eve@example.com"]


def collected(folder: RoutingFixture, data: bytes) -> CountingBlobs:
    """Let one message arrive and be routed; return what was written."""
    blobs = CountingBlobs(folder.stores.blobs)
    folder.servers["support"].deliver(data)
    folder.run("support", stores=replace(folder.stores, blobs=blobs))
    return blobs


def assert_bounded(folder: RoutingFixture, data: bytes, blobs: CountingBlobs) -> None:
    parsed = folder.read(next(path for path, _ in blobs.sizes if path.endswith("message.json")))
    recipients = max(len(folder.paths("routed/")), 1)
    assert blobs.written <= 8 * len(data) + 4_000 * recipients + 2_000 * len(parsed["attachments"])
    assert len(blobs.sizes) <= 200 + 200 + 5
    for path, size in blobs.sizes:
        assert size <= 4_000 or not path.startswith("routed/"), path


def test_7_8_a_report_to_thousands_costs_little(folder: RoutingFixture) -> None:
    folder.values |= ALL
    to = ", ".join(f"sales+reference-{n:05}@example.com" for n in range(2_000))
    recipients = "".join(
        f"\r\nFinal-Recipient: rfc822; somebody-{n}@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        f"Diagnostic-Code: smtp; 550 {'no such user here ' * 40}\r\n"
        for n in range(300)
    )
    data = (
        f"From: mailer-daemon@b.example\r\nTo: {to}\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=e\r\n\r\n--e\r\n\r\nSorry.\r\n--e\r\n"
        f"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.b.example\r\n{recipients}--e--\r\n"
    ).encode()
    blobs = collected(folder, data)
    results = folder.paths("routed/")
    assert len(results) == 200
    assert {folder.read(path)["recipient"] for path in results} == {
        f"sales+reference-{n:05}@example.com" for n in range(200)
    }
    assert folder.read(results[0])["report"] == "delivery"
    [record] = map(folder.read, folder.paths("unhandled/"))
    assert len(record["recipients"]) == 1_800
    assert_bounded(folder, data, blobs)


def attached(parts: int, content: str = "") -> bytes:
    part = f"--e\r\nContent-Type: application/x-data\r\nContent-Disposition: attachment\r\n\r\n{content}\r\n"
    head = "From: a@b.example\r\nTo: support@example.com\r\nContent-Type: multipart/mixed; boundary=e\r\n\r\n"
    return f"{head}{part * parts}--e--\r\n".encode()


def test_7_8_thousands_of_empty_attachments_are_one_archive(folder: RoutingFixture) -> None:
    data = attached(9_990)
    blobs = collected(folder, data)
    assert len(blobs.sizes) == 1 + 200 + 1 + 1 + 1
    assert_bounded(folder, data, blobs)
    [result] = map(folder.read, folder.paths("routed/"))
    assert result["attachments"] == 9_990
    assert result["truncated"] == ["paths.attachments"]
    with ZipFile(io.BytesIO(folder.stores.blobs.read(result["paths"]["archive"]) or b"")) as archive:
        assert len(archive.namelist()) == 9_790


def test_7_8_attachments_beyond_the_limit_are_in_an_archive(folder: RoutingFixture) -> None:
    folder.values["MAX_ATTACHMENTS"] = "3"
    data = b"".join(
        [
            b"From: a@b.example\r\nTo: support@example.com\r\nContent-Type: multipart/mixed; boundary=e\r\n\r\n",
            *(
                b"--e\r\nContent-Type: text/csv; name=same.csv\r\nContent-Disposition: attachment\r\n\r\nrow %d\r\n" % n
                for n in range(5)
            ),
            b"--e--\r\n",
        ]
    )
    collected(folder, data)
    [result] = map(folder.read, folder.paths("routed/"))
    parsed = folder.read(result["paths"]["message"])
    assert [attachment["member"] for attachment in parsed["attachments"]] == [None] * 3 + [
        "04-same-4.csv",
        "05-same-5.csv",
    ]
    assert result["paths"]["attachments"] == [attachment["path"] for attachment in parsed["attachments"][:3]]
    assert {attachment["path"] for attachment in parsed["attachments"][3:]} == {result["paths"]["archive"]}
    with ZipFile(io.BytesIO(folder.stores.blobs.read(result["paths"]["archive"]) or b"")) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    for attachment in parsed["attachments"][3:]:
        assert identity(contents[attachment["member"]]) == attachment["sha256"]


def test_7_8_the_archive_has_the_same_bytes_at_each_attempt(folder: RoutingFixture) -> None:
    folder.values["MAX_ATTACHMENTS"] = "1"
    data = attached(3, "x")
    written = []
    for storage in ("one", "two"):
        other = RoutingFixture(folder.folder / storage)
        other.values = folder.values
        collected(other, data)
        [path] = [path for path in other.paths("messages/") if path.endswith("archive.zip")]
        written.append(other.stores.blobs.read(path))
        other.stores.close()
    assert written[0] == written[1]


@pytest.mark.parametrize("content_type", ["text/plain", "text/html", "text/plain; charset=tis-620"])
@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x1b", b"\x7f", b"\xe1", b"\xff", b'"', b"&nbsp;"])
def test_7_8_the_parsed_message_is_at_most_four_times_the_message(
    folder: RoutingFixture, content_type: str, byte: bytes
) -> None:
    head = f"From: a@b.example\r\nTo: support@example.com\r\nContent-Type: {content_type}\r\nSubject: ".encode()
    data = head + byte * 20_000 + b"\r\n\r\n" + byte * 100_000
    blobs = collected(folder, data)
    [size] = [size for path, size in blobs.sizes if path.endswith("message.json")]
    assert size <= 4 * len(data)
    assert_bounded(folder, data, blobs)


def test_7_8_control_characters_are_left_out_of_the_parsed_message(folder: RoutingFixture) -> None:
    data = b"From: a@b.example\r\nTo: support@example.com\r\nSubject: a\x01b\r\n\r\none\x00\x1b two\x0c\r\n\tthree\r\n"
    collected(folder, data)
    [result] = map(folder.read, folder.paths("routed/"))
    parsed = folder.read(result["paths"]["message"])
    assert parsed["subject"] == result["envelope"]["subject"] == "a b"
    assert parsed["text"].split("\n") == ["one two\x0c", "\tthree", ""]
    assert "\\u00" not in json.dumps(parsed, ensure_ascii=False)
    assert parsed["truncated"] == []
