"""Deduplication: the claims that an arrival takes on its recipients (docs/explanation/receipts.md, "Dispatch").

Almost always no claim of a message exists: then one transaction creates all of its claims, together with those of other
messages (`expected`). If it finds that one exists, the claims are taken one kind of fingerprint after the other.

A claim without a result is finished by its owner, whatever the current routes are: a duplicate of the message already
names the owner as the original. `unfinished_matches` finds these claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from shared.dispatch.claims import Claim, ClaimLists, are_same, to_key
from shared.dispatch.originals import Originals
from shared.documents.blob_paths import is_result_for, route_of_result
from shared.keys import reissue_key
from shared.receipts import Receipt
from shared.routing.fingerprints import Fingerprint, FingerprintKind, VisibleContent
from shared.routing.model import ANY_RECIPIENT, Decision, EnvelopeHint, Match, Matched
from shared.storage.base import Blobs, Create, Record, Records, Table, Values
from shared.storage.transactions import MAX_TRANSACTION

MAX_ADDRESSES = 1000
"""Addresses of a message whose claims are looked up: a message may name a hundred thousand."""


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
    _has_claimed_wildcard: bool = field(default=False, init=False)

    def expected(self, fingerprints: Sequence[Fingerprint], results: Mapping[str, str]) -> list[Create]:
        """Return the claims that `claim` creates if none of them exists. The arguments are those of `claim`.

        Empty if there are more than a transaction can create.
        """
        own = self._own(fingerprints, results)
        wildcard = own.pop(ANY_RECIPIENT, None) or next(iter(own.values()), None)
        if wildcard is None:
            return []
        claims = [*own.values(), replace(wildcard, recipient=ANY_RECIPIENT)]
        if len(claims) * len(fingerprints) > MAX_TRANSACTION:
            return []
        prints = wildcard.prints
        return [
            Create(
                Table.CLAIMS,
                to_key(fingerprint, claim.recipient),
                {**claim.to_values(prints), "kind": fingerprint.kind.value},
            )
            for claim in claims
            for fingerprint in fingerprints
        ]

    def held(self, fingerprints: Sequence[Fingerprint], results: Mapping[str, str]) -> dict[str, Claim]:
        """Return the claims by recipient, like `claim`, after a transaction created those of `expected`."""
        self._has_claimed_wildcard = True
        return {
            recipient: replace(claim, kind=fingerprints[-1].kind)
            for recipient, claim in self._own(fingerprints, results).items()
        }

    def claim(self, fingerprints: Sequence[Fingerprint], results: Mapping[str, str]) -> dict[str, Claim]:
        """Claim recipients under each fingerprint, in claim order, each until another arrival holds a claim.

        A named recipient's mail claims `*` as well: a wildcard route's copy is a duplicate of it. Another arrival's
        claim on `*` does not stop it.

        Args:
            fingerprints: the message's fingerprints, in claim order.
            results: the path that the result is to have, by recipient: a normalised address, or `*`.

        Returns:
            By recipient our claim, whose `result` is the path that an earlier attempt of ours stored; or the
            original's claim.
        """
        own = self._own(fingerprints, results)
        wildcard = own.pop(ANY_RECIPIENT, None)
        claims = {} if wildcard is None else self._claim_in_order(fingerprints, {ANY_RECIPIENT: wildcard})
        if own:
            wildcard = (
                None if self._has_claimed_wildcard else replace(next(iter(own.values())), recipient=ANY_RECIPIENT)
            )
            claims |= self._claim_in_order(fingerprints, own, wildcard)
            self._has_claimed_wildcard = True
        return claims

    def _own(self, fingerprints: Sequence[Fingerprint], results: Mapping[str, str]) -> dict[str, Claim]:
        """Return the arrival's first claim on each recipient."""
        return {
            recipient: Claim.of_arrival(self.receipt, fingerprints, recipient, result)
            for recipient, result in results.items()
        }

    def _claim_in_order(
        self, fingerprints: Sequence[Fingerprint], own: Mapping[str, Claim], wildcard: Claim | None = None
    ) -> dict[str, Claim]:
        """Take claims, one kind of fingerprint after the other. Return those that decide, by recipient.

        Args:
            fingerprints: the message's fingerprints.
            own: the claims to take, by recipient.
            wildcard: the claim on `*` to take for a message that names a recipient. Existing claims stay.
        """
        held, stopping = dict(own), dict[str, Claim]()
        has_held_any = False
        for kind in FingerprintKind:
            wanted = [replace(claim, kind=kind) for claim in (*held.values(), *filter(None, [wildcard]))]
            for claim, first in self._create_or_read([claim for claim in wanted if claim.has_kind(kind)]):
                if claim.recipient not in own:
                    if first is not None and has_held_any:
                        # A position for `*` behind different messages with the same Message-ID. It follows our claim on
                        # the raw bytes: another arrival of the same bytes takes the position as its own.
                        self._lists.take(claim, first)
                    continue
                taken = claim if first is None else self._lists.take(claim, first)
                if taken.owner != self.receipt.arrival:
                    del held[claim.recipient]
                    stopping[claim.recipient] = taken
                    continue
                # An earlier attempt may have claimed under another route: its path is kept, since duplicates name it.
                # It may also have parsed the message by other settings: others compare with the fingerprints that it
                # stored.
                held[claim.recipient] = replace(
                    claim,
                    result=taken.result,
                    fingerprints=taken.fingerprints or claim.fingerprints,
                    different=taken.different,
                )
            has_held_any = has_held_any or bool(held)
            if not has_held_any:
                break
        if wildcard is not None and not has_held_any:
            self._claim_free_wildcards(wildcard)
        originals = {
            recipient: self._originals.find(claim, fingerprints, decide=True) for recipient, claim in stopping.items()
        }
        return held | originals

    def _claim_free_wildcards(self, wildcard: Claim) -> None:
        """Take the later claims on `*` where they are free. Other arrivals have all named recipients."""
        claims = [replace(wildcard, kind=kind) for kind in FingerprintKind if kind is not FingerprintKind.RAW]
        rows = {to_key(claim.fingerprint, claim.recipient): claim for claim in claims if claim.has_kind(claim.kind)}
        self.records.create_many(Table.CLAIMS, {key: claim.to_values() for key, claim in rows.items()})

    def _create_or_read(self, claims: Sequence[Claim]) -> Iterator[tuple[Claim, Record | None]]:
        """Create claims. Yield each with the claim that existed at its first position, or None if it was created.

        The claims on one fingerprint are created in one transaction. If it fails because some exist, these are read,
        and the others are created in another transaction.
        """
        by_fingerprint: dict[str, list[Claim]] = {}
        for claim in claims:  # An earlier attempt may have stored other fingerprints for some of the recipients.
            by_fingerprint.setdefault(claim.fingerprint.digest, []).append(claim)
        for group in by_fingerprint.values():
            for start in range(0, len(group), MAX_TRANSACTION):
                rows = {to_key(claim.fingerprint, claim.recipient): claim for claim in group[start:][:MAX_TRANSACTION]}
                existing = self._create_missing({key: claim.to_values() for key, claim in rows.items()})
                yield from ((claim, existing.get(key)) for key, claim in rows.items())

    def _create_missing(self, rows: Mapping[str, Values]) -> dict[str, Record]:
        """Create the claims that do not exist. Return those that do, by key."""
        existing: dict[str, Record] = {}
        missing = rows
        while missing and not self.records.commit([Create(Table.CLAIMS, *row) for row in missing.items()]):
            existing |= self.records.get_many(Table.CLAIMS, list(missing))
            missing = {key: values for key, values in rows.items() if key not in existing}
        return existing

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
        values = {**Claim.of_arrival(self.receipt, (), recipient, result).to_values(), "kind": "reissue"}
        if self.records.create(Table.CLAIMS, key, values):
            return result
        return str(self._lists.read_existing(key).values["result"])

    def find_duplicate(self, fingerprints: Sequence[Fingerprint], recipient: str) -> Claim | None:
        """Return the original's claim if another arrival holds the recipient. Take no claim.

        A claim of our own decides nothing: a duplicate by content holds the claim on its raw bytes.
        """
        own = Claim.of_arrival(self.receipt, fingerprints, recipient, "")
        existing = self.records.get_many(Table.CLAIMS, [to_key(fingerprint, recipient) for fingerprint in fingerprints])
        claims = (
            self._lists.find_deciding(replace(own, kind=fingerprint.kind), existing) for fingerprint in fingerprints
        )
        other = next((claim for claim in claims if claim is not None and claim.owner != self.receipt.arrival), None)
        return None if other is None else self._originals.find(other, fingerprints, decide=False)

    def different(self, fingerprints: Sequence[Fingerprint], recipient: str) -> tuple[Claim, ...]:
        """Return the claims of different messages that have the same Message-ID and results of their own.

        Args:
            fingerprints: the message's fingerprints.
            recipient: a normalised address, or `*`.
        """
        lists = [
            self._lists.all(fingerprint, recipient)
            for fingerprint in fingerprints
            if fingerprint.kind is FingerprintKind.MESSAGE_ID
        ]
        others = [claim for claims in lists for claim in claims if claim.owner not in {"", self.receipt.arrival}]
        return tuple(claim for claim in others if not are_same(claim, fingerprints))

    def unfinished(self, fingerprints: Sequence[Fingerprint], recipients: Iterable[str]) -> dict[str, str]:
        """Return the recipients that an earlier attempt of ours claimed, each with the path of its result.

        Args:
            fingerprints: the message's fingerprints.
            recipients: the possible recipients: normalised addresses, or `*`.
        """
        candidates = {ANY_RECIPIENT: None, **dict.fromkeys(recipients)}
        keys = [to_key(fingerprint, recipient) for recipient in candidates for fingerprint in fingerprints]
        claims = map(Claim.from_record, self.records.get_many(Table.CLAIMS, keys).values())
        # Mail for a named recipient claims `*` as well, with the path of that recipient's result. The attempt may have
        # ended there.
        return {
            claim.result_recipient: claim.result
            for claim in claims
            if claim.owner == self.receipt.arrival and is_result_for(claim.result, claim.result_recipient)
        }

    @property
    def _lists(self) -> ClaimLists:
        return ClaimLists(self.records)

    @property
    def _originals(self) -> Originals:
        return Originals(self.records, self.blobs)


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
