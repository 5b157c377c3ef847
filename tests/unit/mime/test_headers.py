"""Header blocks, encoded words, parameters, dates."""

from datetime import UTC, datetime

import pytest

from shared.mime.dates import parse_date
from shared.mime.defects import Defects
from shared.mime.encoded_words import decode_words
from shared.mime.headers import parse_parameters
from shared.mime.parser import Importance, parse

WORDS = {
    "plain": ("hello", "hello"),
    "q": ("=?utf-8?q?caf=C3=A9_au_lait?=", "café au lait"),
    "b": ("=?UTF-8?B?Y2Fmw6k=?=", "café"),
    "b without padding": ("=?UTF-8?B?Y2Fmw6k?=", "café"),
    "b with junk": ("=?UTF-8?B?Y2 Fm-w6k=?=", "café"),
    "space between words": ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
    "space between word and text": ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
    "split character": ("=?utf-8?b?w6k=?= =?utf-8?b?w6k=?=", "éé"),
    "split in the middle": ("=?utf-8?q?caf=C3?= =?utf-8?q?=A9?=", "café"),
    "split across encodings": ("=?utf-8?q?caf=C3?= =?utf-8?b?qQ==?=", "café"),
    "language": ("=?utf-8*fr?q?caf=C3=A9?=", "café"),
    "glued": ("x=?utf-8?q?=C3=A9?=y", "xéy"),
    "spaces inside": ("=?utf-8?q?caf=C3=A9 au lait?=", "café au lait"),
    "equal signs": ("=?utf-8?q?a==b_=3D=_=C3=A9=?=", "a==b == é="),
    "equal signs before hexadecimal digits": ("=?utf-8?q?==C3=A9_=3D==?=", "=é ==="),
    "equal sign before a digit": ("=?utf-8?q?x=4?=", "x=4"),
    "equal sign before other letters": ("=?utf-8?q?n=zz=g1?=", "n=zz=g1"),
    "equal sign at the end": ("=?utf-8?q?a=?= =?utf-8?q?b=?= =?utf-8?q?=3D=?=", "a=b==="),
    "split escape": ("=?utf-8?q?caf=C3=?= =?utf-8?q?A9_=C?= =?utf-8?Q?3=A9?=", "café é"),
    "split escape, one equal sign before": ("=?utf-8?q?a==?= =?utf-8?q?41?=", "a=A"),
    "an escape is not split by text": ("=?utf-8?q?a=?= x =?utf-8?q?41?=", "a= x 41"),
    "nor between charsets": ("=?utf-8?q?a=?= =?latin1?q?41?=", "a=41"),
    "nor between encodings": ("=?utf-8?q?a=?= =?utf-8?b?NDE=?=", "a=41"),
    "latin": ("=?iso-8859-1?q?caf=E9_=80?=", "café €"),
    "gb2312 is gb18030": ("=?gb2312?b?gTCBMA==?=", "\x80"),
    "shift_jis is cp932": ("=?shift_jis?b?h0A=?=", "①"),
    "iso-2022-jp": ("=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
    "wrong charset": ("=?us-ascii?q?caf=C3=A9?=", "café"),
    "unknown charset": ("=?x-what?q?caf=C3=A9?=", "café"),
    "unknown charset, not utf-8": ("=?x-what?q?caf=E9?=", "café"),
    "not a charset of mail": ("=?rot13?q?abc?=", "abc"),
    "line break inside": ("=?utf-8?q?a=0D=0ABcc:_x?=", "a Bcc: x"),
    "question marks": ("=?utf-8?Q?Wann_k=C3=B6nnen_Sie?_Bitte_antworten?=", "Wann können Sie? Bitte antworten"),
    "question marks at the end": ("=?utf-8?Q?Gr=C3=BC=C3=9Fe???= x", "Grüße?? x"),
    "question marks in two words": ("=?utf-8?Q?a?b?= =?utf-8?Q?c?d=?= =?utf-8?q?C3=BC?=", "a?bc?dü"),
    "an open word before a word": ("=?utf-8?Q?a? b =?utf-8?Q?=C3=BC?=", "=?utf-8?Q?a? b ü"),
    "a word in question marks": ("?=?utf-8?Q?=C3=BC?=?", "?ü?"),
    "no word": ("=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
    "open word": ("=?utf-8?q?abc", "=?utf-8?q?abc"),
    "surrogates": ("=?utf-7?q?+2D0-?=", "\N{REPLACEMENT CHARACTER}"),
}


@pytest.mark.parametrize(("text", "expected"), WORDS.values(), ids=WORDS)
def test_7_7_encoded_words(text: str, expected: str) -> None:
    assert decode_words(text, Defects()) == expected


def test_question_marks_in_words_of_names_and_in_raw_octets() -> None:
    word = b"=?iso-8859-1?Q?Wann? F\xfcr_K=F6ln?="
    head = b"Subject: " + word + b"\nFrom: =?utf-8?Q?Wer?_J=C3=B6rg?= <ann@example.com>\n"
    message = parse(head + b'Content-Type: a/b; name="=?utf-8?Q?Wann?_J=C3=B6rg.pdf?="\n\nx')
    assert message.subject == "Wann? Für Köln"
    assert message.from_[0].name == "Wer? Jörg"
    assert message.attachments[0].name == "Wann? Jörg.pdf"


RAW = {
    "utf-8": (b"Subject: caf\xc3\xa9\n\n", "café", False),
    "not utf-8": (b"Subject: caf\xe9 \x80\n\n", "café €", True),
    "folded": (b"Subject: a\r\n b\r\n\tc\r\n\r\n", "a b c", False),
    "bare LF": (b"Subject: a\n b\n\n", "a b", False),
    "bare CR": (b"Subject: a\rFrom: x@y\r\rbody", "a", False),
    "CR CR LF": (b"Subject: a\r\r\n b\r\r\nX: y\r\r\n\r\r\n", "a b", False),
    "stray CR": (b"Subject: a\rb\nX: y\n\n", "a b", False),
    "NUL": (b"Subject: a\0b\n\n", "a b", False),
    "space before colon": (b"Subject : a\n\n", "a", False),
    "no header end": (b"Subject: a", "a", False),
    "mbox line": (b"From x@y Mon Jan  1 10:00:00 2024\nSubject: a\n\n", "a", False),
    "repeated": (b"Subject: a\nSubject: b\n\n", "a", True),
    "broken folding": (b"Subject: a\nrest\nTo: x@y\n\n", "a rest", True),
    "junk first": (b"junk\nSubject: a\n\n", "a", True),
    "absent": (b"X: y\n\n", "", False),
    "empty": (b"", "", False),
}


@pytest.mark.parametrize(("data", "subject", "defect"), RAW.values(), ids=RAW)
def test_7_6_header_blocks(data: bytes, subject: str, defect: bool) -> None:
    message = parse(data)
    assert message.subject == subject
    assert bool(message.defects) is defect, message.defects


def test_7_6_a_header_without_an_empty_line_ends_where_the_text_begins() -> None:
    message = parse(b"Subject: a\nDear reader,\nplease note: this\n\nBye\n")
    assert message.subject == "a"
    assert message.text == "Dear reader,\nplease note: this\n\nBye\n"
    assert message.defects == ("no empty line between header and body",)


def test_7_3_headers_are_kept_in_order_as_decoded_text() -> None:
    message = parse(b"b: 1\nA: =?utf-8?q?=C3=A9?=\nB: 2\n\n")
    assert message.headers == (("b", "1"), ("A", "é"), ("B", "2"))


PARAMETERS: dict[str, tuple[str, str, str | None]] = {
    "quoted": ('text/plain; name="a b.txt"', "name", "a b.txt"),
    "bare": ("text/plain; name=a b.txt", "name", "a b.txt"),
    "escaped": ('text/plain; name="a\\"b"', "name", 'a"b'),
    "windows path": ('text/plain; name="C:\\x\\y.txt"', "name", "C:\\x\\y.txt"),
    "semicolon inside": ('text/plain; name="a;b=c.txt"; x=y', "name", "a;b=c.txt"),
    "upper case": ("text/plain; NAME=x", "name", "x"),
    "first counts": ("text/plain; name=x; name=y", "name", "x"),
    "extended": ("a/b; filename*=utf-8'en'caf%C3%A9.txt", "filename", "café.txt"),
    "extended latin": ("a/b; filename*=iso-8859-1''caf%E9", "filename", "café"),
    "extended wins": ("a/b; filename=x; filename*=utf-8''y", "filename", "y"),
    "sections": ('a/b; filename*0="a"; filename*1="b"', "filename", "ab"),
    "sections out of order": ('a/b; filename*1="b"; filename*0="a"', "filename", "ab"),
    "extended sections": ("a/b; filename*0*=utf-8''caf%C3; filename*1*=%A9; filename*2=%41", "filename", "café%41"),
    "encoded word": ('a/b; filename="=?utf-8?q?caf=C3=A9?="', "filename", "café"),
    "sections of an encoded word": ('a/b; name*0="=?utf-8?q?caf"; name*1="=C3=A9?="', "name", "café"),
    "extended without charset": ("a/b; filename*=caf%C3%A9", "filename", "café"),
    "not closed": ('a/b; name="x', "name", "x"),
    "absent": ("a/b", "name", None),
}


@pytest.mark.parametrize(("text", "name", "value"), PARAMETERS.values(), ids=PARAMETERS)
def test_7_3_parameters(text: str, name: str, value: str | None) -> None:
    assert parse_parameters(text, Defects()).parameters.get(name) == value


DATES: dict[str, tuple[str, datetime | None, bool]] = {
    "usual": ("Mon, 23 Nov 2026 10:00:05 +0100", datetime(2026, 11, 23, 9, 0, 5, tzinfo=UTC), False),
    "no weekday": ("3 Nov 2026 10:00 -0530", datetime(2026, 11, 3, 15, 30, tzinfo=UTC), False),
    "comment": ("Mon, 23 Nov 2026 10:00:05 +0000 (GMT)", datetime(2026, 11, 23, 10, 0, 5, tzinfo=UTC), False),
    "obsolete zone": ("Mon, 23 Nov 2026 10:00:05 EST", datetime(2026, 11, 23, 15, 0, 5, tzinfo=UTC), False),
    "military zone": ("Mon, 23 Nov 2026 10:00:05 A", datetime(2026, 11, 23, 10, 0, 5, tzinfo=UTC), True),
    "no zone": ("Mon, 23 Nov 2026 10:00:05", datetime(2026, 11, 23, 10, 0, 5, tzinfo=UTC), True),
    "two-digit year": ("1 Jan 49 10:00:00 GMT", datetime(2049, 1, 1, 10, tzinfo=UTC), False),
    "older two-digit year": ("1 Jan 98 10:00:00 GMT", datetime(1998, 1, 1, 10, tzinfo=UTC), False),
    "three-digit year": ("1 Jan 126 10:00:00 GMT", datetime(2026, 1, 1, 10, tzinfo=UTC), False),
    "leap second": ("31 Dec 2016 23:59:60 GMT", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC), False),
    "long month": ("Monday, 23 November 2026 10:00:00 GMT", datetime(2026, 11, 23, 10, tzinfo=UTC), False),
    "dashes": ("23-Nov-2026 10:00:00 +0000", datetime(2026, 11, 23, 10, tzinfo=UTC), False),
    "ctime": ("Mon Nov 23 10:00:00 2026", datetime(2026, 11, 23, 10, tzinfo=UTC), True),
    "ctime with zone": ("Mon Nov  3 10:00:00 PST 2026", datetime(2026, 11, 3, 18, tzinfo=UTC), False),
    "iso": ("2026-11-23T10:00:00Z", datetime(2026, 11, 23, 10, tzinfo=UTC), False),
    "31 June": ("31 Jun 2026 10:00:00 GMT", None, True),
    "25 hours": ("1 Jun 2026 25:00:00 GMT", None, True),
    "zone of 99 hours": ("1 Jun 2026 10:00:00 +9900", None, True),
    "year 1": ("1 Jan 0001 00:00:00 +0100", None, True),
    "year 9999": ("31 Dec 9999 23:59:59 -0100", None, True),
    "words": ("yesterday", None, True),
    # Half days.
    "afternoon": ("Mon 23 Nov 2026 06:09:22 PM EST", datetime(2026, 11, 23, 23, 9, 22, tzinfo=UTC), False),
    "noon": ("23 Nov 2026 12:00 p.m. +0000", datetime(2026, 11, 23, 12, tzinfo=UTC), False),
    "midnight": ("23 Nov 2026 12:00AM +0000", datetime(2026, 11, 23, 0, tzinfo=UTC), False),
    "date(1)": ("Mon Nov 23 06:09:22 PM EST 2026", datetime(2026, 11, 23, 23, 9, 22, tzinfo=UTC), False),
    "afternoon of 24 hours": ("23 Nov 2026 18:00 PM +0000", datetime(2026, 11, 23, 18, tzinfo=UTC), False),
    "morning of 24 hours": ("23 Nov 2026 18:00 AM +0000", None, True),
    "hour 0 of the afternoon": ("23 Nov 2026 00:30 PM +0000", None, True),
    "half day behind the zone": ("23 Nov 2026 06:00 +0000 PM", None, True),
    "half day in another language": ("23 Nov 2026 06:00 \uc624\ud6c4 +0900", None, True),
    # Offsets.
    "JavaScript": ("Mon Nov 23 2026 13:40:00 GMT+0100 (CET)", datetime(2026, 11, 23, 12, 40, tzinfo=UTC), False),
    "older JavaScript": ("Mon Nov 23 13:40:00 UTC+0100 2026", datetime(2026, 11, 23, 12, 40, tzinfo=UTC), False),
    "no sign": ("Mon, 23 Nov 2026 23:37:59 0530", datetime(2026, 11, 23, 18, 7, 59, tzinfo=UTC), False),
    "three digits": ("Mon, 23 Nov 2026 10:00:00 -500", datetime(2026, 11, 23, 15, tzinfo=UTC), False),
    "two digits": ("2026-11-23T10:00:00+02", datetime(2026, 11, 23, 8, tzinfo=UTC), False),
    "one digit": ("Mon, 23 Nov 2026 10:00:00 GMT+1", datetime(2026, 11, 23, 9, tzinfo=UTC), False),
    "behind a known zone": ("Mon, 23 Nov 2026 10:00:00 EST -0500", datetime(2026, 11, 23, 15, tzinfo=UTC), False),
    "against a known zone": ("Mon, 23 Nov 2026 10:00:00 CET +0200", None, True),
    "year behind the time": ("Mon, 23 Nov 2026 10:00:00 2026", None, True),
    "90 minutes": ("Mon, 23 Nov 2026 10:00:00 +0090", None, True),
    "zone in words": ("Mon, 23 Nov 2026 10:00:00 Eastern Standard Time", None, True),
    "POSIX zone": ("Mon, 23 Nov 2026 10:00:00 EST5EDT", None, True),
    "comment never closed": ("Mon, 23 Nov 2026 10:00:00 +0100 (C", datetime(2026, 11, 23, 9, tzinfo=UTC), False),
    "nested comments": ("23 Nov 2026 10:00 (a (b)) +0100", datetime(2026, 11, 23, 9, tzinfo=UTC), False),
    # Orders and weekdays.
    "month first": ("Monday, November 23, 2026 9:05 AM", datetime(2026, 11, 23, 9, 5, tzinfo=UTC), True),
    "month first, zone": ("Nov 3rd, 2026 at 9:05 pm -0500", datetime(2026, 11, 4, 2, 5, tzinfo=UTC), False),
    "weekday in Russian": ("\u041f\u043d, 23 Nov 2026 10:00 +0300", datetime(2026, 11, 23, 7, tzinfo=UTC), False),
    "weekday misread": ("\u00cf\u00ed, 23 Nov 2026 10:00 +0300", datetime(2026, 11, 23, 7, tzinfo=UTC), False),
    "weekday of two words": ("Th\u1ee9 Hai, 23 Nov 2026 10:00 +0700", datetime(2026, 11, 23, 3, tzinfo=UTC), False),
    "encoded weekday": ("=?utf-8?q?L=C3=BA?=, 3 Nov 2026 10:00 GMT", datetime(2026, 11, 3, 10, tzinfo=UTC), False),
    "three-digit day": ("Mon, 023 Nov 2026 10:00 GMT", datetime(2026, 11, 23, 10, tzinfo=UTC), False),
    "month in Finnish": ("ma, 23 marras 2026 10:00 +0200", datetime(2026, 11, 23, 8, tzinfo=UTC), False),
    "longer month in Finnish": ("23 marraskuu 2026 10:00 +0200", datetime(2026, 11, 23, 8, tzinfo=UTC), False),
    "month in Manx": ("23 Mayrnt 2026 10:00 GMT", datetime(2026, 3, 23, 10, tzinfo=UTC), False),
    "month in Italian": ("lun, 23 marzo 2026 10:00 GMT", datetime(2026, 3, 23, 10, tzinfo=UTC), False),
    "month of four letters": ("Sept. 23, 2026 10:00 GMT", datetime(2026, 9, 23, 10, tzinfo=UTC), False),
    "day without separator": ("Mon23 Nov 2026 10:00 GMT", datetime(2026, 11, 23, 10, tzinfo=UTC), False),
    "weekday with full stop": ("Mon.,Nov 23 2026 10:00 GMT", datetime(2026, 11, 23, 10, tzinfo=UTC), False),
    "ambiguous": ("11-04-2026", None, True),
    "ambiguous with a time": ("11/04/2026 10:00:00 +0000", None, True),
}


@pytest.mark.parametrize(("text", "sent", "defect"), DATES.values(), ids=DATES)
def test_7_3_dates(text: str, sent: datetime | None, defect: bool) -> None:
    defects = Defects()
    assert parse_date(text, defects) == sent
    assert bool(defects.as_tuple()) is defect, defects.as_tuple()


@pytest.mark.parametrize("month", range(1, 13))
@pytest.mark.parametrize("weekday", ["", "Wed ", "Wed, ", "Wednesday, "])
def test_7_3_the_name_of_the_month_before_the_day(weekday: str, month: int) -> None:
    name = f"{datetime(2026, month, 3, tzinfo=UTC):%B}"
    for text in (f"{name} 3, 2026 9:05 AM", f"{name} 3rd, 2026 at 9:05 AM", f"{name} 3, 2026 10:05:00 +0100"):
        assert parse_date(weekday + text, Defects()) == datetime(2026, month, 3, 9, 5, tzinfo=UTC), text


IMPORTANCE: list[tuple[str, Importance]] = [
    ("Importance: High", "high"),
    ("X-Priority: 1 (Highest)", "high"),
    ("X-Priority: 2", "high"),
    ("Priority: Urgent", "high"),
    ("X-Priority: 3", "normal"),
    ("X-Priority: 10", "normal"),
    ("X-Priority: urgent", "normal"),
    ("Priority: normal", "normal"),
    ("Importance: low", "low"),
    ("X-Priority: 5", "low"),
    ("Importance: low\nX-Priority: 1", "high"),
    ("X: y", "normal"),
]


@pytest.mark.parametrize(("header", "importance"), IMPORTANCE)
def test_3_2_importance(header: str, importance: Importance) -> None:
    message = parse(f"{header}\n\n".encode())
    assert message.importance == importance
    assert message.important is (importance == "high")


def test_7_3_message_ids() -> None:
    message = parse(b"Message-ID: <a\n b@c>\nIn-Reply-To: Your mail <d@e>\nReferences: <f@g>\n <d@e> <f@g>\n\n")
    assert message.message_id == "ab@c"
    assert message.in_reply_to == ("d@e",)
    assert message.references == ("f@g", "d@e")


@pytest.mark.parametrize(("header", "expected"), [("", None), ("Message-ID: x@y\n", "x@y"), ("Message-ID: <>\n", None)])
def test_4_3_a_malformed_message_id(header: str, expected: str | None) -> None:
    assert parse(f"{header}X: y\n\n".encode()).message_id == expected


def test_4_3_a_repeated_message_id_is_ignored() -> None:
    message = parse(b"Message-ID: <a@b>\nMessage-ID: <a@b>\n\n")
    assert message.message_id is None
    assert len(message.defects) == 1
