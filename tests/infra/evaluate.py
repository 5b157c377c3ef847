"""Evaluates Bicep expressions as far as settings.bicep has them: what a deployment would write into the app settings.

The parsers that we have tell what a file looks like; neither keeps strings and names apart, or binds `!` as the
language does. (https://learn.microsoft.com/azure/azure-resource-manager/bicep/operators, …/bicep-functions-lambda)
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, TypeVar

from tests.infra.bicep import read, text

T = TypeVar("T")
Env = MutableMapping[str, Any]
Value = Callable[[Env], Any]

_BLANK = re.compile(r"(?:\s|//[^\n]*|#disable[^\n]*)*")
_NAME = re.compile(r"[A-Za-z_]\w*")
_NUMBER = re.compile(r"\d+")
_LAMBDA = re.compile(r"\(?\s*([A-Za-z_]\w*)\s*\)?\s*=>")
_OPERATORS = (("||",), ("&&",), ("==", "!="), (">=", ">"))
"""Those that bind least first."""

_WORDS = {"true": True, "false": False, "null": None}
_ESCAPES = {"n": "\n", "t": "\t", "'": "'", "\\": "\\", "$": "$"}


def _union(*objects: dict[str, Any]) -> dict[str, Any]:
    return {key: value for one in objects for key, value in one.items()}


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "concat": lambda *lists: [one for each in lists for one in each],
    "contains": lambda container, item: item in container,
    "empty": lambda value: not value,
    "filter": lambda items, which: [one for one in items if which(one)],
    "flatten": lambda lists: [one for each in lists for one in each],
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "map": lambda items, made: [made(one) for one in items],
    "string": lambda value: value if isinstance(value, str) else str(value).lower(),
    "toObject": lambda items, key, value: {key(one): value(one) for one in items},
    "union": _union,
}


class Reader:
    """Turns a text into what computes its value."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0

    def whole(self) -> Value:
        value = self.expression()
        self._skip()
        assert self.at == len(self.source), f"not understood: {self.source[self.at :][:60]}"
        return value

    def expression(self) -> Value:
        self._skip()
        if found := _LAMBDA.match(self.source, self.at):
            self.at = found.end()
            name, body = found[1], self.expression()
            return lambda env: lambda value: body(ChainMap({name: value}, env))
        condition = self._operation(0)
        if not self._takes("?"):
            return condition
        yes = self.expression()
        assert self._takes(":"), self.source[self.at :][:60]
        no = self.expression()
        return lambda env: yes(env) if condition(env) else no(env)

    def _operation(self, level: int) -> Value:
        if level == len(_OPERATORS):
            return self._unary()
        left = self._operation(level + 1)
        while sign := next((one for one in _OPERATORS[level] if self._takes(one)), None):
            left = _joined(sign, left, self._operation(level + 1))
        return left

    def _unary(self) -> Value:
        if self._takes("!"):
            value = self._unary()
            return lambda env: not value(env)
        value = self._primary()
        while self._takes("."):
            value = _member(value, self._name())
        return value

    def _primary(self) -> Value:
        self._skip()
        match self.source[self.at]:
            case "'":
                return self._string()
            case "[":
                items = self._listed("[", "]", self.expression)
                return lambda env: [one(env) for one in items]
            case "{":
                pairs = self._listed("{", "}", self._property)
                return lambda env: {key(env): value(env) for key, value in pairs}
            case "(":
                (inner,) = self._listed("(", ")", self.expression)
                return inner
        if found := _NUMBER.match(self.source, self.at):
            self.at = found.end()
            return _constant(int(found[0]))
        name = self._name()
        if self.source[self.at : self.at + 1] == "(":
            given = self._listed("(", ")", self.expression)
            return lambda env: FUNCTIONS[name](*(one(env) for one in given))
        return _constant(_WORDS[name]) if name in _WORDS else lambda env: env[name]

    def _property(self) -> tuple[Value, Value]:
        self._skip()
        key = self._string() if self.source[self.at] == "'" else _constant(self._name())
        assert self._takes(":"), self.source[self.at :][:60]
        return key, self.expression()

    def _listed(self, begin: str, end: str, one: Callable[[], T]) -> list[T]:
        assert self._takes(begin)
        found = []
        while not self._takes(end):
            found.append(one())
            self._takes(",")
        return found

    def _string(self) -> Value:
        self.at += 1
        parts: list[Value] = []
        while (sign := self.source[self.at]) != "'":
            if self.source.startswith("${", self.at):
                self.at += 2
                parts.append(self.expression())
                assert self._takes("}")
                continue
            if sign == "\\":
                self.at += 1
                sign = _ESCAPES[self.source[self.at]]
            parts.append(_constant(sign))
            self.at += 1
        self.at += 1
        return lambda env: "".join(str(part(env)) for part in parts)

    def _name(self) -> str:
        self._skip()
        found = _NAME.match(self.source, self.at)
        assert found, f"no name: {self.source[self.at :][:60]}"
        self.at = found.end()
        return found[0]

    def _takes(self, sign: str) -> bool:
        self._skip()
        taken = self.source.startswith(sign, self.at)
        self.at += len(sign) if taken else 0
        return taken

    def _skip(self) -> None:
        blank = _BLANK.match(self.source, self.at)
        assert blank
        self.at = blank.end()


def _constant(value: Any) -> Value:
    return lambda _: value


def _member(value: Value, name: str) -> Value:
    return lambda env: value(env)[name]


def _joined(sign: str, left: Value, right: Value) -> Value:
    joined: Mapping[str, Value] = {
        "||": lambda env: left(env) or right(env),
        "&&": lambda env: left(env) and right(env),
        "==": lambda env: left(env) == right(env),
        "!=": lambda env: left(env) != right(env),
        ">=": lambda env: left(env) >= right(env),
        ">": lambda env: left(env) > right(env),
    }
    return joined[sign]


class File(dict[str, Any]):
    """A file's names: the parameters as given, and the variables as computed from them."""

    def __init__(self, path: Path, **given: Any) -> None:
        super().__init__(given)
        self.path = path

    def __missing__(self, name: str) -> Any:
        self[name] = self.value(text(read(self.path).variables[name]))
        return self[name]

    def value(self, expression: str) -> Any:
        """What an expression of the file is."""
        return Reader(expression).whole()(self)
