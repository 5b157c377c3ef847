"""What a log line carries, and what it does not: run in a process of its own, since the lines' maker is a process's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BEGINNING = """
import logging, sys, time
from shared.errors import MessageUnreadable, ServiceUnavailable
from shared.observability.log_context import bind, install_log_context
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(levelname)s %(message)s")
install_log_context(append_fields=True)
log = logging.getLogger("mailroom.test")
WORD = "Zwet" + "schge"  # a traceback quotes this line
"""


def lines_of(code: str) -> str:
    """What a process logs."""
    ran = subprocess.run(
        [sys.executable, "-c", BEGINNING + code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


RAISING = {
    "not ours": "raise ValueError(WORD)",
    "ours of one that is not": """
    try:
        raise ValueError(WORD)
    except ValueError as error:
        raise MessageUnreadable("cannot be worked on") from error
""",
    "ours while one that is not was handled": """
    try:
        raise ValueError(WORD)
    except ValueError:
        raise MessageUnreadable("cannot be worked on")
""",
    "several": "raise ExceptionGroup(WORD, [ValueError(WORD)])",
}


@pytest.mark.parametrize("raising", RAISING.values(), ids=RAISING)
def test_no_error_brings_the_text_of_one_that_is_not_ours(raising: str) -> None:
    told = lines_of(f"try:\n    {raising.strip()}\nexcept Exception:\n    log.exception('a fault')\n")
    assert "Zwetschge" not in told
    assert "ERROR a fault" in told
    assert 'File "<string>"' in told, "its frames"
    assert ("cannot be worked on" in told) == ("MessageUnreadable" in raising)


def test_addresses_are_told_at_debug_alone() -> None:
    told = lines_of(
        """
answer = "LOGIN failed for <Support.Team+x@mail.example.com>, see imap://admin@10.0.0.1/inbox"
log.warning("mailbox %s: sign-in refused: %s", "support", answer)
log.debug("mailbox %s: %s", "support", answer)
try:
    raise MessageUnreadable(answer)
except MessageUnreadable:
    log.exception("a fault")
"""
    )
    warned, debugged, *fault = told.splitlines()
    assert (
        warned == "WARNING mailbox support: sign-in refused: LOGIN failed for <(address)>, see imap://(address)/inbox"
    )
    assert "<Support.Team+x@mail.example.com>" in debugged
    assert "LOGIN failed for" in "".join(fault)
    assert "@" not in "".join(line for line in fault if "raise" not in line)


def test_a_line_that_cannot_be_made_fails_nobody() -> None:
    told = lines_of("with bind(mailbox='support'):\n    log.warning('%d octets', 'none')\nprint('went on')\n")
    assert "went on" in told


def test_the_thread_that_renews_a_lease_tells_of_its_mailbox() -> None:
    told = lines_of(
        """
from shared.lease import RenewingLease
class Ill:
    def acquire(self, name, seconds): return "token"
    def renew(self, name, token): raise ServiceUnavailable("the storage is ill")
    def release(self, name, token): pass
with bind(mailbox="support", arrival="ab"), RenewingLease.acquire(Ill(), "support", 1):
    time.sleep(0.4)
"""
    )
    assert "WARNING mailbox support: the lease was not renewed" in told
    assert "the storage is ill [mailbox=support arrival=ab]" in told
