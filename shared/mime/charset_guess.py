"""Guesses the charset of bytes that declare none and are not UTF-8.

Each candidate decodes a sample. The cost of a candidate is the number of bits that the most fitting language needs for
the sample's letter pairs (`letter_pairs`), and a penalty for what text does not have: symbols within words, controls,
capitals behind small letters. The cheapest candidate wins. Windows-1252 has a head start; rare charsets start behind.

`docs/reference/parsing.md` has the measurements: charset-normalizer, chardet and chardetng are right less often on
short texts.
"""

# ruff: noqa: RUF001 - typographic characters on purpose

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from shared.mime.letter_pairs import CHARACTERS, PAIRS

SAMPLE = 1000
"""Bytes that a charset is guessed from: lines that are not ASCII."""

_MOST_WORDS = 400
"""Bytes of words that single-byte candidates are compared by."""

_LONGEST_SEARCH = 256 * 1024
_ASCII = bytes(range(128))

_WESTERN = ("fr", "de", "es", "pt", "it", "sv", "da", "nb", "fi", "is", "nl", "ca", "et")
_CENTRAL = ("pl", "cs", "sk", "hu", "ro", "hr", "sl")
_CYRILLIC = ("ru", "uk", "be", "bg", "mk", "sr")
_NOT_LATIN = frozenset({*_CYRILLIC, "el", "he", "ar", "fa", "th"})


class _Candidate(NamedTuple):
    languages: tuple[str, ...]
    handicap: float = 0


# A charset that few senders leave undeclared has a handicap (bits); the most common one has a head start.
_SINGLE_BYTE = {
    "cp1252": _Candidate(_WESTERN, -9),
    "cp1250": _Candidate(_CENTRAL),
    "iso8859_2": _Candidate(_CENTRAL, 1),
    "cp1251": _Candidate(_CYRILLIC),
    "koi8_r": _Candidate(("ru", "bg")),
    "koi8_u": _Candidate(("uk", "be"), 1),
    "iso8859_5": _Candidate(("ru", "bg", "uk", "mk", "sr"), 4),
    "cp866": _Candidate(("ru",)),
    "mac_cyrillic": _Candidate(("ru", "uk"), 12),
    "cp1253": _Candidate(("el",)),
    "iso8859_7": _Candidate(("el",), 1),
    "cp1254": _Candidate(("tr",), -4),
    "cp1255": _Candidate(("he",)),
    "cp1256": _Candidate(("ar", "fa")),
    "iso8859_6": _Candidate(("ar",), 1),
    "cp1257": _Candidate(("lt", "lv", "et"), 6),
    "iso8859_13": _Candidate(("lt", "lv"), 7),
    "cp874": _Candidate(("th",)),
    "cp1258": _Candidate(("vi",), 8),
    "mac_roman": _Candidate(_WESTERN, 14),
    "cp850": _Candidate(_WESTERN, 14),
}
_MULTI_BYTE = {"cp932": "ja", "euc_jp": "ja", "gb18030": "zh-hans", "big5hkscs": "zh-hant", "cp949": "ko"}

# The first byte of the characters that the national standard lists as common (level 1), in a codec that is ordered so.
_COMMON_ROWS = {
    "cp932": ("euc_jp", 0xA1, 0xCF),
    "euc_jp": ("euc_jp", 0xA1, 0xCF),
    "gb18030": ("gb2312", 0xA1, 0xD7),
    "big5hkscs": ("big5", 0xA4, 0xC6),
    "cp949": ("euc_kr", 0xA1, 0xC8),
}

# Bits. Found by trial on messages in 33 languages that the letter pairs were not counted in.
_UNLISTED_PAIR = 11.5
_FOREIGN_LETTER = 20
_MIXED_SCRIPTS = 24
_SYMBOL = 6
_RARER_SYMBOL = 7
_ODD_SYMBOL = 18
_CONTROL = 40
_SYMBOL_IN_WORD = 20
_SYMBOL_BESIDE_LETTER = 14
_SYMBOL_BEHIND_SYMBOL = 8
_CAPITAL_BEHIND_SMALL = 8
_PER_CHARACTER = 6  # two bytes of a multi-byte charset are one character, and two or three pairs of any other
_UNLISTED_COMMON = 13
_UNLISTED = 20
_OUTSIDE_STANDARD = 22
_PRIVATE = 25
_HALF_WIDTH = 6
_WRONG_BYTES = 30
_BESIDE_SMALL_LETTER = 12
_MOST_WRONG = 20  # one wrong character in so many, at most

# Kinds of bytes: l and u are small and capital ASCII letters, L and U such letters beyond ASCII, c is a letter without
# case or a mark, x is a control or undefined, o is an odd symbol, - is the rest of ASCII. The other symbols follow.
_KINDS = {
    "q": "’\N{SOFT HYPHEN}",  # belongs in words
    "p": "«»“”‘„–—…‚‹›\N{NO-BREAK SPACE}",  # beside words
    "s": "•€£§°´·",  # alone, or beside digits
    "r": "®©™±×¹²³¼½¾ªº№",  # rarer, not before letters
    "i": "¿¡",  # rarer, before letters
}
_KIND_OF = {char: kind for kind, chars in _KINDS.items() for char in chars}
_IN_WORD = re.compile(rb"[luLUc][psriox](?=[luLUc])")
_BESIDE_LETTER = re.compile(rb"(?<![luLUc])[sro](?=[luLUc])|[luLUc][so](?![luLUc])")
_BEHIND_SYMBOL = re.compile(rb"[qpsriox](?=[qpsriox])")
_BEHIND_SMALL = re.compile(rb"l(?=U)|L(?=[uU])")
_EVIDENCE = re.compile(rb"[A-Za-z\x80-\xff]")
_LEAST_EVIDENCE = 3
_MIXED = re.compile(r"[a-z][\u0100-\uffff]|[\u0100-\uffff][a-z]")


class _Table(NamedTuple):
    """A single-byte charset: what each byte is when case and everything but letters is folded, and its kind."""

    folded: str
    kinds: bytes


class Guess(NamedTuple):
    """A charset that bytes may be in.

    Attributes:
        cost: bits; the lower the likelier.
        codec: the charset's codec.
    """

    cost: float
    codec: str


def sample_of(data: bytes) -> bytes:
    """Return the lines of `data` that are not ASCII, up to `SAMPLE` bytes."""
    lines: list[bytes] = []
    room = SAMPLE
    for line in data[:_LONGEST_SEARCH].split(b"\n"):
        if line.isascii():
            continue
        if len(line) > room:
            first = len(line) - len(line.lstrip(_ASCII))
            line = line[max(first - 8, 0) :][:room]  # noqa: PLW2901 - the part of the line that counts
        lines.append(line)
        room -= len(line)
        if room <= 0:
            break
    return b"\n".join(lines)


def guesses(sample: bytes, languages: Iterable[str] = ()) -> list[Guess]:
    """Return all candidates, the likeliest first.

    Args:
        sample: bytes, as `sample_of` returns them.
        languages: languages that the message says it is in (keys of `PAIRS` and `CHARACTERS`).
    """
    if len(_EVIDENCE.findall(sample)) < _LEAST_EVIDENCE:
        return [Guess(0, "cp1252")]
    likely = frozenset(languages)
    words = b" ".join(word for word in sample.split() if not word.isascii())[:_MOST_WORDS]
    found = [Guess(_single_byte(words, codec, likely), codec) for codec in _SINGLE_BYTE]
    # A sample that was cut may end within a character.
    cut = len(sample) >= SAMPLE
    part = _non_ascii(words) / max(_non_ascii(sample), 1)  # of the sample that single-byte candidates were compared by
    for codec in _MULTI_BYTE:
        cost = _multi_byte(sample, codec, likely, cut=cut)
        if cost is not None:
            found.append(Guess(cost * part, codec))
    return sorted(found)


def _non_ascii(data: bytes) -> int:
    return len(data) - len(data.decode("ascii", "ignore"))


@cache
def _table(codec: str) -> _Table:
    folded, kinds = [], bytearray()
    for byte in range(256):
        char = bytes([byte]).decode(codec, "replace")
        if (char.isalpha() and char not in _KIND_OF) or unicodedata.category(char)[0] == "M":
            folded.append(char.lower()[0])
            small, capital, caseless = b"lu-" if byte < 0x80 else b"LUc"  # noqa: PLR2004 - ASCII
            kinds.append(small if char.islower() else capital if char.isupper() else caseless)
        else:
            folded.append(" ")
            kinds += _kind(char).encode()
    return _Table("".join(folded), bytes(kinds))


def _kind(char: str) -> str:
    if char.isascii():
        return "-"
    if kind := _KIND_OF.get(char):
        return kind
    return "x" if unicodedata.category(char) == "Cc" or char == "\N{REPLACEMENT CHARACTER}" else "o"


def _single_byte(words: bytes, codec: str, likely: frozenset[str]) -> float:
    candidate, table = _SINGLE_BYTE[codec], _table(codec)
    kinds = words.translate(table.kinds)
    folded = f" {codecs.charmap_decode(words, 'strict', table.folded)[0]} "
    pairs = {pair: count for pair, count in Counter(pairwise(folded)).items() if max(pair) > "\x7f"}
    language = min(_language(pairs, name) * (_IS_DECLARED if name in likely else 1.0) for name in candidate.languages)
    return (
        language
        + candidate.handicap
        + _SYMBOL * (kinds.count(b"p") + kinds.count(b"s") + kinds.count(b"q"))
        + _RARER_SYMBOL * (kinds.count(b"r") + kinds.count(b"i"))
        + _ODD_SYMBOL * kinds.count(b"o")
        + _CONTROL * kinds.count(b"x")
        + _SYMBOL_IN_WORD * len(_IN_WORD.findall(kinds))
        + _SYMBOL_BESIDE_LETTER * len(_BESIDE_LETTER.findall(kinds))
        + _SYMBOL_BEHIND_SYMBOL * len(_BEHIND_SYMBOL.findall(kinds))
        + _CAPITAL_BEHIND_SMALL * len(_BEHIND_SMALL.findall(kinds))
    )


_IS_DECLARED = 0.8
"""Factor for the languages that the message names."""


@cache
def _pair_costs(language: str) -> tuple[dict[tuple[str, str], int], frozenset[str]]:
    costs: dict[tuple[str, str], int] = {}
    for cost, text in PAIRS[language].items():
        costs.update(((text[at], text[at + 1]), cost) for at in range(0, len(text), 2))
    return costs, frozenset(char for pair in costs for char in pair)


def _language(pairs: dict[tuple[str, str], int], language: str) -> float:
    costs, letters = _pair_costs(language)
    total = 0.0
    for pair, count in pairs.items():
        cost: float | None = costs.get(pair)
        if cost is None:
            first, second = pair
            if (first > "\x7f" and first not in letters) or (second > "\x7f" and second not in letters):
                cost = _FOREIGN_LETTER
            elif language in _NOT_LATIN and ("a" <= first <= "z" or "a" <= second <= "z"):
                cost = _MIXED_SCRIPTS
            else:
                cost = _UNLISTED_PAIR
        total += cost * count
    return total


@cache
def _character_costs(language: str) -> dict[str, int]:
    return {char: cost for cost, text in CHARACTERS[language].items() for char in text}


def _multi_byte(sample: bytes, codec: str, likely: frozenset[str], *, cut: bool) -> float | None:
    """Return the cost of a multi-byte charset, or None if too many bytes are not in it."""
    text = sample.decode(codec, "replace")
    text = text.rstrip("\N{REPLACEMENT CHARACTER}") if cut else text
    wrong = text.count("\N{REPLACEMENT CHARACTER}")
    if wrong > 1 and wrong * _MOST_WRONG > len(text):
        return None
    language = _MULTI_BYTE[codec]
    costs = _character_costs(language)
    total = 0.0
    for char, count in Counter(text).items():
        if char > "\x7f" and char != "\N{REPLACEMENT CHARACTER}":
            total += ((costs.get(char) or _unlisted(char, codec)) + _PER_CHARACTER) * count
    total *= _IS_DECLARED if language in likely else 1.0
    return total + _WRONG_BYTES * wrong + _BESIDE_SMALL_LETTER * len(_MIXED.findall(text)) + _PER_CHARACTER


@cache
def _unlisted(char: str, codec: str) -> float:
    if "\N{HALFWIDTH IDEOGRAPHIC FULL STOP}" <= char <= "\N{HALFWIDTH KATAKANA SEMI-VOICED SOUND MARK}":
        return _HALF_WIDTH
    if "\ue000" <= char <= "\uf8ff" or char > "\uffff":
        return _PRIVATE
    if "\u0370" <= char < "\u0500" or "\u2500" <= char < "\u25a0":  # Greek, Cyrillic, box drawing
        return _ODD_SYMBOL
    standard, first, last = _COMMON_ROWS[codec]
    try:
        code = char.encode(standard)
    except UnicodeEncodeError:
        return _OUTSIDE_STANDARD
    return _UNLISTED_COMMON if len(code) == 2 and first <= code[0] <= last else _UNLISTED  # noqa: PLR2004 - a double-byte code
