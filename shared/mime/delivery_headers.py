"""Fields written by receiving servers: delivery hints (rule 2.2) and hops (rule 5.3).

Every server prepends its lines. Lines above a trusted server's `Received` were therefore written by it or by later
servers, and lines below it may be forged. The trusted line itself contains text that a sender chooses (the client's
name; in comments, the sender's address), and such text may imitate a clause. Therefore an ambiguous line gives no hint,
and its encoded words stay undecoded: decoding would turn text into syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from shared.addresses import converting_few, normalise, tag_as_written
from shared.mime.address_list import read_list
from shared.mime.defects import Defects
from shared.mime.encoded_words import header_text

RECEIVED = "received"

AUTHENTICATION_RESULTS = "authentication-results"

DELIVERY_FIELDS = frozenset(
    {"delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-forwarded-to", "resent-to"}
)
"""Fields, in lower case, in which receiving servers record the envelope recipient."""

NEVER_DELIVERY = frozenset(
    {"from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references", "return-path"}
)
"""Fields with addresses or Message-IDs that senders write. DELIVERY_FIELDS refuses them."""

_TRACE_FIELDS = frozenset({RECEIVED, AUTHENTICATION_RESULTS, *DELIVERY_FIELDS})

RECEIVED_FOR = "received-for"

MAX_FIELDS = 1000
"""Maximum number of trace fields, counted from the top; far more than lie above any trusted line."""

MAX_OTHER_FIELDS = 1000
"""Maximum number of other fields, counted from the top. They are kept because DELIVERY_FIELDS may name them."""

MAX_OTHER_FIELD_SIZE = 8192
"""Maximum size of such a field in bytes: enough for a few addresses, too small for signatures and scanner results."""

MAX_HINTS = 1000
"""Maximum number of hints per message, counted from the top, and the same number for fields that count anywhere."""

NO_FIELDS: Mapping[str, bool] = MappingProxyType({})

# A word may contain quoted strings, and within angle brackets white space and commas. All quantifiers are possessive,
# so that matching takes linear time.
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_WORD = re.compile(rf'(?:<(?:[^<>"]|{_QUOTED})*+>|[^\s"(),;<>]|{_QUOTED})++', re.DOTALL)
_SPACE = re.compile(r"\s*+")
_IN_COMMENT = re.compile(r'\\.|[()<>"]', re.DOTALL)
_ROUTE = re.compile(r"@[^:\"]*:")


@dataclass(frozen=True, slots=True)
class DeliveryHint:
    """An address that a receiving server wrote.

    Attributes:
        address: the normalised address.
        where: the field's name in lower case; `received-for` is the `for` clause of a `Received`.
        tag: the part after `+` as written, if its case differs; else None.
        hop: the number, from the top, of the next `Received` below the field, or of the `Received` with the clause.
    """

    address: str
    where: str
    tag: str | None = field(default=None, compare=False)
    hop: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class _Received:
    """The relevant parts of a `Received`: the host after `by`, and the addresses after `for`, as written."""

    host: str | None = None
    addresses: tuple[str, ...] = ()


def trace_fields(fields: Iterable[tuple[str, bytes]], defects: Defects) -> tuple[tuple[str, str], ...]:
    """Return the fields that `delivery_hints` and `dmarc_domain` may read.

    DELIVERY_FIELDS, a setting of the mailbox, names the fields to read, and a message is parsed without settings
    (rule 7.3). Therefore every short field that may contain an address is kept.

    Args:
        fields: name and raw value of every field of a header, in order.
        defects: collects the repairs.

    Returns:
        Name in lower case and text in order, at most `MAX_FIELDS` and `MAX_OTHER_FIELDS`, with encoded words left
        undecoded.
    """
    kept: list[tuple[str, str]] = []
    trace_room, other_room = MAX_FIELDS, MAX_OTHER_FIELDS
    for name, raw in fields:
        lower = name.lower()
        if lower in _TRACE_FIELDS:
            if trace_room:
                trace_room -= 1
                kept.append((lower, header_text(raw, defects)))
        elif other_room and b"@" in raw and len(raw) <= MAX_OTHER_FIELD_SIZE and lower not in NEVER_DELIVERY:
            other_room -= 1
            kept.append((lower, header_text(raw, defects)))
    return tuple(kept)


def received_count(headers: Iterable[tuple[str, object]]) -> int:
    """Return the number of `Received` among the names of a header's fields (rule 5.3)."""
    return sum(name.lower() == RECEIVED for name, _ in headers)


@converting_few()
def delivery_hints(
    headers: Iterable[tuple[str, str]],
    *,
    hops: int = 1,
    received_by: str | None = None,
    fields: Mapping[str, bool] = NO_FIELDS,
) -> tuple[DeliveryHint, ...]:
    """Return the delivery hints of a message (rule 2.2).

    Args:
        headers: name and text of the fields in order. Use `Message.trace`, not decoded headers.
        hops: the trusted line is the n-th `Received` from the top.
        received_by: the host that must have written that line; None accepts any host.
        fields: names of further fields in lower case. True: the field counts below the trusted line as well.

    Returns:
        Each address once for each field, from the top. Only the fields that count anywhere are used if the message has
        fewer `Received` than `hops`, or if another host wrote the trusted line.
    """
    hints: dict[tuple[str, str, int], DeliveryHint] = {}
    remaining = {False: MAX_HINTS, True: MAX_HINTS}
    lines = 0
    above, trusted = hops > 0, False

    def add(addresses: Iterable[str], where: str, hop: int) -> None:
        anywhere = fields.get(where, False)
        for address in addresses:
            normal = normalise(address)
            if normal and (normal, where, hop) not in hints and remaining[anywhere]:
                remaining[anywhere] -= 1
                hints[normal, where, hop] = DeliveryHint(normal, where, tag_as_written(address, normal), hop)

    for name, text in headers:
        where = name.lower()
        if where == RECEIVED:
            lines += 1
            if above:
                received = _parse_received(text)
                add(received.addresses, RECEIVED_FOR, lines)
                above = lines < hops
                trusted = not above and (received_by is None or same_host(received.host, received_by))
        elif fields.get(where) or (above and (where in DELIVERY_FIELDS or where in fields)):
            add(_addresses_in(text), where, lines + 1)
    return tuple(hint for hint in hints.values() if trusted or fields.get(hint.where))


def _addresses_in(text: str) -> Iterator[str]:
    return (address.address for address in read_list(text, Defects(), recover=False)[0])


def received_by_host(text: str) -> str | None:
    """Return the host after `by` of a `Received`; None if the line is ambiguous."""
    return _parse_received(text).host


def same_host(host: str | None, expected: str) -> bool:
    """Return whether the host of a `Received` is the host that a setting names."""
    return host is not None and host.lower().rstrip(".") == expected.strip().lower().rstrip(".")


def _parse_received(text: str) -> _Received:
    """Parse a `Received` (RFC 5321 section 4.4).

    A valid line has exactly one `by` clause, and at most one `for` clause, which follows it and precedes the date.
    Otherwise a name imitates a clause, or the line is broken: nothing in it counts.
    """
    words = tokenize(text)
    if words is None:
        return _Received()
    lower = [word.lower() for word in words]
    by_indexes = [index for index, word in enumerate(lower[:-1]) if word == "by" and words[index + 1] not in {";", ","}]
    if len(by_indexes) != 1:
        return _Received()
    by = by_indexes[0]
    end = lower.index(";") if ";" in lower else len(words)
    clauses = [
        (index, addresses)
        for index, word in enumerate(lower)
        if word == "for" and (addresses := _parse_paths(words, index + 1))
    ]
    if len(clauses) > 1 or by > end or any(not by < index < end for index, _ in clauses):
        return _Received()
    return _Received(words[by + 1], clauses[0][1] if clauses else ())


def _parse_paths(words: list[str], position: int) -> tuple[str, ...]:
    """Return the addresses from an index on, up to the first word that is neither an address nor a comma."""
    addresses: list[str] = []
    while position < len(words) and len(addresses) < MAX_HINTS:
        if words[position] != ",":
            address = _strip_route(words[position])
            if not normalise(address):
                break
            addresses.append(address)
        position += 1
    return tuple(addresses)


def _strip_route(word: str) -> str:
    if word.startswith("<") and word.endswith(">"):
        word = word[1:-1].strip()
        route = _ROUTE.match(word)
        word = word[route.end() :] if route else word
    return word


def tokenize(text: str) -> list[str] | None:
    """Return the words, semicolons and commas outside comments; None if anything is unbalanced."""
    words: list[str] = []
    position = 0
    while True:
        space = _SPACE.match(text, position)
        position = space.end() if space else position
        if position == len(text):
            return words
        if text[position] == "(":
            end = _comment_end(text, position)
        elif text[position] in ";,":
            words.append(text[position])
            end = position + 1
        elif word := _WORD.match(text, position):
            words.append(word[0])
            end = word.end()
        else:
            return None
        if end < 0:
            return None
        position = end


def _comment_end(text: str, position: int) -> int:
    """Return the end of a comment; -1 if it has no end, or if an address in it may have ended it.

    Quotes have no meaning in a comment. An address with a quoted parenthesis that a server copies into a comment ends
    it early, and leaves a quote or an angle bracket open.
    """
    depth = angles = quotes = 0
    for match in _IN_COMMENT.finditer(text, position):
        mark = match[0]
        depth += (mark == "(") - (mark == ")")
        angles += (mark == "<") - (mark == ">")
        quotes += mark == '"'
        if angles < 0:
            return -1
        if not depth:
            return match.end() if not angles and quotes % 2 == 0 else -1
    return -1
