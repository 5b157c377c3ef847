"""The messages that Mailroom, mailparser and postal-mime read side by side (docs/reference/parsing.md)."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from bench.mix import mix
from bench.readers import mixed_mail
from mailroom_cli.demo import messages
from tests.integration.real_servers.mails import MAILS
from tests.servers.mail import hostile_bodies
from tests.unit.mime.samples import sample
from tests.unit.mime.test_addresses import AUTHORS, LISTS
from tests.unit.mime.test_headers import DATES, PARAMETERS, WORDS

ROOT = Path(__file__).resolve().parents[2]

RECORDED = (
    *(
        f"tests/unit/mime/test_{name}.py"
        for name in (
            "address_limits", "addresses", "authentication", "charsets", "flowed", "headers", "automatic_mail",
            "boundaries", "misbuilt", "parts", "report_fields", "reports", "round_trip", "structures", "text", "tnef",
            "base64_extent", "delivery_headers", "uuencoded",
        )
    ),
    "tests/unit/test_fingerprints.py",
    "tests/unit/test_senders.py",
)  # fmt: skip
"""Tests whose messages are compared. Hostile and randomly damaged messages test limits instead of results."""

UNTIMED = "not takes_long and not linear_time"
"""Tests that measure time are left out: their messages are large, or alike."""

SAMPLES, MIXED, MIX = 300, 150, 20
LONGEST_HOSTILE = 1_000_000


def messages_to_read(folder: Path) -> dict[str, bytes]:
    """Return every message by an id that names its origin."""
    return dict(chain(_recorded(folder), _from_tables(), _generated()))


def _recorded(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Run the tests in a separate process, and yield the messages that they parsed."""
    file = folder / "recorded"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", UNTIMED]
    process = subprocess.run(
        [*command, "-p", "tests.integration.recorded_messages", *RECORDED],
        cwd=ROOT,
        env={**os.environ, "RECORDED_MESSAGES": str(file), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-2_000:]
    numbers: Counter[str] = Counter()
    for line in file.read_text("ascii").splitlines():
        test, mail = json.loads(line)
        numbers[test] += 1
        yield f"{test}#{numbers[test]}", base64.b64decode(mail)


def _from_tables() -> Iterator[tuple[str, bytes]]:
    """Yield a message for each row of the tables that test the parsers of single header fields."""
    head = "From: kim@example.com\n"
    for name, (value, *_) in LISTS.items():
        yield f"list: {name}", f"{head}To: {value}\nCc: {value}\nSubject: list\n\nx\n".encode()
    for name, (value, *_) in AUTHORS.items():
        yield f"recipients: {name}", f"{head}To: {value}\nSubject: list\n\nx\n".encode()
    for name, (value, _expected) in WORDS.items():
        yield f"word: {name}", f"{head}Subject: {value}\n\nx\n".encode("utf-8", "replace")
    for name, (value, *_) in DATES.items():
        yield f"date: {name}", f"{head}Date: {value}\n\nx\n".encode()
    for name, (value, *_) in PARAMETERS.items():
        yield f"parameter: {name}", f"{head}Content-Type: {value.replace('text/plain', 'a/b')}\n\nx\n".encode()


def _generated() -> Iterator[tuple[str, bytes]]:
    source = random.Random(12)
    for number in range(SAMPLES):
        yield f"sample {number}", sample(source, source.choice((800, 3_000, 10_000, 60_000)))
    for number in range(MIXED):
        yield f"mixed {number}", mixed_mail(source, number)
    for number, mail in enumerate(mix(MIX)):
        yield f"mix {number}", mail
    for number, mail in enumerate(MAILS):
        yield f"server {number}", mail
    for name, mail in hostile_bodies().items():
        if len(mail) <= LONGEST_HOSTILE:
            yield f"body: {name}", mail
    demo = (*messages.SUPPORT, *messages.OFFICE, *messages.CONTRACTS, *messages.ENCRYPTED)
    for number, mail in enumerate((*demo, *messages.AUTOMATIC, *messages.SPECIAL)):
        yield f"demo {number}", mail
