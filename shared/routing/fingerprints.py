"""Fingerprints by which messages are recognised as duplicates (docs/explanation/duplicates.md).

Claims are made in a fixed order, on which their correctness depends: raw bytes, visible content, Message-ID.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import accumulate, islice, zip_longest

MAX_PARAGRAPHS = 47
"""Maximum number of paragraphs whose digests a claim holds. With those of edges and of the whole text, at most 64.

Of a longer text, a claim holds no paragraphs: comparing a selection would hide a change in the others.
"""

MAX_EDGE_LINES = 8
"""Maximum number of lines that a gateway may have added to the first or last paragraph without an empty line.

The added lines must not outnumber the original ones.
"""

MAX_BANNER_PARAGRAPHS, MAX_FOOTER_PARAGRAPHS = 2, 8
"""Numbers of paragraphs that a gateway may have added before and after a text of more than 47 paragraphs."""

MAX_BANNER_LINES, MAX_FOOTER_LINES = 2, 3
"""Numbers of lines that it may have added to such a text's first and last paragraph; 60 combinations in all."""

DIGEST_LENGTH = 16
"""Length of a digest in hex digits: 64 bits. Each recipient has three claims, and each claim holds all digests."""

_PARAGRAPH_END = re.compile(r"(\n[\s_=*#~>.\u2010-\u2015\u2022\u2500-\u257f-]*\n)")
"""An empty line, or lines of white space and rules: `-- `, `____`, `>`. Linear: a run is read at most twice.

Other symbols are text: in an answer, a thumb up differs from a thumb down.
"""


_to_json = json.JSONEncoder(ensure_ascii=False).encode


class FingerprintKind(StrEnum):
    """The property by which two messages are the same."""

    RAW = "raw"
    CONTENT = "content"
    MESSAGE_ID = "message-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The data that decides whether two messages with the same Message-ID are the same.

    Attributes:
        paragraphs: sorted digests of the text's distinct paragraphs; empty for a text of more than 47.
        whole: digest of all paragraphs in order; empty without text.
        edges: digests of the first paragraph without its first lines, and of the last without its last lines. For a
            text of more than 47 paragraphs: the values of `whole` without possible additions of a gateway at both ends.
        attachments: digest of the attachments' digests; empty if there are none.
        sender: domain of a DMARC pass that one of our receiving servers recorded; empty if there is none.
    """

    paragraphs: tuple[str, ...] = ()
    whole: str = ""
    edges: tuple[str, ...] = ()
    attachments: str = ""
    sender: str = ""

    def is_same(self, other: Comparison) -> bool:
        """Return whether a body contains the other, or both have the same authenticated sender. Symmetric.

        Messages without text must have attachments to be the same. Every text would contain an empty text, and a forged
        message is easily empty.
        """
        if self.sender and self.sender == other.sender:
            return True
        if self.attachments != other.attachments:
            return False
        if not (self.whole and other.whole):
            return self.whole == other.whole and bool(self.attachments)
        return self._contains(other) or other._contains(self)

    def _contains(self, other: Comparison) -> bool:
        """Return whether this text contains all paragraphs of another text."""
        if not self.paragraphs:
            return other.whole in {self.whole, *self.edges}
        if not other.paragraphs:
            return False
        missing = set(other.paragraphs) - set(self.paragraphs)
        surplus = set(self.paragraphs) - set(other.paragraphs)
        # Added lines must be the only change: otherwise most texts would contain "Kind regards".
        return not missing or (len(missing) == len(surplus) and missing <= set(self.edges))

    def to_json(self) -> Mapping[str, str]:
        """Return the form that a claim stores."""
        values = {
            "paragraphs": " ".join(self.paragraphs),
            "whole": self.whole,
            "edges": " ".join(self.edges),
            "attachments": self.attachments,
            "sender": self.sender,
        }
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_json(cls, values: Mapping[str, str]) -> Comparison:
        """Return the comparison with the values of `to_json`."""
        return cls(
            paragraphs=tuple(values.get("paragraphs", "").split()),
            whole=values.get("whole", ""),
            edges=tuple(values.get("edges", "").split()),
            attachments=values.get("attachments", ""),
            sender=values.get("sender", ""),
        )


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A property by which a message may be the same as another.

    Attributes:
        kind: the kind of property.
        digest: hex digits, equal for messages that are the same by this property.
        comparison: for a Message-ID, further data that must agree; None if equal digests are sufficient.
    """

    kind: FingerprintKind
    digest: str
    comparison: Comparison | None = field(default=None, compare=False)

    def is_same(self, other: Fingerprint) -> bool:
        """Return whether two messages are the same by these fingerprints. Symmetric."""
        if (self.kind, self.digest) != (other.kind, other.digest):
            return False
        if self.kind is not FingerprintKind.MESSAGE_ID:
            return True
        return (self.comparison or Comparison()).is_same(other.comparison or Comparison())


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleContent:
    """The visible content of a message. All addresses are normalised.

    Attributes:
        senders: addresses in From.
        to: addresses in To.
        cc: addresses in Cc.
        subject: the decoded subject.
        sent: time of Date; None if it is missing or unreadable.
        message_id: the Message-ID; None if it is missing, empty or repeated.
        bodies: the text, and the HTML.
        attachments: file name and digest of each attachment.
        whole: whether all of the message was parsed: no limit was exceeded.
        authenticated: domain of a DMARC pass that one of our receiving servers recorded; empty if there is none.
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


def fingerprints(message: str, content: VisibleContent) -> tuple[Fingerprint, ...]:
    """Return all fingerprints of a message in the order in which they are claimed.

    Args:
        message: the message's id, the SHA-256 of its bytes.
        content: the visible content.

    Returns:
        The fingerprint of the raw bytes, always. That of the content if From and Date were read and the message was
        parsed completely. That of the Message-ID if there is one, and a Date: mail must not be lost if a sender uses
        one Message-ID for every message (rule 4.3).
    """
    prints = [Fingerprint(FingerprintKind.RAW, message)]
    if content.sent is None:
        return tuple(prints)
    body, *others = content.bodies or ("",)
    text, other_bodies = _Text.from_body(body), list(map(_fold, others))
    # Addresses are sorted without repetitions: some servers in transit sort them.
    head = [
        _sorted_unique(content.senders),
        _sorted_unique(content.to),
        _sorted_unique(content.cc),
        _fold(content.subject),
        content.sent.isoformat(),
    ]
    if content.senders and content.whole:
        digests = sorted(digest for _, digest in content.attachments)
        bodies = [text.folded, *other_bodies] if content.bodies else []
        prints.append(Fingerprint(FingerprintKind.CONTENT, _digest(*head, bodies, digests)))
    if content.message_id:
        # The body is compared instead of being part of the digest, since gateways add footers to it.
        names = sorted(_fold(name) for name, _ in content.attachments)
        digest = _digest(content.message_id, *head, names)
        prints.append(Fingerprint(FingerprintKind.MESSAGE_ID, digest, _to_comparison(content, text, other_bodies)))
    return tuple(prints)


def _to_comparison(content: VisibleContent, text: _Text, other_bodies: Sequence[str]) -> Comparison:
    paragraphs, folded = text.paragraphs, text.folded_paragraphs
    digest_of = {paragraph: _short_digest(paragraph) for paragraph in set(folded)}
    digests = [digest_of[paragraph] for paragraph in folded]
    attachments: list[object] = [sorted(digest for _, digest in content.attachments)] if content.attachments else []
    if attachments and not digests:
        attachments += other_bodies  # everything else that is shown with the attachments
    whole, edges = "", list[str]()
    if len(digest_of) > MAX_PARAGRAPHS:
        whole, *edges = _trimmed_digests(paragraphs, folded, digests)
    elif digests:
        whole = _short_digest("".join(digests))
        heads = _heads(paragraphs[0], folded[0], MAX_EDGE_LINES)
        tails = _tails(paragraphs[-1], folded[-1], MAX_EDGE_LINES)
        edges = [edge for pair in zip_longest(heads, tails) for edge in pair if edge is not None]
    return Comparison(
        paragraphs=tuple(sorted(digest_of.values())) if len(digest_of) <= MAX_PARAGRAPHS else (),
        whole=whole,
        edges=tuple(edges),
        attachments=_digest(*attachments) if attachments else "",
        sender=content.authenticated,
    )


@dataclass(frozen=True, slots=True)
class _Text:
    """A text and its paragraphs. They are compared with white space folded, since gateways wrap lines.

    Attributes:
        folded: the whole text, folded.
        paragraphs: as written.
        folded_paragraphs: the same, folded.
    """

    folded: str
    paragraphs: Sequence[str]
    folded_paragraphs: Sequence[str]

    @classmethod
    def from_body(cls, text: str) -> _Text:
        """Split a text. Each part is folded once: parts begin and end with a line, so that no word is in two parts."""
        parts = _PARAGRAPH_END.split(f"\n{text}\n")  # paragraphs and their ends in turn
        folded = list(map(_fold, parts))
        return cls(
            folded=" ".join(filter(None, folded)),
            paragraphs=[part for part, words in zip(parts[::2], folded[::2], strict=True) if words],
            folded_paragraphs=list(filter(None, folded[::2])),
        )


def _trimmed_digests(paragraphs: Sequence[str], folded: Sequence[str], digests: Sequence[str]) -> Iterator[str]:
    """Return the digest of a long text, then its digests without possible additions of a gateway at both ends."""
    first, inner, last = (
        digests[:MAX_BANNER_PARAGRAPHS],
        "".join(digests[MAX_BANNER_PARAGRAPHS:-MAX_FOOTER_PARAGRAPHS]).encode(),
        digests[-MAX_FOOTER_PARAGRAPHS:],
    )
    heads = [first[count:] for count in range(MAX_BANNER_PARAGRAPHS + 1)]
    heads += [[cut, *first[1:]] for cut in _heads(paragraphs[0], folded[0], MAX_BANNER_LINES)]
    tails = [last[: MAX_FOOTER_PARAGRAPHS - count] for count in range(MAX_FOOTER_PARAGRAPHS + 1)]
    tails += [[*last[:-1], cut] for cut in _tails(paragraphs[-1], folded[-1], MAX_FOOTER_LINES)]
    for head in heads:
        prefix = hashlib.sha256("".join(head).encode() + inner)
        for tail in tails:
            digest = prefix.copy()
            digest.update("".join(tail).encode())
            yield digest.hexdigest()[:DIGEST_LENGTH]


def _heads(first: str, folded: str, limit: int) -> list[str]:
    """Return the digests of a text's first paragraph without lines that a gateway may have added above it."""
    paragraph, data = first.strip("\n"), memoryview(_encode(folded))
    starts = accumulate(map(_folded_size, paragraph.split("\n", limit)[:-1]))
    return [_short_sha256(data[start:]) for start in islice(starts, _max_cut(paragraph, limit))]


def _tails(last: str, folded: str, limit: int) -> list[str]:
    """Return the digests of a text's last paragraph without lines that a gateway may have added below it."""
    paragraph, data = last.strip("\n"), memoryview(_encode(folded))
    cut_sizes = accumulate(map(_folded_size, paragraph.rsplit("\n", limit)[:0:-1]))
    ends = [len(data) - size for size in islice(cut_sizes, _max_cut(paragraph, limit))]
    # The shortest first: each longer one continues its digest.
    digests: list[str] = []
    digest, start = hashlib.sha256(), 0
    for end in reversed(ends):
        digest.update(data[start:end])
        digests.append(digest.copy().hexdigest()[:DIGEST_LENGTH])
        start = end
    return digests[::-1]


def _max_cut(paragraph: str, limit: int) -> int:
    """Return how many lines may have been added: at most `limit`, and no more than the lines that are left."""
    return min(limit, (paragraph.count("\n") + 1) // 2)


def _folded_size(line: str) -> int:
    """Return the bytes of a line in a folded paragraph, with the space that separates it from the next."""
    return len(_encode(_fold(line))) + 1


def _short_digest(text: str) -> str:
    return _short_sha256(_encode(text))


def _short_sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_LENGTH]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _sorted_unique(addresses: Iterable[str]) -> list[str]:
    return sorted(set(addresses))


def _fold(text: str) -> str:
    return " ".join(text.split())


def _digest(*parts: object) -> str:
    return hashlib.sha256(_encode(_to_json(parts))).hexdigest()
