"""What `Leases` promises, held by every storage alike."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import LeaseLost
from shared.storage.base import Storage
from tests.contract.conftest import PassTime


def test_a_lease_is_one_holders(stores: Storage) -> None:
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


def test_of_sixteen_who_want_one_lease_one_gets_it(stores: Storage) -> None:
    together = threading.Barrier(16)

    def acquire(_: int) -> str | None:
        together.wait()
        return stores.leases.acquire("raced", 60)

    with ThreadPoolExecutor(16) as pool:
        tokens = [token for token in pool.map(acquire, range(16)) if token is not None]
    assert len(tokens) == 1
    stores.leases.renew("raced", tokens[0])


def test_what_was_never_held_is_lost(stores: Storage) -> None:
    nobodys = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(LeaseLost):
        stores.leases.renew("unheard-of", nobodys)
    stores.leases.release("unheard-of", nobodys)
    token = stores.leases.acquire("unheard-of", 60)
    assert token is not None
    stores.leases.release("unheard-of", token)
    stores.leases.release("unheard-of", token)  # again: the reply to the first may have been lost
    with pytest.raises(LeaseLost):
        stores.leases.renew("unheard-of", token)


def test_1_10_a_lease_ends_by_itself_and_renewing_prolongs_it(stores: Storage, pass_time: PassTime) -> None:
    kept, left = (stores.leases.acquire(name, 15) for name in ("kept", "left"))
    assert kept is not None
    assert left is not None
    pass_time(9)
    stores.leases.renew("kept", kept)
    pass_time(7)
    assert stores.leases.acquire("kept", 15) is None
    assert stores.leases.acquire("left", 15) is not None
    with pytest.raises(LeaseLost):
        stores.leases.renew("left", left)
    stores.leases.release("left", left)
    assert stores.leases.acquire("left", 15) is None
