"""The words of an address header (RFC 5322 section 3.2), cut into the elements of its list; linear time."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shared.addresses import without_invisible
from shared.mime.defects import Defects
from shared.mime.encoded_words import decoded

ATOM, QUOTED, LITERAL, COMMENT, SPACE, SPECIAL = "atom", "quoted", "literal", "comment", "space", "special"

Token = tuple[str, str]
"""A kind, and the text as written."""

# An encoded word is one atom even if it holds what an atom may not, as many mailers have it.
_PLAIN = re.compile(
    r'(=\?[^?\s]{1,80}\?[BbQq]\?[^?\s]*\?=|[^\s"(),:;<>@\[\]]+)|(\s+)|(\[[^\[\]\\\s]{0,250}\])|.', re.DOTALL
)
_KINDS = (SPECIAL, ATOM, SPACE, LITERAL)  # by the number of the group that matched
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_PAREN = re.compile(r"\\.|[()]", re.DOTALL)
_MOST_OF_A_PATH = 256  # tokens, as a path has at most 256 octets (RFC 5321 section 4.5.3.1.3)
_MOST_COMMAS = 8  # in a display name without quotes


def elements(text: str) -> Iterator[list[Token]]:
    """Return the elements of a list of addresses: what its commas separate, groups dissolved.

    Pieces without an address before a mailbox in angle brackets belong to its display name, which lacks the quotes that
    RFC 5322 requires: `Doe, Jane <jane@example.com>`.
    """
    element: list[Token] = []
    commas: list[int] = []  # places in `element`: each follows a piece that may be the beginning of a display name
    angle = route = at_sign = False
    for token in tokens(text):
        kind, mark = token
        if kind != SPECIAL:
            element.append(token)
            continue
        if (mark == "," and not (route and len(element) < _MOST_OF_A_PATH)) or mark == ";":
            if mark == "," and not angle and not at_sign and _is_held(element, commas):
                continue
            yield from _pieces(element, commas)
            element, commas, angle, route, at_sign = [], [], False, False, False
            continue
        if mark == ":" and not angle and not at_sign:
            yield from _pieces(element[: commas[-1]] if commas else [], commas[:-1])
            element, commas = [], []  # it was the name of a group
            continue
        if mark == "<":
            angle, commas = True, []
        elif mark == "@":
            at_sign = True
            route = route or (angle and _last_mark(element) == "<")
        elif mark in {">", ":"}:
            angle, route = angle and mark == ":", False
        element.append(token)
    yield from _pieces(element, commas)


def _is_held(element: list[Token], commas: list[int]) -> bool:
    """Return whether a comma behind an element may be part of a display name; if so, add it to the element."""
    start = commas[-1] + 1 if commas else 0
    if commas and _is_blank(element, start):
        del element[start:]
        return True
    if len(commas) == _MOST_COMMAS or not _may_be_part_of_a_name(element, start):
        return False
    commas.append(len(element))
    element.append((SPECIAL, ","))
    return True


def _pieces(element: list[Token], commas: list[int]) -> Iterator[list[Token]]:
    """Return an element cut at its commas, which turned out to separate."""
    start = 0
    for comma in commas:
        yield element[start:comma]
        start = comma + 1
    if rest := element[start:] if commas else element:
        yield rest


def _may_be_part_of_a_name(element: list[Token], start: int) -> bool:
    """Return whether the tokens from `start` on are words, without an address, not even an encoded one."""
    words = False
    for kind, text in element[start:]:
        if kind == SPACE:
            continue
        if "@" in text or text in {"<", ">"} or ("=?" in text and "@" in decoded(text, Defects())):
            return False
        words = words or (kind != COMMENT and (text.isascii() or bool(without_invisible(text))))
    return words


def _is_blank(element: list[Token], start: int) -> bool:
    return all(kind == SPACE or not (text.isascii() or without_invisible(text)) for kind, text in element[start:])


def _last_mark(element: list[Token]) -> str:
    """What stands last in an element, two tokens of white space or comment left aside."""
    solid = [text for kind, text in element[-3:] if kind not in {SPACE, COMMENT}]
    return solid[-1] if solid else ""


def tokens(text: str) -> Iterator[Token]:
    """Words, quoted strings, comments, domain literals, white space and single characters.

    An opening quote or parenthesis that is not closed is looked for to the end once; from then on, all of its kind
    are white space.
    """
    at = 0
    closed = {'"': True, "(": True}
    while at < len(text):
        match = _PLAIN.match(text, at)
        assert match is not None  # its last branch takes anything
        kind, word, end = _KINDS[match.lastindex or 0], match[0], match.end()
        if closed.get(word):
            kind = QUOTED if word == '"' else COMMENT
            end = _end_of_quoted(text, at) if kind == QUOTED else _end_of_comment(text, at)
            closed[word] = end > 0
            end = end or at + 1
            word = text[at:end]
        if word in closed:
            kind = SPACE
        yield kind, " " if kind == SPACE else word
        at = end


def _end_of_quoted(text: str, at: int) -> int:
    match = _QUOTED.match(text, at)
    return match.end() if match else 0


def _end_of_comment(text: str, at: int) -> int:
    depth = 0
    for match in _PAREN.finditer(text, at):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    return 0
