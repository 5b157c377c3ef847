"""Every kind of hostile mail, collected and routed: what is written is bounded by its size (rule 7.8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.routing_fixture import RoutingFixture
from tests.servers.counting import CountingBlobs
from tests.sizes import size
from tests.unit.mime.hostile import KINDS

SIZE = size(50_000, soak=1_000_000)
MOST = 200
"""Recipients with a result, and attachments with a blob of their own."""

OTHERS = 5
"""The raw bytes, message.json, an archive, and up to two records."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RoutingFixture]:
    made = RoutingFixture(tmp_path)
    made.values["ROUTES__sales__ADDRESS"] = "*@example.com"
    yield made
    made.stores.close()


@pytest.mark.parametrize("kind", KINDS)
def test_7_8_what_is_written_is_bounded_by_the_size(world: RoutingFixture, kind: str) -> None:
    data = KINDS[kind](SIZE)
    blobs = CountingBlobs(world.stores.blobs)
    world.servers["support"].deliver(data)
    world.run("support", stores=replace(world.stores, blobs=blobs))
    sizes = dict(blobs.sizes)
    [parsed] = [path for path in sizes if path.endswith("/message.json")]
    assert sizes[parsed] <= 4 * len(data) + 128 * 1024
    results = [path for path in sizes if path.startswith("routed/")]
    attachments = [path for path in sizes if "/attachments/" in path and not path.endswith("/archive.zip")]
    assert len(results) <= MOST
    assert len(attachments) <= MOST
    assert len(blobs.sizes) == len(sizes) <= len(results) + len(attachments) + OTHERS
    number = max(len(world.read(parsed)["attachments"]), len(attachments))
    assert blobs.written <= 8 * len(data) + 4_000 * max(len(results), 1) + 2_000 * number
