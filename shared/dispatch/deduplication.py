"""Claims: which arrival a fingerprint's recipient belongs to, decided once and for good
(docs/explanation/receipts.md, "Dispatch").

A claim's owner may be a duplicate itself: it claimed the raw bytes and lost the claim on the content. So a claim
carries its owner's fingerprints, and an arrival that it stops follows it to the arrival that holds all of its claims:
the original (docs/explanation/duplicates.md, "Which one is named").

Different messages may have one Message-ID. Each takes a position in a list of claims on it, the first free one behind
all messages that are different (docs/explanation/duplicates.md, "One Message-ID, several messages").

A claim without a result is finished by its owner, whatever the current routes are: a duplicate of the message already
names the owner as the original. `unfinished_matches` finds these claims.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from shared.dispatch.record_resolution import resolved_record_path
from shared.documents.blob_paths import is_result_for, route_of_result
from shared.documents.schema import Duplicate, Original
from shared.errors import ServiceUnavailable
from shared.keys import claim_key, reissue_key
from shared.receipts import TRUNCATED, Receipt, State
from shared.routing.fingerprints import Comparison, Fingerprint, FingerprintKind, VisibleContent
from shared.routing.model import ANY_RECIPIENT, Decision, EnvelopeHint, Match, Matched
from shared.storage.base import Blobs, Record, Records, Table, Value, Values

MAX_POSITIONS = 64
"""Different messages with one Message-ID that hold a claim on it. Further ones hold none, and still get results."""

MAX_ADDRESSES = 1000
"""Addresses of a message whose claims are looked up: a message may name a hundred thousand."""

ERASED_CLAIM: Mapping[str, Value] = dict.fromkeys(("owner", "message", "result", "recipient", "named"), "") | {
    "kind": FingerprintKind.MESSAGE_ID.value,
    "prints": "[]",
}
"""The properties of a claim on a Message-ID whose message was erased. It keeps its position: the list has no gaps."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as it is stored.

    Attributes:
        owner: the arrival that made it.
        message: the owner's message id.
        result: the path of the owner's result.
        kind: the fingerprint's kind.
        recipient: the claimed recipient.
        result_recipient: whose result it is: the claimed recipient, or the named recipient of mail that claimed `*`.
        fingerprints: the fingerprints of the owner's message, in claim order.
        position: for a Message-ID, the position in the list of different messages.
        different: the claims before it in that list.
    """

    owner: str
    message: str
    result: str
    kind: FingerprintKind
    recipient: str
    result_recipient: str
    fingerprints: tuple[Fingerprint, ...]
    position: int = 0
    different: tuple[Claim, ...] = ()

    @property
    def fingerprint(self) -> Fingerprint:
        """The claimed fingerprint."""
        own = (fingerprint for fingerprint in self.fingerprints if fingerprint.kind is self.kind)
        return next(own, Fingerprint(self.kind, ""))

    def has_kind(self, kind: FingerprintKind) -> bool:
        """Return whether the owner's message has a fingerprint of a kind."""
        return any(fingerprint.kind is kind for fingerprint in self.fingerprints)

    @property
    def undecided(self) -> tuple[Fingerprint, ...]:
        """The fingerprints on which another claim may stop the owner, or may have stopped it."""
        if self.result_recipient != self.recipient:
            return self.fingerprints  # A named recipient's mail claims `*` first, and is not stopped by its claims.
        kinds = [fingerprint.kind for fingerprint in self.fingerprints]
        return self.fingerprints[kinds.index(self.kind) + 1 :] if self.kind in kinds else ()

    def to_values(self) -> Values:
        """Return the record's properties, without the key."""
        return {
            "owner": self.owner,
            "message": self.message,
            "result": self.result,
            "recipient": self.recipient,
            "kind": self.kind.value,
            "named": self.result_recipient,
            "prints": json.dumps([_to_json(fingerprint) for fingerprint in self.fingerprints]),
        }

    @classmethod
    def from_record(cls, record: Record) -> Claim:
        """Parse a record that was created from `to_values`."""
        values = record.values
        fingerprints = json.loads(str(values.get("prints", "[]")))
        return cls(
            owner=str(values["owner"]),
            message=str(values["message"]),
            result=str(values["result"]),
            kind=FingerprintKind(str(values["kind"])),
            recipient=str(values["recipient"]),
            result_recipient=str(values.get("named", values["recipient"])),
            fingerprints=tuple(
                Fingerprint(FingerprintKind(kind), digest, *map(Comparison.from_json, comparison))
                for kind, digest, *comparison in fingerprints
            ),
        )

    def to_reference(self) -> Original:
        """Return the owner's result as documents refer to it."""
        return {"arrival": self.owner, "message": self.message, "result": self.result}

    def to_duplicate(self, recipient: str, route: str) -> Duplicate:
        """Return the entry in a duplicate's record that names the owner as the original."""
        return {
            "recipient": recipient,
            "route": route,
            "duplicate_of": self.to_reference(),
            "by": self.kind,
        }


@dataclass(slots=True)
class Claims:
    """The claims that one arrival takes.

    Attributes:
        records: where claims are stored.
        receipt: the arrival's.
        blobs: where the records of duplicates are stored.
    """

    records: Records
    receipt: Receipt
    blobs: Blobs
    _has_claimed_anybody: bool = field(default=False, init=False)
    _open_anybody_claim: tuple[Claim, Fingerprint] | None = field(default=None, init=False)

    def claim(self, fingerprints: Sequence[Fingerprint], recipient: str, result: str) -> Claim:
        """Claim a recipient under each fingerprint, in claim order, until another arrival holds a claim.

        A named recipient's mail claims `*` as well, first: a wildcard route's copy is a duplicate of it. Another
        arrival's claim on `*` does not stop it.

        Args:
            fingerprints: the message's fingerprints, in claim order.
            recipient: a normalised address, or `*`.
            result: the path that the result is to have.

        Returns:
            Our claim, whose `result` is the path that an earlier attempt of ours stored; or the original's claim.
        """
        own = self._own(fingerprints, recipient, result)
        if recipient != ANY_RECIPIENT:
            self._claim_anybody(own)
        for kind in FingerprintKind:
            if not own.has_kind(kind):
                continue
            own = replace(own, kind=kind)
            claim = self._take(own.fingerprint, own)
            if claim.owner != self.receipt.arrival:
                return self._find_original(claim, fingerprints, decide=True)
            # An earlier attempt may have claimed under another route: its path is kept, since duplicates name it. It
            # may also have parsed the message by other settings: others compare with the fingerprints that it stored.
            own = replace(
                own,
                result=claim.result,
                fingerprints=claim.fingerprints or own.fingerprints,
                different=claim.different,
            )
            if recipient != ANY_RECIPIENT:
                self._take_open_anybody_claim()
        return own

    def _claim_anybody(self, own: Claim) -> None:
        """Claim `*` for a message that names a recipient. Existing claims stay."""
        if self._has_claimed_anybody:
            return
        claims = {
            _key(fingerprint, ANY_RECIPIENT): (
                fingerprint,
                replace(own, recipient=ANY_RECIPIENT, kind=fingerprint.kind),
            )
            for fingerprint in own.fingerprints
        }
        existing = self.records.create_many(
            Table.CLAIMS, {key: claim.to_values() for key, (_, claim) in claims.items()}
        )
        for key in existing:
            fingerprint, claim = claims[key]
            if fingerprint.kind is FingerprintKind.MESSAGE_ID:
                self._open_anybody_claim = claim, fingerprint
        self._has_claimed_anybody = True

    def _take_open_anybody_claim(self) -> None:
        """Take a position for `*` behind different messages with the same Message-ID.

        This follows our claim on the raw bytes: another arrival of the same bytes takes the position as its own.
        """
        if self._open_anybody_claim is not None:
            claim, fingerprint = self._open_anybody_claim
            self._take(fingerprint, claim)
            self._open_anybody_claim = None

    def claim_replacement(self, request: str, recipient: str, result: str) -> str:
        """Claim the path of the result that a replay writes in place of another.

        Args:
            request: the id of the request, with the path of the replaced result.
            recipient: a normalised address, or `*`.
            result: the path that the new result is to have.

        Returns:
            The path that the new result is to have: an earlier attempt's, although the routes may have changed since.
        """
        key = reissue_key(request, recipient)
        values = {**self._own((), recipient, result).to_values(), "kind": "reissue"}
        if self.records.create(Table.CLAIMS, key, values):
            return result
        return str(self._read_existing(key).values["result"])

    def find_duplicate(self, fingerprints: Sequence[Fingerprint], recipient: str) -> Claim | None:
        """Return the original's claim if another arrival holds the recipient. Take no claim.

        A claim of our own decides nothing: a duplicate by content holds the claim on its raw bytes.
        """
        own = self._own(fingerprints, recipient, "")
        existing = self.records.get_many(Table.CLAIMS, [_key(fingerprint, recipient) for fingerprint in fingerprints])
        claims = (
            self._find_deciding(fingerprint, replace(own, kind=fingerprint.kind), existing)
            for fingerprint in fingerprints
        )
        other = next((claim for claim in claims if claim is not None and claim.owner != self.receipt.arrival), None)
        return None if other is None else self._find_original(other, fingerprints, decide=False)

    def different(self, fingerprints: Sequence[Fingerprint], recipient: str) -> tuple[Claim, ...]:
        """Return the claims of different messages that have the same Message-ID and results of their own.

        Args:
            fingerprints: the message's fingerprints.
            recipient: a normalised address, or `*`.
        """
        lists = [
            self._list(fingerprint, recipient)
            for fingerprint in fingerprints
            if fingerprint.kind is FingerprintKind.MESSAGE_ID
        ]
        others = [claim for claims in lists for claim in claims if claim.owner not in {"", self.receipt.arrival}]
        return tuple(claim for claim in others if not _are_same(claim, fingerprints))

    def unfinished(self, fingerprints: Sequence[Fingerprint], recipients: Iterable[str]) -> dict[str, str]:
        """Return the recipients that an earlier attempt of ours claimed, each with the path of its result.

        Args:
            fingerprints: the message's fingerprints.
            recipients: the possible recipients: normalised addresses, or `*`.
        """
        candidates = {ANY_RECIPIENT: None, **dict.fromkeys(recipients)}
        keys = [_key(fingerprint, recipient) for recipient in candidates for fingerprint in fingerprints]
        claims = map(Claim.from_record, self.records.get_many(Table.CLAIMS, keys).values())
        # Mail for a named recipient claims `*` as well, with the path of that recipient's result. The attempt may have
        # ended there.
        return {
            claim.result_recipient: claim.result
            for claim in claims
            if claim.owner == self.receipt.arrival and is_result_for(claim.result, claim.result_recipient)
        }

    def _find_original(self, claim: Claim, fingerprints: Sequence[Fingerprint], *, decide: bool) -> Claim:
        """Follow another arrival's claim to the arrival that has the result, or is to write it.

        Each step leads to a claim of a later kind, and at most one step from `*` to a named recipient.

        Args:
            claim: the claim that stopped us.
            fingerprints: our message's fingerprints.
            decide: if it is undecided whether the claim's owner is the original, decide it. False: assume that it is.

        Returns:
            The original's claim, by the last of our fingerprints that led to it.
        """
        kind = claim.kind
        while True:
            stopping = self._find_stopping(claim, decide=decide)
            if stopping is None or stopping.owner == claim.owner:
                return replace(stopping or claim, kind=kind)
            claim = stopping
            if _are_same(claim, fingerprints):
                kind = claim.kind

    def _find_stopping(self, claim: Claim, *, decide: bool) -> Claim | None:
        """Return the other arrival's claim that stops the owner of a claim; the owner's last claim if none does."""
        keys = [_key(fingerprint, claim.result_recipient) for fingerprint in claim.undecided]
        existing = self.records.get_many(Table.CLAIMS, keys) if keys else {}
        for kind in [fingerprint.kind for fingerprint in claim.undecided]:
            if not claim.has_kind(kind):
                continue
            own = replace(claim, recipient=claim.result_recipient, kind=kind)
            other = self._find_deciding(own.fingerprint, own, existing)
            if other is None:
                recorded = self._recorded_outcome(claim)
                if recorded is not None or not decide:
                    return recorded
                other = self._take_for_owner(own)
            if other.owner != claim.owner:
                return other
            claim = other
        return claim

    def _recorded_outcome(self, claim: Claim) -> Claim | None:
        """Return the deciding claim by the receipt of a claim's owner; None if the receipt is undecided.

        The owner has no claim of a later kind, since its original may have been erased, with its claims.
        """
        record = self.records.get(Table.RECEIPTS, claim.owner)
        if record is None:
            return claim
        owner = Receipt.from_record(record)
        outcome = owner.outcomes.get(claim.result_recipient, "").partition(" ")[0]
        if outcome == "duplicate":
            return self._recorded_original(owner, claim)
        is_final = outcome == "routed" or TRUNCATED in owner.outcomes or owner.state is State.ERASED
        return claim if is_final else None

    def _recorded_original(self, owner: Receipt, claim: Claim) -> Claim:
        """Return the original that a duplicate's record names; the duplicate's own claim if the record is gone."""
        try:
            entries = json.loads(self.blobs.read(resolved_record_path("duplicates", owner)) or b"")["duplicates"]
            original = next(entry["duplicate_of"] for entry in entries if entry["recipient"] == claim.result_recipient)
            arrival, message, result = (str(original[name]) for name in ("arrival", "message", "result"))
        except (ValueError, LookupError, TypeError, StopIteration):
            return claim
        return replace(claim, owner=arrival, message=message, result=result, fingerprints=())

    def _take_for_owner(self, own: Claim) -> Claim:
        """Take a claim for the owner of an earlier claim, as the owner's next attempt would.

        An arrival that has begun to claim a recipient continues until it has the result or is stopped. So the claim is
        decided now, before the owner is routed again.

        Args:
            own: the claim as its owner would take it.

        Returns:
            The deciding claim, like `_take`.
        """
        claim = self._take(own.fingerprint, own)
        if claim.owner == own.owner and claim.position < MAX_POSITIONS:
            record = self.records.get(Table.RECEIPTS, own.owner)
            if record is None or Receipt.from_record(record).state is State.ERASED:
                # Erased since its claim was read: nothing may be claimed for it.
                erase_claims(self.records, {_key(own.fingerprint, own.recipient, claim.position): own.kind})
                raise ServiceUnavailable("the arrival that claimed the same message was erased meanwhile")
        return claim

    def _take(self, fingerprint: Fingerprint, own: Claim) -> Claim:
        """Create a claim, unless a claim of the same message exists.

        Args:
            fingerprint: the owner's.
            own: the claim to create.

        Returns:
            The deciding claim: the owner's, or that of another arrival whose message is the same. If the list of a
            Message-ID is full of different messages, the owner's, which has no position and is not stored.
        """
        different: list[Claim] = []
        existing: dict[str, Record] = {}
        for position in range(_positions(fingerprint)):
            key = _key(fingerprint, own.recipient, position)
            if position > 1 and key not in existing:
                existing |= self._read_ahead(fingerprint, own.recipient, position)
            if key not in existing and self.records.create(Table.CLAIMS, key, own.to_values()):
                return replace(own, position=position, different=tuple(different))
            claim = Claim.from_record(existing.get(key) or self._read_existing(key))
            if _decides(claim, fingerprint, own):
                return replace(claim, position=position, different=tuple(different))
            different += [claim] if claim.owner else []
        return replace(own, position=MAX_POSITIONS, different=tuple(different))

    def _find_deciding(self, fingerprint: Fingerprint, own: Claim, existing: Mapping[str, Record]) -> Claim | None:
        """Return the deciding claim, like `_take`, or None if there is none. Take no claim.

        Args:
            fingerprint: the owner's.
            own: the claim that `_take` would create.
            existing: the existing first claims on the owner's fingerprints.
        """
        first = existing.get(_key(fingerprint, own.recipient))
        if first is None:
            return None
        claims = self._list(fingerprint, own.recipient, first)
        return next((claim for claim in claims if _decides(claim, fingerprint, own)), None)

    def _list(self, fingerprint: Fingerprint, recipient: str, first: Record | None = None) -> Iterator[Claim]:
        """Yield all claims on a fingerprint in the order of their positions. Only a Message-ID may have more than one.

        Args:
            fingerprint: the claimed fingerprint.
            recipient: the claimed recipient.
            first: the first claim, if it was read.
        """
        existing = {_key(fingerprint, recipient): first} if first is not None else {}
        for position in range(_positions(fingerprint)):
            key = _key(fingerprint, recipient, position)
            if key not in existing:
                existing |= self._read_ahead(fingerprint, recipient, position)
            if key not in existing:
                return
            yield Claim.from_record(existing[key])

    def _read_ahead(self, fingerprint: Fingerprint, recipient: str, position: int) -> dict[str, Record]:
        """Read the claim at a position, and as many behind it as there are before it."""
        positions = range(position, min(max(2 * position, 2), _positions(fingerprint)))
        return self.records.get_many(Table.CLAIMS, [_key(fingerprint, recipient, at) for at in positions])

    def _read_existing(self, key: str) -> Record:
        record = self.records.get(Table.CLAIMS, key)
        if record is None:
            raise ServiceUnavailable("a claim disappeared: its message was erased meanwhile")
        return record

    def _own(self, fingerprints: Sequence[Fingerprint], recipient: str, result: str) -> Claim:
        return Claim(
            owner=self.receipt.arrival,
            message=self.receipt.message,
            result=result,
            kind=fingerprints[0].kind if fingerprints else FingerprintKind.RAW,
            recipient=recipient,
            result_recipient=recipient,
            fingerprints=tuple(fingerprints),
        )


def unfinished_matches(
    claims: Claims,
    fingerprints: Sequence[Fingerprint],
    decision: Decision,
    content: VisibleContent,
    hints: Sequence[EnvelopeHint],
) -> tuple[Match, ...]:
    """Return the recipients that an earlier attempt claimed and the current routes do not match.

    Args:
        claims: the arrival's.
        fingerprints: the message's fingerprints.
        decision: the matches by the current routes.
        content: the message's addresses.
        hints: the message's envelope recipients.
    """
    matched_by: dict[str, Matched] = {ANY_RECIPIENT: "wildcard"}
    for addresses, header in ((content.to, "to"), (content.cc, "cc")):
        matched_by |= {address: header for address in addresses if address not in matched_by}
    matched_by |= {hint.address: hint.where for hint in hints if hint.address not in matched_by}
    matched = {match.recipient for match in decision.matches}
    # With a larger MAX_RECIPIENTS, or other routes, the earlier attempt may have served recipients beyond the limit.
    unmatched = islice((address for address in matched_by if address not in matched), MAX_ADDRESSES)
    unfinished = claims.unfinished(fingerprints, (*decision.unserved, *unmatched))
    return tuple(
        # A recipient that no header names was named by a delivery header that is no longer trusted.
        Match(recipient, route_of_result(path), matched_by.get(recipient, "to"))
        for recipient, path in sorted(unfinished.items())
        if recipient not in matched
    )


def erase_claims(records: Records, claims: Mapping[str, str]) -> None:
    """Erase claims. A claim on a Message-ID keeps its position in the list, and nothing else.

    Args:
        records: where they are stored.
        claims: each claim's `kind`, by key.
    """
    blanked = [key for key, kind in claims.items() if kind == FingerprintKind.MESSAGE_ID]
    records.merge_many(Table.CLAIMS, dict.fromkeys(blanked, ERASED_CLAIM))
    records.delete_many(Table.CLAIMS, [key for key in claims if key not in set(blanked)])


def _key(fingerprint: Fingerprint, recipient: str, position: int = 0) -> str:
    return claim_key(fingerprint.kind, fingerprint.digest, recipient, position)


def _positions(fingerprint: Fingerprint) -> int:
    return MAX_POSITIONS if fingerprint.kind is FingerprintKind.MESSAGE_ID else 1


def _decides(claim: Claim, fingerprint: Fingerprint, own: Claim) -> bool:
    """Return whether a claim on a fingerprint is the owner's own, or of another arrival whose message is the same."""
    if claim.kind is not FingerprintKind.MESSAGE_ID:
        return True
    # An erased message is different from all. `explain` uses an arrival without a key.
    return claim.owner != "" and (claim.owner == own.owner or fingerprint.is_same(claim.fingerprint))


def _are_same(claim: Claim, fingerprints: Sequence[Fingerprint]) -> bool:
    """Return whether a message is the same as that of a claim's owner by the claimed fingerprint."""
    return any(fingerprint.is_same(claim.fingerprint) for fingerprint in fingerprints)


def _to_json(fingerprint: Fingerprint) -> list[object]:
    comparison = [fingerprint.comparison.to_json()] if fingerprint.comparison is not None else []
    return [fingerprint.kind.value, fingerprint.digest, *comparison]
