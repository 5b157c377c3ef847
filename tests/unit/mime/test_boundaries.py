"""Multiparts with unreadable types and wrong boundaries are read as their sender intended (rule 7.6)."""

import pytest

from shared.mime.multipart import MAX_PART_HEADER
from tests.unit.mime.misbuilt import FILE, HTML, PDF, TEXT, contents, message, multipart

MULTIPARTS = [
    "multipart/*", "multipart", "Multipart/", '"multipart/mixed"', "multipart/?", "multipart\\mixed", "multipart/x-new"
]  # fmt: skip


@pytest.mark.parametrize("kind", MULTIPARTS)
def test_7_6_an_unreadable_multipart_with_a_boundary_is_mixed(kind: str) -> None:
    read_message = message(multipart("\nsee file", FILE, kind=kind))
    assert read_message.text == "see file"
    assert contents(read_message) == {"a.pdf": PDF}


@pytest.mark.parametrize(
    "kind", ["", "'multipart/mixed'", "<multipart/mixed>", "mixed", "multiparts", "mulitpart/mixed", "multipart mixed"]
)
def test_7_6_an_unreadable_type_with_a_used_boundary_is_a_multipart(kind: str) -> None:
    source = multipart("\nsee file", FILE, kind=kind)
    for nested in (source, multipart(source, boundary="outer")):
        read_message = message(nested)
        assert read_message.text == "see file"
        assert contents(read_message) == {"a.pdf": PDF}


@pytest.mark.parametrize("kind", ["'multipart/alternative'", "mulitpart/alternative", "related"])
def test_7_6_an_unreadable_type_keeps_a_known_subtype(kind: str) -> None:
    assert message(multipart(HTML, HTML, kind=kind)).text == "The pump is loud."


@pytest.mark.parametrize("kind", ["text/plain", "text", "mixed"])
def test_7_6_a_boundary_does_not_make_other_types_a_multipart(kind: str) -> None:
    text = "see --b\n--other\n"
    assert message(f"Content-Type: {kind}; boundary=b\n\n{text}").text == text
    assert message(f"Content-Type: text/plain; boundary=b\n\n--b\n{text}").text == f"--b\n{text}"
    assert message(f"Content-Type: x-a/b; boundary=b\n\n--b\n{text}").attachments[0].content_type == "x-a/b"


def test_7_6_a_multipart_without_subtype_and_boundary() -> None:
    source = multipart("Content-Type: text/plain\n\nsee file", FILE).replace('/mixed; boundary="b"', "")
    assert contents(message(source)) == {"a.pdf": PDF}
    assert message("Content-Type: multipart\n\n--b\n\nx\n--b--\n").text == "--b\n\nx\n--b--\n"


@pytest.mark.parametrize(("named", "used"), [("a", "b"), ("=_A", "=_A_1"), ("--Part", "--part")])
@pytest.mark.parametrize("preamble", ["", "This is a message in MIME format.\n\n"])
def test_7_6_a_boundary_that_delimits_parts_is_used_if_the_named_one_does_not(
    named: str, used: str, preamble: str
) -> None:
    text = "Content-Type: text/plain\n\nhello"
    source = multipart(text, FILE, boundary=used, named=named).replace("\n\n--", f"\n\n{preamble}--", 1)
    for nested in (source, multipart(source, boundary="outer")):
        read_message = message(nested)
        assert read_message.text == "hello"
        assert contents(read_message) == {"a.pdf": PDF}


LONG = "a line of text\n" * 1_000
BOUNDARIES = {
    "other fields first": f"--b\nMIME-Version: 1.0\n{TEXT}\n--b\nX-Part: 2\n\tof 2\n{FILE}\n--b--\n",
    "closed by the declared boundary": f"--b\n{TEXT}\n--b\n{FILE}\n--w--\n",
    "long preamble": f"{LONG}\n--b\n{TEXT}\n--b\n{FILE}\n--b--\n",
    "declared boundary later": f"--b\n{TEXT}\n--b\n{HTML}\n--b--\n--w\n{FILE}\n--w--\n",
    "declared boundary looks closed": f"--w\n{TEXT}\n--w\n{FILE}\n--w--\n",
    "declared boundary looks closed, one part": f"--w\n{TEXT}\n--w--\n",
}


@pytest.mark.parametrize(("label", "body"), BOUNDARIES.items(), ids=BOUNDARIES)
def test_7_6_parts_before_a_declared_delimiter_are_read(label: str, body: str) -> None:
    declared = "w--" if "looks closed" in label else "w"
    source = f'Content-Type: multipart/mixed; boundary="{declared}"\n\n{body}'
    for nested in (source, multipart(source, "\n", boundary="outer")):
        read_message = message(nested)
        assert read_message.text.split("\n")[0] == "see file"
        assert contents(read_message) == ({} if "one part" in label else {"a.pdf": PDF})


def test_7_6_a_long_first_part_without_a_header_is_read() -> None:
    read_message = message(multipart(f"\n{LONG}", FILE, named="w"))
    assert read_message.text == LONG
    assert contents(read_message) == {"a.pdf": PDF}
    assert contents(message(multipart(f"\n{LONG}", FILE).replace('; boundary="b"', ""))) == {"a.pdf": PDF}


@pytest.mark.parametrize(
    ("preamble", "boundary"),
    [("--c\nContent-Type: text/plain\n\nold\n--c--\n", "b"), ("", "b--"), ("-- \nKim\n", "b--"), ("--b\n", "b--")],
)
def test_7_6_a_declared_boundary_that_begins_parts_is_used(preamble: str, boundary: str) -> None:
    source = multipart(TEXT, FILE, boundary=boundary).replace("\n\n", f"\n\n{preamble}", 1)
    assert message(source).text == "see file"
    assert contents(message(source)) == {"a.pdf": PDF}


@pytest.mark.parametrize(
    "prose",
    [
        "hello\n--\nKim\n", "--cut--here\nhello\n", "-----\nhello\n-----\n",
        f"{LONG}--b\nContent-Type: text/plain\n\nhello", "--b\nX-Part: 1\nContent-Type: text/plain\n\nhello",
        "--b\nSubject: x\nTo: y\n--b\nhello\n", "a note on MIME\n", "hello\n--x--\n", "MIME\n--x--\nhello",
    ],
)  # fmt: skip
def test_7_6_dashes_in_prose_delimit_nothing(prose: str) -> None:
    assert message(f"Content-Type: multipart/mixed; boundary=x\n\n{prose}").text == prose


EMPTY = [
    "", "--in--\n", "\n \n--in--\n\n", " \n", "--in--\n--in--\n", "\n--in--\n\n--in--\n--in--",
    "This is a multi-part message in MIME format.\n\n--in--\n",
    "This message is in MIME format. If your mail reader does not\nunderstand it, ask.\n--in--",
]  # fmt: skip


@pytest.mark.parametrize("inner", EMPTY)
@pytest.mark.parametrize("kind", ["alternative; boundary=in", "related; boundary=in", "mixed"])
@pytest.mark.parametrize("outer", ["mixed", "related", "alternative"])
def test_7_6_a_multipart_without_parts_and_content_is_nothing(inner: str, kind: str, outer: str) -> None:
    empty = f"Content-Type: multipart/{kind}\n\n{inner}"
    read_message = message(multipart(empty, "\nlamp", kind=f"multipart/{outer}"))
    assert read_message.text == "lamp"
    assert read_message.attachments == ()


@pytest.mark.parametrize("kind", ["text", "text; charset=utf-8", "text/", "plain", "pdf\nContent-Disposition: inline"])
def test_7_6_an_unreadable_type_without_a_file_name_is_text(kind: str) -> None:
    assert message(f"Content-Type: {kind}\n\nhello").text == "hello"


@pytest.mark.parametrize("end", ["\n--x\n", "\njunk --\n--x:y z\n--x\n"])
def test_7_6_the_header_of_a_part_ends_at_a_line_of_dashes(end: str) -> None:
    read_message = message(
        f"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain{end}Subject: y\n--b--\n"
    )
    assert read_message.subject == "sample"
    assert read_message.text.endswith("--x\nSubject: y")


def test_7_6_a_part_with_an_oversized_header_is_kept_unparsed() -> None:
    header = "Content-Type: a/b; name=x\n" + "X: y\n" * (MAX_PART_HEADER // 4)
    read_message = message(multipart("\nsee file", f"{header}\nbody"))
    assert read_message.text == "see file"
    assert contents(read_message)[""].endswith(b"X: y\n\nbody")
    assert read_message.whole is False
