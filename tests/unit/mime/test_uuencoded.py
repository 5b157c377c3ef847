"""Uuencoded files in the text, as mailers without MIME send them."""

import binascii

import pytest

from shared.mime.parser import Message, parse
from shared.mime.transfer_encoding import MAX_UU_FILES
from tests.cpu_time import within

CONTENT = bytes(range(256)) * 3


def encoded(name: str, data: bytes, *, end: str = "end\n") -> str:
    lines = [
        binascii.b2a_uu(data[position : position + 45], backtick=True).decode() for position in range(0, len(data), 45)
    ]
    return f"begin 644 {name}\n{''.join(lines)}`\n{end}"


def files(message: Message) -> list[tuple[str, bytes]]:
    for attachment in message.attachments:
        assert attachment.disposition == "attachment"
        assert attachment.content_type == "application/octet-stream"
    return [(attachment.name, b"".join(attachment.chunks())) for attachment in message.attachments]


NO_END = ("a file in the text has no end marker",)
FILE = encoded("a file.bin", CONTENT)
CASES = {
    "one": (f"before\n{FILE}after\n", "before\nafter\n", [("a file.bin", CONTENT)]),
    "two": (f"{FILE}between\n{encoded('b', b'hello')}", "between\n", [("a file.bin", CONTENT), ("b", b"hello")]),
    "empty file": (f"x\n{encoded('b', b'')}", "x\n", [("b", b"")]),
    "zeros": (f"{encoded('z', bytes(100))}x", "x", [("z", bytes(100))]),
    "zeros without their spaces": (f"begin 644 z\nM\nM\n{' '}\nend\nx", "x", [("z", bytes(90))]),
    "without an end": (f"{encoded('b', CONTENT, end='')}Yours, A.\n", "Yours, A.\n", [("b", CONTENT)]),
    "cut off": (encoded("b", CONTENT)[: 12 + 62 * 3], "", [("b", CONTENT[: 45 * 3])]),
    "prose": ("begin 644 words\nwith these\nend\n", "begin 644 words\nwith these\nend\n", []),
    "prose at the end": ("begin 644 words", "begin 644 words", []),
    "nothing in it": ("begin 644 x\nend\n", "begin 644 x\nend\n", []),
    "no mode": ("begin hello x\n`\nend\n", "begin hello x\n`\nend\n", []),
    "junk in it": (FILE.replace("\n", "\nsome junk\n", 1).replace("\nsome", "\nM" + "#" * 60 + "\nsome"), "", None),
    "begun again": (
        f"begin 644 a\n{FILE.splitlines()[1]}\n{encoded('b', b'hello')}",
        "",
        [("a", CONTENT[:45]), ("b", b"hello")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("body", "text", "expected"), CASES.values(), ids=CASES)
def test_7_5_uuencoded_files_in_the_text_are_attachments(
    body: str, text: str, expected: list[tuple[str, bytes]] | None, line_end: str
) -> None:
    message = parse(f"Subject: x\n\n{body}".replace("\n", line_end).encode())
    assert message.text == text
    if expected is not None:
        assert files(message) == expected
        assert message.defects == (() if body.count("begin ") == body.count("\nend") or not expected else NO_END)
    else:
        assert [name for name, _ in files(message)] == ["a file.bin"]
        assert "uuencoded content contains invalid lines" in message.defects


@pytest.mark.parametrize(
    "head",
    [
        "Content-Type: text/plain\nContent-Transfer-Encoding: base64",
        "Content-Type: text/html",
        "Content-Type: text/plain\nContent-Disposition: attachment; filename=x.txt",
    ],
)
def test_7_5_text_with_a_transfer_encoding_has_no_uuencoded_files(head: str) -> None:
    message = parse(f"{head}\n\n{FILE}".encode())
    assert len(message.attachments) == ("attachment" in head)


def test_7_5_text_next_to_attachments_has_no_uuencoded_files() -> None:
    parts = f"--b\n\n{FILE}\n--b\nContent-Type: a/b\n\nx\n--b--\n"
    message = parse(f"Content-Type: multipart/mixed; boundary=b\n\n{parts}".encode())
    assert message.text == FILE
    assert len(message.attachments) == 1


def test_7_7_names_in_any_charset() -> None:
    message = parse(b"X: y\n\n\xe9\n" + encoded("n", b"x").encode().replace(b" n\n", b" Gr\xfc\xdfe.txt\n"))
    assert files(message) == [("Grüße.txt", b"x")]
    assert message.text == "é\n"


def test_7_6_files_beyond_the_limit_stay_text() -> None:
    message = parse(b"X: y\n\n" + encoded("n", b"x").encode() * (MAX_UU_FILES + 2))
    assert len(message.attachments) == MAX_UU_FILES
    assert message.text == encoded("n", b"x") * 2


HOSTILE = {
    "begins": b"begin 644 x\n",
    "begins with a line": b"begin 644 x\n#86)C\n",
    "spaces": b" ",
    "zeros": b"M\n",
    "short lines": b"#86)C\n",
    "full lines": b"M" + b"A" * 60 + b"\n",
    "no line ends": b"M" + b"A" * 60,
    "junk": b"#86)C\n" + b"junk\n" * 9,
}


@pytest.mark.parametrize("pattern", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("begin", [b"begin 644", b"begin 644 x\n#86)C\n"])
def test_7_6_no_text_with_files_takes_long(begin: bytes, pattern: bytes) -> None:
    data = b"X: y\n\n" + begin + pattern * (500_000 // len(pattern))
    within(2, lambda: parse(data))
