"""The settings of the app, of one mailbox or of one route, while they are checked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from shared.config.env_keys import EnvironmentKeys
from shared.config.model import Declaration, Model, declarations
from shared.config.validation import ErrorCollector, Place


@dataclass(frozen=True, slots=True)
class Section:
    """The settings of one owner.

    Attributes:
        owner: `("mailboxes", name)`, `("routes", name)`, or nothing for the app.
        values: the valid values that are set, by field of the model.
        keys: which settings are set, and how they are spelled.
        report: takes the errors.
    """

    owner: Place
    values: dict[str, Any]
    keys: EnvironmentKeys
    report: ErrorCollector

    @property
    def name(self) -> str:
        """The name of the mailbox or the route, in lower case."""
        return self.owner[1]

    def place(self, setting: str) -> Place:
        """Return the place of a setting."""
        return (*self.owner, setting.lower())

    def is_set(self, setting: str) -> bool:
        """Return whether a setting is set, be it valid or not."""
        return self.place(setting) in self.keys.places

    def text(self, setting: str) -> str:
        """Return the text of a setting that is set."""
        return self.keys.values[self.place(setting)].value

    def key(self, setting: str) -> str:
        """Return a setting's name as the operator spells it, or would spell it."""
        value = self.keys.values.get(self.place(setting))
        return value.key if value else self.keys.spell(self.owner[0], self.name, setting)

    def error(self, setting: str, detail: str, value: str | None = None) -> None:
        """Report an error of a setting."""
        self.report.error(self.place(setting), self.key(setting), detail, value)

    def missing(self, setting: str, fix: str) -> None:
        """Report that a setting is missing, unless it is set and an error of it was reported."""
        if not self.report.has(self.place(setting)):
            self.error(setting, f"is not set; {fix}")


def read_section(
    model: Model, owner: Place, keys: EnvironmentKeys, report: ErrorCollector, *, skip: Collection[str] = ()
) -> Section:
    """Validate each setting of one owner; report an invalid value, and leave it out so that the rest can be checked.

    Args:
        model: declares the settings.
        owner: whose settings they are.
        keys: the settings that are set.
        report: takes the errors.
        skip: fields that are read otherwise.
    """
    values: dict[str, Any] = {}
    for name, declaration in declarations(model).items():
        place = (*owner, name)
        value = keys.values.get(place)
        if value is None or declaration.field in skip:
            continue
        try:
            values[declaration.field] = _adapter(declaration).validate_python(value.value)
        except ValidationError as error:
            report.validation_error(place, value.key, error)
    return Section(owner, values, keys, report)


@cache
def _adapter(declaration: Declaration) -> TypeAdapter[Any]:
    info = declaration.info
    # Of each field that is set, and no other: a worker that starts for a notification does not wait for the rest.
    annotated: Any = Annotated[info.annotation, info]
    return TypeAdapter(annotated)
