"""Every kind of hostile mail is read within the limits of rule 7.6: time and memory for a megabyte."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from shared.dispatch.routing_input import visible_content
from shared.documents.message_document import message_fields
from shared.mime.buffer import Buffer
from shared.mime.parser import Message, read_message
from shared.routing.fingerprints import fingerprints
from tests.cpu_time import nominal_seconds, within
from tests.sizes import size
from tests.unit.mime.hostile import GROUPS, KINDS

MEGABYTE = 1_000_000
SIZE = size(150_000, soak=MEGABYTE)

SECONDS = 2.0
"""CPU time for a megabyte, as `within` counts it: parsing, JSON and fingerprints together."""

FIXED_SECONDS = 0.15
"""CPU time besides: what a message of any size may cost, such as 200 parts."""

MEMORY = 150 * MEGABYTE
"""Maximum growth of memory in bytes for a message of a megabyte or less."""


def test_the_collection_is_large_enough() -> None:
    assert len(KINDS) == sum(map(len, GROUPS)) >= 156


def resident(name: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
    return int(lines[name].split()[0]) * 1024


def read(data: bytes) -> Message:
    """Parse a message, make its JSON and fingerprints, and return it."""
    message = read_message(Buffer(data))
    json.dumps(message_fields(message), ensure_ascii=False).encode("utf-8", "replace")
    fingerprints("0" * 64, visible_content(message))
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_7_6_no_kind_takes_long(kind: str) -> None:
    data = KINDS[kind](SIZE)
    assert 0.8 * SIZE < len(data) < 1.1 * SIZE
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # resets the peak memory
    before = resident("VmRSS")
    peaks = []

    def measured() -> Message:
        message = read(data)
        peaks.append(resident("VmHWM"))
        return message

    message = within(FIXED_SECONDS + SECONDS * len(data) / MEGABYTE, measured)
    assert peaks[0] - before < MEMORY
    assert message.size == len(data)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_7_6_time_grows_with_the_size_alone(kind: str) -> None:
    small, large = (
        min(nominal_seconds(partial(read, KINDS[kind](megabytes * MEGABYTE))) for _ in range(2)) for megabytes in (1, 4)
    )
    assert large < 8 * small + 0.5
