"""Read a stored message: its raw bytes, and what routing, claims and conversations need of the parsed message.

Conversations (rule 6.1) are found by Message-IDs, never by the subject. A message registers its own Message-ID and
those that it refers to under its conversation, create-only. So a reply that arrives before the message it answers
brings that message into the same conversation. A conversation is a hint: any sender can forge a header.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from shared.addresses import normalise, tag_as_written
from shared.documents.blob_paths import raw_path
from shared.errors import MessageMissing
from shared.keys import digest
from shared.mailboxes.spool import BUDGET, MEMORY_LIMIT, PREFIX
from shared.mime.authentication import dmarc_domain
from shared.mime.delivery_headers import delivery_hints
from shared.mime.parser import Address, Author, Message
from shared.receipts import MAX_MESSAGE_ID_LENGTH
from shared.routing.fingerprints import VisibleContent
from shared.routing.model import Decision, EnvelopeHint, RoutingInput
from shared.routing.route_table import TrustPolicy
from shared.storage.base import Blobs, Records, Table, Values

MAX_REFERENCES: Final = 50
"""Message-IDs of References that are used, the last ones. Long threads name hundreds, hostile mail any number."""


@contextmanager
def open_raw(blobs: Blobs, message: str, *, size: int) -> Iterator[bytes | mmap.mmap]:
    """Open a message's raw bytes: in memory if small, mapped from a temporary file if large.

    Args:
        blobs: where the message is stored.
        message: its id.
        size: its size in bytes, which decides between memory and disk.

    Raises:
        MessageMissing: the raw bytes do not exist.
    """
    path = raw_path(message)
    if size <= MEMORY_LIMIT:
        data = blobs.read(path)
        if data is None:
            raise MessageMissing(f"message {message} has a receipt and no raw bytes at {path}")
        yield data
        return
    # Twice the size: for the bytes, and for the attachment that is decoded from them. One reservation for both, since
    # two workers that each hold one half and wait for the other half would deadlock.
    BUDGET.reserve(2 * size)
    try:
        with tempfile.TemporaryFile(prefix=PREFIX) as file:
            if not blobs.download(path, file):
                raise MessageMissing(f"message {message} has a receipt and no raw bytes at {path}")
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield mapped
    finally:
        BUDGET.release(2 * size)


def to_routing_input(message: Message, folder: str, trust: TrustPolicy) -> RoutingInput:
    """Return the properties of a message that routes and conditions use.

    Args:
        message: the parsed message.
        folder: the mailbox folder that it was in.
        trust: which of its headers are trusted.
    """
    return RoutingInput(
        to=_normalise_all(message.to),
        cc=_normalise_all(message.cc),
        invalid=message.invalid_recipients,
        senders=_normalise_all(message.from_),
        senders_well_formed=_has_well_formed_senders(message),
        subject=message.subject,
        extensions=frozenset(
            attachment.name.rpartition(".")[2].lower() for attachment in message.attachments if "." in attachment.name
        ),
        important=message.important,
        folder=folder,
        hints=envelope_hints(message, trust),
        tags=_tags_as_written((*message.to, *message.cc)),
        loops=_loop_reason(message, trust),
    )


def envelope_hints(message: Message, trust: TrustPolicy) -> tuple[EnvelopeHint, ...]:
    """Return the envelope recipients that the receiving server wrote into delivery headers (rule 2.2)."""
    if not trust.hints:
        return ()
    hints = delivery_hints(message.trace, hops=trust.hops, received_by=trust.received_by, fields=trust.fields)
    return tuple(EnvelopeHint(hint.address, hint.where, hint.tag, hint.hop) for hint in hints)


def _loop_reason(message: Message, trust: TrustPolicy) -> str | None:
    """Return why a message is in a mail loop; None if it is not (rule 5.3)."""
    if message.received > trust.loop_limit:
        return f"{message.received} Received lines are more than LOOP_LIMIT ({trust.loop_limit})"
    if message.automatic is None:
        return None
    authors = _normalise_all((*message.from_, *message.sender))
    own_address = next((address for address in authors if address in trust.own), None)
    if own_address is None:
        return None
    return f"it is automatic mail ({message.automatic}) from our own mailbox {own_address}"


def visible_content(message: Message, trust: TrustPolicy | None = None) -> VisibleContent:
    """Return what a reader sees of a message, which is what two copies of it share.

    Args:
        message: the parsed message.
        trust: which of its headers are trusted; None: none, so that no sender is authenticated.
    """
    return VisibleContent(
        senders=_normalise_all(message.from_),
        to=_normalise_all(message.to),
        cc=_normalise_all(message.cc),
        subject=message.subject,
        sent=message.sent,
        message_id=message.message_id,
        bodies=(message.text, message.html or ""),
        attachments=[(attachment.name, attachment.sha256) for attachment in message.attachments],
        whole=message.whole,
        authenticated=_authenticated_domain(message, trust) if trust is not None else "",
    )


def _authenticated_domain(message: Message, trust: TrustPolicy) -> str:
    """Return the domain of the only sender if a trusted server recorded a DMARC pass for it, or an empty string."""
    if not trust.hints or len(message.from_) != 1 or not _has_well_formed_senders(message):
        return ""
    domain = dmarc_domain(message.trace, hops=trust.hops, received_by=trust.received_by)
    senders = _normalise_all(message.from_)
    return domain if domain is not None and senders and senders[0].rpartition("@")[2] == domain else ""


def _has_well_formed_senders(message: Message) -> bool:
    """Return whether From has a single reading, so that a server that checks DMARC reads the same authors."""
    return not message.invalid_senders and not any(author.repaired for author in message.from_)


def _normalise_all(addresses: Iterable[Address | Author]) -> tuple[str, ...]:
    """Return the valid addresses, normalised, each once."""
    normalised = (normalise(mailbox.address) for mailbox in addresses if mailbox.address is not None)
    return tuple(dict.fromkeys(address for address in normalised if address is not None))


def _tags_as_written(addresses: Iterable[Address]) -> dict[str, str]:
    """Return the plus tags as written, by normalised address, where their case differs; the first spelling counts."""
    tags: dict[str, str | None] = {}
    for mailbox in addresses:
        if "+" in mailbox.address and (address := normalise(mailbox.address)) and address not in tags:
            tags[address] = tag_as_written(mailbox.address, address)
    return {address: tag for address, tag in tags.items() if tag is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadReferences:
    """What a message says about the thread that it belongs to.

    Attributes:
        message_id: its own Message-ID; None if it has no valid one.
        in_reply_to: Message-IDs.
        references: Message-IDs, the oldest first.
        tagged: recipients with a plus-address reference, in full: `sales+offer7@example.com`.
        by_tag_alone: whether only these recipients are used (`PLUS_ADDRESSING=only`).
    """

    message_id: str | None = None
    in_reply_to: Sequence[str] = ()
    references: Sequence[str] = ()
    tagged: Sequence[str] = ()
    by_tag_alone: bool = False

    def keys(self) -> list[str]:
        """Return the keys of its conversation entries, in order of precedence."""
        return [conversation_key(kind, text) for kind, text in self.entries()]

    def entries(self) -> Iterator[tuple[str, str]]:
        """Yield kind and text of each entry: In-Reply-To, References from the last, its own Message-ID, its tags."""
        if not self.by_tag_alone:
            references = list(self.references)[-MAX_REFERENCES:]
            for text in (*list(self.in_reply_to)[:MAX_REFERENCES], *reversed(references)):
                yield "message-id", text
            if self.message_id:
                yield "message-id", self.message_id
        for address in self.tagged:
            yield "tag", address

    def to_rows(self, conversation: str, message: str) -> dict[str, Values]:
        """Return the entries of a conversation under every key that other messages may find it by.

        The entry of the message's own Message-ID names the message: by that, an erasure recognizes it.

        Args:
            conversation: the conversation's id.
            message: the message's id.
        """
        return {
            conversation_key(kind, text): {
                "conversation": conversation,
                "kind": kind,
                "text": text[:MAX_MESSAGE_ID_LENGTH],
                **({"message": message} if kind == "message-id" and text == self.message_id else {}),
            }
            for kind, text in self.entries()
        }

    def to_membership(self, message: str, existing: Mapping[str, Values]) -> Membership:
        """Return a message's membership in the conversation that its first existing entry names, or else in its own.

        Args:
            message: the message's id.
            existing: the existing entries, by key.
        """
        keys = self.keys()
        entry = next((existing[key] for key in keys if key in existing), None)
        conversation = message if entry is None else str(entry["conversation"])
        rows = self.to_rows(conversation, message)
        return Membership(conversation, {key: rows[key] for key in keys if key not in existing})


def thread_references(message: Message, decision: Decision, *, by_tag_alone: bool) -> ThreadReferences:
    """Return what a message says about its thread.

    Args:
        message: the parsed message.
        decision: its recipients, who may carry a plus-address reference.
        by_tag_alone: whether only these references are used.
    """
    return ThreadReferences(
        message_id=message.message_id,
        in_reply_to=message.in_reply_to,
        references=message.references,
        tagged=[match.plus_address or match.recipient for match in decision.matches if match.reference is not None],
        by_tag_alone=by_tag_alone,
    )


@dataclass(frozen=True, slots=True)
class Membership:
    """A message's membership in a conversation.

    Attributes:
        conversation: the id of the conversation's first message.
        missing: the entries that do not exist yet, by key.
    """

    conversation: str
    missing: Mapping[str, Values]


@dataclass(frozen=True, slots=True)
class Conversations:
    """The stored conversations.

    Attributes:
        records: where they are stored.
    """

    records: Records

    def join(self, thread: ThreadReferences, message: str) -> Membership:
        """Return a message's conversation: the id of the first message seen of its thread, or else its own id.

        A message with a single key is almost always the first with that key. So its entry is created before it is
        known that there is none, and is read only if there is one.
        """
        keys = list(dict.fromkeys(thread.keys()))
        if len(keys) == 1 and self.records.create(
            Table.CONVERSATIONS, keys[0], thread.to_rows(message, message)[keys[0]]
        ):
            return Membership(message, {})
        return thread.to_membership(message, self.read(keys))

    def read(self, keys: Iterable[str]) -> dict[str, Values]:
        """Return the existing entries of `keys`, by key."""
        distinct = list(dict.fromkeys(keys))
        records = self.records.get_many(Table.CONVERSATIONS, distinct) if distinct else {}
        return {key: record.values for key, record in records.items()}

    def register(self, membership: Membership) -> None:
        """Create the entries by which other messages find a conversation. Existing entries stay."""
        if membership.missing:
            self.records.create_many(Table.CONVERSATIONS, membership.missing)


def conversation_key(kind: str, text: str) -> str:
    """Return the key of the entry of a `message-id`, or of a `tag`: an address with a plus-address reference."""
    return digest("conversation", kind, text)
