"""Every document that the whole path writes is valid by the published schemas, on each kind of storage (rule 7.2)."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import MAXYEAR, MINYEAR, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mailroom_cli.demo.folder import SETTINGS
from mailroom_cli.demo.messages import PLAIN, message
from mailroom_cli.demo.run import run_demo
from shared.queue_messages import Poll, PollReason
from tests.published import count_valid, schema_errors
from tests.unit.mime.report_samples import POSTFIX
from tests.unit.mime.test_hostile import HOSTILE, PAGES, SAMPLE, TOKENS, body, fill
from tools.example_documents import NOW, ExampleStore, route_all

SALES = b"To: sales@example.com\r\n"

CUT = 4_000
"""Octets of each hostile message that are taken: more of the same would only take longer."""


@pytest.fixture
def world(storage: str) -> Iterator[ExampleStore]:
    made = ExampleStore(storage)
    yield made
    made.storage.close()


def hostile() -> list[bytes]:
    """Mail that was made to hurt, for nobody, and the same for somebody."""
    pages = [body(b"Content-Type: text/html", fill(page, CUT)) for page in PAGES.values()]
    cut = [build()[:CUT] for build in HOSTILE.values()]
    dated = [SAMPLE.replace(b"10:00:00", b"10:%02d:00" % minute) for minute in range(len(TOKENS))]
    tokens = [
        message[:200] + token + message[200:700] + token + message[700:]
        for message, token in zip(dated, TOKENS, strict=True)
    ]
    whole = [*pages, *cut, *tokens]
    return [*whole, *(SALES + item for item in whole)]


def test_7_2_every_kind_of_document_is_valid(world: ExampleStore) -> None:
    world.write_every_kind()
    counts = count_valid(world.documents())
    assert counts["mailroom/result/1"] > 5
    assert counts["mailroom/message/1"] > 10
    kinds = {"result", "message", "unhandled", "duplicates", "blocked", "failed", "oversized", "unreadable"}
    assert set(counts) == {f"mailroom/{kind}/1" for kind in kinds}


def test_7_2_what_a_replay_writes_and_marks_is_valid(world: ExampleStore) -> None:
    world.write_every_kind()
    before = [path for prefix in ("unhandled/", "failed/", "blocked/") for path, _ in world.documents(prefix)]
    [again, *_] = [path for path, _ in world.documents("routed/sales/")]
    world.replay(*before)
    world.replay(again, reissue=True)
    count_valid(world.documents())
    outcome = {document["resolved"]["outcome"] for path, document in world.documents() if document.get("resolved")}
    assert outcome >= {"routed"}
    assert [document["replaces"] for _, document in world.documents("routed/") if document["replaces"]] == [again]


@pytest.mark.parametrize("storage", ["folder", pytest.param("azure", marks=pytest.mark.soak)], indirect=True)
def test_7_2_what_hostile_mail_leaves_is_valid(world: ExampleStore) -> None:
    messages = hostile()
    world.drain("support", *messages)
    documents = dict(world.documents())
    counts = count_valid(documents.items())
    assert counts["mailroom/message/1"] == len(set(messages))
    assert counts["mailroom/result/1"] >= len(HOSTILE)
    assert counts["mailroom/unhandled/1"] > 0
    assert any(value.get("defects") for value in documents.values())


def test_7_2_what_machines_and_gateways_write_is_valid(world: ExampleStore) -> None:
    answer = f"From: Ann <ann@customer.example>\nTo: sales+ref9@example.com\nSubject: Re: Ten chairs\n{PLAIN}\n"
    threaded = (
        "Auto-Submitted: auto-replied\nIn-Reply-To: <demo-1@demo.example>\nReferences: <a@b.example> <c@d.example>"
    )
    hinted = (
        b"Delivered-To: sales@example.com\r\nReceived: by mx\r\nTo: all@lists.example\r\nList-Id: <l.example>\r\n\r\n"
    )
    world.drain("support", POSTFIX.encode(), SALES + POSTFIX.encode(), message(answer + threaded, "Away."), hinted)
    count_valid(world.documents())
    results = [document for _, document in world.documents("routed/")]
    assert any(result["report"] for result in results)
    assert {result["automatic"]["kind"] for result in results if result["automatic"]} >= {"bounce", "list"}
    assert any(result["references"] for result in results)
    assert any(result["reference"] for result in results)
    assert any(result["hints"] for result in results)


@pytest.mark.parametrize("changes", [{}, {"to": None, "from": None}, {"to": [None, "a@b.example"], "subject": 7}])
def test_7_2_what_a_server_tells_of_unreadable_mail_is_valid_whatever_it_is(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    world = ExampleStore(f"folder:{tmp_path}")
    server = world.servers["support"]
    server.refused, server.unreadable = {1: "sealed"}, {1: changes}
    world.drain("support", b"sealed")
    assert count_valid(world.documents()) == {"mailroom/unreadable/1": 1}
    [(_, record)] = world.documents()
    assert record["message"]["to"] == (["a@b.example"] if changes.get("to") else [])
    world.storage.close()


def test_1_8_what_a_server_cut_in_the_middle_of_a_character_does_not_stop_the_mailbox(world: ExampleStore) -> None:
    server = world.servers["support"]
    server.deliver(b"sealed")
    # As JSON has it: escapes of halves of surrogate pairs are read without a murmur.
    server.refused, server.unreadable = {1: "sealed"}, {1: json.loads(r'{"subject": "Party \ud83c", "to": ["\udf89"]}')}
    world.drain("support", SALES + b"\r\nbehind it\r\n")
    counts = count_valid(world.documents())
    assert counts["mailroom/unreadable/1"] == counts["mailroom/result/1"] == 1
    [(_, record)] = world.documents("unreadable/")
    assert record["message"]["subject"] == "Party ?"
    assert world.app().health.get("support").failures == 0


@pytest.mark.parametrize("year", [MINYEAR, 500, 1601, MAXYEAR])
@pytest.mark.parametrize("hours", [-12, 14])
def test_1_8_a_time_at_which_nothing_was_received_stops_nothing(world: ExampleStore, year: int, hours: int) -> None:
    day = datetime(year, 1, 1) if hours > 0 else datetime(year, 12, 31, 23, 59)  # noqa: DTZ001  the zone comes below
    server = world.servers["office"]  # it has no SINCE, which would leave such mail
    server.deliver(b"To: sales@example.com\r\n\r\ntext\r\n")
    server.received = dict.fromkeys(server.messages, day.replace(tzinfo=timezone(timedelta(hours=hours))))
    app = world.app()
    for _ in range(2):
        app.poller.poll(Poll("office", PollReason.MANUAL))
        route_all(app)
    assert count_valid(world.documents())["mailroom/result/1"] == 1
    [(_, result)] = world.documents("routed/")
    assert result["arrival"]["received"] is None
    assert app.health.get("office").failures == 0


def test_7_2_what_the_demonstration_writes_through_the_functions_is_valid(tmp_path: Path) -> None:
    into = tmp_path / "mail"
    assert run_demo(into, Console(file=io.StringIO())) == 0
    (into / SETTINGS).unlink()
    world = ExampleStore(f"folder:{into}")
    counts = count_valid(world.documents())
    protocols = {document["arrival"]["protocol"] for path, document in world.documents() if "arrival" in document}
    world.storage.close()
    assert protocols == {"imap", "graph"}
    assert set(counts) >= {
        f"mailroom/{kind}/1" for kind in ("message", "result", "unhandled", "duplicates", "unreadable")
    }


def test_7_2_the_judge_sees_what_is_wrong(tmp_path: Path) -> None:
    world = ExampleStore(f"folder:{tmp_path}")
    world.drain("support", SALES + b"\r\ntext\r\n")
    [(_, result)] = world.documents("routed/")
    world.storage.close()
    assert schema_errors(result) == []
    late = (NOW + timedelta(days=1)).isoformat()
    for wrong in ({"arrival": {**result["arrival"], "stored": late}}, {"route": None}, {"extra": 1}, {"message": "AB"}):
        assert len(schema_errors({**result, **wrong})) == 1, wrong
