"""Logs of the servers in the report of a failed test: a section for each server that logged something during the test.

A server's fixture makes a `ServerLog` for its log file when it starts, and calls `close` before it deletes the file.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import pytest

MAX_CHARACTERS = 8_000
"""Longest section; of a longer log, the end is shown."""

WRITING = 0.2
"""Seconds that the servers have to write what they log about the requests that they have answered."""

_logs: list[ServerLog] = []


class ServerLog:
    """The log file of one server.

    Args:
        name: the server's name, for the title of the section.
        path: the file; it may be created later.

    Attributes:
        rest: what a stopped server logged during this test; None while it runs.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._start = 0
        self.rest: str | None = None
        _logs.append(self)

    def text(self) -> str:
        """Return what the server has logged since the test began."""
        if self.rest is not None:
            return self.rest
        if not self._path.exists():
            return ""
        with self._path.open("rb") as file:
            file.seek(self._start)
            return file.read().decode("utf-8", "replace")

    def all(self) -> str:
        """Return what the server has logged since it started."""
        return self._path.read_text("utf-8", "replace")

    def skip(self) -> None:
        """Begin a test: leave out what is in the file."""
        if self._path.exists():
            self._start = self._path.stat().st_size

    def close(self) -> None:
        """Keep the text for the report of this test; the file may be deleted."""
        self.rest = self.text()


def add_output(name: str, text: str) -> None:
    """Add what a process has written to the report of this test."""
    log = ServerLog(name, Path())
    log.rest = text


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Skip what was logged before the test."""
    _logs[:] = [log for log in _logs if log.rest is None]
    for log in _logs:
        log.skip()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the sections to the report of a failed test."""
    report = yield
    if report.failed and _logs:
        time.sleep(WRITING)
        for log in _logs:
            if text := log.text():
                report.sections.append((f"{log.name} log", text[-MAX_CHARACTERS:]))
    return report
