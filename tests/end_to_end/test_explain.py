"""`mailroom explain`: what happened to a message, and the outcome that it would have; nothing is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.documents.blob_paths import message_folder, raw_path
from shared.queue_messages import Poll, PollReason
from tests.end_to_end.command import identity, mailroom, opened, settings_file
from tests.end_to_end.in_process import OperatorFixture
from tests.integration.erasure_fixture import run_forget
from tests.integration.replay_fixture import BILLING, BOTH, letter

ROUTES = {
    "MAILBOXES__support__PROTOCOL": "imap",
    "MAILBOXES__support__HOST": "imap.example.com",
    "MAILBOXES__support__ADDRESS": "support@example.com",
    "MAILBOXES__support__PASSWORD": "never-output",
    "MAILBOXES__support__FALLBACK": "rest",
    "ROUTES__rest__MAILBOX": "support",
    "ROUTES__sales__ADDRESS": "sales@example.com",
    "ROUTES__invoices__ADDRESS": "billing@example.com",
    "ROUTES__invoices__ATTACHMENT_TYPES": "pdf",
    "ROUTES__invoices__SENDERS": "*@supplier.example;eve@elsewhere.example",
}
MAIL = (
    b"Delivered-To: support@example.com\r\nReceived: from a by b; Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    b"From: ann@customer.example\r\n"
    b"To: sales+offer7@example.com, billing@example.com, nobody@example.com, sales@exmaple.com\r\n"
    b"Subject: =?utf-8?q?St=C3=BChle?=\r\nDate: Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    b"Auto-Submitted: auto-replied\r\n\r\nx\r\n"
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OperatorFixture]:
    fixture = OperatorFixture(f"folder:{tmp_path / 'mail'}", tmp_path)
    yield fixture
    fixture.stores.close()


def explained(world: OperatorFixture, *words: str, settings: dict[str, str] = BOTH) -> str:
    ran = world.run("explain", *words, settings=settings)
    assert ran.exit_code == 0, ran.output
    return str(ran.stdout)


def explained_json(world: OperatorFixture, *words: str, settings: dict[str, str] = BOTH) -> list[dict[str, Any]]:
    return [json.loads(line) for line in explained(world, *words, "--json", settings=settings).splitlines()]


def test_explain_shows_recipients_routes_and_reasons_and_stores_nothing(tmp_path: Path) -> None:
    storage = f"folder:{tmp_path / 'mail'}"
    settings = settings_file(tmp_path, storage, ROUTES)
    file = tmp_path / "one.eml"
    file.write_bytes(MAIL)
    ran = mailroom("explain", str(file), settings=settings)
    assert ran.returncode == 0, ran.stderr
    output = ran.stdout
    assert "sales+offer7@example.com: route sales takes it by to, reference offer7" in output
    assert (
        "  billing@example.com: route invoices does not take it\n"
        "    SENDERS: wanted *@supplier.example; eve@elsewhere.example; it has ann@customer.example\n"
        "    ATTACHMENT_TYPES: wanted pdf; it has nothing\n"
        "  nobody@example.com: no route matches it\n"
        "  sales@exmaple.com: no route matches it\n"
        "    similar to sales@example.com of route sales\n"
    ) in output
    assert "automatic: auto-reply" in output
    assert "support@example.com (delivered-to)" in output
    assert "    not a duplicate of another message\n    stored as routed/sales/" in output
    assert "outcome: routed" in output
    assert "what happened" not in output
    assert "St\u00fchle" in output
    assert "never-output" not in output + ran.stderr
    stores = opened(storage)
    assert list(stores.blobs.list()) == []
    stores.close()


def test_explain_reads_standard_input(world: OperatorFixture) -> None:
    ran = world.run("explain", "-", "--mailbox", "Support", "--folder", "Orders", settings=BOTH, stdin=MAIL)
    assert ran.exit_code == 0, ran.output
    assert ran.stdout.startswith(f"message {identity(MAIL)[:8]}\n")
    assert "what would happen, in mailbox support, folder Orders\n" in ran.stdout
    assert "mailbox office" not in ran.stdout


def test_explain_reports_an_unreadable_file(world: OperatorFixture, tmp_path: Path) -> None:
    ran = world.run("explain", str(tmp_path / "none.eml"), settings=BOTH)
    assert ran.exit_code == 2
    assert "none.eml cannot be read: it is not a file, an id (8 to 64 hex digits), or the path" in ran.stderr
    assert world.run("explain", str(tmp_path), settings=BOTH).exit_code == 2
    file = tmp_path / "one.eml"
    file.write_bytes(MAIL)
    assert world.run("explain", str(file), "--mailbox", "Nowhere", settings=BOTH).exit_code == 2
    missing = world.run("explain", "unhandled/support/2026/11/24/", settings=BOTH)
    assert missing.exit_code == 1
    assert "there is nothing at unhandled/support/2026/11/24/" in missing.stderr
    for path in ("unhandled/../x", "unhandled//", "unhandled/./x"):
        assert world.run("explain", path, settings=BOTH).exit_code == 2, path


def test_explain_takes_an_id_an_arrival_and_every_path_of_a_message(
    world: OperatorFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    routed, unhandled = letter("billing@example.com"), letter("nobody@example.com", 2)
    world.poll_and_route(BOTH, routed, unhandled)
    monkeypatch.chdir(tmp_path)
    for data, path in ((routed, world.only_path("routed/")), (unhandled, world.only_path("unhandled/"))):
        [receipt] = [receipt for receipt in world.receipts() if receipt.message == identity(data)]
        names = [receipt.arrival, receipt.arrival[:8], identity(data), identity(data)[:8].upper()]
        raw, folder = raw_path(identity(data)), message_folder(identity(data))
        for stored in (path, path.partition("-")[0] + "\u2026", raw, folder, folder + "message.json"):
            names += [stored, "/" + stored, f"mail/{stored}", f"./mail/{stored}", f"{tmp_path}/mail/{stored}"]
        expected = explained(world, identity(data))
        assert f"message {identity(data)[:8]}: {receipt.outcome}\n" in expected
        for name in names:
            assert explained(world, name) == expected, name
    copy = tmp_path / "abcdef01"
    copy.write_bytes(unhandled)
    assert "what happened" not in explained(world, "abcdef01"), "a file that is named like an id"
    monkeypatch.chdir(tmp_path / "mail")
    assert explained(world, world.only_path("unhandled/")) == explained(world, identity(unhandled))
    world.poll_and_route(BOTH, letter("nobody@example.com", 3))
    several = world.run("explain", "unhandled/", settings=BOTH)
    assert several.exit_code == 2
    assert "unhandled/ is the beginning of several messages' paths" in several.stderr
    world.stores.blobs.create("unhandled/support/x.json", b"[1]", content_type="application/json")
    assert world.run("explain", "unhandled/support/x.json", settings=BOTH).exit_code == 1


def test_explain_says_what_happened_and_what_would_happen_with_the_current_routes(world: OperatorFixture) -> None:
    data = letter("sales@example.com, billing@example.com")
    world.poll_and_route(BILLING, data)
    result = world.only_path("routed/")
    text = explained(world, identity(data))
    happened, _, now = text.partition("\nwhat would happen now, in mailbox support, folder INBOX\n")
    assert happened.startswith(f"message {identity(data)[:8]}: routed\n")
    assert "billing@example.com: a result of route billing" in happened
    assert "sales@example.com: route sales takes it by to\n    not a duplicate of another message\n" in now
    assert "billing@example.com: route billing takes it by to\n    has its result already: routed/billing/" in now
    [explanation] = explained_json(world, identity(data))
    assert explanation["id"] == explanation["message"]["id"] == identity(data)
    assert explanation["message"]["from"] == ["a@b.example"]
    assert explanation["happened"]["recipients"][0]["result"] == result
    [routing] = explanation["now"]
    assert [(match["recipient"], match["has_result"]) for match in routing["matches"]] == [
        ("billing@example.com", True),
        ("sales@example.com", False),
    ]
    world.stores.blobs.delete_many([result])
    assert "(it no longer exists)" in explained(world, identity(data))


def test_explain_names_the_original_of_a_duplicate_and_calls_no_other_message_one(world: OperatorFixture) -> None:
    data, copy = letter("sales@example.com"), letter("sales@example.com").replace(b"Subject", b"X-Copy: 1\r\nSubject")
    world.poll_and_route(BOTH, data)
    world.poll_and_route(BOTH, copy, mailbox="office")
    first = explained(world, identity(data))
    assert "duplicate of message" not in first
    second = explained(world, identity(copy)[:8])
    line = f"sales@example.com: a duplicate of message {identity(data)[:8]}, by the same content\n"
    assert second.count(line) == 1
    assert second.count(f"a duplicate of message {identity(data)[:8]}, by the same content\n") == 2
    assert second.count("which arrived in mailbox support, ") == 2
    assert "outcome: duplicate" in second
    [explanation] = explained_json(world, identity(copy))
    [recipient] = explanation["happened"]["recipients"]
    [match] = explanation["now"][0]["matches"]
    assert recipient["duplicate_of"] == match["duplicate_of"]
    assert (recipient["duplicate_of"]["message"], recipient["duplicate_of"]["by"]) == (identity(data), "content")
    run_forget(world, identity(data))
    assert "a duplicate of the erased arrival" in explained(world, identity(copy))


def test_explain_shows_each_outcome(world: OperatorFixture) -> None:
    blocked, dead = letter("sales@example.com"), letter("sales@example.com", 2, "two")
    blocking = {**BOTH, "MAILBOXES__support__BLOCKED_SENDERS": "*@b.example"}
    world.poll_and_route(blocking, blocked)
    text = explained(world, identity(blocked), settings=blocking)
    assert "  blocked by *@b.example\n" in text
    assert "outcome: blocked; BLOCKED_SENDERS has *@b.example; From has a@b.example" in text
    assert f"to route it again: mailroom replay {identity(blocked)[:8]}" in text
    assert "outcome: routed" in explained(world, identity(blocked)), "by the current routes"
    world.dead_letter(BOTH, dead)
    text = explained(world, identity(dead))
    assert text.startswith(f"message {identity(dead)[:8]}: failed\n")
    assert "last error: an unexpected error: ValueError" in text
    world.servers["office"].deliver(letter("sales@example.com", 3))
    world.app({**BOTH, "MAILBOXES__office__MAX_MESSAGE_BYTES": "20"}).poller.poll(Poll("office", PollReason.MANUAL))
    [oversized] = [receipt for receipt in world.receipts() if receipt.state == "oversized"]
    text = explained(world, oversized.arrival[:8])
    assert text.startswith(f"arrival {oversized.arrival[:8]}: oversized\n")
    assert "bytes are more than MAILBOXES__office__MAX_MESSAGE_BYTES (20)" in text
    assert explained(world, world.only_path("oversized/")) == text
    waiting = letter("sales@example.com", 4, "four")
    world.servers["support"].deliver(waiting)
    world.app(BOTH).poller.poll(Poll("support", PollReason.MANUAL))
    assert "it waits to be routed: by the app, or by `mailroom run-once`" in explained(world, identity(waiting))
    [erased] = [receipt for receipt in world.receipts() if receipt.message == identity(blocked)]
    run_forget(world, identity(blocked))
    assert explained(world, erased.arrival).startswith(f"arrival {erased.arrival[:8]}: erased\n")


def test_explain_shows_errors_in_routes_and_a_missing_raw_message(world: OperatorFixture) -> None:
    data = letter("sales@example.com")
    world.poll_and_route(BOTH, data)
    text = explained(world, identity(data), settings={**BOTH, "ROUTES__sales__ORDER": "first"})
    assert "it is not routed until these errors are corrected:\n    ROUTES__sales__ORDER" in text
    world.stores.blobs.delete_many([raw_path(identity(data))])
    text = explained(world, identity(data))
    assert "sales@example.com: a result of route sales" in text
    assert "has a receipt and no raw bytes" in text


def test_explain_shows_the_newest_arrivals_of_a_message(
    world: OperatorFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailroom_cli.commands.explain.MAX_ARRIVALS", 2)
    data = letter("sales@example.com")
    for mailbox in ("support", "office", "support"):
        world.poll_and_route(BOTH, data, mailbox=mailbox)
    ran = world.run("explain", identity(data), settings=BOTH)
    assert ran.stdout.count("what happened") == 2
    assert ran.stdout.count("subject: 1") == 1, "the same headers"
    assert f"message {identity(data)[:8]} arrived again: duplicate" in ran.stdout
    assert "not shown: 1 older arrival of this message" in ran.stderr


def test_explain_prints_a_bounded_number_of_lines_without_controls(world: OperatorFixture) -> None:
    many = ", ".join(f"{number}@elsewhere.example" for number in range(2000))
    data = letter(many).replace(b"Subject: 1", b"Subject: =?utf-8?q?a=0Aoutcome:_routed=1B[2J?=")
    world.poll_and_route(BOTH, data)
    text = explained(world, identity(data))
    assert len(text.splitlines()) < 200
    assert "recipients or routes more, which --json lists" in text
    assert not [line for line in text.splitlines() if line.startswith("outcome:")]
    assert "\x1b" not in text


TO_ALIAS = (
    b"X-Original-To: sales+REF7@example.com\r\nDelivered-To: support@example.com\r\n"
    b"Received: from a by b; Tue, 24 Nov 2026 09:00:00 +0000\r\n"
    b"From: ann@customer.example\r\nTo: Support <support@example.com>\r\nSubject: x\r\n\r\nx\r\n"
)


def test_explain_shows_why_an_alias_is_the_recipient(world: OperatorFixture, tmp_path: Path) -> None:
    file = tmp_path / "one.eml"
    file.write_bytes(TO_ALIAS)
    output = explained(world, str(file), "--mailbox", "support", settings=ROUTES)
    assert (
        "sales+ref7@example.com: route sales takes it by x-original-to, "
        "in place of the primary address support@example.com, reference REF7"
    ) in output
    assert "sales+ref7@example.com (x-original-to), support@example.com (delivered-to)" in output
    assert "route rest" not in output
    other = ROUTES | {"MAILBOXES__support__ALIASES": "billing@example.com"}
    output = explained(world, str(file), "--mailbox", "support", settings=other)
    assert "support@example.com: route rest takes it by fallback" in output
    [explanation] = explained_json(world, str(file), "--mailbox", "support", settings=ROUTES)
    assert explanation["happened"] is None
    assert explanation["now"][0]["envelope_recipients"][0] == {
        "address": "sales+ref7@example.com",
        "header": "x-original-to",
    }
