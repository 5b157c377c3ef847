"""The settings of the app, of one mailbox or of one route, from their texts to their values."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from shared.config.model import SECRETS, Declaration, Model, declarations
from shared.config.validation import Report, closest_name
from shared.errors import InvalidValue


@dataclass(slots=True)
class Section:
    """The settings of the app, of one mailbox or of one route. An error of one of them disables the whole section.

    Attributes:
        model: declares the settings.
        name: the name of the mailbox or the route in lower case; empty for the app.
        prefix: precedes the name of each setting, as the operator spells it.
        report: words the errors.
        noun: what an unknown setting is not, such as "a setting of a mailbox".
        errors: the configuration errors, each once.
        keys: how each setting that is set is spelled, by its name in lower case; invalid ones are included.
        texts: the settings that can be validated, likewise.
        values: the valid values, by field of the model: those that are set, and those derived from others.
        is_repeated: another section or setting has the same name; which of them is meant is unknown.
    """

    model: Model
    name: str
    prefix: str
    report: Report
    noun: str = "a setting"
    errors: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    is_repeated: bool = False

    def add(self, setting: str, key: str, text: str) -> None:
        """Add a setting that is set, by its name in lower case."""
        self.keys[setting] = key
        self.texts[setting] = text if setting in SECRETS else text.strip()

    def add_unknown(self, setting: str, key: str) -> None:
        """Report a setting that the model does not declare, with the name that it resembles."""
        settings = declarations(self.model)
        near = closest_name(setting, settings)
        hint = f"did you mean {near.upper()}?" if near else f"known are {', '.join(sorted(settings)).upper()}"
        self.keys[setting] = key
        self.error(setting, f"is not {self.noun}; {hint}")

    def read(self, *, skip: Collection[str] = ()) -> dict[str, Any]:
        """Validate each setting, and return the values. An invalid one is reported and left out; the rest is checked.

        Args:
            skip: fields that are read otherwise.
        """
        for setting, declaration in declarations(self.model).items():
            if setting in self.texts and declaration.field not in skip:
                try:
                    self.values[declaration.field] = _adapter(declaration).validate_python(self.texts[setting])
                except ValidationError as error:
                    self._report_invalid(setting, error)
        return self.values

    def _report_invalid(self, setting: str, error: ValidationError) -> None:
        # The exception itself holds the value: it is not kept.
        for problem in error.errors(include_input=False, include_url=False):
            cause = problem.get("ctx", {}).get("error")
            if isinstance(cause, InvalidValue):
                self.error(setting, cause.detail, cause.value)
            else:
                self.error(setting, f"{problem['msg']}; correct it")

    def is_set(self, setting: str) -> bool:
        """Return whether a setting is set, be it valid or not."""
        return setting.lower() in self.keys

    def is_invalid(self, setting: str) -> bool:
        """Return whether a setting is set and an error of it was reported."""
        return self.is_set(setting) and setting.lower() not in self.values

    def key(self, setting: str) -> str:
        """Return a setting's name as the operator spells it, or would spell it."""
        return self.keys.get(setting.lower(), self.prefix + setting)

    def error(self, setting: str, detail: str, value: str | None = None) -> None:
        """Report an error of a setting: what is wrong, and how to fix it."""
        self.error_at(self.key(setting), detail, value)

    def error_at(self, key: str, detail: str, value: str | None = None) -> None:
        """Report an error of another key of the environment or the file."""
        line = self.report.line(key, detail, value)
        if line not in self.errors:
            self.errors.append(line)

    @contextmanager
    def reporting(self, setting: str) -> Iterator[None]:
        """Report an `InvalidValue` that the block raises as an error of a setting."""
        try:
            yield
        except InvalidValue as invalid:
            self.error(setting, invalid.detail, invalid.value)

    def require(self, setting: str, fix: str) -> None:
        """Report that a setting is missing, unless it is set, or derived from others."""
        if not self.is_set(setting) and setting.lower() not in self.values:
            self.error(setting, f"is not set; {fix}")


@cache
def _adapter(declaration: Declaration) -> TypeAdapter[Any]:
    info = declaration.info
    # Of each field that is set, and no other: a worker that starts for a notification does not wait for the rest.
    annotated: Any = Annotated[info.annotation, info]
    return TypeAdapter(annotated)
