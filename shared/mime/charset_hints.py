"""Choose the charset of undeclared bytes: from the message's hints, or by a guess."""

from __future__ import annotations

import re

from shared.mime.buffer import Buffer
from shared.mime.charset_labels import codec_for, is_ascii_compatible
from shared.mime.damaged_utf8 import is_partly_utf_8

_SEARCH_SIZE = 256 * 1024
"""Bytes at the beginning of a message that are searched for charset names."""

_LINE_SEARCH_SIZE = 64 * 1024
"""Bytes at the beginning of a message that are searched for other undeclared text."""

_MAX_GUESSES = 16
"""Maximum number of guesses per message. A guess takes some milliseconds."""

_SHORT_TEXT = 60
"""Number of non-ASCII bytes below which text is guessed together with the message's other undeclared text."""

# Encoded words (RFC 2047), parameters (RFC 2231), `charset=` in Content-Type and in HTML, also quoted-printable.
_CHARSET_NAME = re.compile(
    rb"=\?([A-Za-z0-9_.:+-]{2,40})(?:\*[A-Za-z-]{0,20})?\?[BbQq]\?"
    rb"|\*=\"?([A-Za-z0-9_.:+-]{2,40})'"
    rb"|charset[ \t]{0,9}=(?:3D)?[ \t]{0,9}[\"']?([A-Za-z0-9_.:+-]{2,40})",
    re.IGNORECASE,
)
_LANGUAGE = re.compile(rb"^content-language:[ \t]{0,9}([a-z]{2,3}(?:-[a-z]{2,8})?)", re.IGNORECASE | re.MULTILINE)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MAX_LINE = 1000

# Languages of Content-Language (RFC 5646) that the statistics have under another name.
_LANGUAGES = {
    "no": "nb", "nn": "nb", "iw": "he", "bs": "hr", "sh": "hr",
    "zh": "zh-hans", "zh-cn": "zh-hans", "zh-sg": "zh-hans", "zh-tw": "zh-hant", "zh-hk": "zh-hant", "zh-mo": "zh-hant",
}  # fmt: skip

# 8-bit codecs of the same language, where the message names a 7-bit charset.
_EIGHT_BIT_CODECS = {"iso2022_jp": ("cp932", "euc_jp"), "iso2022_kr": ("cp949",), "hz": ("gb18030",)}

_FEW_PAIRS = re.compile(rb"(?:[\x00-\x7f]*+[\xc2-\xdf][\xa1-\xbf]){1,3}+[\x00-\x7f]*+")
_NEXT_TO_SMALL_LETTER = re.compile(rb"[a-z][\x80-\xff]|[\x80-\xff][a-z]")
_LIKELY_UTF_8 = re.compile(
    rb"(?:[\x00-\x7f]*+\xc2.)*+[\x00-\x7f]*+|[\x00-\x7f]*+[\xc3-\xc5\xce-\xd1].[\x00-\x7f]*+", re.DOTALL
)

_NOT_INFORMATIVE = frozenset({"ascii", "utf_8"})

# A charset that the message names is used unless another charset is much likelier: by this factor and these bits.
_MUCH_LIKELIER = 1.3
_MUCH_LIKELIER_BITS = 20
_NOT_COMPARABLE = 1.1


class CharsetHints:
    """A message's hints at its charset, read when the first undeclared bytes need them.

    They come from the raw bytes of the message and not from its parts. The result therefore does not depend on the
    order in which headers and parts are read.
    """

    __slots__ = ("_buffer", "_choices", "_languages", "_lines", "_named", "_utf_8_is_named")

    def __init__(self, buffer: Buffer | None = None) -> None:
        self._buffer = buffer
        self._named: tuple[str, ...] | None = None
        self._utf_8_is_named = False
        self._languages: tuple[str, ...] = ()
        self._lines: bytes | None = None
        self._choices: dict[tuple[bytes, str | None], tuple[str, bool]] = {}

    def choose_codec(self, data: bytes, inner: str | None = None) -> tuple[str, bool]:
        """Return the codec for bytes that are neither ASCII nor UTF-8, and whether the message names it.

        Args:
            data: the bytes.
            inner: the charset that the text itself names (`meta` in HTML).
        """
        if self._buffer is None:
            return "cp1252", False
        from shared.mime.charset_guess import take_sample  # noqa: PLC0415 - few messages need it, and its tables are large

        sample = take_sample(data)
        key = (sample, inner)
        if key not in self._choices:
            if len(self._choices) >= _MAX_GUESSES:
                return next(iter(self._choices.values()))
            self._choices[key] = self._choose(sample, inner)
        return self._choices[key]

    def names_utf_8(self) -> bool:
        """Return whether the message names UTF-8."""
        self._named_codecs()
        return self._utf_8_is_named

    def multi_byte_codec(self, data: bytes) -> str | None:
        """Return the multi-byte charset of bytes that are valid UTF-8 by coincidence, or None.

        Two or three characters of a double-byte charset may be valid UTF-8. This charset must be the only one that
        the message names, and its characters must be common. Sequences next to small ASCII letters are UTF-8, and so
        are symbols of Latin-1, and a single Latin, Greek or Cyrillic letter.
        """
        if not _FEW_PAIRS.fullmatch(data) or _NEXT_TO_SMALL_LETTER.search(data) or _LIKELY_UTF_8.fullmatch(data):
            return None
        named = self._named_codecs()
        if not named or self._utf_8_is_named:
            return None
        from shared.mime.charset_guess import MULTI_BYTE, is_common_text  # noqa: PLC0415 - as above

        if not all(codec in MULTI_BYTE for codec in named):
            return None
        return next((codec for codec in named if is_common_text(data, codec)), None)

    def _choose(self, sample: bytes, inner: str | None) -> tuple[str, bool]:
        from shared.mime.charset_guess import has_swapped_case, rank_charsets  # noqa: PLC0415 - as above

        named = self._named_codecs()
        if inner is not None:
            named = (*_codecs_for(inner), *named)
        ranked = rank_charsets(sample, self._languages)
        best = ranked[0]
        costs = {guess.codec: guess.cost for guess in ranked}
        hints = [
            (
                costs.get(codec, best.cost * _NOT_COMPARABLE if _decodes(sample, codec) else float("inf")),
                position,
                codec,
            )
            for position, codec in enumerate(dict.fromkeys(named))
            if codec == best.codec or not has_swapped_case(sample, codec)
        ]
        if hints and min(hints)[0] <= max(best.cost, 0) * _MUCH_LIKELIER + _MUCH_LIKELIER_BITS:
            return min(hints)[2], True
        if _non_ascii(sample) < _SHORT_TEXT and not named and (lines := self._undeclared_lines()) and lines != sample:
            return rank_charsets(sample + b"\n" + lines, self._languages)[0].codec, False
        return best.codec, False

    def _named_codecs(self) -> tuple[str, ...]:
        """Return the codecs of the charsets that the message names, in order."""
        if self._named is None:
            data = self._buffer.slice(0, _SEARCH_SIZE) if self._buffer else b""
            labels = dict.fromkeys(match[1] or match[2] or match[3] for match in _CHARSET_NAME.finditer(data))
            names = [label.decode("ascii") for label in labels]
            self._utf_8_is_named = any(codec_for(name) == "utf_8" for name in names)
            self._named = tuple(dict.fromkeys(codec for name in names for codec in _codecs_for(name)))
            tags = (match[1].decode("ascii").lower() for match in _LANGUAGE.finditer(data))
            self._languages = tuple({_LANGUAGES.get(tag) or _LANGUAGES.get(tag[:2], tag[:2]) for tag in tags})
        return self._named

    def _undeclared_lines(self) -> bytes:
        """Return the message's other lines that are neither ASCII nor UTF-8 nor binary."""
        from shared.mime.charset_guess import SAMPLE_SIZE  # noqa: PLC0415 - as above

        if self._lines is None:
            data = self._buffer.slice(0, _LINE_SEARCH_SIZE) if self._buffer else b""
            lines: list[bytes] = []
            remaining = SAMPLE_SIZE
            for line in data.split(b"\n"):
                if remaining > 0 and not line.isascii() and len(line) <= _MAX_LINE and _is_undeclared_text(line):
                    lines.append(line)
                    remaining -= len(line)
            self._lines = b"\n".join(lines)
        return self._lines


def _codecs_for(label: str) -> tuple[str, ...]:
    codec = codec_for(label)
    if codec is None or codec in _NOT_INFORMATIVE:
        return ()
    if family := next((name for name in _EIGHT_BIT_CODECS if codec.startswith(name)), None):
        return _EIGHT_BIT_CODECS[family]
    return (codec,) if is_ascii_compatible(codec) else ()


def _is_undeclared_text(line: bytes) -> bool:
    if _BINARY.search(line):
        return False
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return not is_partly_utf_8(line)
    return False


def _decodes(sample: bytes, codec: str) -> bool:
    """Return whether bytes are valid text in a charset without statistics."""
    try:
        text = sample.decode(codec)
    except UnicodeError:
        return False
    return not any("\x7f" <= char < "\xa0" for char in text)


def _non_ascii(data: bytes) -> int:
    return len(data) - len(data.decode("ascii", "ignore"))
