"""The nested parts of generated mail are read back byte for byte (rules 7.3 and 7.6)."""

import base64
import binascii
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.mime.html_text import html_to_text
from shared.mime.parser import parse
from tests.sizes import size
from tests.unit.mime.samples import CHARSETS, sample

# Prefixes and look-alikes of each other. None ends in `--`: next to `b`, `--b--` would be both.
BOUNDARIES = [
    "b", "bb", "bbb", "b-", "b-b", "-b", "--b", "b--b", "b b", "b_1", "b_10", "b_100", "=_b", "=_b=", "B", "'b'", "b:b",
    "----=_Part_1", "----=_Part_11", "----=_Part_1_", "0", "00", "x" * 70, "x" * 69,
]  # fmt: skip

Content = tuple[str, str, bytes]  # name, content type, content


@dataclass
class Built:
    """A part as bytes with LF line ends, and its expected contents."""

    data: bytes
    text: str | None = None
    html: str | None = None
    contents: list[Content] = field(default_factory=list)


def uuencoded(data: bytes) -> bytes:
    lines = [binascii.b2a_uu(data[position : position + 45]) for position in range(0, len(data), 45)]
    return b"".join([b"begin 644 x\n", *lines, b"`\nend"])


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.encodebytes,
    "BASE64": lambda data: base64.b64encode(data).rstrip(b"\n"),
    "quoted-printable": lambda data: binascii.b2a_qp(data, istext=False).replace(b"\r\n", b"\n"),
    "x-uuencode": uuencoded,
    "binary": lambda data: data,
}


def is_safe(data: bytes, line_end: bytes) -> bool:
    """Return whether no line of the data is a delimiter, and its end is not half a line break."""
    delimiters = {f"--{boundary}".encode() for boundary in BOUNDARIES}
    lines = [line.rstrip(b" \t\r") for line in data.split(b"\n")]
    plain = not any(line in delimiters or line.removesuffix(b"--") in delimiters for line in lines)
    return plain and (line_end == b"\r\n" or not data.endswith(b"\r"))


LOOK_ALIKES = st.sampled_from([*(f"--{b}{tail}".encode() for b in BOUNDARIES for tail in ("x", "-", "--x"))])
CONTENT = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(LOOK_ALIKES, st.binary(max_size=20)), max_size=6).map(b"\n".join),
)


class Builder:
    """A generator of random parts. Every multipart has its own boundary."""

    def __init__(self, draw: st.DrawFn, line_end: bytes) -> None:
        self.draw = draw
        self.line_end = line_end
        self.boundaries = draw(st.permutations(BOUNDARIES))
        self.names = 0

    def head(self, *lines: str) -> bytes:
        return b"".join(line.encode() + self.line_end for line in lines) + self.line_end

    def encoded(self, data: bytes, encoding: str) -> bytes:
        written = ENCODERS[encoding](data)
        return written if encoding == "binary" else written.replace(b"\n", self.line_end)

    def file(self) -> Built:
        self.names += 1
        name, kind = (
            f"file-{self.names}.bin",
            self.draw(st.sampled_from(["application/x-test", "text/plain", "image/png"])),
        )
        content = self.draw(CONTENT)
        encoding = self.draw(st.sampled_from(list(ENCODERS)))
        encoding = "base64" if encoding == "binary" and not is_safe(content, self.line_end) else encoding
        head = self.head(
            f"Content-Type: {kind}",
            f'Content-Disposition: attachment; filename="{name}"',
            f"Content-Transfer-Encoding: {encoding}",
        )
        return Built(head + self.encoded(content, encoding), contents=[(name, kind, content)])

    def message(self, depth: int) -> Built:
        """Return a message within a message, which is a single attachment."""
        inner = self.head("From: a@b.example") if self.draw(st.booleans()) else b"Subject: inner" + self.line_end
        inner += self.part(depth - 1).data if inner.startswith(b"Subject") else b"text"
        return Built(self.head("Content-Type: message/rfc822") + inner, contents=[("", "message/rfc822", inner)])

    def written(self, kind: str) -> tuple[bytes, str]:
        charset = self.draw(st.sampled_from(list(CHARSETS)))
        lines = st.lists(st.sampled_from(CHARSETS[charset].split()), max_size=5).map(" ".join)
        text = "\n".join(self.draw(st.lists(lines, min_size=1, max_size=5)))
        data = text.replace("\n", self.line_end.decode()).encode(charset)
        encoding = self.draw(st.sampled_from(["base64", "quoted-printable", "binary"]))
        encoding = "base64" if charset in {"us-ascii", "iso-2022-jp"} and encoding == "quoted-printable" else encoding
        body = self.encoded(data, encoding)
        return self.head(
            f"Content-Type: {kind}; charset={charset}", f"Content-Transfer-Encoding: {encoding}"
        ) + body, text

    def text(self) -> Built:
        data, text = self.written("text/plain")
        return Built(data, text=text)

    def alternative(self) -> Built:
        plain, text = self.written("text/plain")
        page, html = self.written("text/html")
        if not text.strip():
            text = html_to_text(html)  # RFC 2046 section 5.1.4: a blank alternative does not count
        related = self.multipart("related", [Built(page, html=html), self.file()]) if self.draw(st.booleans()) else None
        second = related or Built(page, html=html)
        return self.multipart("alternative", [Built(plain, text=text), second])

    def part(self, depth: int) -> Built:
        """Return any part that is not text of the message."""
        choice = self.draw(st.integers(0, 3 if depth > 0 else 0))
        if choice == 1:
            return self.message(depth)
        if choice >= 2 and len(self.boundaries) > 1:
            count = self.draw(st.integers(1, 3))
            kind = self.draw(st.sampled_from(["mixed", "x-odd", "report"]))
            return self.multipart(kind, [self.part(depth - 1) for _ in range(count)])
        return self.file()

    def multipart(self, kind: str, parts: list[Built]) -> Built:
        boundary = self.boundaries.pop()
        end, delimiter = self.line_end, self.line_end + b"--" + boundary.encode()
        preamble = self.draw(st.sampled_from([b"", b"preamble" + end]))
        padding = self.draw(st.sampled_from([b"", b" ", b"\t "]))
        inner = b"".join(delimiter + padding + end + part.data for part in parts)
        inner = inner if preamble else inner.removeprefix(end)
        head = self.head(f'Content-Type: multipart/{kind}; boundary="{boundary}"')
        return Built(
            head + preamble + inner + delimiter + b"--" + self.draw(st.sampled_from([b"", end, end + b"epilogue"])),
            text=next((part.text for part in parts if part.text is not None), None),
            html=next((part.html for part in parts if part.html is not None), None),
            contents=[entry for part in parts for entry in part.contents],
        )


@st.composite
def messages(draw: st.DrawFn) -> Built:
    builder = Builder(draw, draw(st.sampled_from([b"\n", b"\r\n"])))
    kind = draw(st.sampled_from(["text", "alternative", "other"]))
    first = {"text": builder.text, "alternative": builder.alternative}.get(kind, lambda: builder.part(1))()
    rest = [builder.part(2) for _ in range(draw(st.integers(0, 3)))]
    built = builder.multipart("mixed", [first, *rest]) if rest and builder.boundaries else first
    built.data = b"From: a@b.example" + builder.line_end + built.data
    return built


@settings(deadline=None, max_examples=size(60, soak=5_000))
@given(messages())
def test_7_3_nested_parts_are_read_back(built: Built) -> None:
    message = parse(built.data)
    assert message.defects == ()
    assert [(a.name, a.content_type, b"".join(a.chunks())) for a in message.attachments] == built.contents
    assert message.text == (built.text or "")
    assert message.html == built.html


def leaves(part: Message) -> Iterator[tuple[str, str | None]]:
    """Return type and digest of the parts with content by the standard library; a message is such a part."""
    kind, payload = part.get_content_type(), part.get_payload(decode=True)
    if kind != "message/rfc822" and part.is_multipart():
        for child in part.get_payload():
            assert isinstance(child, Message)
            yield from leaves(child)
    else:
        yield kind, hashlib.sha256(payload).hexdigest() if isinstance(payload, bytes) else None


def test_7_3_ordinary_mail_is_read_as_the_standard_library_does() -> None:
    source = random.Random(5)
    for _ in range(100):
        mail = sample(source, source.choice([800, 3_000, 10_000, 60_000]))
        message = parse(mail)
        contents = [
            (a.content_type, None if a.content_type == "message/rfc822" else a.sha256) for a in message.attachments
        ]
        expected = list(leaves(message_from_bytes(mail)))
        assert message.defects == ()
        assert contents == [
            leaf for n, leaf in enumerate(expected) if n > 1 or leaf[0] not in {"text/plain", "text/html"}
        ]
