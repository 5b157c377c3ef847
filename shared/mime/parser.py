"""Parse a message: bytes in, `Message` out, without exceptions (rule 7.6)."""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Iterable

from shared.addresses import converting_few
from shared.mime import body_selection
from shared.mime.address_list import Address, Author, read_authors, read_list
from shared.mime.automatic_mail import classify_automatic_mail
from shared.mime.buffer import Buffer
from shared.mime.charset_hints import CharsetHints
from shared.mime.dates import parse_date
from shared.mime.defects import Defects
from shared.mime.delivery_headers import received_count, trace_fields
from shared.mime.encoded_words import decode_words
from shared.mime.headers import Headers
from shared.mime.html_text import html_to_text
from shared.mime.model import Attachment, Importance, Message
from shared.mime.multipart import parse_structure
from shared.mime.reports import read_report
from shared.mime.safe_filenames import SafeFilenames
from shared.mime.winmail import unpack_tnef

__all__ = ["Address", "Attachment", "Author", "Importance", "Message", "parse"]

_ID = re.compile(r"<([^<>]*)>")
_NUMBER = re.compile(r"\s*(\d{1,3})")


def parse(data: bytes | mmap.mmap | memoryview) -> Message:
    """Parse a message.

    Args:
        data: the raw bytes. A mapping must stay open while attachments are read. It is read in pieces, which bounds
            memory.

    Returns:
        Everything that could be read. `defects` lists the repairs.
    """
    try:
        return read_message(Buffer(data))
    except MemoryError:
        raise  # not caused by the message, which another process may be able to read
    except Exception as error:  # noqa: BLE001 - an error of the parser must not lose the message
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        return Message(size=size, defects=(f"the message could not be read: {type(error).__name__}",))


@converting_few()
def read_message(buffer: Buffer) -> Message:
    """Parse a message without the safety net of `parse`."""
    defects = Defects(CharsetHints(buffer))
    root = parse_structure(buffer, defects)
    headers = root.headers
    reader = body_selection.TextReader(buffer, defects)
    bodies = body_selection.select_bodies(root, reader, buffer, defects)
    authors, invalid_authors = read_authors(headers.get_all("from"), defects)
    if invalid_authors:
        defects.add("From contains invalid addresses")
    to, invalid_to = _addresses(headers, "to", defects)
    cc, invalid_cc = _addresses(headers, "cc", defects)
    date = headers.get("date")
    importance = _importance(headers)
    report = read_report(root, buffer, defects)
    text, html = reader.read_text(bodies), reader.read_html(bodies)
    text_start = bodies.texts[0].part.start if bodies.texts and body_selection.is_visible(text, html) else None
    tnef = unpack_tnef(list(reader.attachments(bodies)), buffer, defects, text_start=text_start)
    if tnef.text or tnef.html:
        text, html = tnef.text or html_to_text(tnef.html), tnef.html or None
    return Message(
        size=buffer.size,
        sent=parse_date(date, defects) if date else None,
        message_id=_message_id(headers, defects),
        from_=tuple(authors),
        sender=_addresses(headers, "sender", defects)[0],
        reply_to=_addresses(headers, "reply-to", defects)[0],
        to=to,
        cc=cc,
        bcc=_addresses(headers, "bcc", defects)[0],
        subject=(subject := decode_words(headers.get("subject") or "", defects)),
        text=text,
        html=html,
        attachments=_attachments(tnef.leaves, buffer, defects),
        headers=tuple(headers.decoded_fields()),
        important=importance == "high",
        importance=importance,
        in_reply_to=_message_ids(headers, "in-reply-to"),
        references=_message_ids(headers, "references"),
        authentication_results=tuple(decode_words(text, defects) for text in headers.get_all("authentication-results")),
        invalid_senders=tuple(invalid_authors),
        invalid_recipients=tuple(invalid_to + invalid_cc),
        automatic=classified.kind if (classified := classify_automatic_mail(headers, report, subject)) else None,
        automatic_evidence=classified.evidence if classified else (),
        report=report,
        received=received_count(headers.fields),
        trace=trace_fields(headers.fields, defects),
        defects=defects.as_tuple(),
        whole=not defects.limit_exceeded,
    )


def _addresses(headers: Headers, name: str, defects: Defects) -> tuple[tuple[Address, ...], list[str]]:
    """Return the addresses of every field of a name, and the pieces that are not addresses."""
    addresses: list[Address] = []
    invalid: list[str] = []
    for text in headers.get_all(name):
        valid, rejected = read_list(text, defects)
        addresses += valid
        invalid += rejected
    if invalid:
        defects.add(f"{name.title()} contains invalid addresses")
    return tuple(addresses), invalid


def _message_id(headers: Headers, defects: Defects) -> str | None:
    values = headers.get_all("message-id")
    if len(values) > 1:
        defects.add("there is more than one Message-Id: all are ignored")
    if len(values) != 1:
        return None
    match = _ID.search(values[0])
    return "".join(decode_words(match[1] if match else values[0], defects).split()) or None


def _message_ids(headers: Headers, name: str) -> tuple[str, ...]:
    """Return the Message-IDs of a field without repetitions; without angle brackets, the words that contain an `@`."""
    message_ids: dict[str, None] = {}
    for text in headers.get_all(name):
        words = _ID.findall(text) or [word for word in text.split() if "@" in word]
        message_ids.update(("".join(word.replace("\0", "").split()), None) for word in words)
    return tuple(message_id for message_id in message_ids if message_id)


def _importance(headers: Headers) -> Importance:
    """Return the importance by `Importance` (RFC 4021), `X-Priority` and `Priority` (RFC 2156); high if any is high."""
    importance = {text.strip().lower() for text in headers.get_all("importance")}
    priority = {text.strip().lower() for text in headers.get_all("priority")}
    numbers = {int(match[1]) for text in headers.get_all("x-priority") if (match := _NUMBER.match(text))}
    if "high" in importance or "urgent" in priority or numbers & {1, 2}:
        return "high"
    return "low" if "low" in importance or "non-urgent" in priority or numbers & {4, 5} else "normal"


def _attachments(leaves: Iterable[body_selection.Leaf], buffer: Buffer, defects: Defects) -> tuple[Attachment, ...]:
    """Return the attachments with their digests.

    Of a message in memory, the decoded content is kept, since decoding takes most of the time that attachments need.
    Together, the kept bytes are at most as many as the message has, which files in a winmail.dat may share.
    """
    names = SafeFilenames()
    attachments: list[Attachment] = []
    room = buffer.size if buffer.in_memory else -1
    for leaf in leaves:
        digest, size = hashlib.sha256(), 0
        pieces: list[bytes] = []
        for piece in body_selection.decoded_content(leaf, buffer, defects):
            digest.update(piece)
            size += len(piece)
            if size <= room:
                pieces.append(piece)
        content = b"".join(pieces) if size <= room else None
        room -= size if content is not None else 0
        content_id = (leaf.part.headers.get("content-id") or "").strip().strip("<>").strip() or None
        kind = leaf.part.content_type.kind
        inline = leaf.disposition == "inline" or (not leaf.disposition and content_id is not None)
        attachments.append(
            Attachment(
                number=len(attachments) + 1,
                name=leaf.name,
                safe_name=names.assign(leaf.name, kind),
                content_type=kind,
                size=size,
                sha256=digest.hexdigest(),
                disposition="inline" if inline else "attachment",
                content_id=decode_words(content_id, defects) if content_id else None,
                _buffer=buffer,
                _extent=(leaf.part.start, leaf.part.end, leaf.encoding),
                _byte_range=leaf.byte_range,
                _content=content,
            )
        )
    return tuple(attachments)
