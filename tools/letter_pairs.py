"""Write shared/mime/letter_pairs.py: letter pairs counted in the translations of well-known packages.

    python -m venv build/pairs
    build/pairs/bin/pip install --no-deps django==6.1.* djangorestframework django-allauth wagtail sphinx babel
    build/pairs/bin/python -m tools.letter_pairs

The script reads the packages that are installed for the running Python.
"""

from __future__ import annotations

import gettext
import importlib
import math
import re
import sysconfig
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

TARGET = Path(__file__).parents[1] / "shared" / "mime" / "letter_pairs.py"

# By language: the names of its translations, and the number of letter pairs to keep (for Chinese, Japanese and Korean:
# of characters).
LATIN, OTHER = 110, 250
LANGUAGES: dict[str, tuple[str, int]] = {
    "fr": ("fr", LATIN), "de": ("de", LATIN), "es": ("es", LATIN), "pt": ("pt pt_BR pt_PT", LATIN), "it": ("it", LATIN),
    "sv": ("sv", LATIN), "da": ("da", LATIN), "nb": ("nb nb_NO no nn", LATIN), "fi": ("fi", LATIN),
    "is": ("is is_IS", LATIN), "nl": ("nl", LATIN), "ca": ("ca", LATIN), "pl": ("pl", LATIN), "cs": ("cs", LATIN),
    "sk": ("sk sk_SK", LATIN), "hu": ("hu", LATIN), "ro": ("ro", LATIN), "hr": ("hr hr_HR sr_Latn", LATIN),
    "sl": ("sl", LATIN), "tr": ("tr tr_TR", LATIN), "lt": ("lt", LATIN), "lv": ("lv", LATIN), "et": ("et", LATIN),
    "vi": ("vi", LATIN), "ru": ("ru", OTHER), "uk": ("uk", OTHER), "be": ("be", OTHER), "bg": ("bg", OTHER),
    "mk": ("mk", OTHER), "sr": ("sr", OTHER), "el": ("el", OTHER), "he": ("he he_IL", OTHER), "ar": ("ar", OTHER),
    "fa": ("fa", OTHER), "th": ("th", 700),
    "ja": ("ja", 350), "zh-hans": ("zh_Hans zh zh_CN", 400), "zh-hant": ("zh_Hant zh_TW", 400), "ko": ("ko", 300),
}  # fmt: skip
BY_CHARACTER = ("ja", "zh-hans", "zh-hant", "ko")
LEAST_COUNT = 3
LEAST_COST = 2
WIDTH = 100

HEAD = '''"""Costs of letter pairs and characters by language, for `charset_guess`.

Counted by `tools/letter_pairs.py` in the translations of Django 6.1, Django REST framework, django-allauth, Wagtail and
Sphinx (BSD and MIT licences), and in the names of countries, languages, currencies, months and days of the Unicode
CLDR (by Babel). A pair with a cost of n bits is one in two to the n of the pairs that are not entirely ASCII.
"""

# ruff: noqa: RUF001 - letters of different alphabets look alike

from __future__ import annotations

'''
PAIRS_DOC = "Letter pairs by language and cost: small letters, and a space for other characters; not both are ASCII."

_PLACEHOLDER = re.compile(r"%\([a-z_]+\)[sd]|%[sd]|\{[^}]*\}|<[^>]*>|https?://\S+|&\w+;")
_TONES = "\u0300\u0301\u0303\u0309\u0323"


def main() -> None:
    """Write the tables."""
    pairs, characters = {}, {}
    for language, (names, most) in LANGUAGES.items():
        texts = [_PLACEHOLDER.sub(" ", text) for text in _texts(language, names.split())]
        if language == "vi":
            texts = [_as_cp1258(text) for text in texts]
        if language in BY_CHARACTER:
            characters[language] = _costs((char for text in texts for char in text if not char.isascii()), most)
        else:
            pairs[language] = _costs((pair for text in texts for pair in _pairs(text)), most)
    lines = [*_table("PAIRS", pairs, 2), f'"""{PAIRS_DOC}"""', ""]
    lines += [*_table("CHARACTERS", characters, 1), '"""Characters by language and cost."""', ""]
    TARGET.write_text(HEAD + "\n".join(lines), encoding="utf-8")


def _texts(language: str, names: list[str]) -> list[str]:
    """Return each translated text once."""
    site = Path(sysconfig.get_path("purelib"))
    texts: set[str] = set()
    for path in (path for name in names for path in site.rglob(f"{name}/LC_MESSAGES/*.mo")):
        with path.open("rb") as file:
            catalog = vars(gettext.GNUTranslations(file))["_catalog"]
        texts.update(text for source, text in catalog.items() if source and isinstance(text, str) and text != source)
    locale = importlib.import_module("babel").Locale.parse(language.replace("-h", "_H"))
    for words in (locale.territories, locale.languages, locale.currencies):
        texts.update([str(word) for word in words.values()][:300])
    for forms in (*locale.months.values(), *locale.days.values()):
        texts.update(word for form in forms.values() for word in form.values())
    return sorted(texts)


def _as_cp1258(text: str) -> str:
    """Return a Vietnamese text as Windows-1258 encodes it, with most tones as separate characters."""
    chars = []
    for char in text:
        decomposed = unicodedata.normalize("NFD", char)
        base, marks = decomposed[0], decomposed[1:]
        tones = "".join(mark for mark in marks if mark in _TONES)
        letter = unicodedata.normalize("NFC", base + "".join(mark for mark in marks if mark not in _TONES))
        whole = unicodedata.normalize("NFC", letter + tones)
        chars.append(whole if whole.encode("cp1258", "ignore") else letter + tones)
    return "".join(chars)


def _pairs(text: str) -> Iterator[str]:
    small = text.lower().replace("i\u0307", "i")
    letters = "".join(char if char.isalpha() or unicodedata.category(char)[0] == "M" else " " for char in small)
    yield from (pair for pair in map("".join, pairwise(f" {' '.join(letters.split())} ")) if not pair.isascii())


def _costs(counted: Iterable[str], most: int) -> dict[int, str]:
    counts = Counter(counted)
    total = counts.total()
    costs: dict[int, list[str]] = {}
    for item, count in counts.most_common(most):
        if count >= LEAST_COUNT:
            costs.setdefault(max(LEAST_COST, round(-math.log2(count / total))), []).append(item)
    return {cost: "".join(sorted(items)) for cost, items in sorted(costs.items())}


def _table(name: str, table: dict[str, dict[int, str]], step: int) -> Iterator[str]:
    yield f"{name}: dict[str, dict[int, str]] = {{"
    for language, costs in table.items():
        yield f'    "{language}": {{'
        for cost, text in costs.items():
            lines = list(_wrapped([text[at : at + step] for at in range(0, len(text), step)]))
            if len(lines) == 1:
                yield f'        {cost}: "{lines[0]}",'
            else:
                yield f"        {cost}: ("
                yield from (f'            "{line}"' for line in lines)
                yield "        ),"
        yield "    },"
    yield "}"


def _wrapped(items: list[str]) -> Iterator[str]:
    line, width = "", 0
    for item in items:
        size = sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in item)
        if width + size > WIDTH:
            yield line
            line, width = "", 0
        line, width = line + item, width + size
    yield line


if __name__ == "__main__":
    main()
