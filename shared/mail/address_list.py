"""Lists of addresses in headers (RFC 5322 sections 3.4 and 4.4; rule 2.1 and 2.5).

The standard library's readers were no base for this: on malformed lists they raise, or drop the addresses beside the
bad one, and their time grows with the square of some.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.addresses import normalise, visible
from shared.mail.address_limits import plain_mailboxes, without_excess
from shared.mail.address_tokens import COMMENT, QUOTED, SPACE, SPECIAL, Token, elements
from shared.mail.defects import Defects
from shared.mail.words import decoded

MOST_INVALID = 1000
"""Pieces of one header that are listed as invalid; what comes after is not."""

_LONGEST_PIECE = 320

# One address and nothing unusual: nearly all that there is.
_SIMPLE = re.compile(
    r"\s*(?:(?:\"([^\"\\=]*)\"\s*|([\w .'-]*))<([A-Za-z0-9._+-]+@[A-Za-z0-9.-]+)>"
    r"|([A-Za-z0-9._+-]+@[A-Za-z0-9.-]+))\s*",
    re.ASCII,
)
_END: Token = ("end", "")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a header.

    Attributes:
        name: the display name, decoded; "" if there is none.
        address: local part, `@`, domain, as written but for invisible characters; `normalise` makes it comparable.
    """

    name: str
    address: str


def read_list(text: str, defects: Defects, *, recover: bool = True) -> tuple[list[Address], list[str]]:
    """Read the addresses of one header.

    Args:
        text: the header's value, encoded words as they are.
        defects: where repairs are noted.
        recover: whether an address may stand in an encoded word, where RFC 2047 has none.

    Returns:
        The addresses, and the pieces that are none, as written (decoded, shortened). An empty group is neither.
    """
    if (simple := _SIMPLE.fullmatch(text)) and normalise(simple[3] or simple[4]):
        return [Address(" ".join((simple[1] or simple[2] or "").split()), simple[3] or simple[4])], []
    if simple_ones := _simple_list(text):
        return simple_ones, []
    text = without_excess(text, defects)
    found: list[Address] = []
    invalid: list[str] = []
    for element in elements(text):
        good, bad = _read_element(element, defects)
        if bad and not good and recover and any("=?" in word for _, word in element):
            again = read_list(decoded(_written(element), defects), defects, recover=False)
            if again[0] and not again[1]:
                defects.add("an address stands in an encoded word")
                good, bad = again
        found += good
        invalid += bad[: max(MOST_INVALID - len(invalid), 0)]
    return found, [_shortened(piece, defects) for piece in invalid]


def _simple_list(text: str) -> list[Address]:
    """Return the addresses of a list that has nothing unusual; else nothing."""
    found: list[Address] = []
    for mailbox in plain_mailboxes(text):
        simple = _SIMPLE.fullmatch(mailbox)
        if simple is None or not normalise(simple[3] or simple[4]):
            return []
        found.append(Address(" ".join((simple[2] or "").split()), simple[3] or simple[4]))
    return found


def _read_element(element: list[Token], defects: Defects) -> tuple[list[Address], list[str]]:
    """The addresses between two commas (mostly one), and what is none."""
    found: list[Address] = []
    invalid: list[str] = []
    name: list[Token] = []
    angle: list[Token] | None = None
    for token in [*element, _END]:
        if token == (SPECIAL, "<"):
            angle = angle or []
        elif angle is None:
            if token != (SPECIAL, ">"):
                name.append(token)
        elif token in {(SPECIAL, ">"), _END}:
            good, bad = _in_angle(name, angle, defects)
            found += good
            invalid += bad
            name, angle = [], None
        else:
            angle.append(token)
    good, bad = _without_angle(name, defects)
    if found and not good and not any("@" in piece for piece in bad):
        if bad:
            defects.add("there is junk behind an address")
        bad = []
    return found + good, invalid + bad


def _in_angle(name: list[Token], angle: list[Token], defects: Defects) -> tuple[list[Address], list[str]]:
    """`name <address>`: one address, or none. A source route, and `mailto:`, are left aside."""
    if not name and not angle:
        return [], ["<>"]
    colon = max((index for index, token in enumerate(angle) if token == (SPECIAL, ":")), default=-1)
    words = [word for word in map(_bare, _words(angle[colon + 1 :])) if word]
    if len(words) == 1 and normalise(words[0]):
        return [Address(_phrase(name, defects), words[0])], []
    if not words and (good := _without_angle(name, defects)[0]):
        return good, []
    return [], [_written([*name, (SPECIAL, "<"), *angle, (SPECIAL, ">")])]


def _without_angle(tokens: list[Token], defects: Defects) -> tuple[list[Address], list[str]]:
    """Addresses without angle brackets. Words beside a single one, or else a comment, are its name."""
    good, bad, beside = [], [], []
    for word in map(_without_apostrophes, _words(tokens)):
        bare = _bare(word)
        if "@" not in bare:
            beside += [word] if bare else []
        elif normalise(bare):
            good.append(bare)
        else:
            bad.append(bare)
    if not good:
        return [], [_written(tokens)] if bad or beside else []
    if len(good) > 1 or bad:
        return [Address("", word) for word in good], bad
    name = decoded(" ".join(map(_unquoted, beside)), defects) if beside else _comment(tokens, defects)
    return [Address(name, good[0])], []


def _words(tokens: list[Token]) -> list[str]:
    """What white space separates, without comments.

    None counts around the dots and the `@` of an address (RFC 5322 section 4.4).
    """
    words: list[list[str]] = []
    apart = True
    for kind, text in tokens:
        if kind in {SPACE, COMMENT, _END[0]}:
            apart = True
            continue
        if words and (not apart or words[-1][-1].endswith((".", "@")) or text.startswith((".", "@"))):
            words[-1].append(text)
        else:
            words.append([text])
        apart = False
    return ["".join(word) for word in words]


def _phrase(tokens: list[Token], defects: Defects) -> str:
    """A display name; a comment if there is nothing else."""
    text = "".join("" if kind == COMMENT else _unquoted(text) if kind == QUOTED else text for kind, text in tokens)
    return " ".join(decoded(text, defects).split()) or _comment(tokens, defects)


def _comment(tokens: list[Token], defects: Defects) -> str:
    first = next((text[1:-1] for kind, text in tokens if kind == COMMENT), "")
    return " ".join(decoded(_ESCAPE.sub(r"\1", first), defects).split())


def _unquoted(word: str) -> str:
    return _ESCAPE.sub(r"\1", word[1:-1]) if len(word) > 1 and word[0] == word[-1] == '"' else word


def _bare(word: str) -> str:
    """A word as an address has it: nothing that nobody sees is part of one."""
    return _without_apostrophes(visible(word))


def _without_apostrophes(word: str) -> str:
    """Some mailers quote addresses with these, which are letters like any other there."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == "'" else word


def _written(tokens: list[Token]) -> str:
    return "".join(text for _, text in tokens).strip()


def _shortened(piece: str, defects: Defects) -> str:
    piece = decoded(piece, defects)
    return piece if len(piece) <= _LONGEST_PIECE else piece[: _LONGEST_PIECE - 1] + "…"
