"""The Bicep files parse and fit together: basic checks of a compiler, which may not be installed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pycep import BicepParser
from tree_sitter import Node

from tests.infra.bicep import (
    BUILT_IN,
    FILES,
    INFRA,
    MAIN,
    Module,
    errors,
    every,
    name_of,
    outputs_used,
    read,
    text,
    tree,
)
from tests.infra.bicep import used as names_used

each_file = pytest.mark.parametrize("path", FILES, ids=name_of)


def test_main_uses_all_files() -> None:
    assert len(FILES) > 10
    assert {call.path for call in read(MAIN).calls} == set(FILES) - {MAIN}


@each_file
def test_the_file_parses(path: Path) -> None:
    assert errors(tree(path)) == []
    assert BicepParser().parse(text=path.read_text())


@each_file
def test_every_name_is_declared_and_used(path: Path) -> None:
    module = read(path)
    names = {name for name, _ in names_used(path)}
    functions = {
        text(node) for call in every(tree(path), "call_expression") if (node := call.child_by_field_name("function"))
    }
    decorators = {
        text(call.children[0]) for node in every(tree(path), "decorator") for call in every(node, "call_expression")
    }
    assert names - module.declared - BUILT_IN == set()
    assert functions - decorators - BUILT_IN == set()
    assert {*module.parameters, *module.variables} - names == set()


@each_file
def test_modules_get_their_parameters(path: Path) -> None:
    for call in read(path).calls:
        module = read(call.path)
        assert set(call.arguments) - set(module.parameters) == set(), call.symbol
        assert module.required - set(call.arguments) == set(), call.symbol
        for name, value in call.arguments.items():
            actual, expected = _type_of(text(value), read(path)), module.parameters[name]
            assert actual in (None, expected), f"{call.symbol}.{name} must be {expected}"


def _type_of(expression: str, module: Module) -> str | None:
    """Return the type of an expression that is only a parameter or an output; None for other expressions."""
    if match := re.fullmatch(r"(\w+)!?\.outputs\.(\w+)", expression):
        return next(read(call.path).outputs[match[2]] for call in module.calls if call.symbol == match[1])
    return module.parameters.get(expression)


def test_every_used_output_exists_and_every_output_is_used() -> None:
    calls = {call.symbol: read(call.path) for call in read(MAIN).calls}
    used: dict[Path, set[str]] = {module.path: set() for module in calls.values()}
    for symbol, name in outputs_used(MAIN):
        assert name in calls[symbol].outputs, f"{symbol}.outputs.{name}"
        used[calls[symbol].path].add(name)
    assert {
        name_of(path): set(read(path).outputs) - names
        for path, names in used.items()
        if set(read(path).outputs) - names
    } == {}


def test_the_parameters_file_has_mains_parameters() -> None:
    parameters = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    main = read(MAIN)
    assert set(parameters) - set(main.parameters) == set()
    assert main.required - set(parameters) == set()
    kinds = {"object": dict, "array": list, "bool": bool, "int": int}
    for name, entry in parameters.items():
        assert isinstance(entry["value"], kinds.get(main.parameters[name], str)), name


@each_file
def test_resources_name_their_api_versions(path: Path) -> None:
    for symbol, kind in read(path).resources.items():
        assert re.fullmatch(r"Microsoft\.[A-Za-z]+(/[A-Za-z]+)+@20\d\d-\d\d-\d\d(-preview)?", kind), symbol


def test_a_resource_type_has_the_same_api_version_everywhere() -> None:
    versions: dict[str, set[str]] = {}
    for path in FILES:
        for kind in read(path).resources.values():
            name, _, version = kind.partition("@")
            versions.setdefault(name, set()).add(version)
    assert {name: used for name, used in versions.items() if len(used) > 1} == {}


def test_roles_are_assigned_in_one_module_each_with_its_reason() -> None:
    for path in FILES:
        assignments = [symbol for symbol, kind in read(path).resources.items() if "roleAssignments" in kind]
        assert not assignments or name_of(path) == "app/roles.bicep"
    lines = (INFRA / "app/roles.bicep").read_text().splitlines()
    for number, line in enumerate(lines):
        if "roleAssignments@" in line:
            assert lines[number - 1].startswith("// "), line


def test_no_key_and_no_connection_string_is_used() -> None:
    for path in FILES:
        code = re.sub(r"//.*", "", path.read_text())
        assert not re.search(r"listKeys|listAccountSas|AccountKey|SharedAccessSignature|@secure", code), name_of(path)
        for account in every(tree(path), "resource_declaration"):
            if "Microsoft.Storage/storageAccounts@" in text(account).splitlines()[0] and " existing " not in text(
                account
            ):
                for required in (
                    "allowSharedKeyAccess: false",
                    "allowBlobPublicAccess: false",
                    "minimumTlsVersion: 'TLS1_2'",
                ):
                    assert required in text(account), f"{name_of(path)}: {required}"


def test_telemetry_and_deployment_accept_tokens_only_and_the_vault_is_protected() -> None:
    assert "disableLocalAuth: true" in text(_resource("app/monitoring.bicep", "workspace"))
    assert "DisableLocalAuth: true" in text(_resource("app/monitoring.bicep", "insights"))
    passwords = text(_resource("app/site.bicep", "noPasswords"))
    assert "for way in ['ftp', 'scm']" in passwords
    assert "allow: false" in passwords
    vault = text(_resource("app/vault.bicep", "vault"))
    for required in ("enablePurgeProtection: true", "softDeleteRetentionInDays: 90", "enableRbacAuthorization: true"):
        assert required in vault


def _resource(name: str, symbol: str) -> Node:
    resources = every(tree(INFRA / name), "resource_declaration")
    return next(node for node in resources if text(node.named_children[0]) == symbol)
