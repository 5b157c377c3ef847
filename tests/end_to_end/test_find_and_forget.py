"""`mailroom find` and `mailroom forget` on real mail servers and real storage."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from functions_host.host import Host
from mailroom_cli.app_context import open_app
from shared.clock import utc_now
from shared.documents.blob_paths import raw_path
from shared.operations.erasure import Eraser
from shared.queue_messages import Poll, PollReason
from shared.storage.base import Table
from tests.end_to_end.command import ROOT, identity, mailboxes, mailroom, opened, settings_file
from tests.end_to_end.in_process import OperatorFixture
from tests.end_to_end.own_process import in_own_process
from tests.integration.replay_fixture import BOTH, letter
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail


def find(settings: Path, *words: str) -> list[dict[str, Any]]:
    ran = mailroom("find", *words, "--json", settings=settings)
    assert ran.returncode == (0 if ran.stdout else 1), ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_8_5_an_erased_message_is_not_stored_again(dovecot: Dovecot, storage: str, tmp_path: Path) -> None:
    user = dovecot.user()
    mail = [plain_mail(n, to="sales@example.com") for n in range(3)]
    mail[1] = mail[1].replace(b"\r\nTo: sales@", b"\r\nTo: nobody@", 1)
    user.deliver(mail)
    values = {
        **mailboxes(dovecot, support=user),
        "MAILBOXES__support__AFTER": "keep",
        "ROUTES__sales__ADDRESS": "sales@example.com",
    }
    settings = settings_file(tmp_path, storage, values)
    assert mailroom("run-once", settings=settings).returncode == 0

    assert {history["message"] for history in find(settings, "--mailbox", "Support")} == set(map(identity, mail))
    [history] = find(settings, "--id", identity(mail[0])[:8])
    assert history["outcomes"] == {"sales@example.com": f"routed {history['results'][0]['path']}"}
    assert history["message_id"]
    by_message_id = find(settings, "--message-id", f"<{history['message_id']}>")
    assert [match["message"] for match in by_message_id] == [identity(mail[0])]
    by_recipient = find(settings, "--recipient", "nobody@example.com")
    assert [match["message"] for match in by_recipient] == [identity(mail[1])]
    assert find(settings, "--sender", "nobody@example.com") == []
    output = mailroom("find", "--id", identity(mail[0]), "--long", settings=settings)
    for shown in (
        history["arrival"],
        history["results"][0]["path"],
        "in storage, removal from the mailbox not confirmed",
        "claims",
    ):
        assert shown in output.stdout
    assert len(mailroom("find", settings=settings).stdout.splitlines()) == 4, "without an option, the newest"
    assert (
        "more messages match than the newest 1, which are shown"
        in mailroom("find", "--mailbox", "support", "--limit", "1", settings=settings).stderr
    )

    listed = mailroom("forget", identity(mail[0])[:12], settings=settings)
    assert listed.returncode == 0, listed.stderr
    assert history["results"][0]["path"] in listed.stdout.splitlines()
    assert raw_path(identity(mail[0])) in listed.stdout.splitlines()
    assert "nothing was changed" in listed.stdout
    assert len(find(settings, "--id", identity(mail[0]))) == 1
    erased = mailroom("forget", identity(mail[0])[:12], "--yes", settings=settings)
    assert erased.returncode == 0, erased.stderr
    assert "erased: 1 arrival of 1 message, 1 result" in erased.stdout
    assert mailroom("forget", "Nobody@example.com", "--yes", settings=settings).returncode == 0

    assert len(user.left()) == 3
    assert mailroom("run-once", settings=settings).returncode == 0
    stores = opened(storage)
    try:
        assert [path for path in stores.blobs.list("messages/") if path.endswith(".eml")] == [
            raw_path(identity(mail[2]))
        ]
        assert len(list(stores.blobs.list("routed/"))) == 1
        assert not list(stores.blobs.list("unhandled/"))
    finally:
        stores.close()
    assert sorted(match["state"] for match in find(settings, "--mailbox", "support")) == [
        "erased",
        "erased",
        "routed",
    ]
    assert mailroom("forget", identity(mail[0]), settings=settings).returncode == 1, "no message has this id any more"


def test_forget_lists_as_json_what_it_erases(tmp_path: Path) -> None:
    world = OperatorFixture(f"folder:{tmp_path / 'mail'}", tmp_path)
    anns, waiting = letter("sales@example.com, billing@example.com"), letter("sales@example.com", 2)
    world.poll_and_route(BOTH, anns)
    before = set(world.stores.blobs.list())
    [receipt] = world.receipts()

    def forget(*words: str) -> dict[str, Any]:
        ran = world.run("forget", *words, "--json", settings=BOTH)
        assert ran.exit_code == 0, ran.output
        history = json.loads(ran.stdout)
        assert isinstance(history, dict)
        return history

    listed = forget("Sales@example.com")
    assert set(world.stores.blobs.list()) == before
    assert (listed["address"], listed["erased"]) == ("sales@example.com", False)
    assert listed["messages"] == [{"message": identity(anns), "arrivals": [receipt.arrival]}]
    assert {*listed["results"], *listed["records"], *listed["bytes"]} == before
    assert (listed["refused"], listed["other_recipients"]) == ([], ["billing@example.com"])
    erased = forget(identity(anns)[:8], "--yes")
    assert {
        **erased,
        "address": listed["address"],
        "erased": False,
        "other_recipients": ["billing@example.com"],
    } == listed
    assert not list(world.stores.blobs.list())
    world.servers["support"].deliver(waiting)
    world.app(BOTH).poller.poll(Poll("support", PollReason.MANUAL))
    ran = world.run("forget", identity(waiting)[:8], "--yes", "--json", settings=BOTH)
    assert ran.exit_code == 1
    [refused] = json.loads(ran.stdout)["refused"]
    assert refused["message"] == identity(waiting)
    assert "it waits to be routed" in refused["reason"]
    world.stores.close()


def test_8_5_a_message_that_is_not_routed_yet_cannot_be_erased(dovecot: Dovecot, tmp_path: Path) -> None:
    user = dovecot.user()
    message = plain_mail(1, to="sales@example.com")
    user.deliver([message])
    storage = f"folder:{tmp_path / 'mail'}"
    values = {**mailboxes(dovecot, support=user), "ROUTES__sales__ADDRESS": "sales@example.com"}
    settings = settings_file(tmp_path, storage, values)
    assert mailroom("run-once", settings=settings).returncode == 0
    stores = opened(storage)
    [history] = find(settings, "--id", identity(message))
    stores.blobs.delete_many([history["results"][0]["path"]])
    stores.records.merge(Table.RECEIPTS, history["arrival"], {"state": "stored"})
    ran = mailroom("forget", identity(message), "--yes", settings=settings)
    assert ran.returncode == 1
    assert "it waits to be routed" in ran.stderr
    assert stores.blobs.exists(raw_path(identity(message)))
    stores.close()
    assert mailroom("forget", "not-an-id", settings=settings).returncode == 2


def test_8_5_sweep_and_run_once_repeat_an_erasure_of_two_hours_ago(dovecot: Dovecot, tmp_path: Path) -> None:
    """A worker that died since then left a result."""
    user = dovecot.user()
    storage = f"folder:{tmp_path / 'mail'}"
    values = {**mailboxes(dovecot, support=user), "ROUTES__sales__ADDRESS": "sales@example.com"}
    settings = settings_file(tmp_path, storage, values)
    stores = opened(storage)
    for number, by in enumerate(("sweep", "run-once")):
        message = plain_mail(number, to="sales@example.com")
        user.deliver([message])
        assert mailroom("run-once", settings=settings).returncode == 0
        [path] = stores.blobs.list("routed/")
        result = stores.blobs.read(path)
        assert result is not None
        eraser = Eraser(stores, {"support"}, now=lambda: utc_now() - timedelta(hours=2.1))
        eraser.erase(eraser.find_by_id(identity(message)))
        assert stores.blobs.create(path, result, content_type="application/json")
        if by == "sweep":
            in_own_process(_sweep, settings)
        else:
            assert mailroom("run-once", settings=settings).returncode == 0
        assert list(stores.blobs.list()) == [], by
        assert list(stores.records.scan(Table.TOMBSTONES)) == []
    stores.close()


async def _sweep(settings: Path) -> None:
    with open_app(settings) as app:
        async with Host.started(ROOT, app.storage) as host:
            result = await host.run_function("sweep")
            assert result.error is None, result.error
