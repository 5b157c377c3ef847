"""Encoded words: text in headers that is not ASCII (RFC 2047)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.mail.charsets import clean, decode, western
from shared.mail.defects import Defects

# Each part ends at the next question mark, so that no input is looked at twice.
_WORD = re.compile(r"=\?([^?\s]{1,80})\?([BbQq])\?([^?]*)\?=")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


@dataclass(slots=True)
class _Word:
    charset: str
    data: list[bytes]


def header_text(raw: bytes, defects: Defects) -> str:
    """The bytes of a header's value as text, encoded words left as they are.

    UTF-8 (RFC 6532), or else Windows-1252.
    """
    if raw.isascii():
        return raw.decode("ascii")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        defects.add("a header has raw 8-bit text that is not UTF-8: read as Windows-1252")
        return western(raw)


def decoded(text: str, defects: Defects) -> str:
    """Text with its encoded words decoded, on one line, without controls."""
    if "=?" in text:
        text = clean("".join(_pieces(text, defects)))
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    return text.strip()


def _pieces(text: str, defects: Defects) -> Iterator[str]:
    """Plain text and decoded words by turns.

    White space between two words is not theirs. Words of one charset are joined before they are decoded, since some
    mailers cut in the middle of a character.
    """
    end = 0
    word: _Word | None = None
    for match in _WORD.finditer(text):
        between = text[end : match.start()]
        charset = match[1].partition("*")[0].lower()
        data = _bytes_of(match[2], match[3])
        end = match.end()
        if word is None:
            yield between
        elif between.strip():
            yield decode(b"".join(word.data), word.charset, defects)
            yield between
        elif word.charset == charset:
            word.data.append(data)
            continue
        else:
            yield decode(b"".join(word.data), word.charset, defects)
        word = _Word(charset, [data])
    if word is not None:
        yield decode(b"".join(word.data), word.charset, defects)
    yield text[end:]


def _bytes_of(encoding: str, payload: str) -> bytes:
    raw = payload.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(raw.replace(b" ", b"_"), header=True)
    raw = raw.translate(None, _NOT_BASE64)
    raw = raw[:-1] if len(raw) % 4 == 1 else raw
    return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))
