"""Encoded words: text in headers that is not ASCII (RFC 2047)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.mime.charsets import clean, decode, decode_header
from shared.mime.defects import Defects

# Each part ends at the next question mark, so that no input is looked at twice.
_WORD = re.compile(r"=\?([^?\s]{1,80})\?([BbQq])\?([^?]*)\?=")
_WORD_WITH_OCTETS = re.compile(rb"(=\?[^?\s]{1,80}\?([BbQq])\?)([^?]*[\x1b\x80-\xff][^?]*)\?=")
_OCTET = re.compile(rb"[\x1b\x80-\xff]")
_NOT_ASCII = bytes((0x1B, *range(0x80, 0x100)))
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2})")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


_CUT_ESCAPE = re.compile(r"=[0-9A-Fa-f]?\Z")
_HEX = re.compile(r"[0-9A-Fa-f]{2}")


@dataclass(slots=True)
class _Word:
    charset: str
    data: list[bytes]
    cut: str = ""
    """What may be the beginning of an escape, at the end of the payload."""


def header_text(raw: bytes, defects: Defects) -> str:
    """Return the bytes of a header's value as text, encoded words left as they are.

    Raw text that is not ASCII is UTF-8 (RFC 6532), ISO-2022-JP (RFC 1468), or in the charset that the message hints at.
    """
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if b"=?" in raw:
        raw = _WORD_WITH_OCTETS.sub(_escaped, raw)
    return decode_header(raw, defects)


def _escaped(match: re.Match[bytes]) -> bytes:
    """Escape the octets of an encoded word that are not text: they belong to the word's charset."""
    payload = match[3]
    if match[2] in b"Bb":
        return match[1] + payload.translate(None, _NOT_ASCII) + b"?="
    return match[1] + _OCTET.sub(lambda octet: b"=%02X" % octet[0][0], payload) + b"?="


def decoded(text: str, defects: Defects) -> str:
    """Text with its encoded words decoded, on one line, without controls."""
    if "=?" in text:
        text = clean(_with_decoded_words(text, defects))
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    return text.strip()


def _with_decoded_words(text: str, defects: Defects) -> str:
    word = _WORD.search(text)
    if word is None or text.find("=?", word.end()) >= 0:
        return "".join(_pieces(text, defects))
    middle = decode(_bytes_of(word[2], word[3]), word[1].partition("*")[0].lower(), defects)  # there is only this one
    return f"{text[: word.start()]}{middle}{text[word.end() :]}"


def _pieces(text: str, defects: Defects) -> Iterator[str]:
    """Plain text and decoded words by turns.

    White space between two words is not theirs. Words of one charset are joined before they are decoded, since some
    mailers cut in the middle of a character, or even of its escape. RFC 2047 section 5 forbids both.
    """
    end = 0
    word: _Word | None = None
    for match in _WORD.finditer(text):
        between = text[end : match.start()]
        charset = match[1].partition("*")[0].lower()
        encoding, payload = match[2], match[3]
        follows = word is not None and word.charset == charset and not between.strip()
        if word is not None and word.cut and follows and encoding in "qQ" and _HEX.match(word.cut[1:] + payload[:2]):
            word.data[-1] = word.data[-1][: -len(word.cut)]
            payload = word.cut + payload
        data = _bytes_of(encoding, payload)
        cut = _CUT_ESCAPE.search(payload, max(len(payload) - 2, 0)) if encoding in "qQ" else None
        end = match.end()
        if word is None:
            yield between
        elif between.strip():
            yield decode(b"".join(word.data), word.charset, defects)
            yield between
        elif word.charset == charset:
            word.data.append(data)
            word.cut = cut[0] if cut else ""
            continue
        else:
            yield decode(b"".join(word.data), word.charset, defects)
        word = _Word(charset, [data], cut[0] if cut else "")
    if word is not None:
        yield decode(b"".join(word.data), word.charset, defects)
    yield text[end:]


def _bytes_of(encoding: str, payload: str) -> bytes:
    raw = payload.encode("utf-8", "replace")
    if encoding in "qQ":
        # a2b_qp would drop an equal sign that begins no escape (RFC 2045 section 6.7).
        return binascii.a2b_qp(_BAD_ESCAPE.sub(b"=3D", raw.replace(b" ", b"_")), header=True)
    raw = raw.translate(None, _NOT_BASE64)
    raw = raw[:-1] if len(raw) % 4 == 1 else raw
    return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))
