"""Generated valid mail of every common kind. The same generator gives the same bytes."""

from __future__ import annotations

import base64
import functools
import quopri
import random
from dataclasses import dataclass
from email.charset import QP, Charset
from email.header import Header
from urllib.parse import quote

_LATIN = "der die und nicht für große Straße über Käse être déjà garçon mañana niño coração the quick brown fox"
_CYRILLIC = "привет как дела сегодня письмо договор счёт оплата завтра встреча спасибо"
_JAPANESE = "こんにちは 請求書 お世話 に なって おります 会議 明日 添付 ファイル よろしく"
_CHINESE = "你好 合同 发票 明天 会议 附件 谢谢 公司 请 查收"
_KOREAN = "안녕하세요 회의 내일 첨부 파일 감사합니다 계약 청구서"

CHARSETS = {
    "us-ascii": "the quick brown fox jumps over a lazy dog and runs away from here to there",
    "utf-8": f"{_LATIN} {_CYRILLIC} {_JAPANESE} 😀",
    "iso-8859-1": _LATIN,
    "windows-1252": f"{_LATIN} „so“ €…",
    "windows-1251": _CYRILLIC,
    "koi8-r": _CYRILLIC,
    "shift_jis": _JAPANESE,
    "iso-2022-jp": _JAPANESE,
    "gb2312": _CHINESE,
    "euc-kr": _KOREAN,
}
"""Charsets, and words that they can encode."""

_NOISE = random.Random(7).randbytes(1_000_000)
_SMALL = 40_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A part: header lines, and encoded content that ends where the next delimiter's line break begins."""

    head: str
    content: bytes

    def bytes(self) -> bytes:
        return self.head.encode() + b"\n" + self.content


def sample(source: random.Random, size: int = 3_000) -> bytes:
    """Return a message of about `size` bytes: text, mostly with HTML, and attachments in larger messages."""
    charset = source.choice(["us-ascii", *["utf-8"] * 4, *CHARSETS])
    remaining = size if size < _SMALL and source.random() < 0.7 else min(size // 4, 12_000)
    text = _text(source, charset, remaining if source.random() < 0.3 else remaining // 4)
    body = text
    if len(text.content) <= remaining // 2:
        body = multipart(source, "alternative", [text, _html(source, charset, max(remaining - len(text.content), 200))])
    remaining_size = size - len(body.content)
    if remaining_size > size // 4:
        attached = [
            _attachment(source, remaining_size // count) for count in [source.randint(1, 3)] for _ in range(count)
        ]
        body = multipart(source, "mixed", [body, *attached])
    mail = (_headers(source, charset) + body.head).encode() + b"\n" + body.content
    return mail if source.random() < 0.1 else mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def multipart(source: random.Random, kind: str, parts: list[Piece]) -> Piece:
    """Return a multipart with these parts."""
    boundary = f"{source.choice(['--=_', '', '=_Part_', 'b', '0000'])}{source.randrange(10**9)}"
    delimiter = f"\n--{boundary}\n".encode()
    inner = delimiter.join([source.choice([b"", b"a preamble\n"]), *(part.bytes() for part in parts)])
    return Piece(
        f'Content-Type: multipart/{kind};\n\tboundary="{boundary}"\n', inner + b"\n--" + boundary.encode() + b"--\n"
    )


def _headers(source: random.Random, charset: str) -> str:
    number = source.randrange(10**12)
    received = "".join(
        f"Received: from out{n}.example.net (out{n}.example.net [192.0.2.{n}])\n"
        f"\tby mx.example.com with ESMTPS id {number};\n\tMon, 23 Nov 2026 09:00:{n:02} +0000\n"
        for n in range(source.randint(1, 6))
    )
    signature = base64.b64encode(source.randbytes(180)).decode()
    people = [
        f"{_word(source, charset)} <user{source.randrange(1000)}@example.com>" for _ in range(source.randint(1, 5))
    ]
    return (
        f"Return-Path: <sender{number}@example.net>\n{received}"
        f"DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=s1;\n\th=from:to:subject;\n\tb={signature[:60]}\n\t"
        f" {signature[60:]}\n"
        f"Authentication-Results: mx.example.com; dkim=pass header.d=example.net; spf=pass\n"
        f"From: {_word(source, charset)} <sender{number}@example.net>\n"
        f"To: {(',' + chr(10) + ' ').join(people)}\n"
        f"Subject: {_word(source, charset, source.randint(2, 12))}\n"
        f"Date: Mon, 23 Nov 2026 10:{number % 60:02}:00 +0100\nMessage-ID: <{number}@example.net>\n"
        f"References: <{number - 1}@example.net>\n\t<{number - 2}@example.net>\n"
        f"In-Reply-To: <{number - 1}@example.net>\n"
        f"X-Mailer: Sample {number % 9}\nMIME-Version: 1.0\n"
    )


def _word(source: random.Random, charset: str, count: int = 2) -> str:
    """Return words for a header, encoded if necessary."""
    words = " ".join(source.choices(CHARSETS[charset].split(), k=count))
    if words.isascii():
        return words
    named = Charset(charset)
    if source.random() < 0.5 and charset != "iso-2022-jp":
        named.header_encoding = QP
    return Header(words, named, maxlinelen=70).encode()


@functools.cache
def _lines(charset: str, seed: int) -> str:
    """Return about twenty kilobytes of text."""
    source = random.Random(seed)
    words = CHARSETS[charset].split()
    return "\n".join(" ".join(source.choices(words, k=source.randint(0, 12))) for _ in range(300)) + "\n"


def _written(source: random.Random, kind: str, charset: str, text: str) -> Piece:
    """Return text as a part in a suitable transfer encoding."""
    data = text.encode(charset, "replace")
    encoding = source.choice(["8bit", "quoted-printable", "base64", "quoted-printable"])
    if charset in {"us-ascii", "iso-2022-jp"}:
        encoding = "7bit"
    if encoding == "base64":
        data = base64.encodebytes(data)
    elif encoding == "quoted-printable":
        data = quopri.encodestring(data)
    if kind == "text/plain" and source.random() < 0.2:
        kind += "; format=flowed"
    return Piece(f"Content-Type: {kind}; charset={charset}\nContent-Transfer-Encoding: {encoding}\n", data)


def _text(source: random.Random, charset: str, size: int) -> Piece:
    return _written(source, "text/plain", charset, _cut(charset, source.randrange(8), size))


def _html(source: random.Random, charset: str, size: int) -> Piece:
    style = "font-family:sans-serif;color:#333333;margin:0 0 12px 0"
    rows = [
        f'<tr><td style="{style}" class="x"><p>{line}</p></td><td><a href="https://example.com/{n}?a=1&amp;b">{n}</a></td></tr>'
        for n, line in enumerate(_cut(charset, source.randrange(8), size // 3).split("\n"))
    ]
    page = (
        "<html><head><style>p{margin:0}</style></head><body><table>\n" + "\n".join(rows) + "\n</table></body></html>\n"
    )
    return _written(source, "text/html", charset, page)


def _cut(charset: str, seed: int, size: int) -> str:
    lines = _lines(charset, seed)
    return (lines * (size // len(lines) + 1))[: max(size, 20)]


def _attachment(source: random.Random, size: int) -> Piece:
    """Return a file in base64, occasionally a message or a calendar."""
    start = source.randrange(500_000)
    share = source.random()
    if share < 0.04 and size < _SMALL:
        return Piece("Content-Type: message/rfc822\nContent-Disposition: attachment\n", sample(source, max(size, 500)))
    if share < 0.08:
        event = "BEGIN:VCALENDAR\nMETHOD:REQUEST\nEND:VCALENDAR\n"
        return Piece('Content-Type: text/calendar; charset=utf-8; method="REQUEST"\n', event.encode())
    need = size * 57 // 78
    data = (_NOISE[start:] + _NOISE * (need // len(_NOISE) + 1))[:need]
    word = _word(source, "utf-8", 1)
    plain = source.choice(CHARSETS["utf-8"].split())
    name = source.choice(
        [f'filename="file-{start}.pdf"', f"filename*=utf-8''{quote(plain)}.pdf", f'filename="{word}.pdf"']
    )
    disposition = f"Content-Disposition: attachment; {name}\n"
    if source.random() < 0.2:
        disposition = f"Content-ID: <{start}@example.net>\nContent-Disposition: inline; {name}\n"
    kind = source.choice(["application/pdf", "image/png", "application/octet-stream", "image/jpeg"])
    return Piece(f"Content-Type: {kind}\n{disposition}Content-Transfer-Encoding: base64\n", base64.encodebytes(data))
