"""The words of an address header (RFC 5322 section 3.2), cut into the elements of its list; linear time."""

from __future__ import annotations

import re
from collections.abc import Iterator

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


def elements(text: str) -> Iterator[list[Token]]:
    """The elements of a list of addresses: what stands between its commas, groups dissolved."""
    element: list[Token] = []
    angle = route = at_sign = False
    for token in tokens(text):
        kind, mark = token
        if kind != SPECIAL:
            element.append(token)
            continue
        if (mark == "," and not route) or mark == ";":
            if element:
                yield element
            element, angle, route, at_sign = [], False, False, False
            continue
        if mark == ":" and not angle and not at_sign:
            element = []  # it was the name of a group
            continue
        if mark == "<":
            angle = True
        elif mark == ">":
            angle = route = False
        elif mark == "@":
            at_sign = True
            route = route or (angle and _last_mark(element) == "<")
        elif mark == ":":
            route = False
        element.append(token)
    yield element


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
