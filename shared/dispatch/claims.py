"""Claims as records: which arrival a fingerprint's recipient belongs to, decided once and for good
(docs/explanation/receipts.md, "Dispatch").

Different messages may have one Message-ID. Each takes a position in a list of claims on it, the first free one behind
all messages that are different (docs/explanation/duplicates.md, "One Message-ID, several messages"). Other fingerprints
have a list of one position.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.documents.schema import Duplicate, Original
from shared.errors import ServiceUnavailable
from shared.keys import claim_key
from shared.receipts import Receipt
from shared.routing.fingerprints import Comparison, Fingerprint, FingerprintKind
from shared.storage.base import Record, Records, Table, Value, Values

MAX_POSITIONS = 64
"""Different messages with one Message-ID that hold a claim on it. Further ones hold none, and still get results."""

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

    @property
    def is_stored(self) -> bool:
        """Whether the claim has a position: the list of a Message-ID may be full."""
        return self.position < MAX_POSITIONS

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

    @property
    def prints(self) -> str:
        """The JSON of the fingerprints."""
        return json.dumps([_to_json(fingerprint) for fingerprint in self.fingerprints])

    def to_values(self, prints: str | None = None) -> Values:
        """Return the record's properties, without the key.

        Args:
            prints: the JSON of the fingerprints, which all claims of a message have in common; None: it is made.
        """
        return {
            "owner": self.owner,
            "message": self.message,
            "result": self.result,
            "recipient": self.recipient,
            "kind": self.kind.value,
            "named": self.result_recipient,
            "prints": self.prints if prints is None else prints,
        }

    @classmethod
    def of_arrival(cls, receipt: Receipt, fingerprints: Sequence[Fingerprint], recipient: str, result: str) -> Claim:
        """Return the first claim that an arrival takes on a recipient."""
        return cls(
            owner=receipt.arrival,
            message=receipt.message,
            result=result,
            kind=fingerprints[0].kind if fingerprints else FingerprintKind.RAW,
            recipient=recipient,
            result_recipient=recipient,
            fingerprints=tuple(fingerprints),
        )

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


@dataclass(frozen=True, slots=True)
class ClaimLists:
    """The lists of claims, one for each fingerprint and recipient.

    Attributes:
        records: where claims are stored.
    """

    records: Records

    def take(self, own: Claim, first: Record | None = None) -> Claim:
        """Create a claim, unless a claim of the same message exists.

        Args:
            own: the claim to create.
            first: the claim at the first position, if it was read.

        Returns:
            The deciding claim: the owner's, or that of another arrival whose message is the same. If the list of a
            Message-ID is full of different messages, the owner's, which has no position and is not stored.
        """
        fingerprint = own.fingerprint
        different: list[Claim] = []
        existing = {} if first is None else {to_key(fingerprint, own.recipient): first}
        for position in range(_positions(fingerprint)):
            key = to_key(fingerprint, own.recipient, position)
            if position > 1 and key not in existing:
                existing |= self._read_ahead(fingerprint, own.recipient, position)
            if key not in existing and self.records.create(Table.CLAIMS, key, own.to_values()):
                return replace(own, position=position, different=tuple(different))
            claim = Claim.from_record(existing.get(key) or self.read_existing(key))
            if _decides(claim, fingerprint, own):
                return replace(claim, position=position, different=tuple(different))
            different += [claim] if claim.owner else []
        return replace(own, position=MAX_POSITIONS, different=tuple(different))

    def find_deciding(self, own: Claim, existing: Mapping[str, Record]) -> Claim | None:
        """Return the deciding claim, like `take`, or None if there is none. Take no claim.

        Args:
            own: the claim that `take` would create.
            existing: the existing first claims on the owner's fingerprints.
        """
        fingerprint = own.fingerprint
        first = existing.get(to_key(fingerprint, own.recipient))
        if first is None:
            return None
        claims = self.all(fingerprint, own.recipient, first)
        return next((claim for claim in claims if _decides(claim, fingerprint, own)), None)

    def all(self, fingerprint: Fingerprint, recipient: str, first: Record | None = None) -> Iterator[Claim]:
        """Yield all claims on a fingerprint in the order of their positions. Only a Message-ID may have more than one.

        Args:
            fingerprint: the claimed fingerprint.
            recipient: the claimed recipient.
            first: the first claim, if it was read.
        """
        existing = {to_key(fingerprint, recipient): first} if first is not None else {}
        for position in range(_positions(fingerprint)):
            key = to_key(fingerprint, recipient, position)
            if key not in existing:
                existing |= self._read_ahead(fingerprint, recipient, position)
            if key not in existing:
                return
            yield Claim.from_record(existing[key])

    def _read_ahead(self, fingerprint: Fingerprint, recipient: str, position: int) -> dict[str, Record]:
        """Read the claim at a position, and as many behind it as there are before it."""
        positions = range(position, min(max(2 * position, 2), _positions(fingerprint)))
        return self.records.get_many(Table.CLAIMS, [to_key(fingerprint, recipient, at) for at in positions])

    def read_existing(self, key: str) -> Record:
        """Return a claim that exists, unless its message was erased meanwhile."""
        record = self.records.get(Table.CLAIMS, key)
        if record is None:
            raise ServiceUnavailable("a claim disappeared: its message was erased meanwhile")
        return record


def erase_claims(records: Records, claims: Mapping[str, str]) -> None:
    """Erase claims. A claim on a Message-ID keeps its position in the list, and nothing else.

    Args:
        records: where they are stored.
        claims: each claim's `kind`, by key.
    """
    blanked = [key for key, kind in claims.items() if kind == FingerprintKind.MESSAGE_ID]
    records.merge_many(Table.CLAIMS, dict.fromkeys(blanked, ERASED_CLAIM))
    records.delete_many(Table.CLAIMS, [key for key in claims if key not in set(blanked)])


def to_key(fingerprint: Fingerprint, recipient: str, position: int = 0) -> str:
    """Return the key of the claim on a fingerprint for a recipient."""
    return claim_key(fingerprint.kind, fingerprint.digest, recipient, position)


def _positions(fingerprint: Fingerprint) -> int:
    return MAX_POSITIONS if fingerprint.kind is FingerprintKind.MESSAGE_ID else 1


def _decides(claim: Claim, fingerprint: Fingerprint, own: Claim) -> bool:
    """Return whether a claim on a fingerprint is the owner's own, or of another arrival whose message is the same."""
    if claim.kind is not FingerprintKind.MESSAGE_ID:
        return True
    # An erased message is different from all. `explain` uses an arrival without a key.
    return claim.owner != "" and (claim.owner == own.owner or fingerprint.is_same(claim.fingerprint))


def are_same(claim: Claim, fingerprints: Sequence[Fingerprint]) -> bool:
    """Return whether a message is the same as that of a claim's owner by the claimed fingerprint."""
    return any(fingerprint.is_same(claim.fingerprint) for fingerprint in fingerprints)


def _to_json(fingerprint: Fingerprint) -> list[object]:
    comparison = [fingerprint.comparison.to_json()] if fingerprint.comparison is not None else []
    return [fingerprint.kind.value, fingerprint.digest, *comparison]
