"""Temporary refusals of a sign-in are distinguished from wrong credentials."""

from __future__ import annotations

import pytest

from shared.mailboxes.temporary_refusals import TABLE, is_temporary_refusal, is_throttled, suggested_backoff


@pytest.mark.parametrize(
    "text",
    [
        "[ALERT] Too many simultaneous connections. (Failure)",
        "Too many concurrent connections to this mailbox",
        "Too many connections",
        "Too many open POP3 sessions for this user",
        "Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
        "[UNAVAILABLE] Maximum number of connections from user+IP exceeded",
        "Maximum login limit reached",
        "[OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)",
        "Account exceeded command or bandwidth limits.",
        "Server Unavailable. 15",
        "Server Unavailable. 21",
        "[UNAVAILABLE] Service temporarily unavailable",
        "Service not available, closing transmission channel",
        "Account is temporarily unavailable.",
        "Request is throttled. Suggested Backoff Time: 299961 milliseconds",
        "[THROTTLED] slow down",
        "Temporary authentication failure (rate-limit)",
        "Temporary authentication failure.",
        "Temporary System Problem (Failure)",
        "[UNAVAILABLE] Temporary authentication failure. [mx1:2026-11-01 10:00:00]",
        "[SYS/TEMP] Temporary authentication failure.",
        "Authentication rate limit from one source exceeded",
        "[LIMIT] LOGIN Rate limit hit.",
        "[SERVERBUG] LOGIN Server error - Please try again later.",
        "Internal error occurred. Refer to server log for more information.",
        "Internal login failure. Refer to server log for more information.",
        "internal server error",
        "Login failed, please try again later",
        "Server is too busy",
        "[LOGIN-DELAY] minimum time between mail checks violation",
        "[IN-USE] Do you have another POP session running?",
        "Can't get lock.  Mailbox in use",
        "Your mailbox is already locked",
        "Mailbox Locked",
        "Mailbox is locked",
        "maildrop already locked",
        "Mailbox is already locked by other session",
        "unable to lock maildrop",
        "Unable to lock mailbox",
        "could not aquire lock for maildrop alice",
        "Maildrop lock busy!  Is another session active?",
        "/var/spool/mail/.alice.pop lock busy!  Is another session active? (11)",
        "Mailbox is open by another process, access is readonly",
        "Your account is in use, try later.",
        "Another POP3 session is accessing this mailbox",
        "Mailbox is being used by another process",
        "Mailbox temporarily locked",
        "Can not lock mailbox",
        "Unable to open mailbox: lock timeout",
        "Session already active for this mailbox",
        "Account already in use",
        "Too many login attempts, please try again later.",
    ],
)
def test_1_9_temporary_refusals(text: str) -> None:
    assert is_temporary_refusal(text)
    assert is_temporary_refusal(text.upper())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "LOGIN failed.",
        "AUTHENTICATE failed.",
        "[AUTHENTICATIONFAILED] Invalid credentials (Failure)",
        "[AUTHENTICATIONFAILED] Authentication failed.",
        "[ALERT] Invalid credentials (Failure)",
        "Authentication credentials invalid",
        "[AUTH] Username and password not accepted.",
        "Invalid password or unable to lock mailbox",
        "Invalid user name or password. Please try again later.",
        "Too many bad auth attempts",
        "Too many invalid logon attempts.",
        "Too many failed login attempts, try again later",
        "Too many login failures",
        "Your account is locked",
        "Account has been locked out",
        "User account locked due to too many invalid attempts",
        "Account temporarily disabled",
        "[ALERT] Application-specific password required: https://support.example/accounts",
        "[ALERT] Please log in via your web browser: https://support.example/mail (Failure)",
        "[SYS/PERM] Your account is not enabled for POP access.",
        "[EXPIRED] password",
        "[CONTACTADMIN] Mailbox is locked",
        "Mailbox is locked by the administrator",
        "Unsafe Login. Please contact the provider for help",
        "BAD Command Argument Error. 11",
        "permission denied",
    ],
)
def test_1_9_other_refusals(text: str) -> None:
    assert not is_temporary_refusal(text)
    assert not is_temporary_refusal(text.upper())


def test_every_row_names_its_source_and_matches_a_text() -> None:
    assert all(row.source and row.provider for row in TABLE)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Request is throttled. Suggested Backoff Time: 299961 milliseconds", 299.961),
        ("BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds\r\n* BYE Connection closed. 14", 89.117),
        ("Suggested Backoff Time: 0 milliseconds", 0.0),
        ("Suggested Backoff Time: 30 seconds", 30.0),
        ("Request is throttled.", None),
        ("Server Unavailable. 15", None),
    ],
)
def test_suggested_backoff(text: str, seconds: float | None) -> None:
    assert suggested_backoff(text) == seconds
    assert is_throttled(text) == ("throttled" in text or "Backoff" in text)
