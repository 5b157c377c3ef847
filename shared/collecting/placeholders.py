"""Exchange's placeholder for a message that it cannot convert to MIME.

Over IMAP and POP3, Exchange delivers a short text of its own in place of such a message ("Retrieval using the IMAP4
protocol failed for the following message: 2") and keeps the original. The placeholder never travelled: it has no
`Received`, and its author is a product name without an address. A person's forward of one has both.
"""

from __future__ import annotations

import re

from shared.mail.message import parse
from shared.mailboxes.spool import Content

_LARGEST = 64 * 1024
"""Bytes; a placeholder quotes subject and author of the original, and no more."""

_SUBJECT = re.compile(
    r"retrieval using the (?:imap4?|pop3?) protocol failed for the following message\b", re.IGNORECASE
)
_PROTOCOL = re.compile(r"\b(?:IMAP4?|POP3?)\b", re.IGNORECASE)
_AUTHOR = re.compile(r"\s*\"?Microsoft Exchange\b", re.IGNORECASE)
_MARK = re.compile(
    rb"^From:[ \t]*\"?Microsoft Exchange|^Subject:[ \t]*Retrieval using the", re.IGNORECASE | re.MULTILINE
)


def placeholder_subject(content: Content) -> str | None:
    """Return the subject of Exchange's placeholder, or None if the content is an ordinary message."""
    data = content.data
    if not isinstance(data, bytes) or len(data) > _LARGEST or not _MARK.search(data):
        return None
    message = parse(data)
    author = next((value for name, value in message.headers if name.lower() == "from"), "")
    if message.received or "@" in author:
        return None
    if _SUBJECT.match(message.subject) or (_AUTHOR.match(author) and _PROTOCOL.search(message.subject)):
        return message.subject
    return None
