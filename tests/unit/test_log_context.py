"""The fields and the masking of log records, tested in separate processes, since the record factory is global."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import logging, sys, time
from shared.errors import MessageUnreadable, ServiceUnavailable
from shared.observability.log_context import bind, install_log_context
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(levelname)s %(message)s")
install_log_context(append_fields=True)
log = logging.getLogger("mailroom.test")
WORD = "Zwet" + "schge"  # a traceback quotes this line
"""


def run_and_get_log(code: str) -> str:
    """Run code in a separate process, and return its log."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM + code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


ERRORS = {
    "another library's": "raise ValueError(WORD)",
    "ours, raised from another library's": """
    try:
        raise ValueError(WORD)
    except ValueError as error:
        raise MessageUnreadable("cannot be processed") from error
""",
    "ours, raised while another library's is handled": """
    try:
        raise ValueError(WORD)
    except ValueError:
        raise MessageUnreadable("cannot be processed")
""",
    "several": "raise ExceptionGroup(WORD, [ValueError(WORD)])",
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_the_text_of_other_libraries_errors_is_not_logged(error: str) -> None:
    log = run_and_get_log(f"try:\n    {error.strip()}\nexcept Exception:\n    log.exception('a failure')\n")
    assert "Zwetschge" not in log
    assert "ERROR a failure" in log
    assert 'File "<string>"' in log, "the traceback is logged"
    assert ("cannot be processed" in log) == ("MessageUnreadable" in error)


def test_addresses_are_masked_above_debug() -> None:
    log = run_and_get_log(
        """
answer = "LOGIN failed for <Support.Team+x@mail.example.com>, see imap://admin@10.0.0.1/inbox"
log.warning("mailbox %s: sign-in refused: %s", "support", answer)
log.debug("mailbox %s: %s", "support", answer)
try:
    raise MessageUnreadable(answer)
except MessageUnreadable:
    log.exception("a failure")
"""
    )
    warned, debugged, *traceback_lines = log.splitlines()
    assert (
        warned == "WARNING mailbox support: sign-in refused: LOGIN failed for <(address)>, see imap://(address)/inbox"
    )
    assert "<Support.Team+x@mail.example.com>" in debugged
    assert "LOGIN failed for" in "".join(traceback_lines)
    assert "@" not in "".join(line for line in traceback_lines if "raise" not in line)


def test_wrong_log_arguments_do_not_raise() -> None:
    log = run_and_get_log("with bind(mailbox='support'):\n    log.warning('%d bytes', 'none')\nprint('went on')\n")
    assert "went on" in log


def test_the_renewal_of_a_lease_logs_its_mailbox() -> None:
    log = run_and_get_log(
        """
from shared.lease import RenewingLease
class UnavailableLeases:
    def acquire(self, name, seconds): return "token"
    def renew(self, name, token): raise ServiceUnavailable("the storage is unavailable")
    def release(self, name, token): pass
with bind(mailbox="support", arrival="ab"), RenewingLease.acquire(UnavailableLeases(), "support", 1):
    time.sleep(0.4)
"""
    )
    assert "WARNING mailbox support: the lease was not renewed" in log
    assert "the storage is unavailable [mailbox=support arrival=ab]" in log


def test_a_pattern_of_addresses_is_not_masked() -> None:
    log = run_and_get_log("log.warning('write *@example.com, or ann@example.com; x*@example.com')\n")
    assert "WARNING write *@example.com, or (address); (address)" in log
