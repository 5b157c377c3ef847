"""Describe every setting, by the fields that settings are read with: nothing is written a second time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from shared.config.model import OWNED, AppSettings, Declaration, declarations

Scope = Literal["app", "mailboxes", "routes"]
"""What a setting applies to; the name of a mailbox's or a route's setting begins with this word in upper case."""

MODELS: Final[dict[Scope, type[object]]] = {
    "app": AppSettings,
    "mailboxes": OWNED["mailboxes"],
    "routes": OWNED["routes"],
}

LOCAL_DEFAULTS: Final = {"POLL_SCHEDULE": "0 * * * * *"}
"""Settings that the functions' bindings name, and that have no default in the code: their values on this machine."""

PLATFORM: Final = {
    "PYTHON_THREADPOOL_THREAD_COUNT": "32",
    "PYTHON_ENABLE_OPENTELEMETRY": "true",
}
"""Settings of the Azure Functions worker, with their values; infra/app/settings.bicep gives the reasons."""

_UNITS = ((1024**3, "GB"), (1024**2, "MB"), (1024, "KB"))


@dataclass(frozen=True, slots=True)
class Setting:
    """The description of a setting.

    Attributes:
        field: its name in lower case, without the prefix of a mailbox or a route.
        scope: what it applies to.
        name: its name, without the prefix of a mailbox or a route.
        default: the value that holds if it is not set, as an operator would write it; empty: none.
        value: whether `default` may be written as a value; else it is a sentence, or empty.
        meaning: one or more sentences.
        choices: its possible words; empty: other values than words.
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
        """Return the name as the environment spells it; `owner` is the name of the mailbox or the route."""
        return self.name if self.scope == "app" else f"{self.scope.upper()}__{owner}__{self.name}"


def settings_of(scope: Scope) -> Iterator[Setting]:
    """Yield every setting of a scope, in the order of the code."""
    for declaration in declarations(MODELS[scope]).values():
        yield _describe(scope, declaration)


def _describe(scope: Scope, declaration: Declaration) -> Setting:
    info = declaration.info
    meaning, has_default, sentence = (info.description or "").partition(" Default: ")
    default = sentence.rstrip(".") if has_default else format_default(info.default)
    choices = _choices(info)
    return Setting(
        field=declaration.name.lower(),
        scope=scope,
        name=declaration.name,
        default=default,
        value=bool(default) and (not has_default or default in choices),
        meaning=meaning,
        choices=choices,
        secret=declaration.is_secret,
    )


def format_default(value: Any) -> str:
    """Return a default as an operator would write it; "" for none.

    Raises:
        TypeError: the value is of a kind that no default has; add here how to write it.
    """
    if value is PydanticUndefined:
        return ""
    match value:
        case None | "" | ():
            return ""
        case bool():
            return str(value).lower()
        case tuple():
            return ";".join(map(str, value))
        case int() if unit := next(((size, name) for size, name in _UNITS if value >= size and not value % size), None):
            return f"{value // unit[0]}{unit[1]}"
        case str() | int() | float():
            return str(value)
    raise TypeError(f"a default of the kind {type(value).__name__}")


def _choices(info: FieldInfo) -> tuple[str, ...]:
    types = (info.annotation, *get_args(info.annotation))
    return tuple(
        choice.value for kind in types if isinstance(kind, type) and issubclass(kind, StrEnum) for choice in kind
    )
