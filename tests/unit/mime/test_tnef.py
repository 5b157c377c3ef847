"""Files and text inside winmail.dat."""

import random
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.documents.as_json import message_fields
from shared.mime.buffer import PIECE_SIZE, Buffer
from shared.mime.defects import Defects
from shared.mime.parser import Message, parse, read_message
from shared.mime.rtf import ALWAYS_READ, decompress, parse_rtf
from shared.mime.tnef import MAX_FILES, parse_tnef
from tests.unit.mime import tnef_samples as made

GUARD = 20  # seconds a megabyte; machines that run tests are busy


def files(message: Message) -> list[tuple[str, bytes]]:
    return [(one.name, b"".join(one.chunks())) for one in message.attachments]


def test_7_3_files_take_the_place_of_a_winmail_dat() -> None:
    packed = made.tnef(
        made.attached(b"one", made.text(made.LONG_NAME, "Übersicht \u2013 final.pdf"), title=b"UEBERS~1.PDF"),
        made.attached(b"", made.narrow(made.LONG_NAME, b"empty.txt"), made.whole(made.METHOD, 1), title=b"e.txt"),
        made.attached(b"\0" * 1000, title=b"data.bin"),
    )
    message = parse(made.message(packed))
    assert files(message) == [("Übersicht \u2013 final.pdf", b"one"), ("empty.txt", b""), ("data.bin", b"\0" * 1000)]
    assert [one.number for one in message.attachments] == [1, 2, 3]
    assert [one.size for one in message.attachments] == [3, 0, 1000]
    assert message.text == "See the files.\n"
    assert message.defects == ()


def test_7_3_names_are_in_the_code_page_of_the_message() -> None:
    packed = made.tnef(
        made.attached(b"x", made.narrow(made.LONG_NAME, "счёт.pdf".encode("cp1251"))),
        made.attached(b"y", title="план.txt".encode("cp1251")),
        code_page=1251,
    )
    assert [name for name, _ in files(parse(made.message(packed)))] == ["счёт.pdf", "план.txt"]


def test_7_3_properties_of_a_file() -> None:
    packed = made.tnef(
        made.attached(
            b"x",
            made.several(0x3702, 1, 2, 3),
            made.named("a b"),
            made.text(made.SHORT_NAME, "PICTUR~1.PNG"),
            made.text(made.LONG_NAME, "picture one\r\n.png"),
            made.text(made.MIME_TAG, "image/PNG"),
            made.text(made.CONTENT_ID, "<p1@x.example>"),
        ),
        made.attached(None, made.text(made.LONG_NAME, "by property.txt"), made.binary(made.DATA_OBJECT, b"content")),
        made.attached(b"z", made.text(made.LONG_NAME, "odd.bin"), made.text(made.MIME_TAG, "not a type")),
    )
    first, second, third = parse(made.message(packed)).attachments
    assert (first.name, first.content_type, first.content_id) == ("picture one .png", "image/png", "p1@x.example")
    assert first.disposition == "inline"
    assert (second.name, b"".join(second.chunks())) == ("by property.txt", b"content")
    assert (third.content_type, third.disposition) == ("application/octet-stream", "attachment")


@pytest.mark.parametrize(
    "part",
    [
        made.attached(b"x", made.whole(made.METHOD, 5), made.binary(made.DATA_OBJECT, b"message", 0x0D)),
        made.attached(b"x", title=b"object", kind=made.OLE),
        made.attached(None, title=b"link.txt"),
        made.attribute(made.RENDERING, b""),
        b"\x03garbage",
        made.attached(b"x" * 50)[:-10],
        made.attribute(made.PROPERTIES, struct.pack("<IHH", 1, 0x7777, 1)),
        made.attribute(made.PROPERTIES, struct.pack("<I", 10**9)),
        struct.pack("<BII", 2, made.DATA, 2**32 - 1) + b"x",
    ],
    ids=["embedded message", "OLE object", "no data", "nothing", "garbage", "cut", "type", "count", "length"],
)
def test_7_6_a_winmail_dat_stays_where_something_is_left_in_it(part: bytes) -> None:
    packed = made.tnef(made.attached(b"one", title=b"a.txt"), part)
    assert files(parse(made.message(packed))) == [("winmail.dat", packed), ("a.txt", b"one")]


@pytest.mark.parametrize("packed", [b"", b"\x78\x9f\x3e\x22", b"\x78\x9f\x3e\x22\0\0", b"hello", made.tnef()])
def test_7_6_what_holds_no_file_stays_as_it_is(packed: bytes) -> None:
    assert files(parse(made.message(packed))) == [("winmail.dat", packed)]


def test_7_3_it_is_recognised_by_its_name_too() -> None:
    data = made.message(made.tnef(made.attached(b"one", title=b"a.txt")), name="WINMAIL.DAT")
    other = data.replace(b"application/ms-tnef", b"application/octet-stream")
    assert files(parse(other)) == [("a.txt", b"one")]
    assert [name for name, _ in files(parse(other.replace(b"WINMAIL.DAT", b"report.dat")))] == ["report.dat"]


def test_7_3_files_that_stand_beside_it_stay() -> None:
    data = made.message(made.tnef(made.attached(b"one", title=b"a.txt")))
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
    "body": (made.attribute(made.BODY, "Grüße\r\n".encode("cp1252") + b"\0", 1), "Grüße\n", None),
    "unicode": (
        made.attribute(made.MESSAGE_PROPERTIES, made.properties(made.text(made.PR_BODY, "Hi \u2014 ho")), 1),
        "Hi \u2014 ho",
        None,
    ),
    "html": (
        made.attribute(made.MESSAGE_PROPERTIES, made.properties(made.binary(made.PR_HTML, b"<p>Hi <b>you</b></p>")), 1),
        "Hi you",
        "<p>Hi <b>you</b></p>",
    ),
    "rtf": (
        made.attribute(
            made.MESSAGE_PROPERTIES, made.properties(made.binary(made.PR_RTF, made.uncompressed(RTF))), 1
        ),
        "Привет\n{b}\tc",
        None,
    ),
    "html in rtf": (
        made.attribute(
            made.MESSAGE_PROPERTIES, made.properties(made.binary(made.PR_RTF, made.uncompressed(FROM_HTML))), 1
        ),
        "Grüße",
        "<p>Grüße&nbsp;</p>",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("attribute", "text", "html"), TEXTS.values(), ids=TEXTS)
def test_7_3_the_text_is_read_where_there_is_no_other(attribute: bytes, text: str, html: str | None) -> None:
    packed = made.tnef(attribute, made.attached(b"one", title=b"a.txt"))
    message = parse(made.message(packed, body=None))
    assert (message.text.strip(), message.html) == (text.strip(), html)
    assert files(message) == [("a.txt", b"one")]
    assert parse(made.message(packed, "Other text.")).text == "Other text."


def test_7_3_compressed_rtf() -> None:
    # The example of MS-OXRTFCP section 4.1.1, and that of a run that refers to itself, section 4.1.2.
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
    content = b"\xfcab" + references[:12] + b"".join(b"\xff" + references[at : at + 16] for at in range(12, 80_000, 16))
    head = struct.pack("<IIII", len(content) + 12, 2**31, 0x75465A4C, 0)
    rtf = decompress(head + content)
    assert rtf == b"ab" * (len(rtf) // 2) + b"a" * (len(rtf) % 2)
    assert len(rtf) == ALWAYS_READ + 3 * len(content)
    assert len(decompress(head + content, unconditional_size=0)) == 3 * len(content)
    assert len(decompress(head + content[:5_000])) > 8 * 4_900, "the beginning is always read"


def test_7_6_files_are_counted() -> None:
    packed = made.tnef(*(made.attached(b"x", title=b"%d.txt" % number) for number in range(MAX_FILES + 50)))
    message = parse(made.message(packed))
    assert len(message.attachments) == MAX_FILES + 1
    assert message.attachments[0].name == "winmail.dat"
    assert any("more than" in defect for defect in message.defects)


def test_7_6_files_of_several_are_counted_together() -> None:
    packed = made.tnef(*(made.attached(b"x", title=b"%d.txt" % number) for number in range(MAX_FILES - 1)))
    part = made.message(packed).partition(b"--b\nContent-Type: application")
    data = part[0] + 3 * (part[1] + part[2].removesuffix(b"--b--\n")) + b"--b--\n"
    assert len(parse(data).attachments) == MAX_FILES + 2


ENDLESS = {
    "attachments": made.tnef(*[made.attached(b"x", title=b"a")] * 12_000),
    "large files": made.tnef(*[made.attached(b"x" * 5_000, title=b"a")] * 120),
    "attributes": made.tnef() + made.attribute(0x1234, b"") * 50_000,
    "properties": made.tnef(made.attached(b"", *[made.whole(1, 1)] * 70_000)),
    "values": made.tnef(made.attached(b"", made.binary(1, b"")[:4] + struct.pack("<I", 2**31) + b"\0" * 500_000)),
    "names": made.tnef(made.attached(b"", *[made.named("x")] * 8_000)),
    "long names": made.tnef(*[made.attached(b"", made.text(made.LONG_NAME, "x" * 2000))] * 120),
    "rtf": made.tnef(
        made.attribute(
            made.MESSAGE_PROPERTIES,
            made.properties(
                made.binary(made.PR_RTF, struct.pack("<II4sI", 1, 2**31, b"LZFu", 0) + b"\xff\x0c\xff" * 9**6)
            ),
            1,
        )
    ),
    "braces": made.tnef(
        made.attribute(
            made.MESSAGE_PROPERTIES,
            made.properties(made.binary(made.PR_RTF, made.uncompressed(rb"{\rtf1\ansi " + b"{\\*" * 170_000))),
            1,
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("packed", ENDLESS.values(), ids=ENDLESS)
def test_7_6_no_winmail_dat_takes_long(packed: bytes) -> None:
    data = made.message(packed, body=None)
    started = time.process_time()
    message = read_message(Buffer(data))
    for one in message.attachments:
        assert sum(map(len, one.chunks())) == one.size
    assert time.process_time() - started < GUARD * max(len(data) / 1e6, 1)


SEED = made.tnef(
    made.attribute(made.BODY, b"text\0", 1),
    TEXTS["html in rtf"][0],
    made.attached(b"one", made.text(made.LONG_NAME, "a.txt"), made.several(7, 1), made.named("x"), title=b"a"),
    made.attached(b"two", made.whole(made.METHOD, 1), title=b"b.txt"),
)


@settings(deadline=None, max_examples=200)
@given(st.randoms(use_true_random=False))
def test_7_6_any_bytes_are_read(chance: random.Random) -> None:
    packed = bytearray(SEED)
    for _ in range(chance.randint(1, 8)):
        packed[chance.randrange(len(packed))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    if chance.random() < 0.3:
        del packed[chance.randrange(len(packed)) :]
    message = read_message(Buffer(made.message(bytes(packed), body=None)))
    assert all(sum(map(len, one.chunks())) == one.size for one in message.attachments)
    message_fields(message)


@given(st.binary(max_size=300))
def test_7_6_any_rtf_is_read(data: bytes) -> None:
    parse_rtf(decompress(b"\0\0\0\0\xff\xff\0\0LZFu\0\0\0\0" + data))
    "".join(parse_rtf(data)).encode()


def test_7_6_it_is_read_however_it_is_cut() -> None:
    content = made.tnef(made.attached(b"x" * 3 * PIECE_SIZE, title=b"a.bin"), made.attached(b"y", title=b"b.bin"))
    for size in (1000, PIECE_SIZE, 7 * PIECE_SIZE):
        pieces = (content[at : at + size] for at in range(0, len(content), size))
        found = parse_tnef(pieces, Defects(), with_text=False)
        assert found is not None
        assert [(one.name, content[one.start : one.end][:2]) for one in found.files] == [
            ("a.bin", b"xx"),
            ("b.bin", b"y"),
        ]
        assert found.complete
