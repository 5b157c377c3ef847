"""Decoding of bytes: labels, ISO-2022, undeclared and wrongly declared charsets, raw headers, NUL."""

# ruff: noqa: RUF001 - letters of all alphabets look alike

import base64
import codecs
import encodings
import pkgutil

import pytest

from shared.mime import iso2022
from shared.mime.buffer import Buffer
from shared.mime.charset_guess import rank_charsets, take_sample
from shared.mime.charset_hints import CharsetHints
from shared.mime.charset_labels import PYTHON_CODECS, codec_for, is_ascii_compatible
from shared.mime.defects import Defects
from shared.mime.encoded_words import decode_words
from shared.mime.parser import Message, parse
from tests.cpu_time import within

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def text_message(data: bytes, charset: str = "", *headers: bytes, kind: str = "text/plain") -> Message:
    content = f"Content-Type: {kind}" + (f'; charset="{charset}"' if charset else "")
    return parse(b"\n".join([*headers, content.encode(), b"", data]))


# 01: labels


@pytest.mark.parametrize(
    ("label", "codec"),
    {
        "koi8-u": "koi8_u", "KOI8-RU": "koi8_u", "windows-874": "cp874", "tis-620": "cp874", "TIS620": "cp874",
        "x-mac-roman": "mac_roman", "x-mac-cyrillic": "mac_cyrillic", "x-mac-ce": "mac_latin2", "iso88592": "iso8859_2",
        "ISO8859_2": "iso8859_2", "iso 8859-2": "iso8859_2", "x-cp1251": "cp1251", "win-1251": "cp1251",
        "windows1251": "cp1251", "cp-1250": "cp1250", "ks_c_5601-1987": "cp949", "x-windows-949": "cp949",
        "gb2312": "gb18030", "x-gbk": "gb18030", "cp936": "gb18030", "x-sjis": "cp932", "windows-31j": "cp932",
        "cp50221": "iso2022_jp", "cp51932": "euc_jp", "x-x-big5": "big5hkscs", "big5-hkscs": "big5hkscs",
        "logical": "iso8859_8", "ISO-8859-8-I": "iso8859_8", "iso-8859-9": "cp1254", "iso-8859-11": "cp874",
        "latin-1": "cp1252", "cp65001": "utf_8", "unicode-1-1-utf-8": "utf_8", "utf8mb4": "utf_8", "'UTF8'": "utf_8",
        "CP720": "cp720", "mac_greek": "mac_greek", "kz-1048": "kz1048", "ptcp-154": "ptcp154", "ibm850": "cp850",
        "hp-roman8": "hp_roman8", "ucs-2": "utf_16_le", "hz-gb-2312": "hz", "us-ascii": "ascii",
        "TIS-620-2533": "cp874", "TIS620.2533-1": "cp874", "iso-ir-203": "iso8859_15", "ISO_8859-15:1998": "iso8859_15",
        "macce": "mac_latin2",
    }.items(),
)  # fmt: skip
def test_labels_have_codecs(label: str, codec: str) -> None:
    assert codec_for(label) == codec


@pytest.mark.parametrize(
    "label",
    ["rot13", "base64", "idna", "punycode", "unicode_escape", "undefined", "hex", "zlib", "charmap", "mbcs", "x-what",
     "", "8bit", "windows-1259", "iso-8859-12", "x-user-defined", "é", "\0utf-8", "u" * 500],
)  # fmt: skip
def test_what_is_not_a_charset_has_no_codec(label: str) -> None:
    assert codec_for(label) is None


def test_every_text_codec_of_python_is_known_with_and_without_hyphens() -> None:
    modules = {module.name for module in pkgutil.iter_modules(encodings.__path__)} - {
        "aliases",
        "mbcs",
        "oem",
        "cp65001",
    }
    text = {name for name in modules if getattr(codecs.lookup(name), "_is_text_encoding", True)}
    no_charsets = {"charmap", "idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}
    assert set(PYTHON_CODECS) >= text - no_charsets - {"mac_centeuro"}
    for name in PYTHON_CODECS:
        assert codec_for(name) == codec_for(name.replace("_", "-")) == codec_for(name.replace("_", "")) is not None


def test_a_charset_is_ascii_compatible_only_if_ascii_is_the_same_in_it() -> None:
    printable = bytes(range(0x20, 0x7F)).replace(b"%", b"").replace(b"\\", b"").replace(b"~", b"")
    for name in PYTHON_CODECS:
        codec = codec_for(name)
        assert codec is not None
        if is_ascii_compatible(codec):
            assert printable.decode(codec) == printable.decode("ascii"), codec


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("koi8-u", "Доброго дня, чекаємо на їжу"), ("tis-620", "ขอใบเสร็จ"), ("x-mac-roman", "Grüße"),
        ("iso88592", "Zażółć"), ("windows-1257", "Ačiū už žinią"), ("x-mac-cyrillic", "Договор"), ("dos-862", "שלום"),
    ],
)  # fmt: skip
def test_a_label_counts_in_text_subject_and_names(label: str, text: str) -> None:
    codec = codec_for(label)
    assert codec is not None
    data = text.encode(codec)
    word = b"=?%s?B?%s?=" % (label.encode(), base64.b64encode(data))
    head = b"Subject: %s\nFrom: %s <ann@example.com>\nContent-Type: multipart/mixed; boundary=b\n\n--b\n" % (word, word)
    plain = b"Content-Type: text/plain; charset=%s\n\n%s\n" % (label.encode(), data)
    page = b"--b\nContent-Type: text/html; charset=%s\n\n<p>%s\n" % (label.encode(), data)
    file = b'--b\nContent-Type: application/pdf; name="%s"\n\nx\n--b--\n' % word
    message = parse(head + plain + page + file)
    assert message.subject == message.from_[0].name == message.attachments[0].name == text
    assert message.text == f"{text}\n{text}"
    assert message.html == f"<p>{text}"
    assert message.defects == ()


# 02: ISO-2022


JIS = {
    "NEC row 13": (b"\x1b$B-!-j\x1b(B", "①㈱"),
    "NEC row 13, Roman numbers": (b"\x1b$B-5-6\x1b(B", "ⅠⅡ"),
    "IBM extensions": (b"\x1b$By_|b\x1b(B!", "﨏髙!"),
    "half-width kana": (b"\x1b(I39=\x1b(B ok", "ｳｹｽ ok"),
    "half-width kana, 8 bits": (b"\xb3\xb9\xbd \x1b$B$4\x1b(B", "ｳｹｽ ご"),
    "half-width kana, shifted": (b"\x0e39=\x0f\x1b$B$4\x1b(B", "ｳｹｽご"),
    "one unknown character": (b"\x1b$B$4(z$4\x1b(B.", f"ご{REPLACEMENT}ご."),
    "half a character": (b"\x1b$B$4$\x1b(B.", f"ご{REPLACEMENT}."),
    "a line's end selects ASCII": (b"\x1b$B$4\nabc", "ご\nabc"),
    "JIS X 0201": (b"\x1b(J\\100~\x1b(B\\", "¥100\N{OVERLINE}\\"),
    "JIS X 0208-1978": (b"\x1b$@$4\x1b(B", "ご"),
    "JIS X 0212": (b"\x1b$(D0!\x1b(B", "丂"),
    "JIS X 0213": (b"\x1b$(Q.!\x1b(B", "俱"),
    "JIS X 0213, plane 2": (b"\x1b$(P!!\x1b(B", "𠂉"),
    "GB 2312": (b'\x1b$A7"F1\x1b(B', "发票"),
    "KS X 1001": (b"\x1b$(CGQ1[\x1b(B", "한글"),
    "Latin-1 in G2": (b"caf\x1b.A\x1bNi", "café"),
    "wave dash and minus, as in Shift_JIS": (b"\x1b$B!A!](z\x1b(B\x1b$B!A!]\x1b(B", f"～－{REPLACEMENT}～－"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "text"), JIS.values(), ids=JIS)
@pytest.mark.parametrize("charset", ["ISO-2022-JP", "iso-2022-jp-ms", "cp50221", "iso-2022-jp-2", "ISO-2022-JP-EXT"])
def test_iso_2022_jp_as_mailers_send_it(charset: str, data: bytes, text: str) -> None:
    message = text_message(data, charset)
    assert message.text == text
    assert bool(message.defects) is (REPLACEMENT in text)


def test_iso_2022_jp_in_words_names_and_pages() -> None:
    word = b"=?ISO-2022-JP?B?%s?=" % base64.b64encode(b"\x1b$B-!\x1b(B.pdf")
    raw = b"\x1b$B-!\x1b(B"
    message = parse(
        b"Subject: " + word + b"\nFrom: " + raw + b" <ann@example.com>\nContent-Type: multipart/mixed; boundary=b\n\n"
        b"--b\nContent-Type: text/html; charset=iso-2022-jp\n\n<p>" + raw + b"</p>\n"
        b'--b\nContent-Type: a/b; name="' + raw + b'.pdf"\n\nx\n--b--\n'
    )
    assert message.subject == message.attachments[0].name == "①.pdf"
    assert message.from_[0].name == message.text == "①"


def test_iso_2022_kr_loses_one_character_only() -> None:
    valid = b"\x1b$)C\n\x0eGQ1[\x0f ok\n"
    assert text_message(valid, "iso-2022-kr").text == valid.decode("iso2022_kr")
    assert text_message(valid.replace(b"1[", b"ID"), "iso-2022-kr").text == f"\n한{REPLACEMENT} ok\n"
    assert text_message("한글".encode("cp949"), "iso-2022-kr").text == "한글"
    assert text_message(valid).text == "\n한글 ok\n"


def test_the_decoder_agrees_with_pythons_where_that_decodes() -> None:
    for codec, text in {
        "iso2022_jp": "お世話になっております。ではなく、ABC",
        "iso2022_jp_1": "日本語 丂 ABC", "iso2022_jp_2": "日本 한글 é", "iso2022_jp_3": "日本 俱",
        "iso2022_kr": "한글 ABC",
    }.items():  # fmt: skip
        data = text.encode(codec, "ignore")
        assert iso2022.decode(data, korean=codec == "iso2022_kr") == (data.decode(codec), True)


# 05: undeclared text


UNDECLARED = {
    "French": ("cp1252", "Votre colis a été expédié. Où puis-je télécharger le reçu n° 12 ?"),
    "French, short": ("cp1252", "Pièce jointe"),
    "Portuguese": ("cp1252", "Não recebi a informação sobre a instalação elétrica até hoje, peço atenção."),
    "Swedish": ("cp1252", "Värmen fungerar inte på övervåningen, kan någon åtgärda felet snarast?"),
    "Danish": ("cp1252", "Vi har desværre ikke fået svar på vores spørgsmål om ændring af aftalen."),
    "Italian": ("cp1252", "La caldaia è guasta e perciò non c'è più acqua calda; lunedì sarò in città."),
    "Spanish": ("cp1252", "¿Podría enviarme la información? Mañana estaré en la oficina, señor Núñez."),
    "German": ("cp1252", "Die Straßenbeleuchtung fällt ständig aus – bitte prüfen. Grüße, Jürgen"),
    "English quotes": ("cp1252", "It’s “fine” – the fee is £20, or 25 €, at 20°C."),
    "Icelandic": ("cp1252", "Góðan daginn, ég þarf að fá reikninginn sendan aftur í þessari viku."),
    "Turkish": ("cp1254", "Kalorifer çalışmıyor, lütfen bugün bir görevli gönderir misiniz? İyi günler."),
    "Turkish, short": ("cp1254", "İzinliyim, teşekkürler"),
    "Polish": ("cp1250", "Ogrzewanie nie działa, proszę o szybką pomoc. Dziękuję, Łukasz"),
    "Czech, Latin-2": ("iso8859_2", "Topení nefunguje, prosím o opravu co nejdříve. Děkuji, Jiří"),
    "Hungarian": ("cp1250", "A fűtés nem működik, kérem, küldjenek szerelőt. Köszönöm előre is!"),
    "Russian, KOI8-R": ("koi8_r", "Не работает отопление, прошу прислать мастера."),
    "Russian, 1251": ("cp1251", "Не работает отопление, прошу прислать мастера."),
    "Russian, 866": ("cp866", "Не работает отопление, прошу прислать мастера."),
    "Ukrainian": ("cp1251", "Не працює опалення, надішліть, будь ласка, майстра."),
    "Greek": ("cp1253", "Η θέρμανση δεν λειτουργεί, παρακαλώ στείλτε τεχνικό."),
    "Hebrew": ("cp1255", "ההסקה לא עובדת, אנא שלחו טכנאי."),
    "Arabic": ("cp1256", "التدفئة لا تعمل، أرجو إرسال فني اليوم."),
    "Thai": ("cp874", "เครื่องทำความร้อนไม่ทำงาน กรุณาส่งช่างมาซ่อมด้วย"),
    "Lithuanian": ("cp1257", "Šildymas neveikia, prašome atsiųsti meistrą. Ačiū už pagalbą."),
    "Japanese, Shift_JIS": ("cp932", "暖房が動きません。修理をお願いします。"),
    "Japanese, EUC-JP": ("euc_jp", "暖房が動きません。修理をお願いします。"),
    "Chinese, GBK": ("gb18030", "暖气坏了,请派人来修理。谢谢您的回复。"),
    "Chinese, Big5": ("big5hkscs", "暖氣壞了,請派人來修理。謝謝您的回覆。"),
    "Korean": ("cp949", "난방이 안 됩니다. 수리 기사를 보내 주시기 바랍니다."),
}


@pytest.mark.parametrize(("codec", "text"), UNDECLARED.values(), ids=UNDECLARED)
@pytest.mark.parametrize("charset", ["", "us-ascii", "utf-8", "x-unknown"])
def test_the_charset_of_undeclared_text_is_guessed(charset: str, codec: str, text: str) -> None:
    message = text_message(text.encode(codec), charset)
    assert message.text == text
    assert message.defects


@pytest.mark.parametrize(("codec", "text"), UNDECLARED.values(), ids=UNDECLARED)
def test_the_charset_of_undeclared_pages_is_guessed(codec: str, text: str) -> None:
    page = b"<html><body><p>" + text.encode(codec) + b"</p></body></html>"
    assert text_message(page, kind="text/html").text == text


@pytest.mark.parametrize(
    "text",
    ["สวัสดี", "สวัสดีครับ", "สอบถาม", "สวัสดีค่ะ ขอสอบถามราคาสินค้า", "รายงานประจำเดือน", "ใบสมัครงาน นายสมชาย ใจดี", "ใบเสนอราคา"],
)
def test_short_thai_is_not_chinese(text: str) -> None:
    assert text_message(text.encode("cp874")).text == text


@pytest.mark.parametrize(
    ("codec", "text"), [("gb18030", "你好"), ("big5hkscs", "請回覆"), ("cp949", "감사합니다"), ("euc_jp", "了解です")]
)
def test_short_chinese_japanese_and_korean_are_not_thai(codec: str, text: str) -> None:
    assert text_message(text.encode(codec)).text == text


@pytest.mark.parametrize("data", [b"\xff", b"\xe9\n", b"caf\xe9", b"na\xefve", b"5 \xb5m", b"\xa9 2026"])
def test_short_text_is_windows_1252(data: bytes) -> None:
    message = text_message(data)
    assert message.text == data.decode("cp1252")
    assert message.defects == ("no charset is named: read as Windows-1252",)


HINTS = {
    "an encoded word": b"Subject: =?iso-8859-2?Q?=A3=F3d=BC?=\n\n%s",
    "a language in an encoded word": b"Subject: =?iso-8859-2*pl?Q?=A3=F3d=BC?=\n\n%s",
    "another part": b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n%s\n--b\nContent-Type: text/csv;"
    b" charset=windows-1250\nContent-Disposition: attachment\n\nx\n--b--",
    "a file name": b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n%s\n--b\nContent-Type: a/b\n"
    b"Content-Disposition: attachment; filename*=iso-8859-2''%%A3\n\nx\n--b--",
}


@pytest.mark.parametrize("source", HINTS.values(), ids=HINTS)
def test_hints_of_the_message_come_first(source: bytes) -> None:
    assert parse(b"X: y\n\n" + "Gdañsk".encode("cp1252")).text == "Gdañsk"
    assert parse(source % "Gdańsk".encode("iso8859_2")).text.strip() == "Gdańsk"


def test_a_page_names_its_charset_against_a_wrong_declaration() -> None:
    page = b'<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-9"><p>' + "Aşı".encode("cp1254")
    assert text_message(page, "utf-8", kind="text/html").text == "Aşı"
    assert text_message(page, kind="text/html").text == "Aşı"
    assert text_message(b"<meta charset=utf-16><p>" + "Größe".encode(), kind="text/html").text == "Größe"


def test_the_language_that_a_message_names_counts() -> None:
    data = "發票".encode("big5")
    assert parse(b"Content-Language: zh-TW\n\n" + data).text == "發票"


def test_an_improbable_hint_is_ignored() -> None:
    text = "Не работает отопление, прошу прислать мастера."
    message = parse(b"Subject: =?iso-8859-1?Q?Caf=E9?=\n\n" + text.encode("koi8-r"))
    assert message.text == text
    assert message.defects == ("no charset is named: read as koi8_r, a guess",)


def test_broken_utf_8_stays_utf_8() -> None:
    data = "Größe, Maße und Übergabe – alles prüfen".encode() + b" caf\xe9"
    assert text_message(data, "utf-8").text == f"Größe, Maße und Übergabe – alles prüfen caf{REPLACEMENT}"


def test_guesses_are_few_and_fast() -> None:
    parts = b"".join(b"--b\nContent-Type: text/plain\n\ncaf\xe9 %d\n" % number for number in range(3000))
    message = within(5, lambda: parse(b"Content-Type: multipart/mixed; boundary=b\n\n" + parts))
    assert message.text.count("é") == 3000
    assert len(take_sample(b"a" * 300_000 + b"\xe9")) == 0
    assert len(take_sample(b"a" * 200_000 + b"\xe9" * 50_000)) <= 1500


def test_candidates_are_ranked() -> None:
    ranked = rank_charsets("Не работает".encode("cp1251"))
    assert ranked[0].codec == "cp1251"
    assert ranked == sorted(ranked)


def test_without_a_message_undeclared_bytes_are_windows_1252() -> None:
    assert CharsetHints().choose_codec(b"\xcf\xf0\xe8\xe2\xe5\xf2") == ("cp1252", False)
    assert decode_words("=?unknown-8bit?q?=CF=F0=E8?=", Defects()) == "Ïðè"
    hints = CharsetHints(Buffer(b"Content-Type: text/plain; charset=windows-1251\n\n"))
    assert decode_words("=?unknown-8bit?q?=CF=F0=E8?=", Defects(hints)) == "При"


# 06: raw headers


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("windows-1251", "Заказ семь"), ("koi8-r", "Заказ семь"), ("euc-kr", "주문 확인"), ("gb2312", "发票"),
        ("big5", "發票"), ("shift_jis", "見積書表"), ("iso-8859-2", "Łódź"), ("windows-874", "ใบแจ้งหนี้"),
        ("koi8-u", "Рахунок за їжу"),
    ],
)  # fmt: skip
def test_raw_headers_are_in_the_charset_that_the_message_names(charset: str, text: str) -> None:
    codec = codec_for(charset)
    assert codec is not None
    raw = text.encode(codec)
    message = parse(
        b"Subject: " + raw + b'\nFrom: "' + raw + b'" <ann@example.com>\nContent-Type: multipart/mixed; boundary=b\n\n'
        b'--b\nContent-Disposition: attachment; filename="' + raw + b'.pdf"\n\nx\n'
        b"--b\nContent-Type: text/plain; charset=" + charset.encode() + b"\n\nok\n--b--\n"
    )
    assert message.subject == message.from_[0].name == text
    assert message.attachments[0].name == f"{text}.pdf"
    assert dict(message.headers)["Subject"] == text


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("gb2312", "通知"), ("gbk", "谢谢"), ("gb2312", "图纸.pdf"), ("iso-2022-jp", "表"), ("shift_jis", "予定"),
        ("shift_jis", "表"), ("big5", "許功蓋"), ("big5", "許"),
    ],
)  # fmt: skip
def test_a_named_multi_byte_charset_wins_over_coincidence(charset: str, text: str) -> None:
    raw = text.encode({"iso-2022-jp": "euc_jp"}.get(charset) or charset)
    head = b"Subject: " + raw + b'\nFrom: "' + raw + b'" <ann@example.com>\nContent-Type: text/plain'
    message = parse(head + b"; charset=" + charset.encode() + b"\n\nok")
    assert message.subject == message.from_[0].name == text


@pytest.mark.parametrize("text", ["Müller", "Да", "Привет", "£5", "10 Ω", "É", "通知", "René, Zoë"])
@pytest.mark.parametrize("charset", ["gb2312", "euc-kr", "iso-2022-jp", "utf-8", "koi8-r"])
def test_raw_utf_8_stays_utf_8(charset: str, text: str) -> None:
    head = b"Subject: " + text.encode() + b"\nContent-Type: text/plain; charset="
    assert parse(head + charset.encode() + b"\n\nok").subject == text


@pytest.mark.parametrize("text", ["Вопрос по заказу", "Отчет", "СРОЧНО: Отчет за февраль", "Добрый день"])
@pytest.mark.parametrize(
    ("codec", "named"), [("koi8-r", "windows-1251"), ("windows-1251", "koi8-r"), ("koi8-r", "koi8-r")]
)
def test_a_hint_with_swapped_case_is_ignored(codec: str, named: str, text: str) -> None:
    head = b"Subject: " + text.encode(codec) + b"\nContent-Type: text/plain; charset=" + named.encode()
    assert parse(head + b"\n\nok").subject == text


@pytest.mark.parametrize("language", ["French", "Swedish", "Turkish", "Russian, KOI8-R", "Thai", "Korean"])
def test_the_charset_of_raw_headers_without_hints_is_guessed(language: str) -> None:
    codec, text = UNDECLARED[language]
    message = parse(b"Subject: " + text.encode(codec) + b"\n\nok")
    assert message.subject == text
    assert message.text == "ok"


def test_short_raw_headers_are_guessed_with_the_text() -> None:
    codec, text = UNDECLARED["Japanese, EUC-JP"]
    message = parse(b"Subject: " + "請求書".encode(codec) + b"\n\n" + text.encode(codec))
    assert message.subject == "請求書"
    assert message.text == text


# 07: ISO-2022-JP that is not declared


@pytest.mark.parametrize("charset", ["", "us-ascii", "utf-8", "x-unknown"])
@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
def test_undeclared_iso_2022_jp(charset: str, kind: str) -> None:
    message = text_message(b"\x1b$B=P2Y\x1b(B ok\n\x1b$B$4\x1b(J.\n\x1b(I39\x1b(B", charset, kind=kind)
    assert message.text.split() == ["出荷", "ok", "ご.", "ｳｹ"]
    assert message.defects


def test_undeclared_iso_2022_jp_in_headers() -> None:
    message = parse(
        b"Subject: \x1b$B=P2Y\x1b(B\nFrom: \x1b$B=P2Y\x1b(B <ann@example.com>\n"
        b"Cc: =?us-ascii?B?%s?= <b@example.com>\n\n" % base64.b64encode(b"\x1b$B=P2Y\x1b(B")
    )
    assert message.subject == message.from_[0].name == message.cc[0].name == "出荷"


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b[31mred\x1b[0m", b"\x1b(B\x1b[m plain", b"\x1b]0;title\x07", b"\x1b$", b"\x1b(0lqk\x1b(B", b"\x1b(Ix",
        b"\x1b$)C",
    ],
)  # fmt: skip
@pytest.mark.parametrize("charset", ["", "us-ascii", "utf-8"])
def test_terminal_escapes_are_kept(charset: str, data: bytes) -> None:
    assert text_message(data, charset).text == data.decode("ascii")


def test_declared_charsets_keep_their_escapes() -> None:
    assert text_message(b"\x1b$B=P2Y\x1b(B", "iso-8859-1").text == "\x1b$B=P2Y\x1b(B"


# 13: UTF-8 declared as another charset


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("windows-1251", "Вам выставлен счёт"), ("iso-8859-1", "Jürgen Müller"), ("windows-1252", "5 € – café"),
        ("iso-8859-2", "Zażółć"), ("koi8-r", "Привет"), ("iso-8859-15", "日本語"),
        ("windows-1254", "Teşekkür ederim, Ayşe"),
        ("tis-620", "ใบเสนอราคา"),
    ],
)  # fmt: skip
def test_utf_8_declared_as_single_byte_is_utf_8(charset: str, text: str) -> None:
    data = text.encode()
    assert text_message(data, charset).text == text
    assert text_message(b"<p>" + data, charset, kind="text/html").html == f"<p>{text}"
    word = f"=?{charset}?B?{base64.b64encode(data).decode()}?="
    assert decode_words(word, Defects()) == text
    assert parse(f'Content-Disposition: attachment; filename="{word}"\n\nx'.encode()).attachments[0].name == text


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        ("iso-8859-1", b"\xc3\xa9"), ("windows-1252", b"SOCI\xc3\x89T\xc3"), ("windows-1251", "РІЙ".encode("cp1251")),
        ("cp866", "так раз".encode("cp866")), ("tis-620", "รถยก".encode("tis-620")),
        ("iso-8859-1", b"\xe9t\xe9 \xc3\xa9"),
        ("iso-8859-5", "УЖ ТА".encode("iso8859_5")),
    ],
)  # fmt: skip
def test_a_single_utf_8_sequence_is_not_enough(charset: str, data: bytes) -> None:
    assert text_message(data, charset).text == data.decode(codec_for(charset) or "", "replace")


# 15: octets in encoded words


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (b"=?iso-8859-1?Q?Gr\xfc\xdfe_aus_K\xf6ln?=", "Grüße aus Köln"),
        (b"=?koi8-r?Q?" + "Привет".encode("koi8-r") + b"_x?=", "Привет x"),
        (b"=?utf-8?Q?" + "Grüße".encode() + b"?=", "Grüße"),
        (b"=?iso-8859-2?Q?" + "Łó=64ź".encode("iso8859_2") + b"?= =?iso-8859-2?Q?=B1?=", "Łódźą"),
        (b"=?utf-8?Q?=C3=BC?= " + "ö".encode(), "ü ö"),
        (b"=?ISO-2022-JP?Q?\x1b$B=3DP2Y\x1b(B?=", "出荷"),
        (b"=?iso-8859-1?B?R3L8\xa03+U=?=", "Grüßå"[:3] + "ßå"),
    ],
)
def test_octets_in_an_encoded_word_are_in_its_charset(word: bytes, text: str) -> None:
    message = parse(b"Subject: " + word + b"\nFrom: " + word + b" <ann@example.com>\n\nok")
    assert message.subject == message.from_[0].name == text


# 23: NUL


@pytest.mark.parametrize("charset", ["utf-8", "", "iso-8859-1", "x-unknown", "iso-2022-jp", "koi8-r", "utf-16"])
def test_nul_never_reaches_text(charset: str) -> None:
    data = "Hel\0lo\0".encode("utf-16" if charset == "utf-16" else "ascii")
    for kind in ("text/plain", "text/html"):
        message = text_message(data, charset, kind=kind)
        assert message.text.strip() == "Hello"
        assert "\0" not in (message.html or "")
        assert "the text contains NUL characters: removed" in message.defects


def test_nul_never_reaches_headers() -> None:
    message = parse(
        b"Subject: a\0b =?utf-8?q?c=00d?=\nFrom: A\0n <ann@example.com>, x\0y@example.com\nTo: \0<b@example.com>\0\n"
        b"Message-Id: <1\0@example.com>\nReferences: <2\0@example.com>\nIn-Reply-To: <3\0@x>\nX-Any: \0 caf\xe9 \0\n"
        b'Content-Type: a/b; name="p\0q.pdf"\nContent-Id: <c\0d>\n\nx'
    )
    assert "\0" not in repr(message)
    assert "\\x00" not in repr(message)
    assert message.subject == "a b c d"


@pytest.mark.parametrize("field", ["From", "To", "Cc", "Reply-To"])
def test_nul_never_reaches_quoted_names(field: str) -> None:
    message = parse(f'{field}: "A\0nn\x01" <ann@example.com>, "B\tob" <bob@example.com>\n\n'.encode())
    addresses = getattr(message, {"From": "from_", "Reply-To": "reply_to"}.get(field, field.lower()))
    assert [address.name for address in addresses] == ["A nn", "B ob"]
