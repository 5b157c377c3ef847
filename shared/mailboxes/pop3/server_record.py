"""Observations about a mailbox's POP3 server, kept in the process from one session to the next.

Servers advertise PIPELINING (RFC 2449 section 6.6) and break it. WildDuck wrote the responses to later commands into
the message that it was still sending (https://github.com/zone-eu/wildduck/pull/950). A pipelined message therefore
counts only with the size that LIST reports for it, or after it was read again with no other command outstanding.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from shared.config import MailboxSettings

KNOWN_BROKEN: Final = re.compile(r"wild ?duck|\bWDPop\b", re.IGNORECASE)
"""Greetings and IMPLEMENTATION texts of servers to which only one command at a time is sent."""

MIN_INEXACT: Final = 8
"""Messages with another size than LIST reports, after which the server's sizes count as inexact."""

MAX_BREAKS: Final = 2
"""Pipelined drains in a row in which the connection broke before pipelining is switched off."""

MAX_UNANSWERED: Final = 3
"""QUITs in a row without a response and without effect, after which the mailbox counts as failing."""

_log = logging.getLogger("mailroom.mailboxes")


@dataclass(slots=True)
class ServerRecord:
    """The observations about one mailbox's server.

    Attributes:
        where: the mailbox and its server, for log messages.
        no_pipelining: why commands are sent one at a time; empty if several may be outstanding.
    """

    where: str
    no_pipelining: str = ""
    _exact: int = 0
    _inexact: int = 0
    _breaks: int = 0
    _unanswered: int = 0
    _uncertain: frozenset[str] = field(default_factory=frozenset)

    def disable_pipelining(self, reason: str) -> None:
        """Send one command at a time from now on, in this session and the following ones."""
        if not self.no_pipelining:
            self.no_pipelining = reason
            _log.warning("%s: pipelining is switched off: %s", self.where, reason)

    def count_exact(self) -> None:
        """Count a pipelined message that has the size that LIST reports."""
        self._exact += 1

    def count_inexact(self) -> None:
        """Count a message that has another size than LIST reports, and the same bytes when it is read alone.

        Such a size does not prove that a pipelined message is complete, so each of these messages is read twice. If
        more than every fourth message is, one command at a time is faster and as safe.
        """
        self._inexact += 1
        if self._inexact >= MIN_INEXACT and self._inexact * 4 > self._exact + self._inexact:
            self.disable_pipelining(
                "the sizes that LIST reports are inexact and cannot prove that a message is complete"
            )

    def count_break(self) -> None:
        """Count a connection that broke while several commands were outstanding."""
        self._breaks += 1
        if self._breaks >= MAX_BREAKS:
            self.disable_pipelining("the connection broke repeatedly while several commands were outstanding")

    def excuse_break(self) -> None:
        """Withdraw the last break: at the same message, the connection broke with one command outstanding as well."""
        self._breaks = max(0, self._breaks - 1)

    def pipelined_drain_completed(self) -> None:
        """Forget the breaks: a drain with several commands outstanding has ended without one."""
        self._breaks = 0

    def quit_answered(self) -> None:
        """Forget the QUITs without a response."""
        self._unanswered = 0
        self._uncertain = frozenset()

    def quit_unanswered(self, deleted: Iterable[str]) -> bool:
        """Count a QUIT without a response; return whether that is a failure: it was repeated, and none had an effect.

        Args:
            deleted: keys of the messages that it should have deleted.
        """
        keys = frozenset(deleted)
        self._unanswered = self._unanswered + 1 if keys & self._uncertain else 1
        self._uncertain = keys
        return self._unanswered >= MAX_UNANSWERED


class ServerRecords:
    """The records of a process, by mailbox, host and port."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str, int], ServerRecord] = {}

    def record(self, settings: MailboxSettings) -> ServerRecord:
        """Return a mailbox's record. A lease allows one worker at a time per mailbox, so no lock is needed."""
        where = f"mailbox {settings.name} at {settings.host}:{settings.port}"
        key = (settings.name, str(settings.host), int(settings.port or 0))
        return self._records.setdefault(key, ServerRecord(where))


RECORDS: Final = ServerRecords()
"""The records of this process."""
