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
from itertools import zip_longest

MOST_PARAGRAPHS = 47
"""Paragraphs whose digests a claim holds; with those of edges and of the whole text, there are 64 at most.

Of a longer text it holds none of them: to compare a selection would hide a change in the others.
"""

EDGE_LINES = 8
"""Lines that a gateway may have added to the first or the last paragraph, without an empty line between.

They are not more than the lines that were there.
"""

LONG_TEXT_BANNER, LONG_TEXT_FOOTER = 2, 8
"""Paragraphs that a gateway may have added before and behind a text of more than 47."""

LONG_TEXT_HEAD, LONG_TEXT_TAIL = 2, 3
"""Lines that it may have added to such a text's first and last paragraph; 60 combinations in all."""

DIGEST = 16
"""Hex digits of such a digest: 64 bits. Each recipient has three claims, and each of them holds all digests."""

_PARAGRAPH_END = re.compile(r"\n[\s_=*#~>.\u2010-\u2015\u2022\u2500-\u257f-]*\n")
"""An empty line, or lines of white space and rules: `-- `, `____`, `>`. Linear: a run is read twice at most.

Other signs are text: in an answer, a line with a thumb up is not a line with a thumb down.
"""


class FingerprintKind(StrEnum):
    """In which way two messages are the same."""

    RAW = "raw"
    CONTENT = "content"
    MESSAGE_ID = "message-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What decides whether two messages with the same Message-ID are the same.

    Attributes:
        paragraphs: digests of the text's paragraphs, each once, sorted; none of a text of more than 47.
        whole: one digest over all paragraphs in order; empty if there is no text.
        edges: digests of the first paragraph without its first lines, and of the last without its last lines; of a text
            of more than 47 paragraphs, what `whole` would be without what a gateway may have added at both ends.
        attachments: one digest over those of the attachments; empty if there are none.
        sender: the domain of a DMARC pass that a receiving server of ours recorded; empty if there is none.
    """

    paragraphs: tuple[str, ...] = ()
    whole: str = ""
    edges: tuple[str, ...] = ()
    attachments: str = ""
    sender: str = ""

    def is_same(self, other: Comparison) -> bool:
        """Return whether one body contains the other, or both have the same authenticated sender. Symmetric.

        Messages without text need attachments to be the same. An empty text would be contained in every text, and a
        forged message is easily empty.
        """
        if self.sender and self.sender == other.sender:
            return True
        if self.attachments != other.attachments:
            return False
        if not (self.whole and other.whole):
            return self.whole == other.whole and bool(self.attachments)
        return self._contains(other) or other._contains(self)

    def _contains(self, other: Comparison) -> bool:
        """Return whether all paragraphs of another text are among ours."""
        if not self.paragraphs:
            return other.whole in {self.whole, *self.edges}
        if not other.paragraphs:
            return False
        missing = set(other.paragraphs) - set(self.paragraphs)
        surplus = set(self.paragraphs) - set(other.paragraphs)
        # Where lines were added, they are all that was: else "Kind regards" would be contained in most texts.
        return not missing or (len(missing) == len(surplus) and missing <= set(self.edges))

    def as_json(self) -> Mapping[str, str]:
        """As a claim stores it."""
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
        """From what `as_json` gave."""
        return cls(
            paragraphs=tuple(values.get("paragraphs", "").split()),
            whole=values.get("whole", ""),
            edges=tuple(values.get("edges", "").split()),
            attachments=values.get("attachments", ""),
            sender=values.get("sender", ""),
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
    text, *others = seen.bodies or ("",)
    paragraphs = _paragraphs(text)
    folded = list(map(_folded, paragraphs))
    known = {paragraph: _short(paragraph) for paragraph in set(folded)}
    digests = [known[paragraph] for paragraph in folded]
    attachments: list[object] = [sorted(digest for _, digest in seen.attachments)] if seen.attachments else []
    if attachments and not digests:
        attachments += map(_folded, others)  # all that is shown beside the attachments
    whole, edges = "", list[str]()
    if len(known) > MOST_PARAGRAPHS:
        whole, *edges = _trimmed(paragraphs, digests)
    elif digests:
        whole = _short("".join(digests))
        heads, tails = _heads(paragraphs[0], EDGE_LINES), _tails(paragraphs[-1], EDGE_LINES)
        edges = [edge for pair in zip_longest(heads, tails) for edge in pair if edge is not None]
    return Comparison(
        paragraphs=tuple(sorted(known.values())) if len(known) <= MOST_PARAGRAPHS else (),
        whole=whole,
        edges=tuple(edges),
        attachments=_digest(*attachments) if attachments else "",
        sender=seen.authenticated,
    )


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a text. They are compared with white space folded, as a gateway may wrap lines anew."""
    return [paragraph for paragraph in _PARAGRAPH_END.split(f"\n{text}\n") if not paragraph.isspace() and paragraph]


def _trimmed(paragraphs: Sequence[str], digests: Sequence[str]) -> Iterator[str]:
    """The digest of a long text, and then what it would be without what a gateway may have added at both ends."""
    first, inner, last = (
        digests[:LONG_TEXT_BANNER],
        "".join(digests[LONG_TEXT_BANNER:-LONG_TEXT_FOOTER]).encode(),
        digests[-LONG_TEXT_FOOTER:],
    )
    heads = [first[count:] for count in range(LONG_TEXT_BANNER + 1)]
    heads += [[cut, *first[1:]] for cut in _heads(paragraphs[0], LONG_TEXT_HEAD)]
    tails = [last[: LONG_TEXT_FOOTER - count] for count in range(LONG_TEXT_FOOTER + 1)]
    tails += [[*last[:-1], cut] for cut in _tails(paragraphs[-1], LONG_TEXT_TAIL)]
    for head in heads:
        begun = hashlib.sha256("".join(head).encode() + inner)
        for tail in tails:
            ended = begun.copy()
            ended.update("".join(tail).encode())
            yield ended.hexdigest()[:DIGEST]


def _heads(first: str, most: int) -> list[str]:
    """Digests of what a text's first paragraph was before a gateway put lines on top of it."""
    lines = _lines(first)
    return [_short(" ".join(lines[count:])) for count in range(1, most + 1) if len(lines) >= 2 * count]


def _tails(last: str, most: int) -> list[str]:
    """Digests of what a text's last paragraph was before a gateway put lines below it."""
    lines = _lines(last)
    return [_short(" ".join(lines[:-count])) for count in range(1, most + 1) if len(lines) >= 2 * count]


def _lines(paragraph: str) -> list[str]:
    return [_folded(line) for line in paragraph.strip("\n").split("\n")]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST]


def _once(addresses: Iterable[str]) -> list[str]:
    return sorted(set(addresses))


def _folded(text: str) -> str:
    return " ".join(text.split())


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
