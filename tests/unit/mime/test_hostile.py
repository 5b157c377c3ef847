"""Hostile and random mail: parsing never raises and never hangs (rule 7.6)."""

import json
import random
import tracemalloc
from collections.abc import Callable
from email.headerregistry import Address
from email.message import EmailMessage

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.documents.message_document import message_fields
from shared.mime.buffer import Buffer
from shared.mime.parser import Message, parse, read_message
from tests.cpu_time import within
from tests.sizes import size

MEGABYTE = 1_000_000
GUARD = 10  # seconds a megabyte, as `within` counts them; of a small message, a megabyte costs more


def fill(pattern: bytes, size: int = MEGABYTE // 2) -> bytes:
    return pattern * (size // len(pattern))


def body(header: bytes, content: bytes) -> bytes:
    return header + b"\n\n" + content


MIXED = b"Content-Type: multipart/mixed; boundary=b"
WITHOUT_EMPTY_LINES = b"Content-Type: multipart/mixed; boundary=b0\n\n" + b"".join(
    b"--b%d\nContent-Type: multipart/mixed; boundary=b%d\n" % (n, n + 1) for n in range(100)
)
WRONG_LEVELS = b"".join(b"Content-Type: multipart/mixed; boundary=q%d\n\n--z%d\n" % (n, n) for n in range(100))
LEVELS = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(500))

HOSTILE: dict[str, Callable[[], bytes]] = {
    "parentheses": lambda: b"From: " + fill(b"(", MEGABYTE),
    "escaped quotes": lambda: b"From: " + fill(b'"\\'),
    "angles": lambda: b"From: " + fill(b"<"),
    "routes": lambda: b"To: " + fill(b"<@,"),
    "empty angles": lambda: b"To: " + fill(b"<>"),
    "late colons": lambda: b"To: " + fill(b"a ") + b"@" + fill(b":"),
    "spaces in a name": lambda: b'To: "a' + fill(b" ") + b"<",
    "addresses": lambda: b"To: " + b",".join(b"u%d@e.c" % n for n in range(100_000)),
    "long domains": lambda: b"To: " + fill(("a@" + "ü." * 100 + "c,").encode()),
    "words": lambda: b"Subject: " + fill(b"=?utf-8?q?=41?= "),
    "open words": lambda: b"Subject: " + fill(b"=?a?q?"),
    "unknown charsets": lambda: b"Subject: " + b" ".join(b"=?x%d?q?=ff?=" % n for n in range(60_000)),
    "one long header": lambda: b"X: " + fill(b"y", 3 * MEGABYTE),
    "short headers": lambda: fill(b"a:\n"),
    "folds": lambda: b"a: b" + fill(b"\n\t"),
    "junk in a header": lambda: fill(b"junk\n") + b"To: a@b.example",
    "bare CR": lambda: b"A: b\r" + fill(b"c: d\r"),
    "parameters": lambda: b"Content-Type: text/plain" + fill(b';a="\\"'),
    "sections": lambda: b"Content-Type: text/plain" + b"".join(b";a%d*0=b" % n for n in range(90_000)),
    "dates": lambda: b"Date: Mon, 1" + fill(b" ("),
    "references": lambda: b"References: " + fill(b"<a>"),
    "delimiters": lambda: body(MIXED, fill(b"--b\n")),
    "100,000 delimiters with headers": lambda: body(MIXED, b"--b\nA: b\n" * 100_000),
    "closing delimiters": lambda: body(MIXED, fill(b"--b--\n")),
    "other delimiters": lambda: body(LEVELS, fill(b"--q\n")),
    "nesting of 500": lambda: body(LEVELS, fill(b"--b1\n\nx\n")),
    "one boundary for all": lambda: body(fill(MIXED + b"\n\n--b\n"), fill(b"--b--\n")),
    "nested headers and dashes": lambda: WITHOUT_EMPTY_LINES + fill(b"--\n"),
    "nested headers and fields of dashes": lambda: WITHOUT_EMPTY_LINES + fill(b"--x:\n"),
    "nested headers and lines of both": lambda: WITHOUT_EMPTY_LINES + fill(b"--q\nTo: x\n"),
    "nested headers and junk, small": lambda: WITHOUT_EMPTY_LINES + fill(b"junk\n", 64_000),
    "nested headers with CR": lambda: (WITHOUT_EMPTY_LINES + fill(b"--\n")).replace(b"\n", b"\r"),
    "headers of parts": lambda: body(MIXED, (b"--b\n" + b"X: y\n" * 14_000) * 8),
    "parameters of parts": lambda: body(MIXED, (b"--b\nContent-Type: a/b" + b";a=b" * 15_000 + b"\n\n") * 8),
    "unused boundaries": lambda: WRONG_LEVELS + fill(b"--\n"),
    "likenesses of a boundary": lambda: body(
        MIXED, (b"--b\nContent-Type: multipart/mixed; boundary=q\n\n" + b"--q1\n" * 99) * 800
    ),
    "multiparts with other boundaries": lambda: body(
        MIXED,
        b"".join(
            b"--b\nContent-Type: multipart/mixed; boundary=w\n\n--%d\n\n" % n
            + b"".join(b"--%d-%d\nA: b\n c\nContent-A: b\n" % (n, m) for m in range(40))
            for n in range(900)
        ),
    ),
    "multiparts without a boundary": lambda: body(
        MIXED, b"--b\nContent-Type: multipart\n\n" * 9_000 + fill(b"--x\nA: b\nContent-A: b\n", 200_000)
    ),
    "empty multiparts": lambda: body(
        MIXED, b"--b\nContent-Type: multipart/mixed; boundary=q\n\n" * 9_000 + fill(b" \n")
    ),
    "blank lines first": lambda: fill(b" \n"),
    "open quotes": lambda: b"Content-Type: text/plain;" + fill(b'name="b"x '),
    "quotes and colons": lambda: b"Content-Type: text/plain;" + fill(b'name="b":'),
    "folded quotes": lambda: b"Content-Type: text/plain;" + fill(b'"\n\t') + b'"',
    "parameters without indent": lambda: b"Content-Type: text/plain;\n" + fill(b'name="x:;\n'),
    "encoded structure": lambda: b"Content-Type: " + fill(b"=?a?q?b?= "),
    "equal signs": lambda: body(b"Content-Transfer-Encoding: quoted-printable", fill(b"=")),
    "footers": lambda: body(MIXED, b"--b\nContent-Transfer-Encoding: base64\n\nAAAA\n\nfoo bar, x\n" * 8_000),
    "one long footer": lambda: body(b"Content-Transfer-Encoding: base64", b"AAAA\n" + fill(b"a b,\n")),
    "a footer of runs": lambda: body(b"Content-Transfer-Encoding: base64", b"AAA=\n" + fill(b"a=b\n")),
    "words declared base64": lambda: body(MIXED, fill(b"--b\nContent-Transfer-Encoding: base64\n\nHello Kim\n")),
    "blank alternatives": lambda: body(
        MIXED.replace(b"mixed", b"alternative"), b"--b\n\n \n" * 9_000 + b"--b\nContent-Type: text/html\n\nx"
    ),
    "small texts": lambda: body(MIXED, fill(b"--b\nContent-Type: text/plain; charset=zz\n\n\xff\n")),
    "one name for all": lambda: body(MIXED, fill(b"--b\nContent-Type: a/b; name=x\n\nx\n")),
    "base64 runs": lambda: body(b"Content-Transfer-Encoding: base64", fill(b"A=")),
    "quoted-printable breaks": lambda: body(b"Content-Transfer-Encoding: quoted-printable", fill(b"= ")),
    "uuencoded junk": lambda: body(b"Content-Type: a/b\nContent-Transfer-Encoding: uue", b"begin 1 x\n" + fill(b"#\n")),
    "undeclared charset": lambda: body(b"X: y", fill(b"\xe9\xe8 a")),
    "wrong utf-8": lambda: body(b"Content-Type: text/plain; charset=utf-8", fill(b"\xc3")),
    "noise": lambda: random.Random(1).randbytes(MEGABYTE),
    "html number": lambda: body(b"Content-Type: text/html", b"&#" + fill(b"9")),
    "html attributes": lambda: body(b"Content-Type: text/html", b"<p " + b" ".join(b"a%d" % n for n in range(100_000))),
}  # fmt: skip

PAGES = {
    "unclosed": b"<div>", "formatting": b"<b><p>", "comments": b"<!-- x >", "open comments": b"<!--", "angles": b"<",
    "hidden": b"<title>", "quotes": b'<a "', "brackets in quotes": b'<a ">"', "mixed quotes": b"<a '\"><b \"'>",
    "digits": b"&#99", "attributes": b'alt="', "lists": b"<ul><li>x", "tables": b"<table><tr><td>", "pre": b"<pre>\n x",
}  # fmt: skip


def written(message: Message) -> str:
    """Return the stored form of a message, after checking that it can be stored."""
    text = json.dumps(message_fields(message), ensure_ascii=False)
    text.encode()
    assert repr(message)
    return text


@pytest.mark.parametrize("build", HOSTILE.values(), ids=HOSTILE)
def test_7_6_nothing_takes_long(build: Callable[[], bytes]) -> None:
    data = build()

    def read() -> Message:
        message = read_message(Buffer(data))
        written(message)
        return message

    assert within(GUARD * len(data) / MEGABYTE, read).size == len(data)


def test_7_6_headers_of_parts_are_not_kept() -> None:
    data = body(MIXED, (b"--b\nContent-Type: a/b; name=x\n" + b"X-Long: y\n" * 5_000 + b"\nx\n") * 20)
    tracemalloc.start()
    message = read_message(Buffer(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [attachment.name for attachment in message.attachments] == ["x"] * 20
    assert peak < 10 * MEGABYTE


@pytest.mark.parametrize("pattern", PAGES.values(), ids=PAGES)
def test_7_6_no_page_takes_long(pattern: bytes) -> None:
    data = body(b"Content-Type: text/html", fill(pattern))
    within(GUARD * len(data) / MEGABYTE, lambda: written(read_message(Buffer(data))))


def sample() -> bytes:
    """Return a message with many kinds of content."""
    mail = EmailMessage()
    mail["From"] = Address("Jörg Müller", "joerg", "example.com")
    mail["To"] = [Address("A, B", "a", "example.com"), Address("", "c d", "example.com")]
    mail["Cc"] = "Team: x@example.com, y@example.com;"
    mail["Subject"] = "Grüße aus Köln, " * 8
    mail["Date"] = "Mon, 23 Nov 2026 10:00:00 +0100"
    mail["Message-ID"] = "<1@example.com>"
    mail["References"] = "<0@example.com>"
    mail.set_content("Grüße\n" * 5)
    mail.add_alternative("<p>Grüße <img src='cid:i'></p>", subtype="html", charset="iso-8859-1")
    mail.add_attachment(b"\x00\x01" * 50, maintype="application", subtype="pdf", filename="Rechnung für Köln.pdf")
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("x", cte="base64")
    mail.add_attachment(inner)
    return mail.as_bytes()


SAMPLE = sample()
TOKENS = [
    b"\r\n", b"\n", b"\r", b"\n\n", b"--", b"\n--", b"\n--b\n", b":", b";", b",", b"<", b">", b"@", b'"', b"(", b")",
    b"\\", b"=?", b"?=", b"=?utf-8?q?=C3?=", b"*0*=", b"''", b"=", b"=\n", b" ", b"\0", b"\xff", b"\xc3",
    b"\xed\xa0\x80", b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: text/html\n", b"charset=utf-16",
    b"charset=utf-7", b"charset=idna", b"Content-Transfer-Encoding: base64\n",
    b"Content-Transfer-Encoding: x-uue\n", b"&#9",
    b"Date: 31 Feb 99999 25:61:61 +9999\n", b"X-Priority: 1\n",
    b"<!--",
]  # fmt: skip


def mutate(data: bytes, changes: list[tuple[int, float, float, int]]) -> bytes:
    for kind, where, how_far, token in changes:
        start = int(where * len(data))
        end = min(start + int(how_far * 60) + 1, len(data))
        middle = {
            0: b"",
            1: data[start:end] * 2,
            2: TOKENS[token % len(TOKENS)],
            3: bytes(byte ^ (1 << token % 8) for byte in data[start:end]),
            4: data[start:end] + TOKENS[token % len(TOKENS)],
        }[kind]
        data = data[:start] + middle + (b"" if kind == 0 and how_far > 0.98 else data[end:])  # sometimes truncated
    return data


CHANGES = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, 1), st.floats(0, 1), st.integers(0, 1000)), min_size=1, max_size=12
)
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RELAXED
@given(st.one_of(st.binary(), st.lists(st.sampled_from(TOKENS), max_size=60).map(b"".join)))
def test_7_6_any_bytes_are_read(data: bytes) -> None:
    message = read_message(Buffer(data))
    written(message)
    assert parse(memoryview(data)) == message


@settings(RELAXED, max_examples=size(60, soak=5_000))
@given(CHANGES)
def test_7_6_damaged_mail_is_read(changes: list[tuple[int, float, float, int]]) -> None:
    data = mutate(SAMPLE, changes)
    message = read_message(Buffer(data))
    written(message)
    for attachment in message.attachments:
        assert sum(map(len, attachment.chunks())) == attachment.size


def test_7_6_a_parser_error_loses_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("shared.mime.parser.parse_structure", fails)
    assert parse(b"To: a@b.example\n\n") == Message(size=17, defects=("the message could not be read: RuntimeError",))
