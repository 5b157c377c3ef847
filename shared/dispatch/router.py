"""The router: routes a stored message in the steps of docs/explanation/receipts.md, "Dispatch", and handles failures.

It is the idempotent consumer of the outbox. To route the same arrival twice, one after the other or at once, leaves
what routing it once leaves. A replay takes the same steps: existing results are kept, even if a consumer deleted them
from storage since. Only recipients that the current routes add receive a result.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, Literal

from shared.clock import Now, utc_now
from shared.dispatch import failures
from shared.dispatch.artifacts import roll_back
from shared.dispatch.claims import Claim
from shared.dispatch.deduplication import Claims, unfinished_matches
from shared.dispatch.outbox import republish_overdue
from shared.dispatch.record_resolution import mark_resolved, resolve_outdated_records
from shared.dispatch.routing_input import (
    Conversations,
    Membership,
    envelope_hints,
    open_raw,
    thread_references,
    to_routing_input,
    visible_content,
)
from shared.documents.blob_paths import RecordKind, is_result_for, reissued_result_path, result_path, route_of_result
from shared.documents.schema import Duplicate, Outcome
from shared.documents.writer import DocumentWriter
from shared.errors import (
    MessageMissing,
    ServiceUnavailable,
    TransientError,
    WriteConflict,
)
from shared.mime.parser import Message
from shared.observability import log_context, metrics, tracing
from shared.observability.log_context import short_id
from shared.observability.rate_limited_log import RateLimitedLog
from shared.queue_messages import RouteRequest
from shared.receipts import ROUTABLE_STATES, TRUNCATED, Receipt, State, results_by_recipient, search_columns
from shared.routing.decision import decide
from shared.routing.fingerprints import Fingerprint, VisibleContent, fingerprints
from shared.routing.model import Decision, Match, Unhandled
from shared.routing.route_table import RouteTable
from shared.storage.base import Record, Storage, Table, Values

SWEEP_AGE = timedelta(hours=1)
"""How long a route request may be in the outbox before it is published again."""

MAX_OUTCOME_LENGTH = 100_000
"""Characters of outcomes in a receipt; beyond it, only the number of outcomes is kept. A table entity holds 1 MiB."""

MAX_RECEIPT_WRITES = 5
"""Attempts to write a receipt that another worker changes between our reading and our writing."""

MAX_SUMMARISED: Final = 1000
"""Messages after which the summary is logged."""

SUMMARY_SECONDS: Final = 300.0
"""Seconds after which the next message logs the summary. `sweep` logs it as well, if it runs in the same process."""

RouteStatus = Outcome | Literal["already-processed", "failed"]

_log = logging.getLogger("mailroom.dispatch")


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
        summary: counts the outcomes, and logs one line for many messages.
        transient_errors: counts the transient errors, of which one a minute is logged at level WARNING.
    """

    storage: Storage
    route_table_for: Callable[[str], RouteTable | None]
    parse: Callable[..., Message]
    now: Now = utc_now
    summary: OutcomeSummary = field(default_factory=OutcomeSummary)
    transient_errors: RateLimitedLog = field(default_factory=RateLimitedLog)

    def route(self, request: RouteRequest, *, tried: bool = False) -> RouteStatus:
        """Route a stored message: match its recipients, then write each recipient's result.

        Args:
            request: the route request.
            tried: whether the request was delivered before.

        Raises:
            MessageMissing: the receipt or the raw bytes do not exist.
            TransientError: a service is unavailable; no attempt is counted against the message.
        """
        record = self._read_receipt(request)
        receipt = Receipt.from_record(record)
        with tracing.set_attributes(mailbox=receipt.mailbox, message=receipt.message):
            status = self._finish_if_processed(request, receipt)
            if status is not None:
                return status
            table = self._route_table(receipt.mailbox)
            with open_raw(self.storage.blobs, receipt.message, size=receipt.size) as data:
                message = self.parse(data)
                decision = decide(to_routing_input(message, receipt.folder, table.trust_policy), table)
                tried = tried or request.retries > 0
                attempt = RoutingAttempt(self.storage, self.now, record, request, message, decision, table, tried)
                attempt.claim()
                outcome, true_kinds = attempt.write()
                attempt.conclude(outcome, true_kinds)
        self.summary.add(outcome)
        return outcome

    def _read_receipt(self, request: RouteRequest) -> Record:
        record = self.storage.records.get(Table.RECEIPTS, request.arrival)
        if record is None:
            raise MessageMissing(f"arrival {short_id(request.arrival)} has a route request and no receipt")
        return record

    def _finish_if_processed(self, request: RouteRequest, receipt: Receipt) -> RouteStatus | None:
        """Finish a request whose arrival need not be routed, and return its status; None if it must be routed."""
        is_replay = request.replay is not None
        if receipt.state is State.FAILED and not is_replay:
            self.dead_letter(request)  # An earlier worker may have died before it wrote the record.
            return "failed"
        if receipt.state is State.ERASED:
            roll_back(self.storage, receipt)  # An earlier worker may have written results and died.
        if receipt.state is State.STORED or (is_replay and receipt.state in ROUTABLE_STATES):
            return None
        self.storage.records.delete_many(Table.OUTBOX, [request.outbox_key])
        return "already-processed"

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
        """Record in the receipt why an attempt failed, for the dead letter that the last attempt leaves."""
        failures.record_error(self.storage, request, error)

    def dead_letter(self, request: RouteRequest) -> str | None:
        """Record an arrival that five attempts could not route (rule 8.4). Return the record's path, if any."""
        return failures.dead_letter(self.storage, request, self.now())

    def sweep(self, older_than: timedelta = SWEEP_AGE) -> int:
        """Publish again the route requests that have been in the outbox for too long. Return how many there were.

        It also logs the summary of the outcomes: the timer calls it every few minutes.
        """
        self.summary.flush()
        return republish_overdue(self.storage, older_than, self.now())


@dataclass(slots=True)
class RoutingAttempt:
    """One attempt to route one arrival by a decision: it claims, writes and concludes, in this order.

    Attributes:
        storage: where results are written.
        now: returns the current time.
        record: the arrival's receipt, as read before the decision.
        request: the route request.
        message: the parsed message.
        decision: the matches by the current routes.
        table: the current routes, with the trust policy and limits of the mailbox.
        tried: whether an earlier attempt may have claimed recipients and died before it wrote their results.
    """

    storage: Storage
    now: Now
    record: Record
    request: RouteRequest
    message: Message
    decision: Decision
    table: RouteTable
    tried: bool = False
    receipt: Receipt = field(init=False)
    _content: VisibleContent = field(init=False)
    _fingerprints: tuple[Fingerprint, ...] = field(init=False)
    _claims: Claims = field(init=False)
    _membership: Membership | None = field(default=None, init=False)
    _claimed: list[tuple[Match, Claim | None]] = field(default_factory=list, init=False)
    _outcomes: dict[str, str] = field(default_factory=dict, init=False)
    _duplicates: list[Duplicate] = field(default_factory=list, init=False)
    _routes: list[str] = field(default_factory=list, init=False)
    _unserved: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Start with the existing results: none at the first attempt."""
        self.receipt = Receipt.from_record(self.record)
        self._content = visible_content(self.message, self.table.trust_policy)
        self._fingerprints = fingerprints(self.receipt.message, self._content)
        self._claims = Claims(self.storage.records, self.receipt, self.storage.blobs)
        self._unserved = int(str(self.record.values.get("unserved", 0)))
        if self._was_routed:
            self._outcomes = {recipient: f"routed {path}" for recipient, path in self.receipt.results().items()}

    def claim(self) -> None:
        """Claim the matches' recipients, then those that an earlier attempt claimed. Take only missing claims."""
        self._claim_matches([match for match in self.decision.matches if self._is_requested(match)])
        if self.tried or self._is_replay:
            hints = envelope_hints(self.message, self.table.trust_policy)
            unfinished = unfinished_matches(self._claims, self._fingerprints, self.decision, self._content, hints)
            self._claim_matches([match for match in unfinished if not self._is_finished(match.recipient)])

    def _claim_matches(self, matches: Sequence[Match]) -> None:
        """Claim the recipients of matches that have no result yet."""
        receipt = self.receipt
        paths = {
            match.recipient: result_path(match.route, receipt.stored_at, receipt.message, match.recipient)
            for match in matches
            if match.recipient not in self._outcomes
        }
        claims = self._claims.claim(self._fingerprints, paths) if paths else {}
        self._claimed += [(match, claims.get(match.recipient)) for match in matches]

    def write(self) -> tuple[Outcome, set[RecordKind]]:
        """Write results and records. Return the outcome and the kinds of record that are true.

        All are durable before the receipt says that the message is routed. A conversation begins after a claim or a
        record: by these, an erasure finds the message of an attempt that died.
        """
        if any(self._writes_result(match, claim) for match, claim in self._claimed):
            self._membership = self._join_conversation()
        documents = DocumentWriter(
            self.storage.blobs,
            self.receipt,
            self.message,
            self._membership.conversation if self._membership is not None else "",
            envelope_hints(self.message, self.table.trust_policy),
            # An earlier attempt may have left a record by other routes.
            overwrites_records=self._is_replay or self.tried,
            max_attachments=self.table.max_attachments,
            unserved=self.decision.unserved,
        )
        for match, claim in self._claimed:
            self._write_result(match, claim, documents)
        outcome, true_kinds = self._write_records(documents)
        self.storage.blobs.flush()
        return outcome, true_kinds

    def conclude(self, outcome: Outcome, true_kinds: Collection[RecordKind]) -> None:
        """Write the receipt, then delete the outbox entry. Only then does the host delete the route request.

        Raises:
            WriteConflict: another replay of this arrival ended meanwhile; the message must be routed again.
        """
        membership = self._membership or self._join_conversation()
        Conversations(self.storage.records).register(membership)
        if self._is_replay:
            self._resolve_records(outcome, true_kinds)
        is_final = self._write_receipt(self._receipt_values(outcome, membership.conversation))
        self.storage.records.delete_many(Table.OUTBOX, {self.receipt.arrival, self.request.outbox_key})
        if is_final:
            self._count(outcome)
        self._log(outcome)

    def _join_conversation(self) -> Membership:
        """Return the message's conversation. A replay keeps it, and creates the entries that are missing."""
        thread = thread_references(self.message, self.decision, by_tag_alone=self.table.trust_policy.by_tag_alone)
        if self.receipt.conversation:
            return Membership(self.receipt.conversation, thread.to_rows(self.receipt.conversation))
        return Conversations(self.storage.records).join(thread, self.receipt.message)

    def _writes_result(self, match: Match, claim: Claim | None) -> bool:
        """Return whether a match has a result to write, and is not a duplicate."""
        if claim is None:
            return is_result_for(self._reissued, match.recipient)
        # A wildcard's copy may be a duplicate of this same arrival, which named a recipient at an earlier attempt.
        return (claim.owner, claim.result_recipient) == (self.receipt.arrival, match.recipient)

    def _write_result(self, match: Match, claim: Claim | None, documents: DocumentWriter) -> None:
        """Write a recipient's result, or note the duplicate.

        Args:
            match: the recipient and its route.
            claim: the claim that decides; None: the recipient has a result.
            documents: the writer of the documents.
        """
        recipient, receipt = match.recipient, self.receipt
        if claim is not None:
            if not self._writes_result(match, claim):
                self._duplicates.append(claim.to_duplicate(recipient, match.route))
                self._outcomes[recipient] = f"duplicate {claim.owner}"
                return
            # An earlier attempt may have claimed the recipient under another route, which the claim's path names.
            claimed = replace(match, route=route_of_result(claim.result))
            different = [other.to_reference() for other in claim.different]
            documents.write_result(claimed, claim.result, different=different)
            self._routes.append(claimed.route)
            self._outcomes[recipient] = f"routed {claim.result}"
        replay = self.request.replay
        if replay is not None and replay.reissue and is_result_for(replay.record, recipient):
            reissue = replay.reissue + replay.record
            path = reissued_result_path(match.route, receipt.stored_at, receipt.message, recipient, reissue)
            path = self._claims.claim_replacement(reissue, recipient, path)
            different = [other.to_reference() for other in self._claims.different(self._fingerprints, recipient)]
            documents.write_result(match, path, replaces=replay.record, different=different)
            self._routes.append(match.route)
            self._outcomes[recipient] = f"routed {path}"

    def _write_records(self, documents: DocumentWriter) -> tuple[Outcome, set[RecordKind]]:
        """Write the records. Return the outcome and the kinds of record that are true."""
        decision, previous_outcome = self.decision, self.record.values.get("outcome")
        no_recipient = not any(map(self._is_requested, decision.matches))
        if (no_recipient or self._reissued) and self._was_routed and previous_outcome in ("routed", "duplicate"):
            # The current routes match no recipient, or the replay is about another recipient. Existing results are
            # kept, and the arrival does not become unhandled.
            previous_kinds = {text.partition(" ")[0] for text in self.receipt.outcomes.values()}
            if self._duplicates and "duplicate" not in previous_kinds:
                documents.write_duplicates(self._duplicates)
            self._outcomes = {**self.receipt.outcomes, **self._outcomes}
            has_result = previous_outcome == "routed" or results_by_recipient(self._outcomes)
            return "routed" if has_result else "duplicate", {"unhandled", "duplicates", "blocked"}
        if not self._outcomes and decision.blocked_by is not None:
            documents.write_blocked(decision.blocked_by)
            self._outcomes["*"] = f"blocked {decision.blocked_by}"
            return "blocked", {"blocked"}
        if not self._outcomes and decision.unhandled is not None:
            documents.write_unhandled(decision)
            self._outcomes["*"] = f"unhandled {decision.unhandled}"
            return "unhandled", {"unhandled"}
        true_kinds: set[RecordKind] = set()
        if self._duplicates:
            true_kinds = {"duplicates"}
            documents.write_duplicates(self._duplicates)
        self._unserved = len(decision.unserved)
        if decision.unserved:
            true_kinds.add("unhandled")
            documents.write_unserved(decision.unserved)
        return "routed" if results_by_recipient(self._outcomes) else "duplicate", true_kinds

    def _resolve_records(self, outcome: Outcome, true_kinds: Collection[RecordKind]) -> None:
        """Mark the records that this replay made untrue as resolved."""
        results = list(results_by_recipient(self._outcomes).values())
        mark_resolved(
            self.storage.blobs, self.receipt, except_kinds=true_kinds, at=self.now(), outcome=outcome, results=results
        )

    def _receipt_values(self, outcome: Outcome, conversation: str) -> Values:
        content = self._content
        return {
            "state": State.ROUTED.value,
            "outcome": outcome,
            "conversation": conversation,
            "outcomes": _outcomes_json(self._outcomes),
            "routed_at": self.now(),
            "last_error": "",
            "unserved": self._unserved,
            **search_columns(
                content.senders,
                (*content.to, *content.cc),
                content.message_id,
                subject=content.subject,
                sent=content.sent,
            ),
        }

    def _write_receipt(self, values: Values) -> bool:
        """Write the receipt. Return False if another worker finished this arrival since we read it, or it was erased.

        The write is conditional on the etag. After a conflict, the receipt's new state decides.
        """
        records, latest, was_dead_lettered = self.storage.records, self.record, False
        for _ in range(MAX_RECEIPT_WRITES):
            try:
                records.merge(Table.RECEIPTS, latest.key, values, etag=latest.etag)
            except WriteConflict:
                changed = records.get(Table.RECEIPTS, latest.key)
                if changed is None:
                    raise
                state = State(str(changed.values["state"]))
                if state is State.ERASED:
                    routed = replace(self.record, values={**self.record.values, **values})
                    roll_back(self.storage, Receipt.from_record(routed))
                    return False
                if not self._is_replay and state not in (State.STORED, State.FAILED):
                    # Another request for the same arrival, or a replay by other routes, finished first. A record that
                    # we wrote may be untrue.
                    resolve_outdated_records(self.storage, changed, self.now())
                    return False
                if state not in ROUTABLE_STATES or changed.values.get("routed_at") != self.record.values.get(
                    "routed_at"
                ):
                    raise
                # Another property changed: the message was removed from its mailbox, or an attempt's error recorded.
                latest = changed
                was_dead_lettered = was_dead_lettered or (not self._is_replay and state is State.FAILED)
            else:
                if was_dead_lettered:  # By another request for the same arrival: its record is no longer true.
                    routed = replace(latest, values={**latest.values, **values})
                    resolve_outdated_records(self.storage, routed, self.now())
                return True
        raise WriteConflict(f"the receipt of arrival {latest.key} changed at each of {MAX_RECEIPT_WRITES} attempts")

    def _log(self, outcome: Outcome) -> None:
        receipt, routes = self.receipt, ";".join(sorted(set(self._routes)))
        replayed = ", replayed" if self._is_replay else ""
        with log_context.bind(**({"route": routes} if routes else {})):
            _log.debug("message %s of mailbox %s%s: %s", short_id(receipt.message), receipt.mailbox, replayed, outcome)

    def _count(self, outcome: Outcome) -> None:
        """Record the metrics of a message that was routed, and the outcome in its trace."""
        mailbox = {"mailbox": self.receipt.mailbox}
        if outcome != self.receipt.outcome:
            metrics.outcomes.add(1, self.receipt.outcome_change(outcome))
        results_by_route = Counter(self._routes)
        for route, results in results_by_route.items():
            metrics.results.add(results, {**mailbox, "route": route})
        if self._duplicates:
            metrics.duplicates.add(len(self._duplicates), mailbox)
        if outcome == "blocked":
            metrics.blocked.add(1, mailbox)
        unhandled = self.decision.unhandled if outcome == "unhandled" else None
        if self.decision.unserved:
            unhandled = Unhandled.TOO_MANY_RECIPIENTS
        if unhandled is not None:
            metrics.unhandled.add(1, {**mailbox, "reason": unhandled.value})
        if not self._is_replay:  # The age of a replayed message says nothing about the delay of routing.
            age = (self.now() - self.receipt.stored_at).total_seconds()
            metrics.routed_age.record(max(0.0, age), mailbox)
        tracing.annotate(outcome=outcome, route=";".join(sorted(results_by_route)))

    @property
    def _is_replay(self) -> bool:
        return self.request.replay is not None

    @property
    def _was_routed(self) -> bool:
        return self.receipt.state is State.ROUTED

    @property
    def _reissued(self) -> str:
        """The path of the result that a new one is to replace; empty if none is."""
        replay = self.request.replay
        return replay.record if replay is not None and replay.reissue else ""

    def _is_finished(self, recipient: str) -> bool:
        """Return whether the receipt holds a recipient's outcome, so that no earlier attempt left it unfinished."""
        if not self._was_routed:
            return False
        outcome = self.receipt.outcomes.get(recipient, "").partition(" ")[0]
        return bool(self._reissued) or outcome in ("routed", "duplicate") or TRUNCATED in self.receipt.outcomes

    def _is_requested(self, match: Match) -> bool:
        """Return whether a match is to be routed: to reissue one result, only its recipient is.

        An arrival that was not completely routed is routed for all its recipients.
        """
        return not self._reissued or not self._was_routed or is_result_for(self._reissued, match.recipient)


def _outcomes_json(outcomes: Mapping[str, str]) -> str:
    """Return outcomes as JSON of a bounded length, with the number of the others under `TRUNCATED`."""
    kept: dict[str, str] = {}
    room = MAX_OUTCOME_LENGTH
    for recipient, outcome in outcomes.items():
        room -= len(recipient) + len(outcome)
        if room < 0:
            kept[TRUNCATED] = f"and {len(outcomes) - len(kept)} more"
            break
        kept[recipient] = outcome
    return json.dumps(kept, ensure_ascii=False)
