"""`mailroom replay` on a real mail server and real storage, with the functions on Microsoft's worker engine."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.end_to_end.command import (
    assert_all_stored,
    identity,
    mailboxes,
    mailroom,
    opened,
    recorded,
    results,
    settings_file,
)
from tests.end_to_end.in_process import OperatorFixture, columns
from tests.integration.replay_fixture import BILLING, BOTH, letter
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail
from tests.servers.pump import work_until_idle


def test_8_4_replay_routes_unhandled_messages_with_a_new_route(dovecot: Dovecot, storage: str, tmp_path: Path) -> None:
    user = dovecot.user()
    mail = [plain_mail(n, to=("sales" if n % 2 else "billing") + "@example.com") for n in range(16)]
    user.deliver(mail)
    billing = {"ROUTES__billing__ADDRESS": "billing@example.com"}
    both = {**billing, "ROUTES__sales__ADDRESS": "sales@example.com"}
    settings = settings_file(tmp_path, storage, {**mailboxes(dovecot, support=user), **billing})
    assert mailroom("run-once", settings=settings).returncode == 0
    stores = opened(storage)
    unhandled = recorded(stores, "unhandled")
    assert unhandled.total() == 8

    # The operator's machine has the storage and the routes, but no secret of a mailbox.
    secretless = {name: value for name, value in mailboxes(dovecot, support=user).items() if "PASSWORD" not in name}
    settings = settings_file(tmp_path, storage, {**secretless, **both})
    dry = mailroom("replay", "unhandled/support/", "--dry-run", settings=settings)
    assert dry.returncode == 0, dry.stderr
    heading, *lines = dry.stdout.splitlines()
    assert heading == "id\tfrom\tsubject\toutcome now\tthen\troute"
    assert {tuple(line.split("\t")[3:]) for line in lines[:8]} == {("unhandled", "invalid settings")}
    assert "replay does not use PASSWORD, so that any value will do" in " ".join(dry.stdout.split())
    assert "nothing was changed; without --dry-run, 8 messages" in dry.stdout
    anything = {**secretless, **both, "MAILBOXES__support__PASSWORD": "x"}
    preview = mailroom("replay", "unhandled/", "--dry-run", settings=settings_file(tmp_path, storage, anything))
    rows = [line.split("\t") for line in preview.stdout.splitlines()[1:9]]
    assert {row[0] for row in rows} == {identity(data)[:8] for data in mail[1::2]}
    assert {tuple(row[3:]) for row in rows} == {("unhandled", "routed", "sales")}
    assert "new outcomes: 8 routed" in preview.stdout
    settings = settings_file(tmp_path, storage, {**secretless, **both})
    requested = mailroom("replay", "--since", "2026-01-01", "--kind", "unhandled", settings=settings)
    assert requested.returncode == 0, requested.stderr
    assert requested.stdout.splitlines()[:2] == ["kind\tmailbox\tmessages", "unhandled\tsupport\t8"]
    assert "the replay of 8 messages is requested" in requested.stdout
    assert "records: 8 of 8" in requested.stderr

    settings = settings_file(tmp_path, storage, {**mailboxes(dovecot, support=user), **both})
    assert mailroom("run-once", settings=settings).returncode == 0
    expected = Counter(
        ((to, f"{to}@example.com", identity(data)) for to, data in zip(["billing", "sales"] * 8, mail, strict=True))
    )
    assert results(stores) == expected
    for path in stores.blobs.list("unhandled/"):
        assert json.loads(stores.blobs.read(path) or b"")["resolved"]["outcome"] == "routed"
    assert_all_stored(stores, mail)
    repeated = mailroom("replay", "unhandled/", settings=settings)
    assert "not replayed: 8 records that a replay resolved before" in repeated.stdout
    assert "nothing to replay" in repeated.stdout

    [result, *_] = stores.blobs.list("routed/sales/")
    refused = mailroom("replay", result, settings=settings)
    assert refused.returncode == 2
    assert "only --reissue" in refused.stderr
    again = mailroom("replay", result, "--reissue", settings=settings)
    assert again.returncode == 0, again.stderr
    assert "consumers see it as a new event" in again.stdout
    assert mailroom("run-once", settings=settings).returncode == 0
    assert results(stores).total() == len(mail) + 1
    [new] = set(stores.blobs.list(result.removesuffix(".json"))) - {result}
    assert json.loads(stores.blobs.read(new) or b"")["replaces"] == result
    stores.close()


def test_replay_takes_paths_with_the_store_in_front_and_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = OperatorFixture(f"folder:{tmp_path / 'mail'}", tmp_path)
    first, second = letter("sales@example.com"), letter("sales@example.com", 2)
    world.poll_and_route(BILLING, first, second)
    paths = world.paths("unhandled/")
    monkeypatch.chdir(tmp_path)
    for names in (
        [f"mail/{path}" for path in paths],
        [f"{tmp_path}/mail/{path}" for path in paths],
        ["mail/unhandled/"],
        [f"{tmp_path}/mail/unhandled/support/"],
        ["./mail/unhandled/support/20"],
        [identity(first)[:8], identity(second)],
        [path.partition("-")[0] + "\u2026" for path in paths],
    ):
        ran = world.run("replay", *names, "--dry-run", "--json", settings=BOTH)
        assert ran.exit_code == 0, ran.output
        lines = [json.loads(line) for line in ran.stdout.splitlines()]
        assert sorted(line["record"] for line in lines) == paths, names
    by_message = {line["message"]: line for line in lines}
    assert by_message[identity(second)] == {
        "message": identity(second),
        "arrival": by_message[identity(second)]["arrival"],
        "record": next(path for path in paths if identity(second) in path),
        "kind": "unhandled",
        "mailbox": "support",
        "from": ["a@b.example"],
        "subject": "2",
        "outcome": "unhandled",
        "new_outcome": "routed",
        "routes": ["sales"],
        "requested": False,
    }
    with columns(80):
        shown = world.run("replay", "--since", "yesterday", "--until", "today", "--dry-run", settings=BOTH)
    assert [len(line) <= 80 for line in shown.stdout.splitlines()[:3]] == [True] * 3
    assert world.run("replay", "--until", "yesterday", settings=BOTH).stdout.strip() == "nothing to replay"
    assert world.run("replay", "--since", "12h", settings=BOTH).exit_code == 2
    ran = world.run("replay", f"mail/{paths[0]}", "--json", settings=BOTH)
    [line] = map(json.loads, ran.stdout.splitlines())
    assert (line["requested"], line["new_outcome"]) == (True, None)
    work_until_idle(world.app(BOTH))
    resolved = world.run("replay", "mail/unhandled/", "--dry-run", "--json", settings=BOTH)
    assert "not replayed: 1 record that a replay resolved before" in resolved.stderr
    assert len(resolved.stdout.splitlines()) == 1
    named = world.run("replay", f"mail/{paths[0]}", "--dry-run", settings=BOTH)
    assert "routed already" in named.stdout, "a resolved record that is named by its whole path"
    world.stores.close()


def test_replay_takes_the_url_and_the_container_in_front_of_a_path(azure_storage: str, tmp_path: Path) -> None:
    world = OperatorFixture(azure_storage, tmp_path)
    world.poll_and_route(BILLING, letter("sales@example.com"))
    path = world.only_path("unhandled/")
    for name in (f"mail/{path}", f"https://account.blob.core.windows.net/mail/{path}", path):
        ran = world.run("replay", name, "--dry-run", "--json", settings=BOTH)
        assert ran.exit_code == 0, ran.output
        assert json.loads(ran.stdout)["record"] == path
    world.stores.close()


def test_replay_reports_invalid_options(tmp_path: Path) -> None:
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", {})
    missing = mailroom("replay", "failed/support/2026/11/24/", settings=settings)
    assert (missing.returncode, missing.stderr.strip()) == (1, "there is nothing at failed/support/2026/11/24/")
    assert mailroom("replay", "--since", "2026-11-24", settings=settings).returncode == 0
    for words in ([], ["x", "--since", "2026-11-24"], ["--since", "2026-11-24", "--kind", "lost"], ["unreadable/x/"]):
        refused = mailroom("replay", *words, settings=settings)
        assert refused.returncode == 2, words
        assert "Traceback" not in refused.stderr
    for command, kind in (("replay", "the path of a record"), ("forget", "an address")):
        short = mailroom(command, "26fb", settings=settings)
        assert short.returncode == 2
        assert short.stderr.startswith(f"'26fb' is neither an id (8 to 64 hex digits, as `find` shows it) nor {kind}")
    backwards = mailroom("replay", "--since", "2026-11-24", "--until", "2026-11-23", settings=settings)
    assert backwards.returncode == 2
