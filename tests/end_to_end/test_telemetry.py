"""One message is followed from its mailbox to its results, and nothing of what it says is told
(docs/how-to/operating.md).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from shared.observability import metric_names
from tests.end_to_end.command import ROOT, identity, mailboxes, settings_file
from tests.servers.dovecot import Dovecot
from tests.servers.mail import plain_mail

WORDS = ("Zwetschge", "quetsche", "mirabelle", "pflaume")
"""In subjects, bodies, names and addresses of the mail, and nowhere else."""

SALES = plain_mail(1, to="sales@zwetschge.example", headers="X-Note: mirabelle\r\n").replace(b"Sender 1", b"Pflaume")
TWICE = SALES.replace(b"\r\n\r\n", b"\r\n\r\nquetsche\r\n", 1)
"""The same Message-ID, and a line before the text: a duplicate."""

NOBODYS = plain_mail(2, to="nobody@zwetschge.example")
BLOCKED = plain_mail(3, to="sales@zwetschge.example")
UNKNOWN, GIVEN_UP = "ab" * 32, "cd" * 32
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.\w+")


@pytest.fixture(scope="module")
def told(dovecots: Callable[..., Dovecot], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process told that drained two mailboxes, one of which refuses the password."""
    server = dovecots()
    user, ill = server.user(), server.user()
    user.deliver([SALES, TWICE, NOBODYS, BLOCKED])
    folder = tmp_path_factory.mktemp("telemetry")
    values = {
        **mailboxes(server, support=user, ill=ill),
        "MAILBOXES__ill__PASSWORD": "wrong-and-secret",
        "MAILBOXES__support__BLOCKED_SENDERS": "sender3@example.net",
        "ROUTES__sales__ADDRESS": "sales@zwetschge.example",
    }
    settings = settings_file(folder, f"folder:{folder / 'mail'}", values)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.end_to_end.telemetry_run", str(settings), UNKNOWN, GIVEN_UP],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert isinstance(found, dict)
    return found


def spans_of(told: dict[str, Any], message: bytes) -> list[dict[str, Any]]:
    return [span for span in told["spans"] if span["attributes"].get("mailroom.message") == identity(message)]


def test_one_message_has_one_trace_from_the_mailbox_to_its_results(told: dict[str, Any]) -> None:
    fates = set()
    for message in (SALES, TWICE):  # either may be the first
        collected, routed = spans_of(told, message)
        assert (collected["name"], routed["name"]) == ("collect message", "route message")
        assert collected["trace"] == routed["trace"]
        assert routed["parent"] == collected["id"]
        assert routed["attributes"]["mailroom.mailbox"] == "support"
        fates.add((routed["attributes"]["mailroom.fate"], routed["attributes"]["mailroom.route"]))
    assert fates == {("routed", "sales"), ("duplicate", "")}


def test_every_message_has_a_trace_of_its_own_linked_to_the_look_that_collected_it(told: dict[str, Any]) -> None:
    looks = [span["trace"] for span in told["spans"] if span["name"] == "poll mailbox"]
    collected = [span for span in told["spans"] if span["name"] == "collect message"]
    assert len(collected) == len({span["trace"] for span in collected}) == 4
    assert all(len(span["links"]) == 1 and span["links"][0] in looks for span in collected)


def test_a_failing_look_and_a_failing_try_are_marked_without_the_errors_text(told: dict[str, Any]) -> None:
    (look,) = [span for span in told["spans"] if span["attributes"].get("mailroom.mailbox") == "ill"]
    assert (look["status"], look["words"]) == ("ERROR", "AuthenticationError")
    (tried,) = [span for span in told["spans"] if span["attributes"].get("mailroom.arrival") == UNKNOWN]
    assert (tried["status"], tried["words"]) == ("ERROR", "MessageMissing")
    assert all(not span["events"] for span in told["spans"])


def test_log_lines_carry_mailbox_message_and_trace(told: dict[str, Any]) -> None:
    of_the_message = [
        (attributes, trace)
        for _, attributes, trace in told["lines"]
        if attributes.get("mailroom.message") == identity(SALES)
    ]
    assert of_the_message
    assert all(attributes["mailroom.mailbox"] == "support" for attributes, _ in of_the_message)
    assert {trace for _, trace in of_the_message} == {spans_of(told, SALES)[0]["trace"]}
    assert any(attributes.get("mailroom.mailbox") == "ill" for _, attributes, _ in told["lines"])
    given = [attributes for _, attributes, _ in told["lines"] if attributes.get("mailroom.route") == "sales"]
    assert [one["mailroom.message"] in (identity(SALES), identity(TWICE)) for one in given] == [True]


def test_no_word_of_a_message_and_no_address_is_told(told: dict[str, Any]) -> None:
    everything = json.dumps(told["spans"]) + json.dumps(told["points"]) + json.dumps(told["lines"])
    assert "wrong-and-secret" not in everything
    for word in WORDS:
        assert word.casefold() not in everything.casefold()
    assert ADDRESS.findall(everything) == []
    # And it would have been found:
    assert ADDRESS.findall(SALES.decode())


def test_metrics_tell_what_became_of_the_mail(told: dict[str, Any]) -> None:
    found = {(name, *sorted(attributes.items())): value for name, attributes, value in told["points"]}
    support = ("mailbox", "support")
    assert found[metric_names.COLLECTED, support] == 4
    assert found[metric_names.STORED_BYTES, support] == sum(map(len, (SALES, TWICE, NOBODYS, BLOCKED)))
    assert found[metric_names.RESULTS, support, ("route", "sales")] == 1
    assert found[metric_names.DUPLICATES, support] == 1
    assert found[metric_names.BLOCKED, support] == 1
    assert found[metric_names.UNHANDLED, support, ("reason", "no-route")] == 1
    assert found[metric_names.DRAIN_SECONDS, support] > 0
    assert found[metric_names.ROUTED_AGE, support] >= 0
    assert found[metric_names.COLLECTED_AGE, support] >= 0
    assert found[metric_names.MAILBOX_FAILING, support] == 0
    assert found[metric_names.MAILBOX_FAILING, ("mailbox", "ill")] > 0
    assert found[metric_names.MAILBOX_DISABLED, ("mailbox", "ill")] == 0
    assert found[metric_names.FAILURES, ("kind", "AuthenticationError"), ("where", "mailbox")] == 1
    assert found[metric_names.FAILURES, ("kind", "MessageMissing"), ("where", "message")] == 1
    assert found[metric_names.POISONED, ("mailbox", "unknown")] == 1
    assert found[metric_names.WEBHOOK_SECONDS, ("status", 202)] == pytest.approx(0.01)


def test_every_name_is_told_by_somebody(told: dict[str, Any]) -> None:
    """`mailroom.subscription.left_seconds` needs a mailbox of Graph: test_vitals.py."""
    assert metric_names.ALL - {name for name, _, _ in told["points"]} == {metric_names.SUBSCRIPTION_LEFT}
