"""NCRONTAB: six fields, the seconds first, in UTC.

The grammar is that of the library that the Functions host reads schedules with (https://github.com/atifaziz/NCrontab):
numbers, names of three letters, lists, ranges and steps; Sunday is 0; where both a day of the month and a day of the
week are given, both must hold. `croniter` computes; what it understands beyond that grammar is refused here, since a
schedule that works locally must work in Azure.
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
    """When a timer is due.

    Args:
        expression: as a timer trigger has it.

    Raises:
        ConfigurationError: it is no schedule of six fields.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        if not self._is_well_formed():
            raise ConfigurationError(
                f"the schedule {expression!r} is not six NCRONTAB fields (second minute hour day month weekday) that "
                "some day matches: 0 * * * * * is every minute"
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
        """The first time that is due later than `moment` (aware), in UTC."""
        times = croniter(self.expression, moment.astimezone(UTC), second_at_beginning=True, day_or=False)
        due: datetime = times.get_next(datetime)
        return due.astimezone(UTC)
