"""Originals: the arrival whose result a duplicate names (docs/explanation/duplicates.md, "Which one is named").

A claim's owner may be a duplicate itself: it claimed the raw bytes and lost the claim on the content. So a claim
carries its owner's fingerprints, and an arrival that it stops follows it to the arrival that holds all of its claims:
the original.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.dispatch.claims import Claim, ClaimLists, are_same, erase_claims, to_key
from shared.dispatch.record_resolution import resolved_record_path
from shared.errors import ServiceUnavailable
from shared.receipts import TRUNCATED, Receipt, State
from shared.routing.fingerprints import Fingerprint
from shared.storage.base import Blobs, Records, Table


@dataclass(frozen=True, slots=True)
class Originals:
    """Finds the originals of duplicates.

    Attributes:
        records: where claims and receipts are stored.
        blobs: where the records of duplicates are stored.
    """

    records: Records
    blobs: Blobs

    @property
    def _lists(self) -> ClaimLists:
        return ClaimLists(self.records)

    def find(self, claim: Claim, fingerprints: Sequence[Fingerprint], *, decide: bool) -> Claim:
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
            if are_same(claim, fingerprints):
                kind = claim.kind

    def _find_stopping(self, claim: Claim, *, decide: bool) -> Claim | None:
        """Return the other arrival's claim that stops the owner of a claim; the owner's last claim if none does."""
        keys = [to_key(fingerprint, claim.result_recipient) for fingerprint in claim.undecided]
        existing = self.records.get_many(Table.CLAIMS, keys) if keys else {}
        for kind in [fingerprint.kind for fingerprint in claim.undecided]:
            if not claim.has_kind(kind):
                continue
            own = replace(claim, recipient=claim.result_recipient, kind=kind)
            other = self._lists.find_deciding(own, existing)
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
            The deciding claim, like `ClaimLists.take`.
        """
        claim = self._lists.take(own)
        if claim.owner == own.owner and claim.is_stored:
            record = self.records.get(Table.RECEIPTS, own.owner)
            if record is None or Receipt.from_record(record).state is State.ERASED:
                # Erased since its claim was read: nothing may be claimed for it.
                erase_claims(self.records, {to_key(own.fingerprint, own.recipient, claim.position): own.kind})
                raise ServiceUnavailable("the arrival that claimed the same message was erased meanwhile")
        return claim
