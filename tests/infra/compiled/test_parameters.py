"""A parameter that cannot work fails before anything is deployed, with a message that names the parameter."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.infra.bicep import ROOT
from tools.bicep import MAIN, BicepError, Compiler

ParameterFile = Callable[[str], Path]

THEIRS = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-theirs/providers"
ACCOUNT = f"{THEIRS}/Microsoft.Storage/storageAccounts/st"
FUNCTION = f"{THEIRS}/Microsoft.Web/sites/f/functions/g"
IMAP = "PROTOCOL: 'imap', HOST: 'imap.example.com', ADDRESS: 'a@example.com'"

INVALID = {
    "environment: character": ("param environmentName = 'mail room'", "environmentName: has characters"),
    "environment: full stop": (
        "param environmentName = 'mail.'",
        "resourceGroupName (by default rg- and environmentName)",
    ),
    "group: full stop": ("param resourceGroupName = 'rg-mail.'", "resourceGroupName (by default"),
    "container: capital": ("param mailContainer = 'Mail'", "mailContainer: 'Mail' is not a valid name"),
    "container: hyphen": ("param mailContainer = 'my-mail'", "mailContainer: 'my-mail' is not a valid name"),
    "container: digit first": ("param mailContainer = '1mail'", "mailContainer: '1mail' is not a valid name"),
    "account: name": ("param existingMailStorageId = 'theirs'", "existingMailStorageId: is not the resource id"),
    "account: slash": (f"param existingMailStorageId = '{ACCOUNT}/'", "existingMailStorageId: is not the resource id"),
    "account: other type": (
        f"param existingMailStorageId = '{ACCOUNT.replace('Storage/storageAccounts', 'KeyVault/vaults')}'",
        "existingMailStorageId: is not the resource id",
    ),
    "account: in the app's group": (
        f"param resourceGroupName = 'RG-theirs'\nparam existingMailStorageId = '{ACCOUNT}'",
        "resourceGroupName: is the group of existingMailStorageId",
    ),
    "mailbox: hyphen": (f"param mailboxes = {{ 'my-box': {{ {IMAP} }} }}", "mailboxes: 'my-box' is not a valid name"),
    "mailbox: two underscores": (
        f"param mailboxes = {{ a__b: {{ {IMAP} }} }}",
        "mailboxes: 'a__b' is not a valid name",
    ),
    "mailbox: underscore at the end": (
        f"param mailboxes = {{ a_: {{ {IMAP} }} }}",
        "mailboxes: 'a_' is not a valid name",
    ),
    "mailbox: digit first": (f"param mailboxes = {{ '1a': {{ {IMAP} }} }}", "mailboxes: '1a' is not a valid name"),
    "mailbox: too long": (f"param mailboxes = {{ {'a' * 41}: {{ {IMAP} }} }}", "is not a valid name"),
    "mailbox: case": (
        f"param mailboxes = {{ support: {{ {IMAP} }}, Support: {{ {IMAP} }} }}",
        "mailboxes: 'Support' differs from another name by case alone",
    ),
    "mailbox: no server": (
        "param mailboxes = { a: { PROTOCOL: 'imap', ADDRESS: 'a@example.com' } }",
        "mailboxes.a: names no server; set HOST or PRESET",
    ),
    "mailbox: after": (
        f"param mailboxes = {{ a: {{ {IMAP}, AFTER: 'move' }} }}",
        "mailboxes.a.AFTER: 'move' is not known",
    ),
    "route: hyphen": ("param routes = { 'my-route': {} }", "routes: 'my-route' is not a valid name"),
    "route: case": ("param routes = { a: {}, A: {} }", "routes: 'A' differs from another name by case alone"),
    "secret: unknown mailbox": (
        f"param mailboxes = {{ support: {{ {IMAP} }} }}\nparam mailboxSecretNames = {{ Support: {{ PASSWORD: 'p' }} }}",
        "mailboxSecretNames: 'Support' is not a name in mailboxes",
    ),
    "secret: underscore": (
        f"param mailboxes = {{ a: {{ {IMAP} }} }}\nparam mailboxSecretNames = {{ a: {{ PASSWORD: 'a_password' }} }}",
        "mailboxSecretNames.a.PASSWORD: is not the name of a secret",
    ),
    "graph key: underscore": (
        "param graphKeySecretName = 'graph_key'",
        "graphKeySecretName: is not the name of a secret",
    ),
    "budget without addresses": (
        "param monthlyBudget = 50",
        "monthlyBudget: its warnings go to alertEmails, which is empty",
    ),
    "budget without a start": (
        "param monthlyBudget = 50\nparam alertEmails = ['a@example.com']",
        "budgetStart: '' is not the first day of a month",
    ),
    "budget: day": (
        "param monthlyBudget = 50\nparam alertEmails = ['a@example.com']\nparam budgetStart = '2026-12-02'",
        "budgetStart: '2026-12-02' is not the first day of a month",
    ),
    "consumer: underscore": (
        f"param consumers = [{{ name: 'my_crm', functionId: '{FUNCTION}' }}]",
        "consumers: 'my_crm' is not a valid name",
    ),
    "consumer: short": (
        f"param consumers = [{{ name: 'ab', functionId: '{FUNCTION}' }}]",
        "consumers: 'ab' is not a valid",
    ),
    "consumer: function": (
        "param consumers = [{ name: 'crm', functionId: 'on_result' }]",
        "the functionId of 'crm' is not",
    ),
    "consumer: route": (
        f"param consumers = [{{ name: 'crm', functionId: '{FUNCTION}', route: 'a/b' }}]",
        "consumers: the route of 'crm' is not",
    ),
    "consumer: twice": (
        f"param consumers = [{{ name: 'crm', functionId: '{FUNCTION}' }}, {{ name: 'CRM', functionId: '{FUNCTION}' }}]",
        "consumers: 'CRM' is used twice",
    ),
    "consumer: no topic": (
        f"param existingMailStorageId = '{ACCOUNT}'\nparam consumers = [{{ name: 'crm', functionId: '{FUNCTION}' }}]",
        "consumers: get no events, since mailEvents is false",
    ),
    "redundancy: no zones": (
        "param location = 'westus'\nparam mailRedundancy = 'Standard_ZRS'",
        "mailRedundancy: Standard_ZRS needs zones, and westus has none",
    ),
    "zones: no zones": ("param location = 'ukwest'\nparam zoneRedundant = true", "zoneRedundant: ukwest has no zones"),
    "archive: zones": (
        "param archiveAfterDays = 30",
        "archiveAfterDays: the archive tier does not exist with Standard_ZRS",
    ),
    "redundancy: existing account": (
        f"param existingMailStorageId = '{ACCOUNT}'\nparam mailRedundancy = 'Standard_LRS'",
        "mailRedundancy: has no effect on the account of existingMailStorageId",
    ),
    "rules: existing account": (
        f"param existingMailStorageId = '{ACCOUNT}'\nparam deleteAfterDays = 30",
        "deleteAfterDays: have no effect on the account of existingMailStorageId",
    ),
    "scanning: existing account": (
        f"param existingMailStorageId = '{ACCOUNT}'\nparam malwareScanning = true",
        "malwareScanning: has no effect on the account of existingMailStorageId",
    ),
    "network: not private": (
        f"param existingNetwork = {{ appSubnetId: '{ACCOUNT}', endpointSubnetId: '{ACCOUNT}' }}",
        "existingNetwork: is used only with privateNetwork",
    ),
    "network: not a subnet": (
        f"param privateNetwork = true\nparam existingNetwork = {{ appSubnetId: '{ACCOUNT}', endpointSubnetId: 's' }}",
        "existingNetwork.endpointSubnetId: is not the resource id of a subnet",
    ),
}
"""Parameters that the checks in checks.bicep refuse, and a part of the message."""

WRONG_TYPE = {
    "environment: empty": ("param environmentName = ''", "BCP333"),
    "environment: too long": (f"param environmentName = '{'a' * 65}'", "BCP332"),
    "region: no Flex Consumption": ("param location = 'switzerlandnorth'", "switzerlandnorth"),
    "region: display name": ("param location = 'West Europe'", "West Europe"),
    "mailbox: protocol": (
        "param mailboxes = { a: { PROTOCOL: 'smtp', ADDRESS: 'a@example.com' } }",
        "\"'graph' | 'imap'",
    ),
    "mailbox: setting": (f"param mailboxes = {{ a: {{ {IMAP}, HOTS: 'x' }} }}", '"HOTS" is not allowed'),
    "mailbox: setting of another protocol": (
        "param mailboxes = { a: { PROTOCOL: 'graph', ADDRESS: 'a@example.com', HOST: 'x' } }",
        '"HOST" is not allowed',
    ),
    "mailbox: sign-in": (f"param mailboxes = {{ a: {{ {IMAP}, SIGN_IN: 'Managed-Identity' }} }}", "Managed-Identity"),
    "mailbox: sign-in of another protocol": (
        "param mailboxes = { a: { PROTOCOL: 'graph', ADDRESS: 'a@example.com', SIGN_IN: 'password' } }",
        "'password'",
    ),
    "mailbox: a secret": (f"param mailboxes = {{ a: {{ {IMAP}, PASSWORD: 'x' }} }}", '"PASSWORD" is not allowed'),
    "mailbox: no address": ("param mailboxes = { a: { PROTOCOL: 'imap', HOST: 'x' } }", '"ADDRESS"'),
    "mailbox: port": (f"param mailboxes = {{ a: {{ {IMAP}, PORT: 70000 }} }}", "65535"),
    "mailbox: list as text": (f"param mailboxes = {{ a: {{ {IMAP}, FOLDERS: 'INBOX' }} }}", "string[]"),
    "secret: setting": ("param mailboxSecretNames = { a: { PASWORD: 'x' } }", '"PASWORD" is not allowed'),
    "route: setting": ("param routes = { a: { ADRESS: 'x' } }", '"ADRESS" is not allowed'),
    "route: order": ("param routes = { a: { ORDER: 'first' } }", '"ORDER" expected a value of type "int | null"'),
    "consumer: property": ("param consumers = [{ name: 'crm', function: 'x' }]", '"function" is not allowed'),
    "tuning: setting": (
        "param tuning = { FUNCTIONS_WORKER_RUNTIME: 'python' }",
        '"FUNCTIONS_WORKER_RUNTIME" is not allowed',
    ),
    "tuning: number": ("param tuning = { GRAPH_SUBSCRIPTION_MINUTES: '' }", "GRAPH_SUBSCRIPTION_MINUTES"),
    "redundancy": ("param mailRedundancy = 'Premium_LRS'", "Premium_LRS"),
    "instances": ("param maximumInstanceCount = 0", "BCP328"),
}
"""Parameters that do not fit their type, and a part of the compiler's message."""


def batches(cases: Mapping[str, tuple[str, str]]) -> list[list[str]]:
    """Distribute cases over few files, since the compiler takes a second for each: each parameter once in a file.

    A case that sets several parameters has a file of its own.
    """
    blocks: list[list[str]] = []
    used: list[set[str]] = []
    for name, (content, _) in cases.items():
        parameters = set(re.findall(r"^param (\w+)", content, re.MULTILINE))
        is_alone = len(parameters) > 1 or parameters & {"location", "existingMailStorageId", "environmentName"}
        free = (index for index, others in enumerate(used) if not others & {*parameters, "*"})
        place = None if is_alone else next(free, None)
        if place is None:
            blocks.append([name])
            used.append({"*"} if is_alone else parameters)
        else:
            blocks[place].append(name)
            used[place] |= parameters
    return blocks


@pytest.mark.parametrize("names", batches(INVALID), ids=", ".join)
def test_a_check_names_the_parameter(compiler: Compiler, parameter_file: ParameterFile, names: list[str]) -> None:
    path = parameter_file("\n".join(INVALID[name][0] for name in names))
    with pytest.raises(BicepError) as raised:
        compiler.snapshot(path)
    assert "given.bicepparam(" not in str(raised.value), "the file itself must compile"
    for name in names:
        assert INVALID[name][1] in str(raised.value), name


@pytest.mark.parametrize("names", batches(WRONG_TYPE), ids=", ".join)
def test_a_type_rejects_the_parameter(compiler: Compiler, parameter_file: ParameterFile, names: list[str]) -> None:
    path = parameter_file("\n".join(WRONG_TYPE[name][0] for name in names))
    lines = path.read_text().splitlines()
    with pytest.raises(BicepError) as raised:
        compiler.snapshot(path)
    errors = str(raised.value).splitlines()
    for name in names:
        content, message = WRONG_TYPE[name]
        line = lines.index(content) + 1
        assert [error for error in errors if f"given.bicepparam({line}," in error and message in error], (name, errors)


def test_all_invalid_parameters_are_reported_at_once(compiler: Compiler, parameter_file: ParameterFile) -> None:
    with pytest.raises(BicepError) as raised:
        compiler.snapshot(
            parameter_file("param mailContainer = 'Mail'\nparam routes = { 'a-b': {} }\nparam archiveAfterDays = 30")
        )
    for name in ("mailContainer", "routes", "archiveAfterDays"):
        assert f"{name}: " in str(raised.value)


VALID = (
    "param mailboxes = { a: { PROTOCOL: 'imap', HOST: 'h', ADDRESS: 'a@b.example', PORT: null, AFTER: 'move:Done' } }",
    "param mailboxes = { support_2: { PROTOCOL: 'pop3', PRESET: 'gmail-pop3', ADDRESS: 'a@example.com' } }",
    f"param existingMailStorageId = '{ACCOUNT.replace('resourceGroups', 'resourcegroups')}'",
    "param archiveAfterDays = 30\nparam mailRedundancy = 'Standard_LRS'",
    "param alwaysReadyHttp = 0\nparam graphKeySecretName = 'key'",
)


@pytest.mark.parametrize("content", VALID, ids=range(len(VALID)))
def test_valid_parameters_are_accepted(compiler: Compiler, parameter_file: ParameterFile, content: str) -> None:
    assert '"Microsoft.Web/sites"' in compiler.snapshot(parameter_file(content))


def literal(value: object) -> str:
    """Return a JSON value as a Bicep literal."""
    if isinstance(value, dict):
        return "{\n" + "".join(f"'{key}': {literal(entry)}\n" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + "".join(f"{literal(entry)}\n" for entry in value) + "]"
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


@pytest.mark.parametrize("page", ["docs/how-to/deploying.md", "docs/how-to/consuming.md", "infra/README.md"])
def test_parameters_in_the_docs_are_valid(compiler: Compiler, parameter_file: ParameterFile, page: str) -> None:
    blocks = re.findall(r"^```json\n(\{.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    examples = [json.loads(block.replace("…", "x")) for block in blocks if '"value"' in block]
    assert examples
    for example in examples:
        assert compiler.snapshot(
            parameter_file("\n".join(f"param {name} = {literal(entry['value'])}" for name, entry in example.items()))
        )


def test_a_network_whose_policies_write_records_gets_endpoints_alone(
    compiler: Compiler, parameter_file: ParameterFile
) -> None:
    subnet = f"{THEIRS}/Microsoft.Network/virtualNetworks/vnet/subnets"
    network = f"{{ appSubnetId: '{subnet}/app', endpointSubnetId: '{subnet}/endpoints' }}"
    snapshot = compiler.snapshot(parameter_file(f"param privateNetwork = true\nparam existingNetwork = {network}"))
    kinds = [resource["type"] for resource in json.loads(snapshot)["predictedResources"]]
    assert kinds.count("Microsoft.Network/privateEndpoints") == 6
    assert "Microsoft.Network/privateEndpoints/privateDnsZoneGroups" not in kinds


def test_names_do_not_depend_on_the_spelling_of_the_region(compiler: Compiler) -> None:
    """`westeurope` and `West Europe` are one region to Azure, and must not give two apps in one group."""
    variables = compiler.template(MAIN)["variables"]
    assert variables["region"] == "[toLower(replace(parameters('location'), ' ', ''))]"
    assert "variables('region')" in variables["token"]
    assert [name for name, value in variables.items() if "parameters('location')" in str(value)] == ["region"]
