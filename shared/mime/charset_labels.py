"""Charset labels as mail declares them, and the Python codecs that decode them."""

from __future__ import annotations

import re
from encodings.aliases import aliases
from functools import lru_cache

_MAX_LABEL_LENGTH = 80
_IGNORED = re.compile(r"[^0-9a-z]+")
_CODE_PAGE = re.compile(r"(?:x|cs)?(?:windows|win|microsoft|ms|cp|ccsid|ibm|dos|oem|ansi)0{0,3}(\d{2,5})")

# Encoding Standard (WHATWG), section 4.2 "Names and labels". Labels that the standard maps to "replacement"
# (ISO-2022-KR, HZ) are decoded here: mail has no scripts to protect. The codec decodes the superset that mailers send.
_WHATWG = {
    "utf_8": "unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8",
    "cp866": "866 cp866 csibm866 ibm866",
    "iso8859_2": "csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859_3": "csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso8859_4": "csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso8859_5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso8859_6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e"
    " iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso8859_7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7"
    " iso_8859-7:1987 sun_eu_greek",
    "iso8859_8": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8"
    " iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical",
    "iso8859_10": "csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6",
    "iso8859_13": "iso-8859-13 iso8859-13 iso885913",
    "iso8859_14": "iso-8859-14 iso8859-14 iso885914",
    "iso8859_15": "csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9",
    "iso8859_16": "iso-8859-16",
    "koi8_r": "cskoi8r koi koi8 koi8-r koi8_r",
    "koi8_u": "koi8-ru koi8-u",
    "mac_roman": "csmacintosh mac macintosh x-mac-roman",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "cp1250 windows-1250 x-cp1250",
    "cp1251": "cp1251 windows-1251 x-cp1251",
    "cp1252": "cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1 iso_8859-1:1987 l1"
    " latin1 windows-1252 x-cp1252",
    "ascii": "ansi_x3.4-1968 ascii us-ascii",
    "cp1253": "cp1253 windows-1253 x-cp1253",
    "cp1254": "cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5"
    " windows-1254 x-cp1254",
    "cp1255": "cp1255 windows-1255 x-cp1255",
    "cp1256": "cp1256 windows-1256 x-cp1256",
    "cp1257": "cp1257 windows-1257 x-cp1257",
    "cp1258": "cp1258 windows-1258 x-cp1258",
    "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601"
    " windows-949",
    "hz": "hz-gb-2312",
    "iso2022_kr": "csiso2022kr iso-2022-kr",
    "iso2022_cn": "iso-2022-cn iso-2022-cn-ext",
    "utf_16_be": "unicodefffe utf-16be",
    "utf_16_le": "csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16le",
}

# "Code Page Identifiers" (Microsoft, Win32 documentation): numbers that are not the number of the Python codec.
_CODE_PAGES = {
    "708": "iso8859_6", "932": "cp932", "936": "gb18030", "943": "cp932", "949": "cp949", "950": "big5hkscs",
    "1200": "utf_16_le", "1201": "utf_16_be", "1361": "johab", "10000": "mac_roman", "10001": "cp932",
    "10002": "big5hkscs", "10003": "cp949", "10004": "mac_arabic", "10006": "mac_greek", "10007": "mac_cyrillic",
    "10008": "gb18030", "10010": "mac_romanian", "10017": "mac_cyrillic", "10029": "mac_latin2", "10079": "mac_iceland",
    "10081": "mac_turkish", "10082": "mac_croatian", "12000": "utf_32_le", "12001": "utf_32_be", "20127": "ascii",
    "20866": "koi8_r", "20932": "euc_jp", "20936": "gb18030", "20949": "cp949", "21866": "koi8_u", "28591": "cp1252",
    "28592": "iso8859_2", "28593": "iso8859_3", "28594": "iso8859_4", "28595": "iso8859_5", "28596": "iso8859_6",
    "28597": "iso8859_7", "28598": "iso8859_8", "28599": "cp1254", "28603": "iso8859_13", "28605": "iso8859_15",
    "38598": "iso8859_8", "50220": "iso2022_jp", "50221": "iso2022_jp", "50222": "iso2022_jp", "50225": "iso2022_kr",
    "50227": "iso2022_cn", "51932": "euc_jp", "51936": "gb18030", "51949": "cp949", "52936": "hz", "54936": "gb18030",
    "65000": "utf_7", "65001": "utf_8",
}  # fmt: skip

# Every text codec of Python 3.13 ("Standard Encodings" of the codecs module), and the superset that mailers mean where
# it differs. Excluded are `charmap`, `idna`, `punycode`, `raw_unicode_escape`, `undefined` and `unicode_escape`, which
# are not charsets, and `mbcs` and `oem`, which exist on Windows only.
_SUPERSETS = {
    "big5": "big5hkscs", "euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "iso8859_1": "cp1252",
    "iso8859_11": "cp874", "iso8859_9": "cp1254", "latin_1": "cp1252", "shift_jis": "cp932", "tis_620": "cp874",
    "utf_8_sig": "utf_8",
}  # fmt: skip
_PYTHON = (
    "ascii big5 big5hkscs cp037 cp1006 cp1026 cp1125 cp1140 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256"
    " cp1257 cp1258 cp273 cp424 cp437 cp500 cp720 cp737 cp775 cp850 cp852 cp855 cp856 cp857 cp858 cp860 cp861"
    " cp862 cp863 cp864 cp865 cp866 cp869 cp874 cp875 cp932 cp949 cp950 euc_jis_2004 euc_jisx0213 euc_jp euc_kr"
    " gb18030 gb2312 gbk hp_roman8 hz iso2022_jp iso2022_jp_1 iso2022_jp_2 iso2022_jp_2004 iso2022_jp_3"
    " iso2022_jp_ext iso2022_kr iso8859_1 iso8859_10 iso8859_11 iso8859_13 iso8859_14 iso8859_15 iso8859_16"
    " iso8859_2 iso8859_3 iso8859_4 iso8859_5 iso8859_6 iso8859_7 iso8859_8 iso8859_9 johab koi8_r koi8_t"
    " koi8_u kz1048 latin_1 mac_arabic mac_croatian mac_cyrillic mac_farsi mac_greek mac_iceland mac_latin2"
    " mac_roman mac_romanian mac_turkish palmos ptcp154 shift_jis shift_jis_2004 shift_jisx0213 tis_620 utf_16"
    " utf_16_be utf_16_le utf_32 utf_32_be utf_32_le utf_7 utf_8 utf_8_sig"
)
PYTHON_CODECS = tuple(_PYTHON.split())

# Labels that mailers send and neither list contains: Mac OS names (RFC 1700 style `x-mac-*`), MySQL and Java names.
_OTHERS = {
    "iso8859_6": "iso-8859-6-bidi",
    "iso8859_8": "iso-8859-8-bidi",
    "cp1254": "x-mac-latin5",
    "mac_latin2": "macce x-mac-ce x-mac-centraleurroman x-mac-east-europe",
    "mac_iceland": "x-mac-icelandic",
    "cp932": "x-mac-japanese x-ms-cp932 x-windows-31j",
    "cp949": "x-mac-korean x-windows-949",
    "gb18030": "x-mac-chinesesimp euc-cn x-euc-cn gb_18030-2000",
    "big5hkscs": "x-mac-chinesetrad x-big5 big5-eten",
    "euc_jp": "eucjp-ms eucjp-open eucjp-win x-eucjp-ms",
    "iso2022_jp": "iso-2022-jp-ms jis jis7 jis8",
    "utf_7": "unicode-1-1-utf-7 x-unicode-2-0-utf-7",
    "utf_8": "utf8mb3 utf8mb4 x-utf-8",
    "ascii": "x-ia5 x-us-ascii ansi_x3.110-1983",
    "koi8_u": "x-koi8-u",
    "cp874": "tis620-2529 tis620-2533 tis620.2529-1 tis620.2533-0 tis620.2533-1 iso-ir-166",
    "iso8859_15": "iso-ir-203 iso_8859-15:1998 latin-9",
}

_NOT_ASCII_PREFIXES = (
    "utf_7", "utf_16", "utf_32", "hz", "iso2022", "cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140"
)  # fmt: skip


def is_ascii_compatible(codec: str) -> bool:
    """Return whether bytes below 128 are always ASCII in a charset."""
    return not codec.startswith(_NOT_ASCII_PREFIXES)


def _normalise(label: str) -> str:
    return _IGNORED.sub("", label.lower())


def _build_table() -> dict[str, str]:
    table = {_normalise(codec): _SUPERSETS.get(codec, codec) for codec in PYTHON_CODECS}
    codecs = frozenset(PYTHON_CODECS)
    for alias, codec in aliases.items():
        if codec in codecs:
            table.setdefault(_normalise(alias), _SUPERSETS.get(codec, codec))
    for labels in (_OTHERS, _WHATWG):
        for codec, names in labels.items():
            table.update((_normalise(name), codec) for name in names.split())
    return table


_CODECS = _build_table()


def codec_for(label: str) -> str | None:
    """Return the codec for a charset label, or None if the label is unknown.

    Case, hyphens and other punctuation are ignored, as in Unicode Technical Standard 22 (charset alias matching).
    `ascii` is the codec for US-ASCII alone. Bytes beyond it count as undeclared.
    """
    return _look_up(label) if len(label) <= _MAX_LABEL_LENGTH else None


@lru_cache(maxsize=256)
def _look_up(label: str) -> str | None:
    if not label.isascii() or "\0" in label:
        return None
    key = _normalise(label)
    codec = _CODECS.get(key)
    if codec is None and (match := _CODE_PAGE.fullmatch(key)):
        codec = _CODE_PAGES.get(match[1]) or _CODECS.get(f"cp{match[1]}")
    if codec is None and key.startswith("x"):
        codec = _CODECS.get(key[1:])
    return codec
