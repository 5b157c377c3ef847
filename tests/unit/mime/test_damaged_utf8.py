"""UTF-8: with bytes that are not UTF-8, as CESU-8, or declared multi-byte (classes 05, 06, 13, 15)."""

# ruff: noqa: RUF001 - letters of all alphabets look alike

import base64

import pytest

from shared.mime.damaged_utf8 import combine_surrogates, decode_damaged
from shared.mime.defects import Defects
from shared.mime.encoded_words import decode_words
from shared.mime.parser import Message, parse

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def text_message(data: bytes, charset: str = "", *headers: bytes, kind: str = "text/plain") -> Message:
    content = f"Content-Type: {kind}" + (f'; charset="{charset}"' if charset else "")
    return parse(b"\n".join([*headers, content.encode(), b"", data]))


DAMAGED = {
    "a footer in Latin-1": "Voici la facture réglée. À bientôt, Hélène\n-- \n".encode() + b"Ren\xe9\n",
    "cut": "Größe, Köln".encode() + b" \xc3",
    "cut before a line's end": "Grüße aus Köln, schöne Größe".encode() + b" \xc3\n",
    "cut within three bytes": "Здравствуйте, высылаю счёт – ".encode() + b"\xe2\x80",
    "one byte in Japanese": "お世話に\xa0".encode()[:-2] + b"\xff" + "なって".encode(),
    "a lone surrogate": "schöne Größe ".encode() + b"\xed\xa0\xbd.",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("charset", ["", "us-ascii", "utf-8", "unknown-8bit", "iso-2022-jp"])
def test_bad_bytes_in_utf_8_cost_only_themselves(charset: str, data: bytes) -> None:
    text = combine_surrogates(data).decode("utf-8", "replace")
    assert text_message(data, charset).text == text
    assert text_message(b"<p>" + data, charset, kind="text/html").html == f"<p>{text}"
    word = f"=?{charset or 'unknown'}?B?{base64.b64encode(data).decode()}?="
    assert decode_words(word, Defects()).split() == text.split()


@pytest.mark.parametrize("charset", ["iso-8859-1", "windows-1250", "koi8-r"])
def test_damaged_utf_8_declared_as_single_byte_is_utf_8(charset: str) -> None:
    for name in ("cut", "cut before a line's end", "cut within three bytes"):
        assert text_message(DAMAGED[name], charset).text == DAMAGED[name].decode("utf-8", "replace")
    text = "Voici la facture réglée. À bientôt, Hélène – "
    data = text.encode() + b"\xe9a."
    assert text_message(data, charset).text == text + data[len(text.encode()) :].decode(charset)


@pytest.mark.parametrize("text", ["schön, nicht schÃ¶n, und für, nicht fÃ¼r", "SOCIÃ‰TÃ", "Ã¼Ã¤Ã¶ Übung"])
def test_wrongly_decoded_letters_within_declared_text_stay(text: str) -> None:
    assert text_message(text.encode("cp1252"), "iso-8859-1").text == text


@pytest.mark.parametrize("data", [data for data in DAMAGED.values() if b"\n" not in data])
def test_bad_bytes_in_raw_utf_8_headers_cost_only_themselves(data: bytes) -> None:
    message = parse(
        b"Subject: "
        + data
        + b'\nFrom: "'
        + data
        + b'" <ann@example.com>\nContent-Type: a/b; name="'
        + data
        + b'.b"\n\nx'
    )
    text = combine_surrogates(data).decode("utf-8", "replace")
    assert message.subject == message.from_[0].name == text
    assert message.attachments[0].name == f"{text}.b"


@pytest.mark.parametrize("first", ["Hélène Martin", "Müller", "Иван", "山田太郎"])
@pytest.mark.parametrize("second", ["René Dupré", "Zoë"])
def test_each_name_of_a_list_is_decoded_on_its_own(first: str, second: str) -> None:
    names = [first.encode(), second.encode("latin-1"), b"Ann"]
    message = parse(b"To: " + b", ".join(b'"%s" <ann@example.com>' % name for name in names) + b"\n\nok")
    assert [address.name for address in message.to] == [first, second, "Ann"]


def test_names_in_two_cyrillic_charsets() -> None:
    raw = "Петров Иван".encode() + b" <a@example.com>, " + "Сидоров".encode("cp1251") + b" <b@example.com>"
    assert [address.name for address in parse(b"To: " + raw + b"\n\nok").to] == ["Петров Иван", "Сидоров"]


def test_names_in_other_charsets_are_not_utf_8() -> None:
    names = ["谢谢", "王小明", "李华"]  # the first is valid UTF-8 by coincidence
    raw = b", ".join(b"%s <ann@example.com>" % name.encode("gbk") for name in names)
    assert [address.name for address in parse(b"To: " + raw + b"\n\nok").to] == names


def test_a_utf_8_body_is_a_hint_for_raw_headers() -> None:
    data = "Ответ 5".encode()[:-2].replace("т".encode(), "т".encode()[:1], 2) + "да".encode()
    head = b"Subject: " + data + b"\nContent-Type: text/plain%s\n\nok"
    assert parse(head % b"; charset=utf-8").subject == data.decode("utf-8", "replace")
    assert parse(head % b"").subject != data.decode("utf-8", "replace")


@pytest.mark.parametrize("text", ["Thanks 😀", "Schöne Grüße 😀🎉", "😀"])
@pytest.mark.parametrize("charset", ["", "utf-8", "us-ascii"])
def test_pairs_of_surrogates_in_utf_8_are_one_character(charset: str, text: str) -> None:
    utf_16 = text.encode("utf-16-be")
    units = (chr(utf_16[index] << 8 | utf_16[index + 1]) for index in range(0, len(utf_16), 2))
    data = b"".join(unit.encode("utf-8", "surrogatepass") for unit in units)
    word = b"=?%s?B?%s?=" % (charset.encode() or b"utf-8", base64.b64encode(data))
    message = text_message(data, charset, b"Subject: " + data, b"From: " + word + b" <ann@example.com>")
    assert message.subject == message.from_[0].name == message.text == text


def test_a_pair_of_surrogates_is_certain_utf_8() -> None:
    assert text_message(b"Thanks \xed\xa0\xbd\xed\xb8\x80, caf\xe9 y").text == f"Thanks 😀, caf{REPLACEMENT} y"


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("gb18030", "谢谢您"), ("gb18030", "月份的发票"), ("euc_jp", "をお願い"), ("big5hkscs", "時候可"),
        ("cp949", "탁기가"), ("cp866", "февраль"), ("cp1251", "Ні, Вітя"), ("koi8_u", "дішлі"), ("cp874", "สวัสดีครับ"),
        ("cp1252", "SOCIÃ‰TÃ"),
    ],
)  # fmt: skip
def test_other_charsets_are_not_damaged_utf_8(codec: str, text: str) -> None:
    data = text.encode(codec)
    assert codec in {"cp1252", "cp866"} or decode_damaged(data) is None
    assert text_message(data, codec).text == text


MULTI_BYTE = ["gb2312", "gbk", "gb18030", "big5", "shift_jis", "euc-kr", "euc-jp"]


@pytest.mark.parametrize("charset", MULTI_BYTE)
@pytest.mark.parametrize(
    "text",
    [
        "您好，请查收附件",
        "Grüße aus Köln",
        "Здравствуйте",
        "いつもお世話になっております。",
        "안녕하세요",
        "Le déjà vu",
    ],
)
def test_utf_8_declared_as_double_byte_is_utf_8(charset: str, text: str) -> None:
    assert text_message(text.encode(), charset).text == text
    assert text_message(b"<p>" + text.encode(), charset, kind="text/html").text == text
    assert decode_words(f"=?{charset}?B?{base64.b64encode(text.encode()).decode()}?=", Defects()) == text


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("gb2312", "什么时"), ("gbk", "谢谢"), ("gbk", "iPhone没了"), ("gb18030", "您好，请查收附件"),
        ("big5", "請查收附件"), ("shift_jis", "見積書をお送りします"),
        ("euc-kr", "안녕하세요"), ("euc-jp", "表"), ("euc-jp", "見積書"),
    ],
)  # fmt: skip
def test_declared_double_byte_text_stays(charset: str, text: str) -> None:
    assert text_message(text.encode(charset), charset).text == text


@pytest.mark.parametrize("charset", ["utf-16", "unicode", "utf-16be", "utf-32"])
@pytest.mark.parametrize("text", ["<p>Grüße aus Köln</p>", "Grüße aus Köln", "The pump has failed. "])
def test_utf_8_declared_as_utf_16_is_utf_8(charset: str, text: str) -> None:
    assert text_message(text.encode(), charset).text == text
    assert text_message(text.encode() + b".", charset).text == text + "."


@pytest.mark.parametrize("text", ["你好", "Grüße", "Hi Ann. How are you?\n", "发票", "関 西 弁"])
def test_utf_16_stays_utf_16(text: str) -> None:
    for codec in ("utf-16-be", "utf-16-le"):
        assert text_message(text.encode(codec), codec.replace("16-", "16")).text == text
