"""Text that is declared base64, or follows base64 data, is read as its sender intended (rule 7.6)."""

import base64
import random

import pytest

from shared.mime.html_text import html_to_text
from shared.mime.parser import parse
from tests.unit.mime.misbuilt import PDF, PDF_BASE64, contents, message, multipart

PROSE = [
    "Dear Kim, the door does not close.",
    "Thank you very much indeed\nKim\n",
    "Grüße aus Köln",
    "今日は会議があります。",
    "<p>Hello</p>",
    "\n____\nsome list, somewhere",
    "See attached file",
    "Test message\n",
    "Kind regards\n\nAnn",
    "Regards\nAnn",
    "Hi,\n\nAnn",
    "Thanks!",
    "Danke",
    "für",
    "ann@example.com",
    "https://example.com/a/b?c=d",
    "12345 67890",
    f"-----BEGIN PGP MESSAGE-----\n\n{PDF_BASE64 * 4}\n=abcd\n-----END PGP MESSAGE-----",
    f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nYes.\n-----BEGIN PGP SIGNATURE-----\n\n{PDF_BASE64 * 4}\n",
]


@pytest.mark.parametrize("prose", PROSE)
def test_7_6_prose_that_is_declared_base64_is_kept(prose: str) -> None:
    header = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64"
    assert message(f"{header}\n\n{prose}").text == prose


UNENCODED_FILES = [
    "BEGIN:VCALENDAR\nVERSION:2.0\nEND:VCALENDAR",
    f"BEGIN:VCARD\nVERSION:3.0\nPHOTO;ENCODING=b:\n {'QUJD' * 18}\n QUI=\nEND:VCARD",
    f"-----BEGIN CERTIFICATE-----\n{'QUJD' * 16}\nQUI=\n-----END CERTIFICATE-----\n",
    '{"a":1,"b":[2,3]}',
    f'{{"token":"{"QUJD" * 30}"}}',
    "name;room\nAnn;12\nKim;13",
    "See attached file",
]


@pytest.mark.parametrize("content", UNENCODED_FILES)
def test_7_6_a_file_that_is_declared_base64_and_not_encoded_is_kept(content: str) -> None:
    header = "Content-Type: a/b; name=x\nContent-Transfer-Encoding: base64"
    assert contents(message(multipart("\nsee file", f"{header}\n\n{content}"))) == {"x": content.encode()}


def test_7_6_iso_2022_jp_that_is_declared_base64_is_kept() -> None:
    header = b"Content-Type: text/plain; charset=iso-2022-jp\nContent-Transfer-Encoding: base64\n\n"
    assert parse(header + "こんにちは世界".encode("iso2022_jp")).text == "こんにちは世界"


def write_in_lines(text: str, width: int, joint: str = "\n") -> str:
    encoded = base64.b64encode(text.encode()).decode()
    return joint.join(encoded[position : position + width] for position in range(0, len(encoded), width))


@pytest.mark.parametrize("text", ["OK", "Hello", "お世話になっております。", "Grüße " * 40])
@pytest.mark.parametrize(
    ("width", "joint"), [(4, "\n"), (76, " \n"), (76, "\n> "), (76, "\n  "), (76, "\n\n"), (76, "\r\r\n")]
)
@pytest.mark.parametrize("end", ["", "\n\n", "\n.\n", "\n\x1a", "==", "!"])
def test_7_6_unusual_base64_is_decoded(text: str, width: int, joint: str, end: str) -> None:
    header = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64"
    encoded = write_in_lines(text, width, joint)
    if not end.strip("\n"):
        assert message(f"{header}\n\n{encoded.rstrip('=')}{end}").text == text
    if encoded.endswith("=") or not end.strip("\n"):
        assert message(f"{header}\n\n{joint.lstrip(chr(10))}{encoded}{end}").text == text


@pytest.mark.parametrize("text", ["OK", "Grüße", "お世話になっております。", "Grüße " * 40])
def test_7_6_base64_that_is_split_by_spaces_is_decoded(text: str) -> None:
    header = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64"
    assert message(f"{header}\n\n{write_in_lines(text, 8, ' ')}").text == text


FOOTERS = [
    "\n-- \nsent to you by a list, somewhere",
    "____\nhttps://example.com/list, or ask",
    "\nRegards\n\nscanned for viruses, none found\n5f3d9cab\n",
    "___________\nmembers@lists.example.com\nhttps://lists.example.com/listinfo/members",
    "https://lists.example.com/listinfo/members",
    "[External]",
    "Disclaimer:",
    "--\nScanned",
    "\nConfidential",
    "Virus free\n",
    "Scanned by Shield",
    f"{'+' * 60}\nThis mail is confidential.",
    f"{'=' * 30}\nPowered by X\n",
    "_____\nメーリングリスト\nhttps://lists.example.com/ml/join123",
    "このメールは検査済みです",
]


@pytest.mark.parametrize("footer", FOOTERS)
@pytest.mark.parametrize("content", ["Grüße!", "x" * 300, "abc" * 20, "a\nb"])
def test_7_6_text_behind_base64_is_not_decoded(footer: str, content: str) -> None:
    encoded = f"{base64.encodebytes(content.encode()).decode()}{footer}"
    header = "Content-Transfer-Encoding: base64\nContent-Type:"
    assert message(f"{header} text/plain; charset=utf-8\n\n{encoded}").text.rstrip("\n") == (
        f"{content}\n\n{footer.strip(chr(10))}"
    )
    assert message(f"{header} text/html; charset=utf-8\n\n{encoded}").html == content
    read_message = message(multipart("\nsee file", f"{header} a/b; name=x.bin\n\n{encoded}"))
    assert contents(read_message) == {"x.bin": content.encode()}
    assert read_message.text == "see file"


@pytest.mark.parametrize("footer", ["-- \nScanned for viruses", "_____\nMembers mailing list", "[External]", "Ad, Kim"])
@pytest.mark.parametrize("size", [16, 17, 57, 58, 100, 300])
def test_7_6_text_directly_behind_base64_is_not_decoded(footer: str, size: int) -> None:
    content = bytes(range(200, 216)) * 20
    encoded = base64.encodebytes(content[:size]).decode().rstrip("\n")
    if encoded.endswith("=") or footer[0] in "-_[":
        file = f"Content-Type: a/b; name=x\nContent-Transfer-Encoding: base64\n\n{encoded}{footer}\n"
        assert contents(message(file)) == {"x": content[:size]}


@pytest.mark.parametrize("footer", [footer for footer in FOOTERS if len(footer.strip()) > len("Confidential")])
@pytest.mark.parametrize("size", [58, 59, 100, 131])
def test_7_6_text_behind_base64_without_padding_is_not_decoded(footer: str, size: int) -> None:
    content = bytes(range(200, 216)) * 20
    encoded = base64.encodebytes(content[:size]).decode().replace("=", "")
    file = f"Content-Type: a/b; name=x\nContent-Transfer-Encoding: base64\n\n{encoded}{footer}\n"
    assert contents(message(file)) == {"x": content[:size]}


@pytest.mark.parametrize("footer", ["<p>Scanned by <b>Shield</b></p>", "<hr>Scanned by<br>Shield"])
def test_7_6_html_behind_base64_is_shown_as_text(footer: str) -> None:
    header = "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64"
    text = message(f"{header}\n\n{base64.b64encode(b'<p>Hello</p>').decode()}\n\n{footer}").text
    assert text.split() == ["Hello", *html_to_text(footer).split()]
    address = message(f"{header}\n\n{base64.b64encode(b'<p>Hello</p>').decode()}\n\nby Ann <p@example.com>").text
    assert address == "Hello\n\nby Ann <p@example.com>"


@pytest.mark.parametrize("junk", ["", "!", "*", "\n\n", "\xff"])
@pytest.mark.parametrize("width", [60, 76, 998])
@pytest.mark.parametrize("byte", [0, 0x55, 0xFF, None])
@pytest.mark.parametrize("size", [1, 2, 57, 58, 114, 1000])
def test_7_6_no_data_is_taken_for_a_footer(junk: str, width: int, byte: int | None, size: int) -> None:
    content = bytes([byte]) * size if byte is not None else random.Random(size).randbytes(size)
    encoded = base64.b64encode(content).decode()
    encoded = "\n".join(encoded[position : position + width] for position in range(0, size * 2, width)).strip()
    for data in (encoded, encoded.rstrip("=")):
        damaged = f"{data[: len(data) * 2 // 3]}{junk}{data[len(data) * 2 // 3 :]}\n".encode("latin-1")
        header = b"Content-Type: a/b; name=x\nContent-Transfer-Encoding: base64\n\n"
        assert contents(parse(header + damaged)) == {"x": content}


@pytest.mark.parametrize("footer", [b"\n\x1b$B$3$s\x1b(B a, b\n", b"-- \nGr\xfc\xdfe, Kim\n"])
def test_7_6_a_footer_in_another_charset_does_not_change_a_file(footer: bytes) -> None:
    header = b"Content-Type: a/b; name=x\nContent-Transfer-Encoding: base64\n\n"
    assert contents(parse(header + PDF_BASE64.encode() + b"\n" + footer)) == {"x": PDF}


@pytest.mark.parametrize(
    "junk", ["aGVs\n!bG8=", "aGVs bG8=", "> aGVsbG8=", "aGVsbG8=!", "aGVs\n\nbG8=\n\n", "*aGVsbG8="]
)
def test_7_6_other_characters_in_base64_are_skipped(junk: str) -> None:
    assert message(f"Content-Transfer-Encoding: base64\n\n{junk}").text == "hello"
