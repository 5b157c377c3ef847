"""Which conversation a message belongs to (rule 6.1): told by the Message-IDs it refers to, never by its subject.

A message registers its own Message-ID and those that it refers to under its conversation, create-only. So a reply that
is seen before what it replies to is found by that, when it comes. A conversation is a hint: anybody can write a header.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from shared.keys import digest
from shared.receipts import MAX_MESSAGE_ID_LENGTH
from shared.storage.base import Records, Table

MOST_REFERENCES: Final = 50
"""Message-IDs of References that count, the last ones: long threads name hundreds, and hostile mail any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadReferences:
    """What a message says of the thread it belongs to.

    Attributes:
        message_id: its own; None if it has none that counts.
        in_reply_to: Message-IDs.
        references: Message-IDs, the oldest first.
        tagged: recipients with a plus-address reference, whole: `sales+offer7@example.com`.
        by_tag_alone: only these count (`PLUS_ADDRESSING=only`).
    """

    message_id: str | None = None
    in_reply_to: Sequence[str] = ()
    references: Sequence[str] = ()
    tagged: Sequence[str] = ()
    by_tag_alone: bool = False


@dataclass(frozen=True, slots=True)
class Conversations:
    """Finds and remembers conversations.

    Attributes:
        records: where they are.
    """

    records: Records

    def find(self, thread: ThreadReferences, message: str) -> str:
        """The conversation of a message: the id of the first message of the thread that was seen; or its own id."""
        keys = [conversation_key(kind, text) for kind, text in _asked(thread)]
        found = self.records.get_many(Table.CONVERSATIONS, list(dict.fromkeys(keys))) if keys else {}
        known = next((found[key] for key in keys if key in found), None)
        return message if known is None else str(known.values["conversation"])

    def register(self, thread: ThreadReferences, conversation: str) -> None:
        """Remember a message's conversation under everything that others may find it by. There already is fine."""
        rows = {
            conversation_key(kind, text): {
                "conversation": conversation,
                "kind": kind,
                "text": text[:MAX_MESSAGE_ID_LENGTH],
            }
            for kind, text in _asked(thread)
        }
        if rows:
            self.records.create_many(Table.CONVERSATIONS, rows)


def _asked(thread: ThreadReferences) -> Iterable[tuple[str, str]]:
    """What a thread is found by, in the order of the rule: In-Reply-To, References from the last, itself, its tags."""
    if not thread.by_tag_alone:
        referred = list(thread.references)[-MOST_REFERENCES:]
        for text in (*list(thread.in_reply_to)[:MOST_REFERENCES], *reversed(referred)):
            yield "message-id", text
        if thread.message_id:
            yield "message-id", thread.message_id
    for address in thread.tagged:
        yield "tag", address


def conversation_key(kind: str, text: str) -> str:
    """The key of the entry of a `message-id`, or of a `tag`: an address with a plus-address reference."""
    return digest("conversation", kind, text)
