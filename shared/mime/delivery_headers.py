"""What the receiving servers wrote on a message: delivery hints (rule 2.2) and hops (rule 5.3).

Every server puts its lines on top, so that what stands above a trusted server's `Received` was written by it or behind
it, and what stands below may be anybody's. The trusted line itself quotes strangers (the name that a client gives
itself; in comments, the sender's address), who may choose names that look like a clause. A line that could be read in
two ways therefore gives no hint, and encoded words in it are not decoded: decoding would make syntax of what was text.
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
"""Fields, in lower case, in which receiving servers say for whom a message is."""

NEVER_DELIVERY = frozenset(
    {"from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references", "return-path"}
)
"""Fields with addresses or Message-IDs that senders write; DELIVERY_FIELDS refuses them."""

_TRACE_FIELDS = frozenset({RECEIVED, AUTHENTICATION_RESULTS, *DELIVERY_FIELDS})

RECEIVED_FOR = "received-for"

MOST_FIELDS = 1000
"""Trace fields that are kept, from the top; far below any line that may be trusted."""

MOST_OTHERS = 1000
"""Further fields that are kept, from the top, because DELIVERY_FIELDS may name them."""

LONGEST_OTHER = 8192
"""Bytes of such a field: a few addresses, and no signature or policy of a scanner."""

MOST_HINTS = 1000
"""Hints of one message, from the top; and as many again of fields that count anywhere."""

NO_FIELDS: Mapping[str, bool] = MappingProxyType({})

# A word may hold quoted strings, and white space and commas if these stand in angle brackets. Possessive throughout:
# nothing is looked at twice.
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_WORD = re.compile(rf'(?:<(?:[^<>"]|{_QUOTED})*+>|[^\s"(),;<>]|{_QUOTED})++', re.DOTALL)
_SPACE = re.compile(r"\s*+")
_IN_COMMENT = re.compile(r'\\.|[()<>"]', re.DOTALL)
_ROUTE = re.compile(r"@[^:\"]*:")


@dataclass(frozen=True, slots=True)
class Hint:
    """An address that a receiving server wrote.

    Attributes:
        address: normalised.
        where: the field's name in lower case; `received-for` is the `for` clause of a `Received`.
        tag: the part after `+` as written, where its case differs; else None.
        hop: the number, from the top, of the `Received` that is next below the field, or that has the clause.
    """

    address: str
    where: str
    tag: str | None = field(default=None, compare=False)
    hop: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class _Received:
    """What counts of one `Received`: the host behind `by`, and the addresses behind `for`, as written."""

    host: str | None = None
    addresses: tuple[str, ...] = ()


def trace_fields(fields: Iterable[tuple[str, bytes]], defects: Defects) -> tuple[tuple[str, str], ...]:
    """Return the fields that `delivery_hints` and `dmarc_domain` may read.

    Which fields DELIVERY_FIELDS names is a setting of the mailbox, and a message is read without settings (rule 7.3).
    So each short field that may hold an address is kept.

    Args:
        fields: every field of a header, name and raw value, in order.
        defects: where repairs are noted.

    Returns:
        Name in lower case and text, in order, at most `MOST_FIELDS` and `MOST_OTHERS`. Encoded words are left as they
        are.
    """
    found: list[tuple[str, str]] = []
    room, others = MOST_FIELDS, MOST_OTHERS
    for name, raw in fields:
        lower = name.lower()
        if lower in _TRACE_FIELDS:
            if room:
                room -= 1
                found.append((lower, header_text(raw, defects)))
        elif others and b"@" in raw and len(raw) <= LONGEST_OTHER and lower not in NEVER_DELIVERY:
            others -= 1
            found.append((lower, header_text(raw, defects)))
    return tuple(found)


def received_count(headers: Iterable[tuple[str, object]]) -> int:
    """How many `Received` a header has, by the names of its fields (rule 5.3)."""
    return sum(name.lower() == RECEIVED for name, _ in headers)


@converting_few()
def delivery_hints(
    headers: Iterable[tuple[str, str]],
    *,
    hops: int = 1,
    received_by: str | None = None,
    fields: Mapping[str, bool] = NO_FIELDS,
) -> tuple[Hint, ...]:
    """Return the delivery hints of a message (rule 2.2).

    Args:
        headers: name and text of its fields in order; `Message.trace`, rather than decoded headers.
        hops: the line that is trusted: the n-th `Received` from the top.
        received_by: the host that must have written that line; None is any.
        fields: names of further fields in lower case; true: the field counts below the trusted line as well.

    Returns:
        Each address once for each place where it was found, from the top. If the message has fewer `Received` than
        `hops`, or if another host wrote the trusted one, only what counts anywhere.
    """
    found: dict[tuple[str, str, int], Hint] = {}
    room = {False: MOST_HINTS, True: MOST_HINTS}
    lines = 0
    above, trusted = hops > 0, False

    def add(addresses: Iterable[str], where: str, hop: int) -> None:
        anywhere = fields.get(where, False)
        for address in addresses:
            normal = normalise(address)
            if normal and (normal, where, hop) not in found and room[anywhere]:
                room[anywhere] -= 1
                found[normal, where, hop] = Hint(normal, where, tag_as_written(address, normal), hop)

    for name, text in headers:
        where = name.lower()
        if where == RECEIVED:
            lines += 1
            if above:
                received = _read(text)
                add(received.addresses, RECEIVED_FOR, lines)
                above = lines < hops
                trusted = not above and (received_by is None or same_host(received.host, received_by))
        elif fields.get(where) or (above and (where in DELIVERY_FIELDS or where in fields)):
            add(_listed(text), where, lines + 1)
    return tuple(one for one in found.values() if trusted or fields.get(one.where))


def _listed(text: str) -> Iterator[str]:
    return (one.address for one in read_list(text, Defects(), recover=False)[0])


def received_by_host(text: str) -> str | None:
    """Return the host behind `by` of a `Received`; None if the line could be read in two ways."""
    return _read(text).host


def same_host(host: str | None, expected: str) -> bool:
    """Return whether a host of a `Received` is the one that a setting names."""
    return host is not None and host.lower().rstrip(".") == expected.strip().lower().rstrip(".")


def _read(text: str) -> _Received:
    """Read a `Received` (RFC 5321 section 4.4).

    There must be one `by` clause; one `for` clause at most, behind it and before the date; nothing unbalanced. If not,
    somebody's name was made to look like a clause, or the line is broken: nothing of it counts.
    """
    words = tokens(text)
    if words is None:
        return _Received()
    lower = [word.lower() for word in words]
    places = [at for at, word in enumerate(lower[:-1]) if word == "by" and words[at + 1] not in {";", ","}]
    if len(places) != 1:
        return _Received()
    by = places[0]
    end = lower.index(";") if ";" in lower else len(words)
    clauses = [(at, found) for at, word in enumerate(lower) if word == "for" and (found := _paths(words, at + 1))]
    if len(clauses) > 1 or by > end or any(not by < at < end for at, _ in clauses):
        return _Received()
    return _Received(words[by + 1], clauses[0][1] if clauses else ())


def _paths(words: list[str], at: int) -> tuple[str, ...]:
    """The addresses from a place on, up to what is neither an address nor a comma."""
    found: list[str] = []
    while at < len(words) and len(found) < MOST_HINTS:
        if words[at] != ",":
            address = _path(words[at])
            if not normalise(address):
                break
            found.append(address)
        at += 1
    return tuple(found)


def _path(word: str) -> str:
    if word.startswith("<") and word.endswith(">"):
        word = word[1:-1].strip()
        route = _ROUTE.match(word)
        word = word[route.end() :] if route else word
    return word


def tokens(text: str) -> list[str] | None:
    """Return the words, semicolons and commas outside of comments; None if something is not closed, or closed twice."""
    found: list[str] = []
    at = 0
    while True:
        space = _SPACE.match(text, at)
        at = space.end() if space else at
        if at == len(text):
            return found
        if text[at] == "(":
            end = _end_of_comment(text, at)
        elif text[at] in ";,":
            found.append(text[at])
            end = at + 1
        elif word := _WORD.match(text, at):
            found.append(word[0])
            end = word.end()
        else:
            return None
        if end < 0:
            return None
        at = end


def _end_of_comment(text: str, at: int) -> int:
    """Where a comment ends; -1 if it does not, or may have been ended by an address in it.

    Quotes mean nothing in a comment, but an address with a quoted parenthesis, copied there, ends it early: then a
    quote or an angle bracket is left open.
    """
    depth = angles = quotes = 0
    for match in _IN_COMMENT.finditer(text, at):
        mark = match[0]
        depth += (mark == "(") - (mark == ")")
        angles += (mark == "<") - (mark == ">")
        quotes += mark == '"'
        if angles < 0:
            return -1
        if not depth:
            return match.end() if not angles and quotes % 2 == 0 else -1
    return -1
