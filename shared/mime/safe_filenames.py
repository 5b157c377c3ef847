"""File names for attachments that are safe in any file system, spreadsheet and shell command (rule 7.5)."""

from __future__ import annotations

import re
import unicodedata

MAX_LENGTH = 120
"""Maximum length in bytes of UTF-8."""

_MAX_EXTENSION = 20
_MAX_INPUT = 1000
_SEPARATORS = re.compile(r"[/\\]")
# Characters that file systems refuse, or that a shell (POSIX.1-2017, Shell Command Language, section 2.2; cmd.exe)
# treats specially in a word or in quotes. Also path separators that NFKC does not change, or that it produces.
_FORBIDDEN = re.compile(r"""[<>:"|?*$`;&'!%^~#(){}\[\]\u2044\u2215\u2216\u29f5\u29f8]""")
_FULL_STOPS = str.maketrans("\u3002\u2024\ufe52", "...")
# The beginning of a command's option, or of a spreadsheet formula (OWASP, CSV Injection).
_FIRST = re.compile(r"\A[-=+@]")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(?:\.|\Z)", re.IGNORECASE)

# Python's own table reads files of the machine, so that names would depend on the machine.
_EXTENSIONS = {
    "application/ics": ".ics", "application/json": ".json", "application/ms-tnef": ".dat", "application/pdf": ".pdf",
    "application/pgp-signature": ".asc", "application/pkcs7-mime": ".p7m", "application/pkcs7-signature": ".p7s",
    "application/rtf": ".rtf", "application/vnd.ms-tnef": ".dat", "application/x-pkcs7-mime": ".p7m",
    "application/x-pkcs7-signature": ".p7s", "application/xml": ".xml", "application/zip": ".zip",
    "audio/mpeg": ".mp3", "audio/wav": ".wav", "image/bmp": ".bmp", "image/gif": ".gif", "image/heic": ".heic",
    "image/jpeg": ".jpg", "image/png": ".png", "image/svg+xml": ".svg", "image/tiff": ".tiff", "image/webp": ".webp",
    "message/delivery-status": ".txt", "message/disposition-notification": ".txt", "message/global": ".eml",
    "message/rfc822": ".eml", "text/calendar": ".ics", "text/csv": ".csv", "text/html": ".html", "text/plain": ".txt",
    "text/rfc822-headers": ".txt", "text/rtf": ".rtf", "text/vcard": ".vcf", "text/x-vcard": ".vcf", "text/xml": ".xml",
    "video/mp4": ".mp4",
}  # fmt: skip
_STEMS = {
    "application/ms-tnef": "winmail",
    "application/vnd.ms-tnef": "winmail",
    "message/rfc822": "message",
    "text/calendar": "invitation",
}


class SafeFilenames:
    """Assigns safe names that are unique in one message."""

    __slots__ = ("_next", "_taken")

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def assign(self, name: str, content_type: str) -> str:
        """Return a safe name for an attachment with a declared name ("" if it has none)."""
        safe = _replace_unsafe(name) or _STEMS.get(content_type, "attachment") + _EXTENSIONS.get(content_type, ".bin")
        stem, extension = _split_extension(safe)
        safe = _fit(stem, extension)
        if _fold(safe) in self._taken:
            safe = self._add_number(stem, extension)
        self._taken.add(_fold(safe))
        return safe

    def _add_number(self, stem: str, extension: str) -> str:
        """Return the name with the first number that makes it unique.

        Long names with the same truncated stem share a sequence of numbers: a sequence for each name would take
        quadratic time. Numbers with the same number of digits truncate a name at the same place.
        """
        digits = 0
        while True:
            digits += 1
            sequence = _fold(_fit(stem, f"-{'0' * digits}{extension}"))
            first = self._next.get(sequence, max(2, 10 ** (digits - 1)))
            for number in range(first, 10**digits):
                safe = _fit(stem, f"-{number}{extension}")
                if _fold(safe) not in self._taken:
                    self._next[sequence] = number + 1
                    return safe
            self._next[sequence] = 10**digits


def _replace_unsafe(name: str) -> str:
    # NFKC comes first: it turns full-width characters into those that are replaced below.
    name = unicodedata.normalize("NFKC", name[-_MAX_INPUT:]).translate(_FULL_STOPS)
    name = _SEPARATORS.split(name)[-1]
    name = "".join(
        " " if c.isspace() else c
        for c in name
        if c.isspace() or unicodedata.category(c) not in {"Cc", "Cf", "Co", "Cs", "Cn"}
    )
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name))
    name = _FIRST.sub("_", " ".join(name.split()).strip(". "))
    return f"_{name}" if _RESERVED.match(name) else name


def _split_extension(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    if not stem or not extension or len((dot + extension).encode()) > _MAX_EXTENSION:
        return name, ""
    return stem, dot + extension


def _fit(stem: str, ending: str) -> str:
    """Join both, with the stem truncated at a character boundary so that the result fits."""
    remaining = MAX_LENGTH - len(ending.encode())
    if len(stem.encode()) > remaining:
        stem = stem.encode()[:remaining].decode("utf-8", "ignore").rstrip(". ")
    return unicodedata.normalize("NFC", stem + ending)


def _fold(name: str) -> str:
    """Return the form that is equal for two names that a case-insensitive file system considers the same."""
    return unicodedata.normalize("NFKC", name.casefold())
