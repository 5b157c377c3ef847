"""Every setting in words, taken from the fields that settings are read by: nothing is written of it a second time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shared.config.parsers import Removal
from shared.config.schema import SECRETS, WrittenMailbox, WrittenRoute, WrittenSettings, setting_name

Scope = Literal["app", "mailboxes", "routes"]
"""Whose setting it is; of a mailbox or a route, its name begins with this word in upper case."""

MODELS: Final[dict[Scope, type[BaseModel]]] = {
    "app": WrittenSettings,
    "mailboxes": WrittenMailbox,
    "routes": WrittenRoute,
}

LOCAL_DEFAULTS: Final = {"POLL_SCHEDULE": "0 * * * * *"}
"""What the functions' bindings name, and so has no default in the code: its values on this machine."""

PLATFORM: Final = {
    "PYTHON_THREADPOOL_THREAD_COUNT": "32",
    "PYTHON_ENABLE_OPENTELEMETRY": "true",
}
"""What the worker of Azure Functions is to be told, with its values; infra/app/settings.bicep says why."""

_UNITS = ((1024**3, "GB"), (1024**2, "MB"), (1024, "KB"))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        field: its name in the code.
        scope: whose it is.
        name: as it is spelled; of a mailbox's or a route's, the part after their name.
        default: what holds if it is not set, as an operator would write it; empty: nothing does.
        value: whether `default` may be written as a value; else it is a sentence, or empty.
        meaning: one or more sentences.
        choices: the words that it may be; empty: others than some words.
        secret: its value is never shown.
    """

    field: str
    scope: Scope
    name: str
    default: str
    value: bool
    meaning: str
    choices: tuple[str, ...]
    secret: bool

    @property
    def whole_meaning(self) -> str:
        """The meaning, with the choices, unless it names them all."""
        if all(choice in self.meaning for choice in self.choices):
            return self.meaning
        return f"{self.meaning} One of {', '.join(self.choices)}."

    def key(self, owner: str) -> str:
        """The name as the environment has it; `owner` is the mailbox's or the route's."""
        return self.name if self.scope == "app" else f"{self.scope.upper()}__{owner}__{self.name}"


def settings_of(scope: Scope) -> Iterator[Setting]:
    """Every setting of a scope, in the order of the code."""
    model = MODELS[scope]
    for field, info in model.model_fields.items():
        if field not in MODELS:
            yield _described(scope, field, info)


def _described(scope: Scope, field: str, info: FieldInfo) -> Setting:
    meaning, told, words = (info.description or "").partition(" Default: ")
    default = words.rstrip(".") if told else as_written(info.default)
    return Setting(
        field=field,
        scope=scope,
        name=setting_name(field, MODELS[scope]),
        default=default,
        value=bool(default) and (not told or default in _choices(info)),
        meaning=meaning,
        choices=_choices(info),
        secret=field in SECRETS,
    )


def as_written(value: Any) -> str:
    """A default as an operator would write it; nothing at all is empty.

    Raises:
        TypeError: no setting has had a default of this kind; say here how it is written.
    """
    match value:
        case None | "" | ():
            return ""
        case bool():
            return str(value).lower()
        case Removal():
            return f"move:{value.move_to}" if value.move_to else value.after.value
        case tuple():
            return ";".join(map(str, value))
        case int() if unit := next(((size, name) for size, name in _UNITS if value >= size and not value % size), None):
            return f"{value // unit[0]}{unit[1]}"
        case str() | int() | float():
            return str(value)
    raise TypeError(f"a default of the kind {type(value).__name__}")


def _choices(info: FieldInfo) -> tuple[str, ...]:
    kinds = (info.annotation, *get_args(info.annotation))
    return tuple(
        choice.value for kind in kinds if isinstance(kind, type) and issubclass(kind, StrEnum) for choice in kind
    )
