"""Parse Bicep files with tree-sitter, as far as the tests of infra/ need it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
FILES = sorted(INFRA.rglob("*.bicep"))
MAIN = INFRA / "main.bicep"

_PARSER = Parser(Language(tree_sitter_bicep.language()))

BUILT_IN = frozenset(
    (
        "cidrSubnet",
        "concat",
        "contains",
        "empty",
        "environment",
        "filter",
        "flatten",
        "guid",
        "int",
        "items",
        "last",
        "map",
        "replace",
        "resourceGroup",
        "resourceId",
        "split",
        "string",
        "subscription",
        "subscriptionResourceId",
        "tenant",
        "toLower",
        "toObject",
        "union",
        "uniqueString",
    )
)
"""Bicep's built-in functions that infra/ uses."""


def name_of(path: Path) -> str:
    return path.relative_to(INFRA).as_posix()


@cache
def tree(path: Path) -> Node:
    return _PARSER.parse(path.read_bytes()).root_node


def text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()


def every(node: Node, *kinds: str) -> Iterator[Node]:
    """Yield the nodes of these kinds, a node before its descendants."""
    if node.type in kinds:
        yield node
    for child in node.children:
        yield from every(child, *kinds)


def errors(node: Node) -> list[str]:
    """Return the syntax errors, each with its line number."""
    lines = [f"{node.start_point.row + 1}: {text(node)[:60]}"] if node.is_error or node.is_missing else []
    return lines + [line for child in node.children for line in errors(child)]


@dataclass(frozen=True, slots=True)
class Expression:
    """A computed value, as opposed to a literal."""

    text: str


def value_of(node: Node) -> Any:
    """Return a literal as dict, list, str, int or bool, and any other value as an Expression."""
    inner = node.named_children
    match node.type:
        case "object":
            return {key: value_of(value) for key, value in properties(node).items()}
        case "array":
            return [value_of(child) for child in inner if child.type != "comment"]
        case "string" if all(child.type in ("string_content", "escape_sequence") for child in inner):
            return "".join(text(child) for child in inner)
        case "number":
            return int(text(node))
        case "boolean":
            return text(node) == "true"
    return Expression(text(node))


def key_of(prop: Node) -> str:
    """Return the name of an object's property."""
    return text(prop.named_children[0]).strip("'")


def properties(node: Node) -> dict[str, Node]:
    """Return the nodes of an object's property values, by property name."""
    return {key_of(child): child.named_children[-1] for child in node.named_children if child.type == "object_property"}


@dataclass(frozen=True, slots=True)
class Call:
    """A use of a module.

    Attributes:
        symbol: the symbolic name.
        path: the module's file.
        arguments: values of the module's parameters, by name.
    """

    symbol: str
    path: Path
    arguments: dict[str, Node]


@dataclass(frozen=True, slots=True)
class Module:
    """A Bicep file.

    Attributes:
        path: the file.
        parameters: types of the parameters, by name.
        required: parameters without a default.
        outputs: types of the outputs, by name.
        variables: values of the variables, by name.
        resources: types of the resources with API versions, by symbolic name; including existing resources.
        calls: uses of other modules.
    """

    path: Path
    parameters: dict[str, str]
    required: frozenset[str]
    outputs: dict[str, str]
    variables: dict[str, Node]
    resources: dict[str, str]
    calls: tuple[Call, ...]

    @property
    def declared(self) -> set[str]:
        return {*self.parameters, *self.variables, *self.resources, *(call.symbol for call in self.calls)}


@cache
def read(path: Path) -> Module:
    parameters, required, outputs, variables, resources, calls = {}, set(), {}, {}, {}, []
    for node in tree(path).named_children:
        if not node.type.endswith("_declaration"):
            continue
        symbol, *rest = node.named_children
        name = text(symbol)
        match node.type:
            case "parameter_declaration":
                parameters[name] = text(rest[0])
                if len(rest) == 1:
                    required.add(name)
            case "output_declaration":
                outputs[name] = text(rest[0])
            case "variable_declaration":
                variables[name] = rest[-1]
            case "resource_declaration":
                resources[name] = value_of(rest[0])
            case "module_declaration":
                body = next(every(node, "object"))
                arguments = properties(properties(body)["params"])
                calls.append(Call(name, (path.parent / value_of(rest[0])).resolve(), arguments))
    return Module(path, parameters, frozenset(required), outputs, variables, resources, tuple(calls))


def used(path: Path) -> Iterator[tuple[str, Node]]:
    """Yield the names that a file's expressions use, except names bound by a loop or a lambda."""
    for declaration in tree(path).named_children:
        bound = {text(node) for node in every(declaration, "loop_variable", "loop_enumerator")}
        bound |= {text(node.named_children[0]) for node in every(declaration, "lambda_expression", "for_statement")}
        for node in every(declaration, "identifier"):
            if not _is_own_name(node) and text(node) not in bound:
                yield text(node), node


def _is_own_name(node: Node) -> bool:
    """Return whether an identifier is the name of a declaration, a property or a function, and not a use of it."""
    parent = node.parent
    assert parent is not None
    first = parent.named_children[0] == node
    return (
        (parent.type.endswith("_declaration") and first)
        or (parent.type == "object_property" and first)
        or parent.child_by_field_name("function") == node
    )


def outputs_used(path: Path) -> list[tuple[str, str]]:
    """Return symbol and name of each `symbol.outputs.name` in a file."""
    # Searched in the text, since the grammar parses the property access after a condition incorrectly.
    code = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
    return re.findall(r"(\w+)!?\.outputs\.(\w+)", code)
