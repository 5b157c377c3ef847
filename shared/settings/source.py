"""pydantic-settings over the settings that `names` found, instead of over the process's whole environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from shared.settings.faults import Place, Report, Wrong
from shared.settings.names import KINDS, Given, Keys
from shared.settings.written import WrittenRoute, WrittenSettings


class _FoundSettings(EnvSettingsSource):
    """Reads a mapping. Values are text: none is taken for JSON, since a password may look like it."""

    def __init__(self, found: Mapping[str, str]) -> None:
        self._found = found
        super().__init__(WrittenSettings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return dict(self._found)

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        del field_name, field
        return value


def read_written(keys: Keys, report: Report) -> WrittenSettings:
    """Validate each value. One that is wrong is reported and then taken as not set, so that the rest can be checked."""
    good = dict(keys.values)
    while True:
        found = {
            "__".join(place): given.value for place, given in good.items() if place[0] in WrittenSettings.model_fields
        }
        written, bad = _validated(_FoundSettings(found)(), report, good)
        if written is not None:
            return written
        good = {place: given for place, given in good.items() if place not in bad}


def read_written_routes(keys: Keys, report: Report) -> Mapping[str, WrittenRoute]:
    """Validate the routes that a routes file holds, as `read_written` does.

    They need not be found among a whole environment, which takes seconds for ten thousand of them.
    """
    good = dict(keys.values)
    while True:
        routes: dict[str, dict[str, str]] = {}
        for (_, name, setting), given in good.items():
            routes.setdefault(name, {})[setting] = given.value
        written, bad = _validated({"routes": routes}, report, good)
        if written is not None:
            return written.routes
        good = {place: given for place, given in good.items() if place not in bad}


def _validated(
    values: Mapping[str, Any], report: Report, given: Mapping[Place, Given]
) -> tuple[WrittenSettings | None, set[Place]]:
    bad: set[Place] = set()
    try:
        return WrittenSettings(**values), bad
    except ValidationError as error:
        # Never chained to anything and never kept: it holds the values.
        problems = error.errors(include_input=False, include_url=False)
    for problem in problems:
        location = tuple(str(part) for part in problem["loc"])
        place = location[:3] if location[0] in KINDS else location[:1]
        cause = problem.get("ctx", {}).get("error")
        rest, value = (cause.rest, cause.value) if isinstance(cause, Wrong) else (f"{problem['msg']}; correct it", None)
        report.fault(place, given[place].key, rest, value)
        bad.add(place)
    return None, bad
