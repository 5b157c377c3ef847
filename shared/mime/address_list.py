"""Lists of addresses in headers (RFC 5322 sections 3.4 and 4.4; rules 2.1 and 2.5).

The standard library's parsers do not serve here. On malformed lists they raise, or drop valid addresses next to an
invalid address, and on some lists they take quadratic time.

The tokenizer is a module of its own, `address_tokens`: both together exceed 500 lines.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shared.addresses import normalise, without_invisible
from shared.mime.address_tokens import COMMENT, LITERAL, QUOTED, SPACE, SPECIAL, Token, limit_specials, split_elements
from shared.mime.defects import Defects
from shared.mime.encoded_words import decode_words

MAX_INVALID = 1000
"""Maximum number of pieces of one header that are listed as invalid. Further pieces are dropped."""

MAX_NAMES = 100
"""Maximum number of authors without an address."""

MAX_FROM_LENGTH = 64 * 1024
"""Maximum number of characters of all From fields together."""

_MAX_PIECE_LENGTH = 320
_MAX_RECOVERIES = 1000  # mailboxes per header in which an address is searched for outside its regular position
_MAX_RECOVERY_TOKENS = 1000  # tokens of such a mailbox

# A list element without anything unusual: nearly all elements of real mail.
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
_INSIGNIFICANT = frozenset({SPACE, COMMENT, _END[0]})
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MAILTO = "mailto:"

_BRACKETS = "[]{}<>()|,;:'\"="
# Full stops of other scripts. UTS #46 maps them to ".", and other readers of a domain do not.
_FULL_STOPS = re.compile("[\u3002\uff0e\uff61]")


@dataclass(frozen=True, slots=True)
class Address:
    """An address in a header.

    Attributes:
        name: the decoded display name, or "".
        address: local part, `@`, domain, as written but without invisible characters. `normalise` makes it comparable.
        repaired: whether the header is malformed here, so that another reader, such as a server that checks DMARC, may
            read another address. Comparison ignores this attribute.
    """

    name: str
    address: str
    repaired: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Author:
    """An author in From.

    Attributes:
        name: the decoded display name, or a bare local name such as `MAILER-DAEMON`, or "".
        address: as in `Address`; None if From has no readable address.
        repaired: as in `Address`.
    """

    name: str
    address: str | None
    repaired: bool = field(default=False, compare=False)


def read_authors(texts: Iterable[str], defects: Defects) -> tuple[list[Author], list[str]]:
    """Parse the authors of a message.

    Args:
        texts: the values of every From, with encoded words left undecoded.
        defects: collects the repairs.

    Returns:
        The authors with addresses; if no From has an address, the display names and bare local names.
        Then the pieces that are not addresses, as `read_list` returns them.
    """
    authors: list[Author] = []
    names: dict[str, None] = {}
    invalid: list[str] = []
    remaining = MAX_FROM_LENGTH
    for text in texts:
        if len(text) > remaining:
            defects.add_exceeded_limit(f"From is longer than {MAX_FROM_LENGTH} characters: it is ignored")
            return [], [_shorten(text, defects)]
        remaining -= len(text)
        valid, rejected = read_list(text, defects)
        unbalanced = bool(valid) and _is_unbalanced(text)
        authors += [Author(address.name, address.address, address.repaired or unbalanced) for address in valid]
        invalid += rejected
        if not authors and len(names) < MAX_NAMES:
            names |= dict.fromkeys(_names_without_address(text, defects))
    return authors or [Author(name, None) for name in list(names)[:MAX_NAMES]], invalid


def read_list(text: str, defects: Defects, *, recover: bool = True) -> tuple[list[Address], list[str]]:
    """Parse the addresses of one header.

    Args:
        text: the header's value, with encoded words left undecoded.
        defects: collects the repairs.
        recover: whether to accept an address where RFC 2047 and RFC 5322 do not allow it: in an encoded word, a quoted
            string, a comment, square brackets, or between other text in angle brackets.

    Returns:
        The addresses, and the pieces that are not addresses (decoded, shortened). Neither contains empty groups.
    """
    addresses, position = _simple_prefix(text, defects)
    if position == len(text):
        return addresses, []
    text = limit_specials(text[position:], defects)
    invalid: list[str] = []
    recoveries_left = _MAX_RECOVERIES if recover else 0
    for element in split_elements(text):
        valid, rejected = _read_element(element, defects)
        if not valid and recoveries_left and _may_be_recovered(element, rejected):
            recoveries_left -= 1
            if recovered := _recover_address(element, defects):
                valid, rejected = recovered, []
        addresses += valid
        invalid += rejected[: max(MAX_INVALID - len(invalid), 0)]
    return addresses, [_shorten(piece, defects) for piece in invalid]


def _recover_address(element: list[Token], defects: Defects) -> list[Address]:
    """Return the address of a mailbox that has no address in its regular position (RFC 5322 section 3.4).

    Outside encoded words, the domain must contain a full stop: `x@y` may be anything.
    """
    if any("=?" in word for _, word in element):
        valid, rejected = read_list(decode_words(_join_tokens(element), defects), defects, recover=False)
        if valid and not rejected:
            defects.add("an address was found in an encoded word")
            return [Address(address.name, address.address, repaired=True) for address in valid]
    name, angle = _split_at_angle_bracket(element)
    unquoted = [(SPACE, " ") if _inner_text(token) else token for token in angle]
    words = [
        word if normalise(word) else word.strip(_BRACKETS)
        for word in map(_clean_word, _split_words(unquoted))
        if "@" in word
    ]
    if len(_valid_addresses(words)) == 1 and all(_valid_addresses([word]) for word in words):
        defects.add("angle brackets contain other text next to an address")
        return [Address(_display_name(_without_commas(name), defects), words[0], repaired=True)]
    # Some programs display an address in square brackets: `Shop [shop@example.com]`.
    name = [(COMMENT, text) if kind == LITERAL and not angle else (kind, text) for kind, text in name]
    if words or any("@" in text for kind, text in name if kind not in {QUOTED, COMMENT}):
        return []
    candidates = _valid_addresses(map(_inner_text, angle))
    if not candidates:
        candidates = _valid_addresses(map(_inner_text, name))
        name = [token for token in name if not _valid_addresses([_inner_text(token)])]
    if not candidates and not _join_tokens(angle):
        return _read_quoted_mailbox(name, defects)
    if len(candidates) != 1:
        return []
    defects.add("an address is in a quoted string, a comment or square brackets: read")
    return [Address(_display_name(_without_commas(name), defects), candidates[0], repaired=True)]


def _read_quoted_mailbox(tokens: list[Token], defects: Defects) -> list[Address]:
    """Return the mailbox of an element that is nothing but a quoted string: `"Shop <shop@example.com>"`."""
    significant = [token for token in tokens if token[0] not in _INSIGNIFICANT]
    text = _unquote(significant[0][1]) if len(significant) == 1 and significant[0][0] == QUOTED else ""
    if not text.endswith(">"):
        return []
    valid, rejected = read_list(text, Defects(), recover=False)
    if len(valid) != 1 or rejected or not _valid_addresses([valid[0].address]):
        return []
    defects.add("a mailbox is in a quoted string: read")
    return [Address(valid[0].name, valid[0].address, repaired=True)]


def _split_at_angle_bracket(element: list[Token]) -> tuple[list[Token], list[Token]]:
    """Return the tokens before the first angle bracket, and those after it with brackets replaced by white space."""
    first = next((index for index, token in enumerate(element) if token == _OPEN), len(element))
    return element[:first], [(SPACE, " ") if token in {_OPEN, _CLOSE} else token for token in element[first:]]


def _simple_prefix(text: str, defects: Defects) -> tuple[list[Address], int]:
    """Return the leading addresses that need no special handling, and the index after their commas."""
    addresses: list[Address] = []
    position = 0
    while match := _SIMPLE.match(text, position):
        quoted, plain, bracketed, bare = match.groups()
        address = bracketed or bare
        end = match.end()
        if text[end : end + 1] not in {"", ","} or not normalise(address):
            break
        name = quoted or plain or ""
        if "=?" in name or not name.isprintable():
            name = decode_words(name, defects)  # which also removes controls
        addresses.append(Address(" ".join(name.split()), address))
        position = end
        # Empty elements are ignored (RFC 5322 section 4.4).
        while position < len(text) and text[position] in ", ":
            position += 1
    return addresses, position


def _may_be_recovered(element: list[Token], rejected: list[str]) -> bool:
    if len(element) > _MAX_RECOVERY_TOKENS:
        return False
    if rejected:
        return any("@" in piece or "=?" in piece for piece in rejected)
    return any(kind == COMMENT and "@" in text for kind, text in element)


def _valid_addresses(words: Iterable[str]) -> list[str]:
    """Return the words that are addresses with a full stop in the domain, without repetitions."""
    addresses = ((word, normalise(word)) for word in words if "." in word.rpartition("@")[2])
    return list({normal: word for word, normal in addresses if normal}.values())


def _inner_text(token: Token) -> str:
    """Return the text inside a quoted string or comment, without enclosing brackets and quotes; "" for other tokens."""
    kind, text = token
    content = _clean_word(_ESCAPE.sub(r"\1", text[1:-1])) if kind in {QUOTED, COMMENT} and "@" in text else ""
    if len(content) > 1 and content[0] + content[-1] in {"<>", '""'}:
        content = _clean_word(content[1:-1])
    return content[len(_MAILTO) :] if content[: len(_MAILTO)].lower() == _MAILTO else content


def _read_element(element: list[Token], defects: Defects) -> tuple[list[Address], list[str]]:
    """Parse the addresses between two commas (usually one), and the pieces that are not addresses."""
    addresses: list[Address] = []
    invalid: list[str] = []
    name: list[Token] = []
    angle: list[Token] | None = None
    label: list[Token] = []
    is_nested = is_stray = False
    for token in [*element, _END]:
        if token == _OPEN:
            is_nested = is_nested or angle is not None
            angle = angle or []
        elif angle is None:
            if token == _CLOSE:
                is_stray = True
            else:
                name.append(token)
        elif token in {_CLOSE, _END}:
            valid, rejected = _read_angle_address(name, angle, defects, closed=token == _CLOSE)
            if rejected and not addresses and not invalid and not _join_tokens([*name, *angle]).count("@"):
                label = [*name, *angle]
            addresses += valid
            invalid += rejected
            name, angle = [], None
        else:
            angle.append(token)
    valid, rejected = _read_bare_addresses(name, defects)
    has_junk = bool(addresses and rejected) and not valid and not any("@" in piece for piece in rejected)
    if has_junk:
        defects.add("unexpected text follows an address")
        rejected = []
    addresses += valid
    if label and len(addresses) == len(invalid) == 1 and not addresses[0].name:  # <Shop> <shop@example.com>
        defects.add("a display name is in angle brackets")
        addresses, invalid = [Address(_display_name(label, defects), addresses[0].address, repaired=True)], []
    if has_junk or is_nested or is_stray or len(addresses) > 1:
        addresses = [Address(address.name, address.address, repaired=True) for address in addresses]
    return addresses, invalid + rejected


def _read_angle_address(
    name: list[Token], angle: list[Token], defects: Defects, *, closed: bool
) -> tuple[list[Address], list[str]]:
    """Parse `name <address>`. A source route and `mailto:` are ignored."""
    if not name and not angle:
        return [], ["<>"]
    colon = max((index for index, token in enumerate(angle) if token == (SPECIAL, ":")), default=-1)
    words = [word for word in map(_clean_word, _split_words(angle[colon + 1 :])) if word]
    if len(words) == 1 and (normal := normalise(words[0])):
        repaired = (
            not closed or colon >= 0 or not _is_as_written(words[0], angle) or _has_misleading_address(name, normal)
        )
        return [Address(_display_name(_without_commas(name), defects), words[0], repaired)], []
    if not words and (valid := _read_bare_addresses(name, defects)[0]):
        return [Address(address.name, address.address, repaired=True) for address in valid], []
    return [], [_join_tokens([*name, _OPEN, *angle, _CLOSE])]


def _read_bare_addresses(tokens: list[Token], defects: Defects) -> tuple[list[Address], list[str]]:
    """Parse addresses without angle brackets. Words next to a single address, or else a comment, are its name."""
    valid, rejected, other_words = [], [], []
    for word in map(_without_apostrophes, _split_words(tokens)):
        bare = _clean_word(word)
        if "@" not in bare:
            other_words += [word] if bare else []
        elif normalise(bare):
            valid.append(bare)
        else:
            rejected.append(bare)
    if not valid:
        return [], [_join_tokens(tokens)] if rejected or other_words else []
    if len(valid) > 1 or rejected:
        return [Address("", word, repaired=True) for word in valid], rejected
    name = (
        decode_words(" ".join(map(_unquote, other_words)), defects) if other_words else _first_comment(tokens, defects)
    )
    return [Address(name, valid[0], bool(other_words) or not _is_as_written(valid[0], tokens))], []


def _is_as_written(address: str, tokens: list[Token]) -> bool:
    """Return whether an address is written in one piece, with a domain that every reader reads alike.

    White space and comments within an address are obsolete (RFC 5322 section 4.4), and not all readers support them.
    """
    significant = [index for index, (kind, _) in enumerate(tokens) if kind not in _INSIGNIFICANT]
    written = "".join(tokens[index][1] for index in significant)
    domain = address.rpartition("@")[2]
    if (
        significant[-1] - significant[0] >= len(significant)
        or written.rpartition("@")[2] != domain
        or without_invisible(written) != address
    ):
        return False
    return domain.isascii() or (
        not _FULL_STOPS.search(domain)
        and unicodedata.normalize("NFKC", domain).casefold() == unicodedata.normalize("NFC", domain).casefold()
    )


def _has_misleading_address(name: list[Token], normal: str) -> bool:
    """Return whether an unquoted display name contains another address, which some readers take for the author's."""
    return (SPECIAL, "@") in name and {normalise(_clean_word(word)) for word in _split_words(name) if "@" in word} != {
        normal
    }


def _is_unbalanced(text: str) -> bool:
    """Return whether a quote or a parenthesis is never closed, so that readers split words differently."""
    if not _MAY_BE_UNBALANCED.search(text) or _simple_prefix(text, Defects())[1] == len(text):
        return False
    text = text.replace("\\\\", "").replace('\\"', "").replace("\\(", "").replace("\\)", "")
    return text.count('"') % 2 != 0 or text.count("(") != text.count(")")


def _names_without_address(text: str, defects: Defects) -> Iterator[str]:
    """Return the display names and bare local names in a From without an address."""
    group = ":" in text
    for count, element in enumerate(split_elements(text)):
        group = False
        if name := _name_without_address(element, defects):
            yield name
        if count == MAX_INVALID:
            return
    if group:  # an empty group, which From may contain (RFC 6854): Automated System:;
        name = _unquote(decode_words(text.partition(":")[0], defects))
        if name and "@" not in name:
            yield name


def _name_without_address(element: list[Token], defects: Defects) -> str:
    phrase, angle = _split_at_angle_bracket(element)
    for tokens in (_without_commas(phrase), angle):
        significant = [token for token in tokens if token[0] not in _INSIGNIFICANT]
        if (SPECIAL, "@") in significant:
            return ""
        # `root (Cron Daemon)` has its name in the same place as `root@example.com (Cron Daemon)`.
        name = _first_comment(tokens, defects) if len(significant) == 1 and not angle else ""
        if name := name or _display_name(tokens, defects):
            return name
    return ""


def _without_commas(name: list[Token]) -> list[Token]:
    """Return a display name without trailing commas and white space."""
    end = len(name)
    while end and (name[end - 1][0] == SPACE or name[end - 1] == (SPECIAL, ",")):
        end -= 1
    return name[:end]


def _split_words(tokens: list[Token]) -> list[str]:
    """Return the words separated by white space, without comments.

    White space around the dots and the `@` of an address does not separate (RFC 5322 section 4.4).
    """
    words: list[list[str]] = []
    is_separate = True
    for kind, text in tokens:
        if kind in _INSIGNIFICANT:
            is_separate = True
            continue
        if words and (not is_separate or words[-1][-1].endswith((".", "@")) or text.startswith((".", "@"))):
            words[-1].append(text)
        else:
            words.append([text])
        is_separate = False
    return ["".join(word) for word in words]


def _display_name(tokens: list[Token], defects: Defects) -> str:
    """Return a display name, or the first comment if the tokens hold nothing else."""
    text = "".join("" if kind == COMMENT else _unquote(text) if kind == QUOTED else text for kind, text in tokens)
    return " ".join(decode_words(text, defects).split()) or _first_comment(tokens, defects)


def _first_comment(tokens: list[Token], defects: Defects) -> str:
    first = next((text[1:-1] for kind, text in tokens if kind == COMMENT), "")
    return " ".join(decode_words(_ESCAPE.sub(r"\1", first), defects).split())


def _unquote(word: str) -> str:
    return _ESCAPE.sub(r"\1", word[1:-1]) if len(word) > 1 and word[0] == word[-1] == '"' else word


def _clean_word(word: str) -> str:
    """Return a word without invisible characters and enclosing apostrophes."""
    return _without_apostrophes(without_invisible(word))


def _without_apostrophes(word: str) -> str:
    """Remove enclosing apostrophes: some mailers quote addresses with them."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == "'" else word


def _join_tokens(tokens: list[Token]) -> str:
    return "".join(text for _, text in tokens).strip()


def _shorten(piece: str, defects: Defects) -> str:
    piece = decode_words(piece, defects)
    return piece if len(piece) <= _MAX_PIECE_LENGTH else piece[: _MAX_PIECE_LENGTH - 1] + "…"
