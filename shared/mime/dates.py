"""Parse the time at which a message was sent (RFC 5322 sections 3.3 and 4.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from shared.mime.defects import Defects, quote_excerpt
from shared.mime.encoded_words import decode_words

_MAX_LENGTH = 300
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# Month names of the CLDR in Latin letters that begin like the English name of another month: Finnish and Manx.
_OTHER_MONTHS = {"marras": 11, "marraskuu": 11, "mayrnt": 3}
_NUMBERS = {month.title(): number for number, month in enumerate(_MONTHS, 1)}
_MAX_OFFSET = timedelta(days=1)  # `timezone` accepts less than this
_ZONES = {
    "ut": 0, "utc": 0, "gmt": 0, "z": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6,
    "pst": -8, "pdt": -7, "wet": 0, "west": 1, "bst": 1, "cet": 1, "cest": 2, "met": 1, "mest": 2, "eet": 2, "eest": 3,
    "msk": 3, "jst": 9, "hst": -10, "akst": -9, "akdt": -8,
}  # fmt: skip
_MIN_YEAR = 1970
_COMMENT = re.compile(r"\([^()]*\)")
_OPEN_COMMENT = re.compile(r"\(.*", re.DOTALL)
_DAY = r"(?P<day>0?\d{1,2})"
_TIME = (
    r"(?P<hour>\d{1,2})[:.](?P<minute>\d{1,2})(?:[:.](?P<second>\d{1,2})(?:[.,]\d{1,9})?)?(?!\d)"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\b\.?)?"
)
# A signed offset, four digits, or a zone name. `rest` holds the remaining text and decides whether the time is certain.
_ZONE = (
    r"(?:[\s,]*(?:(?:GMT|UTC)\s?)?(?P<offset>[+-]\s?\d{1,2}(?::?\d{2}|\d)?)(?![\d:])"
    r"|\s+(?P<unsigned>(?:0\d|1[0-4]|\d)[0-5]\d)(?![\d:])|[\s,]*(?P<zone>[A-Za-z]{1,5})\b)?(?P<rest>.*)"
)
_MONTH = r"(?P<month>[A-Za-z]{3,9})"
_FORMS = tuple(
    re.compile(form, re.ASCII | re.DOTALL)
    for form in (
        # Mon, 2 Jan 2006 15:04:05 -0700
        r"(?:[A-Za-z]{2,9}[.,]*\s*)?" + _DAY + r"[\s.-]+" + _MONTH + r"[\s.,-]+(?P<year>\d{2,4})[\s,]+" + _TIME + _ZONE,
        # Mon Jan  2 15:04:05 [MST] 2006 [-0700]
        r"(?:[A-Za-z]{3,9},?\s+)?" + _MONTH + r"\s+" + _DAY + r",?\s+" + _TIME
        + r"\s+(?:(?P<zone>[A-Z]{1,5})?(?P<early>[+-]\d{4})?\s+)?(?P<year>\d{4})"
        + r"(?:\s+(?:(?P<offset>[+-]\d{4})(?!\d)|(?P<late>[A-Za-z]{1,5})\b))?(?P<rest>.*)",
        # 2006-01-02T15:04:05Z
        r"(?P<year>\d{4})-(?P<digits>\d{2})-" + _DAY + r"[T\s]+" + _TIME + _ZONE,
        # Monday, January 2, 2006 3:04 PM, and Mon Jan 02 2006 15:04:05 GMT-0700, as JavaScript writes it (ECMA-262,
        # Date.prototype.toString). Without the separator, the weekday could be the beginning of the month's name.
        r"(?:[A-Za-z]{2,9}(?:[.,]+\s*|\s+))?" + _MONTH + r"\.?\s+" + _DAY
        + r"(?:st|nd|rd|th)?[\s,]+(?P<year>\d{4})[\s,]+(?:at\s+)?" + _TIME + _ZONE,
        # The first form after a weekday in any language and charset
        r"(?:[^\d\s,]{1,40}[,.]?\s+|[^\d,]{1,40},\s*)" + _DAY + r"[\s.-]+" + _MONTH + r"[\s.,-]+(?P<year>\d{2,4})[\s,]+"
        + _TIME + _ZONE,
    )
)  # fmt: skip
# The form of nearly all mail, parsed without the general forms. The result is the same.
_USUAL = re.compile(
    r"(?:[A-Za-z]{3}, )?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):([0-5]\d) ([+-])(\d{2})([0-5]\d)"
    r"(?: \([A-Za-z]{1,5}\))?",
    re.ASCII,
)
_NOON = 12
_MAX_MINUTES = 59
_AM_PM = re.compile(r"\b[ap]\.?m\b", re.IGNORECASE)
# Text after a time without an offset may qualify the time in a way that this parser does not understand.
_QUALIFIER = re.compile(r"[0-9A-Za-z+]|[^\x00-\x7f]")
_OFFSET = re.compile(r"[\s,]*([+-])(\d\d)(\d\d)(?!\d)")
_SUMMER = re.compile(r"\s*(?:daylight|summer)", re.IGNORECASE)


def parse_date(text: str, defects: Defects) -> datetime | None:
    """Return the time of a `Date` in UTC; None, and a defect, if the time is not certain."""
    plain = text[:_MAX_LENGTH].strip()
    if (usual := _USUAL.fullmatch(plain)) and (time := _parse_usual(usual)):
        return time
    if "=?" in plain:
        plain = decode_words(plain, defects)
    if "(" in plain:
        plain = _without_comments(plain)
    for form in _FORMS:
        if match := form.match(plain):
            try:
                return _to_time(match.groupdict(), defects)
            except (ValueError, OverflowError):
                continue
    defects.add(f"the Date {quote_excerpt(text)} cannot be read")
    return None


def _parse_usual(match: re.Match[str]) -> datetime | None:
    """Return the time of a date in the usual form, in UTC; None if it is not valid."""
    day, month, year, hour, minute, second, sign, hours, minutes = match.groups()
    try:
        local = datetime(int(year), _NUMBERS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        if local.year < _MIN_YEAR or offset >= _MAX_OFFSET:
            return None
        return local + offset if sign == "-" else local - offset
    except (KeyError, ValueError, OverflowError):
        return None


def _without_comments(text: str) -> str:
    previous = ""
    while previous != text:
        previous, text = text, _COMMENT.sub(" ", text)
    return _OPEN_COMMENT.sub("", text).strip()


def _to_time(groups: dict[str, str | None], defects: Defects) -> datetime:
    year = int(groups["year"] or 0)
    if len(groups["year"] or "") < 4:  # noqa: PLR2004 - RFC 5322 section 4.3: two and three digits
        year += 2000 if year < 50 else 1900  # noqa: PLR2004 - the same section
    if year < _MIN_YEAR:
        raise ValueError(year)
    month = int(groups.get("digits") or 0) or _month_number((groups.get("month") or "").lower())
    local = datetime(
        year,
        month,
        int(groups["day"] or 0),
        _to_hour(groups),
        int(groups["minute"] or 0),
        59 if groups["second"] == "60" else int(groups["second"] or 0),  # a leap second
        tzinfo=_to_zone(groups, defects),
    )
    return local.astimezone(UTC)


def _month_number(name: str) -> int:
    """Return the number of a month. Three letters are enough for its names in most languages: `marzo`, `novembre`."""
    return _OTHER_MONTHS.get(name) or 1 + _MONTHS.index(name[:3])


def _to_hour(groups: dict[str, str | None]) -> int:
    """Return the hour of 24. Some mailers write `18:09 PM`; `18:09 AM` and `0:09 PM` are not valid."""
    hour, am_pm = int(groups["hour"] or 0), (groups["half"] or "").lower()
    if (am_pm == "a" and hour > _NOON) or (am_pm and hour == 0):
        raise ValueError(hour)
    if am_pm == "a":
        return hour % _NOON
    return hour + _NOON if am_pm == "p" and hour < _NOON else hour


def _to_zone(groups: dict[str, str | None], defects: Defects) -> timezone:
    rest = groups["rest"] or ""
    if offset := groups["offset"] or groups.get("early") or groups.get("unsigned"):
        digits = offset.lstrip("+- ").replace(":", "")
        hours, minutes = (digits, "0") if len(digits) <= 2 else (digits[:-2], digits[-2:])  # noqa: PLR2004 - +1, +01
        if int(minutes) > _MAX_MINUTES or _AM_PM.search(rest):
            raise ValueError(offset)
        return _to_offset(offset[0], hours, minutes)
    name = (groups["zone"] or groups.get("late") or "").lower()
    if name in _ZONES:
        zone = _to_offset("+", _ZONES[name])
        other = _OFFSET.match(rest)
        if _SUMMER.match(rest) or _AM_PM.search(rest) or (other and _to_offset(*other.groups()) != zone):
            raise ValueError(rest)
        return zone
    if _QUALIFIER.search(rest):
        raise ValueError(rest)
    # RFC 5322 section 4.3: military zones are unreliable, and count as an unknown zone, which is UTC.
    defects.add("the Date has no known zone: read as UTC")
    return UTC


def _to_offset(sign: str, hours: str | int, minutes: str | int = 0) -> timezone:
    size = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-size if sign == "-" else size)
