"""`mailroom find` and `mailroom forget`, on real mail servers and real storages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.documents.blob_paths import raw_path
from shared.storage.base import Table
from tests.end_to_end.command import identity, mailboxes, mailroom, opened, settings_file
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail


def found(settings: Path, *words: str) -> list[dict[str, Any]]:
    ran = mailroom("find", *words, "--json", settings=settings)
    assert ran.returncode == (0 if ran.stdout else 1), ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_8_5_what_is_found_is_forgotten_and_not_collected_again(dovecot: Dovecot, storage: str, tmp_path: Path) -> None:
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

    assert {one["message"] for one in found(settings, "--mailbox", "Support")} == set(map(identity, mail))
    [story] = found(settings, "--id", identity(mail[0])[:8])
    assert story["outcomes"] == {"sales@example.com": f"routed {story['results'][0]['path']}"}
    assert story["message_id"]
    assert [one["message"] for one in found(settings, "--message-id", f"<{story['message_id']}>")] == [
        identity(mail[0])
    ]
    assert [one["message"] for one in found(settings, "--recipient", "nobody@example.com")] == [identity(mail[1])]
    assert found(settings, "--sender", "nobody@example.com") == []
    told = mailroom("find", "--id", identity(mail[0]), settings=settings)
    for shown in (
        story["arrival"],
        story["results"][0]["path"],
        "in storage, removal from the mailbox not confirmed",
        "claims",
    ):
        assert shown in told.stdout
    assert mailroom("find", settings=settings).returncode == 2
    assert (
        "more than 1 arrivals match"
        in mailroom("find", "--mailbox", "support", "--limit", "1", settings=settings).stderr
    )

    listed = mailroom("forget", identity(mail[0])[:12], settings=settings)
    assert listed.returncode == 0, listed.stderr
    assert story["results"][0]["path"] in listed.stdout.splitlines()
    assert raw_path(identity(mail[0])) in listed.stdout.splitlines()
    assert "nothing was changed" in listed.stdout
    assert len(found(settings, "--id", identity(mail[0]))) == 1
    went = mailroom("forget", identity(mail[0])[:12], "--yes", settings=settings)
    assert went.returncode == 0, went.stderr
    assert "erased: 1 arrivals of 1 messages, 1 results" in went.stdout
    assert mailroom("forget", "Nobody@example.com", "--yes", settings=settings).returncode == 0

    assert len(user.left()) == 3
    assert mailroom("run-once", settings=settings).returncode == 0
    stores = opened(storage)
    try:
        assert [path for path in stores.blobs.list("messages/") if path.endswith("raw.eml")] == [
            raw_path(identity(mail[2]))
        ]
        assert len(list(stores.blobs.list("routed/"))) == 1
        assert not list(stores.blobs.list("unhandled/"))
    finally:
        stores.close()
    assert sorted(one["state"] for one in found(settings, "--mailbox", "support")) == [
        "forgotten",
        "forgotten",
        "routed",
    ]
    assert mailroom("forget", identity(mail[0]), settings=settings).returncode == 1, "nothing is known of it"


def test_8_5_what_is_not_routed_yet_is_refused(dovecot: Dovecot, tmp_path: Path) -> None:
    user = dovecot.user()
    message = plain_mail(1, to="sales@example.com")
    user.deliver([message])
    storage = f"folder:{tmp_path / 'mail'}"
    values = {**mailboxes(dovecot, support=user), "ROUTES__sales__ADDRESS": "sales@example.com"}
    settings = settings_file(tmp_path, storage, values)
    assert mailroom("run-once", settings=settings).returncode == 0
    stores = opened(storage)
    [story] = found(settings, "--id", identity(message))
    stores.blobs.delete_many([story["results"][0]["path"]])
    stores.records.merge(Table.RECEIPTS, story["arrival"], {"state": "stored"})
    ran = mailroom("forget", identity(message), "--yes", settings=settings)
    assert ran.returncode == 1
    assert "it waits to be routed" in ran.stderr
    assert stores.blobs.exists(raw_path(identity(message)))
    stores.close()
    assert mailroom("forget", "not-an-id", settings=settings).returncode == 2
