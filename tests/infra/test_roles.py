"""Who may do what: the role assignments of infra/, read from the snapshots of the installations."""

from __future__ import annotations

import re

from shared.storage.azure.leases import CONTAINER
from tests.infra.bicep import INFRA, Resource, snapshot
from tests.infra.test_snapshots import EXISTING, ROLE, TABLES, container, each_installation

ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
}
OPERATOR = "33333333-3333-3333-3333-333333333333"


def scope_of(assignment: Resource) -> str:
    """Return the id of the resource that a role is assigned on."""
    expression = re.match(
        r"\[extensionResourceId\('([^']+)', 'Microsoft.Authorization/roleAssignments', ", assignment["id"]
    )
    return expression[1] if expression else assignment["id"].partition(f"/providers/{ROLE}/")[0]


def assigned(name: str, *, operator: bool) -> set[tuple[str, str]]:
    """Return each assigned role with the last part of its scope, after the account's name where it is in one."""
    roles = set()
    for resource in snapshot(name).of_type(ROLE):
        properties = resource["properties"]
        if (properties["principalId"] == OPERATOR) != operator:
            continue
        names = re.sub(r"(?<=stapp|tmail)[a-z0-9]{13}|-(mailroom-)?[a-z0-9]{13}", "", scope_of(resource)).split("/")
        account = names[names.index("storageAccounts") + 1] if "storageAccounts" in names else names[-1]
        place = account if account == names[-1] else f"{account}/{names[-1]}"
        roles.add((ROLES[properties["roleDefinitionId"].rpartition("/")[2]], place))
    return roles


@each_installation
def test_the_roles_are_those_of_the_apps_identity(name: str) -> None:
    module = "site" if name == "system-identity" else "identity"
    principals = {resource["properties"]["principalId"] for resource in snapshot(name).of_type(ROLE)} - {OPERATOR}
    (principal,) = principals
    assert f"uniqueString('{module}'" in principal
    assert principal.endswith(".outputs.principalId.value]")


@each_installation
def test_the_app_has_the_roles_that_the_code_and_the_host_need_and_no_other(name: str) -> None:
    account = "starchive" if name in EXISTING else "stmail"
    assert assigned(name, operator=False) == {
        ("Storage Blob Data Owner", "stapp"),
        ("Storage Queue Data Contributor", "stapp"),
        ("Storage Table Data Contributor", "stapp"),
        ("Key Vault Secrets User", "kv"),
        ("Monitoring Metrics Publisher", "appi"),
        ("Storage Blob Data Contributor", f"{account}/{container(name)}"),
        *(("Storage Table Data Contributor", f"{account}/{container(name)}{table}") for table in TABLES),
    }


@each_installation
def test_an_operator_has_the_roles_that_the_command_needs_and_no_other(name: str) -> None:
    account = "starchive" if name in EXISTING else "stmail"
    expected = {
        ("Key Vault Secrets Officer", "kv"),
        ("Storage Queue Data Contributor", "stapp"),
        ("Monitoring Metrics Publisher", "appi"),
        ("Storage Blob Data Contributor", f"stapp/{CONTAINER}"),
        ("Storage Blob Data Contributor", f"{account}/mail"),
        *(("Storage Table Data Contributor", f"{account}/mail{table}") for table in TABLES),
    }
    has_operator = name in ("full-private", "existing-account", "system-identity")
    assert assigned(name, operator=True) == (expected if has_operator else set())
    kinds = {
        resource["properties"]["principalType"]
        for resource in snapshot(name).of_type(ROLE)
        if resource["properties"]["principalId"] == OPERATOR
    }
    assert kinds == ({"Group" if name == "full-private" else "User"} if has_operator else set())


def test_each_role_assignment_has_its_reason() -> None:
    seen = 0
    for path in (INFRA / "app/roles.bicep", INFRA / "mail/roles.bicep"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if "roleAssignments@" in line:
                seen += 1
                assert lines[number - 1].startswith("// "), line
    assert seen == 13
