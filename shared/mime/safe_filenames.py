"""File names for attachments that are safe in any file system, spreadsheet and shell command (rule 7.5)."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 120
"""Bytes of UTF-8."""

_LONGEST_EXTENSION = 20
_LOOKED_AT = 1000
_SEPARATORS = re.compile(r"[/\\]")
# What file systems refuse, and what a shell, also that of Windows, does not take literally in a word or in quotes
# (POSIX.1-2017, Shell Command Language, section 2.2). Separators that NFKC leaves alone, or makes, are no better.
_FORBIDDEN = re.compile(r"""[<>:"|?*$`;&'!%^~#(){}\[\]\u2044\u2215\u2216\u29f5\u29f8]""")
_FULL_STOPS = str.maketrans("\u3002\u2024\ufe52", "...")
# An option to a command, or a formula to a spreadsheet (OWASP, CSV Injection).
_FIRST = re.compile(r"\A[-=+@]")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(?:\.|\Z)", re.IGNORECASE)

# Python's own table reads the machine's files, and would make the name depend on the machine.
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


class SafeNames:
    """Gives safe names that are unique in one message."""

    __slots__ = ("_next", "_taken")

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def give(self, name: str, content_type: str) -> str:
        """A safe name for what calls itself `name` ("" if it has none)."""
        safe = _safe(name) or _STEMS.get(content_type, "attachment") + _EXTENSIONS.get(content_type, ".bin")
        stem, extension = _parts(safe)
        safe = _fitting(stem, extension)
        if _key(safe) in self._taken:
            safe = self._numbered(stem, extension)
        self._taken.add(_key(safe))
        return safe

    def _numbered(self, stem: str, extension: str) -> str:
        """Return the name with the first number that makes it unique.

        Long names that are cut to the same stem share a sequence of numbers: with one for each name, the time would
        grow with the square of their count. Numbers with as many digits cut a name at the same place.
        """
        digits = 0
        while True:
            digits += 1
            sequence = _key(_fitting(stem, f"-{'0' * digits}{extension}"))
            first = self._next.get(sequence, max(2, 10 ** (digits - 1)))
            for number in range(first, 10**digits):
                safe = _fitting(stem, f"-{number}{extension}")
                if _key(safe) not in self._taken:
                    self._next[sequence] = number + 1
                    return safe
            self._next[sequence] = 10**digits


def _safe(name: str) -> str:
    # NFKC first: it turns full-width characters into those that are dealt with below.
    name = unicodedata.normalize("NFKC", name[-_LOOKED_AT:]).translate(_FULL_STOPS)
    name = _SEPARATORS.split(name)[-1]
    name = "".join(
        " " if c.isspace() else c
        for c in name
        if c.isspace() or unicodedata.category(c) not in {"Cc", "Cf", "Co", "Cs", "Cn"}
    )
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name))
    name = _FIRST.sub("_", " ".join(name.split()).strip(". "))
    return f"_{name}" if _RESERVED.match(name) else name


def _parts(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    if not stem or not extension or len((dot + extension).encode()) > _LONGEST_EXTENSION:
        return name, ""
    return stem, dot + extension


def _fitting(stem: str, ending: str) -> str:
    """Both together, the stem cut at a character's end so that they fit."""
    room = LONGEST - len(ending.encode())
    if len(stem.encode()) > room:
        stem = stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ")
    return unicodedata.normalize("NFC", stem + ending)


def _key(name: str) -> str:
    """What is the same for two names that a file system without case takes for one."""
    return unicodedata.normalize("NFKC", name.casefold())
