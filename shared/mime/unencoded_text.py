"""Content that declares base64 and is plain text instead: some mailers declare base64 without encoding."""

from __future__ import annotations

import binascii
import codecs
import re

from shared.mime.charset_labels import codec_for
from shared.mime.headers import ParametrisedValue

SAMPLE_SIZE = 2 * 1024

LONG_LINE = 40
"""Line length in letters that hardly any word or number reaches."""

MAX_PADDING = 2
"""Equal signs that complete the last four letters (RFC 4648 section 4)."""

_MIN_SHORT_LINE = 16
_MIN_LONG_TOKEN = 60
_MIN_WORDS = 4
_MAX_WORD = 24
_MIN_REPEATED = 8
_MIN_WORD_LENGTH = 3
_MIN_SURE_LENGTH = 4
_MIN_LETTERS = 8
_MIN_HIGH_BYTES = 6

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
EXPECTED = _BASE64 + b"=\r\n"
_NO_LETTERS = bytes(set(range(256)) - set(_BASE64))
_NOT_BASE64 = bytes(set(_NO_LETTERS) - set(b"="))
_ASCII = bytes(range(128))
_ENCODED = re.compile(rb"[A-Za-z0-9+/]++={0,2}")
_COMPLETE = re.compile(rb"[A-Za-z0-9+/]{6,}+={1,2}|[A-Za-z0-9+/]{%d,}+" % LONG_LINE)
_LONG_RUN = re.compile(rb"[A-Za-z0-9+/]{%d}" % LONG_LINE)
# Of letters in base64, about half are capitals or digits: hardly any longer piece resembles a word.
_WORD = re.compile(rb"[A-Za-z]?[a-z]++|[A-Z]++s?|[0-9]++")
_ALPHABET = re.compile(rb"[A-Za-z0-9+/]++")
_TAG = re.compile(rb"\s*+<[A-Za-z!/?]")
_JSON = re.compile(rb"\s*+[\[{]\s*+[\"{]")  # RFC 8259 section 2
# These formats contain base64 themselves: PEM (RFC 7468), OpenPGP (RFC 9580 section 6.2), iCalendar, vCard.
_ARMOUR = re.compile(rb"-----BEGIN |BEGIN:V", re.IGNORECASE)
_SHIFT = re.compile(rb"\x1b[$(]")  # ISO 2022
_CONTROL_BYTE = re.compile(rb"[\x00-\x08\x10-\x1a\x1c-\x1f\x7f]")  # without the shifts of ISO 2022
_CONTROL_CHARACTER = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f]")


def is_unencoded(sample: bytes, content_type: ParametrisedValue) -> bool:
    """Return whether content that declares base64 is plain text.

    Args:
        sample: the first `SAMPLE_SIZE` bytes of the content.
        content_type: the type of the content. Of text, it is also considered whether the decoded bytes are text.
    """
    if _JSON.match(sample):
        return True
    lines: list[list[bytes]] = []
    for line in sample.splitlines():
        text = line.lstrip(b"> \t").rstrip()
        if _ARMOUR.match(text):
            return True
        words = text.split()
        if _is_data(words) or (words and not lines and _is_first_of_data(words)):
            return False
        if _SHIFT.search(text):
            return True
        if words:
            lines.append(words)
    tokens = [token for line in lines for token in line]
    joined = b"".join(tokens)
    high_bytes = len(joined.translate(None, _ASCII))
    if _TAG.match(sample) or (high_bytes >= _MIN_HIGH_BYTES and high_bytes * 3 >= len(joined)):
        return True
    if any(len(line) > 1 for line in lines) and _has_words(tokens, joined):
        return True
    return _is_short_text(sample, lines, content_type)


def is_word(text: bytes) -> bool:
    """Return whether letters are written like a word or number. Repeated data is not."""
    if len(text) > _MAX_WORD or not _WORD.fullmatch(text) or text.count(text[:1]) == len(text):
        return False
    is_repeated = len(text) >= _MIN_REPEATED and (text[:4] * _MAX_WORD).startswith(text[:-2])
    return not is_repeated


def _has_words(tokens: list[bytes], joined: bytes) -> bool:
    """Return whether tokens are words, and not base64 that is split by spaces."""
    if joined.translate(None, EXPECTED):
        return sum(len(token) >= _MIN_LETTERS and _is_letters(token) for token in tokens) * 2 < len(tokens)
    return _are_words(tokens) or (
        len(tokens) >= _MIN_WORDS and not _is_padded(joined) and sum(map(is_word, tokens)) * 2 >= len(tokens)
    )


def _is_letters(token: bytes) -> bool:
    return _ENCODED.fullmatch(token) is not None and not is_word(token)


def is_text(text: bytes, min_length: int = _MIN_SURE_LENGTH) -> bool:
    """Return whether text has words, a URL, or another script, and is not base64 with a few other characters.

    Args:
        text: lines with any characters.
        min_length: the length of a word that base64 hardly ever equals by coincidence.
    """
    if b"://" in text or _SHIFT.search(text) or len(text.translate(None, _ASCII)) >= _MIN_HIGH_BYTES:
        return True
    return _are_words(text.split()) or any(
        len(word) >= min_length and is_word(word) for word in _ALPHABET.findall(text)
    )


def _is_data(words: list[bytes]) -> bool:
    """Return whether a line's length shows that it is base64."""
    if any(len(word) >= _MIN_LONG_TOKEN and _ENCODED.fullmatch(word) for word in words):
        return len(words) == 1 or all(_ENCODED.fullmatch(word) for word in words)
    if len(words) != 1 or len(words[0]) < LONG_LINE:
        return False
    return bool(_ENCODED.fullmatch(words[0]) or (_LONG_RUN.search(words[0]) and not is_text(words[0])))


def _is_first_of_data(words: list[bytes]) -> bool:
    """Return whether a first line is base64, or begins with complete base64. Words rarely decode to text."""
    text = words[0]
    if (match := _COMPLETE.match(text)) and len(match[0]) % 4 == 0 and not is_word(match[0].rstrip(b"=")):
        return True
    if len(words) > 1 or len(text) % 4 != 0 or not _ENCODED.fullmatch(text):
        return False
    if text.endswith(b"=") or (len(text) >= _MIN_SHORT_LINE and not is_word(text)):
        return True
    try:
        return "".join(binascii.a2b_base64(text).decode().split()).isprintable()
    except ValueError:
        return False


def _are_words(tokens: list[bytes]) -> bool:
    return len(tokens) > 1 and all(map(is_word, tokens)) and sum(map(len, tokens)) >= _MIN_WORD_LENGTH * len(tokens)


def _is_padded(text: bytes) -> bool:
    """Return whether padding, at the end only, completes the letters of a text."""
    data = text.translate(None, _NOT_BASE64)
    padding = len(data) - len(data.rstrip(b"="))
    return 0 < padding <= MAX_PADDING and data.count(b"=") == padding and len(data) % 4 == 0


def _is_short_text(sample: bytes, lines: list[list[bytes]], content_type: ParametrisedValue) -> bool:
    """Return whether content without a long line is text: not complete base64, and not decoded to text."""
    tokens = [token for line in lines for token in line]
    joined = b"".join(tokens)
    if not joined or _is_padded(joined) or _CONTROL_BYTE.search(joined):
        return False
    if _are_words(tokens):
        return True
    letters = joined.translate(None, _NO_LETTERS)
    is_complete = len(sample) < SAMPLE_SIZE
    has_others = len(letters) < len(joined.rstrip(b"="))
    if content_type.kind.startswith("text/"):
        has_words = len(letters) < _MIN_LETTERS or is_text(sample, _MIN_WORD_LENGTH)
        charset = None if has_others else content_type.token("charset")
        return has_words and (
            (has_others and len(letters) < _MIN_LETTERS)
            or not _decodes_to_text(letters, charset, is_complete=is_complete)
        )
    # Of a file, damage affects few lines.
    others = sum(not _ENCODED.fullmatch(b"".join(line).rstrip(b"=")) for line in lines)
    return others * 2 > len(lines) and is_text(sample)


def _decodes_to_text(letters: bytes, charset: str | None, *, is_complete: bool) -> bool:
    if len(letters) % 4 == 1:
        if is_complete:
            return False
        letters = letters[:-1]
    codec = codec_for(charset) if charset else None
    decoder = codecs.getincrementaldecoder("utf-8" if codec in {None, "ascii"} else codec)()
    try:
        text = decoder.decode(binascii.a2b_base64(letters + b"=" * (-len(letters) % 4)), is_complete)
    except ValueError:
        return False
    return _CONTROL_CHARACTER.search(text) is None
