"""The storage under test: opened anew on an empty place, folder and Azurite alike."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.storage.addresses import StorageAddress
from shared.storage.opening import open_stores
from shared.storage.protocol import Stores


@pytest.fixture
def stores(storage: str) -> Iterator[Stores]:
    """All of a storage."""
    address = StorageAddress.parse(storage, setting="TEST_STORAGE")
    opened = open_stores(address, address, "mail")
    yield opened
    opened.close()
