"""One look at a mailbox: is it due, may we have it, drain it, and note how it went (rules 1.9, 1.10).

A poll never raises: whatever goes wrong is noted with the mailbox, so that a wrong password is tried once and not as
often as the host would repeat the queue message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.backoff import service_backoff
from shared.clock import Now, utc_now
from shared.config import MailboxSettings, MailProtocol
from shared.errors import ConfigurationError, MailboxBusy, MailboxError, ServiceUnavailable, TransientError
from shared.intake.folder_sync import DrainStats
from shared.intake.mailbox_drain import MailboxDrain
from shared.keys import digest
from shared.lease import RenewingLease
from shared.mailbox_health import HealthRecords, MailboxHealth
from shared.mailboxes.base import Mailbox
from shared.mailboxes.pop3.server_record import RECORDS
from shared.observability import log_context, metrics, tracing
from shared.queue_messages import Poll, PollReason
from shared.storage.base import QueueName, Table

MAX_RETRIES = 4
"""Times that a look is put back on the queue because a service was ill; then the clock takes over."""

NOTIFIED_SPACING = 2.0
"""Seconds between two looks that notifications ask for: in a burst of them, one look does for all that came."""

RECHECK_DELAY = 20.0
"""Seconds after which a look that found nothing is repeated: a message may be notified of before it can be seen."""

_log = logging.getLogger("mailroom.poll")


@dataclass(frozen=True, slots=True)
class Poller:
    """Looks at mailboxes.

    Attributes:
        mailboxes: the usable ones, by name.
        faulty: the faults of those whose settings are wrong, by name.
        intake: the way in.
        health: how each fares.
        connect: opens a session.
        budget: seconds that one look may take before it hands on to the next.
        subscribed: whether Graph notifies us of a mailbox's new mail.
        now: the time.
    """

    mailboxes: Mapping[str, MailboxSettings]
    configuration_errors: Mapping[str, tuple[str, ...]]
    intake: MailboxDrain
    health: HealthRecords
    connect: Callable[[MailboxSettings], Mailbox]
    budget: float
    subscribed: Callable[[MailboxSettings], bool] = lambda _: False
    now: Now = utc_now

    def due_polls(self, reason: PollReason, traceparent: str = "") -> list[Poll]:
        """The polls to enqueue now."""
        for name, faults in self.configuration_errors.items():
            with log_context.bind(mailbox=name):
                _log.warning("mailbox %s is not collected, its settings are wrong: %s", name, "; ".join(faults))
        due = []
        for settings in self.mailboxes.values():
            with log_context.bind(mailbox=settings.name):
                why_not = self._not_now(settings, reason)
                if why_not is None:
                    due.append(Poll(settings.name, reason, traceparent=traceparent))
                else:
                    _log.info("%s", why_not)
        return due

    def poll(self, poll: Poll) -> DrainStats | None:
        """Look at a mailbox now. Gives what was done, or None if it was not looked at or failed."""
        settings = self.mailboxes.get(poll.mailbox)
        if settings is None:
            _log.warning("mailbox %s is not (or wrongly) configured, a poll for it is dropped", poll.mailbox)
            return None
        try:
            why_not = self._not_now(settings, poll.reason)
            if why_not is not None:
                _log.info("%s", why_not)
                return None
            if poll.requested_at is not None and not self._worth_a_look(poll, poll.requested_at):
                return None
            lease = self._lease(poll.mailbox)
            if lease is None:
                _log.info("mailbox %s is being drained; its worker looks again when it is done", poll.mailbox)
                return None
            with lease:
                drained = self._drain(settings, poll, lease)
            self._go_on(settings, poll, drained)
        except TransientError as error:
            self._note_unavailable(settings, error)
            self._put_back(poll, error)
        except Exception as error:  # noqa: BLE001  see the module's docstring
            _log.exception("mailbox %s: a fault in Mailroom itself", poll.mailbox)
            tracing.failed(error)
            metrics.failure(error, "mailbox")
        else:
            return drained
        return None

    def _not_now(self, settings: MailboxSettings, reason: PollReason) -> str | None:
        subscribed = reason is PollReason.TIMER and self.subscribed(settings)
        return self.health.skip_reason(settings, reason, subscribed=subscribed)

    def _worth_a_look(self, poll: Poll, asked: datetime) -> bool:
        """Whether a notification wants a look now: not if one began since, and not at once after the last."""
        served, ago = self.health.seconds_since_last_poll(poll.mailbox, asked)
        if served:
            _log.debug("mailbox %s was looked at since it was notified of", poll.mailbox)
            return False
        if ago < NOTIFIED_SPACING:
            self.intake.storage.queues[QueueName.POLLS].put_many([poll.to_json()], delay=NOTIFIED_SPACING)
            return False
        return True

    def _lease(self, mailbox: str) -> RenewingLease | None:
        """The lease; or, held by another, a mark that asks its holder to look again."""
        leases = self.intake.storage.leases
        lease = RenewingLease.acquire(leases, mailbox)
        if lease is None:
            self.intake.storage.records.create(Table.MAILBOXES, _again_key(mailbox), {"name": mailbox})
            # The holder may have looked for the mark before we made it, and be gone by now.
            lease = RenewingLease.acquire(leases, mailbox)
        return lease

    def _drain(self, settings: MailboxSettings, poll: Poll, lease: RenewingLease) -> DrainStats | None:
        began = time.monotonic()
        try:
            health = self.health.record_contact(settings, poll.reason)
            assert health.first_contact is not None
            with self._remembering(settings, health), self.connect(settings) as mailbox:
                drained = self.intake.run(
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
            pause = self.health.record_busy(settings, error)
            _log.info("mailbox %s: its server is busy, next try in %d s: %s", settings.name, pause, error)
            if settings.protocol is MailProtocol.GRAPH and poll.retries < MAX_RETRIES:
                # While Graph notifies us the clock takes its time, and would come back much later than was asked.
                again = Poll(poll.mailbox, PollReason.FOLLOW_UP, poll.retries + 1, poll.traceparent)
                self.intake.storage.queues[QueueName.POLLS].put_many([again.to_json()], delay=pause + 1)
        except (MailboxError, ConfigurationError) as error:
            tracing.failed(error)
            self.health.record_failure(settings, error)
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001  the last line: a fault of ours must not repeat five times a second
            _log.exception("mailbox %s: a fault in Mailroom itself", settings.name)
            tracing.failed(error)
            self.health.record_failure(settings, MailboxError(f"a fault in Mailroom itself: {type(error).__name__}"))
        else:
            self.health.record_success(
                settings,
                collected=drained.collected,
                left=drained.skipped,
                began=health.last_poll,
                warnings=drained.warnings,
                # A folder that was not listed for lack of time is not settled either.
                uncertain=drained.uncertain or (health.unsettled and drained.more),
            )
            _log.info(
                "mailbox %s: %d collected (%d octets), %d known before, %d removed, %d left%s",
                settings.name,
                drained.collected,
                drained.stored_bytes,
                drained.known,
                drained.removed,
                drained.skipped,
                "; the time is up, another look follows" if drained.more else "",
            )
            return drained
        finally:
            metrics.drain_seconds.record(time.monotonic() - began, {"mailbox": settings.name})
        return None

    @contextmanager
    def _remembering(self, settings: MailboxSettings, health: MailboxHealth) -> Iterator[None]:
        """Give the POP3 client what an earlier process learned about its server, and keep what this one learns."""
        if settings.protocol is not MailProtocol.POP3:
            yield
            return
        server = RECORDS.record(settings)
        # Other sign-in settings may name another server, and the host is among them.
        if health.fingerprint == settings.sign_in_fingerprint:
            server.no_pipelining = server.no_pipelining or health.no_pipelining
        try:
            yield
        finally:
            if server.no_pipelining != health.no_pipelining:
                self.health.remember_pipelining(settings, server.no_pipelining)

    def _go_on(self, settings: MailboxSettings, poll: Poll, drained: DrainStats | None) -> None:
        """Enqueue the next look if mail is left, if somebody asked while we held the lease, or if we came too early."""
        stores = self.intake.storage
        key = _again_key(poll.mailbox)
        asked = stores.records.get(Table.MAILBOXES, key) is not None
        if asked:
            stores.records.delete_many(Table.MAILBOXES, [key])
        polls = stores.queues[QueueName.POLLS]
        notified = settings.protocol is MailProtocol.GRAPH
        if asked or (drained is not None and drained.more):
            again = Poll(poll.mailbox, PollReason.FOLLOW_UP, traceparent=poll.traceparent)
            early = notified and not (drained is not None and drained.more)
            polls.put_many([again.to_json()], delay=NOTIFIED_SPACING if early else 0)
        elif notified and drained is not None and poll.reason in (PollReason.NOTIFIED, PollReason.FOLLOW_UP):
            nothing = not (drained.collected or drained.known)
            if nothing or drained.gone:
                asked_at = self.now() + timedelta(seconds=RECHECK_DELAY / 2)
                repeat = Poll(poll.mailbox, PollReason.RECHECK, traceparent=poll.traceparent, requested_at=asked_at)
                polls.put_many([repeat.to_json()], delay=RECHECK_DELAY)

    def _note_unavailable(self, settings: MailboxSettings, error: TransientError) -> None:
        """Show in `status` that a service does not answer, if the storage can be written.

        Losing the lease or a conditional write says nothing about the mailbox.
        """
        if isinstance(error, ServiceUnavailable):
            with suppress(TransientError):
                self.health.record_unavailable(settings, error)

    def _put_back(self, poll: Poll, error: TransientError) -> None:
        tracing.failed(error)
        metrics.failure(error, "mailbox")
        if poll.retries >= MAX_RETRIES:
            _log.warning("mailbox %s: the next tick of the clock looks at it: %s", poll.mailbox, error)
            return
        pause = service_backoff(error, poll.retries)
        _log.warning("mailbox %s: another look in %d s: %s", poll.mailbox, pause, error)
        # Not for its own reason: the mailbox was looked at just now, in vain.
        reason = PollReason.MANUAL if poll.reason is PollReason.MANUAL else PollReason.FOLLOW_UP
        again = Poll(poll.mailbox, reason, poll.retries + 1, poll.traceparent)
        try:
            self.intake.storage.queues[QueueName.POLLS].put_many([again.to_json()], delay=pause)
        except TransientError as second:
            _log.warning("mailbox %s: the next tick of the clock looks at it instead: %s", poll.mailbox, second)


def _again_key(mailbox: str) -> str:
    return digest("again", mailbox)
