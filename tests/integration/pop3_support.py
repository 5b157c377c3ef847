"""Helpers of the POP3 tests: a mailbox on a scripted server, batches, contents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shared.mailboxes.base import FetchResult, ListedMessage
from shared.mailboxes.pop3.mailbox import Pop3Mailbox
from shared.mailboxes.pop3.server_record import ServerRecords
from shared.mailboxes.pop3.session import Timeouts
from tests.servers.scripted import Scripted
from tests.servers.settings import mailbox_settings

LIMIT = 1_000_000_000
SHORT = Timeouts(connect=2.0, read=0.5, quit=0.5)


def no_token() -> str:
    raise AssertionError("no token may be requested here")


def scripted_mailbox(server: Scripted, records: ServerRecords | None = None, **changes: Any) -> Pop3Mailbox:
    """Return a mailbox on a scripted server, with short timeouts and no earlier observations about the server."""
    settings = mailbox_settings(port=server.port, **changes)
    return Pop3Mailbox(settings, no_token, timeouts=SHORT, records=records or ServerRecords())


def in_batches(listed: Sequence[ListedMessage], count: int = 100) -> Iterator[Sequence[ListedMessage]]:
    for start in range(0, len(listed), count):
        yield listed[start : start + count]


def content_of(fetched: FetchResult) -> bytes | None:
    """Return a result's bytes, and close its content."""
    content = fetched.content
    if content is None:
        return None
    data = content.data.read_bytes() if isinstance(content.data, Path) else content.data
    content.close()
    assert len(data) == content.size
    return data


def fetch_all(mailbox: Pop3Mailbox, listed: Sequence[ListedMessage], *, count: int = 100) -> list[bytes | None]:
    """Download messages without removing them; return the contents."""
    return [
        content_of(result) for batch in mailbox.fetch(in_batches(listed, count), max_bytes=LIMIT) for result in batch
    ]


def drain(mailbox: Pop3Mailbox, *, count: int = 100) -> list[bytes | None]:
    """List, download and delete each batch, then commit; return the contents."""
    contents: list[bytes | None] = []
    for batch in mailbox.fetch(in_batches(mailbox.list("INBOX"), count), max_bytes=LIMIT):
        contents += [content_of(result) for result in batch]
        mailbox.remove([result.listed for result in batch])
    mailbox.commit()
    return contents
