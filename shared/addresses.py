"""Parse and normalise mail addresses (RFC 5321 section 4.1.2, RFC 6531, rule 2.1).

Settings, routes, messages and commands use this module alone: with two normalisers, a route's address could have
another form than the message's, and never match.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import idna

from shared.errors import InvalidValue

MOST_INTERNATIONAL = 1000
"""International domains that are converted for a message: each takes 20 to 40 µs, and hostile mail has 50,000 a MB."""

_LONGEST = 998
_LONGEST_DOMAIN = 253
_ATEXT = r"[^\s\x00-\x20\x7f()<>\[\]:;@\\,\".]"
_DOT_ATOM = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_LENIENT_LOCAL = re.compile(rf"(?:{_ATEXT}|\.)+")  # some providers assign addresses with dots that RFC 5322 forbids
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*)"')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TO_ESCAPE = re.compile(r'(["\\])')
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_ASCII_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# Nearly every address, in lower case: a fast path to the same form.
_PLAIN = re.compile(rf"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@{_LABEL}(?:\.{_LABEL})*")
_LITERAL = re.compile(r"\[[!-Z^-~]{1,200}\]")

_INVALID_DOMAIN = "does not have a valid domain; write it as in example.com"

_JOINERS = "\u200c\u200d"
# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt): soft hyphen, zero-width space and byte order mark,
# word joiner, bidi marks, embeddings and isolates, variation selectors, fillers, tags. IDNA drops or refuses them too
# (UTS #46).
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_INVISIBLE = re.compile(f"[{_IGNORABLE}]")
_INVISIBLE_BUT_JOINERS = re.compile(f"(?![{_JOINERS}])[{_IGNORABLE}]")


def normalise(address: str) -> str | None:
    """Return an address in a form that all spellings of the same address share.

    The form is in lower case (mail systems fold local parts, whatever RFC 5321 allows) and NFC. The domain is in
    A-labels (RFC 5890). A local part is quoted only where needed. Invisible characters are removed.

    Args:
        address: as written, without angle brackets.

    Returns:
        None if it is not an address.
    """
    if address.isascii() and len(address) <= _LONGEST_DOMAIN and _PLAIN.fullmatch(lower := address.lower()):
        return lower
    address = without_invisible(address)
    if len(address) > _LONGEST or not (address.isascii() or _without_joiners(address).isprintable()):
        return None
    local, at, domain = address.rpartition("@")
    normal_local = _local(local) if at else None
    normal_domain = _domain(domain) if normal_local and _may_convert(domain) else None
    return f"{normal_local}@{normal_domain}" if normal_local and normal_domain else None


class _Converting(threading.local):
    """The international domains of the message that is being parsed, in its thread; None between messages."""

    domains: set[str] | None = None


_converting = _Converting()


@contextmanager
def converting_few() -> Iterator[None]:
    """Accept only the first `MOST_INTERNATIONAL` international domains while a message is parsed.

    The limit depends on the message alone, not on the cache, so that each try parses the same addresses.
    """
    before, _converting.domains = _converting.domains, set()
    try:
        yield
    finally:
        _converting.domains = before


def _may_convert(domain: str) -> bool:
    domains = _converting.domains
    if domains is None or domain.isascii() or domain in domains:
        return True
    if len(domains) >= MOST_INTERNATIONAL:
        return False
    domains.add(domain)
    return True


def tag_as_written(address: str, normal: str) -> str | None:
    """Return the part of an address after `+` as written, where it is not in lower case (rule 2.4).

    Args:
        address: as written, without angle brackets.
        normal: the address as `normalise` returns it.

    Returns:
        None if the address has no tag, or `normal` has it as it is written.
    """
    local = without_invisible(address).rpartition("@")[0]
    if quoted := _QUOTED.fullmatch(local):
        local = _ESCAPE.sub(r"\1", quoted[1])
    tag = unicodedata.normalize("NFC", local.partition("+")[2])
    expected = normal.rpartition("@")[0].partition("+")[2]
    return tag if tag != expected and _fold(tag) == expected else None


def normalise_domain(domain: str) -> str | None:
    """Return a domain, or a domain literal, in the form that `normalise` gives it; None if it is neither."""
    return _domain(_visible_domain(domain.strip()).strip())


def without_invisible(address: str) -> str:
    """Return a text without invisible characters and surrounding white space.

    Invisible characters come with text that was copied from a web page. A joiner (U+200C, U+200D) stays in a domain
    that is registered with it, as RFC 5892 appendix A allows in some scripts.
    """
    address = address.strip()
    if address.isascii() or not _INVISIBLE.search(address):
        return address
    local, at, domain = address.rpartition("@")
    return f"{_INVISIBLE.sub('', local)}{at}{_visible_domain(domain)}".strip()


def _visible_domain(domain: str) -> str:
    domain = _INVISIBLE_BUT_JOINERS.sub("", domain)
    bare = _without_joiners(domain)
    # A-labels are longer than their U-labels: a longer domain is invalid, and must not fill the cache.
    return domain if len(domain) <= _LONGEST_DOMAIN and _may_convert(domain) and _domain(domain) else bare


def _without_joiners(text: str) -> str:
    return text.replace(_JOINERS[0], "").replace(_JOINERS[1], "")


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
    # Lower-casing may decompose characters: compose them again.
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


@lru_cache(maxsize=2 * MOST_INTERNATIONAL)
def _domain(domain: str) -> str | None:
    if domain.startswith("["):
        return domain.lower() if _LITERAL.fullmatch(domain) else None
    if not domain.isascii():
        # Encoding adds at least five characters to a non-ASCII label: check the length before the slow encoding.
        if sum(len(label) + 1 + (0 if label.isascii() else 5) for label in domain.split(".")) > _LONGEST_DOMAIN:
            return None
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return None
    domain = domain.lower().removesuffix(".")
    return domain if len(domain) <= _LONGEST_DOMAIN and _ASCII_DOMAIN.fullmatch(domain) else None


def parse_address(text: str) -> str:
    """Parse an address, and normalise it.

    Raises:
        InvalidValue: the text is not an address.
    """
    address = normalise(text)
    local, at, domain = without_invisible(text).rpartition("@")
    if address is None and at and normalise(f"{local}@localhost") and normalise_domain(domain) is None:
        raise InvalidValue(_INVALID_DOMAIN, text)
    if address is None or address.startswith("*@"):
        raise InvalidValue("is not an address; write name@example.com", text)
    return address


def parse_pattern(text: str) -> str:
    """Parse an address or `*@domain`, and normalise it.

    Raises:
        InvalidValue: the text is neither.
    """
    pattern = without_invisible(text)
    if pattern == "*":
        raise InvalidValue(
            "is not allowed alone; name addresses or *@example.com, or remove the setting to allow any", text
        )
    if not pattern.startswith("*@"):
        return parse_address(text)
    domain = normalise_domain(pattern[2:])
    if domain is None:
        raise InvalidValue(_INVALID_DOMAIN, text)
    return f"*@{domain}"


def parse_route_address(text: str) -> str:
    """Parse a route's ADDRESS: a pattern, or `*`.

    Raises:
        InvalidValue: the text is neither.
    """
    return "*" if without_invisible(text) == "*" else parse_pattern(text)
