"""Guess the charset of bytes that have no declared charset and are not UTF-8.

Each candidate decodes a sample. The cost of a candidate has two parts. The first is the number of bits that its best
language needs for the sample's letter pairs (`letter_pairs`). The second is a penalty for anything unusual in text:
symbols within words, controls, capitals after small letters. The cheapest candidate wins. Windows-1252 has an
advantage; rare charsets have a handicap.

`docs/reference/parsing.md` has the measurements. On short texts, charset-normalizer, chardet and chardetng are right
less often.
"""

# ruff: noqa: RUF001 - typographic characters are intended

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

SAMPLE_SIZE = 1000
"""Maximum size of a sample in bytes. A sample consists of lines that are not ASCII."""

_MAX_WORDS = 400
"""Bytes of words used to compare single-byte candidates."""

_MAX_SEARCH = 256 * 1024
_ASCII = bytes(range(128))

_WESTERN = ("fr", "de", "es", "pt", "it", "sv", "da", "nb", "fi", "is", "nl", "ca", "et")
_CENTRAL = ("pl", "cs", "sk", "hu", "ro", "hr", "sl")
_CYRILLIC = ("ru", "uk", "be", "bg", "mk", "sr")
_NOT_LATIN = frozenset({*_CYRILLIC, "el", "he", "ar", "fa", "th"})


class _Candidate(NamedTuple):
    languages: tuple[str, ...]
    handicap: float = 0


# Bits: a handicap for a charset that few senders leave undeclared, an advantage for the most common charset.
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
MULTI_BYTE = {"cp932": "ja", "euc_jp": "ja", "gb18030": "zh-hans", "big5hkscs": "zh-hant", "cp949": "ko"}
"""The multi-byte candidates and their languages."""

# Range of the first byte of common characters (level 1 of the national standard), in a codec ordered by that standard.
_COMMON_ROWS = {
    "cp932": ("euc_jp", 0xA1, 0xCF),
    "euc_jp": ("euc_jp", 0xA1, 0xCF),
    "gb18030": ("gb2312", 0xA1, 0xD7),
    "big5hkscs": ("big5", 0xA4, 0xC6),
    "cp949": ("euc_kr", 0xA1, 0xC8),
}

# Bits, found by experiment on messages in 33 languages. The letter pairs were counted in other texts.
_UNLISTED_PAIR = 11.5
_FOREIGN_LETTER = 20
_MIXED_SCRIPTS = 24
_SYMBOL = 6
_RARER_SYMBOL = 7
_UNUSUAL_SYMBOL = 18
_CONTROL = 40
_SYMBOL_IN_WORD = 20
_SYMBOL_NEXT_TO_LETTER = 14
_SYMBOL_AFTER_SYMBOL = 8
_CAPITAL_AFTER_SMALL = 8
_PER_CHARACTER = 6  # two bytes of a multi-byte charset are one character, but two or three pairs of other charsets
_UNLISTED_COMMON = 13
_UNLISTED = 20
_OUTSIDE_STANDARD = 22
_PRIVATE = 25
_HALF_WIDTH = 6
_WRONG_BYTES = 30
_NEXT_TO_SMALL_LETTER = 12
_THAI_VOWEL = 9  # for multi-byte charsets, for each vowel of a Thai reading if all are well placed
_BACKSLASH_AFTER_LETTER = 14  # in multi-byte charsets, the second byte of a character may be a backslash
_CHARACTERS_PER_ERROR = 20  # at most one undecodable character in so many

# Kinds of bytes. l and u: small and capital ASCII letters; L and U: the same beyond ASCII. c: a letter without case, or
# a mark. x: a control, or undefined. o: an unusual symbol. -: the rest of ASCII. The other symbols follow.
_KINDS = {
    "q": "’\N{SOFT HYPHEN}",  # within words
    "p": "«»“”‘„–—…‚‹›\N{NO-BREAK SPACE}",  # next to words
    "s": "•€£§°´·",  # alone, or next to digits
    "r": "®©™±×¹²³¼½¾ªº№",  # rarer, not before letters
    "i": "¿¡",  # rarer, before letters
}
_KIND_OF = {char: kind for kind, chars in _KINDS.items() for char in chars}
_IN_WORD = re.compile(rb"[luLUc][psriox](?=[luLUc])")
_NEXT_TO_LETTER = re.compile(rb"(?<![luLUc])[sro](?=[luLUc])|[luLUc][so](?![luLUc])")
_AFTER_SYMBOL = re.compile(rb"[qpsriox](?=[qpsriox])")
_AFTER_SMALL = re.compile(rb"l(?=U)|L(?=[uU])")

# In Thai, some vowels precede a consonant. Other vowels, and all tone marks, follow a consonant or its mark. Bytes in
# other charsets rarely follow these rules throughout.
_THAI_ORDERED = re.compile(
    rb"[\xe0-\xe4](?=[\xa1-\xce])|(?<=[\xa1-\xce\xd1\xd4-\xd9\xe7-\xec])[\xd0-\xda\xe7-\xee]|\xd2\xd0"
)
_THAI_DEPENDENT = re.compile(rb"[\xd0-\xda\xe0-\xe4\xe7-\xee]")
_NOT_THAI = re.compile(rb"[\x80-\x84\x86-\x90\x98-\xa0\xdb-\xde\xef-\xff]|[\xa1-\xfe][@-~]")  # undefined, or Big5
_SWAPPED_WORD = re.compile(rb"(?<![LU])LUU+(?![LU])")
_ORDINARY_WORD = re.compile(rb"[LU]L+")
_BEFORE_BACKSLASH = re.compile(rb"[\x80-\xff]\\")
_EVIDENCE = re.compile(rb"[A-Za-z\x80-\xff]")
_MIN_EVIDENCE = 3
_MIXED = re.compile(r"[a-z][\u0100-\uffff]|[\u0100-\uffff][a-z]")


class _Table(NamedTuple):
    """A single-byte charset: each byte's letter in lower case (space if not a letter), and each byte's kind."""

    folded: str
    kinds: bytes


class Guess(NamedTuple):
    """A candidate charset with its cost.

    Attributes:
        cost: cost in bits; a lower cost means a likelier charset.
        codec: the Python codec of the charset.
    """

    cost: float
    codec: str


def take_sample(data: bytes) -> bytes:
    """Return the lines of `data` that are not ASCII, at most `SAMPLE_SIZE` bytes."""
    lines: list[bytes] = []
    remaining = SAMPLE_SIZE
    for line in data[:_MAX_SEARCH].split(b"\n"):
        if line.isascii():
            continue
        if len(line) > remaining:
            first = len(line) - len(line.lstrip(_ASCII))
            line = line[max(first - 8, 0) :][:remaining]  # noqa: PLW2901 - the relevant part of the line
        lines.append(line)
        remaining -= len(line)
        if remaining <= 0:
            break
    return b"\n".join(lines)


def rank_charsets(sample: bytes, languages: Iterable[str] = ()) -> list[Guess]:
    """Return all candidates, the likeliest first.

    Args:
        sample: bytes, as `take_sample` returns them.
        languages: languages that the message declares (keys of `PAIRS` and `CHARACTERS`).
    """
    if len(_EVIDENCE.findall(sample)) < _MIN_EVIDENCE:
        return [Guess(0, "cp1252")]
    declared = frozenset(languages)
    words = b" ".join(word for word in sample.split() if not word.isascii())[:_MAX_WORDS]
    guesses = [Guess(_single_byte_cost(words, codec, declared), codec) for codec in _SINGLE_BYTE]
    # A truncated sample may end within a character.
    truncated = len(sample) >= SAMPLE_SIZE
    # Single-byte candidates were compared by this share of the sample.
    share = _non_ascii(words) / max(_non_ascii(sample), 1)
    thai_cost = _THAI_VOWEL * _thai_vowels(words)
    for codec in MULTI_BYTE:
        cost = _multi_byte_cost(sample, codec, declared, truncated=truncated)
        if cost is not None:
            guesses.append(Guess(cost * share + thai_cost, codec))
    return sorted(guesses)


def has_swapped_case(sample: bytes, codec: str) -> bool:
    """Return whether half the words or more begin with a small letter and continue in capitals.

    KOI8-R has capitals where Windows-1251 has small letters. Text in one appears like this in the other.
    """
    if codec not in _SINGLE_BYTE:
        return False
    kinds = sample.translate(_table(codec).kinds)
    return len(_SWAPPED_WORD.findall(kinds)) >= max(len(_ORDINARY_WORD.findall(kinds)), 1)


def is_common_text(sample: bytes, codec: str) -> bool:
    """Return whether all characters are common ones of a multi-byte charset, or the charset is not a candidate."""
    if codec not in MULTI_BYTE:
        return True
    try:
        chars = {char for char in sample.decode(codec) if char > "\x7f"}
    except UnicodeDecodeError:
        return False
    costs = _character_costs(MULTI_BYTE[codec])
    return all(char in costs or _unlisted_cost(char, codec) == _UNLISTED_COMMON for char in chars)


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
            kinds += _symbol_kind(char).encode()
    return _Table("".join(folded), bytes(kinds))


def _symbol_kind(char: str) -> str:
    if char.isascii():
        return "-"
    if kind := _KIND_OF.get(char):
        return kind
    return "x" if unicodedata.category(char) == "Cc" or char == "\N{REPLACEMENT CHARACTER}" else "o"


def _single_byte_cost(words: bytes, codec: str, declared: frozenset[str]) -> float:
    candidate, table = _SINGLE_BYTE[codec], _table(codec)
    kinds = words.translate(table.kinds)
    folded = f" {codecs.charmap_decode(words, 'strict', table.folded)[0]} "
    pairs = {pair: count for pair, count in Counter(pairwise(folded)).items() if max(pair) > "\x7f"}
    cost = min(
        _language_cost(pairs, name) * (_DECLARED_FACTOR if name in declared else 1.0) for name in candidate.languages
    )
    return (
        cost
        + candidate.handicap
        + _SYMBOL * (kinds.count(b"p") + kinds.count(b"s") + kinds.count(b"q"))
        + _RARER_SYMBOL * (kinds.count(b"r") + kinds.count(b"i"))
        + _UNUSUAL_SYMBOL * kinds.count(b"o")
        + _CONTROL * kinds.count(b"x")
        + _SYMBOL_IN_WORD * len(_IN_WORD.findall(kinds))
        + _SYMBOL_NEXT_TO_LETTER * len(_NEXT_TO_LETTER.findall(kinds))
        + _SYMBOL_AFTER_SYMBOL * len(_AFTER_SYMBOL.findall(kinds))
        + _CAPITAL_AFTER_SMALL * len(_AFTER_SMALL.findall(kinds))
        + _BACKSLASH_AFTER_LETTER * len(_BEFORE_BACKSLASH.findall(words))
    )


def _thai_vowels(words: bytes) -> int:
    """Return the number of vowels and tone marks, or 0 if one of them is misplaced."""
    count = len(_THAI_DEPENDENT.findall(words))
    is_thai = count == len(_THAI_ORDERED.findall(words)) and not _NOT_THAI.search(words)
    return count if is_thai else 0


_DECLARED_FACTOR = 0.8
"""Factor for the languages that the message declares."""


@cache
def _pair_costs(language: str) -> tuple[dict[tuple[str, str], int], frozenset[str]]:
    costs: dict[tuple[str, str], int] = {}
    for cost, text in PAIRS[language].items():
        costs.update(((text[index], text[index + 1]), cost) for index in range(0, len(text), 2))
    return costs, frozenset(char for pair in costs for char in pair)


def _language_cost(pairs: dict[tuple[str, str], int], language: str) -> float:
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


def _multi_byte_cost(sample: bytes, codec: str, declared: frozenset[str], *, truncated: bool) -> float | None:
    """Return the cost of a multi-byte charset, or None if too many bytes cannot be decoded."""
    text = sample.decode(codec, "replace")
    text = text.rstrip("\N{REPLACEMENT CHARACTER}") if truncated else text
    errors = text.count("\N{REPLACEMENT CHARACTER}")
    if errors > 1 and errors * _CHARACTERS_PER_ERROR > len(text):
        return None
    language = MULTI_BYTE[codec]
    costs = _character_costs(language)
    total = 0.0
    for char, count in Counter(text).items():
        if char > "\x7f" and char != "\N{REPLACEMENT CHARACTER}":
            total += ((costs.get(char) or _unlisted_cost(char, codec)) + _PER_CHARACTER) * count
    total *= _DECLARED_FACTOR if language in declared else 1.0
    return total + _WRONG_BYTES * errors + _NEXT_TO_SMALL_LETTER * len(_MIXED.findall(text)) + _PER_CHARACTER


@cache
def _unlisted_cost(char: str, codec: str) -> float:
    if "\N{HALFWIDTH IDEOGRAPHIC FULL STOP}" <= char <= "\N{HALFWIDTH KATAKANA SEMI-VOICED SOUND MARK}":
        return _HALF_WIDTH
    if "\ue000" <= char <= "\uf8ff" or char > "\uffff":
        return _PRIVATE
    if "\u0370" <= char < "\u0500" or "\u2500" <= char < "\u25a0":  # Greek, Cyrillic, box drawing
        return _UNUSUAL_SYMBOL
    standard, first, last = _COMMON_ROWS[codec]
    try:
        code = char.encode(standard)
    except UnicodeEncodeError:
        return _OUTSIDE_STANDARD
    return _UNLISTED_COMMON if len(code) == 2 and first <= code[0] <= last else _UNLISTED  # noqa: PLR2004 - a double-byte code
