"""The plan of an attempt: which results and records to write, and the outcome. Pure: it follows from the decision, the
claims and the receipt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shared.dispatch.claims import Claim
from shared.dispatch.outbox import Replay
from shared.documents.blob_paths import RecordKind, is_result_for, route_of_result
from shared.documents.schema import Duplicate, Original, Outcome
from shared.receipts import Receipt, State, results_by_recipient
from shared.routing.model import Decision, Match

KEPT_KINDS: Collection[RecordKind] = ("unhandled", "duplicates", "blocked")
"""The kinds of record that stay true when a replay keeps the outcome."""


@dataclass(frozen=True, slots=True)
class PlannedResult:
    """A result to write.

    Attributes:
        match: the recipient and its route.
        path: the path that a claim stores.
        replaces: the path of the result that this one replaces; None: none.
        different: the results of different messages with the same Message-ID.
    """

    match: Match
    path: str
    replaces: str | None = None
    different: Sequence[Original] = ()


@dataclass(frozen=True, slots=True)
class Replacement:
    """The claimed path of the result that a replay writes in place of another.

    Attributes:
        path: the path.
        different: the results of different messages with the same Message-ID.
    """

    path: str
    different: Sequence[Original]


@dataclass(slots=True)
class RoutingPlan:
    """What an attempt writes, and its outcome.

    Attributes:
        outcome: the arrival's outcome.
        outcomes: by recipient, as the receipt stores them.
        results: the results to write.
        duplicates: the recipients that have a result of another message.
        records: the kinds of record to write.
        true_kinds: the kinds of record that are true afterwards.
        unserved: the number of recipients beyond MAX_RECIPIENTS; None: as the receipt says.
    """

    outcome: Outcome = "routed"
    outcomes: dict[str, str] = field(default_factory=dict)
    results: list[PlannedResult] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    records: set[RecordKind] = field(default_factory=set)
    true_kinds: set[RecordKind] = field(default_factory=set)
    unserved: int | None = None

    @property
    def routes(self) -> list[str]:
        """The routes of the results to write, one for each."""
        return [result.match.route for result in self.results]

    @property
    def writes_message(self) -> bool:
        """Whether the parsed message is written: a result or a record refers to it."""
        return bool(self.results) or "unhandled" in self.records


def make_plan(
    receipt: Receipt,
    replay: Replay | None,
    decision: Decision,
    claimed: Sequence[tuple[Match, Claim | None]],
    replacements: Mapping[str, Replacement],
) -> RoutingPlan:
    """Return the plan of an attempt.

    Args:
        receipt: the arrival's.
        replay: the replay, if it is one.
        decision: the matches by the current routes.
        claimed: the matches, each with the claim that decides; None: the recipient has a result.
        replacements: by recipient, the results that a replay writes in place of others.
    """
    plan = RoutingPlan()
    if receipt.state is State.ROUTED:
        plan.outcomes = {recipient: f"routed {path}" for recipient, path in receipt.results().items()}
    for match, claim in claimed:
        if claim is not None and not is_held(claim, receipt, match):
            plan.duplicates.append(claim.to_duplicate(match.recipient, match.route))
            plan.outcomes[match.recipient] = f"duplicate {claim.owner}"
            continue
        if claim is not None:
            # An earlier attempt may have claimed the recipient under another route, which the claim's path names.
            claimed_match = replace(match, route=route_of_result(claim.result))
            different = [other.to_reference() for other in claim.different]
            plan.results.append(PlannedResult(claimed_match, claim.result, different=different))
            plan.outcomes[match.recipient] = f"routed {claim.result}"
        replacement = replacements.get(match.recipient)
        if replacement is not None and replay is not None:
            plan.results.append(PlannedResult(match, replacement.path, replay.record, replacement.different))
            plan.outcomes[match.recipient] = f"routed {replacement.path}"
    _plan_records(plan, receipt, replay, decision)
    return plan


def _plan_records(plan: RoutingPlan, receipt: Receipt, replay: Replay | None, decision: Decision) -> None:
    """Decide the outcome and the records, from the results and duplicates of a plan."""
    reissues = replay is not None and bool(replay.reissue)
    has_recipient = any(is_requested(match, receipt, replay) for match in decision.matches)
    was_served = receipt.state is State.ROUTED and receipt.outcome in ("routed", "duplicate")
    if was_served and (reissues or not has_recipient):
        # The current routes match no recipient, or the replay is about another recipient. Existing results are kept,
        # and the arrival does not become unhandled.
        previous_kinds = {text.partition(" ")[0] for text in receipt.outcomes.values()}
        if plan.duplicates and "duplicate" not in previous_kinds:
            plan.records = {"duplicates"}
        plan.outcomes = {**receipt.outcomes, **plan.outcomes}
        has_result = receipt.outcome == "routed" or results_by_recipient(plan.outcomes)
        plan.outcome = "routed" if has_result else "duplicate"
        plan.true_kinds = {*KEPT_KINDS}
        return
    if not plan.outcomes and decision.blocked_by is not None:
        plan.outcome, plan.records = "blocked", {"blocked"}
        plan.outcomes["*"] = f"blocked {decision.blocked_by}"
    elif not plan.outcomes and decision.unhandled is not None:
        plan.outcome, plan.records = "unhandled", {"unhandled"}
        plan.outcomes["*"] = f"unhandled {decision.unhandled}"
    else:
        plan.outcome = "routed" if results_by_recipient(plan.outcomes) else "duplicate"
        plan.unserved = len(decision.unserved)
        if plan.duplicates:
            plan.records.add("duplicates")
        if decision.unserved:
            plan.records.add("unhandled")
    plan.true_kinds = set(plan.records)


def is_held(claim: Claim, receipt: Receipt, match: Match) -> bool:
    """Return whether the deciding claim of a match is the arrival's own.

    A wildcard's copy may be a duplicate of this same arrival, which named a recipient at an earlier attempt.
    """
    return (claim.owner, claim.result_recipient) == (receipt.arrival, match.recipient)


def is_requested(match: Match, receipt: Receipt, replay: Replay | None) -> bool:
    """Return whether a match is to be routed: to reissue one result, only its recipient is.

    An arrival that was not completely routed is routed for all its recipients.
    """
    if replay is None or not replay.reissue or receipt.state is not State.ROUTED:
        return True
    return is_result_for(replay.record, match.recipient)
