"""Claims: which arrival a fingerprint's recipient belongs to, decided once and for good (docs/receipts.md, "Out").

A claim's owner may be a duplicate itself: it claimed the raw bytes and lost at the content. So a claim carries its
owner's fingerprints, and whoever is stopped by it follows it to the arrival that holds all of its claims: the original
(docs/duplicates.md, "Which one is named").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from shared.errors import ServiceUnavailable
from shared.keys import again_key, claim_key
from shared.receipts import CUT, Receipt, State
from shared.routing.fingerprints import Fingerprint, FingerprintKind
from shared.routing.model import ANYBODY
from shared.sorting.resolving import path_of
from shared.storage.protocol import Blobs, Record, Records, Table, Values
from shared.stored.layout import is_result_for
from shared.stored.published import Duplicate


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as it stands.

    Attributes:
        owner: the arrival that made it.
        message: the owner's message id.
        result: the path of the owner's result.
        kind: the fingerprint's kind.
        recipient: who is claimed.
        named: whose the result is: who is claimed, or for a claim on `*` by mail that names somebody, that recipient.
        prints: the fingerprints of the owner's message, in the one order.
    """

    owner: str
    message: str
    result: str
    kind: FingerprintKind
    recipient: str
    named: str
    prints: tuple[Fingerprint, ...]

    @property
    def open(self) -> tuple[Fingerprint, ...]:
        """The fingerprints on which the owner may have been stopped, or may yet be."""
        if self.named != self.recipient:
            return self.prints  # whoever is named claims `*` first, and does not care who has it
        kinds = [one.kind for one in self.prints]
        return self.prints[kinds.index(self.kind) + 1 :] if self.kind in kinds else ()

    def values(self) -> Values:
        """As a record's properties; the key is not among them."""
        return {
            "owner": self.owner,
            "message": self.message,
            "result": self.result,
            "recipient": self.recipient,
            "kind": self.kind.value,
            "named": self.named,
            "prints": json.dumps([[one.kind.value, one.digest] for one in self.prints]),
        }

    def as_original(self, recipient: str, route: str) -> Duplicate:
        """What a duplicate's record tells of it, and of the recipient who had the message by it."""
        return {
            "recipient": recipient,
            "route": route,
            "duplicate_of": {"arrival": self.owner, "message": self.message, "result": self.result},
            "by": self.kind,
        }


@dataclass(slots=True)
class Claims:
    """Takes claims for one arrival.

    Attributes:
        records: where they are.
        receipt: the arrival's.
        blobs: where the records of duplicates are.
    """

    records: Records
    receipt: Receipt
    blobs: Blobs
    _took_anybody: bool = field(default=False, init=False)

    def take(self, prints: Sequence[Fingerprint], recipient: str, result: str) -> Claim:
        """Claim a recipient under each fingerprint, in order, until another arrival is found to have been first.

        A recipient that is named claims `*` as well, before itself: mail that named it is what a wildcard route's copy
        duplicates. Who holds that is of no consequence here.

        Args:
            prints: the message's fingerprints, in the one order.
            recipient: a normalised address, or `*`.
            result: where the result is to be.

        Returns:
            Our claim, whose `result` is where an earlier try of ours put it, if there was one; or the original's.
        """
        own = self._own(prints, recipient, result)
        if recipient != ANYBODY and not self._took_anybody:
            anybody = [replace(own, recipient=ANYBODY, kind=one.kind) for one in prints]
            rows = {_key(one, ANYBODY): claim.values() for one, claim in zip(prints, anybody, strict=True)}
            self.records.create_many(Table.CLAIMS, rows)
            self._took_anybody = True
        for fingerprint in prints:
            claim = self._take(fingerprint, replace(own, kind=fingerprint.kind))
            if claim.owner != self.receipt.arrival:
                return self._original(claim, prints, decide=True)
            # An earlier try may have begun with another route: one path for all, which others' duplicates name.
            own = replace(own, result=claim.result)
        return own

    def take_again(self, request: str, recipient: str, result: str) -> str:
        """Claim the place of the result that a replay writes in place of another.

        Args:
            request: what asks for it, and for the replacement of which result.
            recipient: a normalised address, or `*`.
            result: where the result is to be.

        Returns:
            Where it is to be: where an earlier try had put it, though the routes may have changed since.
        """
        key = again_key(request, recipient)
        values = {**self._own((), recipient, result).values(), "kind": "again"}
        if self.records.create(Table.CLAIMS, key, values):
            return result
        return str(self._there(key).values["result"])

    def look(self, prints: Sequence[Fingerprint], recipient: str) -> Claim | None:
        """Return the original's claim where another arrival holds the recipient; nothing is taken.

        A claim of our own decides nothing: what is a duplicate by its content holds that of its raw bytes.
        """
        found = self.records.get_many(Table.CLAIMS, [_key(one, recipient) for one in prints])
        claims = [_claim(found[_key(one, recipient)]) for one in prints if _key(one, recipient) in found]
        others = next((claim for claim in claims if claim.owner != self.receipt.arrival), None)
        return None if others is None else self._original(others, prints, decide=False)

    def begun(self, prints: Sequence[Fingerprint], recipients: Iterable[str]) -> dict[str, str]:
        """The recipients that an earlier try of ours has claimed, each with the path that its result was to have.

        Args:
            prints: the message's fingerprints.
            recipients: normalised addresses, or `*`: whom it may have been.
        """
        keys = [_key(one, recipient) for recipient in {ANYBODY: None, **dict.fromkeys(recipients)} for one in prints]
        found = map(_claim, self.records.get_many(Table.CLAIMS, keys).values())
        ours = [claim for claim in found if claim.owner == self.receipt.arrival]
        # Whoever is named claims `*` as well, with the path of its own result; and may have come no further.
        return {claim.named: claim.result for claim in ours if is_result_for(claim.result, claim.named)}

    def _original(self, claim: Claim, prints: Sequence[Fingerprint], *, decide: bool) -> Claim:
        """Follow a claim of another arrival to the arrival that has the result, or is the one to write it.

        Each step leads to a claim of a later kind, and at most one from `*` to a recipient that is named.

        Args:
            claim: what stopped us.
            prints: our message's fingerprints.
            decide: where it is open whether the claim's owner is the original, decide it. False: take it for it.

        Returns:
            The original's claim, by the last fingerprint of ours that led to it.
        """
        kind = claim.kind
        while True:
            stopped = self._stops(claim, decide=decide)
            if stopped is None or stopped.owner == claim.owner:
                return replace(stopped or claim, kind=kind)
            claim = stopped
            if any(_key(one, claim.recipient) == _key(_print_of(claim), claim.recipient) for one in prints):
                kind = claim.kind

    def _stops(self, claim: Claim, *, decide: bool) -> Claim | None:
        """The claim of another arrival that stops the owner of this one; or the owner's last claim, if none does."""
        keys = {_key(one, claim.named): one for one in claim.open}
        found = self.records.get_many(Table.CLAIMS, list(keys)) if keys else {}
        for key, fingerprint in keys.items():
            if key in found:
                other = _claim(found[key])
            elif decide:
                decided = self._decided(claim)
                if decided is not None:
                    return decided
                other = self._take_for(claim, fingerprint)
            else:
                return self._decided(claim)
            if other.owner != claim.owner:
                return other
            claim = other
        return claim

    def _decided(self, claim: Claim) -> Claim | None:
        """What the receipt of a claim's owner says, which has no claim of a later kind; None if nothing yet.

        Its original may have been erased, with its claims.
        """
        record = self.records.get(Table.RECEIPTS, claim.owner)
        if record is None:
            return claim
        owner = Receipt.of(record)
        fate = owner.outcomes.get(claim.named, "").partition(" ")[0]
        if fate == "duplicate":
            return self._recorded(owner, claim)
        return claim if fate == "routed" or CUT in owner.outcomes or owner.state is State.FORGOTTEN else None

    def _recorded(self, owner: Receipt, claim: Claim) -> Claim:
        """The original that the record of a duplicate names; the duplicate's own claim, if its record is gone."""
        try:
            entries = json.loads(self.blobs.read(path_of("duplicates", owner)) or b"")["duplicates"]
            original = next(one["duplicate_of"] for one in entries if one["recipient"] == claim.named)
            arrival, message, result = (str(original[name]) for name in ("arrival", "message", "result"))
        except (ValueError, LookupError, TypeError, StopIteration):
            return claim
        return replace(claim, owner=arrival, message=message, result=result, prints=())

    def _take_for(self, claim: Claim, fingerprint: Fingerprint) -> Claim:
        """Take a claim for the owner of an earlier one, as its own next try would.

        An arrival that has begun to claim a recipient goes on until it has the result, or is stopped. So it is decided
        now, and not when it is routed again, which it is.
        """
        next_one = replace(claim, recipient=claim.named, kind=fingerprint.kind)
        key = _key(fingerprint, claim.named)
        if self.records.create(Table.CLAIMS, key, next_one.values()):
            record = self.records.get(Table.RECEIPTS, claim.owner)
            if record is None or Receipt.of(record).state is State.FORGOTTEN:
                # Erased since we looked: nothing may be claimed for it.
                self.records.delete_many(Table.CLAIMS, [key])
                raise ServiceUnavailable("the arrival that has claimed the same message was forgotten meanwhile")
            return next_one
        return _claim(self._there(key))

    def _take(self, fingerprint: Fingerprint, own: Claim) -> Claim:
        key = _key(fingerprint, own.recipient)
        if self.records.create(Table.CLAIMS, key, own.values()):
            return own
        return _claim(self._there(key))

    def _there(self, key: str) -> Record:
        record = self.records.get(Table.CLAIMS, key)
        if record is None:
            raise ServiceUnavailable("a claim was there and is gone: its message was forgotten meanwhile")
        return record

    def _own(self, prints: Sequence[Fingerprint], recipient: str, result: str) -> Claim:
        return Claim(
            owner=self.receipt.arrival,
            message=self.receipt.message,
            result=result,
            kind=prints[0].kind if prints else FingerprintKind.RAW,
            recipient=recipient,
            named=recipient,
            prints=tuple(prints),
        )


def _key(fingerprint: Fingerprint, recipient: str) -> str:
    return claim_key(fingerprint.kind, fingerprint.digest, recipient)


def _print_of(claim: Claim) -> Fingerprint:
    return next((one for one in claim.prints if one.kind is claim.kind), Fingerprint(claim.kind, ""))


def _claim(record: Record) -> Claim:
    values = record.values
    prints = json.loads(str(values.get("prints", "[]")))
    return Claim(
        owner=str(values["owner"]),
        message=str(values["message"]),
        result=str(values["result"]),
        kind=FingerprintKind(str(values["kind"])),
        recipient=str(values["recipient"]),
        named=str(values.get("named", values["recipient"])),
        prints=tuple(Fingerprint(FingerprintKind(kind), digest) for kind, digest in prints),
    )
