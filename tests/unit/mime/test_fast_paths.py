"""Each fast path for common input agrees with the general parser."""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Callable

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mime import dates, headers, html_text, transfer_encoding
from shared.mime.defects import Defects

NEVER = re.compile(r"(?!)")

DATE = st.tuples(
    st.sampled_from(["Mon, ", "Xyz, ", "", "Montag, "]),
    st.sampled_from(["1", "01", "23", "29", "31", "99"]),
    st.sampled_from([" Nov ", " Feb ", " nov ", " Xxx ", " November "]),
    st.sampled_from(["2026", "2024", "1969", "1970", "9999", "26", "0000"]),
    st.sampled_from([" 10:00:05", " 00:00:00", " 23:59:60", " 24:00:00", " 9:00:00", " 10:00", " 10:60:00"]),
    st.sampled_from([" +0100", " -0000", " -1200", " +2359", " -2400", " +9959", " +0160", " GMT", ""]),
    st.sampled_from(["", " (CET)", " (PM)", " (a (b))", " PM", "x"]),
).map("".join)


@given(DATE)
def test_dates_agree(text: str) -> None:
    def read() -> object:
        defects = Defects()
        return dates.parse_date(text, defects), defects.as_tuple()

    fast = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dates, "_USUAL", NEVER)
        assert read() == fast


@given(
    st.lists(
        st.sampled_from(
            ["text/plain", "Text/HTML", "attachment", ";", " ", "charset=utf-8", 'charset="a b"', "boundary=x", "name=",
             "=?utf-8?q?a?=", "filename*0=a", "filename*=utf-8''%C3%A9", '"', "format=flowed", "(c)",
             "; name==?x-none?q?=C3=A9?=", ";filename*=x-none''%C3%A9"]
        ),
        max_size=6,
    ).map("".join)
)  # fmt: skip
def test_cached_values_with_parameters_agree(text: str) -> None:
    def read() -> object:
        defects = Defects()
        return headers.parse_parameters(text, defects), defects.as_tuple()

    first, second = read(), read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headers, "_MAX_CACHED_LENGTH", -1)
        assert first == second == read()


@given(
    st.lists(
        st.sampled_from(
            ["<a", " ", "\n", "/", "=", '"', "'", "b", "href", ">", "x=y", ' c="d"', ' ="', '/="', '">', "'>", "é"]
        ),
        max_size=14,
    ).map("".join)
)
def test_tags_agree(attributes: str) -> None:
    """The fast pattern for attributes ends a tag where the standard does, if it finds an end."""
    text = f"<a{attributes}"
    tag = html_text._TAG.match(text)
    general = re.compile(
        rf"<(/?+)([A-Za-z][^ \t\n\f\r/>]*+)((?:[ \t\n\f\r/]++|{html_text._UNNAMED})*+>)", re.VERBOSE
    ).match(text)
    assert (tag and tag.span()) == (general and general.span())


@given(st.text(alphabet=" \n\t\r\f\va\xa0\u2003é", max_size=40))
def test_folded_white_space_agrees(text: str) -> None:
    assert html_text._fold(text) == re.sub(r"[ \t\n\f\r\v]+", " ", text).strip(" ")


@given(
    st.lists(
        st.sampled_from(
            ["&", "&amp;", "&#65;", "&#65", "&#x41", "&#0;", "&notit;", "&nbsp", "#", ";", "a", " ", "&#99999999;"]
        ),
        max_size=8,
    ).map("".join)
)
def test_character_references_agree(text: str) -> None:
    numbers = re.sub(r"&#0*(?:[0-9]{8,}|[xX][0-9A-Fa-f]{8,});?", "\N{REPLACEMENT CHARACTER}", text)
    assert html_text._unescape(text) == html.unescape(numbers)


@given(
    st.lists(
        st.sampled_from([b"=", b"a", b"4", b" ", b"\t", b"\r", b"\n", b"=C3=A9", b"=\r\n", b"=\n"]), max_size=10
    ).map(b"".join)
)
def test_quoted_printable_agrees(data: bytes) -> None:
    def read() -> object:
        defects = Defects()
        return transfer_encoding._decode_escapes(data, defects), defects.as_tuple()

    fast = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            transfer_encoding,
            "_decode_escapes",
            lambda data, defects: binascii.a2b_qp(transfer_encoding._repair_escapes(data, defects)),
        )
        assert read() == fast


BASE64 = st.lists(
    st.one_of(
        st.binary(max_size=6), st.sampled_from([b"QUJD", b"QUI=", b"QQ==", b"QR==", b"QQ", b"=", b"\r\n", b"-_"])
    ),
    max_size=12,
).map(b"".join)


@given(BASE64)
def test_base64_agrees(data: bytes) -> None:
    def read() -> object:
        defects = Defects()
        return b"".join(transfer_encoding.decode_pieces([data], "base64", defects)), defects.as_tuple()

    fast = read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer_encoding, "_decode_single_run", lambda _data: (None, b""))
        assert read() == fast


@st.composite
def long_base64(draw: st.DrawFn) -> bytes:
    """Long enough for vector instructions, which read 32 letters or more at a time; some letters are replaced."""
    data = bytearray(binascii.b2a_base64(draw(st.binary(min_size=100, max_size=1_000)), newline=False))
    for _ in range(draw(st.integers(0, 2))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from(b"=-_ \r\n\x00\xffA"))
    return bytes(data[: len(data) - draw(st.integers(0, 3))])


@given(st.one_of(BASE64, long_base64()))
def test_pybase64_and_binascii_agree(data: bytes) -> None:
    def read(decode: Callable[[], bytes]) -> bytes | None:
        try:
            return decode()
        except binascii.Error:
            return None

    assert read(lambda: pybase64.b64decode(data, validate=True)) == read(
        lambda: binascii.a2b_base64(data, strict_mode=True)
    )
