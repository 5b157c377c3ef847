"""The health of each mailbox: its failures, backoff, disabling, and the alerts for them (rule 1.9)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from shared.backoff import exponential_backoff
from shared.clock import Now, utc_now
from shared.config import MailboxSettings
from shared.errors import (
    AuthenticationError,
    ConfigurationError,
    MailboxBusy,
    MailboxError,
    TransientError,
    printable,
    without_mailbox,
)
from shared.keys import digest
from shared.observability import metrics
from shared.queue_messages import PollReason
from shared.storage.base import Records, Table, Value, Values

FIRST_BACKOFF = timedelta(minutes=1)
LONGEST_BACKOFF = timedelta(hours=1)
SIGN_IN_BACKOFF = timedelta(minutes=15)
"""The first backoff after rejected credentials: servers lock accounts after a few attempts within minutes."""
LONGEST_SIGN_IN_BACKOFF = timedelta(hours=4)

FIRST_BUSY_BACKOFF = timedelta(minutes=1)
LONGEST_BUSY_BACKOFF = timedelta(hours=1)
"""For a server that answers "not now". Some locks end only after half an hour without a connection (MDaemon,
directnic): polling each minute would keep them forever."""

BUSY_LIMIT = timedelta(hours=1)
"""A mailbox that is busy for this long counts as failing: the alert is raised, as after an hour of failures."""

MAX_EARLY = timedelta(seconds=6)
"""How long before its time a mailbox may be polled, so that a timer that fires a little early does not skip it."""

PROGRESS_INTERVAL = 5.0
"""Seconds between two writes of a drain's progress; a drain that takes less time writes none."""

PROGRESS_LIFETIME = timedelta(minutes=5)
"""How long recorded progress counts: the worker may have been killed since."""

MAX_CLOCK_SKEW = timedelta(seconds=1)
"""How far the system times of two instances may differ."""

Progress = Callable[[str, int, int], None]
"""Called with a mailbox's name, the messages of a folder that are processed, and those that were listed."""

_log = logging.getLogger("mailroom.health")


def health_key(mailbox: str) -> str:
    """Return the key of a mailbox's record."""
    return digest("health", mailbox)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxHealth:
    """The health of a mailbox; the names of its attributes are those of the record's properties.

    Attributes:
        failures: failures in a row.
        last_error: the error of the latest failure; empty after a success.
        refused: whether the latest failure was rejected credentials.
        next_try: the end of the backoff; None if there is none.
        disabled: whether it is not polled until `mailroom enable`, or until its sign-in settings change.
        alerted: whether an alert was raised because it was disabled, and it has not recovered since.
        fingerprint: the fingerprint of the sign-in settings that the failures belong to.
        first_contact: when it was first polled; the time that `SINCE=now` means.
        last_poll: when the last poll began.
        last_served: when the last poll that succeeded began.
        last_notified: when the last poll that Graph triggered began.
        unreadable_before: messages that were found unreadable before this time are requested again.
        last_success: when a poll last succeeded.
        last_failure: when it last failed.
        failing_since: when the first of the failures in a row was; None if the last poll did not fail.
        busy_since: when its server first answered "not now" since the last poll that finished; None if it has not.
        busy_polls: polls in a row that ended so.
        busy_reason: the server's latest response of this kind.
        busy_alerted: whether an alert was raised because it was busy for an hour, and it has not recovered since.
        no_pipelining: why the POP3 server is sent one command at a time (docs/reference/pop3.md); empty if it is not.
        warning: what the operator should know although the last poll succeeded; empty if nothing.
        collected: messages that the last poll collected.
        left: messages that the last poll skipped: oversized, unreadable, or not delivered by the server.
        drained: messages of a folder that a drain had processed at `draining_at`.
        listed: messages that the folder had when that drain listed it.
        draining_at: when a drain last recorded its progress; None: never, or it ended as busy.
        unsettled: whether the last poll did not end well or still runs: it may have removed messages without recording
            it.
        last_settled: when a poll last ended with all removals recorded; None: never.
        account: a digest of the server and the account that were polled last.
        account_since: when the server or the account changed; None if they never did.
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
    last_served: datetime | None = None
    last_notified: datetime | None = None
    unreadable_before: datetime | None = None
    last_success: datetime | None = None
    last_failure: datetime | None = None
    failing_since: datetime | None = None
    busy_since: datetime | None = None
    busy_polls: int = 0
    busy_reason: str = ""
    busy_alerted: bool = False
    no_pipelining: str = ""
    warning: str = ""
    collected: int = 0
    left: int = 0
    drained: int = 0
    listed: int = 0
    draining_at: datetime | None = None
    unsettled: bool = False
    last_settled: datetime | None = None
    account: str = ""
    account_since: datetime | None = None

    def failing_for(self, now: datetime) -> timedelta:
        """Return for how long it has failed or been busy without a poll that finished; zero if it is ok."""
        starts = [self.busy_since]
        if self.failures:
            starts.append(self.failing_since or self.last_failure)
        return max((now - start for start in starts if start is not None), default=timedelta(0))

    def is_draining(self, now: datetime) -> bool:
        """Return whether a drain that recorded its progress has not ended yet."""
        if self.draining_at is None or now - self.draining_at > PROGRESS_LIFETIME:
            return False
        later = (self.last_success, self.last_failure, self.last_poll)
        return all(time is None or time <= self.draining_at for time in later)

    def is_failing(self, now: datetime) -> bool:
        """Return whether it has failed, or has been busy for so long that it counts as failing."""
        return self.failures > 0 or (self.busy_since is not None and now - self.busy_since >= BUSY_LIMIT)

    @classmethod
    def from_record(cls, values: Mapping[str, Value]) -> MailboxHealth:
        """Parse a record's properties; a missing property has its default."""
        fields = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        # A merge cannot delete a property, so NEVER means None.
        return cls(**{name: None if value == NEVER else value for name, value in fields.items()})  # type: ignore[arg-type]


NEVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")

_NOT_BUSY: Mapping[str, Value] = MappingProxyType(
    {"busy_since": NEVER, "busy_polls": 0, "busy_reason": "", "busy_alerted": False}
)


class HealthRecords:
    """The stored health of all mailboxes.

    Args:
        records: where it is stored.
        now: returns the current time.
    """

    def __init__(self, records: Records, now: Now = utc_now) -> None:
        self._records = records
        self._now = now

    def get(self, mailbox: str) -> MailboxHealth:
        """Return the health of a mailbox; that of one that was never polled is ok."""
        record = self._records.get(Table.MAILBOXES, health_key(mailbox))
        return MailboxHealth() if record is None else MailboxHealth.from_record(record.values)

    def skip_reason(self, settings: MailboxSettings, reason: PollReason, *, subscribed: bool = False) -> str | None:
        """Return why a mailbox is not to be polled now; None if it is.

        Args:
            settings: the mailbox's.
            reason: the reason of the poll.
            subscribed: whether Graph notifies us of its new mail, so that the timer polls it rarely.
        """
        if not settings.enabled:
            return f"mailbox {settings.name} is switched off by MAILBOXES__{settings.name}__ENABLED"
        health = self.get(settings.name)
        if health.fingerprint not in ("", settings.sign_in_fingerprint):
            return None
        if health.disabled:
            return (
                f"mailbox {settings.name} is disabled after {health.failures} failures: {health.last_error}; "
                f"correct the cause, then run `mailroom enable {settings.name}` or change its sign-in settings"
            )
        if reason is PollReason.MANUAL and not health.refused:
            return None
        if health.next_try is not None and self._now() < health.next_try:
            cause = health.busy_reason or health.last_error or "its server requested a delay"
            advice = "correct the sign-in, then run" if health.refused else "to poll it now, run"
            return (
                f"mailbox {settings.name} is not tried before {health.next_try:%Y-%m-%d %H:%M:%S} UTC: {cause}; "
                f"{advice} `mailroom enable {settings.name}`"
            )
        if reason is PollReason.TIMER and health.last_poll is not None:
            # After a failure the backoff applies instead, whether or not Graph notifies us.
            seconds = settings.poll_every_subscribed if subscribed and not health.failures else settings.poll_every
            interval = timedelta(seconds=seconds)
            if self._now() < health.last_poll + interval - min(interval * 0.1, MAX_EARLY):
                return f"mailbox {settings.name} is not due: it is polled every {seconds} s"
        return None

    def seconds_since_last_poll(self, mailbox: str, requested_at: datetime) -> tuple[bool, float]:
        """Return whether a notification was served by the last poll, and how long ago that poll began.

        Args:
            mailbox: its name.
            requested_at: when the notification came.

        Returns:
            Whether a successful poll began since (with a second for system times that differ), and the seconds since
            the last poll began, whether or not it succeeded.
        """
        health = self.get(mailbox)
        served = health.last_served is not None and health.last_served > requested_at + MAX_CLOCK_SKEW
        seconds = float("inf") if health.last_poll is None else (self._now() - health.last_poll).total_seconds()
        return served, seconds

    def record_contact(self, settings: MailboxSettings, reason: PollReason = PollReason.TIMER) -> MailboxHealth:
        """Record that a poll begins. Return the health before it, with this poll and contact included."""
        now = self._now()
        before = self.get(settings.name)
        account = digest("account", settings.protocol, settings.host, settings.login, settings.mailbox_address)
        values: dict[str, Value] = {"name": settings.name, "last_poll": now, "unsettled": True, "account": account}
        if before.account not in ("", account):
            values["account_since"] = now
            before = replace(before, account_since=now)
        if before.first_contact is None:
            values["first_contact"] = now
            before = replace(before, first_contact=now)
        if reason is PollReason.NOTIFIED:
            values["last_notified"] = now
        self._records.merge(Table.MAILBOXES, health_key(settings.name), values)
        return replace(before, last_poll=now)

    def record_success(
        self,
        settings: MailboxSettings,
        *,
        collected: int,
        left: int,
        began: datetime | None = None,
        warnings: Sequence[str] = (),
        uncertain: bool = False,
    ) -> None:
        """Record a poll that succeeded; log the recovery of a mailbox for which an alert was raised.

        Args:
            settings: the mailbox's.
            collected: messages that it collected.
            left: messages that it skipped.
            began: when it began.
            warnings: what the operator should know although it succeeded.
            uncertain: whether it may have removed messages without recording it.
        """
        health = self.get(settings.name)
        now = self._now()
        settled: dict[str, Value] = {} if uncertain else {"last_settled": now}
        warning = printable("; ".join(warnings), 1000)
        if warning:
            _log.warning("mailbox %s: %s", settings.name, warning)
        if health.alerted or health.busy_alerted:
            _log.warning("mailbox-recovered: mailbox %s works again", settings.name)
        elif health.failures:
            _log.info("mailbox %s works again after %d failures", settings.name, health.failures)
        elif health.busy_polls:
            since = f"{health.busy_since or now:%Y-%m-%d %H:%M:%SZ}"
            _log.info("mailbox %s works again; its server or the storage was busy since %s", settings.name, since)
        self._write(
            settings,
            failures=0,
            last_error="",
            refused=False,
            next_try=NEVER,
            disabled=False,
            alerted=False,
            failing_since=NEVER,
            **_NOT_BUSY,
            warning=warning,
            last_success=now,
            last_served=began or now,
            collected=collected,
            left=left,
            unsettled=uncertain,
            **settled,
        )

    def record_failure(self, settings: MailboxSettings, error: MailboxError | ConfigurationError) -> None:
        """Record a failure: back off, and disable the mailbox after DISABLE_AFTER failures in a row."""
        before = self.get(settings.name)
        changed = before.fingerprint not in ("", settings.sign_in_fingerprint)
        failures = 1 if changed else before.failures + 1
        refused = isinstance(error, AuthenticationError)
        first, longest = (SIGN_IN_BACKOFF, LONGEST_SIGN_IN_BACKOFF) if refused else (FIRST_BACKOFF, LONGEST_BACKOFF)
        backoff = exponential_backoff(first, longest, failures - 1)
        disabled = failures >= settings.disable_after
        text = printable(without_mailbox(error, settings.name), 1000)
        self._write(
            settings,
            failures=failures,
            last_error=text,
            refused=refused,
            next_try=self._now() + backoff,
            disabled=disabled,
            alerted=disabled or before.alerted,
            last_failure=self._now(),
            busy_reason="",
            failing_since=self._now() if failures == 1 else before.failing_since or self._now(),
        )
        metrics.count_failure(error, "mailbox")
        _log.warning(
            "mailbox %s failed (%d in a row), next retry in %d s: %s", settings.name, failures, backoff.seconds, text
        )
        if disabled and (changed or not before.disabled):
            _log.error("mailbox-disabled: mailbox %s stopped after %d failures: %s", settings.name, failures, text)

    def record_busy(self, settings: MailboxSettings, error: MailboxBusy) -> float:
        """Record that the server answered "not now": not a failure at first, and one after an hour (`BUSY_LIMIT`).

        Args:
            settings: the mailbox's.
            error: its response, and the delay that it requested.

        Returns:
            Seconds until the next retry: doubled with each busy poll in a row, and never less than requested.
        """
        changed = self._has_other_credentials(settings)
        before = MailboxHealth() if changed else self.get(settings.name)
        requested = timedelta(seconds=error.retry_after or 0)
        first = requested or FIRST_BUSY_BACKOFF
        backoff = max(exponential_backoff(first, LONGEST_BUSY_BACKOFF, before.busy_polls), requested)
        values = {**self._busy_values(settings, before, error), "next_try": self._now() + backoff}
        if changed:
            # Failures under the old credentials do not count against the new ones.
            values |= {"failures": 0, "last_error": "", "refused": False, "disabled": False}
        self._write(settings, **values)
        return float(backoff.total_seconds())

    def record_unavailable(self, settings: MailboxSettings, error: TransientError) -> None:
        """Record that a service that a poll needs did not respond. The queue does the backoff."""
        self._write(settings, **self._busy_values(settings, self.get(settings.name), error))

    def _busy_values(self, settings: MailboxSettings, before: MailboxHealth, error: TransientError) -> dict[str, Value]:
        now = self._now()
        since = before.busy_since or now
        alert = now - since >= BUSY_LIMIT
        reason = printable(without_mailbox(error, settings.name), 1000)
        if alert and not before.busy_alerted:
            metrics.count_failure(error, "mailbox")
            _log.error(
                "mailbox-failing: no poll of mailbox %s has finished since %s: %s",
                settings.name,
                f"{since:%Y-%m-%d %H:%M:%SZ}",
                reason,
            )
        return {
            "busy_since": since,
            "busy_polls": before.busy_polls + 1,
            "busy_reason": reason,
            "busy_alerted": alert or before.busy_alerted,
            "draining_at": NEVER,
        }

    def _has_other_credentials(self, settings: MailboxSettings) -> bool:
        return self.get(settings.name).fingerprint not in ("", settings.sign_in_fingerprint)

    def record_progress(self, mailbox: str, drained: int, listed: int) -> None:
        """Record how many of a folder's messages a drain has processed, for `mailroom status`."""
        values: Values = {"drained": drained, "listed": listed, "draining_at": self._now()}
        self._records.merge(Table.MAILBOXES, health_key(mailbox), values)

    def remember_pipelining(self, settings: MailboxSettings, reason: str) -> None:
        """Record why a POP3 server is sent one command at a time, for the next process that drains the mailbox."""
        self._records.merge(Table.MAILBOXES, health_key(settings.name), {"no_pipelining": reason})

    def enable(self, mailbox: str, *, unreadable: bool = False) -> None:
        """Delete a mailbox's failures, so that the next poll tries it.

        Args:
            mailbox: its name.
            unreadable: whether messages that its server did not deliver are requested again, too.
        """
        values: dict[str, Value] = {
            "name": mailbox,
            "failures": 0,
            "refused": False,
            "next_try": NEVER,
            "disabled": False,
            "busy_polls": 0,
        }
        if unreadable:
            values["unreadable_before"] = self._now()
        self._records.merge(Table.MAILBOXES, health_key(mailbox), values)

    def _write(self, settings: MailboxSettings, **values: Value) -> None:
        own = {"name": settings.name, "fingerprint": settings.sign_in_fingerprint}
        self._records.merge(Table.MAILBOXES, health_key(settings.name), {**own, **values})


class DrainProgress:
    """Records the progress of long drains, and passes it on. Its method may be called from several threads.

    Args:
        health: where it is recorded.
        progress: called after each batch.
        monotonic: returns the time in seconds, like `time.monotonic`.
    """

    def __init__(
        self, health: HealthRecords, progress: Progress, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._health = health
        self._progress = progress
        self._monotonic = monotonic
        self._recorded_at: dict[str, float] = {}

    def __call__(self, mailbox: str, drained: int, listed: int) -> None:
        """Pass the progress of a drain on, and record it if the last record is too old."""
        self._progress(mailbox, drained, listed)
        if drained >= listed:
            self._recorded_at.pop(mailbox, None)
            return
        now = self._monotonic()
        if now - self._recorded_at.setdefault(mailbox, now) >= PROGRESS_INTERVAL:
            self._recorded_at[mailbox] = now
            with suppress(TransientError):  # The drain goes on: only `mailroom status` reads it.
                self._health.record_progress(mailbox, drained, listed)
