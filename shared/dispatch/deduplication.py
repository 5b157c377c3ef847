"""Claims: which arrival a fingerprint's recipient belongs to, decided once and for good (docs/receipts.md, "Out").

A claim's owner may be a duplicate itself: it claimed the raw bytes and lost at the content. So a claim carries its
owner's fingerprints, and whoever is stopped by it follows it to the arrival that holds all of its claims: the original
(docs/duplicates.md, "Which one is named").

Different messages may have one Message-ID. Each takes a place in a list of claims on it, the first free one behind all
messages that are different (docs/duplicates.md, "One Message-ID, several messages").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shared.dispatch.record_resolution import resolved_record_path
from shared.documents.blob_paths import is_result_for
from shared.documents.schema import Duplicate, Original
from shared.errors import ServiceUnavailable
from shared.keys import claim_key, reissue_key
from shared.receipts import TRUNCATED, Receipt, State
from shared.routing.fingerprints import Comparison, Fingerprint, FingerprintKind
from shared.routing.model import ANY_RECIPIENT
from shared.storage.base import Blobs, Record, Records, Table, Value, Values

PLACES = 64
"""Different messages with one Message-ID that take a claim on it. Further ones hold no claim on it and get results."""

NO_OWNER: Mapping[str, Value] = dict.fromkeys(("owner", "message", "result", "recipient", "named"), "") | {
    "kind": FingerprintKind.MESSAGE_ID.value,
    "prints": "[]",
}
"""What a claim on a Message-ID keeps when its message is erased: its place, so that no list has a gap."""


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
        place: for a Message-ID, the place in the list of different messages.
        different: the claims before it in that list.
    """

    owner: str
    message: str
    result: str
    kind: FingerprintKind
    recipient: str
    named: str
    prints: tuple[Fingerprint, ...]
    place: int = 0
    different: tuple[Claim, ...] = ()

    @property
    def fingerprint(self) -> Fingerprint:
        """The owner's fingerprint that this is the claim on."""
        return next((one for one in self.prints if one.kind is self.kind), Fingerprint(self.kind, ""))

    def has(self, kind: FingerprintKind) -> bool:
        """Return whether the owner's message has a fingerprint of a kind."""
        return any(one.kind is kind for one in self.prints)

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
            "prints": json.dumps([_print_as_json(one) for one in self.prints]),
        }

    @classmethod
    def from_record(cls, record: Record) -> Claim:
        """From a record that has `values`."""
        values = record.values
        prints = json.loads(str(values.get("prints", "[]")))
        return cls(
            owner=str(values["owner"]),
            message=str(values["message"]),
            result=str(values["result"]),
            kind=FingerprintKind(str(values["kind"])),
            recipient=str(values["recipient"]),
            named=str(values.get("named", values["recipient"])),
            prints=tuple(
                Fingerprint(FingerprintKind(kind), digest, *map(Comparison.from_json, compared))
                for kind, digest, *compared in prints
            ),
        )

    def as_reference(self) -> Original:
        """What a document says of the owner's result."""
        return {"arrival": self.owner, "message": self.message, "result": self.result}

    def as_original(self, recipient: str, route: str) -> Duplicate:
        """What a duplicate's record tells of it, and of the recipient who had the message by it."""
        return {
            "recipient": recipient,
            "route": route,
            "duplicate_of": self.as_reference(),
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
    _anybody_open: tuple[Claim, Fingerprint] | None = field(default=None, init=False)

    def claim(self, prints: Sequence[Fingerprint], recipient: str, result: str) -> Claim:
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
        if recipient != ANY_RECIPIENT:
            self._claim_anybody(own)
        for kind in FingerprintKind:
            if not own.has(kind):
                continue
            own = replace(own, kind=kind)
            claim = self._take(own.fingerprint, own)
            if claim.owner != self.receipt.arrival:
                return self._original(claim, prints, decide=True)
            # An earlier try may have begun with another route: one path for all, which others' duplicates name. It may
            # have read the message with other settings, too: others compare themselves with what it stored.
            own = replace(own, result=claim.result, prints=claim.prints or own.prints, different=claim.different)
            if recipient != ANY_RECIPIENT:
                self._go_on_with_anybody()
        return own

    def _claim_anybody(self, own: Claim) -> None:
        """Claim `*` for a message that names somebody, whoever else has it."""
        if self._took_anybody:
            return
        anybody = {
            _key(one, ANY_RECIPIENT): (one, replace(own, recipient=ANY_RECIPIENT, kind=one.kind)) for one in own.prints
        }
        rows = {key: claim.values() for key, (_, claim) in anybody.items()}
        existing = self.records.create_many(Table.CLAIMS, rows)
        for key in existing:
            fingerprint, claim = anybody[key]
            if fingerprint.kind is FingerprintKind.MESSAGE_ID:
                self._anybody_open = claim, fingerprint
        self._took_anybody = True

    def _go_on_with_anybody(self) -> None:
        """Take a place for `*` behind different messages with the same Message-ID.

        It waits until a claim on the raw bytes is ours: another arrival of the same bytes takes the place for its own.
        """
        if self._anybody_open is not None:
            claim, fingerprint = self._anybody_open
            self._take(fingerprint, claim)
            self._anybody_open = None

    def claim_replacement(self, request: str, recipient: str, result: str) -> str:
        """Claim the place of the result that a replay writes in place of another.

        Args:
            request: what asks for it, and for the replacement of which result.
            recipient: a normalised address, or `*`.
            result: where the result is to be.

        Returns:
            Where it is to be: where an earlier try had put it, though the routes may have changed since.
        """
        key = reissue_key(request, recipient)
        values = {**self._own((), recipient, result).values(), "kind": "again"}
        if self.records.create(Table.CLAIMS, key, values):
            return result
        return str(self._there(key).values["result"])

    def find_duplicate(self, prints: Sequence[Fingerprint], recipient: str) -> Claim | None:
        """Return the original's claim where another arrival holds the recipient; nothing is taken.

        A claim of our own decides nothing: what is a duplicate by its content holds that of its raw bytes.
        """
        own = self._own(prints, recipient, "")
        known = self.records.get_many(Table.CLAIMS, [_key(one, recipient) for one in prints])
        claims = (self._existing(one, replace(own, kind=one.kind), known) for one in prints)
        other = next((claim for claim in claims if claim is not None and claim.owner != self.receipt.arrival), None)
        return None if other is None else self._original(other, prints, decide=False)

    def different(self, prints: Sequence[Fingerprint], recipient: str) -> tuple[Claim, ...]:
        """Return the claims of other messages that have the same Message-ID, and have results of their own.

        Args:
            prints: the message's fingerprints.
            recipient: a normalised address, or `*`.
        """
        lists = [self._list(one, recipient) for one in prints if one.kind is FingerprintKind.MESSAGE_ID]
        others = [claim for claims in lists for claim in claims if claim.owner not in {"", self.receipt.arrival}]
        return tuple(claim for claim in others if not _are_same(claim, prints))

    def unfinished(self, prints: Sequence[Fingerprint], recipients: Iterable[str]) -> dict[str, str]:
        """The recipients that an earlier try of ours has claimed, each with the path that its result was to have.

        Args:
            prints: the message's fingerprints.
            recipients: normalised addresses, or `*`: whom it may have been.
        """
        keys = [
            _key(one, recipient) for recipient in {ANY_RECIPIENT: None, **dict.fromkeys(recipients)} for one in prints
        ]
        found = map(Claim.from_record, self.records.get_many(Table.CLAIMS, keys).values())
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
            if _are_same(claim, prints):
                kind = claim.kind

    def _stops(self, claim: Claim, *, decide: bool) -> Claim | None:
        """The claim of another arrival that stops the owner of this one; or the owner's last claim, if none does."""
        keys = [_key(one, claim.named) for one in claim.open]
        known = self.records.get_many(Table.CLAIMS, keys) if keys else {}
        for kind in [one.kind for one in claim.open]:
            if not claim.has(kind):
                continue
            own = replace(claim, recipient=claim.named, kind=kind)
            other = self._existing(own.fingerprint, own, known)
            if other is None:
                decided = self._decided(claim)
                if decided is not None or not decide:
                    return decided
                other = self._take_for(own)
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
        owner = Receipt.from_record(record)
        fate = owner.outcomes.get(claim.named, "").partition(" ")[0]
        if fate == "duplicate":
            return self._recorded(owner, claim)
        return claim if fate == "routed" or TRUNCATED in owner.outcomes or owner.state is State.ERASED else None

    def _recorded(self, owner: Receipt, claim: Claim) -> Claim:
        """The original that the record of a duplicate names; the duplicate's own claim, if its record is gone."""
        try:
            entries = json.loads(self.blobs.read(resolved_record_path("duplicates", owner)) or b"")["duplicates"]
            original = next(one["duplicate_of"] for one in entries if one["recipient"] == claim.named)
            arrival, message, result = (str(original[name]) for name in ("arrival", "message", "result"))
        except (ValueError, LookupError, TypeError, StopIteration):
            return claim
        return replace(claim, owner=arrival, message=message, result=result, prints=())

    def _take_for(self, own: Claim) -> Claim:
        """Take a claim for the owner of an earlier one, as its own next try would.

        An arrival that has begun to claim a recipient goes on until it has the result, or is stopped. So it is decided
        now, and not when it is routed again, which it is.

        Args:
            own: the claim as its owner would take it.

        Returns:
            As `_take` does.
        """
        claim = self._take(own.fingerprint, own)
        if claim.owner == own.owner and claim.place < PLACES:
            record = self.records.get(Table.RECEIPTS, own.owner)
            if record is None or Receipt.from_record(record).state is State.ERASED:
                # Erased since we looked: nothing may be claimed for it.
                erase_claims(self.records, {_key(own.fingerprint, own.recipient, claim.place): own.kind})
                raise ServiceUnavailable("the arrival that has claimed the same message was forgotten meanwhile")
        return claim

    def _take(self, fingerprint: Fingerprint, own: Claim) -> Claim:
        """Take a claim, unless one of the same message is there.

        Args:
            fingerprint: the owner's.
            own: the claim as it is to be.

        Returns:
            The claim that decides: the owner's, or that of another arrival whose message is the same. Where the list
            of a Message-ID is full of different messages, the owner's, which has no place and is not stored.
        """
        different: list[Claim] = []
        known: dict[str, Record] = {}
        for place in range(_places(fingerprint)):
            key = _key(fingerprint, own.recipient, place)
            if place > 1 and key not in known:
                known |= self._read_ahead(fingerprint, own.recipient, place)
            if key not in known and self.records.create(Table.CLAIMS, key, own.values()):
                return replace(own, place=place, different=tuple(different))
            claim = Claim.from_record(known.get(key) or self._there(key))
            if _decides(claim, fingerprint, own):
                return replace(claim, place=place, different=tuple(different))
            different += [claim] if claim.owner else []
        return replace(own, place=PLACES, different=tuple(different))

    def _existing(self, fingerprint: Fingerprint, own: Claim, known: Mapping[str, Record]) -> Claim | None:
        """The claim that decides, as `_take` has it; None if there is none. Nothing is taken.

        Args:
            fingerprint: the owner's.
            own: the claim as it would be.
            known: the first claims on the owner's fingerprints, as far as there are any.
        """
        first = known.get(_key(fingerprint, own.recipient))
        if first is None:
            return None
        claims = self._list(fingerprint, own.recipient, first)
        return next((claim for claim in claims if _decides(claim, fingerprint, own)), None)

    def _list(self, fingerprint: Fingerprint, recipient: str, first: Record | None = None) -> Iterator[Claim]:
        """All claims on a fingerprint, in the order of their places; of several only a Message-ID may have.

        Args:
            fingerprint: which.
            recipient: who is claimed.
            first: the first claim, if it was read.
        """
        known = {_key(fingerprint, recipient): first} if first is not None else {}
        for place in range(_places(fingerprint)):
            key = _key(fingerprint, recipient, place)
            if key not in known:
                known |= self._read_ahead(fingerprint, recipient, place)
            if key not in known:
                return
            yield Claim.from_record(known[key])

    def _read_ahead(self, fingerprint: Fingerprint, recipient: str, place: int) -> dict[str, Record]:
        """Read the claim at a place, and as many behind it as there are before it."""
        places = range(place, min(max(2 * place, 2), _places(fingerprint)))
        return self.records.get_many(Table.CLAIMS, [_key(fingerprint, recipient, at) for at in places])

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


def erase_claims(records: Records, claims: Mapping[str, str]) -> None:
    """Erase claims. One on a Message-ID keeps its place in the list, and nothing else.

    Args:
        records: where they are.
        claims: what they are on, as their `kind` has it, by key.
    """
    places = [key for key, kind in claims.items() if kind == FingerprintKind.MESSAGE_ID]
    records.merge_many(Table.CLAIMS, dict.fromkeys(places, NO_OWNER))
    records.delete_many(Table.CLAIMS, [key for key in claims if key not in set(places)])


def _key(fingerprint: Fingerprint, recipient: str, place: int = 0) -> str:
    digest = f"{fingerprint.digest} {place}" if place else fingerprint.digest
    return claim_key(fingerprint.kind, digest, recipient)


def _places(fingerprint: Fingerprint) -> int:
    return PLACES if fingerprint.kind is FingerprintKind.MESSAGE_ID else 1


def _decides(claim: Claim, fingerprint: Fingerprint, own: Claim) -> bool:
    """Whether a claim on a fingerprint is the owner's own, or that of another arrival whose message is the same."""
    if claim.kind is not FingerprintKind.MESSAGE_ID:
        return True
    # An erased message is different from all. `explain` asks for an arrival without a key.
    return claim.owner != "" and (claim.owner == own.owner or fingerprint.is_same(claim.fingerprint))


def _are_same(claim: Claim, prints: Sequence[Fingerprint]) -> bool:
    """Whether a message is the same as the owner's of a claim by the fingerprint that is claimed."""
    return any(one.is_same(claim.fingerprint) for one in prints)


def _print_as_json(fingerprint: Fingerprint) -> list[object]:
    compared = [fingerprint.comparison.to_json()] if fingerprint.comparison is not None else []
    return [fingerprint.kind.value, fingerprint.digest, *compared]
