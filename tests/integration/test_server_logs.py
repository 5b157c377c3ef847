"""The report of a failed test shows what the servers logged during that test, and nothing older."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

CONFTEST = """
pytest_plugins = ["tests.servers.logs", "tests.servers.azurite"]
pytest_plugins += [f"tests.servers.{name}" for name in (
    "dovecot", "courier", "cyrus", "mailutils", "postfix", "wildduck", "hoodiecrow")]
"""

TESTS = """
import imaplib
import time

import pytest

from tests.servers import logs
from tests.end_to_end.command import mailroom, opened, settings_file
from tests.end_to_end.own_process import in_own_process
from tests.servers.dovecot import Dovecot


def sign_in(port, name):
    with imaplib.IMAP4("127.0.0.1", port) as client, pytest.raises(imaplib.IMAP4.error):
        client.login(name, "wrong")


def test_before(dovecot, azure_storage):
    sign_in(dovecot.imap, "earlier")
    opened(azure_storage).blobs.create("earlier", b"", content_type="text/plain")
    deadline = time.monotonic() + 20
    while not all("earlier" in log.text() for log in logs._logs):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_shared_servers(dovecot, azure_storage):
    sign_in(dovecot.imap, "shared")
    opened(azure_storage).blobs.create("blob-of-the-test", b"", content_type="text/plain")
    assert False


def test_a_server_that_has_stopped(ca):
    with Dovecot(ca) as server:
        sign_in(server.imap, "stopped")
        assert False


@pytest.mark.parametrize("name", ["courier", "cyrus", "mailutils", "wildduck", "hoodiecrow"])
def test_other_server(request, name):
    account = request.getfixturevalue(name).account()
    sign_in(account.imap, f"of-{name}")
    assert False


def test_postfix(postfix):
    postfix.send(b"Subject: 1\\r\\n\\r\\n1\\r\\n", f"production@{postfix.mailbox().domain}")
    assert False


async def warn():
    import logging

    logging.getLogger("mailroom.host").warning("the host warns")


def test_local_host(tmp_path):
    mailroom("run-once", settings=settings_file(tmp_path, "nonsense", {}))
    in_own_process(warn)
    assert False
"""


@pytest.fixture(scope="module")
def report(
    tmp_path_factory: pytest.TempPathFactory,
    # They fail these tests with the command that installs a missing server.
    dovecot: object,
    azurite: object,
) -> dict[str, str]:
    """Return the report of each failed test, by the test's name."""
    folder = tmp_path_factory.mktemp("failing")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_failing.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--rootdir={folder}", "--tb=line", "-rN"]
    ran = subprocess.run(
        [*command, "--tb=short", str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr
    parts = ran.stdout.split("\n____")[1:]
    return {part.strip("_ ").partition(" ")[0]: part for part in parts}


@pytest.mark.parametrize(
    ("test", "section", "line"),
    [
        ("test_shared_servers", "Dovecot log", "user=<shared>"),
        ("test_shared_servers", "Azurite log", "blob-of-the-test"),
        ("test_a_server_that_has_stopped", "Dovecot log", "user=<stopped>"),
        ("test_other_server[courier]", "Courier log", "user=of-courier"),
        ("test_other_server[cyrus]", "Cyrus log", "of-cyrus"),
        ("test_other_server[mailutils]", "Mailutils log", "of-mailutils"),
        ("test_other_server[wildduck]", "wildduck log", "of-wildduck"),
        ("test_other_server[hoodiecrow]", "hoodiecrow log", "of-hoodiecrow"),
        ("test_postfix", "Postfix log", "to=<production@"),
        ("test_local_host", "standard error of mailroom run-once", "AzureWebJobsStorage"),
        ("test_local_host", "local host log", "the host warns"),
    ],
)
def test_a_failure_shows_the_log_of_the_server(report: dict[str, str], test: str, section: str, line: str) -> None:
    _, title, text = report[test].partition(f" {section} ")
    assert title, report[test]
    assert line in text.partition("\n----")[0]


def test_a_failure_shows_no_log_of_an_earlier_test(report: dict[str, str]) -> None:
    assert "earlier" not in "".join(report.values())
