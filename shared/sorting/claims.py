"""Claims: which arrival a fingerprint's recipient belongs to, decided once and for good (docs/receipts.md, "Out")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from shared.errors import ServiceUnavailable
from shared.keys import again_key, claim_key
from shared.receipts import Receipt
from shared.routing.fingerprints import Fingerprint, FingerprintKind
from shared.routing.model import ANYBODY
from shared.storage.protocol import Record, Records, Table, Values
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
    """

    owner: str
    message: str
    result: str
    kind: FingerprintKind

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
    """

    records: Records
    receipt: Receipt
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
            Our claim, whose `result` is where an earlier try of ours put it, if there was one; or the other's.
        """
        if recipient != ANYBODY and not self._took_anybody:
            anybody = dict(self._row(fingerprint, ANYBODY, result) for fingerprint in prints)
            self.records.create_many(Table.CLAIMS, anybody)
            self._took_anybody = True
        ours = Claim(self.receipt.arrival, self.receipt.message, result, prints[0].kind)
        for fingerprint in prints:
            claim = self._take(fingerprint, recipient, result)
            if claim.owner != self.receipt.arrival:
                return claim
            ours = claim
            # An earlier try may have begun with another route: one path for all, which others' duplicates name.
            result = claim.result
        return ours

    def take_again(self, request: str, recipient: str, result: str) -> str:
        """Claim the place of the result that a replay writes in place of another.

        Args:
            request: what asks for it, and for the replacement of which result.
            recipient: a normalised address, or `*`.
            result: where the result is to be.

        Returns:
            Where it is to be: where an earlier try had put it, though the routes may have changed since.
        """
        values: Values = {**self._values(recipient, result), "kind": "again"}
        key = again_key(request, recipient)
        if self.records.create(Table.CLAIMS, key, values):
            return result
        return str(self._there(key).values["result"])

    def look(self, prints: Sequence[Fingerprint], recipient: str) -> Claim | None:
        """Which other arrival holds a recipient's claim under one of the fingerprints, the first; nothing is taken.

        A claim of our own decides nothing: what is a duplicate by its content holds that of its raw bytes.
        """
        keys = {claim_key(one.kind, one.digest, recipient): one for one in prints}
        found = self.records.get_many(Table.CLAIMS, list(keys))
        for key in keys:
            if key in found and found[key].values["owner"] != self.receipt.arrival:
                return _claim(found[key])
        return None

    def begun(self, prints: Sequence[Fingerprint], recipients: Iterable[str]) -> dict[str, str]:
        """The recipients that an earlier try of ours has claimed, each with the path that its result was to have.

        Args:
            prints: the message's fingerprints.
            recipients: normalised addresses, or `*`: whom it may have been.
        """
        keys = {claim_key(one.kind, one.digest, recipient): recipient for recipient in recipients for one in prints}
        found = self.records.get_many(Table.CLAIMS, list(keys)) if keys else {}
        paths = {
            keys[key]: str(record.values["result"])
            for key, record in found.items()
            if record.values["owner"] == self.receipt.arrival
        }
        # Whoever is named claims `*` as well, with the path of the result of its own.
        return {recipient: path for recipient, path in paths.items() if is_result_for(path, recipient)}

    def _take(self, fingerprint: Fingerprint, recipient: str, result: str) -> Claim:
        key, own = self._row(fingerprint, recipient, result)
        if self.records.create(Table.CLAIMS, key, own):
            return Claim(self.receipt.arrival, self.receipt.message, result, fingerprint.kind)
        return _claim(self._there(key))

    def _there(self, key: str) -> Record:
        record = self.records.get(Table.CLAIMS, key)
        if record is None:
            raise ServiceUnavailable("a claim was there and is gone: its message was forgotten meanwhile")
        return record

    def _row(self, fingerprint: Fingerprint, recipient: str, result: str) -> tuple[str, Values]:
        values: Values = {**self._values(recipient, result), "kind": fingerprint.kind.value}
        return claim_key(fingerprint.kind, fingerprint.digest, recipient), values

    def _values(self, recipient: str, result: str) -> Values:
        return {
            "owner": self.receipt.arrival,
            "message": self.receipt.message,
            "result": result,
            "recipient": recipient,
        }


def _claim(record: Record) -> Claim:
    values = record.values
    kind = FingerprintKind(str(values["kind"]))
    return Claim(str(values["owner"]), str(values["message"]), str(values["result"]), kind)
