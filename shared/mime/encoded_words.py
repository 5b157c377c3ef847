"""Encoded words: non-ASCII text in headers (RFC 2047)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.mime.charsets import decode, decode_header, replace_surrogates
from shared.mime.defects import Defects

# RFC 2047 section 4.2 requires question marks to be escaped, which some mailers forget. A payload therefore ends at the
# first "?=", as in CPython's email package. It never contains "=?", which keeps matching linear.
_PAYLOAD = r"[^?]*+(?:(?<!=)\?(?!=)[^?]*+)*+"
_WORD = re.compile(rf"=\?([^?\s]{{1,80}})\?([BbQq])\?({_PAYLOAD})\?=")
_WORD_IN_BYTES = re.compile(rf"(=\?[^?\s]{{1,80}}\?([BbQq])\?)({_PAYLOAD})\?=".encode())
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
    incomplete: str = ""
    """A possible incomplete escape at the end of the payload."""


def header_text(raw: bytes, defects: Defects) -> str:
    """Decode the bytes of a header's value, with encoded words left undecoded.

    Raw text that is not ASCII is UTF-8 (RFC 6532), ISO-2022-JP (RFC 1468), or in a charset from the message's hints.
    """
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    if b"=?" in raw:
        raw = _WORD_IN_BYTES.sub(_escape_octets, raw)
    return decode_header(raw, defects)


def _escape_octets(match: re.Match[bytes]) -> bytes:
    """Escape the raw octets within an encoded word, which belong to the word's charset."""
    payload = match[3]
    if match[2] in b"Bb":
        return match[1] + payload.translate(None, _NOT_ASCII) + b"?="
    return match[1] + _OCTET.sub(lambda octet: b"=%02X" % octet[0][0], payload) + b"?="


def decode_words(text: str, defects: Defects) -> str:
    """Return text on one line, with encoded words decoded and controls removed."""
    if "=?" in text:
        text = replace_surrogates(_decode_each_word(text, defects))
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    return text.strip()


def _decode_each_word(text: str, defects: Defects) -> str:
    word = _WORD.search(text)
    if word is None or text.find("=?", word.end()) >= 0:
        return "".join(_decode_adjacent_words(text, defects))
    middle = decode(_payload_bytes(word[2], word[3]), word[1].partition("*")[0].lower(), defects)  # the only word
    return f"{text[: word.start()]}{middle}{text[word.end() :]}"


def _decode_adjacent_words(text: str, defects: Defects) -> Iterator[str]:
    """Return plain text and decoded words in order.

    White space between two words is removed. Adjacent words of one charset are joined before they are decoded: some
    mailers split a character, or even an escape, between them, which RFC 2047 section 5 forbids.
    """
    end = 0
    word: _Word | None = None
    for match in _WORD.finditer(text):
        between = text[end : match.start()]
        charset = match[1].partition("*")[0].lower()
        encoding, payload = match[2], match[3]
        is_adjacent = word is not None and word.charset == charset and not between.strip()
        if (
            word is not None
            and word.incomplete
            and is_adjacent
            and encoding in "qQ"
            and _HEX.match(word.incomplete[1:] + payload[:2])
        ):
            word.data[-1] = word.data[-1][: -len(word.incomplete)]
            payload = word.incomplete + payload
        data = _payload_bytes(encoding, payload)
        incomplete = _CUT_ESCAPE.search(payload, max(len(payload) - 2, 0)) if encoding in "qQ" else None
        end = match.end()
        if word is None:
            yield between
        elif between.strip():
            yield decode(b"".join(word.data), word.charset, defects)
            yield between
        elif word.charset == charset:
            word.data.append(data)
            word.incomplete = incomplete[0] if incomplete else ""
            continue
        else:
            yield decode(b"".join(word.data), word.charset, defects)
        word = _Word(charset, [data], incomplete[0] if incomplete else "")
    if word is not None:
        yield decode(b"".join(word.data), word.charset, defects)
    yield text[end:]


def _payload_bytes(encoding: str, payload: str) -> bytes:
    raw = payload.encode("utf-8", "replace")
    if encoding in "qQ":
        # a2b_qp would drop an equal sign that does not begin an escape (RFC 2045 section 6.7).
        return binascii.a2b_qp(_BAD_ESCAPE.sub(b"=3D", raw.replace(b" ", b"_")), header=True)
    raw = raw.translate(None, _NOT_BASE64)
    raw = raw[:-1] if len(raw) % 4 == 1 else raw
    return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))
