"""The storages under test: each starts empty, in a folder or on Azurite."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.storage.base import Storage
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.contract.folders import opened_at
from tests.servers.azurite import Azurite

PassTime = Callable[[float], None]


@pytest.fixture
def stores(storage: str) -> Iterator[Storage]:
    """Yield an open storage of each kind."""
    location = StorageLocation.parse(storage, setting="TEST_STORAGE")
    opened = open_storage(location, location, "mail")
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the path of a folder that does not exist yet."""
    return tmp_path / "mail"


@pytest.fixture
def folder_storage(folder: Path) -> Iterator[Storage]:
    """Yield an open storage in `folder`."""
    storage = opened_at(folder)
    yield storage
    storage.close()


@pytest.fixture
def pass_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[PassTime]:
    """Yield a function that advances the time of the folder storages, and of Azurite if the test uses it."""
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
