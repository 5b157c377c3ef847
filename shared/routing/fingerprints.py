"""By what two messages are the same (docs/duplicates.md), in the one order in which claims are taken.

The order is what makes the claims hold: raw bytes, visible content, Message-ID.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class FingerprintKind(StrEnum):
    """In which way two messages are the same."""

    RAW = "raw"
    CONTENT = "content"
    MESSAGE_ID = "message-id"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One way in which a message may be the same as another.

    Attributes:
        kind: in which way.
        digest: hex digits; equal for messages that are the same in this way.
    """

    kind: FingerprintKind
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a reader sees of a message. All addresses are normalised.

    Attributes:
        senders: addresses in From.
        to: addresses in To.
        cc: addresses in Cc.
        subject: decoded.
        sent: Date; None if it is missing or cannot be read.
        message_id: None unless there is exactly one, not empty.
        bodies: the texts.
        attachments: file name and digest of each.
        whole: no cap was passed in reading it: all of it was seen.
    """

    senders: Sequence[str] = ()
    to: Sequence[str] = ()
    cc: Sequence[str] = ()
    subject: str = ""
    sent: datetime | None = None
    message_id: str | None = None
    bodies: Sequence[str] = ()
    attachments: Sequence[tuple[str, str]] = ()
    whole: bool = True


def fingerprints(message: str, seen: Seen) -> tuple[Fingerprint, ...]:
    """All fingerprints of a message, in the order in which they are claimed.

    Args:
        message: its id, the SHA-256 of its bytes.
        seen: what is visible of it.

    Returns:
        The raw bytes' always; the content's if From and Date were read and all of it was seen; the Message-ID's if
        there is one, and a Date: a sender that uses one Message-ID for everything is not to lose mail (rule 4.3).
    """
    found = [Fingerprint(FingerprintKind.RAW, message)]
    if seen.sent is None:
        return tuple(found)
    # Each address once, whatever the order: servers on the way have been seen to sort them.
    head = [_once(seen.senders), _once(seen.to), _once(seen.cc), _folded(seen.subject), seen.sent.isoformat()]
    if seen.senders and seen.whole:
        digests = sorted(digest for _, digest in seen.attachments)
        found.append(
            Fingerprint(FingerprintKind.CONTENT, _digest(*head, [_folded(body) for body in seen.bodies], digests))
        )
    if seen.message_id:
        # The body is left out: gateways add footers to it.
        names = sorted(_folded(name) for name, _ in seen.attachments)
        found.append(Fingerprint(FingerprintKind.MESSAGE_ID, _digest(seen.message_id, *head, names)))
    return tuple(found)


def _once(addresses: Iterable[str]) -> list[str]:
    return sorted(set(addresses))


def _folded(text: str) -> str:
    return " ".join(text.split())


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
