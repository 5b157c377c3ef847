"""Evaluate the Bicep expressions that settings.bicep uses, to get the app settings that a deployment would write.

Neither of the two parsers distinguishes strings from names, or gives `!` the right precedence. Sources:
https://learn.microsoft.com/azure/azure-resource-manager/bicep/operators and
https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions-lambda.
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
"""Operators by precedence, lowest first."""

_LITERALS = {"true": True, "false": False, "null": None}
_ESCAPES = {"n": "\n", "t": "\t", "'": "'", "\\": "\\", "$": "$"}


def _union(*objects: dict[str, Any]) -> dict[str, Any]:
    return {key: value for value_object in objects for key, value in value_object.items()}


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "concat": lambda *lists: [item for items in lists for item in items],
    "contains": lambda container, item: item in container,
    "empty": lambda value: not value,
    "filter": lambda items, predicate: [item for item in items if predicate(item)],
    "flatten": lambda lists: [item for items in lists for item in items],
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "map": lambda items, function: [function(item) for item in items],
    "string": lambda value: value if isinstance(value, str) else str(value).lower(),
    "toObject": lambda items, key, value: {key(item): value(item) for item in items},
    "union": _union,
}


class ExpressionParser:
    """Parses an expression into a function that computes its value."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0

    def parse(self) -> Value:
        value = self.expression()
        self._skip()
        assert self.at == len(self.source), f"not supported: {self.source[self.at :][:60]}"
        return value

    def expression(self) -> Value:
        self._skip()
        if match := _LAMBDA.match(self.source, self.at):
            self.at = match.end()
            name, body = match[1], self.expression()
            return lambda env: lambda value: body(ChainMap({name: value}, env))
        condition = self._operation(0)
        if not self._accept("?"):
            return condition
        yes = self.expression()
        assert self._accept(":"), self.source[self.at :][:60]
        no = self.expression()
        return lambda env: yes(env) if condition(env) else no(env)

    def _operation(self, level: int) -> Value:
        if level == len(_OPERATORS):
            return self._unary()
        left = self._operation(level + 1)
        while operator := next((operator for operator in _OPERATORS[level] if self._accept(operator)), None):
            left = _apply(operator, left, self._operation(level + 1))
        return left

    def _unary(self) -> Value:
        if self._accept("!"):
            value = self._unary()
            return lambda env: not value(env)
        value = self._primary()
        while self._accept("."):
            value = _member(value, self._name())
        return value

    def _primary(self) -> Value:
        self._skip()
        match self.source[self.at]:
            case "'":
                return self._string()
            case "[":
                items = self._list("[", "]", self.expression)
                return lambda env: [item(env) for item in items]
            case "{":
                pairs = self._list("{", "}", self._property)
                return lambda env: {key(env): value(env) for key, value in pairs}
            case "(":
                (inner,) = self._list("(", ")", self.expression)
                return inner
        if match := _NUMBER.match(self.source, self.at):
            self.at = match.end()
            return _constant(int(match[0]))
        name = self._name()
        if self.source[self.at : self.at + 1] == "(":
            arguments = self._list("(", ")", self.expression)
            return lambda env: FUNCTIONS[name](*(argument(env) for argument in arguments))
        return _constant(_LITERALS[name]) if name in _LITERALS else lambda env: env[name]

    def _property(self) -> tuple[Value, Value]:
        self._skip()
        key = self._string() if self.source[self.at] == "'" else _constant(self._name())
        assert self._accept(":"), self.source[self.at :][:60]
        return key, self.expression()

    def _list(self, begin: str, end: str, parse_item: Callable[[], T]) -> list[T]:
        assert self._accept(begin)
        items = []
        while not self._accept(end):
            items.append(parse_item())
            self._accept(",")
        return items

    def _string(self) -> Value:
        self.at += 1
        parts: list[Value] = []
        while (sign := self.source[self.at]) != "'":
            if self.source.startswith("${", self.at):
                self.at += 2
                parts.append(self.expression())
                assert self._accept("}")
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
        match = _NAME.match(self.source, self.at)
        assert match, f"no name: {self.source[self.at :][:60]}"
        self.at = match.end()
        return match[0]

    def _accept(self, token: str) -> bool:
        self._skip()
        accepted = self.source.startswith(token, self.at)
        self.at += len(token) if accepted else 0
        return accepted

    def _skip(self) -> None:
        blank = _BLANK.match(self.source, self.at)
        assert blank
        self.at = blank.end()


def _constant(value: Any) -> Value:
    return lambda _: value


def _member(value: Value, name: str) -> Value:
    return lambda env: value(env)[name]


def _apply(operator: str, left: Value, right: Value) -> Value:
    results: Mapping[str, Value] = {
        "||": lambda env: left(env) or right(env),
        "&&": lambda env: left(env) and right(env),
        "==": lambda env: left(env) == right(env),
        "!=": lambda env: left(env) != right(env),
        ">=": lambda env: left(env) >= right(env),
        ">": lambda env: left(env) > right(env),
    }
    return results[operator]


class File(dict[str, Any]):
    """The values of a file's parameters and variables, by name.

    Args:
        path: the file.
        parameters: values of the parameters.
    """

    def __init__(self, path: Path, **parameters: Any) -> None:
        super().__init__(parameters)
        self.path = path

    def __missing__(self, name: str) -> Any:
        self[name] = self.value(text(read(self.path).variables[name]))
        return self[name]

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the file."""
        return ExpressionParser(expression).parse()(self)
