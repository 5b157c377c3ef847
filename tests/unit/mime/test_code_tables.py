"""Characters of charsets that Python's codecs lack or decode as others (class 01)."""

# ruff: noqa: RUF001 - symbols that look alike are intended

import base64

import pytest

from shared.mime.code_tables import decode_code_table
from shared.mime.parser import parse
from tests.cpu_time import within

CHARACTERS = [
    ("euc-jp", "担当".encode("euc_jp") + b"\xad\xa1\xad\xea", "担当①㈱"),
    ("big5", "價".encode("big5") + b"\xa3\xe1", "價€"),
    ("cp950", "價".encode("cp950") + b"\x88\x62", "價Ê̄"),
    # Encoding Standard: the byte 80 of GBK, and the index of GB 18030.
    ("gb2312", "價格：".encode("gbk") + b"\x80500", "價格：€500"),
    ("gb18030", b"\x80\x80\xa3\xa0\xa6\xd9", "€€\u3000︐"),
    # Its index of Big5.
    ("big5", "價‧﹑～￥￠￡∕﹨／⊕⊙".encode("cp950"), "價‧﹑～￥￠￡∕﹨／⊕⊙"),
    ("big5", b"\xa1\xc2\xf9\xfe\xa4\xa2A", "¯▓丐A"),
    # Its index of JIS X 0208 is the same for all encodings.
    ("euc-jp", "担当〜−‖¢£¬".encode("euc_jp"), "担当～－∥￠￡￢"),
    ("iso-2022-jp", "担当〜−‖".encode("iso2022_jp"), "担当～－∥"),
    ("shift_jis", "～－∥￠￡￢".encode("cp932"), "～－∥￠￡￢"),
    # Its index of KOI8-U.
    ("koi8-ru", b"\xae\xbe \xa4", "ўЎ є"),
    ("koi8-r", b"\xae\xbe", "╝╬"),
]


@pytest.mark.parametrize(("charset", "data", "text"), CHARACTERS)
def test_characters_that_pythons_codecs_lack(charset: str, data: bytes, text: str) -> None:
    word = b"=?%s?B?%s?=" % (charset.encode(), base64.b64encode(data))
    message = parse(b"Subject: " + word + b"\nContent-Type: text/plain; charset=" + charset.encode() + b"\n\n" + data)
    assert message.subject == message.text == text
    assert message.defects == ()


def test_many_corrections_are_fast() -> None:
    within(2, lambda: decode_code_table(b"\xa2A" * 1_000_000, "big5hkscs"))
