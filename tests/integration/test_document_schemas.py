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

from mailroom_cli.demo.messages import PLAIN, message
from mailroom_cli.demo.run import run_demo
from tests.integration.documents_fixture import NOW, PublishedWorld
from tests.published import faults, judged
from tests.servers.pump import poll, work_until_idle
from tests.unit.mime.report_samples import POSTFIX
from tests.unit.mime.test_hostile import HOSTILE, PAGES, SAMPLE, TOKENS, body, fill

SALES = b"To: sales@example.com\r\n"

CUT = 4_000
"""Bytes of each hostile message that are used: more would only take longer."""


@pytest.fixture
def world(storage: str) -> Iterator[PublishedWorld]:
    fixture = PublishedWorld(storage)
    yield fixture
    fixture.stores.close()


def hostile() -> list[bytes]:
    """Hostile mail without a recipient, and the same with one."""
    pages = [body(b"Content-Type: text/html", fill(page, CUT)) for page in PAGES.values()]
    cut = [build()[:CUT] for build in HOSTILE.values()]
    dated = [SAMPLE.replace(b"10:00:00", b"10:%02d:00" % minute) for minute in range(len(TOKENS))]
    tokens = [one[:200] + token + one[200:700] + token + one[700:] for one, token in zip(dated, TOKENS, strict=True)]
    whole = [*pages, *cut, *tokens]
    return [*whole, *(SALES + one for one in whole)]


def test_7_2_every_kind_of_document_is_valid(world: PublishedWorld) -> None:
    world.leave_every_kind()
    counts = judged(world.documents())
    assert counts["mailroom/result/1"] > 5
    assert counts["mailroom/message/1"] > 10
    kinds = {"result", "message", "unhandled", "duplicates", "blocked", "failed", "oversized", "unreadable"}
    assert set(counts) == {f"mailroom/{kind}/1" for kind in kinds}


def test_7_2_documents_of_a_replay_are_valid(world: PublishedWorld) -> None:
    world.leave_every_kind()
    before = [path for prefix in ("unhandled/", "failed/", "blocked/") for path, _ in world.documents(prefix)]
    [again, *_] = [path for path, _ in world.documents("routed/sales/")]
    world.replay(*before)
    world.replay(again, again=True)
    judged(world.documents())
    outcome = {one["resolved"]["outcome"] for path, one in world.documents() if one.get("resolved")}
    assert outcome >= {"routed"}
    assert [one["replaces"] for _, one in world.documents("routed/") if one["replaces"]] == [again]


def test_7_2_documents_of_hostile_mail_are_valid(world: PublishedWorld) -> None:
    messages = hostile()
    world.collect("support", *messages)
    documents = dict(world.documents())
    counts = judged(documents.items())
    assert counts["mailroom/message/1"] == len(set(messages))
    assert counts["mailroom/result/1"] >= len(HOSTILE)
    assert counts["mailroom/unhandled/1"] > 0
    assert any(document.get("defects") for document in documents.values())


def test_7_2_documents_of_automatic_mail_are_valid(world: PublishedWorld) -> None:
    answer = f"From: Ann <ann@customer.example>\nTo: sales+ref9@example.com\nSubject: Re: Ten chairs\n{PLAIN}\n"
    threaded = (
        "Auto-Submitted: auto-replied\nIn-Reply-To: <demo-1@demo.example>\nReferences: <a@b.example> <c@d.example>"
    )
    hinted = (
        b"Delivered-To: sales@example.com\r\nReceived: by mx\r\nTo: all@lists.example\r\nList-Id: <l.example>\r\n\r\n"
    )
    world.collect("support", POSTFIX.encode(), SALES + POSTFIX.encode(), message(answer + threaded, "Away."), hinted)
    judged(world.documents())
    results = [one for _, one in world.documents("routed/")]
    assert any(result["report"] for result in results)
    assert {result["automatic"]["kind"] for result in results if result["automatic"]} >= {"bounce", "list"}
    assert any(result["references"] for result in results)
    assert any(result["reference"] for result in results)
    assert any(result["hints"] for result in results)


@pytest.mark.parametrize("reported", [{}, {"to": None, "from": None}, {"to": [None, "a@b.example"], "subject": 7}])
def test_7_2_records_of_unreadable_mail_are_valid_whatever_the_server_reports(
    tmp_path: Path, reported: dict[str, Any]
) -> None:
    world = PublishedWorld(f"folder:{tmp_path}")
    server = world.servers["support"]
    server.refused, server.unreadable = {1: "sealed"}, {1: reported}
    world.collect("support", b"sealed")
    assert judged(world.documents()) == {"mailroom/unreadable/1": 1}
    [(_, record)] = world.documents()
    assert record["message"]["to"] == (["a@b.example"] if reported.get("to") else [])
    world.stores.close()


def test_1_8_a_subject_cut_in_the_middle_of_a_character_does_not_stop_the_mailbox(world: PublishedWorld) -> None:
    server = world.servers["support"]
    server.deliver(b"sealed")
    # In JSON, escapes of lone surrogates are parsed without an error.
    server.refused, server.unreadable = {1: "sealed"}, {1: json.loads(r'{"subject": "Party \ud83c", "to": ["\udf89"]}')}
    world.collect("support", SALES + b"\r\nbehind it\r\n")
    counts = judged(world.documents())
    assert counts["mailroom/unreadable/1"] == counts["mailroom/result/1"] == 1
    [(_, record)] = world.documents("unreadable/")
    assert record["message"]["subject"] == "Party ?"
    assert world.app().health.get("support").failures == 0


@pytest.mark.parametrize("year", [MINYEAR, 500, 1601, MAXYEAR])
@pytest.mark.parametrize("hours", [-12, 14])
def test_1_8_an_impossible_received_time_stops_nothing(world: PublishedWorld, year: int, hours: int) -> None:
    day = datetime(year, 1, 1) if hours > 0 else datetime(year, 12, 31, 23, 59)  # noqa: DTZ001  the zone comes below
    server = world.servers["office"]  # it has no SINCE, which would leave such mail
    server.deliver(b"To: sales@example.com\r\n\r\ntext\r\n")
    server.received = dict.fromkeys(server.messages, day.replace(tzinfo=timezone(timedelta(hours=hours))))
    app = world.app()
    for _ in range(2):
        poll(app, "office")
        work_until_idle(app)
    assert judged(world.documents())["mailroom/result/1"] == 1
    [(_, result)] = world.documents("routed/")
    assert result["arrival"]["received"] is None
    assert app.health.get("office").failures == 0


def test_7_2_documents_of_the_demonstration_are_valid(tmp_path: Path) -> None:
    into = tmp_path / "mail"
    assert run_demo(into, Console(file=io.StringIO())) == 0
    world = PublishedWorld(f"folder:{into}")
    counts = judged(world.documents())
    protocols = {one["arrival"]["protocol"] for path, one in world.documents() if "arrival" in one}
    world.stores.close()
    assert protocols == {"imap", "graph"}
    assert set(counts) >= {
        f"mailroom/{kind}/1" for kind in ("message", "result", "unhandled", "duplicates", "unreadable")
    }


def test_7_2_the_validator_rejects_invalid_documents(tmp_path: Path) -> None:
    world = PublishedWorld(f"folder:{tmp_path}")
    world.collect("support", SALES + b"\r\ntext\r\n")
    [(_, result)] = world.documents("routed/")
    world.stores.close()
    assert faults(result) == []
    late = (NOW + timedelta(days=1)).isoformat()
    for wrong in ({"arrival": {**result["arrival"], "stored": late}}, {"route": None}, {"extra": 1}, {"message": "AB"}):
        assert len(faults({**result, **wrong})) == 1, wrong
