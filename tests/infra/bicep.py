"""Reads Bicep as far as our checks need it, over the syntax tree that tree-sitter makes of it."""

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
"""The functions of the language that are used here."""


def name_of(path: Path) -> str:
    return path.relative_to(INFRA).as_posix()


@cache
def tree(path: Path) -> Node:
    return _PARSER.parse(path.read_bytes()).root_node


def text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()


def every(node: Node, *kinds: str) -> Iterator[Node]:
    """The nodes of these kinds, a node before what is in it."""
    if node.type in kinds:
        yield node
    for child in node.children:
        yield from every(child, *kinds)


def errors(node: Node) -> list[str]:
    """Where the tree is torn, as lines to show."""
    found = [f"{node.start_point.row + 1}: {text(node)[:60]}"] if node.is_error or node.is_missing else []
    return found + [one for child in node.children for one in errors(child)]


@dataclass(frozen=True, slots=True)
class Expression:
    """A value that is not written down, but computed."""

    text: str


def value_of(node: Node) -> Any:
    """A value as written: dict, list, str, int, bool; an Expression where it is computed."""
    inner = node.named_children
    match node.type:
        case "object":
            return {key_of(one): value_of(one.named_children[-1]) for one in inner if one.type == "object_property"}
        case "array":
            return [value_of(one) for one in inner if one.type != "comment"]
        case "string" if all(one.type in ("string_content", "escape_sequence") for one in inner):
            return "".join(text(one) for one in inner)
        case "number":
            return int(text(node))
        case "boolean":
            return text(node) == "true"
    return Expression(text(node))


def key_of(prop: Node) -> str:
    """The name of an object's property."""
    return text(prop.named_children[0]).strip("'")


def properties(node: Node) -> dict[str, Node]:
    """An object's properties, not evaluated."""
    return {key_of(one): one.named_children[-1] for one in node.named_children if one.type == "object_property"}


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a module.

    Attributes:
        symbol: its name where it is used.
        path: its file.
        given: its parameters.
    """

    symbol: str
    path: Path
    given: dict[str, Node]


@dataclass(frozen=True, slots=True)
class Module:
    """One file.

    Attributes:
        path: where it is.
        parameters: their types, by name.
        required: those without a default.
        outputs: their types, by name.
        variables: their values, by name.
        resources: symbols and types with API versions; the existing ones as well.
        calls: the modules that it uses.
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
                given = properties(properties(body)["params"])
                calls.append(Call(name, (path.parent / value_of(rest[0])).resolve(), given))
    return Module(path, parameters, frozenset(required), outputs, variables, resources, tuple(calls))


def used(path: Path) -> Iterator[tuple[str, Node]]:
    """The names that a file's expressions use, but those that a loop or a lambda around them binds."""
    for declaration in tree(path).named_children:
        bound = {text(one) for one in every(declaration, "loop_variable", "loop_enumerator")}
        bound |= {text(one.named_children[0]) for one in every(declaration, "lambda_expression", "for_statement")}
        for node in every(declaration, "identifier"):
            if not _names_something(node) and text(node) not in bound:
                yield text(node), node


def _names_something(node: Node) -> bool:
    """Whether an identifier is a declaration's, a property's or a function's own name, and no use of one."""
    parent = node.parent
    assert parent is not None
    first = parent.named_children[0] == node
    return (
        (parent.type.endswith("_declaration") and first)
        or (parent.type == "object_property" and first)
        or parent.child_by_field_name("function") == node
    )


def outputs_used(path: Path) -> list[tuple[str, str]]:
    """Each `symbol.outputs.name` of a file."""
    # By the text: the grammar hangs what follows a condition on all of it.
    code = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
    return re.findall(r"(\w+)!?\.outputs\.(\w+)", code)
