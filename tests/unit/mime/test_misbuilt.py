"""Mail with malformed structure, headers, parameters or encodings is read as its sender intended (rule 7.6).

Each class also has messages that resemble it and are read literally.
"""

import pytest

from shared.mime.defects import Defects
from shared.mime.headers import parse_parameters
from shared.mime.parser import parse
from tests.unit.mime.misbuilt import FILE, HTML, PDF, PDF_BASE64, contents, message, multipart

BLANKS = {
    "empty": "Content-Type: text/plain\n\n",
    "white space": "Content-Type: text/plain\n\n \t \n\n",
    "no-break and zero-width spaces": "Content-Type: text/plain; charset=utf-8\n\n\u00a0\u200b\ufeff\n",
    "Hangul filler": "Content-Type: text/plain; charset=utf-8\n\n\u3164\n",
    "quoted-printable": "Content-Type: text/plain; charset=utf-8\n"
    "Content-Transfer-Encoding: quoted-printable\n\n=C2=A0=20",
    "base64": "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nwqDigIs=",
    "within another alternative": multipart(
        "Content-Type: text/plain\n\n ", kind="multipart/alternative", boundary="i"
    ),
    "within a mixed part": multipart("\n \n", boundary="i"),
}
BLANK_PAGES = {
    "empty page": "Content-Type: text/html\n\n<html><body></body></html>",
    "invisible page": "Content-Type: text/html\n\n<title>x</title><p>&nbsp;</p>",
    "only a delimiter": "Content-Type: multipart/alternative; boundary=i\n\n--i\n",
}


@pytest.mark.parametrize("blank", BLANKS.values(), ids=BLANKS)
def test_7_3_a_blank_alternative_is_replaced(blank: str) -> None:
    related = multipart(HTML, kind="multipart/related", boundary="r")
    for other in (HTML, related):
        read_message = message(multipart(blank, other, kind="multipart/alternative"))
        assert read_message.text == "The pump is loud."
        assert read_message.attachments == ()


def test_7_3_a_blank_alternative_is_replaced_by_plain_text_first() -> None:
    assert message(multipart("\n ", "\nplain", HTML, kind="multipart/alternative")).text == "plain"


@pytest.mark.parametrize("blank", [*BLANKS.values(), *BLANK_PAGES.values()], ids=[*BLANKS, *BLANK_PAGES])
def test_7_3_a_blank_root_is_replaced(blank: str) -> None:
    for outer in ("related", "alternative"):
        read_message = message(multipart(blank, HTML, FILE, kind=f"multipart/{outer}"))
        assert read_message.text == "The pump is loud."
        assert read_message.html == "<p>The pump is loud.</p>"
        assert contents(read_message) == {"a.pdf": PDF}


@pytest.mark.parametrize(
    ("root", "text"),
    [("\n.", "."), ("Content-Type: text/html\n\n<img src=a>", ""), ("Content-Type: text/html\n\n<hr>", "----------")],
)
def test_7_3_a_visible_root_is_read(root: str, text: str) -> None:
    read_message = message(multipart(root, HTML, kind="multipart/related"))
    assert read_message.text.strip("\n")[:10] == text
    assert contents(read_message) == {"": b"<p>The pump is loud.</p>"}


@pytest.mark.parametrize("start", ["<p@x>", "p@x"])
def test_7_3_start_names_the_root(start: str) -> None:
    parts = "\nplain", HTML.replace("\n", "\nContent-ID: <p@x>\n", 1)
    assert message(multipart(*parts, kind=f'multipart/related; start="{start}"')).text == "The pump is loud."
    assert message(multipart(*parts, kind='multipart/related; start="<q@x>"')).text == "plain"
    parts = "\nplain", "Content-Type: text/html\nContent-ID: <p@x>\n\n<p> </p>"
    assert message(multipart(*parts, kind=f'multipart/related; start="{start}"')).text == "plain"


@pytest.mark.parametrize("kind", ["markdown", "enriched"])
def test_7_3_a_blank_alternative_is_replaced_by_text_of_any_type(kind: str) -> None:
    other = f"Content-Type: text/{kind}\n\nThe *pump*"
    for blank in ("\n \n", "\n"):
        read_message = message(multipart(blank, other, kind="multipart/alternative"))
        assert (read_message.text, read_message.attachments) == ("The *pump*", ())
    read_message = message(multipart("\nplain", other, kind="multipart/alternative"))
    assert (read_message.text, len(read_message.attachments)) == ("plain", 1)


@pytest.mark.parametrize("plain", [".", "-- \n", "\u00a0x", "0"])
def test_7_3_an_alternative_with_one_visible_character_is_read(plain: str) -> None:
    part = f"Content-Type: text/plain; charset=utf-8\n\n{plain}"
    assert message(multipart(part, HTML, kind="multipart/alternative")).text == plain


def test_7_3_a_blank_text_is_kept_where_nothing_else_is_text() -> None:
    calendar = "Content-Type: text/calendar; name=a.ics\n\nBEGIN:VCALENDAR"
    read_message = message(multipart("\n ", calendar, kind="multipart/alternative"))
    assert read_message.text == " "
    assert list(contents(read_message)) == ["a.ics"]


def test_7_6_structured_headers_may_be_encoded_words() -> None:
    file = (
        "Content-Type: =?utf-8?b?YXBwbGljYXRpb24vcGRm?=\n"
        "Content-Disposition: =?utf-8?q?attachment=3B?= =?utf-8?q?_filename=3D=22=C3=9C.pdf=22?=\n"
        f"Content-Transfer-Encoding: =?us-ascii?q?base64?=\n\n{PDF_BASE64}"
    )
    read_message = message(multipart("Content-Type: =?utf-8?q?text/plain?=; charset=utf-8\n\nÜbersicht", file))
    assert read_message.text == "Übersicht"
    assert contents(read_message) == {"Ü.pdf": PDF}


def test_7_6_an_encoded_word_in_a_parameter_adds_no_parameter() -> None:
    value = parse_parameters("a/b; name==?utf-8?q?x=3B_boundary=3Dq?=", Defects())
    assert value.parameters == {"name": "x; boundary=q"}


@pytest.mark.parametrize("kind", ["markdown", "enriched", "x-log", "troff", "vnd.example"])
def test_7_3_unknown_text_is_the_text_where_the_body_is(kind: str) -> None:
    assert message(f"Content-Type: text/{kind}\n\nthe pump failed\n").text == "the pump failed\n"
    read_message = message(multipart(f"Content-Type: text/{kind}\n\nthe pump failed", FILE, "\nfooter"))
    assert read_message.text == "the pump failed\nfooter"
    assert contents(read_message) == {"a.pdf": PDF}


@pytest.mark.parametrize(
    "header",
    [
        "text/csv", "text/calendar", "text/vcard", "text/x-log; name=a.log", "text/x-amp-html",
        "text/x-log\nContent-Disposition: attachment",
    ],
)  # fmt: skip
def test_7_3_text_for_programs_and_named_text_is_a_file(header: str) -> None:
    read_message = message(multipart(f"Content-Type: {header}\n\nfile", "\nbody"))
    assert read_message.text == "body"
    assert list(contents(read_message).values()) == [b"file"]


def test_7_3_unknown_text_behind_the_body_or_beside_another_alternative_is_a_file() -> None:
    unknown = "Content-Type: text/x-log\n\nfile"
    for read_message in (
        message(multipart("\nbody", unknown)),
        message(multipart(unknown, HTML, kind="multipart/alternative")),
    ):
        assert "file" not in read_message.text
        assert contents(read_message) == {"": b"file"}


@pytest.mark.parametrize(
    "blank", [b"\r\n", b"\n\n", b" " * 300 + b"\n", b"\t\r\n \r\n", b"\r\r", b"\xef\xbb\xbf", b"\nFrom x y\n"]
)
def test_7_6_blank_lines_before_the_header_are_skipped(blank: bytes) -> None:
    end = b"\r" if blank == b"\r\r" else b"\n"
    read_message = parse(blank + end.join([b"Subject: late", b"To: kim@example.com", b"", b"body"]))
    assert (read_message.subject, read_message.text) == ("late", "body")


@pytest.mark.parametrize("field", ["ARC-Seal", "Authentication-Results", "Delivered-To", "ARC-Message-Signature"])
@pytest.mark.parametrize("count", [1, 8])
def test_7_6_a_blank_line_before_long_fields_is_skipped(field: str, count: int) -> None:
    value = "i=1; a=rsa-sha256;\n" + "\tb=0123456789abcdef;\n" * 100
    read_message = parse(f"\n{f'{field}: {value}' * count}Subject: late\n\nbody".encode())
    assert (read_message.subject, read_message.text) == ("late", "body")


@pytest.mark.parametrize("length", [2 * 1024, 16 * 1024])
@pytest.mark.parametrize("cut", range(4))
def test_7_6_a_field_that_continues_beyond_the_first_kilobytes_is_a_field(length: int, cut: int) -> None:
    fields = f"Delivered-To: kim@example.com\nA: {'b' * (length - 34 - cut)}\nOther-Field: y\nSubject: late"
    assert parse(f"\n{fields}\n\nbody".encode()).subject == "late"


@pytest.mark.parametrize("body", ["Dear Kim,\nhello", "Note: this\n\nmore", "https://example.com/a\nhello", ""])
def test_7_6_blank_lines_before_text_begin_the_text(body: str) -> None:
    read_message = parse(f"\n{body}".encode())
    assert read_message.headers == ()
    assert read_message.text == body


DISPOSITIONS = {
    "no type": 'filename="p.pdf"',
    "no type, not quoted": "filename=p.pdf",
    "comma": 'attachment, filename="p.pdf"',
    "colon": 'attachment: filename="p.pdf"',
    "colon for the equals sign": 'attachment; filename: "p.pdf"',
    "white space": "attachment filename=p.pdf",
    "comma between parameters": 'attachment; size=3, filename="p.pdf"',
    "encoding": "base64; filename=p.pdf",
    "open quote": 'attachment; filename="p.pdf',
    "quotes twice": 'attachment; filename=""p.pdf""',
    "one quote more": 'attachment; filename="p.pdf""; size=3',
    "open quote before a fold": 'attachment; filename="p.pdf\n\tsize=3',
    "no indent": 'attachment;\nfilename="p.pdf"',
    "no indent, more than one": "attachment;\nfilename=p.pdf;\nname=x\nX-Other: y",
    "no indent, size": 'attachment;\nfilename="p.pdf";\nsize=58',
    "no indent, dates": 'attachment;\ncreation-date="Mon, 23 Nov 2026 08:00:00 GMT";\nfilename="p.pdf";\nread-date=""',
    "no indent, unknown": "attachment;\nx-unix-mode=0644;\nfilename=p.pdf",
    "no indent, two on a line": 'attachment;\nname="x"; filename="p.pdf"',
    "no type, extended": "filename*=UTF-8''p%2Epdf",
    "nothing before the semicolon": '; filename="p.pdf"',
    "name": 'attachment; name="p.pdf"',
    "quoted parameter name": 'attachment; "filename"="p.pdf"',
    "quote at the end": 'attachment; filename=p.pdf"',
    "two quotes at the beginning": 'attachment; filename=""p.pdf"',
    "open quote of another parameter": 'attachment; size="22; filename="p.pdf"',
    "open quote, then another parameter": 'attachment; filename="p.pdf; size=22',
    "encoded word for a parameter": "attachment; =?utf-8?q?filename=3D=22p=2Epdf=22?=",
    "no semicolon before the size": "attachment; filename=p.pdf size=3",
}


@pytest.mark.parametrize("disposition", DISPOSITIONS.values(), ids=DISPOSITIONS)
def test_7_6_an_odd_disposition_keeps_its_file_name(disposition: str) -> None:
    encoding = "Content-Type: text/plain\nContent-Transfer-Encoding: base64"
    file = f"{encoding}\nContent-Disposition: {disposition}\n\n{PDF_BASE64}"
    for read_message in (message(multipart("\nsee file", file)), message(multipart(file, "\nsee file"))):
        assert read_message.text == "see file"
        assert contents(read_message) == {"p.pdf": PDF}


@pytest.mark.parametrize("encoding", ["quoted-printable", "7BIT", "base64", "8-bit", "quoted_printable"])
def test_7_6_an_encoding_as_disposition_hides_no_text(encoding: str) -> None:
    assert message(multipart(f"Content-Disposition: {encoding}\n\nheating", FILE)).text == "heating"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ('"Plan "A" final.pdf"', 'Plan "A" final.pdf'),
        ('"Plan "A""; size=3', 'Plan "A"'),
        ('""A" and "B".pdf"', '"A" and "B".pdf'),
        ('"a.pdf" (draft)', "a.pdf"),
        ('"a.pdf" junk; x="y"', "a.pdf"),
        ('"a;b.pdf"; name="c"', "a;b.pdf"),
        ('"a; b=c.pdf', "a; b=c.pdf"),
        ('5"disk".pdf', '5"disk".pdf'),
        ("my size.pdf", "my size.pdf"),
    ],
)
def test_7_6_quotes_within_a_file_name_belong_to_it(value: str, name: str) -> None:
    assert parse_parameters(f"attachment; filename={value}", Defects()).parameters["filename"] == name


@pytest.mark.parametrize(
    "source",
    [
        'multipart/mixed; boundary="b',
        'multipart/mixed;\n\tboundary="b\n\ttype="text/plain"',
        'multipart/mixed; boundary="b; charset="utf-8"',
        'multipart/mixed;\nboundary="b"',
        "multipart/mixed;\nboundary=b;\ntype=text/plain\nX-Other: y",
        "multipart/mixed boundary=b",
        'multipart/mixed, boundary="b"',
        "multipart/mixed; type=x boundary=b",
    ],
)
def test_7_6_a_badly_written_boundary_is_read(source: str) -> None:
    parts = multipart("\nsee file", FILE).split("\n\n", 1)[1]
    read_message = message(f"Content-Type: {source}\n\n{parts}")
    assert read_message.text == "see file"
    assert contents(read_message) == {"a.pdf": PDF}


@pytest.mark.parametrize(
    "source",
    [
        'text/plain; charset="koi8-r', 'text/plain; charset="koi8-r;\n format=flowed', "text/plain charset=koi8-r",
        "text/plain,charset=koi8-r", "text/plain format=flowed charset = koi8-r", "text/plain;\ncharset=koi8-r\nX-A: b",
        'text/plain; name="a b.txt\n charset=koi8-r', 'text/plain; name="a.txt; charset="koi8-r"',
        "text/plain; charset=koi8-r, format=flowed", "text/plain;\nformat=flowed; charset=koi8-r",
        "text/plain;\nreply-type=original;\ndelsp=yes;\ncharset=koi8-r",
    ],
)  # fmt: skip
def test_7_6_a_badly_written_charset_is_read(source: str) -> None:
    assert message(f"Content-Type: {source}\n\nЮлия", "koi8-r").text == "Юлия"


def test_7_6_a_colon_in_a_parameter_without_indent_makes_no_field() -> None:
    parts = multipart("\nsee file", FILE, boundary="m:1").split("\n\n", 1)[1]
    read_message = message(f'Content-Type: multipart/mixed;\nboundary="m:1"\nX-Other: y\n\n{parts}')
    assert read_message.text == "see file"
    assert contents(read_message) == {"a.pdf": PDF}


@pytest.mark.parametrize(
    "source",
    [
        "text/plain\ncharset=koi8-r", "text/plain;\n\ncharset=koi8-r", "text/plain;\nname=of the game",
        "text/plain;\nx = a b", "text/plain;\na=b; as seen",
    ],
)  # fmt: skip
def test_7_6_a_line_that_is_not_a_lone_parameter_is_text(source: str) -> None:
    assert message(f"Content-Type: {source}\n").text.startswith(source.rpartition("\n")[2])


@pytest.mark.parametrize("value", ["my plan.pdf", '"Plan "A".pdf"'])
def test_7_6_a_file_name_without_indent_may_contain_spaces_and_quotes(value: str) -> None:
    for field in ("Content-Type: a/b;\nname", "Content-Type: a/b\nContent-Disposition: attachment;\nfilename"):
        read_message = message(multipart("\nsee file", f"{field}={value}\n\nx"))
        assert contents(read_message) == {value.removeprefix('"').removesuffix('"'): b"x"}


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        ("==========.", "==========."), ("a == b === c", "a == b === c"), ("==3D", "=="), ("=C3=A9==C3=A9", "é=é"),
        ("a==\nb", "a=b"), ("a= \t\nb", "ab"), ("=4=41", "=4A"), ("=3D=3D", "=="), ("a=\nb", "ab"),
    ],
)  # fmt: skip
def test_7_6_an_equal_sign_that_begins_no_escape_stays(encoded: str, text: str) -> None:
    header = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable"
    assert message(f"{header}\n\n{encoded}").text == text


@pytest.mark.parametrize(
    "header",
    [
        "BINARY; name=f.bin", "pdf;name=f.bin", "; name=f.bin", "name=f.bin", "image/*; name=f.bin",
        "pdf\nContent-Disposition: inline; name=f.bin",
        "pdf\nContent-Disposition: attachment; filename=f.bin", "pdf\nContent-Disposition: inline; filename=f.bin",
    ],
)  # fmt: skip
def test_7_6_an_unreadable_type_of_a_file_is_not_text(header: str) -> None:
    for read_message in (message(f"Content-Type: {header}\n\nx"), message(multipart(f"Content-Type: {header}\n\nx"))):
        assert read_message.text == ""
        assert contents(read_message) == {"f.bin": b"x"}
        assert read_message.attachments[0].content_type == "application/octet-stream"


@pytest.mark.parametrize("kind", ["text//html", "text\\html", "<text/html>", "'Text/HTML'; charset=utf-8"])
def test_7_6_an_unreadable_type_that_names_html_is_html(kind: str) -> None:
    read_message = message(f"Content-Type: {kind}\n\n<p>hello</p>")
    assert (read_message.text.strip(), read_message.html) == ("hello", "<p>hello</p>")


@pytest.mark.parametrize("kind", ["text", "html", "text html x", "text//plain"])
def test_7_6_another_unreadable_type_is_not_html(kind: str) -> None:
    assert message(f"Content-Type: {kind}\n\n<p>hello</p>").html is None
