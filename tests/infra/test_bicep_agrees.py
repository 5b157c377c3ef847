"""The Bicep files parse, and fit together: what a compiler would say first, since there is none here."""

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


def test_there_are_files_and_main_leads_to_all_of_them() -> None:
    assert len(FILES) > 10
    assert {call.path for call in read(MAIN).calls} == set(FILES) - {MAIN}


@each_file
def test_it_parses(path: Path) -> None:
    assert errors(tree(path)) == []
    assert BicepParser().parse(text=path.read_text())


@each_file
def test_every_name_is_declared_and_every_declared_one_used(path: Path) -> None:
    module = read(path)
    names = {name for name, _ in names_used(path)}
    functions = {
        text(node) for call in every(tree(path), "call_expression") if (node := call.child_by_field_name("function"))
    }
    decorators = {
        text(one.children[0]) for node in every(tree(path), "decorator") for one in every(node, "call_expression")
    }
    assert names - module.declared - BUILT_IN == set()
    assert functions - decorators - BUILT_IN == set()
    assert {*module.parameters, *module.variables} - names == set()


@each_file
def test_modules_are_given_what_they_take(path: Path) -> None:
    for call in read(path).calls:
        taken = read(call.path)
        assert set(call.given) - set(taken.parameters) == set(), call.symbol
        assert taken.required - set(call.given) == set(), call.symbol
        for name, value in call.given.items():
            given = _type_of(text(value), read(path))
            assert given in (None, taken.parameters[name]), f"{call.symbol}.{name} takes {taken.parameters[name]}"


def _type_of(expression: str, module: Module) -> str | None:
    """The type of a parameter or an output that is handed on as it is; None: not told."""
    if found := re.fullmatch(r"(\w+)!?\.outputs\.(\w+)", expression):
        return next(read(call.path).outputs[found[2]] for call in module.calls if call.symbol == found[1])
    return module.parameters.get(expression)


def test_outputs_are_those_that_modules_have_and_none_is_for_nobody() -> None:
    calls = {call.symbol: read(call.path) for call in read(MAIN).calls}
    taken: dict[Path, set[str]] = {module.path: set() for module in calls.values()}
    for symbol, name in outputs_used(MAIN):
        assert name in calls[symbol].outputs, f"{symbol}.outputs.{name}"
        taken[calls[symbol].path].add(name)
    assert {
        name_of(path): set(read(path).outputs) - names
        for path, names in taken.items()
        if set(read(path).outputs) - names
    } == {}


def test_the_parameters_file_gives_what_main_takes() -> None:
    given = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    main = read(MAIN)
    assert set(given) - set(main.parameters) == set()
    assert main.required - set(given) == set()
    kinds = {"object": dict, "array": list, "bool": bool, "int": int}
    for name, entry in given.items():
        assert isinstance(entry["value"], kinds.get(main.parameters[name], str)), name


@each_file
def test_resources_name_their_api_versions(path: Path) -> None:
    for symbol, kind in read(path).resources.items():
        assert re.fullmatch(r"Microsoft\.[A-Za-z]+(/[A-Za-z]+)+@20\d\d-\d\d-\d\d(-preview)?", kind), symbol


def test_one_type_has_one_api_version() -> None:
    versions: dict[str, set[str]] = {}
    for path in FILES:
        for kind in read(path).resources.values():
            name, _, version = kind.partition("@")
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_roles_are_given_in_one_module_each_with_its_reason() -> None:
    for path in FILES:
        given = [symbol for symbol, kind in read(path).resources.items() if "roleAssignments" in kind]
        assert not given or name_of(path) == "app/roles.bicep"
    lines = (INFRA / "app/roles.bicep").read_text().splitlines()
    for number, line in enumerate(lines):
        if "roleAssignments@" in line:
            assert lines[number - 1].startswith("// "), line


def test_no_key_and_no_connection_string_is_asked_for() -> None:
    for path in FILES:
        code = re.sub(r"//.*", "", path.read_text())
        assert not re.search(r"listKeys|listAccountSas|AccountKey|SharedAccessSignature|@secure", code), name_of(path)
        for account in every(tree(path), "resource_declaration"):
            if "Microsoft.Storage/storageAccounts@" in text(account).splitlines()[0] and " existing " not in text(
                account
            ):
                for wanted in (
                    "allowSharedKeyAccess: false",
                    "allowBlobPublicAccess: false",
                    "minimumTlsVersion: 'TLS1_2'",
                ):
                    assert wanted in text(account), f"{name_of(path)}: {wanted}"


def test_telemetry_and_deployment_take_tokens_alone_and_the_vault_cannot_be_lost() -> None:
    assert "disableLocalAuth: true" in text(_resource("app/monitoring.bicep", "workspace"))
    assert "DisableLocalAuth: true" in text(_resource("app/monitoring.bicep", "insights"))
    passwords = text(_resource("app/site.bicep", "noPasswords"))
    assert "for way in ['ftp', 'scm']" in passwords
    assert "allow: false" in passwords
    vault = text(_resource("app/vault.bicep", "vault"))
    for wanted in ("enablePurgeProtection: true", "softDeleteRetentionInDays: 90", "enableRbacAuthorization: true"):
        assert wanted in vault


def _resource(name: str, symbol: str) -> Node:
    found = every(tree(INFRA / name), "resource_declaration")
    return next(node for node in found if text(node.named_children[0]) == symbol)
