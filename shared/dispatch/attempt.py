"""One attempt to route one arrival.

Its phases are those of docs/explanation/receipts.md, "Dispatch": read, decide, claim, write, conclude. The router runs
each phase for all arrivals of a route request before the next one.
"""

from __future__ import annotations

import json
import logging
import mmap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from shared.clock import Now
from shared.dispatch.artifacts import result_owner, roll_back
from shared.dispatch.claims import Claim
from shared.dispatch.conclusion import Conclusion
from shared.dispatch.deduplication import Claims, unfinished_matches
from shared.dispatch.failures import dead_letter
from shared.dispatch.outbox import OutboxEntry
from shared.dispatch.plan import Replacement, RoutingPlan, is_requested, make_plan
from shared.dispatch.record_resolution import mark_resolved
from shared.dispatch.routing_input import (
    Conversations,
    Membership,
    ThreadReferences,
    envelope_hints,
    open_raw,
    thread_references,
    to_routing_input,
    visible_content,
)
from shared.documents.blob_paths import is_result_for, reissued_result_path, result_path
from shared.documents.writer import DocumentWriter
from shared.errors import MessageMissing
from shared.mime.parser import Message
from shared.observability import log_context, metrics, tracing
from shared.observability.log_context import short_id
from shared.receipts import ROUTABLE_STATES, TRUNCATED, Receipt, State, results_by_recipient, search_columns
from shared.routing.decision import decide
from shared.routing.fingerprints import Fingerprint, VisibleContent, fingerprints
from shared.routing.model import Decision, Match, Unhandled
from shared.routing.route_table import RouteTable
from shared.storage.base import Change, Create, NewBlob, Record, Storage, Table, Values

MAX_OUTCOME_LENGTH: Final = 100_000
"""Characters of outcomes in a receipt; beyond it, only the number of outcomes is kept. A table entity holds 1 MiB."""

_log = logging.getLogger("mailroom.dispatch")


@dataclass(slots=True)
class Routing:
    """What is known of a message once it was read and its recipients are decided.

    Attributes:
        message: the parsed message.
        decision: the matches by the current routes.
        table: the current routes, with the trust policy and limits of the mailbox.
        content: what a reader sees of the message.
        fingerprints: the message's fingerprints, in claim order.
        thread: what the message says about its thread.
        claims: the claims that the arrival takes.
        documents: the writer of its documents.
    """

    message: Message
    decision: Decision
    table: RouteTable
    content: VisibleContent
    fingerprints: tuple[Fingerprint, ...]
    thread: ThreadReferences
    claims: Claims
    documents: DocumentWriter


@dataclass(slots=True, eq=False)
class RoutingAttempt:
    """One attempt to route one arrival.

    Attributes:
        storage: where results are written.
        now: returns the current time.
        entry: the outbox entry.
        tried: whether an earlier attempt may have claimed recipients and died before it wrote their results.
        trace: the attempt's trace.
        record: the receipt as it was read, before the decision.
        routing: the message and its decision.
        claimed: the matches, each with the claim that decides; None: the recipient has a result.
        plan: what is written, and the outcome.
        membership: the membership in a conversation, once it is known.
        is_done: whether there is nothing left to do: the arrival need not be routed, or is concluded.
        is_concluded: whether it was routed, by this attempt or by another one meanwhile.
        error: why the attempt failed. The phases that follow are skipped.
    """

    storage: Storage
    now: Now
    entry: OutboxEntry
    tried: bool
    trace: tracing.MessageTrace
    record: Record = field(init=False)
    routing: Routing = field(init=False)
    claimed: list[tuple[Match, Claim | None]] = field(default_factory=list, init=False)
    plan: RoutingPlan = field(init=False)
    membership: Membership | None = field(default=None, init=False)
    is_done: bool = field(default=False, init=False)
    is_concluded: bool = field(default=False, init=False)
    error: Exception | None = field(default=None, init=False)
    _receipt: Receipt = field(init=False)
    _raw: ExitStack = field(default_factory=ExitStack, init=False)
    _data: bytes | mmap.mmap = field(default=b"", init=False)
    _replacements: dict[str, Replacement] = field(default_factory=dict, init=False)
    _conclusion: Conclusion = field(init=False)

    @property
    def receipt(self) -> Receipt:
        """The arrival's receipt as it was read."""
        return self._receipt

    @property
    def is_replay(self) -> bool:
        """Whether the arrival is routed again, with the current routes."""
        return self.entry.replay is not None

    # Read

    def read(self) -> None:
        """Read the receipt, unless the entry holds it, and open the raw bytes.

        Raises:
            MessageMissing: the receipt or the raw bytes do not exist.
        """
        record = self.entry.receipt or self.storage.records.get(Table.RECEIPTS, self.entry.arrival)
        if record is None:
            raise MessageMissing(f"arrival {short_id(self.entry.arrival)} is to be replayed and has no receipt")
        self.record, self._receipt = record, Receipt.from_record(record)
        self.trace.add(mailbox=self.receipt.mailbox, message=self.receipt.message)
        if self.receipt.state is State.FAILED and not self.is_replay:
            dead_letter(self.storage, self.entry, 0, self.now())  # An earlier worker may have died before the record.
            self.is_done = True
            return
        if self.receipt.state in ROUTABLE_STATES:
            self._data = self._raw.enter_context(
                open_raw(self.storage.blobs, self.receipt.message, size=self.receipt.size)
            )
            return
        if self.receipt.state is State.ERASED:
            roll_back(self.storage, self.receipt)  # An earlier worker may have written results and died.
        self.storage.records.delete_many(Table.OUTBOX, [self.entry.key])
        self.is_done = True

    def close(self) -> None:
        """Release the raw bytes, and end the trace."""
        self._raw.close()
        self.trace.end()

    # Decide

    def decide(self, table: RouteTable, parse: Callable[..., Message]) -> None:
        """Parse the message and match its recipients. No I/O.

        Args:
            table: the mailbox's current routes.
            parse: parses a message; never raises.
        """
        receipt = self.receipt
        message = parse(self._data)
        decision = decide(to_routing_input(message, receipt.folder, table.trust_policy), table)
        content = visible_content(message, table.trust_policy)
        self.routing = Routing(
            message,
            decision,
            table,
            content,
            fingerprints(receipt.message, content),
            thread_references(message, decision, by_tag_alone=table.trust_policy.by_tag_alone),
            Claims(self.storage.records, receipt, self.storage.blobs),
            DocumentWriter(
                self.storage.blobs,
                receipt,
                message,
                hints=envelope_hints(message, table.trust_policy),
                # An earlier attempt may have left a record by other routes.
                overwrites_records=self.is_replay or self.tried,
                max_attachments=table.max_attachments,
                unserved=decision.unserved,
            ),
        )

    # Claim

    def expected_claims(self) -> list[Create]:
        """Return all claims that `claim` takes, as far as none of them exists. Empty if some may exist, or if there are
        more than one transaction can create.

        They can be created in one transaction with those of other arrivals: `accept_claims` follows.
        """
        routing = self.routing
        if self.tried or self.is_replay:
            return []
        return routing.claims.expected(routing.fingerprints, self._paths(routing.decision.matches))

    def accept_claims(self) -> None:
        """Take note that a transaction created the expected claims."""
        routing = self.routing
        matches = routing.decision.matches
        claims = routing.claims.held(routing.fingerprints, self._paths(matches))
        self.claimed = [(match, claims[match.recipient]) for match in matches]

    def claim(self) -> None:
        """Claim the matches' recipients, then those that an earlier attempt claimed. Take only missing claims."""
        routing = self.routing
        replay = self.entry.replay
        self._claim_matches([match for match in routing.decision.matches if is_requested(match, self.receipt, replay)])
        if self.tried or self.is_replay:
            hints = envelope_hints(routing.message, routing.table.trust_policy)
            unfinished = unfinished_matches(
                routing.claims, routing.fingerprints, routing.decision, routing.content, hints
            )
            self._claim_matches([match for match in unfinished if not self._is_finished(match.recipient)])
        if replay is not None and replay.reissue:
            self._claim_replacements(replay.record, replay.reissue)

    def _claim_matches(self, matches: Sequence[Match]) -> None:
        """Claim the recipients of matches that have no result yet."""
        paths = self._paths(matches)
        claims = self.routing.claims.claim(self.routing.fingerprints, paths) if paths else {}
        self.claimed += [(match, claims.get(match.recipient)) for match in matches]

    def _paths(self, matches: Sequence[Match]) -> dict[str, str]:
        """Return the paths that results are to have, by recipient, for the recipients that have no result."""
        receipt = self.receipt
        existing = receipt.results() if receipt.state is State.ROUTED else {}
        served = existing.keys() | {match.recipient for match, _ in self.claimed}
        return {
            match.recipient: result_path(match.route, receipt.stored_at, receipt.message, match.recipient)
            for match in matches
            if match.recipient not in served
        }

    def _claim_replacements(self, record: str, reissue: str) -> None:
        """Claim the path of the result that replaces another."""
        receipt, routing = self.receipt, self.routing
        for match, _ in self.claimed:
            if not is_result_for(record, match.recipient):
                continue
            request = reissue + record
            path = reissued_result_path(match.route, receipt.stored_at, receipt.message, match.recipient, request)
            path = routing.claims.claim_replacement(request, match.recipient, path)
            different = routing.claims.different(routing.fingerprints, match.recipient)
            self._replacements[match.recipient] = Replacement(path, [claim.to_reference() for claim in different])

    def _is_finished(self, recipient: str) -> bool:
        """Return whether the receipt holds a recipient's outcome, so that no earlier attempt left it unfinished."""
        if self.receipt.state is not State.ROUTED:
            return False
        replay = self.entry.replay
        outcome = self.receipt.outcomes.get(recipient, "").partition(" ")[0]
        is_reissue = replay is not None and bool(replay.reissue)
        return is_reissue or outcome in ("routed", "duplicate") or TRUNCATED in self.receipt.outcomes

    # Write

    def make_plan(self) -> None:
        """Decide what to write, and the outcome. No I/O."""
        self.plan = make_plan(self.receipt, self.entry.replay, self.routing.decision, self.claimed, self._replacements)

    def message_blobs(self) -> list[NewBlob]:
        """Return the parsed message and its small attachments, if a result or a record refers to them."""
        return self.routing.documents.message_blobs() if self.plan.writes_message else []

    def accept_message(self, _created: Sequence[bool]) -> None:
        """Take note that `message_blobs` exist."""
        self.routing.documents.accept_message()

    def write_rest(self) -> None:
        """Write the attachments that `message_blobs` left out."""
        if self.routing.documents.has_rest:
            self.routing.documents.write_rest()

    def result_blobs(self) -> list[NewBlob]:
        """Return the results."""
        conversation = self.membership.conversation if self.membership is not None else ""
        return [
            self.routing.documents.result_blob(
                result.match,
                result.path,
                conversation=conversation,
                replaces=result.replaces,
                different=result.different,
            )
            for result in self.plan.results
        ]

    def accept_results(self, created: Sequence[bool]) -> None:
        """Take note of which results were created. One that existed may be that of an erased arrival."""
        if all(created):
            return
        for blob, is_new in zip(self.result_blobs(), created, strict=True):
            if not is_new and self._is_of_erased(blob.path):
                self.storage.blobs.delete_many([blob.path])
                self.storage.blobs.create_many([blob])

    def _is_of_erased(self, path: str) -> bool:
        """Return whether a result belongs to an erased arrival of the same message, whose late worker wrote it."""
        owner = result_owner(self.storage.blobs.read(path))
        if owner in ("", self.entry.arrival):
            return False
        record = self.storage.records.get(Table.RECEIPTS, owner)
        return record is not None and Receipt.from_record(record).state is State.ERASED

    def write_records(self) -> None:
        """Write the records."""
        documents, decision, records = self.routing.documents, self.routing.decision, self.plan.records
        if "blocked" in records and decision.blocked_by is not None:
            documents.write_blocked(decision.blocked_by)
        if "duplicates" in records:
            documents.write_duplicates(self.plan.duplicates)
        if "unhandled" in records:
            if self.plan.outcome == "unhandled":
                documents.write_unhandled(decision)
            else:
                documents.write_unserved(decision.unserved)

    # Conclude

    def expected_entry(self) -> list[Create]:
        """Return the conversation entry that the message creates if it is the first of its conversation.

        Empty if other messages of its thread may exist: `join_existing` needs their entries.
        """
        rows = self.routing.thread.to_rows(self.receipt.message, self.receipt.message)
        if self.receipt.conversation or len(rows) != 1:
            return []
        return [Create(Table.CONVERSATIONS, *row) for row in rows.items()]

    def begin_conversation(self) -> None:
        """Take note that a transaction created the expected entry."""
        self.membership = Membership(self.receipt.message, {})

    def join_conversation(self) -> None:
        """Find the message's conversation, of which an entry exists."""
        self.membership = Conversations(self.storage.records).join(self.routing.thread, self.receipt.message)

    def conversation_keys(self) -> list[str]:
        """Return the keys of the entries that decide to which conversation the message belongs. A replay keeps it."""
        return [] if self.receipt.conversation else self.routing.thread.keys()

    def join_existing(self, existing: dict[str, Values]) -> None:
        """Find the message's conversation among entries that were read. No I/O.

        Args:
            existing: the existing entries, by key. Those that this message creates later are added.
        """
        thread, conversation = self.routing.thread, self.receipt.conversation
        if conversation:
            self.membership = Membership(conversation, thread.to_rows(conversation, self.receipt.message))
        else:
            self.membership = thread.to_membership(self.receipt.message, existing)
        existing |= {key: row for key, row in self.membership.missing.items() if key not in existing}

    def register_conversation(self) -> None:
        """Create the entries by which other messages find the conversation."""
        assert self.membership is not None
        Conversations(self.storage.records).register(self.membership)

    def resolve_records(self) -> None:
        """Mark the records that a replay made untrue as resolved."""
        if self.is_replay:
            mark_resolved(
                self.storage.blobs,
                self.receipt,
                except_kinds=self.plan.true_kinds,
                at=self.now(),
                outcome=self.plan.outcome,
                results=list(results_by_recipient(self.plan.outcomes).values()),
            )

    def conclusion(self) -> list[Change]:
        """Return the changes that conclude the arrival, in one transaction: of the receipt and the outbox."""
        self._conclusion = Conclusion(
            self.storage, self.now, self.entry, self.record, self.plan.outcome, self._receipt_values()
        )
        return self._conclusion.changes()

    def accept_conclusion(self) -> None:
        """Take note that a transaction concluded the arrival."""
        self._finish(is_final=True)

    def conclude_alone(self) -> None:
        """Conclude the arrival, after a transaction found its receipt or its entry changed.

        Raises:
            WriteConflict: another replay of this arrival ended meanwhile; the message must be routed again.
        """
        self._finish(is_final=self._conclusion.conclude_changed())

    def _finish(self, *, is_final: bool) -> None:
        """Finish a concluded attempt.

        Args:
            is_final: whether its conclusion is the receipt's.
        """
        if is_final:
            self._conclusion.resolve_dead_letter()
            self._count()
        self._log()
        self.is_done = self.is_concluded = True

    def _receipt_values(self) -> Values:
        assert self.membership is not None
        content, plan = self.routing.content, self.plan
        return {
            "state": State.ROUTED.value,
            "outcome": plan.outcome,
            "conversation": self.membership.conversation,
            "outcomes": _outcomes_json(plan.outcomes),
            "routed_at": self.now(),
            "last_error": "",
            "unserved": int(str(self.record.values.get("unserved", 0))) if plan.unserved is None else plan.unserved,
            **search_columns(
                content.senders,
                (*content.to, *content.cc),
                content.message_id,
                subject=content.subject,
                sent=content.sent,
            ),
        }

    def _log(self) -> None:
        receipt, routes = self.receipt, ";".join(sorted(set(self.plan.routes)))
        replayed = ", replayed" if self.is_replay else ""
        with log_context.bind(**({"route": routes} if routes else {})):
            _log.debug(
                "message %s of mailbox %s%s: %s",
                short_id(receipt.message),
                receipt.mailbox,
                replayed,
                self.plan.outcome,
            )

    def _count(self) -> None:
        """Record the metrics of a message that was routed, and the outcome in its trace."""
        plan, decision, receipt = self.plan, self.routing.decision, self.receipt
        mailbox = {"mailbox": receipt.mailbox}
        if plan.outcome != receipt.outcome:
            metrics.outcomes.add(1, receipt.outcome_change(plan.outcome))
        results_by_route = Counter(plan.routes)
        for route, results in results_by_route.items():
            metrics.results.add(results, {**mailbox, "route": route})
        if plan.duplicates:
            metrics.duplicates.add(len(plan.duplicates), mailbox)
        if plan.outcome == "blocked":
            metrics.blocked.add(1, mailbox)
        unhandled = decision.unhandled if plan.outcome == "unhandled" else None
        if decision.unserved:
            unhandled = Unhandled.TOO_MANY_RECIPIENTS
        if unhandled is not None:
            metrics.unhandled.add(1, {**mailbox, "reason": unhandled.value})
        if not self.is_replay:  # The age of a replayed message says nothing about the delay of routing.
            age = (self.now() - receipt.stored_at).total_seconds()
            metrics.routed_age.record(max(0.0, age), mailbox)
        tracing.annotate(outcome=plan.outcome, route=";".join(sorted(results_by_route)))


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
