"""Out, for one arrival: claims, results and records, and then the receipt, in the order of docs/receipts.md, "Out".

A replay goes the same way. What was given stays given: a recipient who has a result keeps it, and is not given it anew
even if a consumer took it out of the storage since. Only whom the routes of today name besides gets something.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from shared import message_metrics
from shared.clock import Now
from shared.dispatch.artifacts import roll_back
from shared.dispatch.conversations import Conversations
from shared.dispatch.deduplication import Claims
from shared.dispatch.finishing import unfinished_recipients
from shared.dispatch.outbox import outbox_key
from shared.dispatch.record_resolution import mark_resolved
from shared.dispatch.routing_input import envelope_hints, thread_references, visible_content
from shared.documents.blob_paths import RecordKind, is_result_for, reissued_result_path, result_path, route_of_result
from shared.documents.schema import Duplicate, Outcome
from shared.documents.writer import Documents
from shared.errors import WriteConflict
from shared.mime.parser import Message
from shared.queue_messages import RouteRequest
from shared.receipts import TRUNCATED, Receipt, State, results_by_recipient, search_columns
from shared.routing.fingerprints import Fingerprint, fingerprints
from shared.routing.model import Decision, Match, Unhandled
from shared.routing.route_table import RouteTable
from shared.storage.base import Record, Storage, Table, Values

OUTCOME_LIMIT = 100_000
"""Characters of outcomes in a receipt; for the rest it tells how many there were. An entity holds 1 MiB."""

ROUTABLE = (State.STORED, State.ROUTED, State.FAILED)
"""The states of an arrival whose bytes are here."""

WRITES = 5
"""Tries to write a receipt that others note something in, each time, between our reading and our writing."""

TELLS: Mapping[Outcome, set[RecordKind]] = {
    "routed": {"duplicates"},
    "duplicate": {"duplicates"},
    "unhandled": {"unhandled"},
    "blocked": {"blocked"},
}
"""Which kind of record tells of the outcome of an arrival. One that is routed may be a duplicate for somebody else."""


@dataclass(slots=True)
class RoutingAttempt:
    """Gives one arrival's message to everybody whom a decision names.

    Attributes:
        stores: where to.
        now: the time.
        record: the arrival's receipt, as read before the decision.
        announcement: what asked for it.
        tried: an earlier try may have claimed recipients, and died before they had their results.
    """

    stores: Storage
    now: Now
    record: Record
    announcement: RouteRequest
    tried: bool = False
    receipt: Receipt = field(init=False)
    _outcomes: dict[str, str] = field(default_factory=dict, init=False)
    _duplicates: list[Duplicate] = field(default_factory=list, init=False)
    _routes: list[str] = field(default_factory=list, init=False)
    _unserved: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Begin with what was given before: nothing, at the first time."""
        self.receipt = Receipt.from_record(self.record)
        self._unserved = int(str(self.record.values.get("unserved", 0)))
        if self._routed_before:
            self._outcomes = {who: f"routed {path}" for who, path in self.receipt.results().items()}

    def run(self, message: Message, decision: Decision, table: RouteTable) -> Outcome:
        """Write results and records, and note in the receipt the outcome of it.

        Args:
            message: as read.
            decision: by today's routes.
            table: today's routes: what of the message is believed, and how much is made of it.

        Raises:
            WriteConflict: another replay of this arrival ended meanwhile; to be decided anew.
        """
        receipt, records, reading = self.receipt, self.stores.records, table.trust_policy
        thread = thread_references(message, decision, by_tag_alone=reading.by_tag_alone)
        conversations = Conversations(records)
        conversation = str(self.record.values.get("conversation", "")) or conversations.find(thread, receipt.message)
        hints, anew = envelope_hints(message, reading), self.announcement.replay is not None
        documents = Documents(
            self.stores.blobs,
            receipt,
            message,
            conversation,
            hints,
            # An earlier try may have left a record by other routes.
            rewrite=anew or self.tried,
            max_attachments=table.max_attachments,
            unserved=decision.unserved,
        )
        seen = visible_content(message, reading)
        prints = fingerprints(receipt.message, seen)
        claims = Claims(records, receipt, self.stores.blobs)
        for match in decision.matches:
            if self._is_meant(match):
                self._give_one(match, claims, prints, documents)
        if self.tried or anew:
            for match in unfinished_recipients(claims, prints, decision, seen, hints):
                if not self._is_settled(match.recipient):
                    self._give_one(match, claims, prints, documents)

        outcome, stand = self._recorded(decision, documents)
        self.stores.blobs.settle()
        conversations.register(thread, conversation)
        if anew:
            results = list(results_by_recipient(self._outcomes).values())
            mark_resolved(self.stores.blobs, receipt, but=stand, at=self.now(), outcome=outcome, results=results)
        values: Values = {
            "state": State.ROUTED.value,
            "outcome": outcome,
            "conversation": conversation,
            "outcomes": _told(self._outcomes),
            "routed_at": self.now(),
            "last_error": "",
            "unserved": self._unserved,
            **search_columns(seen.senders, (*seen.to, *seen.cc), seen.message_id),
        }
        ours = self._conclude(values)
        records.delete_many(Table.OUTBOX, {receipt.arrival, outbox_key(self.announcement)})
        if not ours:
            return outcome
        why = decision.unhandled.value if outcome == "unhandled" and decision.unhandled is not None else None
        if decision.unserved:
            why = Unhandled.TOO_MANY_RECIPIENTS.value
        duplicates = len(self._duplicates)
        at = None if anew else self.now()
        message_metrics.routed(receipt, outcome, at, routes=self._routes, duplicates=duplicates, unhandled=why)
        return outcome

    def _give_one(self, match: Match, claims: Claims, prints: tuple[Fingerprint, ...], documents: Documents) -> None:
        who = match.recipient
        if who not in self._outcomes:
            path = result_path(match.route, self.receipt.stored_at, self.receipt.message, who)
            claim = claims.claim(prints, who, path)
            # A wildcard's copy may be a duplicate of this very arrival, which named somebody at an earlier try.
            if (claim.owner, claim.named) != (self.receipt.arrival, who):
                self._duplicates.append(claim.as_original(who, match.route))
                self._outcomes[who] = f"duplicate {claim.owner}"
                return
            # Where an earlier try had begun it, by the route of then.
            given = replace(match, route=route_of_result(claim.result))
            documents.result(given, claim.result, different=[one.as_reference() for one in claim.different])
            self._routes.append(given.route)
            self._outcomes[who] = f"routed {claim.result}"
        replay = self.announcement.replay
        if replay is not None and replay.reissue and is_result_for(replay.record, who):
            request = replay.reissue + replay.record
            path = reissued_result_path(match.route, self.receipt.stored_at, self.receipt.message, who, request)
            path = claims.claim_replacement(request, who, path)
            different = [one.as_reference() for one in claims.different(prints, who)]
            documents.result(match, path, replaces=replay.record, different=different)
            self._routes.append(match.route)
            self._outcomes[who] = f"routed {path}"

    def _recorded(self, decision: Decision, documents: Documents) -> tuple[Outcome, set[RecordKind]]:
        """Write the records. Gives the outcome of the arrival, and which kinds of record tell so."""
        before = self.record.values.get("outcome")
        nobody = not any(map(self._is_meant, decision.matches))
        if (nobody or self._replaced) and self._routed_before and before in ("routed", "duplicate"):
            # Today's routes are for nobody, or nobody else is asked about. That takes nothing back of what others were
            # given, and makes nothing of it unhandled.
            if self._duplicates and "duplicate" not in {
                what.partition(" ")[0] for what in self.receipt.outcomes.values()
            }:
                documents.duplicates(self._duplicates)
            self._outcomes = {**self.receipt.outcomes, **self._outcomes}
            outcome: Outcome = "routed" if before == "routed" or results_by_recipient(self._outcomes) else "duplicate"
            return outcome, {"unhandled", "duplicates", "blocked"}
        if not self._outcomes and decision.blocked_by is not None:
            documents.blocked(decision.blocked_by)
            self._outcomes["*"] = f"blocked {decision.blocked_by}"
            return "blocked", {"blocked"}
        if not self._outcomes and decision.unhandled is not None:
            documents.unhandled(decision)
            self._outcomes["*"] = f"unhandled {decision.unhandled}"
            return "unhandled", {"unhandled"}
        stand: set[RecordKind] = set()
        if self._duplicates:
            stand = {"duplicates"}
            documents.duplicates(self._duplicates)
        self._unserved = len(decision.unserved)
        if decision.unserved:
            stand.add("unhandled")
            documents.too_many_recipients(decision.unserved)
        return "routed" if results_by_recipient(self._outcomes) else "duplicate", stand

    def _conclude(self, values: Values) -> bool:
        """Write the receipt. False if somebody else ended with this arrival since we read it, or it was forgotten."""
        seen, given_up = self.record, False
        for _ in range(WRITES):
            try:
                self.stores.records.merge(Table.RECEIPTS, seen.key, values, etag=seen.etag)
            except WriteConflict:
                now = self.stores.records.get(Table.RECEIPTS, seen.key)
                if now is None:
                    raise
                state = State(str(now.values["state"]))
                if state is State.ERASED:
                    roll_back(
                        self.stores, Receipt.from_record(replace(self.record, values={**self.record.values, **values}))
                    )
                    return False
                if self.announcement.replay is None and state not in (State.STORED, State.FAILED):
                    # A second announcement of the same, or a replay with other routes: a record of ours may be untrue.
                    settle_records(self.stores, now, self.now())
                    return False
                if state not in ROUTABLE or now.values.get("routed_at") != self.record.values.get("routed_at"):
                    raise
                seen = now  # something else in it changed: that it was removed from its mailbox, or a try's error
                given_up = given_up or (self.announcement.replay is None and state is State.FAILED)
            else:
                if given_up:  # by another announcement of the same, meanwhile: its record is not true any more
                    settle_records(self.stores, replace(seen, values={**seen.values, **values}), self.now())
                return True
        raise WriteConflict(f"the receipt of arrival {seen.key} changes all the time")

    @property
    def routes(self) -> str:
        """The routes that got a result now, as telemetry shows them."""
        return ";".join(sorted(set(self._routes)))

    @property
    def _routed_before(self) -> bool:
        return self.receipt.state is State.ROUTED

    @property
    def _replaced(self) -> str:
        """The path of the result that a new one is to be written in place of; empty if none is asked for."""
        replay = self.announcement.replay
        return replay.record if replay is not None and replay.reissue else ""

    def _is_settled(self, recipient: str) -> bool:
        """Whether the receipt says what a recipient got, so that no earlier try left anything to be finished."""
        if not self._routed_before:
            return False
        fate = self.receipt.outcomes.get(recipient, "").partition(" ")[0]
        return bool(self._replaced) or fate in ("routed", "duplicate") or TRUNCATED in self.receipt.outcomes

    def _is_meant(self, match: Match) -> bool:
        """Whether a recipient is to be given anything: if one result is wanted anew, whose it is, and nobody else.

        What was not routed to its end is, with all its recipients.
        """
        return not self._replaced or not self._routed_before or is_result_for(self._replaced, match.recipient)


def settle_records(stores: Storage, record: Record, at: datetime) -> None:
    """Mark what records say of an arrival and is not so, as far as its receipt says that it was routed.

    Args:
        stores: where they are.
        record: the receipt, by another's end with the arrival or by ours.
        at: the time.

    Raises:
        WriteConflict: another marks the same record now.
    """
    ended, fate = Receipt.from_record(record), record.values.get("outcome")
    outcome = next((one for one in TELLS if one == fate), None)
    if ended.state is State.ROUTED and outcome is not None:
        results = list(ended.results().values())
        true: set[RecordKind] = {"unhandled"} if record.values.get("unserved") else set()
        mark_resolved(stores.blobs, ended, but=TELLS[outcome] | true, at=at, outcome=outcome, results=results)


def _told(outcomes: Mapping[str, str]) -> str:
    told: dict[str, str] = {}
    room = OUTCOME_LIMIT
    for recipient, outcome in outcomes.items():
        room -= len(recipient) + len(outcome)
        if room < 0:
            told[TRUNCATED] = f"and {len(outcomes) - len(told)} more"
            break
        told[recipient] = outcome
    return json.dumps(told, ensure_ascii=False)
