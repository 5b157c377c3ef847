from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imapclient import imap_utf7

from shared.mailboxes.imap.errors import ProtocolViolation
from shared.mailboxes.imap.syntax import ListParser, expand_set, folder_name, internal_date, quoted_string, uid_sets


def parse(text: bytes) -> list[object]:
    parser = ListParser()
    parser.feed_text(text)
    assert parser.is_complete
    return parser.current


def test_uid_sets() -> None:
    assert list(uid_sets([])) == []
    assert list(uid_sets([5])) == [b"5"]
    assert list(uid_sets([3, 1, 2, 7, 5, 4, 7])) == [b"1:5,7"]
    assert list(uid_sets([1, 3, 5, 7], length=4)) == [b"1,3", b"5,7"]


@given(st.sets(st.integers(1, 2**32 - 1) | st.integers(1, 50)), st.integers(25, 60))
def test_uid_sets_contain_exactly_the_uids(uids: set[int], length: int) -> None:
    sets = list(uid_sets(uids, length))
    assert [uid for uid_set in sets for uid in expand_set(uid_set)] == sorted(uids)
    assert all(len(uid_set) <= length for uid_set in sets)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"", []),
        (b"(UID 5 FLAGS (\\Seen $Label) X NIL)", [[b"UID", b"5", b"FLAGS", [b"\\Seen", b"$Label"], b"X", None]]),
        (b'(BODY[] "a (b) \\"c\\" \\\\ {3}")', [[b"BODY[]", b'a (b) "c" \\ {3}']]),
        (b'("" nil "NIL")', [[b"", None, b"NIL"]]),
        (b"(BODY[HEADER.FIELDS (TO CC)]<0> x)", [[b"BODY[HEADER.FIELDS (TO CC)]<0>", b"x"]]),
        (b"((()))", [[[[]]]]),
    ],
)
def test_list_parser(text: bytes, value: list[object]) -> None:
    assert parse(text) == value


def test_list_parser_with_literals() -> None:
    parser = ListParser()
    parser.feed_text(b"(UID 1 BODY[] ")
    assert parser.depth == 1
    parser.feed_literal(b"a) (b")
    parser.feed_text(b' X ("y')
    assert not parser.is_complete
    parser.feed_text(b"))")
    assert parser.is_complete
    assert parser.current == [[b"UID", b"1", b"BODY[]", b"a) (b", b"X", [b"y"]]]


@given(st.binary())
def test_the_parser_raises_only_protocol_violation(text: bytes) -> None:
    parser = ListParser()
    try:
        parser.feed_text(text)
    except ProtocolViolation:
        assert b")" in text


@given(st.text())
def test_folder_names_are_one_line_and_round_trip(name: str) -> None:
    try:
        name.encode("utf-16")
    except UnicodeEncodeError:
        return
    quoted = folder_name(name)
    assert quoted.isascii()
    assert quoted[:1] == quoted[-1:] == b'"'
    assert not set(quoted) & set(b"\r\n\0")
    assert imap_utf7.decode(quoted[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\")) == name


def test_quoted_strings() -> None:
    assert quoted_string(b'a "b" \\') == b'"a \\"b\\" \\\\"'
    for text in (b"a\rb", b"a\nb", b"a\0b"):
        with pytest.raises(ValueError, match="line break"):
            quoted_string(text)


def test_internal_dates() -> None:
    date = internal_date(b" 7-Jul-2026 02:44:25 -0700")
    assert date is not None
    assert date.isoformat() == "2026-07-07T02:44:25-07:00"
    for text in (b"", b"yesterday", b"32-Jul-2026 02:44:25 -0700", b"\xff", b"17-Jul-2026 02:44:25"):
        assert internal_date(text) is None
