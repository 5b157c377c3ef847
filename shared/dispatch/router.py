"""The router: routes the stored messages of a route request, and handles failures.

It is the idempotent consumer of the outbox. To route the same arrival twice, one after the other or at once, leaves
what routing it once leaves. A replay takes the same steps: existing results are kept, even if a consumer deleted them
from storage since. Only recipients that the current routes add receive a result.

A route request names up to 16 arrivals. They are routed together, in the phases of docs/explanation/receipts.md,
"Dispatch": each phase is run for all arrivals before the next one. An arrival that fails leaves the batch at its phase.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Final, TypeVar

from shared.clock import Now, utc_now
from shared.dispatch import failures
from shared.dispatch.attempt import RoutingAttempt
from shared.dispatch.outbox import OutboxEntry, read_entries, republish_overdue
from shared.dispatch.routing_input import Conversations
from shared.documents.schema import Outcome
from shared.errors import ServiceUnavailable, TransientError
from shared.mailboxes.spool import MEMORY_LIMIT
from shared.mime.parser import Message
from shared.observability import tracing
from shared.observability.rate_limited_log import RateLimitedLog
from shared.parallel import run_each
from shared.queue_messages import RouteRequest
from shared.receipt_index import ReceiptIndex
from shared.receipt_index_folding import fold
from shared.routing.route_table import RouteTable
from shared.storage.base import Change, NewBlob, Storage, Table
from shared.storage.transactions import MAX_TRANSACTION, pack_transactions

SWEEP_AGE = timedelta(hours=1)
"""How long a route request may be in the outbox before it is published again."""

MAX_SUMMARISED: Final = 1000
"""Messages after which the summary is logged."""

SUMMARY_SECONDS: Final = 300.0
"""Seconds after which the next message logs the summary. `sweep` logs it as well, if it runs in the same process."""

_log = logging.getLogger("mailroom.dispatch")

Item = TypeVar("Item")
Result = TypeVar("Result")


class OutcomeSummary:
    """Counts the outcomes of routed messages, in all threads of the process, until the next line.

    Args:
        max_messages: messages after which the line is logged.
        monotonic: returns the time in seconds, like `time.monotonic`.
    """

    def __init__(self, max_messages: int = MAX_SUMMARISED, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._max_messages = max_messages
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._began = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count a message, and log the summary if it is due."""
        with self._lock:
            if not self._outcomes:
                self._began = self._monotonic()
            self._outcomes[outcome] += 1
            is_due = self._outcomes.total() >= self._max_messages or self._monotonic() - self._began >= SUMMARY_SECONDS
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Log the summary, if any message was counted since the last one."""
        with self._lock:
            outcomes, self._outcomes = self._outcomes, Counter()
        if outcomes:
            counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
            _log.info("outcomes of %d messages: %s", outcomes.total(), counts)


@dataclass(frozen=True, slots=True)
class MessageRouter:
    """Routes stored messages.

    Attributes:
        storage: where arrivals are stored and results are written.
        route_table_for: returns a mailbox's routes; None while its settings or routes are invalid: its mail waits.
        parse: parses a message; never raises.
        now: returns the current time.
        executor: runs storage operations of several arrivals at once; None: one after the other.
        summary: counts the outcomes, and logs one line for many messages.
        transient_errors: counts the transient errors, of which one a minute is logged at level WARNING.
    """

    storage: Storage
    route_table_for: Callable[[str], RouteTable | None]
    parse: Callable[..., Message]
    now: Now = utc_now
    executor: Executor | None = None
    summary: OutcomeSummary = field(default_factory=OutcomeSummary)
    transient_errors: RateLimitedLog = field(default_factory=RateLimitedLog)

    def route(self, request: RouteRequest, *, tried: bool = False) -> list[Outcome]:
        """Route the stored messages of a route request: match their recipients, then write each recipient's result.

        An arrival of a batch that fails is requeued alone, with five tries of its own. So is each arrival of a batch
        that is delivered a second time: a worker may have died of one of its messages.

        Args:
            request: the route request.
            tried: whether the request was delivered before.

        Returns:
            The outcome of each arrival that was routed.

        Raises:
            MessageMissing: the request names one arrival, whose receipt or raw bytes do not exist.
            TransientError: a service is unavailable; no attempt is counted against the message.
        """
        entries = read_entries(self.storage.records, request)
        if tried and len(entries) > 1:
            failures.requeue_each(self.storage, request, entries)
            return []
        outcomes = []
        for batch in _batches(entries):
            outcomes += self._route_batch(request, batch, tried=tried or request.retries > 0, alone=len(entries) == 1)
        return outcomes

    def _route_batch(
        self, request: RouteRequest, entries: Sequence[OutboxEntry], *, tried: bool, alone: bool
    ) -> list[Outcome]:
        """Route arrivals together.

        Args:
            request: the route request.
            entries: the arrivals' entries.
            tried: whether an earlier attempt may have been made.
            alone: whether the request names no other arrival, so that an error is raised.
        """
        attempts = [self._attempt(entry, tried=tried) for entry in entries]
        try:
            self._read(attempts)
            self._decide(attempts)
            self._claim(attempts)
            self._write(attempts)
            self._conclude(attempts)
        finally:
            for attempt in attempts:
                attempt.close()
        failed = [(attempt.entry, attempt.error) for attempt in attempts if attempt.error is not None]
        if failed and alone:
            raise failed[0][1]
        if failed:
            failures.requeue_failed(self.storage, request, failed, self.transient_errors, self.now())
        outcomes = [attempt.plan.outcome for attempt in attempts if attempt.is_concluded]
        for outcome in outcomes:
            self.summary.add(outcome)
        return outcomes

    def _attempt(self, entry: OutboxEntry, *, tried: bool) -> RoutingAttempt:
        trace = tracing.MessageTrace.start(entry.traceparent, arrival=entry.arrival)
        return RoutingAttempt(self.storage, self.now, entry, tried, trace)

    def _read(self, attempts: Sequence[RoutingAttempt]) -> None:
        """Read receipts and raw bytes."""
        self._each(attempts, RoutingAttempt.read)

    def _decide(self, attempts: Sequence[RoutingAttempt]) -> None:
        """Parse the messages, and match their recipients. No I/O, apart from routes that changed."""

        def decide(attempt: RoutingAttempt) -> None:
            attempt.decide(self._route_table(attempt.receipt.mailbox), self.parse)

        for attempt in attempts:
            self._run(attempt, decide)

    def _claim(self, attempts: Sequence[RoutingAttempt]) -> None:
        """Claim the recipients."""
        expected = {id(attempt): attempt.expected_claims() for attempt in _live(attempts)}
        self._together(
            attempts, lambda attempt: expected[id(attempt)], RoutingAttempt.accept_claims, RoutingAttempt.claim
        )

    def _write(self, attempts: Sequence[RoutingAttempt]) -> None:
        """Write the messages, then the results, then the records.

        All are durable before a receipt says that its message is routed. A conversation begins after a claim or a
        record: by these, an erasure finds the message of an attempt that died.
        """
        for attempt in attempts:
            self._run(attempt, RoutingAttempt.make_plan)
        self._create_blobs(attempts, RoutingAttempt.message_blobs, RoutingAttempt.accept_message)
        for attempt in attempts:
            self._run(attempt, RoutingAttempt.write_rest)
        self._flush(attempts)
        self._join_conversations([attempt for attempt in _live(attempts) if attempt.plan.results])
        self._create_blobs(attempts, RoutingAttempt.result_blobs, RoutingAttempt.accept_results)
        self._each([attempt for attempt in _live(attempts) if attempt.plan.records], RoutingAttempt.write_records)
        self._flush(attempts)

    def _conclude(self, attempts: Sequence[RoutingAttempt]) -> None:
        """Write the receipts and delete the outbox entries. Only then does the host delete the route request."""
        routed = [attempt for attempt in attempts if attempt.membership is not None]
        self._register_conversations(routed)
        others = [attempt for attempt in _live(attempts) if attempt not in routed]
        self._join_conversations(others)
        self._register_conversations(others)
        self._each([attempt for attempt in attempts if attempt.is_replay], RoutingAttempt.resolve_records)
        self._together(
            attempts, RoutingAttempt.conclusion, RoutingAttempt.accept_conclusion, RoutingAttempt.conclude_alone
        )

    def _join_conversations(self, attempts: Sequence[RoutingAttempt]) -> None:
        """Find the messages' conversations.

        Most messages refer to no other one. They begin their conversations first, since the others may be replies to
        them. A later message finds the entries of the earlier ones, which are created after the results.
        """
        entries = {id(attempt): self._run(attempt, RoutingAttempt.expected_entry) or () for attempt in _live(attempts)}
        first = [attempt for attempt in _live(attempts) if entries[id(attempt)]]
        others = [attempt for attempt in _live(attempts) if attempt not in first]
        self._together(
            first,
            lambda attempt: entries[id(attempt)],
            RoutingAttempt.begin_conversation,
            RoutingAttempt.join_conversation,
        )
        try:
            keys = (key for attempt in others for key in attempt.conversation_keys())
            existing = Conversations(self.storage.records).read(keys)
        except Exception as error:  # noqa: BLE001  each attempt reports it
            for attempt in others:
                attempt.error = error
        for attempt in others:
            self._run(attempt, lambda attempt: attempt.join_existing(existing))

    def _register_conversations(self, attempts: Iterable[RoutingAttempt]) -> None:
        """Create the entries that are missing. Most messages have one entry, which they created to join."""
        incomplete = [attempt for attempt in attempts if attempt.membership is not None and attempt.membership.missing]
        self._each(incomplete, RoutingAttempt.register_conversation)

    def _together(
        self,
        attempts: Iterable[RoutingAttempt],
        changes_of: Callable[[RoutingAttempt], Sequence[Change]],
        accept: Callable[[RoutingAttempt], None],
        alone: Callable[[RoutingAttempt], None],
    ) -> None:
        """Make the changes of several attempts in one transaction, or else those of each attempt alone.

        Args:
            attempts: the attempts.
            changes_of: returns an attempt's changes; empty: it is run alone.
            accept: called for each attempt whose changes were made.
            alone: called for each attempt whose changes were not made, since records are not as they require.
        """
        changes = {id(attempt): self._run(attempt, changes_of) or () for attempt in _live(attempts)}
        together, singly = _without_conflicts([attempt for attempt in attempts if id(attempt) in changes], changes)
        singly = [attempt for attempt in singly if attempt.error is None]

        def commit_alone(attempt: RoutingAttempt) -> None:
            if changes[id(attempt)] and self.storage.records.commit(changes[id(attempt)]):
                accept(attempt)
            else:
                alone(attempt)

        attempt_of = {id(changes[id(attempt)]): attempt for attempt in together}
        for groups in pack_transactions(changes[id(attempt)] for attempt in together):
            batch = [attempt_of[id(group)] for group in groups]
            if len(batch) > 1 and self._commit(batch, [change for group in groups for change in group]):
                for attempt in batch:
                    self._run(attempt, accept)
            else:
                singly += batch
        self._each(singly, commit_alone)

    def _commit(self, attempts: Sequence[RoutingAttempt], changes: Sequence[Change]) -> bool:
        """Make the changes of several attempts. If storage fails, so do the attempts."""
        try:
            return self.storage.records.commit(changes)
        except Exception as error:  # noqa: BLE001  each attempt reports it
            for attempt in attempts:
                attempt.error = error
            return False

    def _create_blobs(
        self,
        attempts: Iterable[RoutingAttempt],
        blobs_of: Callable[[RoutingAttempt], Sequence[NewBlob]],
        accept: Callable[[RoutingAttempt, Sequence[bool]], None],
    ) -> None:
        """Create the blobs of several attempts together.

        If storage is unavailable, all of these attempts fail. After another error, which may be due to one blob, each
        attempt creates its own.

        Args:
            attempts: the attempts.
            blobs_of: returns an attempt's blobs.
            accept: called for each attempt, with which of its blobs were created.
        """
        live = _live(attempts)
        blobs = {id(attempt): self._run(attempt, blobs_of) or () for attempt in live}
        writing = [attempt for attempt in live if blobs[id(attempt)]]

        def create_alone(attempt: RoutingAttempt) -> None:
            accept(attempt, self.storage.blobs.create_many(blobs[id(attempt)]))

        try:
            created = iter(self.storage.blobs.create_many([blob for attempt in writing for blob in blobs[id(attempt)]]))
        except TransientError as error:
            for attempt in writing:
                attempt.error = error
        except Exception:  # noqa: BLE001  raised again for the attempt that it concerns
            self._each(writing, create_alone)
        else:
            are_new = {id(attempt): list(islice(created, len(blobs[id(attempt)]))) for attempt in writing}
            for attempt in writing:
                self._run(attempt, lambda attempt: accept(attempt, are_new[id(attempt)]))

    def _flush(self, attempts: Sequence[RoutingAttempt]) -> None:
        """Make all blobs durable that were written."""
        live = _live(attempts)
        if not live:
            return
        try:
            self.storage.blobs.flush()
        except Exception as error:  # noqa: BLE001  each attempt reports it
            for attempt in live:
                attempt.error = error

    def _each(self, attempts: Iterable[RoutingAttempt], phase: Callable[[RoutingAttempt], None]) -> None:
        """Run a phase for each attempt that has not failed, several at once."""
        self._map(lambda attempt: self._run(attempt, phase), _live(attempts))

    def _map(self, function: Callable[[Item], object], items: Sequence[Item]) -> None:
        if self.executor is None:
            for item in items:
                function(item)
        else:
            run_each(self.executor, self.storage.parallel, function, items)

    def _run(self, attempt: RoutingAttempt, phase: Callable[[RoutingAttempt], Result]) -> Result | None:
        """Run a phase of an attempt. An error ends the attempt, and no other one."""
        if attempt.error is not None or attempt.is_done:
            return None
        with attempt.trace.active():
            try:
                return phase(attempt)
            except Exception as error:  # noqa: BLE001  the request's end reports it
                tracing.failed(error)
                attempt.error = error
                return None

    def _route_table(self, mailbox: str) -> RouteTable:
        table = self.route_table_for(mailbox)
        if table is None:
            raise ServiceUnavailable(
                f"mailbox {mailbox}: its settings or routes are invalid; its mail is routed once they are corrected "
                "(`mailroom check` lists the errors)",
                retry_after=300,
            )
        return table

    def requeue(self, request: RouteRequest, error: TransientError) -> None:
        """Publish a route request again, with backoff, after a transient error.

        Raises:
            TransientError: the queue is unavailable as well; the host's own retry applies.
        """
        failures.requeue(self.storage, request, error, self.transient_errors, self.now())

    def record_error(self, request: RouteRequest, error: Exception) -> None:
        """Record in the receipts why an attempt failed, for the dead letter that the last attempt leaves."""
        for entry in read_entries(self.storage.records, request):
            failures.record_error(self.storage, entry.arrival, error)

    def dead_letter(self, request: RouteRequest) -> list[str]:
        """Record the arrivals that five attempts could not route (rule 8.4). Return the paths of their records."""
        paths = [
            failures.dead_letter(self.storage, entry, request.retries, self.now())
            for entry in read_entries(self.storage.records, request)
        ]
        return [path for path in paths if path is not None]

    def sweep(self, older_than: timedelta = SWEEP_AGE) -> int:
        """Publish again the route requests that have been in the outbox for too long. Return how many there were.

        It also logs the summary of the outcomes, and folds the index of the receipts: the timer calls it every few
        minutes.
        """
        self.summary.flush()
        republished = republish_overdue(self.storage, older_than, self.now())
        if ReceiptIndex(self.storage.records).is_needed:
            fold(self.storage.records, self.now())
        return republished


def _live(attempts: Iterable[RoutingAttempt]) -> list[RoutingAttempt]:
    """Return the attempts that have not failed and are not done."""
    return [attempt for attempt in attempts if attempt.error is None and not attempt.is_done]


def _batches(entries: Sequence[OutboxEntry]) -> Iterator[Sequence[OutboxEntry]]:
    """Yield the entries that are routed together: those of small messages, and each large message alone.

    A large message, or one of unknown size, reserves space on the disk. Two workers that each hold a part and wait for
    another part would wait for ever.
    """
    small = [entry for entry in entries if 0 < entry.size <= MEMORY_LIMIT]
    if small:
        yield small
    yield from ([entry] for entry in entries if entry not in small)


def _without_conflicts(
    attempts: Sequence[RoutingAttempt], changes: Mapping[int, Sequence[Change]]
) -> tuple[list[RoutingAttempt], list[RoutingAttempt]]:
    """Divide attempts into those whose changes fit into one transaction with others, and the remaining ones.

    Two attempts may change the same record: copies of one message in one batch. The first one takes part.
    """
    together: list[RoutingAttempt] = []
    singly: list[RoutingAttempt] = []
    taken: set[tuple[Table, str]] = set()
    for attempt in attempts:
        own = {(change.table, change.key) for change in changes[id(attempt)]}
        if own and len(own) <= MAX_TRANSACTION and not own & taken:
            taken |= own
            together.append(attempt)
        else:
            singly.append(attempt)
    return together, singly
