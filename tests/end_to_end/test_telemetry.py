"""Telemetry follows a message from its mailbox to its results, and contains no message content
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
"""Words that occur in the mail's subjects, bodies, names and addresses only."""

SALES = plain_mail(1, to="sales@zwetschge.example", headers="X-Note: mirabelle\r\n").replace(b"Sender 1", b"Pflaume")
TWICE = SALES.replace(b"\r\n\r\n", b"\r\n\r\nquetsche\r\n", 1)
"""A duplicate: the same Message-ID, and a line before the text."""

UNHANDLED = plain_mail(2, to="nobody@zwetschge.example")
BLOCKED = plain_mail(3, to="sales@zwetschge.example")
UNKNOWN, POISONED = "ab" * 32, "cd" * 32
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.\w+")


@pytest.fixture(scope="module")
def telemetry(dovecots: Callable[..., Dovecot], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the telemetry of a process that drained two mailboxes, one of which refuses the password."""
    server = dovecots()
    user, broken = server.user(), server.user()
    user.deliver([SALES, TWICE, UNHANDLED, BLOCKED])
    folder = tmp_path_factory.mktemp("telemetry")
    values = {
        **mailboxes(server, support=user, broken=broken),
        "MAILBOXES__broken__PASSWORD": "wrong-and-secret",
        "MAILBOXES__support__BLOCKED_SENDERS": "sender3@example.net",
        "ROUTES__sales__ADDRESS": "sales@zwetschge.example",
    }
    settings = settings_file(folder, f"folder:{folder / 'mail'}", values)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.end_to_end.telemetry_run", str(settings), UNKNOWN, POISONED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert isinstance(report, dict)
    return report


def spans_of(telemetry: dict[str, Any], message: bytes) -> list[dict[str, Any]]:
    return [span for span in telemetry["spans"] if span["attributes"].get("mailroom.message") == identity(message)]


def test_one_message_has_one_trace_from_the_mailbox_to_its_results(telemetry: dict[str, Any]) -> None:
    outcomes = set()
    for message in (SALES, TWICE):  # either may be routed first
        collected, routed = spans_of(telemetry, message)
        assert (collected["name"], routed["name"]) == ("collect message", "route message")
        assert collected["trace"] == routed["trace"]
        assert routed["parent"] == collected["id"]
        assert routed["attributes"]["mailroom.mailbox"] == "support"
        outcomes.add((routed["attributes"]["mailroom.outcome"], routed["attributes"]["mailroom.route"]))
    assert outcomes == {("routed", "sales"), ("duplicate", "")}


def test_every_message_has_its_own_trace_linked_to_the_poll(telemetry: dict[str, Any]) -> None:
    polls = [span["trace"] for span in telemetry["spans"] if span["name"] == "poll mailbox"]
    collected = [span for span in telemetry["spans"] if span["name"] == "collect message"]
    assert len(collected) == len({span["trace"] for span in collected}) == 4
    assert all(len(span["links"]) == 1 and span["links"][0] in polls for span in collected)


def test_a_failed_poll_and_a_failed_try_are_marked_without_the_errors_text(telemetry: dict[str, Any]) -> None:
    (poll,) = [span for span in telemetry["spans"] if span["attributes"].get("mailroom.mailbox") == "broken"]
    assert (poll["status"], poll["description"]) == ("ERROR", "AuthenticationError")
    (tried,) = [span for span in telemetry["spans"] if span["attributes"].get("mailroom.arrival") == UNKNOWN]
    assert (tried["status"], tried["description"]) == ("ERROR", "MessageMissing")
    assert all(not span["events"] for span in telemetry["spans"])


def test_log_lines_carry_mailbox_message_and_trace(telemetry: dict[str, Any]) -> None:
    message_lines = [
        (attributes, trace)
        for _, attributes, trace in telemetry["lines"]
        if attributes.get("mailroom.message") == identity(SALES)
    ]
    assert message_lines
    assert all(attributes["mailroom.mailbox"] == "support" for attributes, _ in message_lines)
    assert {trace for _, trace in message_lines} == {spans_of(telemetry, SALES)[0]["trace"]}
    assert any(attributes.get("mailroom.mailbox") == "broken" for _, attributes, _ in telemetry["lines"])
    routed = [attributes for _, attributes, _ in telemetry["lines"] if attributes.get("mailroom.route") == "sales"]
    assert [attributes["mailroom.message"] in (identity(SALES), identity(TWICE)) for attributes in routed] == [True]


def test_telemetry_contains_no_message_content_and_no_address(telemetry: dict[str, Any]) -> None:
    everything = json.dumps(telemetry["spans"]) + json.dumps(telemetry["points"]) + json.dumps(telemetry["lines"])
    assert "wrong-and-secret" not in everything
    for word in WORDS:
        assert word.casefold() not in everything.casefold()
    assert ADDRESS.findall(everything) == []
    # The pattern matches addresses:
    assert ADDRESS.findall(SALES.decode())


def test_metrics_count_the_outcomes(telemetry: dict[str, Any]) -> None:
    values = {(name, *sorted(attributes.items())): value for name, attributes, value in telemetry["points"]}
    support = ("mailbox", "support")
    assert values[metric_names.COLLECTED, support] == 4
    assert values[metric_names.STORED_BYTES, support] == sum(map(len, (SALES, TWICE, UNHANDLED, BLOCKED)))
    assert values[metric_names.RESULTS, support, ("route", "sales")] == 1
    assert values[metric_names.DUPLICATES, support] == 1
    assert values[metric_names.BLOCKED, support] == 1
    assert values[metric_names.UNHANDLED, support, ("reason", "no-route")] == 1
    assert values[metric_names.DRAIN_SECONDS, support] > 0
    assert values[metric_names.ROUTED_AGE, support] >= 0
    assert values[metric_names.COLLECTED_AGE, support] >= 0
    assert values[metric_names.MAILBOX_FAILING, support] == 0
    assert values[metric_names.MAILBOX_FAILING, ("mailbox", "broken")] > 0
    assert values[metric_names.MAILBOX_DISABLED, ("mailbox", "broken")] == 0
    assert values[metric_names.FAILURES, ("kind", "AuthenticationError"), ("where", "mailbox")] == 1
    assert values[metric_names.FAILURES, ("kind", "MessageMissing"), ("where", "message")] == 1
    assert values[metric_names.POISONED, ("mailbox", "unknown")] == 1
    assert values[metric_names.WEBHOOK_SECONDS, ("status", 202)] == pytest.approx(0.01)


def test_every_metric_is_sent(telemetry: dict[str, Any]) -> None:
    """`mailroom.subscription.left_seconds` needs a mailbox of Graph: test_vitals.py."""
    assert metric_names.ALL - {name for name, _, _ in telemetry["points"]} == {metric_names.SUBSCRIPTION_LEFT}
