"""The transactions that create claims (docs/explanation/duplicates.md, "The claims")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count

import pytest

from shared.clock import utc_now
from shared.dispatch.claims import Claim
from shared.dispatch.deduplication import Claims
from shared.errors import ServiceUnavailable
from shared.receipts import Receipt
from shared.routing.fingerprints import Comparison, Fingerprint, FingerprintKind
from shared.storage.base import Records, Storage, Table
from shared.storage.transactions import MAX_TRANSACTION
from tests.end_to_end.command import opened
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled
from tests.sizes import size

MANY = [f"{number}@example.com" for number in range(MAX_TRANSACTION + 20)]
"""Recipients whose claims on one fingerprint need two transactions."""

FINGERPRINTS = (
    Fingerprint(FingerprintKind.RAW, "raw"),
    Fingerprint(FingerprintKind.CONTENT, "content"),
    Fingerprint(FingerprintKind.MESSAGE_ID, "message-id", Comparison(sender="b.example")),
)
KINDS = len(FINGERPRINTS)


@pytest.fixture
def stores(storage: str) -> Iterator[Storage]:
    opened_stores = opened(storage)
    yield opened_stores
    opened_stores.close()


def claims_of(stores: Storage, arrival: str, records: Records | None = None) -> Claims:
    """Return the claims of an arrival, whose receipt exists."""
    receipt = Receipt(
        arrival=arrival,
        mailbox="support",
        protocol="imap",
        folder="INBOX",
        server_key="1.1",
        message=arrival * 64,
        size=1,
        reported_size=1,
        received=None,
        stored_at=utc_now(),
    )
    stores.records.create_many(Table.RECEIPTS, {arrival: receipt.to_values()})
    return Claims(records or stores.records, receipt, stores.blobs)


def take(
    stores: Storage,
    arrival: str,
    recipients: Sequence[str],
    fingerprints: Sequence[Fingerprint] = FINGERPRINTS,
    faults: FaultInjector | None = None,
) -> dict[str, Claim]:
    """Claim recipients for an arrival."""
    records = (faults or FaultInjector()).around(stores.records, ServiceUnavailable)
    claims = claims_of(stores, arrival, records)
    return claims.claim(fingerprints, {recipient: f"result of {arrival} for {recipient}" for recipient in recipients})


def owners(claims: dict[str, Claim]) -> dict[str, str]:
    """Return the owners by recipient; the path is the owner's."""
    assert all(claim.result == f"result of {claim.owner} for {recipient}" for recipient, claim in claims.items())
    return {recipient: claim.owner for recipient, claim in claims.items()}


@pytest.mark.parametrize("recipients", [["a@example.com"], MANY[:40], ["*"]], ids=["one", "forty", "wildcard"])
def test_the_claims_on_a_fingerprint_are_one_request(stores: Storage, recipients: Sequence[str]) -> None:
    operations = FaultInjector()
    assert owners(take(stores, "a", recipients, faults=operations)) == dict.fromkeys(recipients, "a")
    assert operations.names == ["commit"] * KINDS
    assert len(list(stores.records.scan(Table.CLAIMS))) == KINDS * len({*recipients, "*"})


def test_more_claims_than_fit_in_a_transaction(stores: Storage) -> None:
    operations = FaultInjector()
    assert owners(take(stores, "a", MANY, faults=operations)) == dict.fromkeys(MANY, "a")
    assert operations.names == ["commit"] * KINDS * 2
    assert len(list(stores.records.scan(Table.CLAIMS))) == KINDS * (len(MANY) + 1)
    assert owners(take(stores, "a", MANY)) == dict.fromkeys(MANY, "a"), "of an earlier attempt"
    assert owners(take(stores, "b", MANY)) == dict.fromkeys(MANY, "a"), "a copy"


def test_a_copy_reads_the_claims_that_exist(stores: Storage) -> None:
    recipients = MANY[:2]
    assert owners(take(stores, "a", recipients)) == dict.fromkeys(recipients, "a")
    operations = FaultInjector()
    assert owners(take(stores, "b", recipients, faults=operations)) == dict.fromkeys(recipients, "a")
    followed = ["get_many"] * len(recipients)
    assert operations.names == ["commit", "get_many", "create_many", *followed]


def test_a_copy_of_an_arrival_that_died_takes_its_own_free_claims_on_the_wildcard(stores: Storage) -> None:
    """A wildcard's copy meets them, and follows them to the arrival that has the result."""
    recipients = MANY[:2]
    with suppress(ProcessKilled):
        take(stores, "a", recipients, faults=FaultInjector(1, FailureMode.GONE_AFTER))
    assert owners(take(stores, "b", recipients)) == dict.fromkeys(recipients, "a")
    stored = [Claim.from_record(record) for record in stores.records.scan(Table.CLAIMS)]
    wildcards = {claim.kind.value: claim.owner for claim in stored if claim.recipient == "*"}
    assert wildcards == {"raw": "a", "content": "b", "message-id": "b"}
    unlike = (Fingerprint(FingerprintKind.RAW, "another"), *FINGERPRINTS[1:])
    assert take(stores, "c", ["*"], unlike)["*"].owner == "a"


@pytest.mark.parametrize("kind", range(KINDS))
def test_claims_that_exist_stop_their_recipients_alone(stores: Storage, kind: int) -> None:
    shared = [
        fingerprint if number == kind else Fingerprint(fingerprint.kind, "unlike")
        for number, fingerprint in enumerate(FINGERPRINTS)
    ]
    assert owners(take(stores, "a", MANY[:3], shared)) == dict.fromkeys(MANY[:3], "a")
    claimed = owners(take(stores, "b", MANY[:10]))
    assert claimed == dict.fromkeys(MANY[:10], "b") | dict.fromkeys(MANY[:3], "a")
    stored = [Claim.from_record(record) for record in stores.records.scan(Table.CLAIMS)]
    of_b = {(claim.kind, claim.recipient) for claim in stored if claim.owner == "b"}
    assert len(of_b - {(claim_kind, "*") for claim_kind in FingerprintKind}) == KINDS * 7 + kind * 3, (
        "a stopped recipient takes no later claim"
    )


FAILURES = [(way, recipients) for way in FailureMode for recipients in (2, len(MANY))]


@pytest.mark.parametrize(
    ("storage", "way", "count_of"),
    [
        *(("folder", *failure) for failure in FAILURES),
        ("azure", FailureMode.REPLY_LOST, 2),
        *(pytest.param("azure", *failure, marks=pytest.mark.soak) for failure in FAILURES),
    ],
    indirect=["storage"],
)
def test_4_4_an_attempt_that_fails_at_any_request_holds_all_claims_or_names_who_does(
    stores: Storage, way: FailureMode, count_of: int
) -> None:
    recipients = MANY[:count_of]
    # A copy by content, which the first arrival has a result in common with for a part of the recipients.
    unlike = (Fingerprint(FingerprintKind.RAW, "another"), *FINGERPRINTS[1:])
    step = size(3 if count_of > 2 else 1, soak=1)
    for at in count(1, step):
        stores.records.delete_many(Table.CLAIMS, [record.key for record in stores.records.scan(Table.CLAIMS)])
        faults = FaultInjector(at, way)
        with suppress(ProcessKilled, ServiceUnavailable):
            take(stores, "a", recipients, faults=faults)
        by_copy = owners(take(stores, "b", recipients[1:], unlike))
        by_first = owners(take(stores, "a", recipients))
        assert owners(take(stores, "b", recipients[1:], unlike)) == by_copy
        assert by_first == {recipients[0]: "a"} | by_copy, f"{at}: both name the same arrival"
        if faults.count < at:
            assert set(by_copy.values()) == {"a"}, "it was not disturbed"
            return
