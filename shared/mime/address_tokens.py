"""Tokens of an address header (RFC 5322 section 3.2), grouped into the elements of its list, in linear time.

`limit_specials` bounds the lists that are built to take long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from shared.addresses import without_invisible
from shared.mime.defects import Defects
from shared.mime.encoded_words import decode_words

UNLIMITED_LENGTH: Final = 10_000
"""Length in characters up to which a list is never cut."""

MAX_SPECIALS: Final = 2_000
"""Special characters and spaces of one mailbox. The longest display names with comments have a few dozen."""

_SEPARATOR: Final = re.compile("([,;])")
_SPECIAL_CHARACTER: Final = re.compile(r"[()<>\[\]:@\\\"]|\s+")

ATOM, QUOTED, LITERAL, COMMENT, SPACE, SPECIAL = "atom", "quoted", "literal", "comment", "space", "special"

Token = tuple[str, str]
"""Kind and text of a token."""

# An encoded word is one atom even if it contains characters that an atom may not contain, as many mailers write it.
_PLAIN = re.compile(
    r'(=\?[^?\s]{1,80}\?[BbQq]\?[^?\s]*\?=|[^\s"(),:;<>@\[\]]+)|(\s+)|(\[[^\[\]\\\s]{0,250}\])|.', re.DOTALL
)
_KINDS = (SPECIAL, ATOM, SPACE, LITERAL)  # by the index of the matching group
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_PAREN = re.compile(r"\\.|[()]", re.DOTALL)
_MAX_PATH_TOKENS = 256  # a path has at most 256 octets (RFC 5321 section 4.5.3.1.3)
_ADDRESS_COMMENT = re.compile(r"\(\s*[\"'<]{0,2}[^\s()<>\"',;@]+@[^\s()<>\"',;@]+[\"'>]{0,2}\s*\)")
_MAX_NAME_COMMAS = 8  # in a display name without quotes


def limit_specials(text: str, defects: Defects) -> str:
    """Return a list of addresses with each mailbox cut after `MAX_SPECIALS` special characters.

    Args:
        text: the value of a field.
        defects: collects the cut.
    """
    if len(text) <= UNLIMITED_LENGTH:
        return text
    pieces = _SEPARATOR.split(text)
    shortened = [_cut(piece) if len(piece) > MAX_SPECIALS else piece for piece in pieces]
    if sum(map(len, shortened)) == len(text):
        return text
    defects.add_exceeded_limit(
        f"a mailbox in a list of addresses has more than {MAX_SPECIALS} special characters and spaces"
    )
    return "".join(shortened)


def _cut(piece: str) -> str:
    first_excess = next(islice(_SPECIAL_CHARACTER.finditer(piece), MAX_SPECIALS, None), None)
    return piece if first_excess is None else piece[: first_excess.start()]


def split_elements(text: str) -> Iterator[list[Token]]:
    """Split a list of addresses into its elements: the token lists between its commas, with groups dissolved.

    A piece without an address before a mailbox in angle brackets is part of its display name, which lacks the quotes
    that RFC 5322 requires: `Doe, Jane <jane@example.com>`. So is a piece before a mailbox in a comment.
    """
    element: list[Token] = []
    commas: list[int] = []  # indexes into `element`; each follows a piece that may begin a display name
    angle = route = at_sign = False
    for token in tokenize(text):
        kind, mark = token
        if kind != SPECIAL:
            element.append(token)
            continue
        if (mark == "," and not (route and len(element) < _MAX_PATH_TOKENS)) or mark == ";":
            if mark == "," and not angle and not at_sign and _keep_comma(element, commas):
                continue
            yield from _split_at_commas(element, commas)
            element, commas, angle, route, at_sign = [], [], False, False, False
            continue
        if mark == ":" and not angle and not at_sign:
            yield from _split_at_commas(element[: commas[-1]] if commas else [], commas[:-1])
            element, commas = [], []  # the element was the name of a group
            continue
        if mark == "<":
            angle, commas = True, []
        elif mark == "@":
            at_sign = True
            route = route or (angle and _last_significant(element) == "<")
        elif mark in {">", ":"}:
            angle, route = angle and mark == ":", False
        element.append(token)
    yield from _split_at_commas(element, commas)


def _keep_comma(element: list[Token], commas: list[int]) -> bool:
    """Return whether a comma after an element may be part of a display name; if so, add it to the element."""
    start = commas[-1] + 1 if commas else 0
    if commas and _is_blank(element, start):
        del element[start:]
        return True
    if len(commas) == _MAX_NAME_COMMAS or not _may_be_name(element, start):
        return False
    commas.append(len(element))
    element.append((SPECIAL, ","))
    return True


def _split_at_commas(element: list[Token], commas: list[int]) -> Iterator[list[Token]]:
    """Return an element split at its commas, which proved to be separators unless its address is in a comment."""
    start = 0
    if commas and _has_address_in_comment(element[commas[-1] + 1 :]):
        yield element
        return
    for comma in commas:
        yield element[start:comma]
        start = comma + 1
    if rest := element[start:] if commas else element:
        yield rest


def _has_address_in_comment(tokens: list[Token]) -> bool:
    """Return whether tokens are words and a single address, which is in a comment: `Jane (jane@example.com)`."""
    has_words, addresses = False, 0
    for kind, text in tokens:
        if kind == COMMENT:
            addresses += _ADDRESS_COMMENT.fullmatch(text) is not None
        elif "@" in text or text in {"<", ">"}:
            return False
        has_words = has_words or kind in {ATOM, QUOTED}
    return has_words and addresses == 1


def _may_be_name(element: list[Token], start: int) -> bool:
    """Return whether the tokens from `start` on are words without an address, encoded or not."""
    has_words = False
    for kind, text in element[start:]:
        if kind == SPACE:
            continue
        if "@" in text or text in {"<", ">"} or ("=?" in text and "@" in decode_words(text, Defects())):
            return False
        has_words = has_words or (kind != COMMENT and (text.isascii() or bool(without_invisible(text))))
    return has_words


def _is_blank(element: list[Token], start: int) -> bool:
    return all(kind == SPACE or not (text.isascii() or without_invisible(text)) for kind, text in element[start:])


def _last_significant(element: list[Token]) -> str:
    """Return the last significant token of an element, ignoring up to two tokens of white space or comment."""
    significant = [text for kind, text in element[-3:] if kind not in {SPACE, COMMENT}]
    return significant[-1] if significant else ""


def tokenize(text: str) -> Iterator[Token]:
    """Split a header into words, quoted strings, comments, domain literals, white space and single characters.

    The end of an unclosed quote or parenthesis is searched for once. After that, every such character is white space,
    which keeps the time linear.
    """
    position = 0
    closed = {'"': True, "(": True}
    while position < len(text):
        match = _PLAIN.match(text, position)
        assert match is not None  # its last branch takes anything
        kind, word, end = _KINDS[match.lastindex or 0], match[0], match.end()
        if closed.get(word):
            kind = QUOTED if word == '"' else COMMENT
            end = _quoted_end(text, position) if kind == QUOTED else _comment_end(text, position)
            closed[word] = end > 0
            end = end or position + 1
            word = text[position:end]
        if word in closed:
            kind = SPACE
        yield kind, " " if kind == SPACE else word
        position = end


def _quoted_end(text: str, position: int) -> int:
    match = _QUOTED.match(text, position)
    return match.end() if match else 0


def _comment_end(text: str, position: int) -> int:
    depth = 0
    for match in _PAREN.finditer(text, position):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    return 0
