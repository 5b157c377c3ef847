"""The bytes written for every kind of hostile mail are bounded by its size (rule 7.8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.integration.routing_fixture import RoutingFixture
from tests.servers.counting import CountingBlobs
from tests.sizes import size
from tests.unit.mime.hostile import KINDS

SIZE = size(50_000, soak=1_000_000)
LIMIT = 200
"""Maximum number of recipients with a result, and of attachments that are blobs of their own."""

OTHERS = 5
"""Number of other blobs: the raw bytes, message.json, an archive, and up to two records."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The blobs that a message leaves in storage.

    Attributes:
        size: bytes received.
        parsed: bytes of message.json.
        results: number of results, one for each recipient served.
        separate: number of attachments that are blobs of their own.
        attachments: number of attachments.
        paths: number of blobs.
        writes: number of blob writes.
        written: bytes of all blob writes.
    """

    size: int
    parsed: int
    results: int
    separate: int
    attachments: int
    paths: int
    writes: int
    written: int

    @property
    def max_written(self) -> int:
        """Return the bytes that may be written."""
        return 8 * self.size + 4_000 * max(self.results, 1) + 2_000 * self.attachments

    @property
    def max_writes(self) -> int:
        """Return the number of blobs that may be written."""
        return self.results + self.separate + OTHERS


def stored(world: RoutingFixture, data: bytes) -> Stored:
    """Drain and route a message, and return the blobs that were written."""
    world.values["ROUTES__sales__ADDRESS"] = "*@example.com"
    blobs = CountingBlobs(world.stores.blobs)
    world.servers["support"].deliver(data)
    world.run("support", stores=replace(world.stores, blobs=blobs))
    sizes = dict(blobs.sizes)
    [parsed] = [path for path in sizes if path.endswith("/message.json")]
    separate = [path for path in sizes if "/attachments/" in path and not path.endswith("/archive.zip")]
    return Stored(
        size=len(data),
        parsed=sizes[parsed],
        results=sum(path.startswith("routed/") for path in sizes),
        separate=len(separate),
        attachments=max(len(world.read(parsed)["attachments"]), len(separate)),
        paths=len(sizes),
        writes=len(blobs.sizes),
        written=blobs.written,
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    world = RoutingFixture(tmp_path)
    yield world
    world.stores.close()


@pytest.mark.parametrize("kind", KINDS)
def test_7_8_written_bytes_are_bounded_by_the_size(world: RoutingFixture, kind: str) -> None:
    data = KINDS[kind](SIZE)
    message = stored(world, data)
    assert message.parsed <= 4 * len(data) + 128 * 1024
    assert message.results <= LIMIT
    assert message.separate <= LIMIT
    assert message.writes == message.paths <= message.max_writes
    assert message.written <= message.max_written
