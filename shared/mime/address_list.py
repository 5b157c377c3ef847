"""Lists of addresses in headers (RFC 5322 sections 3.4 and 4.4; rule 2.1 and 2.5).

The standard library's readers were no base for this: on malformed lists they raise, or drop the addresses beside the
bad one, and their time grows with the square of some.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shared.addresses import normalise, without_invisible
from shared.mime.address_limits import without_excess
from shared.mime.address_tokens import COMMENT, QUOTED, SPACE, SPECIAL, Token, elements
from shared.mime.defects import Defects
from shared.mime.encoded_words import decoded

MOST_INVALID = 1000
"""Pieces of one header that are listed as invalid; what comes after is not."""

MOST_NAMES = 100
"""Authors without an address that are kept."""

LONGEST_FROM = 64 * 1024
"""Characters of all From together that are read."""

_LONGEST_PIECE = 320
_MOST_TRIES = 1000  # mailboxes of a header in which an address is searched where it does not belong
_MOST_TOKENS = 1000  # of one of them

# One address and nothing unusual: nearly all that there is.
_SIMPLE = re.compile(
    r"""\s*+(?: (?: "([^"\\=]*+)"\s*+ | ((?:[\w .'-]++ | =\?[\w:.+*-]{1,80}+\?[BbQq]\?[\w!'*+/=.-]*+\?=)*+) )
        <([A-Za-z0-9._+-]++@[A-Za-z0-9.-]++)>
    | ([A-Za-z0-9._+-]++@[A-Za-z0-9.-]++) )\s*+""",
    re.ASCII | re.VERBOSE,
)
_MAY_BE_UNBALANCED = re.compile(r'["()]')
_OPEN: Token = (SPECIAL, "<")
_CLOSE: Token = (SPECIAL, ">")
_END: Token = ("end", "")
_NOTHING = frozenset({SPACE, COMMENT, _END[0]})
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


_BRACKETS = "[]{}<>()|,;:'\"="
# Full stops of other scripts, which UTS #46 maps and other readers of a domain do not.
_FULL_STOPS = re.compile("[\u3002\uff0e\uff61]")


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a header.

    Attributes:
        name: the display name, decoded; "" if there is none.
        address: local part, `@`, domain, as written but for invisible characters; `normalise` makes it comparable.
        repaired: the header is not well formed here, so that another reader, such as a server that checks DMARC, may
            read another address. Addresses that differ in this alone are equal.
    """

    name: str
    address: str
    repaired: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Author:
    """An author in From.

    Attributes:
        name: the display name, decoded, or a bare local name such as `MAILER-DAEMON`; "" if there is none.
        address: as in `Address`; None if From has no address that can be read.
        repaired: as in `Address`.
    """

    name: str
    address: str | None
    repaired: bool = field(default=False, compare=False)


def read_authors(texts: Iterable[str], defects: Defects) -> tuple[list[Author], list[str]]:
    """Read the authors of a message.

    Args:
        texts: the values of every From, encoded words as they are.
        defects: where repairs are noted.

    Returns:
        The authors with their addresses. If there is no address at all: the display names and bare local names.
        And the pieces that are not addresses, as `read_list` returns them.
    """
    authors: list[Author] = []
    names: dict[str, None] = {}
    invalid: list[str] = []
    room = LONGEST_FROM
    for text in texts:
        if len(text) > room:
            defects.cap(f"From is longer than {LONGEST_FROM} characters: it is not read")
            return [], [_shortened(text, defects)]
        room -= len(text)
        good, bad = read_list(text, defects)
        unbalanced = bool(good) and _is_unbalanced(text)
        authors += [Author(one.name, one.address, one.repaired or unbalanced) for one in good]
        invalid += bad
        if not authors and len(names) < MOST_NAMES:
            names |= dict.fromkeys(_names_without_address(text, defects))
    return authors or [Author(name, None) for name in list(names)[:MOST_NAMES]], invalid


def read_list(text: str, defects: Defects, *, recover: bool = True) -> tuple[list[Address], list[str]]:
    """Read the addresses of one header.

    Args:
        text: the header's value, encoded words as they are.
        defects: where repairs are noted.
        recover: whether to read an address in an encoded word, a quoted string, a comment, or junk in angle brackets,
            where RFC 2047 and RFC 5322 have none.

    Returns:
        The addresses, and the pieces that are none, as written (decoded, shortened). An empty group is neither.
    """
    found, at = _simple_prefix(text, defects)
    if at == len(text):
        return found, []
    text = without_excess(text[at:], defects)
    invalid: list[str] = []
    tries = _MOST_TRIES if recover else 0
    for element in elements(text):
        good, bad = _read_element(element, defects)
        if not good and tries and _may_be_recovered(element, bad):
            tries -= 1
            if recovered := _recovered(element, defects):
                good, bad = recovered, []
        found += good
        invalid += bad[: max(MOST_INVALID - len(invalid), 0)]
    return found, [_shortened(piece, defects) for piece in invalid]


def _recovered(element: list[Token], defects: Defects) -> list[Address]:
    """Read the address of a mailbox that has none where RFC 5322 wants it.

    Outside of encoded words, only one whose domain has a full stop: `x@y` may be anything.
    """
    if any("=?" in word for _, word in element):
        good, bad = read_list(decoded(_written(element), defects), defects, recover=False)
        if good and not bad:
            defects.add("an address stands in an encoded word")
            return [Address(one.name, one.address, repaired=True) for one in good]
    name, angle = _parts(element)
    outside = [(SPACE, " ") if _content(token) else token for token in angle]
    words = [word if normalise(word) else word.strip(_BRACKETS) for word in map(_bare, _words(outside)) if "@" in word]
    if len(_valid(words)) == 1 and all(_valid([word]) for word in words):
        defects.add("there is junk beside an address in angle brackets")
        return [Address(_phrase(_without_commas(name), defects), words[0], repaired=True)]
    if words or any("@" in text for kind, text in name if kind not in {QUOTED, COMMENT}):
        return []
    hidden = _valid(map(_content, angle))
    if not hidden:
        hidden = _valid(map(_content, name))
        name = [token for token in name if not _valid([_content(token)])]
    if len(hidden) != 1:
        return []
    defects.add("an address stands in a quoted string or in a comment")
    return [Address(_phrase(_without_commas(name), defects), hidden[0], repaired=True)]


def _parts(element: list[Token]) -> tuple[list[Token], list[Token]]:
    """Return what stands before the first angle bracket, and what stands behind it, brackets as white space."""
    first = next((index for index, token in enumerate(element) if token == _OPEN), len(element))
    return element[:first], [(SPACE, " ") if token in {_OPEN, _CLOSE} else token for token in element[first:]]


def _simple_prefix(text: str, defects: Defects) -> tuple[list[Address], int]:
    """Return the first addresses of a list, as far as nothing is unusual, and the place behind their commas."""
    found: list[Address] = []
    at = 0
    while match := _SIMPLE.match(text, at):
        quoted, plain, bracketed, bare = match.groups()
        address = bracketed or bare
        end = match.end()
        if text[end : end + 1] not in {"", ","} or not normalise(address):
            break
        name = quoted or plain or ""
        if "=?" in name:
            name = decoded(name, defects)
        found.append(Address(" ".join(name.split()), address))
        at = end
        # Empty elements mean nothing (RFC 5322 section 4.4).
        while at < len(text) and text[at] in ", ":
            at += 1
    return found, at


def _may_be_recovered(element: list[Token], bad: list[str]) -> bool:
    if len(element) > _MOST_TOKENS:
        return False
    if bad:
        return any("@" in piece or "=?" in piece for piece in bad)
    return any(kind == COMMENT and "@" in text for kind, text in element)


def _valid(words: Iterable[str]) -> list[str]:
    """Return the words that are addresses with a full stop in the domain, each address once."""
    found = ((word, normalise(word)) for word in words if "." in word.rpartition("@")[2])
    return list({normal: word for word, normal in found if normal}.values())


def _content(token: Token) -> str:
    """Return what a quoted string or a comment holds, without angle brackets around it; "" for any other token."""
    kind, text = token
    content = _bare(_ESCAPE.sub(r"\1", text[1:-1])) if kind in {QUOTED, COMMENT} and "@" in text else ""
    return _bare(content[1:-1]) if content.startswith("<") and content.endswith(">") else content


def _read_element(element: list[Token], defects: Defects) -> tuple[list[Address], list[str]]:
    """The addresses between two commas (mostly one), and what is none."""
    found: list[Address] = []
    invalid: list[str] = []
    name: list[Token] = []
    angle: list[Token] | None = None
    nested = stray = False
    for token in [*element, _END]:
        if token == _OPEN:
            nested = nested or angle is not None
            angle = angle or []
        elif angle is None:
            if token == _CLOSE:
                stray = True
            else:
                name.append(token)
        elif token in {_CLOSE, _END}:
            good, bad = _in_angle(name, angle, defects, closed=token == _CLOSE)
            found += good
            invalid += bad
            name, angle = [], None
        else:
            angle.append(token)
    good, bad = _without_angle(name, defects)
    junk = bool(found and bad) and not good and not any("@" in piece for piece in bad)
    if junk:
        defects.add("there is junk behind an address")
        bad = []
    found += good
    if junk or nested or stray or len(found) > 1:
        found = [Address(one.name, one.address, repaired=True) for one in found]
    return found, invalid + bad


def _in_angle(
    name: list[Token], angle: list[Token], defects: Defects, *, closed: bool
) -> tuple[list[Address], list[str]]:
    """`name <address>`: one address, or none. A source route, and `mailto:`, are left aside."""
    if not name and not angle:
        return [], ["<>"]
    colon = max((index for index, token in enumerate(angle) if token == (SPECIAL, ":")), default=-1)
    words = [word for word in map(_bare, _words(angle[colon + 1 :])) if word]
    if len(words) == 1 and (normal := normalise(words[0])):
        repaired = not closed or colon >= 0 or not _is_as_written(words[0], angle) or _misleads(name, normal)
        return [Address(_phrase(_without_commas(name), defects), words[0], repaired)], []
    if not words and (good := _without_angle(name, defects)[0]):
        return [Address(one.name, one.address, repaired=True) for one in good], []
    return [], [_written([*name, _OPEN, *angle, _CLOSE])]


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
        return [Address("", word, repaired=True) for word in good], bad
    name = decoded(" ".join(map(_unquoted, beside)), defects) if beside else _comment(tokens, defects)
    return [Address(name, good[0], bool(beside) or not _is_as_written(good[0], tokens))], []


def _is_as_written(address: str, tokens: list[Token]) -> bool:
    """Return whether an address stands there in one piece, with a domain that every reader reads alike.

    White space and comments within an address are obsolete (RFC 5322 section 4.4), and not all readers know them.
    """
    solid = [index for index, (kind, _) in enumerate(tokens) if kind not in _NOTHING]
    written = "".join(tokens[index][1] for index in solid)
    domain = address.rpartition("@")[2]
    if (
        solid[-1] - solid[0] >= len(solid)
        or written.rpartition("@")[2] != domain
        or without_invisible(written) != address
    ):
        return False
    return domain.isascii() or (
        not _FULL_STOPS.search(domain)
        and unicodedata.normalize("NFKC", domain).casefold() == unicodedata.normalize("NFC", domain).casefold()
    )


def _misleads(name: list[Token], normal: str) -> bool:
    """Return whether a display name without quotes holds another address, which some readers take for the author's."""
    return (SPECIAL, "@") in name and {normalise(_bare(word)) for word in _words(name) if "@" in word} != {normal}


def _is_unbalanced(text: str) -> bool:
    """Return whether a quote or a parenthesis is never closed, so that readers disagree on where words end."""
    if not _MAY_BE_UNBALANCED.search(text) or _simple_prefix(text, Defects())[1] == len(text):
        return False
    text = text.replace("\\\\", "").replace('\\"', "").replace("\\(", "").replace("\\)", "")
    return text.count('"') % 2 != 0 or text.count("(") != text.count(")")


def _names_without_address(text: str, defects: Defects) -> Iterator[str]:
    """Return the display names and bare local names in a From that has no address."""
    group = ":" in text
    for count, element in enumerate(elements(text)):
        group = False
        if name := _name_without_address(element, defects):
            yield name
        if count == MOST_INVALID:
            return
    if group:  # an empty one, which From may have (RFC 6854): Automated System:;
        name = _unquoted(decoded(text.partition(":")[0], defects))
        if name and "@" not in name:
            yield name


def _name_without_address(element: list[Token], defects: Defects) -> str:
    phrase, angle = _parts(element)
    for tokens in (_without_commas(phrase), angle):
        solid = [token for token in tokens if token[0] not in _NOTHING]
        if (SPECIAL, "@") in solid:
            return ""
        # `root (Cron Daemon)` has its name where `root@example.com (Cron Daemon)` has it.
        name = _comment(tokens, defects) if len(solid) == 1 and not angle else ""
        if name := name or _phrase(tokens, defects):
            return name
    return ""


def _without_commas(name: list[Token]) -> list[Token]:
    """Return a display name without the commas and white space at its end."""
    end = len(name)
    while end and (name[end - 1][0] == SPACE or name[end - 1] == (SPECIAL, ",")):
        end -= 1
    return name[:end]


def _words(tokens: list[Token]) -> list[str]:
    """What white space separates, without comments.

    None counts around the dots and the `@` of an address (RFC 5322 section 4.4).
    """
    words: list[list[str]] = []
    apart = True
    for kind, text in tokens:
        if kind in _NOTHING:
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
    """Return a word as an address has it: without invisible characters."""
    return _without_apostrophes(without_invisible(word))


def _without_apostrophes(word: str) -> str:
    """Some mailers quote addresses with these, which are letters like any other there."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == "'" else word


def _written(tokens: list[Token]) -> str:
    return "".join(text for _, text in tokens).strip()


def _shortened(piece: str, defects: Defects) -> str:
    piece = decoded(piece, defects)
    return piece if len(piece) <= _LONGEST_PIECE else piece[: _LONGEST_PIECE - 1] + "…"
