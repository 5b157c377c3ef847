"""Parts, bodies and attachments."""

import base64
import hashlib
import mmap
from pathlib import Path

import pytest

from shared.mime.body_selection import MAX_TEXT
from shared.mime.multipart import MAX_DEPTH, MAX_HEADER, MAX_PARTS
from shared.mime.parser import Attachment, parse
from tests.unit.mime import tnef_samples


def content(attachment: Attachment) -> bytes:
    data = b"".join(attachment.chunks())
    assert len(data) == attachment.size
    assert hashlib.sha256(data).hexdigest() == attachment.sha256
    return data


def mixed(*parts: str, kind: str = "mixed", boundary: str = "b") -> str:
    inner = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f"Content-Type: multipart/{kind}; boundary={boundary}\n\n{inner}--{boundary}--\n"


PLAIN = "Content-Type: text/plain\n\nplain"
HTML = "Content-Type: text/html\n\n<p>html</p>"
PDF = 'Content-Type: application/pdf; name="x.pdf"\nContent-Transfer-Encoding: base64\n\ncGRm'
IMAGE = "Content-Type: image/png\nContent-ID: <i@x>\n\npng"

CHOICES: dict[str, tuple[str, str, str | None, list[str]]] = {
    "plain": (PLAIN, "plain", None, []),
    "no type": ("X: y\n\nplain", "plain", None, []),
    "html": (HTML, "html", "<p>html</p>", []),
    "only an attachment": (PDF, "", None, ["x.pdf"]),
    "alternative": (mixed(PLAIN, HTML, kind="alternative"), "plain", "<p>html</p>", []),
    "alternative with one": (mixed(HTML, kind="alternative"), "html", "<p>html</p>", []),
    "html first": (mixed(HTML, PLAIN, kind="alternative"), "plain", "<p>html</p>", []),
    "mixed": (mixed(PLAIN, PDF), "plain", None, ["x.pdf"]),
    "text around": (mixed(PLAIN, PDF, PLAIN), "plain\nplain", None, ["x.pdf"]),
    "html and a footer": (mixed(HTML, PLAIN), "html\nplain", "<p>html</p>", []),
    "related": (mixed(HTML, IMAGE, kind="related"), "html", "<p>html</p>", [""]),
    "related with more html": (mixed(HTML, HTML, kind="related"), "html", "<p>html</p>", [""]),
    "usual": (
        mixed(mixed(PLAIN, mixed(HTML, IMAGE, kind="related", boundary="r"), kind="alternative", boundary="a"), PDF),
        "plain",
        "<p>html</p>",
        ["", "x.pdf"],
    ),
    "html with an attachment in an alternative": (
        mixed(PLAIN, mixed(HTML, PDF, boundary="c"), kind="alternative"),
        "plain",
        "<p>html</p>",
        ["x.pdf"],
    ),
    "text as attachment": (
        mixed("Content-Disposition: attachment; filename=a.txt\n\na", PLAIN), "plain", None, ["a.txt"]
    ),
    "text as attachment alone": ("Content-Disposition: attachment\nContent-Type: text/html\n\na", "", None, [""]),
    "named first text": (mixed("Content-Type: text/plain; name=a.txt\n\na", PDF), "a", None, ["x.pdf"]),
    "named second text": (mixed(PLAIN, "Content-Type: text/plain; name=a.txt\n\na"), "plain", None, ["a.txt"]),
    "calendar": (mixed(PLAIN, "Content-Type: text/calendar\n\nBEGIN", kind="alternative"), "plain", None, [""]),
    "signed": (mixed(PLAIN, "Content-Type: application/pgp-signature\n\ns", kind="signed"), "plain", None, [""]),
    "digest": (mixed("\nSubject: inner\n\nx", kind="digest"), "", None, [""]),
    "message": (mixed(PLAIN, f"Content-Type: message/rfc822\n\n{mixed(HTML, PDF, boundary='i')}"), "plain", None, [""]),
    "bad type": ("Content-Type: text\n\nplain", "plain", None, []),
}  # fmt: skip


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize(("source", "text", "html", "names"), CHOICES.values(), ids=CHOICES)
def test_7_3_text_and_attachments(source: str, text: str, html: str | None, names: list[str], line_end: str) -> None:
    data = f"MIME-Version: 1.0\n{source}".replace("\n", line_end).encode()
    for message_bytes in (data, memoryview(b"xx" + data)[2:]):
        message = parse(message_bytes)
        assert message.text.rstrip("\n") == text
        assert message.html == html
        assert [attachment.name for attachment in message.attachments] == names
        assert [attachment.number for attachment in message.attachments] == list(range(1, len(names) + 1))


def test_7_5_attributes_of_attachments() -> None:
    parts = mixed(
        PDF,
        IMAGE,
        "Content-Disposition: inline; filename=c\nContent-Type: a/B\n\n",
        "Content-Type: message/rfc822\n\nX: y",
    )
    message = parse(parts.encode())
    pdf, image, other, inner = message.attachments
    assert (pdf.content_type, pdf.disposition, pdf.content_id, content(pdf)) == (
        "application/pdf",
        "attachment",
        None,
        b"pdf",
    )
    assert (image.content_type, image.disposition, image.content_id) == ("image/png", "inline", "i@x")
    assert (other.content_type, other.disposition, other.size) == ("a/b", "inline", 0)
    assert (inner.content_type, inner.safe_name, content(inner)) == ("message/rfc822", "message.eml", b"X: y")


def nested(boundary: str) -> str:
    return f'Content-Type: multipart/mixed; boundary="{boundary}"\n\n'


ONE, TWO = "Content-Type: a/b\n\n1\n", "Content-Type: a/b\n\n2\n"

BOUNDARIES: dict[str, tuple[str, list[bytes]]] = {
    "prefix of another": (
        f"{nested('b')}--b\n{nested('bb')}--bb\n{ONE}--bb--\n--b\n{TWO}--b--\n",
        [b"1", b"2"],
    ),
    "the same inside": (f"{nested('b')}--b\n{nested('b')}--b\n{ONE}--b--\n--b\n{TWO}--b--\n", [b"1", b"2"]),
    "not closed": (f"{nested('b')}--b\n{ONE}", [b"1\n"]),
    "inner one not closed": (f"{nested('b')}--b\n{nested('c')}--c\n{ONE}--b\n{TWO}--b--\n", [b"1", b"2"]),
    "space behind": (f"{nested('b')}--b \t\n{ONE}--b-- \n", [b"1"]),
    "more behind the end": (f"{nested('b')}--b\n{ONE}--b--\n--b\n{TWO}--b--\n", [b"1", b"2"]),
    "no parameter": (f"Content-Type: multipart/mixed\n\n--q\n{ONE}--q--\n", [b"1"]),
    "no empty line before the first": (f"Content-Type: multipart/mixed; boundary=b\n--b\n{ONE}--b--\n", [b"1"]),
    "nor before the first inside": (
        f"{nested('b')}--b\nContent-Type: multipart/mixed; boundary=c\n--c\n{ONE}--c--\n--b\n{TWO}--b--\n",
        [b"1", b"2"],
    ),
    "parts without content": (f"{nested('b')}--b\nContent-Type: a/b\n--b\n{TWO}--b--\n", [b"", b"2"]),
    "preamble and epilogue": (f"{nested('b')}hello\n--b\n{ONE}--b--\nbye\n", [b"1"]),
    "like a delimiter": (f"{nested('b')}--b\nContent-Type: a/b\n\n--bx\n--b--x\n--b--\n", [b"--bx\n--b--x"]),
}


@pytest.mark.parametrize(("data", "contents"), BOUNDARIES.values(), ids=BOUNDARIES)
def test_7_6_boundaries(data: str, contents: list[bytes]) -> None:
    assert [content(attachment) for attachment in parse(data.encode()).attachments] == contents


@pytest.mark.parametrize("kind", ["mixed; boundary=b", "mixed"])
def test_7_6_a_multipart_without_parts_is_text(kind: str) -> None:
    message = parse(f"Content-Type: multipart/{kind}\n\nhello\n".encode())
    assert message.text == "hello\n"
    assert "a multipart has no parts: taken as text" in message.defects


ENCODINGS: dict[str, tuple[str, bytes, bytes, bool]] = {
    "base64": ("base64", b"aGVs\r\nbG8=", b"hello", False),
    "base64 with junk": ("Base64", b"aG!Vs*\n\0bG8=", b"hello", True),
    "base64 runs": ("base64", b"aGU=\nbGxv", b"hello", False),
    "base64 without padding": ("base64", b"aGVsbG8", b"hello", True),
    "base64 with one letter left": ("base64", b"aGVsbG8=Q", b"hello", True),
    "quoted-printable": ("quoted-printable", b"a=C3=A9=\r\nb=3D\r\n", b"a\xc3\xa9b=\r\n", False),
    "soft break with space": ("quoted-printable", b"a= \t\r\nb", b"ab", False),
    "bad escapes": ("quoted-printable", b"a=zz=4", b"a=zz=4", True),
    "bare CR": ("quoted-printable", b"a=\rb\nc", b"ab\nc", False),
    "lower case": ("QUOTED-PRINTABLE", b"=c3=a9", b"\xc3\xa9", False),
    "uuencode": ("x-uuencode", b"begin 644 x\n%:&5L;&\\\n`\nend\n", b"hello", False),
    "8bit": ("8bit", b"\xe9\0\r\n\n", b"\xe9\0\r\n\n", False),
    "comment": ("base64 (really)", b"aGVsbG8=", b"hello", False),
    "unknown": ("x-what", b"abc", b"abc", True),
}


@pytest.mark.parametrize(("encoding", "data", "expected", "defect"), ENCODINGS.values(), ids=ENCODINGS)
def test_7_6_transfer_encodings(encoding: str, data: bytes, expected: bytes, defect: bool) -> None:
    message = parse(f"Content-Type: a/b\nContent-Transfer-Encoding: {encoding}\n\n".encode() + data)
    assert content(message.attachments[0]) == expected
    assert bool(message.defects) is defect, message.defects


@pytest.mark.parametrize("width", [76, 1_000_003])
def test_7_6_long_content_is_decoded_in_pieces(width: int) -> None:
    original = bytes(range(256)) * 8000
    encoded = base64.b64encode(original)
    lines = b"\r\n".join(encoded[position : position + width] for position in range(0, len(encoded), width))
    quoted = b"".join(b"=%02X" % byte for byte in original[:400_000])
    for head, body, expected in (
        ("base64", lines, original),
        ("quoted-printable", quoted, original[:400_000]),
    ):
        message = parse(f"Content-Type: a/b\nContent-Transfer-Encoding: {head}\n\n".encode() + body)
        assert content(message.attachments[0]) == expected
        assert max(map(len, message.attachments[0].chunks())) <= 1024 * 1024
        assert message.defects == ()


def test_7_6_a_mapped_file_reads_the_same(tmp_path: Path) -> None:
    source = mixed(PLAIN, *[PDF + "A" * 4000] * 50, HTML).replace("\n", "\r\n").encode()
    source += b"x" * 3_000_000  # an epilogue
    path = tmp_path / "x.eml"
    path.write_bytes(source)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        message = parse(mapped)
        assert message == parse(source)
        assert len(message.attachments) == 50
        assert content(message.attachments[49]).startswith(b"pdf")


def test_7_6_nesting_beyond_the_limit_is_kept_unparsed() -> None:
    levels = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(500))
    message = parse((levels + "\nhello").encode())
    assert [attachment.content_type for attachment in message.attachments] == ["application/octet-stream"]
    assert content(message.attachments[0]).endswith(b"hello")
    assert any(str(MAX_DEPTH) in defect for defect in message.defects)


def test_7_6_parts_beyond_the_limit_are_kept_unparsed() -> None:
    message = parse(mixed(PLAIN, *["Content-Type: a/b\n\nx"] * (MAX_PARTS + 5)).encode())
    assert message.text == "plain"
    assert content(message.attachments[-1]).count(b"a/b") == 5 + 2
    assert any(str(MAX_PARTS) in defect for defect in message.defects)


def test_7_6_a_header_beyond_the_limit_is_kept_unparsed() -> None:
    message = parse(b"To: a@b.example\n" + b"X: y\n" * (MAX_HEADER // 4) + b"\nbody")
    assert [address.address for address in message.to] == ["a@b.example"]
    assert content(message.attachments[0]).endswith(b"X: y\n\nbody")
    assert message.text == ""
    assert message.defects == (f"a header is longer than {MAX_HEADER} bytes: the rest is kept as an attachment",)


def test_7_6_giant_text_becomes_an_attachment() -> None:
    message = parse(mixed("\nhello", "\n" + "x" * MAX_TEXT).encode())
    assert message.text == "hello"
    assert [attachment.size for attachment in message.attachments] == [MAX_TEXT]
    assert len(message.defects) == 1


def test_7_3_attachments_of_a_message_in_memory_are_decoded_once(tmp_path: Path) -> None:
    encoded = base64.encodebytes(bytes(range(256)) * 8_000).decode()
    large = f"Content-Type: application/pdf; name=large.pdf\nContent-Transfer-Encoding: base64\n\n{encoded}"
    data = mixed(PLAIN, PDF, large, IMAGE).encode()
    kept = parse(data).attachments
    file = tmp_path / "message"
    file.write_bytes(data)
    with file.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        decoded_again = parse(mapped).attachments
        assert kept == decoded_again
        assert [attachment._content for attachment in decoded_again] == [None] * 3
        assert list(map(content, kept)) == list(map(content, decoded_again))
    assert all(attachment._content is not None for attachment in kept)
    assert max(len(piece) for attachment in kept for piece in attachment.chunks()) == 1024 * 1024


def test_1_7_kept_attachments_have_at_most_the_size_of_the_message() -> None:
    # An incomplete winmail.dat stays an attachment, next to the file in it.
    incomplete = tnef_samples.tnef(tnef_samples.attached(bytes(9_000), title=b"big.txt")) + b"more"
    data = tnef_samples.message(incomplete)
    attachments = parse(data).attachments
    assert [attachment.name for attachment in attachments] == ["winmail.dat", "big.txt"]
    assert sum(attachment.size for attachment in attachments) > len(data)
    assert [attachment._content is None for attachment in attachments] == [False, True]
    assert content(attachments[1]) == bytes(9_000)
