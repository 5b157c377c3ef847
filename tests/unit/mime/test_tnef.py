"""Files and text in a winmail.dat."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.documents.message_document import message_fields
from shared.mime.buffer import PIECE_SIZE, Buffer
from shared.mime.defects import Defects
from shared.mime.parser import Message, parse, read_message
from shared.mime.rtf import ALWAYS_READ, decompress, parse_rtf
from shared.mime.tnef import MAX_FILES, parse_tnef
from tests.cpu_time import within
from tests.unit.mime import tnef_samples as build

GUARD = 4  # seconds a megabyte, as `within` counts them (twice the limit)


def files(message: Message) -> list[tuple[str, bytes]]:
    return [(attachment.name, b"".join(attachment.chunks())) for attachment in message.attachments]


def test_7_3_files_replace_their_winmail_dat() -> None:
    packed = build.tnef(
        build.attached(b"one", build.text(build.LONG_NAME, "Übersicht \u2013 final.pdf"), title=b"UEBERS~1.PDF"),
        build.attached(b"", build.narrow(build.LONG_NAME, b"empty.txt"), build.whole(build.METHOD, 1), title=b"e.txt"),
        build.attached(b"\0" * 1000, title=b"data.bin"),
    )
    message = parse(build.message(packed))
    assert files(message) == [("Übersicht \u2013 final.pdf", b"one"), ("empty.txt", b""), ("data.bin", b"\0" * 1000)]
    assert [attachment.number for attachment in message.attachments] == [1, 2, 3]
    assert [attachment.size for attachment in message.attachments] == [3, 0, 1000]
    assert message.text == "See the files.\n"
    assert message.defects == ()


def test_7_3_names_are_in_the_code_page_of_the_message() -> None:
    packed = build.tnef(
        build.attached(b"x", build.narrow(build.LONG_NAME, "счёт.pdf".encode("cp1251"))),
        build.attached(b"y", title="план.txt".encode("cp1251")),
        code_page=1251,
    )
    assert [name for name, _ in files(parse(build.message(packed)))] == ["счёт.pdf", "план.txt"]


def test_7_3_properties_of_a_file() -> None:
    packed = build.tnef(
        build.attached(
            b"x",
            build.several(0x3702, 1, 2, 3),
            build.named("a b"),
            build.text(build.SHORT_NAME, "PICTUR~1.PNG"),
            build.text(build.LONG_NAME, "picture one\r\n.png"),
            build.text(build.MIME_TAG, "image/PNG"),
            build.text(build.CONTENT_ID, "<p1@x.example>"),
        ),
        build.attached(
            None, build.text(build.LONG_NAME, "by property.txt"), build.binary(build.DATA_OBJECT, b"content")
        ),
        build.attached(b"z", build.text(build.LONG_NAME, "odd.bin"), build.text(build.MIME_TAG, "not a type")),
    )
    first, second, third = parse(build.message(packed)).attachments
    assert (first.name, first.content_type, first.content_id) == ("picture one .png", "image/png", "p1@x.example")
    assert first.disposition == "inline"
    assert (second.name, b"".join(second.chunks())) == ("by property.txt", b"content")
    assert (third.content_type, third.disposition) == ("application/octet-stream", "attachment")


@pytest.mark.parametrize(
    "part",
    [
        build.attached(b"x", build.whole(build.METHOD, 5), build.binary(build.DATA_OBJECT, b"message", 0x0D)),
        build.attached(b"x", title=b"object", kind=build.OLE),
        build.attached(None, title=b"link.txt"),
        build.attribute(build.RENDERING, b""),
        b"\x03garbage",
        build.attached(b"x" * 50)[:-10],
        build.attribute(build.PROPERTIES, struct.pack("<IHH", 1, 0x7777, 1)),
        build.attribute(build.PROPERTIES, struct.pack("<I", 10**9)),
        struct.pack("<BII", 2, build.DATA, 2**32 - 1) + b"x",
    ],
    ids=["embedded message", "OLE object", "no data", "nothing", "garbage", "cut", "type", "count", "length"],
)
def test_7_6_a_winmail_dat_with_other_content_is_kept(part: bytes) -> None:
    packed = build.tnef(build.attached(b"one", title=b"a.txt"), part)
    assert files(parse(build.message(packed))) == [("winmail.dat", packed), ("a.txt", b"one")]


@pytest.mark.parametrize("packed", [b"", b"\x78\x9f\x3e\x22", b"\x78\x9f\x3e\x22\0\0", b"hello", build.tnef()])
def test_7_6_a_winmail_dat_without_files_is_kept(packed: bytes) -> None:
    assert files(parse(build.message(packed))) == [("winmail.dat", packed)]


def test_7_3_a_winmail_dat_is_also_recognised_by_its_name() -> None:
    data = build.message(build.tnef(build.attached(b"one", title=b"a.txt")), name="WINMAIL.DAT")
    other = data.replace(b"application/ms-tnef", b"application/octet-stream")
    assert files(parse(other)) == [("a.txt", b"one")]
    for name in (b"winmail(1).dat", b"winmail.dat.dat", b"ATT00001.dat", b"win.dat"):
        assert files(parse(other.replace(b"WINMAIL.DAT", name))) == [("a.txt", b"one")]
    for unrelated in ("report.dat", "attic.dat", "winter.dat", "winmail.doc"):
        assert [name for name, _ in files(parse(other.replace(b"WINMAIL.DAT", unrelated.encode())))] == [unrelated]
    assert files(parse(data.replace(b"ms-tnef", b"tnef"))) == [("a.txt", b"one")]


def test_7_3_other_attachments_are_kept() -> None:
    data = build.message(build.tnef(build.attached(b"one", title=b"a.txt")))
    data = data.replace(b"--b--", b'--b\nContent-Type: text/csv; name="b.csv"\n\n1;2\n--b--')
    assert files(parse(data)) == [("a.txt", b"one"), ("b.csv", b"1;2")]


RTF = (
    rb"{\rtf1\ansi\ansicpg1251{\fonttbl{\f0 Arial;}}\pard "
    rb"\'cf\'f0\'e8\u1074?\u1077 ?\'f2\par \{b\}\tab c{\*\x y}{\pict 00}}"
)
FROM_HTML = (
    rb"{\rtf1\ansi\ansicpg1252\fromhtml1 {\fonttbl{\f0 Arial;}}{\*\htmltag64 <p>}\htmlrtf {\f0 hidden\htmlrtf0 "
    rb"Gr\'fc\'dfe{\*\htmltag84 &nbsp;}\htmlrtf }\par\htmlrtf0 {\*\htmltag72 </p>}}"
)
TEXTS = {
    "body": (build.attribute(build.BODY, "Grüße\r\n".encode("cp1252") + b"\0", 1), "Grüße\n", None),
    "unicode": (
        build.attribute(build.MESSAGE_PROPERTIES, build.properties(build.text(build.PR_BODY, "Hi \u2014 ho")), 1),
        "Hi \u2014 ho",
        None,
    ),
    "html": (
        build.attribute(
            build.MESSAGE_PROPERTIES, build.properties(build.binary(build.PR_HTML, b"<p>Hi <b>you</b></p>")), 1
        ),
        "Hi you",
        "<p>Hi <b>you</b></p>",
    ),
    "rtf": (
        build.attribute(
            build.MESSAGE_PROPERTIES, build.properties(build.binary(build.PR_RTF, build.uncompressed(RTF))), 1
        ),
        "Привет\n{b}\tc",
        None,
    ),
    "html in rtf": (
        build.attribute(
            build.MESSAGE_PROPERTIES, build.properties(build.binary(build.PR_RTF, build.uncompressed(FROM_HTML))), 1
        ),
        "Grüße",
        "<p>Grüße&nbsp;</p>",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("attribute", "text", "html"), TEXTS.values(), ids=TEXTS)
def test_7_3_the_text_of_a_tnef_is_used_without_other_text(attribute: bytes, text: str, html: str | None) -> None:
    packed = build.tnef(attribute, build.attached(b"one", title=b"a.txt"))
    message = parse(build.message(packed, body=None))
    assert (message.text.strip(), message.html) == (text.strip(), html)
    assert files(message) == [("a.txt", b"one")]
    assert parse(build.message(packed, "Other text.")).text == "Other text."


@pytest.mark.parametrize(("attribute", "text", "html"), TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize(
    "blank",
    [
        "Content-Type: text/plain; charset=utf-8\n\n\u200b\ufeff",
        "Content-Type: text/html\n\n<html><body> </body></html>",
        'Content-Type: text/html\n\n<p>&nbsp;</p><p style="x">&zwnj;</p>',
    ],
)
def test_7_3_the_text_of_a_tnef_replaces_text_without_visible_characters(
    attribute: bytes, text: str, html: str | None, blank: str
) -> None:
    data = build.message(build.tnef(attribute, build.attached(b"one", title=b"a.txt")), "x")
    message = parse(data.replace(b"--b\n\nx", f"--b\n{blank}".encode(), 1))
    assert (message.text.strip(), message.html) == (text.strip(), html)
    assert files(message) == [("a.txt", b"one")]


def test_7_3_a_picture_is_not_replaced_by_the_text_of_a_tnef() -> None:
    data = build.message(build.tnef(TEXTS["body"][0]), "x")
    page = '<img src="cid:a">'
    message = parse(data.replace(b"--b\n\nx", f"--b\nContent-Type: text/html\n\n{page}".encode(), 1))
    assert (message.text, message.html) == ("", page)


@pytest.mark.parametrize("attribute", [attribute for attribute, _, _ in TEXTS.values()], ids=TEXTS)
def test_7_3_a_winmail_dat_with_text_before_a_footer_is_kept(attribute: bytes) -> None:
    def build_message(packed: bytes) -> Message:
        head, dashes, part = build.message(packed, "Footer").rpartition(b"--b\nContent-Type: application")
        head, footer = head.split(b"--b\n")
        return parse(head + dashes + part.removesuffix(b"--b--\n") + b"--b\n" + footer + b"--b--\n")

    file = build.attached(b"one", title=b"a.txt")
    message = build_message(packed := build.tnef(attribute, file))
    assert message.text.strip() == "Footer"
    assert files(message) == [("winmail.dat", packed), ("a.txt", b"one")]
    assert files(build_message(build.tnef(file))) == [("a.txt", b"one")]
    assert files(parse(build.message(packed, "Text before"))) == [("a.txt", b"one")]


def test_7_3_compressed_rtf() -> None:
    # The examples of MS-OXRTFCP section 4.1.1, and of section 4.1.2 with a run that refers to itself.
    compressed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    )
    assert decompress(compressed) == rb"{\rtf1\ansi\ansicpg1252\pard hello world}" + b"\r\n"
    repeated = bytes.fromhex("1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0")
    assert decompress(repeated) == rb"{\rtf1 WXYZWXYZWXYZWXYZWXYZ}"
    assert decompress(b"") == decompress(b"\xff" * 40) == b""
    assert decompress(repeated[:-6]) == rb"{\rtf1 WXYZ"


def test_7_6_small_compressed_rtf_does_not_become_large() -> None:
    # References that repeat two characters: 17 bytes for two (MS-OXRTFCP section 2.2.1.5).
    references = b"".join(struct.pack(">H", (207 + 2 + 17 * number - 2) % 4096 << 4 | 15) for number in range(40_000))
    content = (
        b"\xfcab"
        + references[:12]
        + b"".join(b"\xff" + references[position : position + 16] for position in range(12, 80_000, 16))
    )
    head = struct.pack("<IIII", len(content) + 12, 2**31, 0x75465A4C, 0)
    rtf = decompress(head + content)
    assert rtf == b"ab" * (len(rtf) // 2) + b"a" * (len(rtf) % 2)
    assert len(rtf) == ALWAYS_READ + 3 * len(content)
    assert len(decompress(head + content, unconditional_size=0)) == 3 * len(content)
    assert len(decompress(head + content[:5_000])) > 8 * 4_900, "the beginning is always read"


def test_7_6_the_number_of_files_is_limited() -> None:
    packed = build.tnef(*(build.attached(b"x", title=b"%d.txt" % number) for number in range(MAX_FILES + 50)))
    message = parse(build.message(packed))
    assert len(message.attachments) == MAX_FILES + 1
    assert message.attachments[0].name == "winmail.dat"
    assert any("more than" in defect for defect in message.defects)


def test_7_6_files_of_several_tnefs_share_the_limit() -> None:
    packed = build.tnef(*(build.attached(b"x", title=b"%d.txt" % number) for number in range(MAX_FILES - 1)))
    part = build.message(packed).partition(b"--b\nContent-Type: application")
    data = part[0] + 3 * (part[1] + part[2].removesuffix(b"--b--\n")) + b"--b--\n"
    assert len(parse(data).attachments) == MAX_FILES + 2


ENDLESS = {
    "attachments": build.tnef(*[build.attached(b"x", title=b"a")] * 12_000),
    "large files": build.tnef(*[build.attached(b"x" * 5_000, title=b"a")] * 120),
    "attributes": build.tnef() + build.attribute(0x1234, b"") * 50_000,
    "properties": build.tnef(build.attached(b"", *[build.whole(1, 1)] * 70_000)),
    "values": build.tnef(build.attached(b"", build.binary(1, b"")[:4] + struct.pack("<I", 2**31) + b"\0" * 500_000)),
    "names": build.tnef(build.attached(b"", *[build.named("x")] * 8_000)),
    "long names": build.tnef(*[build.attached(b"", build.text(build.LONG_NAME, "x" * 2000))] * 120),
    "rtf": build.tnef(
        build.attribute(
            build.MESSAGE_PROPERTIES,
            build.properties(
                build.binary(build.PR_RTF, struct.pack("<II4sI", 1, 2**31, b"LZFu", 0) + b"\xff\x0c\xff" * 9**6)
            ),
            1,
        )
    ),
    "braces": build.tnef(
        build.attribute(
            build.MESSAGE_PROPERTIES,
            build.properties(build.binary(build.PR_RTF, build.uncompressed(rb"{\rtf1\ansi " + b"{\\*" * 170_000))),
            1,
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("packed", ENDLESS.values(), ids=ENDLESS)
def test_7_6_no_winmail_dat_takes_long(packed: bytes) -> None:
    data = build.message(packed, body=None)

    def read() -> None:
        message = read_message(Buffer(data))
        for attachment in message.attachments:
            assert sum(map(len, attachment.chunks())) == attachment.size

    within(GUARD * max(len(data) / 1e6, 1), read)


SEED = build.tnef(
    build.attribute(build.BODY, b"text\0", 1),
    TEXTS["html in rtf"][0],
    build.attached(b"one", build.text(build.LONG_NAME, "a.txt"), build.several(7, 1), build.named("x"), title=b"a"),
    build.attached(b"two", build.whole(build.METHOD, 1), title=b"b.txt"),
)


@settings(deadline=None, max_examples=200)
@given(st.randoms(use_true_random=False))
def test_7_6_any_bytes_are_read(chance: random.Random) -> None:
    packed = bytearray(SEED)
    for _ in range(chance.randint(1, 8)):
        packed[chance.randrange(len(packed))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    if chance.random() < 0.3:
        del packed[chance.randrange(len(packed)) :]
    message = read_message(Buffer(build.message(bytes(packed), body=None)))
    assert all(sum(map(len, attachment.chunks())) == attachment.size for attachment in message.attachments)
    message_fields(message)


@given(st.binary(max_size=300))
def test_7_6_any_rtf_is_read(data: bytes) -> None:
    parse_rtf(decompress(b"\0\0\0\0\xff\xff\0\0LZFu\0\0\0\0" + data))
    "".join(parse_rtf(data)).encode()


def test_7_6_a_tnef_is_read_in_pieces_of_any_size() -> None:
    content = build.tnef(build.attached(b"x" * 3 * PIECE_SIZE, title=b"a.bin"), build.attached(b"y", title=b"b.bin"))
    for size in (1000, PIECE_SIZE, 7 * PIECE_SIZE):
        pieces = (content[position : position + size] for position in range(0, len(content), size))
        result = parse_tnef(pieces, Defects(), with_text=False)
        assert result is not None
        assert [(file.name, content[file.start : file.end][:2]) for file in result.files] == [
            ("a.bin", b"xx"),
            ("b.bin", b"y"),
        ]
        assert result.complete
