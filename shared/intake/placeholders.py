"""Placeholders: texts that a server delivers in place of a message that it cannot deliver.

Exchange delivers a short text over IMAP and POP3 for a message that it cannot convert to MIME ("Retrieval using the
IMAP4 protocol failed for the following message: 2"), and keeps the original. Courier delivers one for a message that
another client deleted after the listing ("message unavailable"). A placeholder never travelled: it has no `Received`,
and its author is a product or the server itself. A person's forward of one has both.
"""

from __future__ import annotations

import re
from enum import StrEnum

from shared.mailboxes.spool import Content
from shared.mime.parser import parse


class Placeholder(StrEnum):
    """What a placeholder says about the message that it replaces."""

    UNREADABLE = "unreadable"
    GONE = "gone"


_LARGEST = 64 * 1024
"""Size in bytes; a placeholder quotes only the subject and the author of the original."""

_EXCHANGE = re.compile(
    r"retrieval using the (?:imap4?|pop3?) protocol failed for the following message\b", re.IGNORECASE
)
# Not \b: in Japanese, Chinese and Korean, letters follow the name without a space.
_PROTOCOL = re.compile(r"(?<![A-Za-z0-9])(?:IMAP4?|POP3?)(?![A-Za-z0-9])", re.IGNORECASE)
_PRODUCT = re.compile(r"\s*\"?Microsoft Exchange\b", re.IGNORECASE)
_COURIER_AUTHOR = "System Administrator <root@localhost>"
_COURIER_SUBJECT = "message unavailable"
_MARK = re.compile(
    rb"^From:[ \t]*\"?Microsoft Exchange|^Subject:[ \t]*(?:Retrieval using the|message unavailable)",
    re.IGNORECASE | re.MULTILINE,
)

_WORDS = (b"microsoft exchange", b"retrieval using the", b"message unavailable")
"""Texts of which each match of `_MARK` contains one. To search for these takes a small part of the time."""


def find_placeholder(content: Content) -> tuple[Placeholder, str] | None:
    """Return what a placeholder says and its subject, or None if the content is an ordinary message."""
    data = content.data
    if not isinstance(data, bytes) or len(data) > _LARGEST or not _has_mark(data):
        return None
    message = parse(data)
    if message.received:
        return None
    author = next((value.strip() for name, value in message.headers if name.lower() == "from"), "")
    if (author, message.subject) == (_COURIER_AUTHOR, _COURIER_SUBJECT):
        return Placeholder.GONE, message.subject
    exchange = _EXCHANGE.match(message.subject) or (_PRODUCT.match(author) and _PROTOCOL.search(message.subject))
    return (Placeholder.UNREADABLE, message.subject) if exchange and "@" not in author else None


def _has_mark(data: bytes) -> bool:
    """Return whether the header has a mark. It ends where `parse` ends it, or later."""
    begin = len(data) - len(data.removeprefix(b"\xef\xbb\xbf").lstrip())
    end = data.find(b"\r\n\r\n", begin)
    header = data[begin:] if end < 0 else data[begin:end]
    lowered = header.lower()
    return any(words in lowered for words in _WORDS) and _MARK.search(header) is not None
