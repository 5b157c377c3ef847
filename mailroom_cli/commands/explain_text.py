"""The lines in which `mailroom explain` explains a message to a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mailroom_cli.commands.explanation import (
    ArrivalHistory,
    DuplicateOf,
    ExplainedAttempt,
    ExplainedMatch,
    ExplainedRouting,
    Explanation,
    MessageSummary,
    RecipientHistory,
)
from mailroom_cli.ids import ShortIds
from shared.receipts import searchable_subject
from shared.routing.decision import MAX_VALUES
from shared.routing.fingerprints import FingerprintKind
from shared.routing.model import ANY_RECIPIENT
from shared.storage.base import Storage

MAX_LINES: Final = 100
"""Entries of one kind that are printed for a mailbox: a message may name a hundred thousand recipients."""

MAX_PRINTED: Final = 5
"""Addresses or values that are printed in a line; `--json` has more of them."""

MAX_VALUE_LENGTH: Final = 200
"""Characters of a value that are printed."""

SAME: Final[Mapping[str, str]] = {
    FingerprintKind.RAW: "the same bytes",
    FingerprintKind.CONTENT: "the same content",
    FingerprintKind.MESSAGE_ID: "the same Message-ID",
}
"""The property that a duplicate shares with its original."""


def describe(storage: Storage, explanations: Sequence[Explanation]) -> Iterator[str]:
    """Yield the lines of explanations for a person."""
    ids = {id_ for explanation in explanations for id_ in _ids(explanation)}
    describer = _Describer(ShortIds.of_ids(storage.records, ids))
    described = ""
    for number, explanation in enumerate(explanations):
        if number:
            yield ""
        # Arrivals of one message have the same headers. A header may contain line breaks.
        lines = describer.lines(explanation, with_headers=explanation.id != described)
        yield from (" ".join(line.splitlines()) for line in lines)
        described = explanation.id


def _ids(explanation: Explanation) -> Iterator[str]:
    """Yield the ids that the description of an explanation names."""
    yield explanation.id
    originals = [item.duplicate_of for item in explanation.happened.recipients] if explanation.happened else []
    for routing in explanation.now:
        for match in routing.matches[:MAX_LINES]:
            originals += [match.duplicate_of, *match.same_message_id]
    yield from (original.message or original.arrival for original in originals[:MAX_LINES] if original is not None)


@dataclass(frozen=True, slots=True)
class _Describer:
    """Describes explanations with short ids."""

    ids: ShortIds

    def lines(self, explanation: Explanation, *, with_headers: bool) -> Iterator[str]:
        noun = "arrival" if explanation.happened and explanation.happened.arrival == explanation.id else "message"
        again = "" if with_headers else " arrived again"
        outcome = f": {explanation.happened.outcome}" if explanation.happened else ""
        yield f"{noun} {self.ids.short(explanation.id)}{again}{outcome}"
        if explanation.message is not None and with_headers:
            yield from self._message(explanation.message)
        if explanation.happened is not None:
            yield from self._happened(explanation.happened, explanation.id)
        for routing in explanation.now:
            yield ""
            verb = "what would happen now" if explanation.happened else "what would happen"
            yield f"{verb}, in mailbox {routing.mailbox}, folder {routing.folder}"
            yield from self._routing(routing)

    def _message(self, message: MessageSummary) -> Iterator[str]:
        for label, addresses in (("from", message.from_), ("to", message.to), ("cc", message.cc)):
            if addresses or label != "cc":
                yield f"  {label + ':':<9}{_list(addresses)}"
        yield f"  subject: {searchable_subject(message.subject)[:MAX_VALUE_LENGTH]}"
        sent = _format(message.sent) if message.sent else "unknown"
        yield f"  sent:    {sent}; {message.attachments} attachments"
        if message.automatic is not None:
            yield f"  automatic: {message.automatic} ({'; '.join(message.evidence)})"
        if message.failed_recipients is not None:
            yield f"  reports failed recipients: {_list(message.failed_recipients)}"
        if message.invalid_addresses:
            yield f"  invalid addresses: {_list(message.invalid_addresses, separator='; ')}"
        for defect in message.repaired:
            yield f"  repaired: {defect}"

    def _happened(self, history: ArrivalHistory, id_: str) -> Iterator[str]:
        yield ""
        yield "what happened"
        if history.outcome in ("oversized", "unreadable"):
            yield f"  listed {_format(history.stored)} in mailbox {history.mailbox}, folder {history.folder}"
        else:
            yield f"  stored {_format(history.stored)} from mailbox {history.mailbox}, folder {history.folder}"
        if history.routed is not None:
            yield f"  routed {_format(history.routed)}"
        for item in history.recipients[:MAX_LINES]:
            yield from self._recipient(item)
        if len(history.recipients) > MAX_LINES:
            yield f"  and {len(history.recipients) - MAX_LINES} recipients more"
        if history.outcome == "waiting":
            yield "  it waits to be routed: by the app, or by `mailroom run-once`"
        if history.detail:
            yield f"  {history.detail}"
        if history.last_error:
            yield f"  last error: {history.last_error}"
        for path in history.records:
            yield f"  record: {self.ids.shorten(path)}"
        if any(kind in path for path in history.records for kind in ("unhandled/", "blocked/", "failed/")):
            yield f"  to route it again: mailroom replay {self.ids.short(id_)}"

    def _recipient(self, item: RecipientHistory) -> Iterator[str]:
        recipient = "without a named recipient" if item.recipient == ANY_RECIPIENT else item.recipient
        if item.result is not None:
            yield f"  {recipient}: a result of route {item.route}"
            yield f"    {self.ids.shorten(item.result)}" + ("" if item.exists else " (it no longer exists)")
        elif item.duplicate_of is not None:
            first, *rest = self._original(item.duplicate_of)
            yield f"  {recipient}: {first}"
            yield from (f"  {line}" for line in rest)
        elif item.detail is not None and item.outcome != "unhandled":
            yield f"  {item.outcome} by {item.detail}" if item.outcome == "blocked" else f"  {recipient}: {item.detail}"

    def _original(self, original: DuplicateOf) -> Iterator[str]:
        """Yield what a message is a duplicate of, and where the original is."""
        noun = "message" if original.message else "the erased arrival"
        by = f", by {SAME.get(original.by, original.by)}" if original.by else ""
        yield f"a duplicate of {noun} {self.ids.short(original.message or original.arrival)}{by}"
        if original.mailbox is not None and original.stored is not None:
            yield f"  which arrived in mailbox {original.mailbox}, {_format(original.stored)}"

    def _routing(self, routing: ExplainedRouting) -> Iterator[str]:
        if routing.outcome is None:
            yield "  it is not routed until these errors are corrected:"
            yield from (f"    {error}" for error in routing.errors)
            return
        if routing.envelope_recipients:
            hints = [f"{address} ({where})" for address, where in routing.envelope_recipients]
            yield f"  envelope recipients: {_list(hints)}"
        for attempt in routing.tried[:MAX_LINES]:
            yield from self._attempt(attempt)
        if len(routing.tried) > MAX_LINES:
            yield f"  and {len(routing.tried) - MAX_LINES} recipients or routes more, which --json lists"
        for match in routing.matches[:MAX_LINES]:
            yield from self._match(match)
        if len(routing.matches) > MAX_LINES:
            yield f"  and {len(routing.matches) - MAX_LINES} matches more, which --json lists"
        if routing.unserved:
            yield (
                f"  {len(routing.unserved)} recipients beyond MAX_RECIPIENTS get no result, such as "
                f"{routing.unserved[0]}"
            )
        yield f"  outcome: {routing.outcome}" + (f"; {routing.detail}" if routing.detail else "")

    def _attempt(self, attempt: ExplainedAttempt) -> Iterator[str]:
        address = "any recipient" if attempt.address == ANY_RECIPIENT else attempt.address
        if attempt.route is None:
            yield f"  {address}: {attempt.reason}"
        else:
            yield f"  {address}: route {attempt.route} does not take it"
        for condition in attempt.conditions:
            actual = _list(condition.actual, none="nothing")
            yield f"    {condition.setting}: wanted {_list(condition.wanted, separator='; ')}; it has {actual}"
        for similar in attempt.similar:
            place = f"route {similar.route}" if similar.route else "the mailbox's primary address"
            of = "of " if similar.route else ""
            yield f"    similar to {similar.address}{', ' if not of else ' '}{of}{place}"

    def _match(self, match: ExplainedMatch) -> Iterator[str]:
        reference = f", reference {match.reference}" if match.reference else ""
        alias = f", in place of the primary address {match.instead_of}" if match.instead_of else ""
        recipient = "any recipient" if match.recipient == ANY_RECIPIENT else match.recipient
        yield f"  {recipient}: route {match.route} takes it by {match.matched}{alias}{reference}"
        if match.has_result and match.result is not None:
            yield f"    has its result already: {self.ids.shorten(match.result)}"
        elif match.duplicate_of is not None:
            yield from (f"    {line}" for line in self._original(match.duplicate_of))
        elif match.result is not None:
            yield "    not a duplicate of another message"
            yield f"    stored as {self.ids.shorten(match.result)}"
        for other in match.same_message_id:
            id_ = self.ids.short(other.message or other.arrival)
            yield f"    message {id_} has the same Message-ID and another body"


def _list(values: Sequence[str], *, separator: str = ", ", none: str = "none") -> str:
    """Return some values as text, with the number of the others."""
    more = f" and {len(values) - MAX_PRINTED} more" if len(values) > MAX_PRINTED else ""
    if len(values) == MAX_VALUES:  # A failed condition lists no more than these.
        more = " and more"
    return separator.join(value[:MAX_VALUE_LENGTH] for value in values[:MAX_PRINTED]) + more if values else none


def _format(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
