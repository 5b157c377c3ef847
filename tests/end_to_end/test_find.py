"""`mailroom find`, and its answer to "where is the mail?" together with `mailroom explain`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.clock import utc_now
from shared.receipts import Receipt
from shared.storage.base import Table
from tests.end_to_end.command import ROOT, identity
from tests.end_to_end.in_process import OperatorFixture, columns
from tests.integration.replay_fixture import BILLING, BOTH, letter

CONDITION = {**BOTH, "ROUTES__sales__ATTACHMENT_TYPES": "pdf"}
CHAIRS = letter("sales@example.com").replace(b"Subject: 1", "Subject: Zehn St\u00fchle, bitte".encode())
ANNS = CHAIRS.replace(b"a@b.example", b"Ann <Ann@customer.example>")
INVOICE = letter("billing@example.com", 2, "invoice").replace(b"Subject: 2", b"Subject: Invoice \x1b[2J\x9b 2026-117")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OperatorFixture]:
    fixture = OperatorFixture(f"folder:{tmp_path / 'mail'}", tmp_path)
    yield fixture
    fixture.stores.close()


def listed(world: OperatorFixture, *words: str) -> list[list[str]]:
    """Return the cells that `find` prints, without the heading."""
    ran = world.run("find", *words, settings=BOTH)
    assert ran.exit_code == (0 if ran.stdout else 1), ran.output
    heading, *lines = ran.stdout.splitlines() or [""]
    assert heading in ("", "id\tstored UTC\tfrom\tsubject\toutcome\troute")
    return [line.split("\t") for line in lines]


def test_two_commands_say_where_the_mail_of_yesterday_is_and_why_no_route_took_it(world: OperatorFixture) -> None:
    yesterday = utc_now() - timedelta(days=1)
    world.now = lambda: yesterday
    world.poll_and_route(CONDITION, ANNS, INVOICE)
    ran = world.run("find", "--sender", "Ann@Customer.example", "--since", "yesterday", settings=CONDITION)
    assert ran.exit_code == 0, ran.output
    [line] = ran.stdout.splitlines()[1:]
    assert line.split("\t")[1:] == [
        f"{yesterday:%Y-%m-%d %H:%M}",
        "ann@customer.example",
        "Zehn St\u00fchle, bitte",
        "unhandled",
    ]
    ran = world.run("explain", line.split("\t")[0], settings=CONDITION)
    assert ran.exit_code == 0, ran.output
    happened, _, now = ran.stdout.partition("what would happen now, in mailbox support, folder INBOX")
    assert f"stored {yesterday:%Y-%m-%d %H:%M} UTC from mailbox support, folder INBOX" in happened
    assert "There are routes for the message, but a condition of each does not hold." in happened
    assert "sales@example.com: route sales does not take it" in now
    assert "ATTACHMENT_TYPES: wanted pdf; it has nothing" in now
    assert "outcome: unhandled" in now


def test_find_prints_a_line_for_each_message_that_fits_80_columns_the_newest_last(world: OperatorFixture) -> None:
    world.poll_and_route(BOTH, ANNS, INVOICE, letter("nobody@example.com", 3))
    older = utc_now() - timedelta(days=400)
    world.stores.records.merge(Table.RECEIPTS, arrival(world, INVOICE), {"stored_at": older})
    lines = listed(world, "--mailbox", "support")
    assert lines[0][0] == identity(INVOICE)[:8]
    assert [line[2:] for line in lines if line[0] == identity(ANNS)[:8]] == [
        ["ann@customer.example", "Zehn St\u00fchle, bitte", "routed", "sales"]
    ]
    with columns(80):
        ran = world.run("find", "--mailbox", "support", "--since", "7d", settings=BOTH)
        older_ran = world.run("find", "--subject", "invoice", settings=BOTH)
    for line in (*ran.stdout.splitlines(), *older_ran.stdout.splitlines()):
        assert len(line) <= 80, line
    assert len(ran.stdout.splitlines()) == 3
    assert f"{utc_now():%m-%d} " in ran.stdout
    assert f"{older:%Y-%m-%d}" in older_ran.stdout, "the year where it is another one"
    assert "\x1b" not in older_ran.output
    assert "\x9b" not in older_ran.output


def test_find_selects_by_subject_outcome_and_time(world: OperatorFixture) -> None:
    now = utc_now()
    world.now = lambda: now - timedelta(hours=5)
    world.poll_and_route(BOTH, ANNS)
    world.now = utc_now
    world.poll_and_route(BOTH, INVOICE, letter("nobody@example.com", 3))
    everything = {identity(ANNS)[:8], identity(INVOICE)[:8], identity(letter("nobody@example.com", 3))[:8]}

    def find_ids(*words: str) -> set[str]:
        return {line[0] for line in listed(world, *words)}

    assert find_ids("--subject", "ST\u00dcHLE") == {identity(ANNS)[:8]}
    assert find_ids("--outcome", "routed") == {identity(ANNS)[:8], identity(INVOICE)[:8]}
    assert find_ids("--outcome", "routed", "--subject", "invoice") == {identity(INVOICE)[:8]}
    assert find_ids("--outcome", "waiting") == set()
    assert find_ids("--since", "yesterday") == find_ids("--until", "today") == find_ids("--since", "2d") == everything
    assert find_ids("--since", "4h") == everything - {identity(ANNS)[:8]}
    assert find_ids("--until", "4h") == {identity(ANNS)[:8]}
    assert find_ids("--until", "2026-01-01") == set()
    for words in (
        ["--since", "lately"],
        ["--until", "2026-02-30"],
        ["--outcome", "lost"],
        ["--since", "1h", "--until", "2h"],
    ):
        ran = world.run("find", *words, settings=BOTH)
        assert ran.exit_code == 2, words
        assert "Traceback" not in ran.output


def test_find_shows_the_newest_messages_up_to_the_limit(world: OperatorFixture) -> None:
    world.poll_and_route(BOTH, ANNS, INVOICE)
    world.stores.records.merge(Table.RECEIPTS, arrival(world, INVOICE), {"stored_at": utc_now() - timedelta(hours=1)})
    ran = world.run("find", "--since", "7d", "--limit", "1", settings=BOTH)
    assert [line.split("\t")[0] for line in ran.stdout.splitlines()[1:]] == [identity(ANNS)[:8]]
    assert "more messages match than the newest 1, which are shown; use --limit to show more" in ran.stderr


def test_find_shows_errors_whole_below_the_table_and_counts_what_it_cannot_search(world: OperatorFixture) -> None:
    world.dead_letter(BOTH, ANNS)
    error = "a long reason " * 30
    world.stores.records.merge(Table.RECEIPTS, arrival(world, ANNS), {"last_error": error})
    with columns(80):
        ran = world.run("find", "--outcome", "failed", settings=BOTH)
    assert ran.stdout.splitlines()[-1].strip() == f"{identity(ANNS)[:8]}: {error}".strip()
    assert "failed" in ran.stdout.splitlines()[1]
    ran = world.run("find", "--sender", "ann@customer.example", "--since", "yesterday", settings=BOTH)
    assert ran.exit_code == 1
    assert "1 message is not routed yet or failed: its sender, recipients and subject are unknown" in ran.stderr
    assert "no message matches" in ran.stderr


def test_find_long_and_json_show_everything(world: OperatorFixture) -> None:
    world.poll_and_route(BOTH, ANNS)
    ran = world.run("find", "--id", identity(ANNS)[:9], "--long", settings=BOTH)
    for text in ("claims", "Zehn St\u00fchle, bitte", "2026-11-24T09:00:00Z", identity(ANNS), "routed/sales/"):
        assert text in ran.stdout
    ran = world.run("find", "--id", identity(ANNS)[:9], "--json", settings=BOTH)
    history: dict[str, Any] = json.loads(ran.stdout)
    assert (history["subject"], history["sent"]) == ("Zehn St\u00fchle, bitte", "2026-11-24T09:00:00Z")
    assert history["message"] == identity(ANNS)


def test_find_long_folds_no_path_and_pads_nothing(world: OperatorFixture) -> None:
    world.poll_and_route(BOTH, ANNS, INVOICE)
    paths = [*world.stores.blobs.list("routed/"), f"messages/{identity(ANNS)[:2]}/{identity(ANNS)}.eml"]
    piped = world.run("find", "--since", "today", "--long", settings=BOTH).stdout
    with columns(80):
        shown = world.run("find", "--since", "today", "--long", settings=BOTH).stdout
    for text in (piped, shown):
        assert [path for path in paths if not re.search(rf"{re.escape(path)}$", text, re.MULTILINE)] == []
        assert [line for line in text.splitlines() if line != line.strip()] == []
        assert "\x9b" not in text
    assert [line for line in piped.splitlines() if line and line.count("\t") != 1] == []
    assert f"message\t{identity(ANNS)}, {len(ANNS)} bytes" in piped


def test_find_without_an_option_lists_the_newest_messages(world: OperatorFixture) -> None:
    world.poll_and_route(BOTH, ANNS, INVOICE)
    assert {line[0] for line in listed(world)} == {identity(ANNS)[:8], identity(INVOICE)[:8]}
    assert len(listed(world, "--limit", "1")) == 1


def test_every_command_takes_the_beginning_of_an_id_and_refuses_an_ambiguous_one(world: OperatorFixture) -> None:
    world.poll_and_route(BILLING, ANNS)
    record = world.stores.records.get(Table.RECEIPTS, arrival(world, ANNS))
    assert record is not None
    other = identity(ANNS)[:12] + "0" * 52
    world.stores.records.create(Table.RECEIPTS, "12" * 32, {**record.values, "message": other})
    world.stores.blobs.create(f"messages/{other[:2]}/{other}.eml", ANNS, content_type="message/rfc822")
    shown = [line[0] for line in listed(world, "--since", "today")]
    assert sorted(shown) == sorted([identity(ANNS)[:13], other[:13]])
    for words in (["find", "--id"], ["explain"], ["replay", "--dry-run"], ["forget"]):
        ambiguous = world.run(*words, identity(ANNS)[:8], settings=BOTH)
        assert ambiguous.exit_code == 2, ambiguous.output
        assert f"{identity(ANNS)[:8]} is the beginning of 2 ids; give more digits:" in ambiguous.stderr
        assert {line.split()[0] for line in ambiguous.stderr.splitlines()[-2:]} == set(shown)
        ran = world.run(*words, identity(ANNS)[:13], settings=BOTH)
        assert ran.exit_code == 0, ran.output
        missing = world.run(*words, "0" * 8, settings=BOTH)
        assert missing.exit_code == 1
        assert "there is no message or arrival 00000000" in missing.stderr


def test_the_mail_of_the_demo_is_listed_and_explained_in_80_columns(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mailroom_cli", "demo", "--into", str(tmp_path / "mail")]
    demo = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert demo.returncode == 0, demo.stderr
    world = OperatorFixture(f"folder:{tmp_path / 'mail'}", tmp_path)
    with columns(80):
        ran = world.run("find", "--since", "yesterday", settings=BOTH)
        assert ran.exit_code == 0, ran.output
        assert max(map(len, ran.stdout.splitlines())) <= 80
        cells = [re.split(r" {2,}", line) for line in ran.stdout.splitlines()[1:]]
        assert [len(row[0]) for row in cells] == [8] * 25
        [press] = [row for row in cells if "For the press" in row]
        assert press[2].startswith("eve@")
        assert press[3:] == ["For the press", "unhandled"]
        explained = world.run("explain", press[0], settings={**BOTH, "ROUTES__press__ADDRESS": "pres@example.com"})
    assert max(map(len, explained.stdout.splitlines())) <= 80
    assert (
        "  press@example.com: no route matches it\n    similar to pres@example.com of route press\n" in explained.stdout
    )
    [unreadable] = listed(world, "--outcome", "unreadable")
    assert unreadable[2:] == ["kai@customer.example", "For your eyes only", "unreadable"], "as its server lists it"
    world.stores.close()


def arrival(world: OperatorFixture, data: bytes) -> str:
    [receipt] = [receipt for receipt in world.receipts() if receipt.message == identity(data)]
    assert isinstance(receipt, Receipt)
    return receipt.arrival
