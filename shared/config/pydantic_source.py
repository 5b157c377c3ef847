"""pydantic-settings over the settings that `names` found, instead of over the process's whole environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from shared.config.env_keys import KINDS, EnvironmentKeys, SettingValue
from shared.config.schema import WrittenRoute, WrittenSettings
from shared.config.validation import ErrorCollector, Place
from shared.errors import InvalidValue


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


def read_sections(keys: EnvironmentKeys, report: ErrorCollector) -> WrittenSettings:
    """Validate each value. One that is wrong is reported and then taken as not set, so that the rest can be checked."""
    return _without_faults(keys, report, _as_environment)


def read_route_sections(keys: EnvironmentKeys, report: ErrorCollector) -> Mapping[str, WrittenRoute]:
    """Validate the routes that a routes file holds, as `read_sections` does.

    They need not be found among a whole environment, which takes seconds for ten thousand of them.
    """
    return _without_faults(keys, report, _as_routes).routes


def _as_environment(given: Mapping[Place, SettingValue]) -> Mapping[str, Any]:
    found = {"__".join(place): one.value for place, one in given.items() if place[0] in WrittenSettings.model_fields}
    return _FoundSettings(found)()


def _as_routes(given: Mapping[Place, SettingValue]) -> Mapping[str, Any]:
    routes: dict[str, dict[str, str]] = {}
    for (_, name, setting), one in given.items():
        routes.setdefault(name, {})[setting] = one.value
    return {"routes": routes}


def _without_faults(
    keys: EnvironmentKeys, report: ErrorCollector, arranged: Callable[[Mapping[Place, SettingValue]], Mapping[str, Any]]
) -> WrittenSettings:
    good = dict(keys.values)
    while True:
        written, bad = _validated(arranged(good), report, good)
        if written is not None:
            return written
        good = {place: given for place, given in good.items() if place not in bad}


def _validated(
    values: Mapping[str, Any], report: ErrorCollector, given: Mapping[Place, SettingValue]
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
        rest, value = (
            (cause.detail, cause.value) if isinstance(cause, InvalidValue) else (f"{problem['msg']}; correct it", None)
        )
        report.fault(place, given[place].key, rest, value)
        bad.add(place)
    return None, bad
