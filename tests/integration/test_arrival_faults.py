"""Rule 8.1 for intake alone: whatever fails, each arrival has one receipt, one outbox entry, and a route request.

No sweep is needed: a message is removed from its mailbox only after its route request is on the queue.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random

import pytest

from shared.documents.blob_paths import raw_path
from shared.intake.skipped import record_oversized
from shared.keys import batch_prefix
from shared.mailboxes.base import ListedMessage
from shared.mailboxes.spool import Content
from shared.receipts import State
from tests.integration.arrival_fixture import NOW, ArrivalFixture, letter, listed, store
from tests.integration.interleaving import Turns
from tests.servers.azurite import ACCOUNTS, Azurite, _unused
from tests.servers.faults import FailureMode, FaultInjector, ProcessKilled, failure_points
from tests.sizes import size

LETTERS = [letter(number, 40 + number) for number in range(1, 8)]
SKIPPED = letter(9, 2000)
"""Larger than the limit of the polls before."""

KINDS: dict[str, dict[str, bool]] = {
    "imap": {},
    "pop3": {"commits": True},
    "pop3-without-uidl": {"commits": True, "has_keys": False},
}


class Storages:
    """Empty storages of one kind.

    Args:
        first: the address of an empty storage.
        request: finds Azurite.

    Attributes:
        is_folder: whether they are folders, in which a run is fast.
    """

    def __init__(self, first: str, request: pytest.FixtureRequest) -> None:
        self._first = first
        self._request = request
        self._numbers = itertools.count()
        self.is_folder = first.startswith("folder:")

    def new(self) -> str:
        """Return the address of an empty storage."""
        if self.is_folder:
            return f"{self._first}-{next(self._numbers)}"
        azurite: Azurite = self._request.getfixturevalue("azurite")
        return azurite.connection_string(ACCOUNTS[next(_unused)])


@pytest.fixture
def storages(storage: str, request: pytest.FixtureRequest) -> Storages:
    return Storages(storage, request)


class FaultFixture(ArrivalFixture):
    """A mailbox with new messages, and one that was skipped as oversized before."""

    def __init__(self, storage: str, *, commits: bool = False, has_keys: bool = True) -> None:
        super().__init__(storage)
        self.server.commits, self.server.has_keys = commits, has_keys
        self.server.deliver(SKIPPED)
        self.extra = {"MAX_MESSAGE_BYTES": "1000"}
        self.drain(self.stores)
        self.extra = {}
        self.server.deliver(*LETTERS, LETTERS[0])
        self.server.before_removal = self._must_be_published
        self.too_early: list[bytes] = []

    def _must_be_published(self, data: bytes) -> None:
        message = Content.from_bytes(data).sha256
        named = {request.outbox for request in self.requests}
        receipts = [receipt for receipt in self.receipts() if receipt.message == message]
        if not any({receipt.outbox, batch_prefix(receipt.outbox)} & named for receipt in receipts):
            self.too_early.append(data)

    def run(self, faults: FaultInjector) -> None:
        """Drain the mailbox in a process that a fault disturbs or ends."""
        with suppress(ProcessKilled, Exception):
            self.drain(faults.stores(self.stores), faults.mailbox)

    def check(self) -> None:
        """Check that every message is stored once, published, and removed."""
        assert not self.server.messages
        assert not self.too_early, "removed before its route request was published"
        sent = [SKIPPED, *LETTERS, *([LETTERS[0]] if self.server.has_keys else [])]
        receipts = [receipt for receipt in self.receipts() if receipt.was_downloaded]
        expected = sorted(Content.from_bytes(data).sha256 for data in sent)
        assert sorted(receipt.message for receipt in receipts) == expected
        assert {receipt.state for receipt in receipts} == {State.STORED}
        assert all(self.stores.blobs.exists(raw_path(receipt.message)) for receipt in receipts)
        self.check_outbox()
        self.check_requests()


@pytest.mark.parametrize("way", FailureMode, ids=lambda way: way.value.replace(" ", "-"))
@pytest.mark.parametrize("kind", KINDS)
def test_8_1_a_fault_at_every_step_of_intake(storages: Storages, kind: str, way: FailureMode) -> None:
    """The modes together leave every state. `make test-soak` uses every operation in every mode, also on Azurite."""
    undisturbed = FaultInjector()
    fixture = FaultFixture(storages.new(), **KINDS[kind])
    fixture.run(undisturbed)
    fixture.check()
    fixture.closing()
    names = undisturbed.names
    assert {"create", "flush", "commit", "put_many", "remove"} <= set(names)
    step = 1 if storages.is_folder else 11 if kind == "imap" else 41
    points = failure_points(names, way) if step == 1 else range(1, len(names) + 1, size(step, soak=1))
    for at in points:
        fixture = FaultFixture(storages.new(), **KINDS[kind])
        faults = FaultInjector(at, way)
        fixture.run(faults)
        name = faults.names[at - 1] if len(faults.names) >= at else "(not reached)"
        try:
            fixture.check_outbox()
            fixture.drain(fixture.stores)
            fixture.check()
        except AssertionError as error:
            raise AssertionError(f"after operation {at} of {len(names)}, {name}, {way.value}: {error}") from error
        finally:
            fixture.closing()


MESSAGES = [(listed(number, letter(number)), letter(number)) for number in range(1, 41)]
WITHOUT_KEYS = [(replace(message, key=None), data) for message, data in MESSAGES]
Messages = Sequence[tuple[ListedMessage, bytes]]


@pytest.mark.parametrize("deaths", [0.0, 0.1], ids=["all live", "some die"])
@pytest.mark.parametrize("messages", [MESSAGES, WITHOUT_KEYS], ids=["keys", "no keys"])
def test_8_2_workers_that_store_the_same_arrivals_at_once(
    storages: Storages, messages: Messages, deaths: float
) -> None:
    """A worker whose lease was lost may still be storing while another one begins."""
    for seed in range(size(12, soak=200) if storages.is_folder else size(2, soak=20)):
        fixture = ArrivalFixture(storages.new())
        for message, _ in messages[3:5]:  # To store a message that was skipped before completes its receipt.
            [candidate] = fixture.arrivals().look_up([message])
            if message.key is not None:
                record_oversized(fixture.arrivals(), candidate, message.size)
        random = Random(seed)
        turns = Turns(random, deaths)
        parts = [messages, messages[random.randrange(20) :], messages[: random.randrange(1, 40)]]
        removable: list[list[int]] = [[] for _ in parts]

        def job(
            turns: Turns,
            worker: int,
            *,
            fixture: ArrivalFixture = fixture,
            parts: Sequence[Messages] = parts,
            removable: list[list[int]] = removable,
        ) -> None:
            arrivals = fixture.arrivals(turns.stores(fixture.stores, worker))
            removable[worker] = [candidate.listed.number for candidate in store(arrivals, parts[worker])]

        try:
            turns.run([job] * len(parts))
            fixture.check_outbox()
            stored = {receipt.message for receipt in fixture.receipts()}
            for worker, part in enumerate(parts):
                assert deaths or len(removable[worker]) == len(part)
                if removable[worker]:  # Its mailbox may lose these messages now.
                    assert sorted(removable[worker]) == sorted(message.number for message, _ in part)
                    assert {Content.from_bytes(data).sha256 for _, data in part} <= stored
                    fixture.check_requests({Content.from_bytes(data).sha256 for _, data in part})
            store(fixture.arrivals(), messages)
            assert len(fixture.receipts()) == len(fixture.entries()) == len(messages)
            assert {receipt.stored_at for receipt in fixture.receipts()} == {NOW}
            fixture.check_outbox()
            fixture.check_requests()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {turns.taken}: {error}") from error
        finally:
            fixture.closing()
