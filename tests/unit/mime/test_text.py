"""Charsets, text from HTML, file names."""

import pytest

from shared.mime.charsets import replace_surrogates
from shared.mime.html_text import html_to_text
from shared.mime.parser import parse
from shared.mime.safe_filenames import MAX_LENGTH, SafeFilenames
from tests.cpu_time import within

CHARSETS: dict[str, tuple[str, bytes, str, bool]] = {
    "utf-8": ("utf-8", "é€日".encode(), "é€日", False),
    "utf8, quoted": ("'UTF8'", "é".encode(), "é", False),
    "latin-1 is cp1252": ("iso-8859-1", b"\x80\xe9\x81", "€é\x81", False),
    "ascii that is utf-8": ("us-ascii", "é".encode(), "é", True),
    "ascii that is cp1252": ("us-ascii", b"\xe9", "é", True),
    "gb2312 is gb18030": ("gb2312", "日本鎔".encode("gb18030"), "日本鎔", False),
    "shift_jis is cp932": ("Shift_JIS", "①髙".encode("cp932"), "①髙", False),
    "ks_c_5601-1987 is cp949": ("ks_c_5601-1987", "한글똠".encode("cp949"), "한글똠", False),
    "iso-2022-jp": ("iso-2022-jp", "日本".encode("iso-2022-jp"), "日本", False),
    "utf-16 with mark": ("utf-16", "é日".encode("utf-16"), "é日", False),
    "utf-16 broken": ("utf-16le", b"\x00\xd8a", "\N{REPLACEMENT CHARACTER}", True),
    "utf-7": ("utf-7", b"+AOk-", "é", False),
    "koi8-r": ("KOI8-R", "привет".encode("koi8-r"), "привет", False),
    "said to be utf-8, is cp1252": ("utf-8", b"caf\xe9", "café", True),
    "utf-8 cut": ("utf-8", "éééé".encode()[:-1], "ééé\N{REPLACEMENT CHARACTER}", True),
    "said to be iso-2022-jp, is utf-8": ("iso-2022-jp", "日本".encode(), "日本", True),
    "unknown, ascii": ("x-what", b"abc", "abc", True),
    "unknown, utf-8": ("x-what", "é".encode(), "é", True),
    "unknown, neither": ("unknown-8bit", b"\xff", "ÿ", True),
    "a codec, no charset": ("rot13", b"abc", "abc", True),
    "an escape, no charset": ("unicode_escape", b"\\x41", "\\x41", True),
    "no name at all": ('"\0"', b"abc", "abc", True),
    "none, utf-8": ("", "é".encode(), "é", True),
}


@pytest.mark.parametrize(("charset", "data", "text", "defect"), CHARSETS.values(), ids=CHARSETS)
def test_7_7_charsets(charset: str, data: bytes, text: str, defect: bool) -> None:
    message = parse(b"Content-Type: text/plain; charset=" + charset.encode() + b"\n\n" + data)
    assert message.text == text
    assert bool(message.defects) is defect, message.defects


def test_7_7_an_unnamed_charset_is_guessed() -> None:
    russian = "Здравствуйте, это письмо достаточно длинное, чтобы узнать язык. " * 8
    message = parse(b"Content-Type: text/plain\n\n" + russian.encode("cp1251"))
    assert message.text == russian
    assert message.defects == ("no charset is named: read as cp1251, a guess",)


def test_7_7_a_short_text_is_not_taken_for_utf_16() -> None:
    message = parse(b"X: y\n\n\xe9\n")
    assert message.text == "é\n"
    assert message.defects == ("no charset is named: read as Windows-1252",)


def test_7_7_a_page_may_name_its_charset() -> None:
    message = parse(b"Content-Type: text/html\n\n<meta charset=koi8-r><p>" + "привет".encode("koi8-r"))
    assert message.text == "привет"


def test_7_7_lone_surrogates_are_replaced() -> None:
    assert replace_surrogates("a\ud800b") == "a\N{REPLACEMENT CHARACTER}b"
    assert replace_surrogates("\ud83d\ude00") == "😀"


PAGES = {
    "paragraphs": ("<p>a</p><p>b</p>", "a\n\nb"),
    "lines": ("a<br>b<div>c</div>d", "a\nb\nc\nd"),
    "at most one empty line": ("a<br><br><br><br>b", "a\n\nb"),
    "spaces": (" a \n  b<b> c</b>d ", "a b cd"),
    "entities": ("a&amp;b &lt;c&gt; &eacute;&#233;&#xe9;&nbsp;x", "a&b <c> éé\xe9\xa0x"),
    "entity too large": ("&#99999999999999999999;", "\N{REPLACEMENT CHARACTER}"),
    "surrogate": ("&#xd800;", "\N{REPLACEMENT CHARACTER}"),
    "hidden": ("<head><title>t</title><style>p{}</style></head><body>a<script>x()</script>b</body>", "ab"),
    "comment": ("a<!-- <p>x</p> -->b", "ab"),
    "conditional": ("a<!--[if mso]><p>x</p><![endif]-->b<![if !mso]>c<![endif]>", "abc"),
    "list": ("<ul><li>a</li><li>b</li></ul>", "* a\n* b"),
    "table": ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
    "link": ('<a href="https://x.example/?a=1&amp;b">here</a>', "here <https://x.example/?a=1&b>"),
    "link that says itself": ('<a href="mailto:a@b.example">a@b.example</a>', "a@b.example"),
    "script link": ('<a href="javascript:x()">a</a>', "a"),
    "image": ('a <img src=x alt="logo"> b', "a logo b"),
    "pre": ("<pre>a\n  b</pre>c", "a\n  b\n\nc"),
    "namespace": ("a<o:p>b</o:p>", "ab"),
    "quoted bracket": ('<p title="a>b">c</p>', "c"),
    "open quote": ('<p title="a>b', "b"),
    "less than": ("1 < 2 <3 & <>", "1 < 2 <3 & <>"),
    "address": ("<a@b.example>", "<a@b.example>"),
    "open tag": ("a<p", "a<p"),
    "open comment": ("a<!-- b", "a"),
    "no tags": ("a\nb", "a b"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("source", "text"), PAGES.values(), ids=PAGES)
def test_7_3_text_from_html(source: str, text: str) -> None:
    assert html_to_text(source) == text


NAMES = {
    "invoice.pdf": "invoice.pdf",
    "../../etc/passwd": "passwd",
    "C:\\Windows\\x.exe": "x.exe",
    "a\0b\r\nc.txt": "ab c.txt",
    "in\u202efdp.exe": "infdp.exe",
    "CON": "_CON",
    "nul.txt": "_nul.txt",
    "COM1 .txt": "_COM1 .txt",
    "console.txt": "console.txt",
    "x.txt. . ": "x.txt",
    ".htaccess": "htaccess",
    "e\u0301.txt": "é.txt",
    'a<b>:"|?*.txt': "a_b______.txt",
    "a/": "attachment.pdf",
    "..": "attachment.pdf",
    "": "attachment.pdf",
    "\ud800.txt": "txt",
    "é" * 100 + ".pdf": "é" * 58 + ".pdf",
    "x" * 300: "x" * 120,
    "-rf": "_rf",
    "--output=x": "_-output=x",
    '=HYPERLINK("//x.example")': "x.example__",
    "=1+1.csv": "_1+1.csv",
    "+1.csv": "_1.csv",
    "@sum.csv": "_sum.csv",
    " \u200b-x.pdf": "_x.pdf",
    "\uff0e\uff0e\uff0fetc\uff0fpasswd": "passwd",
    "a\uff3cb.txt": "b.txt",
    "a\u2215b\u2044c.txt": "a_b_c.txt",
    "\u3002\u3002x.txt\uff0e": "x.txt",
    "\uff1d1.csv": "_1.csv",
    "\uff23\uff2f\uff2e": "_CON",
    "$(reboot)`id`.pdf": "__reboot__id_.pdf",
    "a;b&c|d.txt": "a_b_c_d.txt",
    "it's 100% ok!.txt": "it_s 100_ ok_.txt",
    "a-b=c+d@e (Gr\u00fc\u00dfe), f.txt": "a-b=c+d@e _Gr\u00fc\u00dfe_, f.txt",
}


@pytest.mark.parametrize(("name", "safe"), NAMES.items())
def test_7_5_names_are_made_safe(name: str, safe: str) -> None:
    assert SafeFilenames().assign(name, "application/pdf") == safe
    assert len(safe.encode()) <= MAX_LENGTH


def test_7_5_names_are_unique_whatever_the_case() -> None:
    names = SafeFilenames()
    assigned = [
        names.assign(name, "a/b") for name in ["a.txt", "A.TXT", "a-2.txt", "a.txt", "ß.txt", "SS.txt", "ﬁ", "fi"]
    ]
    assert assigned == ["a.txt", "A-2.TXT", "a-2-2.txt", "a-3.txt", "ß.txt", "SS-2.txt", "fi", "fi-2"]
    long = [names.assign("é" * 100 + ".pdf", "a/b") for _ in range(2000)]
    assert len({name.casefold() for name in long}) == len(long)
    assert max(len(name.encode()) for name in long) <= MAX_LENGTH


def test_7_5_each_name_gets_the_first_number_that_is_free() -> None:
    names = SafeFilenames()
    assert names.assign("a-3.txt", "a/b") == "a-3.txt"
    assigned = [names.assign("a.txt", "a/b") for _ in range(200)]
    assert assigned == ["a.txt", "a-2.txt", *(f"a-{number}.txt" for number in range(4, 202))]


def test_7_6_long_names_that_end_alike_do_not_take_long() -> None:
    cut = "x" * 117

    def assign() -> list[str]:
        names = SafeFilenames()
        return [names.assign(cut + chr(0x4E00 + number), "a/b") for number in range(4_000) for _ in range(2)]

    assigned = within(4, assign)
    assert assigned[1::2][:9] == [*(f"{cut}-{number}" for number in range(2, 10)), f"{cut}-10"]
    assert assigned[-1] == f"{cut[:115]}-4001"
    assert len(set(assigned)) == len(assigned)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("message/rfc822", "message.eml"),
        ("text/calendar", "invitation.ics"),
        ("application/ms-tnef", "winmail.dat"),
        ("x/y", "attachment.bin"),
    ],
)
def test_7_5_unnamed_attachments_get_a_name(kind: str, name: str) -> None:
    assert SafeFilenames().assign("", kind) == name
