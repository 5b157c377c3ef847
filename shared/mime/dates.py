"""When a message says that it was sent (RFC 5322 sections 3.3 and 4.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from shared.mime.defects import Defects, shown
from shared.mime.encoded_words import decoded

_LONGEST = 300
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NUMBERS = {month.title(): number for number, month in enumerate(_MONTHS, 1)}
_LONGEST_OFFSET = timedelta(days=1)  # `timezone` takes less
_ZONES = {
    "ut": 0, "utc": 0, "gmt": 0, "z": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6,
    "pst": -8, "pdt": -7, "wet": 0, "west": 1, "bst": 1, "cet": 1, "cest": 2, "met": 1, "mest": 2, "eet": 2, "eest": 3,
    "msk": 3, "jst": 9, "hst": -10, "akst": -9, "akdt": -8,
}  # fmt: skip
_EARLIEST = 1970
_COMMENT = re.compile(r"\([^()]*\)")
_OPEN_COMMENT = re.compile(r"\(.*", re.DOTALL)
_DAY = r"(?P<day>0?\d{1,2})"
_TIME = (
    r"(?P<hour>\d{1,2})[:.](?P<minute>\d{1,2})(?:[:.](?P<second>\d{1,2})(?:[.,]\d{1,9})?)?(?!\d)"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\b\.?)?"
)
# A sign, or four digits, or a known word; what else stands there is in `rest`, and decides whether the time is known.
_ZONE = (
    r"(?:[\s,]*(?:(?:GMT|UTC)\s?)?(?P<offset>[+-]\s?\d{1,2}(?::?\d{2}|\d)?)(?![\d:])"
    r"|\s+(?P<unsigned>(?:0\d|1[0-4]|\d)[0-5]\d)(?![\d:])|[\s,]*(?P<zone>[A-Za-z]{1,5})\b)?(?P<rest>.*)"
)
_MONTH = r"(?P<month>[A-Za-z]{3})[A-Za-z]{0,6}"
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
        # Date.prototype.toString)
        r"(?:[A-Za-z]{2,9}[.,]*\s*)?" + _MONTH + r"\.?\s+" + _DAY
        + r"(?:st|nd|rd|th)?[\s,]+(?P<year>\d{4})[\s,]+(?:at\s+)?" + _TIME + _ZONE,
        # The first form behind a weekday in any language and charset
        r"(?:[^\d\s,]{1,40}[,.]?\s+|[^\d,]{1,40},\s*)" + _DAY + r"[\s.-]+" + _MONTH + r"[\s.,-]+(?P<year>\d{2,4})[\s,]+"
        + _TIME + _ZONE,
    )
)  # fmt: skip
# The form that nearly all mail has: what it names is read at once. Any other takes the long way to the same time.
_USUAL = re.compile(
    r"(?:[A-Za-z]{3}, )?(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):([0-5]\d) ([+-])(\d{2})([0-5]\d)"
    r"(?: \([A-Za-z]{1,5}\))?",
    re.ASCII,
)
_NOON = 12
_MOST_MINUTES = 59
_HALF = re.compile(r"\b[ap]\.?m\b", re.IGNORECASE)
# What is there behind a time without an offset may say something about it that is not read.
_NOT_READ = re.compile(r"[0-9A-Za-z+]|[^\x00-\x7f]")
_OFFSET = re.compile(r"[\s,]*([+-])(\d\d)(\d\d)(?!\d)")
_SUMMER = re.compile(r"\s*(?:daylight|summer)", re.IGNORECASE)


def read_date(text: str, defects: Defects) -> datetime | None:
    """Return the time that a `Date` names, in UTC; None, and a defect, if it does not name a time beyond doubt."""
    plain = text[:_LONGEST].strip()
    if (usual := _USUAL.fullmatch(plain)) and (time := _usual_time(usual)):
        return time
    if "=?" in plain:
        plain = decoded(plain, defects)
    if "(" in plain:
        plain = _without_comments(plain)
    for form in _FORMS:
        if match := form.match(plain):
            try:
                return _time(match.groupdict(), defects)
            except (ValueError, OverflowError):
                break
    defects.add(f"the Date {shown(text)} cannot be read")
    return None


def _usual_time(found: re.Match[str]) -> datetime | None:
    """Return the time that a date in the usual form names, in UTC; None if it may not name one."""
    day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
    try:
        at = datetime(int(year), _NUMBERS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        ahead = timedelta(hours=int(hours), minutes=int(minutes))
        if at.year < _EARLIEST or ahead >= _LONGEST_OFFSET:
            return None
        return at + ahead if sign == "-" else at - ahead
    except (KeyError, ValueError, OverflowError):
        return None


def _without_comments(text: str) -> str:
    before = ""
    while before != text:
        before, text = text, _COMMENT.sub(" ", text)
    return _OPEN_COMMENT.sub("", text).strip()


def _time(found: dict[str, str | None], defects: Defects) -> datetime:
    year = int(found["year"] or 0)
    if len(found["year"] or "") < 4:  # noqa: PLR2004 - RFC 5322 section 4.3: two and three digits
        year += 2000 if year < 50 else 1900  # noqa: PLR2004 - the same section
    if year < _EARLIEST:
        raise ValueError(year)
    month = int(found.get("digits") or 0) or 1 + _MONTHS.index((found.get("month") or "").lower())
    local = datetime(
        year,
        month,
        int(found["day"] or 0),
        _hour(found),
        int(found["minute"] or 0),
        59 if found["second"] == "60" else int(found["second"] or 0),  # a leap second
        tzinfo=_zone(found, defects),
    )
    return local.astimezone(UTC)


def _hour(found: dict[str, str | None]) -> int:
    """Return the hour of 24. `18:09 PM` is what some mailers write; `18:09 AM` and `0:09 PM` mean nothing."""
    hour, half = int(found["hour"] or 0), (found["half"] or "").lower()
    if (half == "a" and hour > _NOON) or (half and hour == 0):
        raise ValueError(hour)
    if half == "a":
        return hour % _NOON
    return hour + _NOON if half == "p" and hour < _NOON else hour


def _zone(found: dict[str, str | None], defects: Defects) -> timezone:
    rest = found["rest"] or ""
    if offset := found["offset"] or found.get("early") or found.get("unsigned"):
        digits = offset.lstrip("+- ").replace(":", "")
        hours, minutes = (digits, "0") if len(digits) <= 2 else (digits[:-2], digits[-2:])  # noqa: PLR2004 - +1, +01
        if int(minutes) > _MOST_MINUTES or _HALF.search(rest):
            raise ValueError(offset)
        return _offset(offset[0], hours, minutes)
    name = (found["zone"] or found.get("late") or "").lower()
    if name in _ZONES:
        zone = _offset("+", _ZONES[name])
        other = _OFFSET.match(rest)
        if _SUMMER.match(rest) or _HALF.search(rest) or (other and _offset(*other.groups()) != zone):
            raise ValueError(rest)
        return zone
    if _NOT_READ.search(rest):
        raise ValueError(rest)
    # Military zones were wrongly defined: RFC 5322 section 4.3 has them read as unknown, which is UTC here.
    defects.add("the Date names no zone that is known: read as UTC")
    return UTC


def _offset(sign: str, hours: str | int, minutes: str | int = 0) -> timezone:
    size = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-size if sign == "-" else size)
