"""The documents that routing writes, and what is never logged (rules 3.6, 3.7, 7.1 to 7.5)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.documents.blob_paths import raw_path
from shared.keys import shorten
from shared.receipts import State
from shared.storage.base import Table
from tests.integration.routing_fixture import DAY, InterceptedCalls, RoutingFixture, identity, letter


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    fixture = RoutingFixture(tmp_path)
    yield fixture
    fixture.stores.close()


def test_7_4_a_result_is_complete_in_itself(world: RoutingFixture) -> None:
    data = letter("Sales+REF7@Example.COM")
    world.servers["support"].deliver(data)
    world.servers["support"].received = {1: DAY - timedelta(hours=1)}
    world.values["MAILBOXES__support__SINCE"] = "2026-01-01"
    world.run("support")
    [path] = world.paths("routed/")
    assert path == f"routed/sales/2026/11/23/{identity(data)}-{shorten('sales+ref7@example.com')}.json"
    result = world.read(path)
    [receipt] = world.receipts()
    assert result["schema"] == "mailroom/result/1"
    assert result["message"] == identity(data)
    assert result["arrival"] == {
        "id": receipt.arrival,
        "mailbox": "support",
        "protocol": "imap",
        "folder": "INBOX",
        "server_key": "1.1",
        "received": "2026-11-23T22:50:00Z",
        "stored": "2026-11-23T23:50:00Z",
    }
    assert (result["route"], result["recipient"], result["matched"]) == ("sales", "sales+ref7@example.com", "to")
    assert result["reference"] is not None
    assert result["reference"].lower() == "ref7"
    assert result["envelope"]["subject"] == "Angebot"
    assert set(result["envelope"]) == {"from", "to", "cc", "subject", "sent", "message_id"}
    assert result["paths"]["raw"] == raw_path(identity(data))
    assert world.stores.blobs.exists(result["paths"]["message"])


ATTACHED = b"""From: Ann <a@b.example>\r
To: support@example.com\r
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r
Date: Mon, 23 Nov 2026 10:00:00 +0100\r
Message-ID: <1@b.example>\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="x"\r
\r
--x\r
Content-Type: text/plain; charset=utf-8\r
\r
hello\r
--x\r
Content-Type: text/html\r
Content-Disposition: attachment; filename="../invoice.html"\r
Content-Transfer-Encoding: base64\r
\r
PGI+MTwvYj4=\r
--x--\r
"""


def test_7_3_the_parsed_message_is_complete(world: RoutingFixture) -> None:
    world.servers["support"].deliver(ATTACHED)
    world.run("support")
    [path] = [path for path in world.paths("messages/") if path.endswith("message.json")]
    document = world.read(path)
    assert document["schema"] == "mailroom/message/1"
    assert document["id"] == identity(ATTACHED)
    assert document["raw"] == raw_path(identity(ATTACHED))
    assert document["subject"] == "Grüße"
    assert document["sent"].startswith("2026-11-23T09:00:00")
    assert document["text"].strip() == "hello"
    named = {"size", "message_id", "from", "sender", "reply_to", "to", "cc", "bcc", "subject", "text", "html"}
    assert named | {"attachments", "headers", "defects"} <= set(document)
    [attachment] = document["attachments"]
    assert attachment["sha256"] == identity(b"<b>1</b>")
    assert attachment["content_type"] == "text/html"
    assert attachment["size"] == 8
    assert world.stores.blobs.read(attachment["path"]) == b"<b>1</b>"
    [result] = world.paths("routed/")
    assert world.read(result)["paths"]["attachments"] == [attachment["path"]]


def test_7_1_the_raw_bytes_are_stored_as_downloaded(world: RoutingFixture) -> None:
    data = b"To: support@example.com\nSubject: \xff\x00 bare\r\r\n\r\n.\r\nno end"
    world.servers["support"].deliver(data)
    world.run("support")
    assert world.stores.blobs.read(f"messages/{identity(data)[:2]}/{identity(data)}.eml") == data


def test_7_5_an_attachment_is_stored_so_that_a_browser_executes_nothing(world: RoutingFixture) -> None:
    written: dict[str, Mapping[str, object]] = {}

    def create(path: str, _data: object, **how: object) -> None:
        written[path] = how

    world.servers["support"].deliver(ATTACHED)
    blobs: Any = InterceptedCalls(world.stores.blobs, create=create)
    world.run("support", stores=replace(world.stores, blobs=blobs))
    [path] = [path for path in written if "/attachments/" in path]
    assert path.endswith("/attachments/01-invoice.html")
    assert written[path] == {"content_type": "application/octet-stream", "download_name": "invoice.html"}


def test_7_4_a_result_is_written_after_everything_it_refers_to(world: RoutingFixture) -> None:
    order: list[str] = []

    def create(path: str, *_args: object, **_how: object) -> None:
        order.append(path)

    world.servers["support"].deliver(ATTACHED)
    blobs: Any = InterceptedCalls(world.stores.blobs, create=create, flush=lambda: order.append("(settled)"))
    world.run("support", stores=replace(world.stores, blobs=blobs))
    kinds = ["result" if path.startswith("routed/") else path.rpartition("/")[2] for path in order]
    assert sorted(kinds[2:4]) == ["01-invoice.html", "message.json"], "in any order"
    assert kinds[:2] + kinds[4:] == [f"{identity(ATTACHED)}.eml", "(settled)", "(settled)", "result", "(settled)"]


def test_3_6_an_unhandled_record_holds_the_reason_and_the_routes_tried(world: RoutingFixture) -> None:
    world.values["ROUTES__sales__SENDERS"] = "*@known.example"
    data = letter("nobody@example.com, sales@example.com")
    world.servers["support"].deliver(data)
    world.run("support")
    [path] = world.paths("unhandled/")
    [receipt] = world.receipts()
    assert path == f"unhandled/support/2026/11/23/{identity(data)}-{receipt.arrival[:12]}.json"
    document = world.read(path)
    assert document["reason"] == "conditions"
    assert len(document["detail"].split()) > 5
    tried = {(item["address"], item["route"]) for item in document["tried"]}
    assert {("nobody@example.com", None), ("sales@example.com", "sales")} <= tried
    assert any("SENDERS" in item["reason"] for item in document["tried"])
    assert document["paths"]["raw"] == raw_path(identity(data))
    assert receipt.state is State.ROUTED
    assert receipt.outcomes == {"*": "unhandled conditions"}


@pytest.mark.parametrize(
    ("to", "reason"), [("nobody@example.com", "no-route"), ("", "no-recipient"), ("@@@", "invalid-recipients")]
)
def test_3_6_the_reason_is_a_code(world: RoutingFixture, to: str, reason: str) -> None:
    world.servers["support"].deliver(letter(to))
    world.run("support")
    [path] = world.paths("unhandled/")
    assert world.read(path)["reason"] == reason


def test_3_7_mail_from_a_blocked_sender_goes_nowhere_else(world: RoutingFixture) -> None:
    world.values["MAILBOXES__support__BLOCKED_SENDERS"] = "*@b.example"
    data = letter("support@example.com")
    for server in world.servers.values():
        server.deliver(data)
    world.run("support", "office")
    [path] = world.paths("blocked/")
    [receipt] = [receipt for receipt in world.receipts() if receipt.mailbox == "support"]
    assert path == f"blocked/support/2026/11/23/{identity(data)}-{receipt.arrival[:12]}.json"
    assert world.read(path)["blocked_by"] == "*@b.example"
    assert world.paths("routed/") == []
    assert receipt.outcomes == {"*": "blocked *@b.example"}
    assert not list(world.stores.records.scan(Table.CLAIMS)), "a blocked message claims no recipient"


def lines(records: Iterable[logging.LogRecord]) -> str:
    return "\n".join(f"{record.name} {record.getMessage()} {record.exc_text or ''}" for record in records)


def test_no_log_line_holds_an_address_a_subject_a_content_or_a_secret(
    world: RoutingFixture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world.values |= {
        "MAILBOXES__support__BLOCKED_SENDERS": "*@spam.example",
        "MAILBOXES__support__MAX_MESSAGE_BYTES": "5000",
    }
    world.servers["support"].deliver(
        letter("support@example.com"),
        letter("nobody@example.com"),
        letter("sales@example.com", sender="x@spam.example"),
        letter("sales@example.com") + b"x" * 9000,
        letter("support@example.com"),
        letter("@@@ broken"),
    )
    world.servers["office"].deliver(letter("support@example.com"), letter("sales@example.com, sales@example.com"))
    world.run("support", "office")
    world.run("support", "office")
    informed = lines(record for record in caplog.records if record.levelno >= logging.INFO)
    assert "mailbox support" in informed
    assert "@" not in informed
    assert "Angebot" not in informed
    assert "text\r\n" not in informed
    assert "secret-of-" not in lines(caplog.records)
