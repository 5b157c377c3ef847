"""By what two messages are the same (docs/explanation/duplicates.md), in the one order in which claims are taken.

The order is what makes the claims hold: raw bytes, visible content, Message-ID.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from heapq import nsmallest

MOST_PARAGRAPHS = 48
"""Digests of paragraphs that a claim holds; with those of edges, there are 64 at most."""

EDGE_LINES = 8
"""Lines that a gateway may have added to the first or the last paragraph, without an empty line between.

They are not more than the lines that were there.
"""

DIGEST = 16
"""Hex digits of such a digest: 64 bits. Each recipient has three claims, and each of them holds all digests."""

_PARAGRAPH_END = re.compile(r"\n[\W_]*\n")
"""An empty line, or lines without a letter or digit: `-- `, `____`, `>`. Linear: a run is read twice at most."""


class FingerprintKind(StrEnum):
    """In which way two messages are the same."""

    RAW = "raw"
    CONTENT = "content"
    MESSAGE_ID = "message-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What decides whether two messages with the same Message-ID are the same.

    Attributes:
        paragraphs: digests of the text's paragraphs, each once, sorted; of more than 48 the 48 smallest.
        more: there are more than 48 paragraphs.
        edges: digests of the first paragraph without its first lines, and of the last without its last lines.
        attachments: for a message without text, one digest over those of its attachments; empty if it has none.
        sender: the domain of a DMARC pass that a receiving server of ours recorded; empty if there is none.
    """

    paragraphs: tuple[str, ...] = ()
    more: bool = False
    edges: tuple[str, ...] = ()
    attachments: str = ""
    sender: str = ""

    def is_same(self, other: Comparison) -> bool:
        """Return whether one body contains the other, or both have the same authenticated sender. Symmetric."""
        if self.sender and self.sender == other.sender:
            return True
        return self._contains(other) or other._contains(self)

    def _contains(self, other: Comparison) -> bool:
        """Return whether all paragraphs of another text are among ours; for no text, whether attachments are equal.

        An empty text is contained in no other text: it would be in every one, and a forged message is easily empty.
        """
        if not other.paragraphs:
            return bool(other.attachments) and other.attachments == self.attachments
        if not self.more:
            missing = set(other.paragraphs) - set(self.paragraphs)
            surplus = set(self.paragraphs) - set(other.paragraphs)
            # Where lines were added, they are all that was: else "Kind regards" would be contained in most texts.
            return not other.more and (not missing or (len(missing) == len(surplus) and missing <= set(self.edges)))
        # Only the smallest digests of ours are known. A footer moves a few of the other's out of that range.
        in_range = [digest for digest in other.paragraphs if digest <= self.paragraphs[-1]]
        return {*self.paragraphs, *self.edges}.issuperset(in_range) and len(in_range) >= MOST_PARAGRAPHS // 2

    def as_json(self) -> Mapping[str, str | bool]:
        """As a claim stores it."""
        values: dict[str, str | bool] = {
            "paragraphs": " ".join(self.paragraphs),
            "more": self.more,
            "edges": " ".join(self.edges),
            "attachments": self.attachments,
            "sender": self.sender,
        }
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_json(cls, values: Mapping[str, str | bool]) -> Comparison:
        """From what `as_json` gave."""
        return cls(
            paragraphs=tuple(str(values.get("paragraphs", "")).split()),
            more=bool(values.get("more", False)),
            edges=tuple(str(values.get("edges", "")).split()),
            attachments=str(values.get("attachments", "")),
            sender=str(values.get("sender", "")),
        )


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One way in which a message may be the same as another.

    Attributes:
        kind: in which way.
        digest: hex digits; equal for messages that are the same in this way.
        comparison: for a Message-ID, what decides besides the digest; None: equal digests decide alone.
    """

    kind: FingerprintKind
    digest: str
    comparison: Comparison | None = field(default=None, compare=False)

    def is_same(self, other: Fingerprint) -> bool:
        """Return whether two messages with these fingerprints are the same by them. Symmetric."""
        if (self.kind, self.digest) != (other.kind, other.digest):
            return False
        if self.kind is not FingerprintKind.MESSAGE_ID:
            return True
        return (self.comparison or Comparison()).is_same(other.comparison or Comparison())


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleContent:
    """What a reader sees of a message. All addresses are normalised.

    Attributes:
        senders: addresses in From.
        to: addresses in To.
        cc: addresses in Cc.
        subject: decoded.
        sent: Date; None if it is missing or cannot be read.
        message_id: None unless there is exactly one, not empty.
        bodies: the text, and the HTML.
        attachments: file name and digest of each.
        whole: no cap was passed in reading it: all of it was seen.
        authenticated: the domain of a DMARC pass that a receiving server of ours recorded; empty if there is none.
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
    authenticated: str = ""


def fingerprints(message: str, seen: VisibleContent) -> tuple[Fingerprint, ...]:
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
        # The body is not in the digest, as gateways add footers to it: it is compared.
        names = sorted(_folded(name) for name, _ in seen.attachments)
        digest = _digest(seen.message_id, *head, names)
        found.append(Fingerprint(FingerprintKind.MESSAGE_ID, digest, _comparison(seen)))
    return tuple(found)


def _comparison(seen: VisibleContent) -> Comparison:
    text = seen.bodies[0] if seen.bodies else ""
    paragraphs = _paragraphs(text)
    digests = {_short(paragraph) for paragraph in set(map(_folded, paragraphs))}
    attachments = sorted(digest for _, digest in seen.attachments)
    return Comparison(
        paragraphs=tuple(nsmallest(MOST_PARAGRAPHS, digests)),
        more=len(digests) > MOST_PARAGRAPHS,
        edges=tuple(map(_short, _edges(paragraphs[0], paragraphs[-1]))) if paragraphs else (),
        attachments=_digest(attachments) if attachments and not digests else "",
        sender=seen.authenticated,
    )


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a text. They are compared with white space folded, as a gateway may wrap lines anew."""
    return [paragraph for paragraph in _PARAGRAPH_END.split(f"\n{text}\n") if not paragraph.isspace() and paragraph]


def _edges(first: str, last: str) -> Iterator[str]:
    """What the first and the last paragraph were before a gateway added lines to them."""
    head, tail = ([_folded(line) for line in paragraph.strip("\n").split("\n")] for paragraph in (first, last))
    for count in range(1, EDGE_LINES + 1):
        yield from (" ".join(lines) for lines in (head[count:], tail[:-count]) if len(lines) >= count)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST]


def _once(addresses: Iterable[str]) -> list[str]:
    return sorted(set(addresses))


def _folded(text: str) -> str:
    return " ".join(text.split())


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
