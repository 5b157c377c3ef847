"""The storage under test: opened on an empty place, folder and Azurite alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from shared.storage.base import Storage
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.servers.azurite import Azurite

PassTime = Callable[[float], None]


@pytest.fixture
def stores(storage: str) -> Iterator[Storage]:
    """All of a storage."""
    address = StorageLocation.parse(storage, setting="TEST_STORAGE")
    opened = open_storage(address, address, "mail")
    yield opened
    opened.close()


@pytest.fixture
def pass_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PassTime]:
    """Advance the clock of the folder storages, and of Azurite if the test uses it, by some seconds."""
    ahead = 0.0
    clock = SimpleNamespace(time=lambda: time.time() + ahead)
    for module in ("leases", "queues"):
        monkeypatch.setattr(f"shared.storage.folder.{module}.time", clock)
    azurite: Azurite | None = None

    def advance(seconds: float) -> None:
        nonlocal ahead, azurite
        ahead += seconds
        call = getattr(request.node, "callspec", None)
        if "azure_storage" in request.fixturenames or (call is not None and call.params.get("storage") == "azure"):
            azurite = request.getfixturevalue("azurite")
            azurite.set_clock(ahead=ahead)

    yield advance
    if azurite is not None:
        azurite.set_clock(ahead=0)
