"""Addresses: what one is, and when two are the same (RFC 5321 section 4.1.2, RFC 6531; rule 2.1)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import idna

_LONGEST = 998
_LONGEST_DOMAIN = 253
_ATEXT = r"[^\s\x00-\x20\x7f()<>\[\]:;@\\,\".]"
_DOT_ATOM = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_LENIENT_LOCAL = re.compile(rf"(?:{_ATEXT}|\.)+")  # with dots where none may be: some mailers give such addresses out
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE = re.compile(r'(["\\])')
_ASCII_DOMAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
_LITERAL = re.compile(r"\[[!-Z^-~]{1,200}\]")


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a header.

    Attributes:
        name: the display name, decoded; "" if there is none.
        address: local part, `@`, domain, as written; `normalise` makes it comparable.
    """

    name: str
    address: str


def normalise(address: str) -> str | None:
    """The form in which two addresses are the same if their texts are.

    Lower case throughout (mail systems fold local parts, whatever RFC 5321 allows), NFC, the domain in A-labels, a
    quoted local part without quotes where it needs none.

    Args:
        address: as written, without angle brackets.

    Returns:
        None if it is not an address.
    """
    address = address.strip()
    if len(address) > _LONGEST or not address.isprintable():
        return None
    local, at, domain = address.rpartition("@")
    normal_local = _local(local)
    normal_domain = _domain(domain)
    return f"{normal_local}@{normal_domain}" if at and normal_local and normal_domain else None


def tag_as_written(address: str, normal: str) -> str | None:
    """Return the part of an address after `+` as written, where it is not in lower case (rule 2.4).

    Args:
        address: as written, without angle brackets.
        normal: what `normalise` makes of it.

    Returns:
        None if there is no tag, or `normal` has it as it is written.
    """
    local = address.strip().rpartition("@")[0]
    if quoted := _QUOTED.fullmatch(local):
        local = _ESCAPE.sub(r"\1", quoted[1])
    tag = unicodedata.normalize("NFC", local.partition("+")[2])
    expected = normal.rpartition("@")[0].partition("+")[2]
    return tag if tag != expected and _fold(tag) == expected else None


def _local(local: str) -> str | None:
    if local.startswith('"'):
        quoted = _QUOTED.fullmatch(local)
        if quoted is None:
            return None
        content = _fold(_ESCAPE.sub(r"\1", quoted[1]))
        if _DOT_ATOM.fullmatch(content):
            return content
        return '"' + _TO_ESCAPE.sub(r"\\\1", content) + '"'
    if not _LENIENT_LOCAL.fullmatch(local):
        return None
    return _fold(local)


def _fold(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


@lru_cache(maxsize=512)
def _domain(domain: str) -> str | None:
    if domain.startswith("["):
        return domain.lower() if _LITERAL.fullmatch(domain) else None
    if not domain.isascii():
        # Every label that is not ASCII gets five characters longer at least: too long is seen before the slow work.
        if sum(len(label) + 1 + (0 if label.isascii() else 5) for label in domain.split(".")) > _LONGEST_DOMAIN:
            return None
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return None
    domain = domain.lower().removesuffix(".")
    return domain if len(domain) <= _LONGEST_DOMAIN and _ASCII_DOMAIN.fullmatch(domain) else None
