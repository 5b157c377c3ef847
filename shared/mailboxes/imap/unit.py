"""A batch on its way from the server, and the spools that its large messages go to."""

from __future__ import annotations

from collections.abc import Sequence

from shared.errors import ServiceUnavailable, printable
from shared.mailboxes.base import Batch, FetchResult, ListedMessage
from shared.mailboxes.imap.wire import Command, Wire
from shared.mailboxes.spool import MEMORY_LIMIT, Content, Spool


class DiskSpool(Spool):
    """A spool whose troubles are not taken for the connection's."""

    def write(self, data: bytes | memoryview) -> None:
        """As `Spool.write`; raises `ServiceUnavailable` if the disk does not take it."""
        try:
            super().write(data)
        except OSError as error:
            raise disk_error(error) from error


def disk_error(error: OSError) -> ServiceUnavailable:
    """What it means that the temporary disk is full, or worse."""
    return ServiceUnavailable(f"the temporary disk does not take a message: {printable(error)}")


class FetchBatch:
    """A batch on its way.

    Attributes:
        batch: as it was given.
        asked: its messages by UID.
        large: those that go to disk.
        size: of all of them, as told.
        found: what is known of a message by now.
        wire: where it was asked for.
        commands: with which.
        alone: the message that is alone on the wire.
        losses: how often the connection broke while a message was alone.
        silent: UIDs that were asked for alone and did not come, with what the server answered.
        done: nothing more is to come.
    """

    def __init__(self, batch: Sequence[ListedMessage]) -> None:
        self.batch = batch
        self.asked = {message.number: message for message in batch}
        self.large = [message for message in batch if message.size > MEMORY_LIMIT]
        self.size = sum(message.size for message in batch)
        self.found: dict[int, FetchResult] = {}
        self.wire: Wire | None = None
        self.commands: list[Command] = []
        self.alone: int | None = None
        self.losses: dict[int, int] = {}
        self.silent: dict[int, str] = {}
        self.done = False

    def missing(self) -> list[int]:
        """The UIDs of which nothing is known yet."""
        return [uid for uid in self.asked if uid not in self.found]

    def answer(self, uid: int, content: Content | None, *, oversized: bool = False, refused: str | None = None) -> None:
        """Tell what became of a message."""
        self.found[uid] = FetchResult(self.asked[uid], content, oversized=oversized, refused=refused)

    def postpone(self, uid: int) -> None:
        """Leave a message to the next listing."""
        self.found[uid] = FetchResult(self.asked[uid], None, postponed=True)

    def results(self) -> Batch:
        """An answer for each message of the batch; one of which nothing is known is gone."""
        return [self.found.get(message.number) or FetchResult(message, None) for message in self.batch]

    def discard(self) -> None:
        """Close what was found."""
        for fetched in self.found.values():
            if fetched.content is not None:
                fetched.content.close()
