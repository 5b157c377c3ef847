"""Routes in the routes file, which change while the app runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.storage.base import Table
from tests.end_to_end.command import (
    ROOT,
    assert_all_stored,
    command,
    identity,
    mailboxes,
    mailroom,
    opened,
    results,
    settings_file,
)
from tests.end_to_end.test_explain import ROUTES as EXPLAINED
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail
from tests.servers.routes_file import store_routes
from tests.sizes import size

ORDERS = {"orders": {"ADDRESS": "orders@example.com", "SENDERS": ["*@example.net"]}}
BROKEN = {"orders": {"ADDRESS": "orders@example.com", "SENDERS": ["example.net"]}}
SEEN = size(0, soak=11)
"""Seconds after which every process uses a changed file; 0 if `serve` reads the file each time."""

SERVE = """
import sys
from datetime import timedelta
from shared.dispatch import route_repository

if int(sys.argv.pop(1)) == 0:
    route_repository.CHECK_INTERVAL = timedelta(0)
from mailroom_cli.main import main
main()
"""


def encode_routes(routes: object) -> bytes:
    return json.dumps({"routes": routes}).encode()


@contextmanager
def serving(settings: Path) -> Iterator[None]:
    python, *words = command("serve", "--port", "0", settings=settings)
    at = words.index("-m")
    served = [python, *words[:at], "-c", SERVE, str(SEEN), *words[at + 2 :]]
    process = subprocess.Popen(served, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield
        assert process.poll() is None, "the process ended early"
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(40) == 0


def wait_until(done: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_3_1_a_running_app_follows_the_routes_file_and_loses_nothing_while_it_is_invalid(
    dovecot: Dovecot, storage: str, tmp_path: Path
) -> None:
    user = dovecot.user()
    values = {**mailboxes(dovecot, support=user), "ROUTES__sales__ADDRESS": "sales@example.com"}
    values |= {"POLL_SCHEDULE": "* * * * * *", "MAILBOXES__support__POLL_EVERY": "1"}
    settings = settings_file(tmp_path, storage, values)
    letters = [plain_mail(n, to=to) for n, to in enumerate(["sales@example.com", *["orders@example.com"] * 2])]
    routes = ["sales", "orders", "orders"]
    routed = [(route, f"{route}@example.com", identity(data)) for route, data in zip(routes, letters, strict=True)]
    stores = opened(storage)
    try:
        with serving(settings):
            user.deliver([letters[0]])
            wait_until(lambda: results(stores) == Counter(routed[:1]))

            store_routes(stores.blobs, ORDERS)
            time.sleep(SEEN)
            user.deliver([letters[1]])
            wait_until(lambda: results(stores) == Counter(routed[:2]))

            store_routes(stores.blobs, BROKEN)
            time.sleep(SEEN)
            user.deliver([letters[2]])
            wait_until(lambda: not user.left() and list(stores.records.scan(Table.OUTBOX)))
            output = mailroom("status", settings=settings).stdout
            assert "config/routes.json, orders.SENDERS: example.net is not an address" in " ".join(output.split())
            ran = mailroom("run-once", settings=settings)
            assert ran.returncode == 1
            assert "routes: config/routes.json, orders.SENDERS" in ran.stderr
            assert "not routed yet: 1 stored message;" in ran.stderr
            assert results(stores) == Counter(routed[:2])

            store_routes(stores.blobs, ORDERS)
            time.sleep(SEEN)
            ran = mailroom("run-once", settings=settings)
            assert ran.returncode == 0, ran.stderr
            wait_until(lambda: results(stores) == Counter(routed))
        assert_all_stored(stores, letters)
        assert not list(stores.blobs.list("failed/"))
    finally:
        stores.close()


def test_check_reports_the_stored_routes_file_and_a_local_one(dovecot: Dovecot, tmp_path: Path) -> None:
    user, storage = dovecot.user(), f"folder:{tmp_path / 'mail'}"
    settings = settings_file(tmp_path, storage, mailboxes(dovecot, support=user))
    file = tmp_path / "routes {new}.json"
    file.write_bytes(encode_routes(BROKEN))
    ran = mailroom("check", "--routes", str(file), settings=settings)
    assert ran.returncode == 1
    assert ran.stdout.startswith(f"WRONG routes: {file}, orders.SENDERS: example.net is not an address")
    assert "support" not in ran.stdout, "no mailbox is checked"
    file.write_bytes(encode_routes(ORDERS))
    ran = mailroom("check", "--routes", str(file), settings=settings)
    note, output = ran.stdout.splitlines()
    assert (ran.returncode, output) == (0, f"ok    routes: 0 in the settings, 1 in {file}")
    assert note.startswith(f"note  MAILBOXES__support__ADDRESS: {user.address} has no route")
    assert mailroom("check", "--routes", str(tmp_path / "none"), settings=settings).returncode == 2

    stores = opened(storage)
    assert list(stores.blobs.list()) == []
    ran = mailroom("check", settings=settings)
    assert ran.returncode == 0, ran.stdout
    assert "ok    routes: 0 in the settings, no config/routes.json" in ran.stdout
    store_routes(stores.blobs, BROKEN)
    stores.close()
    ran = mailroom("check", settings=settings)
    assert ran.returncode == 1
    assert "WRONG routes: config/routes.json, orders.SENDERS: example.net is not an address" in ran.stdout
    assert "ok    mailbox support, INBOX: signed in" in ran.stdout


def test_explain_uses_the_routes_file(tmp_path: Path) -> None:
    storage = f"folder:{tmp_path / 'mail'}"
    settings = settings_file(tmp_path, storage, EXPLAINED)
    letter = tmp_path / "one.eml"
    letter.write_bytes(plain_mail(1, to="orders@example.com"))
    stores = opened(storage)
    store_routes(stores.blobs, ORDERS)
    ran = mailroom("explain", str(letter), settings=settings)
    assert "orders@example.com: route orders takes it" in ran.stdout, ran.stderr
    store_routes(stores.blobs, BROKEN)
    stores.close()
    ran = mailroom("explain", str(letter), settings=settings)
    _, _, errors = ran.stdout.partition("errors are corrected:\n")
    assert errors.startswith("    config/routes.json, orders.SENDERS: example.net is not an address")


def test_an_invalid_route_in_the_settings_stops_routing_but_no_command(dovecot: Dovecot, tmp_path: Path) -> None:
    user, storage = dovecot.user(), f"folder:{tmp_path / 'mail'}"
    right = {**mailboxes(dovecot, support=user), "ROUTES__sales__ADDRESS": "sales@example.com"}
    wrong = {**right, "ROUTES__orders__ADDRESS": f"orders {user.password}", "ROUTES_bob_ADDRESS": "bob@example.com"}
    letters = [plain_mail(n, to=to) for n, to in enumerate(["sales@example.com", "bob@example.com"])]
    user.deliver(letters)
    settings = settings_file(tmp_path, storage, wrong)
    errors = [
        "ROUTES_bob_ADDRESS: is not a setting; did you mean ROUTES__bob__ADDRESS?",
        "ROUTES__orders__ADDRESS: the value is not an address; write name@example.com",
    ]
    ran = mailroom("run-once", settings=settings)
    assert ran.returncode == 1
    for error in errors:
        assert f"routes: {error}" in ran.stderr
    assert "not routed yet: 2 stored messages;" in ran.stderr
    assert ": 2 collected, 0 routed, 0 duplicate, 0 unhandled, 0 blocked, 0 failed, 2 waiting; " in ran.stdout
    assert not user.left()
    stores = opened(storage)
    try:
        assert not list(stores.blobs.list("routed/"))
        assert not list(stores.blobs.list("unhandled/"))
        (tmp_path / "one.eml").write_bytes(letters[0])
        for words, status in ((["check"], 1), (["status"], 0), (["explain", str(tmp_path / "one.eml")], 0)):
            ran = mailroom(*words, settings=settings)
            assert ran.returncode == status, (words, ran.stderr)
            for error in errors:
                assert error in " ".join(ran.stdout.split()), words
            assert user.password not in ran.stdout + ran.stderr
        ran = mailroom("settings", "--check", settings=settings)
        assert ran.returncode != 0
        assert all(error in ran.stdout + ran.stderr for error in errors)
        search = mailroom("find", "--mailbox", "support", "--json", settings=settings)
        assert (search.returncode, len(search.stdout.splitlines())) == (0, 2)
        replay = ["replay", "--since", "2026-11-01", "--until", "2036-11-01", "--dry-run"]
        assert mailroom(*replay, settings=settings).returncode == 0
        message = json.loads(search.stdout.splitlines()[0])["message"]
        assert "it waits to be routed" in mailroom("forget", message, settings=settings).stderr

        settings = settings_file(tmp_path, storage, {**right, "ROUTES__bob__ADDRESS": "bob@example.com"})
        ran = mailroom("run-once", settings=settings)
        assert ran.returncode == 0, ran.stderr
        assert ": 0 collected (and 2 stored earlier), 2 routed, " in ran.stdout
        assert sorted(route for route, _, _ in results(stores)) == ["bob", "sales"]
        assert_all_stored(stores, letters)
        ran = mailroom("check", settings=settings)
        assert ran.returncode == 0
        assert f"note  MAILBOXES__support__ADDRESS: {user.address} has no route" in ran.stdout
    finally:
        stores.close()
