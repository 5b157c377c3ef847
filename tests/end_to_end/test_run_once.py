"""`mailroom run-once` on real mail servers and real storage, with the functions on Microsoft's worker engine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mailroom_cli.app_context import open_app
from mailroom_cli.cli import cli
from shared.errors import AuthenticationError
from shared.mailboxes.folder_names import MAX_FOLDERS
from tests.end_to_end.command import (
    ROOT,
    assert_all_stored,
    command,
    identity,
    mailboxes,
    mailroom,
    opened,
    recorded,
    results,
    settings_file,
)
from tests.servers.certificates import Ca, self_signed
from tests.servers.dovecot import Dovecot
from tests.servers.mail import hostile_bodies, plain_mail
from tests.sizes import size

IMAP_MESSAGES, POP_MESSAGES = size(40, soak=2_000), size(20, soak=500)


def test_many_messages_over_imaps_and_pop3s(dovecot: Dovecot, storage: str, tmp_path: Path) -> None:
    imap, pop = dovecot.user(), dovecot.user()
    mail = [plain_mail(n, size=2_000 + n % 50 * 400, to=f"list{n % 3}@example.com") for n in range(IMAP_MESSAGES)]
    letters = [plain_mail(10_000 + n, to="orders@example.com") for n in range(POP_MESSAGES)]
    letters += hostile_bodies().values()
    imap.deliver(mail)
    pop.deliver(letters)
    routes = {
        "ROUTES__first__ADDRESS": "list0@example.com",
        "ROUTES__second__ADDRESS": "list1@example.com",
        "ROUTES__orders__ADDRESS": "orders@example.com",
    }
    settings = settings_file(tmp_path, storage, {**mailboxes(dovecot, support=imap, pop=pop), **routes})

    ran = mailroom("run-once", settings=settings, timeout=600)

    assert ran.returncode == 0, ran.stderr
    assert imap.left() == []
    assert pop.left() == []
    routed = sum(1 for n in range(IMAP_MESSAGES) if n % 3 < 2) + POP_MESSAGES
    total = len(mail) + len(letters)
    summary = (
        f"{total} collected, {routed} routed, 0 duplicate, {total - routed} unhandled, 0 blocked, 0 failed, 0 waiting"
    )
    assert re.fullmatch(rf"2 mailboxes polled: {summary}; 0 skipped; [\d.]+ s\n", ran.stdout), ran.stdout
    assert "mailbox support: " in ran.stderr, "progress goes to standard error"
    stores = opened(storage)
    try:
        assert_all_stored(stores, [*mail, *letters])
        expected: Counter[tuple[str, str, str]] = Counter()
        for n, data in enumerate(mail):
            if n % 3 < 2:
                expected[("first", "second")[n % 3], f"list{n % 3}@example.com", identity(data)] += 1
        expected.update(("orders", "orders@example.com", identity(data)) for data in letters[:POP_MESSAGES])
        assert results(stores) == expected
        rest = [data for n, data in enumerate(mail) if n % 3 == 2] + letters[POP_MESSAGES:]
        assert recorded(stores, "unhandled") == Counter(map(identity, rest))
    finally:
        stores.close()


def test_the_same_bytes_in_two_mailboxes_give_both_their_results(
    dovecot: Dovecot, storage: str, tmp_path: Path
) -> None:
    first, other = dovecot.user(), dovecot.user()
    message = plain_mail(1, to="sales@example.com, billing@example.com")
    first.deliver([message])
    other.deliver([message])
    routes = {
        "ROUTES__sales__MAILBOX": "one",
        "ROUTES__sales__ADDRESS": "sales@example.com",
        "ROUTES__billing__MAILBOX": "other",
        "ROUTES__billing__ADDRESS": "billing@example.com",
    }
    settings = settings_file(tmp_path, storage, {**mailboxes(dovecot, one=first, other=other), **routes})
    assert mailroom("run-once", settings=settings).returncode == 0
    stores = opened(storage)
    id_ = identity(message)
    assert results(stores) == Counter([("sales", "sales@example.com", id_), ("billing", "billing@example.com", id_)])
    stores.close()


def test_two_runs_at_the_same_time_create_no_duplicates(dovecot: Dovecot, storage: str, tmp_path: Path) -> None:
    user = dovecot.user()
    mail = [plain_mail(n, to="sales@example.com") for n in range(size(40, soak=300))]
    user.deliver(mail)
    routes = {"ROUTES__sales__ADDRESS": "sales@example.com"}
    settings = settings_file(tmp_path, storage, {**mailboxes(dovecot, support=user), **routes})
    both = [
        subprocess.Popen(
            command("run-once", settings=settings), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    output = [process.communicate(timeout=200)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], output
    assert user.left() == []
    stores = opened(storage)
    assert_all_stored(stores, mail)
    assert results(stores) == Counter(("sales", "sales@example.com", identity(data)) for data in mail)
    assert not list(stores.blobs.list("duplicates/"))
    stores.close()


def test_8_1_the_next_run_resumes_after_a_kill(dovecot: Dovecot, tmp_path: Path) -> None:
    user = dovecot.user()
    mail = [plain_mail(n, size=30_000, to="sales@example.com") for n in range(size(200, soak=400))]
    user.deliver(mail)
    storage = f"folder:{tmp_path / 'mail'}"
    routes = {"ROUTES__sales__ADDRESS": "sales@example.com"}
    settings = settings_file(tmp_path, storage, {**mailboxes(dovecot, support=user), **routes})
    for stored in (30, len(mail) * 3 // 8, len(mail) * 3 // 4):
        process = subprocess.Popen(command("run-once", settings=settings), cwd=ROOT, stderr=subprocess.DEVNULL)
        while process.poll() is None and sum(1 for _ in (tmp_path / "mail").glob("messages/*/*.eml")) < stored:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        _let_ten_minutes_pass(tmp_path / "mail")
    ran = mailroom("run-once", settings=settings)
    assert ran.returncode == 0, ran.stderr
    assert user.left() == []
    counts = re.match(
        r"1 mailbox polled: (\d+) collected(?: \(and (\d+) stored earlier\))?, (\d+) routed, 0 duplicate", ran.stdout
    )
    assert counts is not None, ran.stdout
    assert int(counts[1]) + int(counts[2] or 0) == int(counts[3])
    stores = opened(storage)
    assert_all_stored(stores, mail)
    assert results(stores) == Counter(("sales", "sales@example.com", identity(data)) for data in mail)
    stores.close()


KILLED_INSIDE_A_WRITE = """
import os, signal, sys
from pathlib import Path
from shared.storage.folder import blobs

def die(_handle):
    os.kill(os.getpid(), signal.SIGKILL)

store = blobs.FolderBlobs(Path(sys.argv[1]))
blobs.os.fdatasync = die
store.create("messages/ab/abc.eml", b"half a message", content_type="message/rfc822")
"""


def test_8_1_a_kill_during_a_write_leaves_no_partial_message(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", KILLED_INSIDE_A_WRITE, str(tmp_path / "mail")], cwd=ROOT, check=False)
    assert ran.returncode == -signal.SIGKILL
    stores = opened(f"folder:{tmp_path / 'mail'}")
    assert list(stores.blobs.list()) == []
    assert [path.name for path in (tmp_path / "mail").iterdir()] == [".mailroom"]
    assert stores.blobs.create("messages/ab/abc.eml", b"a whole message", content_type="message/rfc822")
    assert stores.blobs.read("messages/ab/abc.eml") == b"a whole message"
    stores.close()


def test_1_9_one_failing_mailbox_does_not_stop_the_others(dovecot: Dovecot, tmp_path: Path) -> None:
    working, broken = dovecot.user(), dovecot.user()
    working.deliver([plain_mail(1)])
    values = mailboxes(dovecot, working=working, broken=broken)
    values["MAILBOXES__broken__PASSWORD"] = "wrong-and-secret"
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values)
    ran = mailroom("run-once", "--quiet", "--json", settings=settings)
    assert ran.returncode == 1
    summary = json.loads(ran.stdout)
    assert (summary["polled"], summary["collected"], summary["unhandled"]) == (["broken", "working"], 1, 1)
    assert summary["not_drained"] == ["broken"]
    assert summary["failures"] == ran.stderr.splitlines(), "--quiet omits the progress"
    assert ran.stderr.startswith("mailbox broken: ")
    assert ran.stderr.endswith("; `mailroom enable broken` ends the backoff\n")
    assert "mailbox working" not in ran.stderr
    assert working.left() == []
    status = mailroom("status", settings=settings)
    assert status.returncode == 1
    assert status.stdout.startswith("1 of 2 mailboxes is unhealthy: broken (failing since ")
    for output in (ran.stderr, ran.stdout, status.stdout, status.stderr):
        assert "wrong-and-secret" not in output


def test_1_9_enable_ends_the_backoff_of_a_mailbox(dovecot: Dovecot, tmp_path: Path) -> None:
    user = dovecot.user()
    user.deliver([plain_mail(1)])
    values = mailboxes(dovecot, support=user)
    wrong = {**values, "MAILBOXES__support__PASSWORD": "wrong"}
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", wrong)
    refused = mailroom("run-once", settings=settings)
    assert refused.returncode == 1
    assert re.fullmatch(r"1 mailbox polled \(1 not drained\), nothing collected; [\d.]+ s\n", refused.stdout)
    backing_off = mailroom("run-once", settings=settings)
    assert backing_off.returncode == 1
    assert "mailbox support is not tried before" in backing_off.stderr
    assert backing_off.stderr.endswith("; correct the sign-in, then run `mailroom enable support`\n")
    assert "mailbox support: mailbox support" not in backing_off.stderr
    assert re.fullmatch(r"0 mailboxes polled, nothing collected; [\d.]+ s\n", backing_off.stdout)
    checked = mailroom("check", settings=settings)
    assert checked.returncode == 1
    assert "mailbox support: mailbox support" not in checked.stdout
    assert mailroom("enable", "Support", settings=settings).returncode == 0
    assert "is not tried before" not in mailroom("run-once", settings=settings).stderr
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values)
    assert mailroom("run-once", settings=settings).returncode == 0, "other credentials are tried at once"
    assert user.left() == []
    again = mailroom("run-once", settings=settings)
    assert re.fullmatch(r"1 mailbox polled, no new mail; [\d.]+ s\n", again.stdout)


@pytest.mark.parametrize(
    ("certificate", "output"),
    [("self-signed", "self-signed"), ("other-name", "other.example.net"), ("expired", "expired")],
)
def test_1_2_an_invalid_certificate_is_refused_and_check_reports_it(
    dovecots: Callable[..., Dovecot], ca: Ca, tmp_path: Path, certificate: str, output: str
) -> None:
    from datetime import timedelta  # noqa: PLC0415

    pairs = {
        "self-signed": lambda: self_signed("localhost"),
        "other-name": lambda: ca.server("other.example.net"),
        "expired": lambda: ca.server("localhost", start=-timedelta(days=3), end=-timedelta(days=1)),
    }
    with Dovecot(ca, certificate=pairs[certificate]()) as server:
        user = server.user()
        user.deliver([plain_mail(1)])
        settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", mailboxes(server, support=user))
        for word in ("check", "run-once"):
            ran = mailroom(word, settings=settings)
            assert ran.returncode == 1
            assert output in ran.stdout + ran.stderr
            assert "mailbox support" in ran.stdout + ran.stderr
        assert len(user.left()) == 1
        assert "Traceback" not in ran.stderr


def test_1_11_check_changes_nothing(dovecot: Dovecot, tmp_path: Path) -> None:
    user, pop = dovecot.user(), dovecot.user()
    user.deliver([plain_mail(1), plain_mail(2)])
    pop.deliver([plain_mail(3)])
    before = [path.name for path in user.files()]
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", mailboxes(dovecot, support=user, pop=pop))
    ran = mailroom("check", settings=settings)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 messages" in ran.stdout
    assert "deleted" in ran.stdout
    assert [path.name for path in user.files()] == before
    assert len(pop.left()) == 1


def test_check_names_the_folders_where_one_is_missing(dovecot: Dovecot, tmp_path: Path) -> None:
    user = dovecot.user()
    names = [f"Folder {n:02}" for n in range(25)]
    for name in ["Archive", *names]:
        user.deliver([], folder=name)
    values = {**mailboxes(dovecot, support=user), "MAILBOXES__support__FOLDERS": "Nowhere;Archive"}
    ran = CliRunner().invoke(cli, ["check", "--settings", str(settings_file(tmp_path, "folder:mail", values))])
    assert ran.exit_code == 1
    (wrong,) = [line for line in ran.stdout.splitlines() if line.startswith("WRONG")]
    assert wrong.startswith("WRONG mailbox support at ")
    assert "'Nowhere'" in wrong
    listed = re.findall(r"'([^']+)'", wrong.partition("; the folders there are ")[2])
    assert len(listed) == MAX_FOLDERS
    assert {*listed} <= {"INBOX", "Archive", *names}
    assert re.search(r" and \d+ more$", wrong)
    assert "ok    mailbox support, Archive: signed in" in ran.stdout, "the other folders are checked"


def test_check_says_that_a_mailbox_is_not_polled_now(dovecot: Dovecot, tmp_path: Path) -> None:
    settings = settings_file(tmp_path, "folder:mail", mailboxes(dovecot, support=dovecot.user()))
    with open_app(settings) as app:
        app.health.record_failure(app.settings.mailboxes["support"], AuthenticationError("sign-in was refused"))
    ran = CliRunner().invoke(cli, ["check", "--settings", str(settings)])
    assert ran.exit_code == 0, ran.output
    assert "note  mailbox support is not tried before " in ran.stdout
    assert "correct the sign-in, then run `mailroom enable support`" in ran.stdout


def test_all_configuration_errors_are_reported_at_once(dovecot: Dovecot, tmp_path: Path) -> None:
    values = {"MAILBOXES__a__PROTOCOL": "imap", "MAILBOXES__a__PROT": "1", "ROUTES__r__MAILBOX": "nobody"}
    ran = mailroom("run-once", settings=settings_file(tmp_path, "nonsense", values))
    assert ran.returncode == 2
    assert "AzureWebJobsStorage" in ran.stderr
    assert "ROUTES__r__MAILBOX" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_serve_polls_on_schedule_and_stops_at_a_signal(dovecot: Dovecot, tmp_path: Path) -> None:
    user = dovecot.user()
    user.deliver([plain_mail(1, to="sales@example.com")])
    values = {**mailboxes(dovecot, support=user), "POLL_SCHEDULE": "* * * * * *"}
    settings = settings_file(tmp_path, f"folder:{tmp_path / 'mail'}", values)
    process = subprocess.Popen(command("serve", "--port", "0", settings=settings), cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while not list((tmp_path / "mail").glob("unhandled/**/*.json")):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.1)
    finally:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(40) == 0
    assert user.left() == []


def _let_ten_minutes_pass(folder: Path) -> None:
    from tests.servers.memory_app import let_time_pass  # noqa: PLC0415

    let_time_pass(folder)
