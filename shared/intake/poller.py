"""Poll a mailbox: check that it is due, take its lease, drain it, and record its health (rules 1.9, 1.10).

`poll` never raises. Every error is recorded in the mailbox's health, so that a wrong password is tried once, and not
as often as the host retries the queue message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.backoff import service_backoff
from shared.clock import Now, utc_now
from shared.config import MailboxSettings, MailProtocol
from shared.errors import (
    ConfigurationError,
    MailboxBusy,
    MailboxError,
    ServiceUnavailable,
    TransientError,
    without_mailbox,
)
from shared.intake.folder_sync import DrainStats
from shared.intake.mailbox_drain import MailboxDrain
from shared.keys import digest
from shared.lease import RenewingLease
from shared.mailbox_health import HealthRecords, MailboxHealth
from shared.mailboxes.base import Mailbox
from shared.mailboxes.pop3.server_record import RECORDS
from shared.observability import log_context, metrics, tracing
from shared.observability.rate_limited_log import RateLimitedLog
from shared.queue_messages import Poll, PollReason
from shared.storage.base import QueueName, Table

MAX_RETRIES = 4
"""Times that a poll is requeued after a transient error; then the next timer poll takes over."""

NOTIFIED_SPACING = 2.0
"""Seconds between two polls that notifications trigger: one poll serves a burst of notifications."""

RECHECK_DELAY = 20.0
"""Seconds after which a notified poll that found nothing is repeated: Graph may notify before a message is visible."""

INVALID_LOG_INTERVAL = timedelta(hours=1)
"""Minimum time between two warnings about a mailbox with invalid settings, which every timer poll meets."""

_log = logging.getLogger("mailroom.poll")


@dataclass(frozen=True, slots=True)
class Poller:
    """Polls mailboxes.

    Attributes:
        mailboxes: the mailboxes with valid settings, by name.
        configuration_errors: the errors of the other mailboxes, by name.
        intake: drains a mailbox.
        health: the health of each mailbox.
        connect: opens a session.
        budget: seconds that one poll may take before the next one continues.
        subscribed: returns whether Graph notifies us of a mailbox's new mail.
        now: returns the current time.
    """

    mailboxes: Mapping[str, MailboxSettings]
    configuration_errors: Mapping[str, tuple[str, ...]]
    intake: MailboxDrain
    health: HealthRecords
    connect: Callable[[MailboxSettings], Mailbox]
    budget: float
    subscribed: Callable[[MailboxSettings], bool] = lambda _: False
    now: Now = utc_now
    _invalid: dict[str, RateLimitedLog] = field(default_factory=dict, init=False, repr=False, compare=False)

    def due_polls(self, reason: PollReason, traceparent: str = "") -> list[Poll]:
        """Return the polls to enqueue now."""
        for name, errors in self.configuration_errors.items():
            is_due = self._invalid.setdefault(name, RateLimitedLog(INVALID_LOG_INTERVAL)).add(1, self.now())
            level = logging.WARNING if is_due else logging.DEBUG
            with log_context.bind(mailbox=name):
                _log.log(level, "mailbox %s is not polled, its settings are invalid: %s", name, "; ".join(errors))
        polls = []
        for settings in self.mailboxes.values():
            with log_context.bind(mailbox=settings.name):
                skip_reason = self._skip_reason(settings, reason)
                if skip_reason is None:
                    polls.append(Poll(settings.name, reason, traceparent=traceparent))
                else:
                    _log.debug("%s", skip_reason)
        return polls

    def poll(self, poll: Poll) -> DrainStats | None:
        """Poll a mailbox now. Return what was done, or None if it was not drained or failed."""
        settings = self.mailboxes.get(poll.mailbox)
        if settings is None:
            _log.warning("mailbox %s has no valid settings; its poll is dropped", poll.mailbox)
            return None
        try:
            skip_reason = self._skip_reason(settings, poll.reason)
            if skip_reason is not None:
                _log.debug("%s", skip_reason)
                return None
            if poll.requested_at is not None and self._is_stale(poll, poll.requested_at):
                return None
            lease = self._acquire_lease(poll.mailbox)
            if lease is None:
                _log.debug("mailbox %s is being drained; the worker that drains it polls again", poll.mailbox)
                return None
            with lease:
                stats = self._drain(settings, poll, lease)
            self._schedule_follow_up(settings, poll, stats)
        except TransientError as error:
            self._record_unavailable(settings, error)
            self._requeue(poll, error)
        except Exception as error:  # noqa: BLE001  `poll` never raises
            _log.exception("mailbox %s: an unexpected error in Mailroom", poll.mailbox)
            tracing.failed(error)
            metrics.count_failure(error, "mailbox")
        else:
            return stats
        return None

    def _skip_reason(self, settings: MailboxSettings, reason: PollReason) -> str | None:
        subscribed = reason is PollReason.TIMER and self.subscribed(settings)
        return self.health.skip_reason(settings, reason, subscribed=subscribed)

    def _is_stale(self, poll: Poll, requested_at: datetime) -> bool:
        """Return whether a notified poll need not run now.

        It need not if a poll began since the notification. Right after another poll, it is postponed.
        """
        is_served, seconds = self.health.seconds_since_last_poll(poll.mailbox, requested_at)
        if is_served:
            _log.debug("mailbox %s was polled since the notification", poll.mailbox)
            return True
        if seconds < NOTIFIED_SPACING:
            self.intake.storage.queues[QueueName.POLLS].put_many([poll.to_json()], delay=NOTIFIED_SPACING)
            return True
        return False

    def _acquire_lease(self, mailbox: str) -> RenewingLease | None:
        """Return the mailbox's lease. If another worker holds it, leave a record that asks it to poll again."""
        leases = self.intake.storage.leases
        lease = RenewingLease.acquire(leases, mailbox)
        if lease is None:
            self.intake.storage.records.create(Table.MAILBOXES, _follow_up_key(mailbox), {"name": mailbox})
            # The holder may have checked for the record before we created it, and released the lease since.
            lease = RenewingLease.acquire(leases, mailbox)
        return lease

    def _drain(self, settings: MailboxSettings, poll: Poll, lease: RenewingLease) -> DrainStats | None:
        """Connect, drain, and record the mailbox's health. Return None if the mailbox failed or is busy."""
        began = time.monotonic()
        try:
            health = self.health.record_contact(settings, poll.reason)
            assert health.first_contact is not None
            with self._remembering_pipelining(settings, health), self.connect(settings) as mailbox:
                stats = self.intake.run(
                    settings,
                    mailbox,
                    lease,
                    budget=self.budget,
                    first_contact=health.first_contact,
                    unreadable_before=health.unreadable_before,
                    traceparent=poll.traceparent,
                    last_settled=health.last_settled,
                    unsettled=health.unsettled,
                    account_since=health.account_since,
                )
        except MailboxBusy as error:
            backoff = self.health.record_busy(settings, error)
            reason = without_mailbox(error, settings.name)
            _log.info("mailbox %s: its server is busy, next retry in %d s: %s", settings.name, backoff, reason)
            if settings.protocol is MailProtocol.GRAPH and poll.retries < MAX_RETRIES:
                # While Graph notifies us, the timer polls rarely: its next poll may be much later than the backoff.
                retry = Poll(poll.mailbox, PollReason.FOLLOW_UP, poll.retries + 1, poll.traceparent)
                self.intake.storage.queues[QueueName.POLLS].put_many([retry.to_json()], delay=backoff + 1)
        except (MailboxError, ConfigurationError) as error:
            tracing.failed(error)
            self.health.record_failure(settings, error)
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001  an error in our code must back off as well
            _log.exception("mailbox %s: an unexpected error in Mailroom", settings.name)
            tracing.failed(error)
            failure = MailboxError(f"an unexpected error in Mailroom: {type(error).__name__}")
            self.health.record_failure(settings, failure)
        else:
            self.health.record_success(
                settings,
                collected=stats.collected,
                left=stats.skipped,
                began=health.last_poll,
                warnings=stats.warnings,
                # A folder that was not listed for lack of time is not settled either.
                uncertain=stats.uncertain or (health.unsettled and stats.more),
            )
            _log.log(
                # The first poll is logged in any case: it shows that the mailbox works.
                logging.DEBUG if stats.is_idle and health.last_success is not None else logging.INFO,
                "mailbox %s: %d collected (%d bytes), %d already stored, %d removed, %d skipped%s",
                settings.name,
                stats.collected,
                stats.stored_bytes,
                stats.already_stored,
                stats.removed,
                stats.skipped,
                "; the time budget is used up, another poll follows" if stats.more else "",
            )
            return stats
        finally:
            metrics.drain_seconds.record(time.monotonic() - began, {"mailbox": settings.name})
        return None

    @contextmanager
    def _remembering_pipelining(self, settings: MailboxSettings, health: MailboxHealth) -> Iterator[None]:
        """Share between processes why a POP3 server is sent one command at a time (docs/reference/pop3.md)."""
        if settings.protocol is not MailProtocol.POP3:
            yield
            return
        server = RECORDS.record(settings)
        # The fingerprint includes the host: with other sign-in settings, the record may be another server's.
        if health.fingerprint == settings.sign_in_fingerprint:
            server.no_pipelining = server.no_pipelining or health.no_pipelining
        try:
            yield
        finally:
            if server.no_pipelining != health.no_pipelining:
                self.health.remember_pipelining(settings, server.no_pipelining)

    def _schedule_follow_up(self, settings: MailboxSettings, poll: Poll, stats: DrainStats | None) -> None:
        """Enqueue the next poll if mail remains, if it was requested while we held the lease, or as a recheck."""
        storage = self.intake.storage
        key = _follow_up_key(poll.mailbox)
        is_requested = storage.records.get(Table.MAILBOXES, key) is not None
        if is_requested:
            storage.records.delete_many(Table.MAILBOXES, [key])
        polls = storage.queues[QueueName.POLLS]
        is_graph = settings.protocol is MailProtocol.GRAPH
        has_more = stats is not None and stats.more
        if is_requested or has_more:
            follow_up = Poll(poll.mailbox, PollReason.FOLLOW_UP, traceparent=poll.traceparent)
            polls.put_many([follow_up.to_json()], delay=NOTIFIED_SPACING if is_graph and not has_more else 0)
        elif is_graph and stats is not None and poll.reason in (PollReason.NOTIFIED, PollReason.FOLLOW_UP):
            found_nothing = not (stats.collected or stats.already_stored)
            if found_nothing or stats.gone:
                requested_at = self.now() + timedelta(seconds=RECHECK_DELAY / 2)
                recheck = Poll(
                    poll.mailbox, PollReason.RECHECK, traceparent=poll.traceparent, requested_at=requested_at
                )
                polls.put_many([recheck.to_json()], delay=RECHECK_DELAY)

    def _record_unavailable(self, settings: MailboxSettings, error: TransientError) -> None:
        """Show in `status` that a service does not respond, if storage can be written.

        A lost lease or a write conflict says nothing about the mailbox.
        """
        if isinstance(error, ServiceUnavailable):
            with suppress(TransientError):
                self.health.record_unavailable(settings, error)

    def _requeue(self, poll: Poll, error: TransientError) -> None:
        """Enqueue a poll again, with backoff, after a transient error."""
        tracing.failed(error)
        metrics.count_failure(error, "mailbox")
        reason = without_mailbox(error, poll.mailbox)
        if poll.retries >= MAX_RETRIES:
            _log.warning("mailbox %s: the next timer poll retries: %s", poll.mailbox, reason)
            return
        backoff = service_backoff(error, poll.retries)
        _log.warning("mailbox %s: transient error, next retry in %d s: %s", poll.mailbox, backoff, reason)
        # FOLLOW_UP instead of the original reason: the interval of TIMER would skip it, since a poll just began.
        poll_reason = PollReason.MANUAL if poll.reason is PollReason.MANUAL else PollReason.FOLLOW_UP
        retry = Poll(poll.mailbox, poll_reason, poll.retries + 1, poll.traceparent)
        try:
            self.intake.storage.queues[QueueName.POLLS].put_many([retry.to_json()], delay=backoff)
        except TransientError as queue_error:
            _log.warning("mailbox %s: the next timer poll retries: %s", poll.mailbox, queue_error)


def _follow_up_key(mailbox: str) -> str:
    return digest("follow-up", mailbox)
