"""A message: bytes in, `Message` out, never raising (rule 7.6)."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Iterable

from shared.addresses import converting_few
from shared.mime import body_selection
from shared.mime.address_list import Address, Author, read_authors, read_list
from shared.mime.automatic_mail import automatic
from shared.mime.buffer import Buffer
from shared.mime.charset_hints import CharsetHints
from shared.mime.dates import read_date
from shared.mime.defects import Defects
from shared.mime.delivery_headers import received_count, trace_fields
from shared.mime.encoded_words import decoded
from shared.mime.headers import Headers
from shared.mime.html_text import html_to_text
from shared.mime.model import Attachment, Importance, Message
from shared.mime.multipart import split
from shared.mime.reports import read_report
from shared.mime.safe_filenames import SafeNames
from shared.mime.winmail import unpacked

__all__ = ["Address", "Attachment", "Author", "Importance", "Message", "parse"]

_ID = re.compile(r"<([^<>]*)>")
_NUMBER = re.compile(r"\s*(\d{1,3})")


def parse(data: bytes | mmap.mmap | memoryview) -> Message:
    """Read a message.

    Args:
        data: the raw bytes. A mapping stays open for as long as attachments are read; it is read in pieces, so that its
            size does not become memory.

    Returns:
        What could be read, whatever the bytes; `defects` says what was wrong with them.
    """
    try:
        return read_message(Buffer(data))
    except MemoryError:
        raise  # not the message's doing: it can be read elsewhere
    except Exception as error:  # noqa: BLE001 - a fault of ours must not lose the message: the raw bytes stand for themselves
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        return Message(size=size, defects=(f"the message could not be read: {type(error).__name__}",))


@converting_few()
def read_message(buffer: Buffer) -> Message:
    """Read a message; `parse` without its safety net."""
    defects = Defects(CharsetHints(buffer))
    root = split(buffer, defects)
    headers = root.headers
    texts = body_selection.Texts(buffer, defects)
    chosen = body_selection.choose(root, texts, buffer, defects)
    authors, invalid_authors = read_authors(headers.texts("from"), defects)
    if invalid_authors:
        defects.add("there are invalid addresses in From")
    to, invalid_to = _addresses(headers, "to", defects)
    cc, invalid_cc = _addresses(headers, "cc", defects)
    date = headers.text("date")
    importance = _importance(headers)
    report = read_report(root, buffer, defects)
    text, html = texts.text(chosen), texts.html(chosen)
    inner = unpacked(list(texts.files(chosen)), buffer, defects, with_text=html is None and not text.strip())
    if inner.text or inner.html:
        text, html = inner.text or html_to_text(inner.html), inner.html or None
    return Message(
        size=buffer.size,
        sent=read_date(date, defects) if date else None,
        message_id=_message_id(headers, defects),
        from_=tuple(authors),
        sender=_addresses(headers, "sender", defects)[0],
        reply_to=_addresses(headers, "reply-to", defects)[0],
        to=to,
        cc=cc,
        bcc=_addresses(headers, "bcc", defects)[0],
        subject=(subject := decoded(headers.text("subject") or "", defects)),
        text=text,
        html=html,
        attachments=_attachments(inner.leaves, buffer, defects),
        headers=tuple(headers.decoded()),
        important=importance == "high",
        importance=importance,
        in_reply_to=_ids(headers, "in-reply-to"),
        references=_ids(headers, "references"),
        authentication_results=tuple(decoded(text, defects) for text in headers.texts("authentication-results")),
        invalid_senders=tuple(invalid_authors),
        invalid_recipients=tuple(invalid_to + invalid_cc),
        automatic=machine.kind if (machine := automatic(headers, report, subject)) else None,
        automatic_evidence=machine.evidence if machine else (),
        report=report,
        received=received_count(headers.fields),
        trace=trace_fields(headers.fields, defects),
        defects=defects.as_tuple(),
        whole=not defects.capped,
    )


def _addresses(headers: Headers, name: str, defects: Defects) -> tuple[tuple[Address, ...], list[str]]:
    """The addresses of every field of a name, and what is none."""
    found: list[Address] = []
    invalid: list[str] = []
    for text in headers.texts(name):
        good, bad = read_list(text, defects)
        found += good
        invalid += bad
    if invalid:
        defects.add(f"there are invalid addresses in {name.title()}")
    return tuple(found), invalid


def _message_id(headers: Headers, defects: Defects) -> str | None:
    texts = headers.texts("message-id")
    if len(texts) > 1:
        defects.add("there is more than one Message-Id: none counts")
    if len(texts) != 1:
        return None
    match = _ID.search(texts[0])
    return "".join(decoded(match[1] if match else texts[0], defects).split()) or None


def _ids(headers: Headers, name: str) -> tuple[str, ...]:
    """The Message-IDs of a field, each once; without angle brackets, what looks like one."""
    found: dict[str, None] = {}
    for text in headers.texts(name):
        plain = _ID.findall(text) or [word for word in text.split() if "@" in word]
        found.update(("".join(word.replace("\0", "").split()), None) for word in plain)
    return tuple(word for word in found if word)


def _importance(headers: Headers) -> Importance:
    """As `Importance` (RFC 4021), `X-Priority` and `Priority` (RFC 2156) say; high if any of them does."""
    importance = {text.strip().lower() for text in headers.texts("importance")}
    priority = {text.strip().lower() for text in headers.texts("priority")}
    numbers = {int(match[1]) for text in headers.texts("x-priority") if (match := _NUMBER.match(text))}
    if "high" in importance or "urgent" in priority or numbers & {1, 2}:
        return "high"
    return "low" if "low" in importance or "non-urgent" in priority or numbers & {4, 5} else "normal"


def _attachments(leaves: Iterable[body_selection.Leaf], buffer: Buffer, defects: Defects) -> tuple[Attachment, ...]:
    """What is not text of the message, with its digest."""
    names = SafeNames()
    found: list[Attachment] = []
    for leaf in leaves:
        digest, size = hashlib.sha256(), 0
        for piece in body_selection.content(leaf, buffer, defects):
            digest.update(piece)
            size += len(piece)
        content_id = (leaf.part.headers.text("content-id") or "").strip().strip("<>").strip() or None
        kind = leaf.part.content.kind
        inline = leaf.disposition == "inline" or (not leaf.disposition and content_id is not None)
        found.append(
            Attachment(
                number=len(found) + 1,
                name=leaf.name,
                safe_name=names.give(leaf.name, kind),
                content_type=kind,
                size=size,
                sha256=digest.hexdigest(),
                disposition="inline" if inline else "attachment",
                content_id=decoded(content_id, defects) if content_id else None,
                _buffer=buffer,
                _place=(leaf.part.start, leaf.part.end, leaf.encoding),
                _inside=leaf.inside,
            )
        )
    return tuple(found)
