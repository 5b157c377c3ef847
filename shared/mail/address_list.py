"""Lists of addresses in headers (RFC 5322 sections 3.4 and 4.4), read in linear time whatever stands there.

The standard library's readers were no base for this: they raise, drop or invent addresses on malformed lists, and their time
grows with the square of some.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from shared.mail.addresses import Address, normalise
from shared.mail.defects import Defects
from shared.mail.words import decoded

_LONGEST_PIECE = 320

# One address and nothing unusual: nearly all that there is.
_SIMPLE = re.compile(
    r"\s*(?:(?:\"([^\"\\=]*)\"\s*|([\w .'-]*))<([A-Za-z0-9._+-]+@[A-Za-z0-9.-]+)>|([A-Za-z0-9._+-]+@[A-Za-z0-9.-]+))\s*",
    re.ASCII,
)
_ATOM = re.compile(r'[^\s"(),:;<>@\[\]]+')
_SPACE = re.compile(r"\s+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_LITERAL = re.compile(r"\[[^\[\]\\\s]{0,250}\]")
_PAREN = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_WORDS = re.compile(r"=\?[^?\s]+\?[BbQq]\?[^?]*\?=")


class _Kind(Enum):
    ATOM = 1
    QUOTED = 2
    LITERAL = 3
    COMMENT = 4
    SPACE = 5
    SPECIAL = 6


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str  # as written; of a comment, what is in it


def read_list(text: str, defects: Defects) -> tuple[list[Address], list[str]]:
    """Read the addresses of one header.

    Args:
        text: the header's value, encoded words as they are.
        defects: where repairs are noted.

    Returns:
        The addresses, and the pieces that are none, as written (decoded, shortened). An empty group is neither.
    """
    if (simple := _SIMPLE.fullmatch(text)) and normalise(simple[3] or simple[4]):
        return [Address(" ".join((simple[1] or simple[2] or "").split()), simple[3] or simple[4])], []
    found: list[Address] = []
    invalid: list[str] = []
    for element in _elements(text):
        good, bad = _Element(element, defects).read()
        found += good
        invalid += bad
    return found, invalid


def _tokens(text: str) -> Iterator[_Token]:
    """Words, quoted strings, comments, domain literals, white space and single characters.

    An opening quote or parenthesis that is not closed is looked for to the end once; from then on, all of its kind are
    plain characters.
    """
    at = 0
    quotes = comments = True
    while at < len(text):
        character = text[at]
        match: re.Match[str] | None = None
        if match := _ATOM.match(text, at):
            yield _Token(_Kind.ATOM, match[0])
        elif match := _SPACE.match(text, at):
            yield _Token(_Kind.SPACE, " ")
        elif character == '"' and quotes:
            match = _QUOTED.match(text, at)
            quotes = match is not None
            if match:
                yield _Token(_Kind.QUOTED, match[0])
        elif character == "(" and comments:
            end = _end_of_comment(text, at)
            comments = end > 0
            if comments:
                yield _Token(_Kind.COMMENT, text[at + 1 : end - 1])
                at = end
            continue
        elif match := _LITERAL.match(text, at):
            yield _Token(_Kind.LITERAL, match[0])
        else:
            if character not in '"':
                yield _Token(_Kind.SPECIAL, character)
            at += 1
            continue
        at = match.end() if match else at


def _end_of_comment(text: str, at: int) -> int:
    depth = 0
    for match in _PAREN.finditer(text, at):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    return 0


def _elements(text: str) -> Iterator[list[_Token]]:
    """The list cut at its commas, groups dissolved."""
    element: list[_Token] = []
    angle = False
    for token in _tokens(text):
        mark = token.text if token.kind is _Kind.SPECIAL else ""
        if mark == "<":
            if any(t.kind is _Kind.SPECIAL and t.text == "<" for t in element[-1:]):
                continue  # "<<"
            angle = True
        elif mark == ">":
            angle = False
        elif mark in {",", ";"} and not (angle and _is_route(element)):
            yield element
            element, angle = [], False
            continue
        elif mark == ":" and not angle and not any(t.text in {"@", "<"} for t in element):
            element = []  # the name of a group
            continue
        element.append(token)
    yield element


def _is_route(element: list[_Token]) -> bool:
    """Whether what follows the last `<` begins with `@`, as an obsolete source route does."""
    for index in range(len(element) - 1, -1, -1):
        if element[index].kind is _Kind.SPECIAL and element[index].text == "<":
            rest = [t for t in element[index + 1 : index + 4] if t.kind not in {_Kind.SPACE, _Kind.COMMENT}]
            return bool(rest) and rest[0].text == "@"
    return False


@dataclass(slots=True)
class _Element:
    """What stands between two commas."""

    tokens: list[_Token]
    defects: Defects
    may_decode: bool = True
    found: list[Address] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    name: list[_Token] = field(default_factory=list)

    def read(self) -> tuple[list[Address], list[str]]:
        """Its addresses (mostly one), and what is none."""
        return self.found, self.invalid
