"""Log the outcomes of many messages in one line. Each message's own line is at level DEBUG."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from shared.documents.schema import Outcome

MAX_MESSAGES: Final = 1000
"""Messages after which the summary is logged."""

MAX_SECONDS: Final = 300.0
"""Seconds after which the next message logs the summary. `sweep` logs it as well, if it runs in the same process."""

_log = logging.getLogger("mailroom.dispatch")


class OutcomeSummary:
    """Counts the outcomes of routed messages, in all threads of the process, until the next line.

    Args:
        max_messages: messages after which the line is logged.
        monotonic: returns the time in seconds, like `time.monotonic`.
    """

    def __init__(self, max_messages: int = MAX_MESSAGES, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._max_messages = max_messages
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._began = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count a message, and log the summary if it is due."""
        with self._lock:
            if not self._outcomes:
                self._began = self._monotonic()
            self._outcomes[outcome] += 1
            is_due = self._outcomes.total() >= self._max_messages or self._monotonic() - self._began >= MAX_SECONDS
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Log the summary, if any message was counted since the last one."""
        with self._lock:
            outcomes, self._outcomes = self._outcomes, Counter()
        if outcomes:
            counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
            _log.info("outcomes of %d messages: %s", outcomes.total(), counts)
