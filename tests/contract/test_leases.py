"""The contract of `Leases`, tested with every storage."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import LeaseLost
from shared.storage.base import Storage
from tests.contract.conftest import PassTime


def test_a_lease_has_one_holder(stores: Storage) -> None:
    token = stores.leases.acquire("support", 60)
    assert token is not None
    assert stores.leases.acquire("support", 60) is None
    assert stores.leases.acquire("office", 60) is not None
    stores.leases.renew("support", token)
    with pytest.raises(LeaseLost):
        stores.leases.renew("support", "00000000-0000-0000-0000-000000000000")
    stores.leases.release("support", "00000000-0000-0000-0000-000000000000")
    assert stores.leases.acquire("support", 60) is None
    stores.leases.release("support", token)
    other = stores.leases.acquire("support", 60)
    assert other is not None
    with pytest.raises(LeaseLost):
        stores.leases.renew("support", token)


def test_one_of_sixteen_threads_acquires_a_lease(stores: Storage) -> None:
    barrier = threading.Barrier(16)

    def acquire(_: int) -> str | None:
        barrier.wait()
        return stores.leases.acquire("raced", 60)

    with ThreadPoolExecutor(16) as pool:
        tokens = [token for token in pool.map(acquire, range(16)) if token is not None]
    assert len(tokens) == 1
    stores.leases.renew("raced", tokens[0])


def test_a_lease_that_was_never_held_is_lost(stores: Storage) -> None:
    unknown_token = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(LeaseLost):
        stores.leases.renew("unheard-of", unknown_token)
    stores.leases.release("unheard-of", unknown_token)
    token = stores.leases.acquire("unheard-of", 60)
    assert token is not None
    stores.leases.release("unheard-of", token)
    stores.leases.release("unheard-of", token)  # a retry: the response to the first request may have been lost
    with pytest.raises(LeaseLost):
        stores.leases.renew("unheard-of", token)


def test_1_10_a_lease_ends_unless_it_is_renewed(stores: Storage, pass_time: PassTime) -> None:
    renewed_token, expired_token = (stores.leases.acquire(name, 15) for name in ("renewed", "expired"))
    assert renewed_token is not None
    assert expired_token is not None
    pass_time(9)
    stores.leases.renew("renewed", renewed_token)
    pass_time(7)
    assert stores.leases.acquire("renewed", 15) is None
    assert stores.leases.acquire("expired", 15) is not None
    with pytest.raises(LeaseLost):
        stores.leases.renew("expired", expired_token)
    stores.leases.release("expired", expired_token)
    assert stores.leases.acquire("expired", 15) is None
