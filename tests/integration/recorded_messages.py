"""Pytest plugin that records the messages that the tests parse: pytest -p tests.integration.recorded_messages.

`-p` imports it before any test module imports `parse`, so that all of them get `recording_parse`. Each message becomes
a JSON line of the file that `RECORDED_MESSAGES` names: the test's id, and the bytes in base64.
"""

from __future__ import annotations

import base64
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.mime import parser
from shared.mime.parser import Message

MAX_SIZE = 200_000
"""Maximum size of a recorded message in bytes. Longer messages test limits and memory."""

_parse = parser.parse
_current_test = ""
_recorded: set[bytes] = set()


def recording_parse(data: bytes | mmap.mmap | memoryview) -> Message:
    """Record a message, and parse it."""
    mail = bytes(data)
    if _current_test and len(mail) <= MAX_SIZE and mail not in _recorded:
        _recorded.add(mail)
        with Path(os.environ["RECORDED_MESSAGES"]).open("a", encoding="ascii") as file:
            file.write(json.dumps([_current_test, base64.b64encode(mail).decode("ascii")]) + "\n")
    return _parse(data)


parser.parse = recording_parse


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deselect the tests that generate their messages at random."""
    items[:] = [item for item in items if not getattr(getattr(item, "obj", None), "is_hypothesis_test", False)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Store the id of the running test."""
    global _current_test  # noqa: PLW0603 - hooks share state through the module; one test runs at a time
    _current_test = item.nodeid
    try:
        yield
    finally:
        _current_test = ""
