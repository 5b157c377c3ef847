"""Mail that is made to cost time, memory or storage: a growing collection of kinds, each of any size.

A kind is a small function from a size in bytes to a message of about that size. Add new kinds here:
`test_hostile_kinds.py` and `test_hostile_stored.py` check all kinds against the same limits.
"""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Callable, Iterator
from itertools import accumulate, count, islice, takewhile
from typing import Final

Kind = Callable[[int], bytes]

HEAD: Final = b"From: a@b.example\nTo: support@example.com\nDate: Mon, 23 Nov 2026 10:00:00 +0000\nSubject: s\n"
MIXED: Final = HEAD + b"Content-Type: multipart/mixed; boundary=b\n"


def repeated(unit: bytes, before: bytes = b"", after: bytes = b"") -> Kind:
    """Return a kind: repetitions of the same bytes."""
    return lambda size: before + unit * max(1, (size - len(before) - len(after)) // len(unit)) + after


def numbered(unit: str, before: bytes = b"", after: bytes = b"", *, joint: bytes = b"") -> Kind:
    """Return a kind: a text with a different number (`%d`) in each repetition."""

    def build(size: int) -> bytes:
        remaining = size - len(before) - len(after)
        units = (unit.replace("%d", str(number)).encode() for number in count())
        return before + joint.join(_within(units, remaining, len(joint))) + after

    return build


def _within(units: Iterator[bytes], remaining: int, joint: int) -> list[bytes]:
    kept = []
    for unit in units:
        remaining -= len(unit) + joint
        if remaining < 0:
            break
        kept.append(unit)
    return kept


def header(name: str, unit: bytes, before: bytes = b"", after: bytes = b"") -> Kind:
    """Return a kind: one field that is as long as the message."""
    rest = b"" if name in {"From", "To"} else HEAD
    return repeated(unit, rest + name.encode() + b": " + before, after + b"\n\ntext\n")


def fields(unit: bytes) -> Kind:
    """Return a kind: many fields."""
    return repeated(unit, HEAD, b"\ntext\n")


def each(name: str, unit: str, joint: bytes = b", ") -> Kind:
    """Return a kind: one field of distinct entries."""
    rest = b"" if name in {"From", "To"} else HEAD
    return numbered(unit, rest + name.encode() + b": ", b"\n\ntext\n", joint=joint)


def text(unit: bytes, kind: bytes = b"text/plain", encoding: bytes = b"8bit") -> Kind:
    """Return a kind: a body that repeats itself."""
    return repeated(unit, HEAD + b"Content-Type: " + kind + b"\nContent-Transfer-Encoding: " + encoding + b"\n\n")


def page(unit: bytes, before: bytes = b"", after: bytes = b"") -> Kind:
    """Return a kind: HTML that repeats itself."""
    return repeated(unit, HEAD + b"Content-Type: text/html; charset=utf-8\n\n" + before, after)


def parts(unit: bytes, before: bytes = b"") -> Kind:
    """Return a kind: a multipart with repetitions of a part."""
    return repeated(unit, MIXED + b"\n" + before, b"\n--b--\n")


def deep(unit: str, end: str = "") -> Kind:
    """Return a kind: as many levels as fit; `%d` is the level."""

    def build(size: int) -> bytes:
        levels = _within((unit.replace("%d", str(level)).encode() for level in count()), size - len(HEAD), len(end))
        ends = (end.replace("%d", str(level)).encode() for level in reversed(range(len(levels) if end else 0)))
        return HEAD + b"".join(levels) + b"text\n" + b"".join(ends)

    return build


def levels(number: int, unit: str, filling: bytes) -> Kind:
    """Return a kind: some levels, with repetitions in the innermost level."""
    return repeated(filling, HEAD + "".join(unit.replace("%d", str(level)) for level in range(number)).encode())


def encoded(unit: bytes, before: bytes = b"", kind: bytes = b"application/ms-tnef") -> Kind:
    """Return a kind: an attachment in base64 that repeats itself."""

    def build(size: int) -> bytes:
        content = repeated(unit, before)(size * 3 // 4)
        name = b"; name=winmail.dat\nContent-Disposition: attachment\nContent-Transfer-Encoding: base64\n\n"
        return HEAD + b"Content-Type: " + kind + name + base64.encodebytes(content)

    return build


def reported(
    unit: bytes, before: bytes = b"Reporting-MTA: dns; mx.b.example\n", kind: bytes = b"delivery-status"
) -> Kind:
    """Return a kind: a report that repeats itself."""
    head = HEAD + b"Content-Type: multipart/report; report-type=" + kind + b"; boundary=b\n\n--b\n\nSorry.\n--b\n"
    return repeated(unit, head + b"Content-Type: message/" + kind + b"\n\n" + before, b"\n--b--\n")


def tnef(tag: int, content: bytes, *, level: int = 1, length: int | None = None) -> bytes:
    """Return an attribute of TNEF (MS-OXTNEF 2.1.3.2): level, tag, length, content, checksum."""
    size = len(content) if length is None else length
    return struct.pack("<BII", level, tag, size) + content + struct.pack("<H", sum(content) & 0xFFFF)


TNEF: Final = struct.pack("<IH", 0x223E9F78, 1)
PROPERTIES: Final = 0x00069003
RENDERING, TITLE, DATA, ATTACHMENT_PROPERTIES = 0x00069002, 0x00018010, 0x0006800F, 0x00069005
RTF: Final = struct.pack("<IIII", 0xFFFFFF, 0xFFFFFFF, 0x75465A4C, 0)
"""The head of compressed RTF (MS-OXRTFCP 2.1.3.1) that claims to become 256 MB."""


def _rtf(unit: bytes, size: int, before: bytes) -> bytes:
    """Return compressed RTF of `size` bytes: a few characters, and references to them (MS-OXRTFCP 2.2.1.2)."""
    plain = (before + unit * 32)[:32]  # four control bytes, each with eight literals
    filled = 207 + len(plain)  # the dictionary begins with 207 bytes
    runs = (struct.pack(">H", (filled + 17 * number - len(unit)) % 4096 << 4 | 15) for number in count())
    literals = b"".join(b"\0" + plain[position : position + 8] for position in range(0, len(plain), 8))
    references = b"".join(b"\xff" + b"".join(islice(runs, 8)) for _ in range((size - len(literals)) // 17))
    content = literals + references
    return struct.pack("<IIII", len(content) + 12, 0xFFFFFFF, 0x75465A4C, 0) + content


def rich(unit: bytes, number: int = 1, before: bytes = rb"{\rtf1 ") -> Kind:
    """Return a kind: TNEF with compressed text that repeats itself; optionally several in sequence."""

    def build(size: int) -> bytes:
        text = _rtf(unit, size // number * 72 // 100, before)
        properties = struct.pack("<IHHII", 1, 0x0102, 0x1009, 1, len(text)) + text + b"\0" * (-len(text) % 4)
        part = b"--b\nContent-Type: application/ms-tnef\nContent-Transfer-Encoding: base64\n\n"
        return MIXED + b"\n" + (part + base64.encodebytes(TNEF + tnef(PROPERTIES, properties))) * number + b"--b--\n"

    return build


_TOKENS: Final = (
    b"\n", b"\n\n", b"--b\n", b"--b--\n", b":", b";", b",", b"<", b">", b"@", b'"', b"(", b")", b"=?utf-8?q?", b"?=",
    b"=", b" ", b"\xff", b"To: ", b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: text/html\n", b"<p>",
    b"Content-Transfer-Encoding: base64\n", b"&amp;", b"begin 644 a\n",
)  # fmt: skip


def _noise(size: int) -> bytes:
    choices = random.Random(3).choices(_TOKENS, k=size // 2)
    sizes = accumulate(map(len, choices))
    return b"".join(choices[: sum(1 for _ in takewhile(lambda total: total <= size, sizes))])


def _long_names(size: int) -> bytes:
    """Return pairs of names of 120 bytes that differ only in the last character, which a number replaces."""
    unit = "--b\nContent-Type: a/b; name=" + "x" * 117 + "%s\n\n\n"
    pairs = (2 * (unit % chr(0x4E00 + number)) for number in range(size // 2 // len(unit.encode())))
    return MIXED + b"\n" + "".join(pairs).encode() + b"--b--\n"


PLUS = "support+%d@example.com"
ADDRESSES: Final[dict[str, Kind]] = {
    "parentheses": header("From", b"("),
    "closing parentheses": header("From", b")"),
    "nested comments": header("From", b"(a)", b"postmaster "),
    "postmaster and open comments": header("From", b"(<", b"postmaster "),
    "postmaster and comments in angles": header("From", b"(<)", b"postmaster "),
    "escaped quotes": header("From", b'"\\'),
    "quotes": header("From", b'"'),
    "backslashes": header("From", b"\\"),
    "angles": header("From", b"<"),
    "closing angles": header("From", b">"),
    "angles in names": header("From", b"a <"),
    "empty angles": header("To", b"<>"),
    "routes": header("To", b"<@,"),
    "routes with colons": header("To", b"@a.example,", b"<", b":x@b.example>"),
    "late colons": header("To", b":", b"a a a a @"),
    "groups": header("To", b"g:a@b.example;"),
    "open groups": header("To", b"g:"),
    "semicolons": header("To", b";"),
    "commas": header("To", b","),
    "at signs": header("To", b"@"),
    "dots": header("To", b".", b"a", b"@b.example"),
    "encoded words in a name": header("To", b"=?a?q?b?= "),
    "encoded words cut off": header("From", b"=?a?q?b"),
    "spaces in a name": header("To", b" ", b'"a', b"<"),
    "words without an address": header("To", b"a "),
    "a name of the whole size": header("From", b"n", b"", b" <a@b.example>"),
    "a local part of the whole size": header("From", b"n", b"", b"@b.example"),
    "a domain of the whole size": header("From", b"n.", b"a@", b"example"),
    "domain literals": header("To", b"a@[", b"", b"]"),
    "many domain literals": each("To", "a@[127.0.0.%d]"),
    "quoted local parts": each("To", '"a b%d"@example.com'),
    "distinct addresses": each("To", "u%d@example.com"),
    "distinct addresses in Cc": each("Cc", "u%d@example.com"),
    "distinct addresses in From": each("From", "u%d@example.com"),
    "distinct addresses in Reply-To": each("Reply-To", "u%d@example.com"),
    "plus addresses": each("To", PLUS),
    "plus addresses without spaces": each("To", PLUS, b","),
    "plus addresses with names": each("To", '"Name %d" <support+%d@example.com>'),
    "plus addresses in many fields": numbered(f"To: {PLUS}\n", HEAD, b"\ntext\n"),
    "short addresses": header("To", b"a@b,"),
    "the same address": header("To", b"support@example.com, "),
    "distinct domains": each("To", "a@d%d.example"),
    "distinct international domains": each("To", "a@d\u00fc%d.example"),
    "distinct international domains in From": each("From", "a@\u4f60%d.example"),
    "distinct international domains in angles": each("To", "n <a@\u0645\u062b\u0627\u0644%d.example>"),
    "international labels": header("To", b"a@" + "\u00fc.".encode() * 60 + b"example, "),
    "long international labels": each("To", "a@" + "\u00fc" * 50 + "%d.example"),
    "encoded domains": each("To", "a@xn--d%d-tna.example"),
    "wrong encoded domains": each("To", "a@xn--%d.xn--99999999999.example"),
    "invisible characters in addresses": header("To", "\u200b".encode(), b"a@b.example"),
    "combining characters in addresses": header("To", "\u0301".encode(), b"a@b.example"),
    "addresses in encoded words": each("To", "=?utf-8?q?a%d=40b.example?="),
    "lists in encoded words": header("To", b"=?utf-8?b?YUBiLmV4YW1wbGUsIA==?= "),
    "invalid addresses": each("To", "not an address %d"),
    "comments between tokens": header("To", b"a(c)@(c)b(c).(c)example(c),"),
}

FIELDS: Final[dict[str, Kind]] = {
    "one long field": header("X", b"y"),
    "a subject of the whole size": header("Subject", b"subject "),
    "a subject of quotes": header("Subject", b'"'),
    "a subject of controls": header("Subject", b"\x01"),
    "a subject in another charset": header("Subject", b"\xe9"),
    "short fields": fields(b"a:\n"),
    "fields of two letters": fields(b"ab:cd\n"),
    "two-letter fields without a value": fields(b"ab:\n"),
    "fields without a name": fields(b":\n"),
    "fields with a value": fields(b"X-Field: value\n"),
    "distinct fields": numbered("X-%d: v\n", HEAD, b"\ntext\n"),
    "lines without a colon": fields(b"junk\n"),
    "folds": header("X", b"\n\t"),
    "folds with text": header("X", b"\n a"),
    "folds in Subject": header("Subject", b"\n a"),
    "folds in To": header("To", b"\n u@example.com,"),
    "bare carriage returns": fields(b"a: b\r"),
    "carriage returns in a field": header("X", b"\r"),
    "spaces before the colon": repeated(b" ", HEAD + b"X", b": y\n\ntext\n"),
    "many subjects": fields(b"Subject: s\n"),
    "many Message-IDs": numbered("Message-ID: <%d@b.example>\n", HEAD, b"\ntext\n"),
    "a Message-ID of the whole size": header("Message-ID", b"i", b"<", b"@b.example>"),
    "many dates": fields(b"Date: Mon, 23 Nov 2026 10:00:00 +0000\n"),
    "many Received": fields(b"Received: from a by b for <x@example.com>; Mon, 23 Nov 2026 10:00:00 +0000\n"),
    "a Received of the whole size": header("Received", b"for <x@example.com> "),
    "comments in Received": header("Received", b"("),
    "many Delivered-To": repeated(b"Delivered-To: x@example.com\n", b"", HEAD + b"\ntext\n"),
    "distinct X-Original-To": numbered("X-Original-To: support+%d@example.com\n", b"", b"From: a@b.example\n\ntext\n"),
    "many Return-Path": fields(b"Return-Path: <>\n"),
    "many Authentication-Results": fields(b"Authentication-Results: mx.example; dmarc=pass header.from=b.example\n"),
    "an Authentication-Results of the whole size": header("Authentication-Results", b"; dmarc=pass (c)"),
    "many Auto-Submitted": fields(b"Auto-Submitted: auto-replied; x=y\n"),
    "an Auto-Submitted of the whole size": header("Auto-Submitted", b";a=b", b"auto-replied"),
    "many list fields": fields(b"List-Id: <l.example>\n"),
    "many X-Priority": fields(b"X-Priority: 1\n"),
    "digits in X-Priority": header("X-Priority", b"1"),
    "spaces in Importance": header("Importance", b" "),
    "many Content-Type": fields(b"Content-Type: text/plain; charset=utf-8\n"),
    "out of office subjects": header("Subject", b"Out of Office: "),
    "nothing but line feeds": repeated(b"\n"),
    "nothing but carriage returns": repeated(b"\r"),
    "nothing but spaces": repeated(b" "),
    "nothing but NULs": repeated(b"\0"),
    "nothing but colons": repeated(b":"),
    "From lines": repeated(b"From a@b.example Mon Nov 23 10:00:00 2026\n", b"", HEAD + b"\ntext\n"),
}

WORDS: Final[dict[str, Kind]] = {
    "encoded words": header("Subject", b"=?utf-8?q?=41?= "),
    "encoded words without spaces": header("Subject", b"=?utf-8?q?=41?="),
    "open words": header("Subject", b"=?a?q?"),
    "beginnings of words": header("Subject", b"=?"),
    "question marks": header("Subject", b"?", b"=", b"="),
    "one long word": header("Subject", b"=41", b"=?utf-8?q?", b"?="),
    "one long word in base64": header("Subject", b"QUFB", b"=?utf-8?b?", b"?="),
    "words with wrong base64": header("Subject", b"=?utf-8?b?Q?= "),
    "words with half characters": header("Subject", b"=?utf-8?b?w?= =?utf-8?q?=A9?= "),
    "words in UTF-7": header("Subject", b"=?utf-7?q?+AGEA?= "),
    "words in ISO-2022-JP": header("Subject", b"=?iso-2022-jp?b?GyRCJDM=?= "),
    "words in UTF-16": header("Subject", b"=?utf-16?b?2AA=?= "),
    "words with a language": header("Subject", b"=?utf-8*en?q?a?= "),
    "words in unknown charsets": numbered("=?x%d?q?=ff?= ", HEAD + b"Subject: ", b"\n\ntext\n"),
    "words in many fields": fields(b"X: =?utf-8?q?=c3=bc?=\n"),
    "words in names": header("To", b"=?utf-8?q?=c3=bc?= <u@example.com>, "),
    "words in comments": header("To", b"(=?utf-8?q?=c3=bc?=) "),
    "underscores in words": header("Subject", b"_", b"=?utf-8?q?", b"?="),
}

PARAMETERS: Final[dict[str, Kind]] = {
    "parameters": header("Content-Type", b';a="\\"', b"text/plain"),
    "parameters of one name": header("Content-Type", b";a=b", b"text/plain"),
    "distinct parameters": numbered(";a%d=b", HEAD + b"Content-Type: text/plain", b"\n\ntext\n"),
    "sections of many names": numbered(";a%d*0=b", HEAD + b"Content-Type: text/plain", b"\n\ntext\n"),
    "sections of one name": numbered(";name*%d=b", HEAD + b"Content-Type: a/b", b"\n\ntext\n"),
    "encoded sections": numbered(";name*%d*=%C3%BC", HEAD + b"Content-Type: a/b", b"\n\ntext\n"),
    "sections with huge numbers": numbered(";name*99999999999%d=b", HEAD + b"Content-Type: a/b", b"\n\ntext\n"),
    "digits in a section": header("Content-Type", b"9", b"a/b;name*", b"=b"),
    "the same section": header("Content-Type", b";name*0=b", b"a/b"),
    "percent signs": header("Content-Type", b"%", b"a/b;name*=utf-8''"),
    "percent escapes": header("Content-Type", b"%41", b"a/b;name*=utf-8''"),
    "a file name of the whole size": header("Content-Disposition", b"n", b"attachment; filename=", b".pdf"),
    "a file name of dots": header("Content-Disposition", b".", b"attachment; filename="),
    "a file name of words": header("Content-Disposition", b"=?utf-8?q?a?= ", b'attachment; filename="', b'"'),
    "an open quote": header("Content-Type", b"a ", b'text/plain; name="'),
    "semicolons in parameters": header("Content-Type", b";", b"text/plain"),
    "equals signs in parameters": header("Content-Type", b"=", b"text/plain;a"),
    "comments in Content-Type": header("Content-Type", b"(", b"text/plain"),
    "slashes in Content-Type": header("Content-Type", b"/"),
    "a boundary of the whole size": header("Content-Type", b"b", b"multipart/mixed; boundary="),
    "a charset of the whole size": header("Content-Type", b"c", b"text/plain; charset="),
}

STRUCTURE: Final[dict[str, Kind]] = {
    "delimiters": parts(b"--b\n"),
    "delimiters with fields": parts(b"--b\nA: b\n"),
    "delimiters and spaces": parts(b"--b      \n"),
    "delimiters and tails": parts(b"--bc\n", b"--b\n\n"),
    "closing delimiters": parts(b"--b--\n"),
    "dashes": parts(b"--\n", b"--b\n\n"),
    "dashes without lines": parts(b"-", b"--b\n\n"),
    "texts": parts(b"--b\nContent-Type: text/plain\n\nx\n"),
    "texts in unknown charsets": parts(b"--b\nContent-Type: text/plain; charset=zz\n\n\xff\n"),
    "pages": parts(b"--b\nContent-Type: text/html\n\n<p>x\n"),
    "empty attachments": parts(b"--b\nContent-Type: a/b\nContent-Disposition: attachment\n\n\n"),
    "attachments without a type": parts(b"--b\nContent-Disposition: attachment\n\nx\n"),
    "attachments of one name": parts(b"--b\nContent-Type: a/b; name=x\n\nx\n"),
    "attachments with long names": parts(b"--b\nContent-Type: a/b; name=" + b"x" * 240 + b"\n\nx\n"),
    "attachments with a name each": numbered("--b\nContent-Type: a/b; name=n%d\n\nx\n", MIXED + b"\n", b"--b--\n"),
    "attachments with long names that end alike": _long_names,
    "inline images": parts(b"--b\nContent-Type: image/png\nContent-ID: <i@b.example>\n\nx\n"),
    "parts with words in names": parts(b'--b\nContent-Type: a/b; name="=?utf-8?q?=c3=bc?="\n\nx\n'),
    "parts in base64": parts(b"--b\nContent-Transfer-Encoding: base64\n\nQQ==\n"),
    "parts of fields alone": parts(b"--b\nX: y\nX: y\nX: y\n"),
    "a part of fields": parts(b"X-Field: value\n", b"--b\n"),
    "a part of short fields": parts(b"a:\n", b"--b\n"),
    "25 parts of fields": lambda size: MIXED + b"\n" + (b"--b\n" + b"X: y\n" * (size // 25 // 5) + b"\nx\n") * 25,
    "nested multiparts": deep("Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", "\n--b%d--\n"),
    "nested multiparts without an end": deep("Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n"),
    "nested multiparts without an empty line": levels(
        100, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", b"--\n"
    ),
    "nested multiparts without an empty line, and fields": levels(
        100, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", b"a: b\n--\n"
    ),
    "nested multiparts and the outer delimiter": levels(
        100, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", b"--b1\n\nx\n"
    ),
    "nested multiparts and other delimiters": levels(
        500, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", b"--q\n"
    ),
    "nested multiparts of one boundary": deep("Content-Type: multipart/mixed; boundary=b\n\n--b\n"),
    "boundaries that begin alike": deep(
        "Content-Type: multipart/mixed; boundary=" + "b" * 60 + "%d\n\n--" + "b" * 60 + "%d\n"
    ),
    "nested messages": deep("Content-Type: message/rfc822\n\n"),
    "nested messages in parts": deep(
        "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\nContent-Type: message/rfc822\n\n"
    ),
    "attached messages": parts(b"--b\nContent-Type: message/rfc822\n\nSubject: s\n\nx\n"),
    "alternatives": repeated(
        b"--b\nContent-Type: text/plain\n\nx\n--b\nContent-Type: text/html\n\nx\n",
        HEAD + b"Content-Type: multipart/alternative; boundary=b\n\n",
    ),
    "nested alternatives": deep("Content-Type: multipart/alternative; boundary=b%d\n\n--b%d\n\nx\n--b%d\n"),
    "related parts": repeated(
        b"--b\nContent-Type: text/html\n\n<img src=cid:i>\n",
        HEAD + b"Content-Type: multipart/related; boundary=b\n\n",
    ),
    "a digest": repeated(b"--b\n\nSubject: s\n\nx\n", HEAD + b"Content-Type: multipart/digest; boundary=b\n\n"),
    "partial messages": parts(b"--b\nContent-Type: message/partial; id=i; number=1\n\nx\n"),
    "no boundary": repeated(b"--b\n\nx\n", HEAD + b"Content-Type: multipart/mixed\n\n"),
    "a preamble": parts(b"preamble\n"),
    "an epilogue": repeated(b"epilogue\n", MIXED + b"\n--b\n\nx\n--b--\n"),
}

ENCODINGS: Final[dict[str, Kind]] = {
    "base64 with ends": text(b"QQ==", encoding=b"base64"),
    "base64 runs": text(b"A=", encoding=b"base64"),
    "base64 of equals signs": text(b"=", encoding=b"base64"),
    "base64 a character a line": text(b"A\n", encoding=b"base64"),
    "base64 of spaces": text(b" ", encoding=b"base64"),
    "base64 of other characters": text(b"\xff", encoding=b"base64"),
    "base64 that is text": text(b"ordinary words, not base64.\n", encoding=b"base64"),
    "base64 of controls": text(b"AQEB", encoding=b"base64"),
    "quoted-printable breaks": text(b"= ", encoding=b"quoted-printable"),
    "quoted-printable soft breaks": text(b"=\n", encoding=b"quoted-printable"),
    "quoted-printable junk": text(b"=ZZ", encoding=b"quoted-printable"),
    "quoted-printable equals signs": text(b"=", encoding=b"quoted-printable"),
    "quoted-printable bytes": text(b"=E9", encoding=b"quoted-printable"),
    "quoted-printable spaces": text(b" ", encoding=b"quoted-printable"),
    "uuencoded junk": text(b"#\n", b"a/b", b"x-uuencode"),
    "uuencoded files in text": text(b"begin 644 a.txt\n#0V%T\n`\nend\n"),
    "beginnings of uuencoded files": text(b"begin 644 a.txt\n"),
    "uuencoded lines without an end": repeated(b"M" + b"!" * 60 + b"\n", HEAD + b"\nbegin 644 a\n"),
    "an unknown encoding": text(b"x\n", encoding=b"x-unknown"),
    "an encoding of the whole size": header("Content-Transfer-Encoding", b"b"),
    "noise": lambda size: HEAD + b"\n" + random.Random(1).randbytes(size),
    "noise as fields": lambda size: random.Random(2).randbytes(size),
    "noise of tokens": _noise,
}

CHARSETS: Final[dict[str, Kind]] = {
    "undeclared Latin": text(b"\xe9\xe8 a"),
    "undeclared bytes": text(b"\xff"),
    "wrong UTF-8": text(b"\xc3", b"text/plain; charset=utf-8"),
    "overlong UTF-8": text(b"\xc0\x80", b"text/plain; charset=utf-8"),
    "surrogates in UTF-8": text(b"\xed\xa0\x80", b"text/plain; charset=utf-8"),
    "half surrogates in UTF-16": text(b"\xd8\x00", b"text/plain; charset=utf-16be"),
    "UTF-16 that is ASCII": text(b"text", b"text/plain; charset=utf-16"),
    "UTF-32 out of range": text(b"\xff\xff\xff\xff", b"text/plain; charset=utf-32"),
    "UTF-7": text(b"+AGEA", b"text/plain; charset=utf-7"),
    "open shifts in UTF-7": text(b"+", b"text/plain; charset=utf-7"),
    "escapes of ISO-2022-JP": text(b"\x1b$B\x1b(B", b"text/plain; charset=iso-2022-jp"),
    "undeclared ISO-2022-JP": text(b"\x1b$B$3$s\x1b(B"),
    "ISO-2022-KR": text(b"\x1b$)C\x0e0!\x0f", b"text/plain; charset=iso-2022-kr"),
    "HZ": text(b"~{<:Ky~}", b"text/plain; charset=hz-gb-2312"),
    "half-width kana": text(b"\xb1", b"text/plain; charset=shift_jis"),
    "GB 18030": text(b"\x81\x30\x81\x30", b"text/plain; charset=gb18030"),
    "half characters of Big5": text(b"\xa4", b"text/plain; charset=big5"),
    "Thai": text(b"\xa1", b"text/plain; charset=tis-620"),
    "Thai pages": text(b"\xa1", b"text/html; charset=tis-620"),
    "euro signs": text(b"\x80", b"text/html; charset=windows-1252"),
    "an unknown charset": text(b"\xe9", b"text/plain; charset=x-unknown"),
    "a codec that is not a charset": text(b"\xe9", b"text/plain; charset=idna"),
    "NULs": text(b"\0"),
    "controls": text(b"\x01"),
    "controls in pages": text(b"\x01", b"text/html"),
    "escapes": text(b"\x1b"),
    "C1 controls": text("\u0085".encode(), b"text/plain; charset=utf-8"),
    "quotes in text": text(b'"'),
    "backslashes in text": text(b"\\"),
    "lines": text(b"\n"),
    "carriage returns": text(b"\r"),
    "flowed text": text(b"a \n", b"text/plain; format=flowed"),
    "flowed quotes": text(b">" * 200 + b" a \n", b"text/plain; format=flowed; delsp=yes"),
    "quote marks": text(b">", b"text/plain; format=flowed"),
    "stuffed spaces": text(b" \n", b"text/plain; format=flowed; delsp=yes"),
}

PAGES: Final[dict[str, Kind]] = {
    "unclosed elements": page(b"<div>"),
    "closing tags": page(b"</div>"),
    "formatting elements": page(b"<b><p>"),
    "misnested elements": page(b"<b><i></b></i>"),
    "unknown elements": page(b"<x-y>z"),
    "comments": page(b"<!-- x >"),
    "open comments": page(b"<!--"),
    "bogus comments": page(b"<?x>"),
    "doctypes": page(b"<!doctype html>"),
    "CDATA": page(b"<![CDATA["),
    "angles in pages": page(b"<"),
    "slashes in tags": page(b"<a/"),
    "ampersands": page(b"&"),
    "character references": page(b"&amp;"),
    "references without an end": page(b"&amp"),
    "references to two characters": page(b"&nGt;"),
    "long names of references": page(b"&CounterClockwiseContourIntegral"),
    "numbers of references": page(b"&#1;"),
    "a number of the whole size": page(b"9", b"&#"),
    "digits of references": page(b"&#99"),
    "no-break spaces": page(b"&nbsp;"),
    "titles": page(b"<title>"),
    "scripts": page(b"<script>"),
    "ends of scripts": page(b"</scrip", b"<script>"),
    "styles": page(b"<style>a{}"),
    "text areas": page(b"<textarea>"),
    "templates": page(b"<template>"),
    "selects": page(b"<select><option>x"),
    "frames": page(b"<iframe>"),
    "drawings": page(b"<svg><math>"),
    "quotes in tags": page(b'<a "'),
    "brackets in quotes": page(b'<a ">"'),
    "equals signs before quotes": page(b'<a ="x>'),
    "quotes in values": page(b'<a b=c"d=">'),
    "tags that never end": page(b'<a b="c" d', b"", b'>"'),
    "less-than signs in text": page(b"<1"),
    "less-than signs and references": page(b"< &amp;"),
    "spaces by twos": page(b"a  \n"),
    "mixed quotes": page(b"<a '\"><b \"'>"),
    "attributes": page(b"a=b ", b"<p "),
    "one attribute": page(b"a", b"<p title="),
    "distinct attributes": numbered("a%d ", HEAD + b"Content-Type: text/html\n\n<p ", b">"),
    "alternative texts": page(b"<img alt=x>"),
    "links": page(b"<a href=https://example.com/>x</a>"),
    "distinct links": numbered("<a href=https://e.example/%d>x</a>", HEAD + b"Content-Type: text/html\n\n"),
    "nested links": page(b"<a href=https://example.com/>"),
    "a long base": page(b"<a href=x>y</a>", b"<base href=https://example.com/" + b"b" * 1000 + b"/>"),
    "hidden elements": page(b"<p style=display:none>"),
    "declarations": page(b"a:b;", b"<p style='", b"'>x"),
    "lists": page(b"<ul><li>x"),
    "numbered lists": page(b"<ol start=999999999><li>x"),
    "definition lists": page(b"<dl><dt>x<dd>y"),
    "tables": page(b"<table><tr><td>"),
    "cells": page(b"<td>x", b"<table><tr>"),
    "rows": page(b"<tr>", b"<table>"),
    "preformatted text": page(b"<pre>\n x"),
    "quotations": page(b"<blockquote>x"),
    "line breaks": page(b"<br>"),
    "rules": page(b"<hr>"),
    "headings": page(b"<h1>x"),
    "NULs in pages": page(b"\0"),
    "spaces in pages": page(b" "),
    "soft hyphens": page("\u00ad".encode()),
}

ATTACHED: Final[dict[str, Kind]] = {
    "TNEF without content": encoded(b"\0", TNEF),
    "TNEF of junk": encoded(b"junk", TNEF),
    "TNEF of empty attributes": encoded(tnef(DATA, b"", level=2), TNEF),
    "TNEF of attachments": encoded(tnef(RENDERING, b"\0" * 14, level=2) + tnef(DATA, b"x", level=2), TNEF),
    "TNEF of titles": encoded(tnef(RENDERING, b"\0" * 14, level=2) + tnef(TITLE, b"a.txt\0", level=2), TNEF),
    "TNEF with a false length": encoded(tnef(DATA, b"", level=2, length=0xFFFFFFF), TNEF),
    "TNEF with a negative length": encoded(tnef(DATA, b"", level=2, length=0xFFFFFFFF), TNEF),
    "TNEF of many properties": encoded(tnef(PROPERTIES, struct.pack("<I", 0xFFFFFFF)), TNEF),
    "TNEF of one property list": encoded(
        struct.pack("<HHI", 0x0003, 0x0017, 1), TNEF + struct.pack("<BIII", 1, PROPERTIES, 0xFFFFFF, 0xFFFFFF)
    ),
    "TNEF of compressed text": encoded(
        tnef(PROPERTIES, struct.pack("<IHHII", 1, 0x0102, 0x1009, 1, 64) + RTF + b"\xff" * 48), TNEF
    ),
    "TNEF of compressed braces": rich(b"{}"),
    "TNEF of compressed groups": rich(b"a{"),
    "TNEF of compressed symbols": rich(rb"\~"),
    "TNEF of compressed words": rich(rb"\a"),
    "TNEF of compressed references": rich(rb"\'41"),
    "TNEF of a compressed page": rich(b"<hr>", before=rb"{\rtf1\fromhtml1 "),
    "many TNEFs of compressed braces": rich(b"{}", 8),
    "many TNEFs of compressed groups": rich(rb"{\*", 8),
    "TNEF in TNEF": encoded(tnef(ATTACHMENT_PROPERTIES, TNEF * 10, level=2), TNEF),
    "a calendar": encoded(b"BEGIN:VEVENT\n", b"BEGIN:VCALENDAR\n", b"text/calendar"),
    "recipients of a report": reported(b"\nFinal-Recipient: rfc822; x@b.example\nAction: failed\nStatus: 5.1.1\n"),
    "short recipients of a report": reported(b"\nFinal-Recipient:;x@b\n"),
    "blocks of a report": reported(b"\nA: b\n"),
    "fields of a report": reported(b"Final-Recipient: rfc822; x@b.example\n"),
    "empty lines of a report": reported(b"\n"),
    "a diagnosis of the whole size": reported(
        b"d", b"Reporting-MTA: a\n\nFinal-Recipient: rfc822; x@b.example\nDiagnostic-Code: smtp; "
    ),
    "comments in a report": reported(b"(", b"Reporting-MTA: dns; "),
    "codes in a report": reported(b"5.1.1 ", b"\nFinal-Recipient: rfc822; x@b.example\nStatus: "),
    "a read receipt": reported(b"Disposition: manual-action/MDN-sent; displayed\n", b"", b"disposition-notification"),
    "a complaint": reported(b"Original-Rcpt-To: x@b.example\n", b"Feedback-Type: abuse\n", b"feedback-report"),
    "many reports": parts(b"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: a\n\nFinal-Recipient: b\n"),
    "a bounce in words": text(b"550 5.1.1 <x@b.example>: user unknown\n"),
    "references": header("References", b"<a>"),
    "distinct references": numbered("<%d@b.example> ", HEAD + b"References: ", b"\n\ntext\n"),
    "open references": header("References", b"<"),
    "words in References": header("References", b"a@b "),
    "spaces in a reference": header("References", b" ", b"<a", b"@b.example>"),
    "distinct In-Reply-To": numbered("<%d@b.example>", HEAD + b"In-Reply-To: ", b"\n\ntext\n"),
    "comments in a date": header("Date", b" (", b"Mon, 1"),
    "digits in a date": header("Date", b"1"),
    "words in a date": header("Date", b"Mon "),
    "commas in a date": header("Date", b","),
    "colons in a date": header("Date", b"10:", b"1 Jan 2026 "),
    "zones in a date": header("Date", b" +0000", b"1 Jan 2026 10:00:00"),
    "spaces in a date": header("Date", b" ", b"1", b"Jan 2026 10:00:00 +0000"),
}

GROUPS: Final = (ADDRESSES, FIELDS, WORDS, PARAMETERS, STRUCTURE, ENCODINGS, CHARSETS, PAGES, ATTACHED)

KINDS: Final[dict[str, Kind]] = {name: kind for group in GROUPS for name, kind in group.items()}
"""All kinds by name."""
