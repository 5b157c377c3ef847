"""NCRONTAB schedules: six fields, seconds first, in UTC.

The Functions host parses schedules with https://github.com/atifaziz/NCrontab. Its grammar has numbers, names of three
letters, lists, ranges and steps; Sunday is 0. If day of month and day of week are both restricted, both must match.
`croniter` computes the times. It accepts more than that grammar; this module rejects the rest, since a schedule that
works locally must work in Azure.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from croniter import croniter

from shared.errors import ConfigurationError

FIELDS = 6

_VALUE = r"(?:\d{1,2}|[A-Za-z]{3})"
_PART = rf"(?:\*|{_VALUE}(?:-{_VALUE})?)(?:/\d{{1,2}})?"
_FIELD = re.compile(rf"{_PART}(?:,{_PART})*")
_SEVEN = re.compile(r"(?:^|[,-])0?7")


class Schedule:
    """An NCRONTAB schedule.

    Args:
        expression: the timer trigger's schedule.

    Raises:
        ConfigurationError: the expression is not a schedule of six fields.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        if not self._is_well_formed():
            raise ConfigurationError(
                f"the schedule {expression!r} is invalid, or never due: write six NCRONTAB fields (second minute hour "
                "day month weekday), such as 0 * * * * * for every minute"
            )

    def _is_well_formed(self) -> bool:
        fields = self.expression.split()
        if len(fields) != FIELDS or not all(map(_FIELD.fullmatch, fields)) or _SEVEN.search(fields[-1]):
            return False
        try:
            self.after(datetime.now(UTC))
        except ValueError:
            return False
        return True

    def after(self, moment: datetime) -> datetime:
        """Return the first due time later than `moment` (timezone-aware), in UTC."""
        times = croniter(self.expression, moment.astimezone(UTC), second_at_beginning=True, day_or=False)
        due: datetime = times.get_next(datetime)
        return due.astimezone(UTC)
