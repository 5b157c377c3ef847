"""When a message says that it was sent (RFC 5322 sections 3.3 and 4.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from shared.mail.defects import Defects, shown

_LONGEST = 300
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ZONES = {
    "ut": 0, "utc": 0, "gmt": 0, "z": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6,
    "pst": -8, "pdt": -7, "wet": 0, "west": 1, "bst": 1, "cet": 1, "cest": 2, "met": 1, "mest": 2, "eet": 2, "eest": 3,
    "msk": 3, "jst": 9, "hst": -10, "akst": -9, "akdt": -8,
}  # fmt: skip
_EARLIEST = 1970
_COMMENT = re.compile(r"\([^()]*\)")
_TIME = r"(?P<hour>\d{1,2})[:.](?P<minute>\d{1,2})(?:[:.](?P<second>\d{1,2})(?:[.,]\d{1,9})?)?"
_ZONE = r"\s*(?:(?:GMT|UTC)?(?P<offset>[+-]\s?\d{2}:?\d{2})|(?P<zone>[A-Za-z]{1,5})\b)?"
_FORMS = tuple(
    re.compile(form, re.ASCII)
    for form in (
        # Mon, 2 Jan 2006 15:04:05 -0700
        r"(?:[A-Za-z]{2,9}[.,]*\s*)?(?P<day>\d{1,2})[\s.-]+(?P<month>[A-Za-z]{3})[a-z]{0,6}[\s.,-]+(?P<year>\d{2,4})[\s,]+"
        + _TIME + _ZONE,
        # Mon Jan  2 15:04:05 [MST] 2006 [-0700]
        r"(?:[A-Za-z]{3,9},?\s+)?(?P<month>[A-Za-z]{3})[a-z]{0,6}\s+(?P<day>\d{1,2}),?\s+" + _TIME
        + r"\s+(?:(?P<zone>[A-Z]{1,5})\s+)?(?P<year>\d{4})(?:\s+(?P<offset>[+-]\d{4}))?",
        # 2006-01-02T15:04:05Z
        r"(?P<year>\d{4})-(?P<digits>\d{2})-(?P<day>\d{2})[T\s]+" + _TIME + _ZONE,
    )
)  # fmt: skip


def read_date(text: str, defects: Defects) -> datetime | None:
    """The time that a `Date` names, in UTC; None if it names none that can be, which is a defect."""
    plain = _COMMENT.sub(" ", text[:_LONGEST]).strip()
    for form in _FORMS:
        if match := form.match(plain):
            try:
                return _time(match.groupdict(), defects)
            except (ValueError, OverflowError):
                break
    defects.add(f"the Date {shown(text)} cannot be read")
    return None


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
        int(found["hour"] or 0),
        int(found["minute"] or 0),
        59 if found["second"] == "60" else int(found["second"] or 0),  # a leap second
        tzinfo=_zone(found, defects),
    )
    return local.astimezone(UTC)


def _zone(found: dict[str, str | None], defects: Defects) -> timezone:
    if offset := found["offset"]:
        digits = offset[1:].replace(":", "").strip()
        size = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(-size if offset[0] == "-" else size)
    name = (found["zone"] or "").lower()
    if name not in _ZONES:
        # Military zones were wrongly defined: RFC 5322 section 4.3 has them read as unknown, which is UTC here.
        defects.add("the Date names no zone that is known: read as UTC")
    return timezone(timedelta(hours=_ZONES.get(name, 0)))
