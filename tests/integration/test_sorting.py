"""The way out: claims, results and records (docs/receipts.md, "Out" and "Failure"; rules 3.6, 3.7, 7.1 to 7.5, 8.4)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.errors import MessageMissing, TryAgain
from shared.keys import short
from shared.layout import raw_path
from shared.mailboxes.protocol import Mailbox
from shared.receipts import Announcement, Poll, Receipt, State
from shared.settings import MailboxSettings
from shared.storage.opening import open_stores
from shared.storage.protocol import QueueName, Stores, Table
from shared.wiring import App
from tests.servers.faults import ProcessGone
from tests.servers.memory_app import TWO_MAILBOXES, app_on, let_time_pass, settings_for
from tests.servers.memory_mailbox import MemoryServer
from tests.servers.pump import poll, work_until_idle

DAY = datetime(2026, 11, 23, 23, 50, tzinfo=UTC)

WILDCARDS = {
    "ROUTES__any_support__MAILBOX": "support",
    "ROUTES__any_support__ADDRESS": "*",
    "ROUTES__any_support__SENDERS": "*@b.example",
    "ROUTES__any_office__MAILBOX": "office",
    "ROUTES__any_office__ADDRESS": "*",
    "ROUTES__any_office__SENDERS": "*@b.example",
}


def letter(to: str, *, sender: str = "a@b.example", subject: str = "Angebot") -> bytes:
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\ntext\r\n".encode()


def identity(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Doing:
    """A collaborator that does as another does, but for what a test puts in the way.

    Args:
        inner: the other.
        ways: by method: called first with the arguments; what it raises is raised.
    """

    def __init__(self, inner: object, **ways: Callable[..., object]) -> None:
        self._inner = inner
        self._ways = ways

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        first = self._ways.get(name)
        if first is None:
            return value

        def method(*args: Any, **kwargs: Any) -> Any:
            first(*args, **kwargs)
            return value(*args, **kwargs)

        return method


def gone_at(prefix: str) -> Callable[..., None]:
    """The process ends where it would create this blob."""

    def create(path: str, *_args: object, **_kwargs: object) -> None:
        if path.startswith(prefix):
            raise ProcessGone

    return create


def gone(*_args: object, **_kwargs: object) -> None:
    """The process ends here."""
    raise ProcessGone


class World:
    """Two mailboxes with routes of their own, and a storage; `app` is a new process each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers = {"support": MemoryServer(), "office": MemoryServer()}
        self.time = DAY
        self.values = dict(TWO_MAILBOXES)
        settings = settings_for(f"folder:{folder}", self.values)
        self.stores = open_stores(settings.app_storage, settings.mail_storage, "mail")

    def app(self, stores: Stores | None = None, faulty: Mapping[str, tuple[str, ...]] | None = None) -> App:
        def connect(settings: MailboxSettings) -> Mailbox:
            return self.servers[settings.name].open()

        settings = replace(settings_for(f"folder:{self.folder}", self.values), faulty=faulty or {})
        return app_on(settings, connect, stores=stores or self.stores, now=lambda: self.time)

    def run(self, *mailboxes: str, stores: Stores | None = None) -> None:
        app = self.app(stores)
        poll(app, *mailboxes)
        work_until_idle(app)

    def dies(self, *mailboxes: str, **parts: object) -> None:
        """A run in which one part of the storage ends the process; afterwards its locks have run out."""
        with suppress(ProcessGone):
            self.run(*mailboxes, stores=replace(self.stores, **parts))  # type: ignore[arg-type]  # a double of the part
            pytest.fail("the process was to end")
        let_time_pass(self.folder)

    def paths(self, prefix: str) -> list[str]:
        return list(self.stores.blobs.list(prefix))

    def read(self, path: str) -> dict[str, Any]:
        data = self.stores.blobs.read(path)
        assert data is not None, path
        read = json.loads(data)
        assert isinstance(read, dict)
        return read

    def results(self) -> list[tuple[str, str]]:
        """Route and recipient of each result."""
        read = [self.read(path) for path in self.paths("routed/")]
        return sorted((one["route"], one["recipient"]) for one in read)

    def receipts(self) -> list[Receipt]:
        return [Receipt.of(record) for record in self.stores.records.scan(Table.RECEIPTS)]

    def forget_announcements(self) -> None:
        """What Queue Storage does not, and a person with a portal might."""
        queue = self.stores.queues[QueueName.ARRIVALS]
        while items := queue.receive(32, hidden_for=60):
            for item in items:
                queue.delete(item)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.stores.close()


def test_the_same_bytes_in_two_mailboxes_with_different_routes_give_both_results(world: World) -> None:
    data = letter("support@example.com, office@example.com")
    for server in world.servers.values():
        server.deliver(data)
    world.run("support", "office")
    assert world.results() == [("office", "office@example.com"), ("support", "support@example.com")]
    assert world.paths("duplicates/") == []
    assert world.paths("messages/") == sorted(
        [raw_path(identity(data)), raw_path(identity(data)).replace("raw.eml", "message.json")]
    )


def test_3_8_the_same_bytes_under_one_route_give_one_result_and_a_record_that_names_it(world: World) -> None:
    data = letter("sales@example.com")
    world.servers["support"].deliver(data)
    world.run("support")
    world.servers["office"].deliver(data)
    world.run("office")
    assert world.results() == [("sales", "sales@example.com")]
    [result] = world.paths("routed/")
    [path] = world.paths("duplicates/")
    first, second = sorted(world.receipts(), key=lambda one: one.mailbox != "support")
    assert path == f"duplicates/office/2026/11/23/{identity(data)}-{second.arrival[:12]}.json"
    [told] = world.read(path)["duplicates"]
    assert told["recipient"] == "sales@example.com"
    assert told["duplicate_of"] == {"arrival": first.arrival, "message": identity(data), "result": result}
    assert second.outcomes == {"sales@example.com": f"duplicate {first.arrival}"}
    assert first.outcomes == {"sales@example.com": f"routed {result}"}


def test_a_copy_that_is_new_for_one_recipient_and_not_for_the_other(world: World) -> None:
    data = letter("sales@example.com, office@example.com")
    world.servers["support"].deliver(data)
    world.run("support")
    world.servers["office"].deliver(data)
    world.run("office")
    assert world.results() == [("office", "office@example.com"), ("sales", "sales@example.com")]
    [path] = world.paths("duplicates/office/")
    assert [one["recipient"] for one in world.read(path)["duplicates"]] == ["sales@example.com"]


def test_a_named_recipients_mail_makes_a_later_wildcard_copy_a_duplicate(world: World) -> None:
    world.values |= WILDCARDS
    data = letter("support@example.com")
    world.servers["support"].deliver(data)
    world.run("support")
    world.servers["office"].deliver(data)
    world.run("office")
    assert world.results() == [("support", "support@example.com")]
    [path] = world.paths("duplicates/office/")
    [told] = world.read(path)["duplicates"]
    assert told["recipient"] == "*"
    assert told["duplicate_of"]["result"] == world.paths("routed/")[0]


def test_wildcard_copies_in_two_mailboxes_give_one_result(world: World) -> None:
    world.values |= WILDCARDS
    for server in world.servers.values():
        server.deliver(letter("friends@elsewhere.example"))
    world.run("support", "office")
    [(_, recipient)] = world.results()
    assert recipient == "*"
    assert len(world.paths("duplicates/")) == 1
    assert world.paths("unhandled/") == []


def test_a_wildcard_copy_that_came_first_takes_nothing_from_a_named_recipient(world: World) -> None:
    world.values |= WILDCARDS
    data = letter("support@example.com")
    world.servers["office"].deliver(data)
    world.run("office")
    world.servers["support"].deliver(data)
    world.run("support")
    assert world.results() == [("any_office", "*"), ("support", "support@example.com")]


def test_8_1_a_kill_between_claim_and_result_is_finished_by_the_next_try(world: World) -> None:
    world.servers["support"].deliver(letter("support@example.com"))
    world.dies("support", blobs=Doing(world.stores.blobs, create=gone_at("routed/")))
    assert world.results() == []
    assert list(world.stores.records.scan(Table.CLAIMS))
    work_until_idle(world.app())
    assert world.results() == [("support", "support@example.com")]
    assert world.paths("duplicates/") == []
    assert not list(world.stores.records.scan(Table.PENDING))


def test_8_1_a_kill_between_claim_and_result_is_finished_by_sweep(world: World) -> None:
    world.servers["support"].deliver(letter("support@example.com"))
    world.dies("support", blobs=Doing(world.stores.blobs, create=gone_at("routed/")))
    world.forget_announcements()
    world.time += timedelta(minutes=61)
    app = world.app()
    assert app.sorter.sweep() == 1
    work_until_idle(app)
    assert world.results() == [("support", "support@example.com")]
    assert app.sorter.sweep() == 0


def test_8_1_a_copy_that_comes_between_claim_and_result_is_the_duplicate(world: World) -> None:
    data = letter("sales@example.com")
    world.servers["support"].deliver(data)
    world.dies("support", blobs=Doing(world.stores.blobs, create=gone_at("routed/")))
    world.forget_announcements()
    world.servers["office"].deliver(data)
    world.run("office")
    assert world.results() == []
    [path] = world.paths("duplicates/office/")
    world.time += timedelta(hours=2)
    app = world.app()
    app.sorter.sweep()
    work_until_idle(app)
    assert world.paths("routed/") == [world.read(path)["duplicates"][0]["duplicate_of"]["result"]]


def test_8_1_a_kill_between_receipt_and_announcement_is_finished_by_the_next_look(world: World) -> None:
    world.servers["support"].deliver(letter("support@example.com"))
    queues = {**world.stores.queues, QueueName.ARRIVALS: Doing(world.stores.queues["arrivals"], put_many=gone)}
    world.dies("support", queues=queues)
    assert [receipt.state for receipt in world.receipts()] == [State.STORED]
    assert len(world.servers["support"].messages) == 1
    world.run("support")
    assert world.servers["support"].downloads == 1
    assert world.servers["support"].messages == {}
    assert world.results() == [("support", "support@example.com")]


def test_8_1_a_kill_between_receipt_and_announcement_is_finished_by_sweep_after_an_hour(world: World) -> None:
    world.servers["support"].deliver(letter("support@example.com"))
    queues = {**world.stores.queues, QueueName.ARRIVALS: Doing(world.stores.queues["arrivals"], put_many=gone)}
    app = world.app(replace(world.stores, queues=queues))
    poll(app, "support")
    with suppress(ProcessGone):
        work_until_idle(app)
    sorter = world.app().sorter
    world.time += timedelta(minutes=59)
    assert sorter.sweep() == 0
    world.time += timedelta(minutes=2)
    assert sorter.sweep() == 1
    work_until_idle(replace(world.app(), poller=replace(app.poller, mailboxes={})))
    assert world.results() == [("support", "support@example.com")]


def test_a_retry_after_midnight_writes_the_same_paths(world: World) -> None:
    world.servers["support"].deliver(
        letter("support@example.com"), letter("nobody@example.com"), letter("sales@example.com")
    )
    world.dies("support", blobs=Doing(world.stores.blobs, create=gone_at("routed/")))
    world.time += timedelta(days=1)
    work_until_idle(world.app())
    paths = [*world.paths("routed/"), *world.paths("unhandled/")]
    assert len(paths) == 3
    assert all("/2026/11/23/" in path for path in paths)
    claims = {str(record.values["result"]) for record in world.stores.records.scan(Table.CLAIMS)}
    assert claims == set(world.paths("routed/"))


def test_a_route_renamed_between_two_tries_leaves_the_result_where_the_claim_says(world: World) -> None:
    world.servers["support"].deliver(letter("support@example.com"))
    world.dies("support", blobs=Doing(world.stores.blobs, create=gone_at("routed/")))
    world.values = {name.replace("ROUTES__support", "ROUTES__helpdesk"): v for name, v in world.values.items()}
    work_until_idle(world.app())
    [path] = world.paths("routed/")
    assert path.startswith("routed/support/2026/11/23/")
    [receipt] = world.receipts()
    assert receipt.outcomes == {"support@example.com": f"routed {path}"}


def test_sorting_twice_leaves_what_sorting_once_leaves(world: World) -> None:
    world.servers["support"].deliver(letter("support@example.com, sales@example.com"), letter("nobody@example.com"))
    world.run("support")
    before = {path: world.stores.blobs.read(path) for path in world.paths("")}
    app = world.app()
    for receipt in world.receipts():
        assert app.sorter.sort(Announcement(receipt.arrival)) == "before"
        # As if the worker had died just before it noted that it was done.
        world.stores.records.merge(Table.RECEIPTS, receipt.arrival, {"state": State.STORED.value})
        world.time += timedelta(days=1)
        assert app.sorter.sort(Announcement(receipt.arrival)) in ("routed", "unhandled")
    assert {path: world.stores.blobs.read(path) for path in world.paths("")} == before


def stored(world: World, data: bytes) -> Announcement:
    """A message that is stored in `support` and not routed."""
    world.servers["support"].deliver(data)
    app = world.app()
    poll(app, "support")
    queue = world.stores.queues[QueueName.POLLS]
    for item in queue.receive(4, hidden_for=60):
        app.poller.poll(Poll.of(item.body))
        queue.delete(item)
    world.forget_announcements()
    [receipt] = world.receipts()
    return Announcement(receipt.arrival)


def test_8_4_giving_up_records_the_message_and_why(world: World, caplog: pytest.LogCaptureFixture) -> None:
    announcement = stored(world, letter("support@example.com"))

    def read(_data: object) -> None:
        raise ValueError("a fault of ours")

    app = world.app()
    sorter = replace(app.sorter, read=read)  # type: ignore[arg-type]  # a reader that raises gives no message
    with pytest.raises(ValueError, match="a fault of ours") as caught:
        sorter.sort(announcement)
    sorter.note_error(announcement, caught.value)
    world.time += timedelta(days=2)
    path = sorter.give_up(announcement)
    [receipt] = world.receipts()
    assert path == f"failed/support/2026/11/23/{receipt.message}-{receipt.arrival[:12]}.json"
    assert world.paths("failed/") == [path]
    told = world.read(path)
    assert told["error"] == "a fault: ValueError"
    assert told["arrival"]["mailbox"] == "support"
    assert (receipt.state, receipt.last_error) == (State.FAILED, "a fault: ValueError")
    assert [one.getMessage().split(":")[0] for one in caplog.records if one.levelno == logging.ERROR] == [
        "message-failed"
    ]
    assert world.stores.blobs.exists(raw_path(receipt.message)), "the raw bytes are never lost"
    assert not list(world.stores.records.scan(Table.PENDING))
    assert sorter.sweep(timedelta(0)) == 0
    sorter.give_up(announcement)
    assert world.paths("failed/") == [path], "told twice, recorded once"


def test_8_4_giving_up_what_was_routed_after_all_leaves_it(world: World) -> None:
    announcement = stored(world, letter("support@example.com"))
    app = world.app()
    app.sorter.sort(announcement)
    assert app.sorter.give_up(announcement) is None
    assert world.receipts()[0].state is State.ROUTED
    assert world.paths("failed/") == []


def test_8_4_an_arrival_without_a_receipt_can_only_be_given_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    sorter = world.app().sorter
    with pytest.raises(MessageMissing) as caught:
        sorter.sort(Announcement("ab" * 32))
    sorter.note_error(Announcement("ab" * 32), caught.value)
    assert sorter.give_up(Announcement("ab" * 32)) is None
    assert "message-failed" in caplog.text
    assert world.receipts() == []


def test_8_4_a_receipt_without_its_bytes_says_so_when_it_is_given_up(world: World) -> None:
    announcement = stored(world, letter("support@example.com"))
    [receipt] = world.receipts()
    (world.folder / "mail" / raw_path(receipt.message)).unlink(missing_ok=True)
    (world.folder / raw_path(receipt.message)).unlink(missing_ok=True)
    sorter = world.app().sorter
    with pytest.raises(MessageMissing, match=r"raw\.eml") as caught:
        sorter.sort(announcement)
    sorter.note_error(announcement, caught.value)
    path = sorter.give_up(announcement)
    assert path is not None
    assert "raw.eml" in world.read(path)["error"]


def test_a_faulty_mailboxs_mail_waits(world: World) -> None:
    announcement = stored(world, letter("support@example.com"))
    app = world.app(faulty={"support": ("MAILBOXES__support__HOST is missing",)})
    with pytest.raises(TryAgain) as caught:
        app.sorter.sort(announcement)
    app.sorter.put_back(announcement, caught.value)
    queue = world.stores.queues[QueueName.ARRIVALS]
    assert queue.receive(4, hidden_for=1) == [], "not before its pause is over"
    let_time_pass(world.folder)
    [item] = queue.receive(4, hidden_for=600)
    assert Announcement.of(item.body) == replace(announcement, retries=1)
    assert world.receipts()[0].state is State.STORED
    app = world.app()
    app.sorter.sort(Announcement.of(item.body))
    assert world.results() == [("support", "support@example.com")]


def test_7_4_a_result_is_complete_in_itself(world: World) -> None:
    data = letter("Sales+REF7@Example.COM")
    world.servers["support"].deliver(data)
    world.servers["support"].received = {1: DAY - timedelta(hours=1)}
    world.values["MAILBOXES__support__SINCE"] = "2026-01-01"
    world.run("support")
    [path] = world.paths("routed/")
    assert path == f"routed/sales/2026/11/23/{identity(data)}-{short('sales+ref7@example.com')}.json"
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


def test_7_3_the_parsed_message_is_complete(world: World) -> None:
    world.servers["support"].deliver(ATTACHED)
    world.run("support")
    [path] = [path for path in world.paths("messages/") if path.endswith("message.json")]
    told = world.read(path)
    assert told["schema"] == "mailroom/message/1"
    assert told["id"] == identity(ATTACHED)
    assert told["raw"] == raw_path(identity(ATTACHED))
    assert told["subject"] == "Grüße"
    assert told["sent"].startswith("2026-11-23T09:00:00")
    assert told["text"].strip() == "hello"
    named = {"size", "message_id", "from", "sender", "reply_to", "to", "cc", "bcc", "subject", "text", "html"}
    assert named | {"attachments", "headers", "defects"} <= set(told)
    [attachment] = told["attachments"]
    assert attachment["sha256"] == identity(b"<b>1</b>")
    assert attachment["content_type"] == "text/html"
    assert attachment["size"] == 8
    assert world.stores.blobs.read(attachment["path"]) == b"<b>1</b>"
    [result] = world.paths("routed/")
    assert world.read(result)["paths"]["attachments"] == [attachment["path"]]


def test_7_1_the_raw_bytes_are_stored_as_downloaded(world: World) -> None:
    data = b"To: support@example.com\nSubject: \xff\x00 bare\r\r\n\r\n.\r\nno end"
    world.servers["support"].deliver(data)
    world.run("support")
    assert world.stores.blobs.read(f"messages/{identity(data)[:2]}/{identity(data)}/raw.eml") == data


def test_7_5_an_attachment_is_stored_so_that_opening_it_runs_nothing(world: World) -> None:
    written: dict[str, Mapping[str, object]] = {}

    def create(path: str, _data: object, **how: object) -> None:
        written[path] = how

    world.servers["support"].deliver(ATTACHED)
    blobs: Any = Doing(world.stores.blobs, create=create)
    world.run("support", stores=replace(world.stores, blobs=blobs))
    [path] = [path for path in written if "/attachments/" in path]
    assert path.endswith("/attachments/01-invoice.html")
    assert written[path] == {"content_type": "application/octet-stream", "download_name": "invoice.html"}


def test_7_4_a_result_appears_after_everything_it_points_to(world: World) -> None:
    order: list[str] = []

    def create(path: str, *_args: object, **_how: object) -> None:
        order.append(path)

    world.servers["support"].deliver(ATTACHED)
    blobs: Any = Doing(world.stores.blobs, create=create, settle=lambda: order.append("(settled)"))
    world.run("support", stores=replace(world.stores, blobs=blobs))
    kinds = [path.rpartition("/")[2] for path in order if not path.startswith("routed/")]
    assert order[-2].startswith("routed/")
    assert kinds == ["raw.eml", "(settled)", "01-invoice.html", "message.json", "(settled)", "(settled)"]


def test_3_6_an_unhandled_record_says_why_and_what_was_tried(world: World) -> None:
    world.values["ROUTES__sales__SENDERS"] = "*@known.example"
    data = letter("nobody@example.com, sales@example.com")
    world.servers["support"].deliver(data)
    world.run("support")
    [path] = world.paths("unhandled/")
    [receipt] = world.receipts()
    assert path == f"unhandled/support/2026/11/23/{identity(data)}-{receipt.arrival[:12]}.json"
    told = world.read(path)
    assert told["reason"] == "conditions"
    assert len(told["words"].split()) > 5
    tried = {(one["address"], one["route"]) for one in told["tried"]}
    assert {("nobody@example.com", None), ("sales@example.com", "sales")} <= tried
    assert any("SENDERS" in one["because"] for one in told["tried"])
    assert told["paths"]["raw"] == raw_path(identity(data))
    assert receipt.state is State.ROUTED
    assert receipt.outcomes == {"*": "unhandled conditions"}


@pytest.mark.parametrize(
    ("to", "reason"), [("nobody@example.com", "no-route"), ("", "no-recipient"), ("@@@", "invalid-recipients")]
)
def test_3_6_the_reason_is_a_code(world: World, to: str, reason: str) -> None:
    world.servers["support"].deliver(letter(to))
    world.run("support")
    [path] = world.paths("unhandled/")
    assert world.read(path)["reason"] == reason


def test_3_7_mail_from_a_blocked_sender_goes_nowhere_else(world: World) -> None:
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
    assert not list(world.stores.records.scan(Table.CLAIMS)), "a blocked message is in nobody's way"


def lines(records: Iterable[logging.LogRecord]) -> str:
    return "\n".join(f"{one.name} {one.getMessage()} {one.exc_text or ''}" for one in records)


def test_no_log_line_holds_an_address_a_subject_a_content_or_a_secret(
    world: World, caplog: pytest.LogCaptureFixture
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
    informed = lines(one for one in caplog.records if one.levelno >= logging.INFO)
    assert "mailbox support" in informed
    assert "@" not in informed
    assert "Angebot" not in informed
    assert "text\r\n" not in informed
    assert "secret-of-" not in lines(caplog.records)
