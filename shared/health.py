"""How each mailbox fares: backoff, disabling, and the alerts when it stops and when it recovers (rule 1.9)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.clock import Now, utc_now
from shared.errors import MailboxFailed, SettingsWrong, SignInRefused, quoted
from shared.keys import digest
from shared.receipts import Reason
from shared.settings import MailboxSettings
from shared.storage.protocol import Records, Table, Value

FIRST_BACKOFF = timedelta(minutes=1)
LONGEST_BACKOFF = timedelta(hours=1)
SIGN_IN_BACKOFF = timedelta(minutes=15)
"""The first pause after rejected credentials: servers lock accounts after a handful of tries within minutes."""
LONGEST_SIGN_IN_BACKOFF = timedelta(hours=4)

_log = logging.getLogger("mailroom.health")


def health_key(mailbox: str) -> str:
    """The key of a mailbox's record."""
    return digest("health", mailbox)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxHealth:
    """What is known of how a mailbox fares.

    Attributes:
        failures: in a row.
        last_error: of the latest failure; empty after a success.
        refused: the latest failure was rejected credentials.
        next_try: not before this; None if nothing holds it back.
        disabled: it is not tried until it is enabled by hand or its sign-in settings change.
        alerted: it was said aloud that it is disabled, and not yet that it recovered.
        fingerprint: of the sign-in settings that the failures belong to.
        first_contact: when it was first reached; what `SINCE=now` counts from.
        last_poll: when it was last looked at.
        last_success: when it was last drained without failure.
        last_failure: when it last failed.
        collected: messages that the last look collected.
        left: messages that the last look saw and left in the mailbox: oversized, unreadable, refused by the server.
    """

    failures: int = 0
    last_error: str = ""
    refused: bool = False
    next_try: datetime | None = None
    disabled: bool = False
    alerted: bool = False
    fingerprint: str = ""
    first_contact: datetime | None = None
    last_poll: datetime | None = None
    last_success: datetime | None = None
    last_failure: datetime | None = None
    collected: int = 0
    left: int = 0

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> MailboxHealth:
        """From a record's properties; what is missing has its default."""
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        # A table has no way to say "no time": the oldest there is stands for none.
        return cls(**{name: None if value == NEVER else value for name, value in known.items()})  # type: ignore[arg-type]


NEVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Health:
    """Reads and writes the mailboxes' records.

    Args:
        records: where they are.
        now: the time.
    """

    def __init__(self, records: Records, now: Now = utc_now) -> None:
        self._records = records
        self._now = now

    def of(self, mailbox: str) -> MailboxHealth:
        """How a mailbox fares; one that was never looked at fares well."""
        record = self._records.get(Table.MAILBOXES, health_key(mailbox))
        return MailboxHealth() if record is None else MailboxHealth.of(record.values)

    def not_now(self, settings: MailboxSettings, reason: Reason) -> str | None:
        """Why a mailbox is not to be looked at now, in words; None if it is."""
        if not settings.enabled:
            return f"mailbox {settings.name} is switched off by MAILBOXES__{settings.name}__ENABLED"
        health = self.of(settings.name)
        if health.fingerprint not in ("", settings.sign_in_fingerprint):
            return None
        if health.disabled:
            return (
                f"mailbox {settings.name} is disabled after {health.failures} failures: {health.last_error}; mend it, "
                f"then run `mailroom enable {settings.name}` or change its sign-in settings"
            )
        if reason is Reason.BY_HAND and not health.refused:
            return None
        if health.next_try is not None and self._now() < health.next_try:
            cause = health.last_error or "its server asked to wait"
            return f"mailbox {settings.name} is not tried before {health.next_try:%Y-%m-%d %H:%M:%S} UTC: {cause}"
        if reason is Reason.CLOCK and health.last_poll is not None:
            # A clock's tick is never quite a minute after the one before.
            due = health.last_poll + timedelta(seconds=settings.poll_every) * 0.9
            if self._now() < due:
                return f"mailbox {settings.name} has its own pace: every {settings.poll_every} s"
        return None

    def contacted(self, settings: MailboxSettings) -> datetime:
        """Note that a mailbox is being looked at. Gives the time of the first contact."""
        now = self._now()
        first = self.of(settings.name).first_contact
        values: dict[str, Value] = {"name": settings.name, "last_poll": now}
        if first is None:
            values["first_contact"] = first = now
        self._records.merge(Table.MAILBOXES, health_key(settings.name), values)
        return first

    def succeeded(self, settings: MailboxSettings, *, collected: int, left: int) -> None:
        """Note a look that went well; says so aloud if the mailbox had been failing."""
        health = self.of(settings.name)
        if health.alerted:
            _log.error("mailbox-recovered: mailbox %s works again", settings.name)
        elif health.failures:
            _log.info("mailbox %s works again after %d failures", settings.name, health.failures)
        self._write(
            settings,
            failures=0,
            last_error="",
            refused=False,
            next_try=NEVER,
            disabled=False,
            alerted=False,
            last_success=self._now(),
            collected=collected,
            left=left,
        )

    def failed(self, settings: MailboxSettings, error: MailboxFailed | SettingsWrong) -> None:
        """Note a failure: back off, and disable the mailbox after DISABLE_AFTER in a row."""
        before = self.of(settings.name)
        changed = before.fingerprint not in ("", settings.sign_in_fingerprint)
        failures = 1 if changed else before.failures + 1
        refused = isinstance(error, SignInRefused)
        first, longest = (SIGN_IN_BACKOFF, LONGEST_SIGN_IN_BACKOFF) if refused else (FIRST_BACKOFF, LONGEST_BACKOFF)
        pause = min(first * 2 ** min(failures - 1, 20), longest)
        disabled = failures >= settings.disable_after
        text = quoted(error, 1000)
        self._write(
            settings,
            failures=failures,
            last_error=text,
            refused=refused,
            next_try=self._now() + pause,
            disabled=disabled,
            alerted=disabled or before.alerted,
            last_failure=self._now(),
        )
        _log.warning(
            "mailbox %s failed (%d in a row), next try in %d s: %s", settings.name, failures, pause.seconds, text
        )
        if disabled and (changed or not before.disabled):
            _log.error("mailbox-disabled: mailbox %s stopped after %d failures: %s", settings.name, failures, text)

    def busy(self, settings: MailboxSettings, seconds: float) -> None:
        """Note that the server asked to wait: no failure."""
        values: dict[str, Value] = {"next_try": self._now() + timedelta(seconds=seconds)}
        if self.of(settings.name).fingerprint not in ("", settings.sign_in_fingerprint):
            # What the old settings did is none of the new ones'.
            values |= {"failures": 0, "refused": False, "disabled": False}
        self._write(settings, **values)

    def enable(self, mailbox: str) -> None:
        """Forget a mailbox's failures, so that it is tried at the next look."""
        self._records.merge(
            Table.MAILBOXES,
            health_key(mailbox),
            {"name": mailbox, "failures": 0, "refused": False, "next_try": NEVER, "disabled": False},
        )

    def _write(self, settings: MailboxSettings, **values: Value) -> None:
        own = {"name": settings.name, "fingerprint": settings.sign_in_fingerprint}
        self._records.merge(Table.MAILBOXES, health_key(settings.name), {**own, **values})
