"""infra/ makes what the code uses, and nothing that Azure refuses: read from the snapshots of the installations."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest

from shared.documents import blob_paths
from shared.storage.azure.leases import CONTAINER
from shared.storage.azure.records import AzureRecords
from shared.storage.base import SHARED_TABLES, QueueName, Table
from tests.infra.bicep import INFRA, INSTALLATIONS, ROOT, Resource, app_settings, code_without_comments, snapshot

STORAGE = "Microsoft.Storage/storageAccounts"
QUEUE = f"{STORAGE}/queueServices/queues"
TABLE = f"{STORAGE}/tableServices/tables"
CONTAINERS = f"{STORAGE}/blobServices/containers"
POLICY = f"{STORAGE}/managementPolicies"
DIAGNOSTICS = "Microsoft.Insights/diagnosticSettings"
ENDPOINT = "Microsoft.Network/privateEndpoints"
ROLE = "Microsoft.Authorization/roleAssignments"
LOCK = "Microsoft.Authorization/locks"
TOPIC = "Microsoft.EventGrid/systemTopics"
SUBSCRIPTION = f"{TOPIC}/eventSubscriptions"
DEFENDER = "Microsoft.Security/defenderForStorageSettings"
VAULT = "Microsoft.KeyVault/vaults"
SITE = "Microsoft.Web/sites"

EXISTING = ("existing-account", "existing-account-events")

TABLES = [table for table in Table if table not in SHARED_TABLES]
"""The tables of an account."""

each_installation = pytest.mark.parametrize("name", INSTALLATIONS)


def container(name: str) -> str:
    return "incoming" if name == "no-graph" else "mail"


def test_the_installations_cover_each_variant() -> None:
    assert {
        "smallest",
        "full-private",
        *EXISTING,
        "system-identity",
        "no-graph",
        "retention",
        "sovereign-cloud",
        "without-zones",
        "existing-network",
    } <= set(INSTALLATIONS)


@each_installation
def test_the_queues_and_poison_queues_are_those_of_the_code(name: str) -> None:
    assert sorted(snapshot(name).names(QUEUE)) == sorted(QueueName)


@each_installation
def test_the_tables_are_those_of_the_code(name: str) -> None:
    opened = []

    class Account:
        setting = "MAIL_STORAGE"
        pool = None
        is_emulator = False

        def table(self, table: str) -> Any:
            opened.append(table)
            return type("Client", (), {"create_table": None})

    AzureRecords(Account(), container(name))  # type: ignore[arg-type]
    assert opened == [f"{container(name)}{table}" for table in TABLES]
    assert sorted(snapshot(name).names(TABLE)) == sorted(opened)


@each_installation
def test_the_containers_are_those_of_the_code_and_private(name: str) -> None:
    assert sorted(snapshot(name).names(CONTAINERS)) == sorted(["app-package", CONTAINER, container(name)])
    assert {resource["properties"]["publicAccess"] for resource in snapshot(name).of_type(CONTAINERS)} == {"None"}


@each_installation
def test_no_key_and_no_connection_string_is_used(name: str) -> None:
    text = json.dumps(snapshot(name).resources)
    assert not re.search(r"listKeys|listAccountSas|AccountKey|SharedAccess|listSecrets", text)
    for account in snapshot(name).of_type(STORAGE):
        properties = account["properties"]
        assert properties["allowSharedKeyAccess"] is False
        assert properties["allowBlobPublicAccess"] is False
        assert properties["allowCrossTenantReplication"] is False
        assert properties["supportsHttpsTrafficOnly"] is True
        assert properties["minimumTlsVersion"] == "TLS1_2"
    for path in INFRA.rglob("*.bicep"):
        assert not re.search(r"list[A-Z]\w*\(|@secure", code_without_comments(path)), path.name


@each_installation
def test_telemetry_and_deployment_accept_tokens_only_and_the_vault_is_protected(name: str) -> None:
    installation = snapshot(name)
    assert installation.single("Microsoft.OperationalInsights/workspaces")["properties"]["features"] == {
        "disableLocalAuth": True
    }
    assert installation.single("Microsoft.Insights/components")["properties"]["DisableLocalAuth"] is True
    policies = installation.of_type(f"{SITE}/basicPublishingCredentialsPolicies")
    assert {policy["name"].rpartition("/")[2]: policy["properties"]["allow"] for policy in policies} == {
        "ftp": False,
        "scm": False,
    }
    # Without it, Azure refuses them: github.com/Azure/bicep-types-az/issues/1529.
    assert all(policy["location"] for policy in policies)
    vault = installation.single(VAULT)["properties"]
    assert (vault["enablePurgeProtection"], vault["enableRbacAuthorization"]) == (True, True)
    assert vault["softDeleteRetentionInDays"] == 90


WORKSPACE = "Microsoft.OperationalInsights/workspaces"
BUDGET = "Microsoft.Consumption/budgets"

LIMITS = {
    "Microsoft.Resources/resourceGroups": r"[\w().-]{0,89}[\w()-]",
    STORAGE: r"[a-z0-9]{3,24}",
    f"{STORAGE}/blobServices": "default",
    f"{STORAGE}/queueServices": "default",
    POLICY: "default",
    CONTAINERS: r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*",
    QUEUE: r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*",
    TABLE: r"[A-Za-z][A-Za-z0-9]{2,62}",
    VAULT: r"(?=.{3,24}$)[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*",
    SITE: r"(?=.{2,60}$)[A-Za-z0-9]+(-[A-Za-z0-9]+)*",
    f"{SITE}/config": "appsettings",
    f"{SITE}/basicPublishingCredentialsPolicies": "ftp|scm",
    "Microsoft.Web/serverfarms": r"[A-Za-z0-9-]{1,60}",
    "Microsoft.ManagedIdentity/userAssignedIdentities": r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}",
    WORKSPACE: r"(?=.{4,63}$)[A-Za-z0-9]+(-[A-Za-z0-9]+)*",
    f"{WORKSPACE}/tables": r"App[A-Za-z]+",
    "Microsoft.Insights/workbooks": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "Microsoft.Insights/webtests": r"[A-Za-z0-9-]{1,260}",
    "Microsoft.Insights/metricAlerts": r"[^*<>%{}&:\\?/#|]{1,259}[^*<>%{}&:\\?/#|. ]",
    BUDGET: r"[A-Za-z0-9-]{1,63}",
    "Microsoft.Insights/components": r"[\w().-]{1,259}[\w()-]",
    "Microsoft.Insights/actionGroups": r"[^:<>+/&%\\?|]{1,259}[^:<>+/&%\\?|. ]",
    "Microsoft.Insights/scheduledQueryRules": r"[^*<>%{}&:\\?/#|]{1,259}[^*<>%{}&:\\?/#|. ]",
    DIAGNOSTICS: r"[^*<>%{}&:\\?/#|]{1,259}",
    LOCK: r"[\w().-]{1,89}[\w()-]",
    TOPIC: r"[A-Za-z0-9-]{3,128}",
    SUBSCRIPTION: r"[A-Za-z0-9-]{3,64}",
    DEFENDER: "current",
    "Microsoft.Network/publicIPAddresses": r"\w[\w.-]{0,78}\w",
    "Microsoft.Network/natGateways": r"\w[\w.-]{0,78}\w",
    "Microsoft.Network/networkSecurityGroups": r"\w[\w.-]{0,78}\w",
    "Microsoft.Network/virtualNetworks": r"\w[\w.-]{0,62}\w",
    ENDPOINT: r"\w[\w.-]{0,62}\w",
    f"{ENDPOINT}/privateDnsZoneGroups": r"\w[\w.-]{0,78}",
}
"""What Azure accepts as the last part of a name (learn.microsoft.com: resource name rules)."""

COMPUTED_BY_AZURE = ("Microsoft.Network/privateDnsZones", "Microsoft.Network/privateDnsZones/virtualNetworkLinks", ROLE)
"""Types whose names contain a suffix of the cloud, or an identity's object id."""


@each_installation
def test_names_are_known_unique_and_within_azures_limits(name: str) -> None:
    for resource in snapshot(name).resources:
        if resource["type"] in COMPUTED_BY_AZURE:
            continue
        last = resource["name"].rpartition("/")[2]
        assert re.fullmatch(LIMITS[resource["type"]], last), f"{resource['type']} {last}"
    ids = [resource["id"].lower() for resource in snapshot(name).resources]
    assert len(ids) == len(set(ids))


def test_a_resource_type_has_the_same_api_version_everywhere() -> None:
    versions: dict[str, set[str]] = {}
    for path in INFRA.rglob("*.bicep"):
        for kind, version in re.findall(r"'(Microsoft\.[\w./]+)@([\w-]+)'", path.read_text()):
            versions.setdefault(kind, set()).add(version)
    assert len(versions) > 20
    assert {kind: used for kind, used in versions.items() if len(used) > 1} == {}


NOT_TAGGED = (
    *(f"{STORAGE}/{child}" for child in ("blobServices", "queueServices", "managementPolicies")),
    *(CONTAINERS, QUEUE, TABLE, DIAGNOSTICS, LOCK, ROLE, SUBSCRIPTION, DEFENDER, f"{SITE}/config"),
    *(f"{SITE}/basicPublishingCredentialsPolicies", f"{ENDPOINT}/privateDnsZoneGroups"),
    *(f"{WORKSPACE}/tables", BUDGET),
)
"""Types that have no tags in Azure."""


@each_installation
def test_every_resource_has_the_tags(name: str) -> None:
    for resource in snapshot(name).resources:
        if resource["type"] in NOT_TAGGED:
            assert "tags" not in resource
        else:
            assert resource["tags"]["azd-env-name"]
            assert (resource["tags"].get("costCenter") == "4711") == (name == "full-private")


@each_installation
def test_only_a_user_assigned_identity_is_a_resource(name: str) -> None:
    identities = snapshot(name).of_type("Microsoft.ManagedIdentity/userAssignedIdentities")
    site = snapshot(name).single(SITE)
    if name == "system-identity":
        assert identities == []
        assert site["identity"]["type"] == "SystemAssigned"
        assert site["properties"]["keyVaultReferenceIdentity"] == "SystemAssigned"
    else:
        (identity,) = identities
        assert list(site["identity"]["userAssignedIdentities"]) == [identity["id"]]
        assert site["properties"]["keyVaultReferenceIdentity"] == identity["id"]
        authentication = site["properties"]["functionAppConfig"]["deployment"]["storage"]["authentication"]
        assert authentication["userAssignedIdentityResourceId"] == identity["id"]


REJECTED = {
    *("alwaysOn", "ftpsState", "linuxFxVersion", "windowsFxVersion", "netFrameworkVersion", "use32BitWorkerProcess"),
    *("preWarmedInstanceCount", "functionsRuntimeScaleMonitoringEnabled", "functionAppScaleLimit"),
}
"""Site properties that Flex Consumption rejects.

Sources: github.com/Azure/terraform-azurerm-avm-res-web-site/pull/345 and issues/360, and
github.com/Azure/azure-functions-host/issues/10643.
"""

REJECTED_SETTINGS = {
    *("FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_EXTENSION_VERSION", "WEBSITE_RUN_FROM_PACKAGE", "ENABLE_ORYX_BUILD"),
    *("WEBSITE_CONTENTAZUREFILECONNECTIONSTRING", "WEBSITE_CONTENTSHARE", "SCM_DO_BUILD_DURING_DEPLOYMENT"),
    *("WEBSITE_NODE_DEFAULT_VERSION", "WEBSITE_VNET_ROUTE_ALL", "WEBSITE_TIME_ZONE"),
}
"""App settings of other plans (learn.microsoft.com/azure/azure-functions/functions-app-settings)."""


@each_installation
def test_flex_consumption_accepts_the_site(name: str) -> None:
    site = snapshot(name).single(SITE)["properties"]
    assert set(site["siteConfig"]) & REJECTED == set()
    assert site["siteConfig"]["minTlsVersion"] == "1.2"
    assert site["httpsOnly"] is True
    assert not REJECTED_SETTINGS & set(app_settings("everything"))
    assert site["functionAppConfig"]["runtime"] == {"name": "python", "version": "3.13"}


@pytest.mark.parametrize(
    ("name", "memory", "maximum", "always_ready"),
    [
        ("smallest", 2048, 100, 0),
        ("system-identity", 2048, 100, 1),
        ("full-private", 4096, 1, 2),
        ("no-graph", 512, 40, 0),
    ],
)
def test_scaling(name: str, memory: int, maximum: int, always_ready: int) -> None:
    scaling = snapshot(name).single(SITE)["properties"]["functionAppConfig"]["scaleAndConcurrency"]
    assert scaling["instanceMemoryMB"] == memory
    assert scaling["maximumInstanceCount"] == maximum
    assert scaling["triggers"] == {"http": {"perInstanceConcurrency": 100}}
    ready = [{"name": "http", "instanceCount": always_ready}] if always_ready else []
    assert scaling["alwaysReady"] == ready


@pytest.mark.parametrize("name", [name for name in INSTALLATIONS if name not in EXISTING])
def test_redundancy_follows_the_region(name: str) -> None:
    installation = snapshot(name)
    expected = {"without-zones": "Standard_LRS", "full-private": "Standard_GZRS", "retention": "Standard_GRS"}
    assert installation.single(STORAGE, "stmail")["sku"]["name"] == expected.get(name, "Standard_ZRS")
    zones = name == "full-private"
    assert installation.single(STORAGE, "stapp")["sku"]["name"] == ("Standard_ZRS" if zones else "Standard_LRS")
    assert installation.single("Microsoft.Web/serverfarms")["properties"]["zoneRedundant"] is zones


def lifecycle(name: str) -> dict[str, Any]:
    """Return the lifecycle rules of the new account, by name."""
    rules = snapshot(name).single(POLICY)["properties"]["policy"]["rules"]
    return {rule["name"]: rule["definition"] for rule in rules}


def test_by_default_no_mail_is_moved_or_deleted() -> None:
    assert set(lifecycle("smallest")) == {"end-versions"}
    assert set(lifecycle("smallest")["end-versions"]["actions"]) == {"version"}


@pytest.mark.parametrize(("name", "days"), [("smallest", 7), ("retention", 30)])
def test_erased_mail_can_be_restored_for_no_longer_than_soft_delete_lasts(name: str, days: int) -> None:
    """A version is deleted by the next run, whatever its age; only soft delete still keeps it."""
    version = lifecycle(name)["end-versions"]
    assert version["actions"] == {"version": {"delete": {"daysAfterCreationGreaterThan": 0}}}
    assert version["filters"]["prefixMatch"] == ["mail/"]
    blobs = snapshot(name).single(f"{STORAGE}/blobServices", "stmail")["properties"]
    assert blobs["isVersioningEnabled"] is True
    assert blobs["deleteRetentionPolicy"] == blobs["containerDeleteRetentionPolicy"] == {"enabled": True, "days": days}


def test_lifecycle_rules_cover_the_folders_of_the_code() -> None:
    written = {"messages", "routed", *get_args(blob_paths.RecordKind), *get_args(blob_paths.SkippedKind)}
    rules = lifecycle("retention")
    assert set(rules["delete-everything"]["filters"]["prefixMatch"]) == {f"mail/{folder}/" for folder in written}
    for name in ("cool-messages", "archive-messages"):
        assert rules[name]["filters"]["prefixMatch"] == ["mail/messages/"]
    assert blob_paths.raw_path("ab").startswith("messages/")
    assert blob_paths.message_folder("ab").startswith("messages/")
    actions = [rules[name]["actions"]["baseBlob"] for name in rules if name != "end-versions"]
    assert actions == [
        {"tierToCool": {"daysAfterModificationGreaterThan": 30}},
        {"tierToArchive": {"daysAfterModificationGreaterThan": 90}},
        {"delete": {"daysAfterModificationGreaterThan": 365}},
    ]


def test_an_existing_account_gets_a_container_tables_and_a_lock_and_is_not_changed() -> None:
    here = "/subscriptions/44444444-4444-4444-4444-444444444444/resourceGroups/rg-archive/"
    resources = [resource for resource in snapshot("existing-account").resources if resource["id"].startswith(here)]
    assert {resource["type"] for resource in resources} == {CONTAINERS, TABLE, LOCK, ROLE}
    assert snapshot("existing-account").names(STORAGE) == [snapshot("existing-account").outputs["APP_STORAGE_ACCOUNT"]]
    assert snapshot("existing-account").outputs["MAIL_STORAGE"].startswith("[format('https://{0}.blob.{1}', 'starch")


def test_the_topic_of_an_existing_account_is_in_its_region_and_consumers_are_subscribed() -> None:
    installation = snapshot("existing-account-events")
    assert installation.single(TOPIC)["location"] == "northeurope"
    folders = {
        subscription["name"].rpartition("/")[2]: subscription["properties"]["filter"]["subjectBeginsWith"]
        for subscription in installation.of_type(SUBSCRIPTION)
    }
    assert folders == {
        "crm": "/blobServices/default/containers/mail/blobs/routed/sales/",
        "archive": "/blobServices/default/containers/mail/blobs/routed/",
    }
    assert installation.of_type(LOCK) == []


@each_installation
def test_the_mails_account_is_locked_unless_the_lock_is_off(name: str) -> None:
    locks = snapshot(name).of_type(LOCK)
    if name == "existing-account-events":
        assert locks == []
        return
    (lock,) = locks
    account = "starchive" if name in EXISTING else "stmail"
    assert f"/storageAccounts/{account}" in lock["id"]
    assert lock["properties"]["level"] == "CanNotDelete"


@each_installation
def test_accesses_to_mail_vault_and_package_are_recorded(name: str) -> None:
    settings = {
        resource["name"]: [log["category"] for log in resource["properties"]["logs"] if log["enabled"]]
        for resource in snapshot(name).of_type(DIAGNOSTICS)
    }
    expected = {"deletions": ["StorageDelete"], "reads": ["AuditEvent"]}
    if name not in EXISTING:
        expected["accesses"] = ["StorageRead", "StorageWrite", "StorageDelete"]
    assert settings == expected
    workspace = snapshot(name).single("Microsoft.OperationalInsights/workspaces")["id"]
    assert {resource["properties"]["workspaceId"] for resource in snapshot(name).of_type(DIAGNOSTICS)} == {workspace}


def by_name(resources: list[Resource]) -> dict[str, Resource]:
    return {re.sub(r"pep-mailroom-\w+?-", "", resource["name"]): resource for resource in resources}


@each_installation
def test_a_private_network_closes_every_service_and_has_an_endpoint_for_each(name: str) -> None:
    installation = snapshot(name)
    private = name in ("full-private", "existing-network")
    services = [*installation.of_type(STORAGE), installation.single(VAULT)]
    assert {service["properties"]["publicNetworkAccess"] for service in services} == {
        "Disabled" if private else "Enabled"
    }
    assert {service["properties"]["networkAcls"]["defaultAction"] for service in services} == {
        "Deny" if private else "Allow"
    }
    endpoints = by_name(installation.of_type(ENDPOINT))
    names = ["app-blob", "app-queue", "app-table", "mail-blob", "mail-table", "vault"] if private else []
    assert list(endpoints) == names
    records = by_name(installation.of_type(f"{ENDPOINT}/privateDnsZoneGroups"))
    assert list(records) == [f"{endpoint}/default" for endpoint in names]
    for endpoint in endpoints.values():
        (connection,) = endpoint["properties"]["privateLinkServiceConnections"]
        assert connection["properties"]["privateLinkServiceId"] in {service["id"] for service in services}
    assert (installation.single(SITE)["properties"]["virtualNetworkSubnetId"] is not None) == private


def test_an_existing_network_is_used_and_not_changed() -> None:
    installation = snapshot("existing-network")
    assert not [
        resource
        for resource in installation.resources
        if resource["type"].startswith("Microsoft.Network/") and not resource["type"].startswith(ENDPOINT)
    ]
    assert installation.single(SITE)["properties"]["virtualNetworkSubnetId"].endswith("/vnet-spoke/subnets/mailroom")
    for endpoint in installation.of_type(ENDPOINT):
        assert endpoint["properties"]["subnet"]["id"].endswith("/vnet-spoke/subnets/endpoints")
    for records in installation.of_type(f"{ENDPOINT}/privateDnsZoneGroups"):
        (configuration,) = records["properties"]["privateDnsZoneConfigs"]
        assert "/rg-dns/" in configuration["properties"]["privateDnsZoneId"]
    assert installation.outputs["OUTBOUND_ADDRESS"] == ""


def test_switches_are_off_by_default() -> None:
    assert snapshot("smallest").of_type(DEFENDER) == []
    assert snapshot("smallest").single(VAULT)["properties"].get("createMode") is None
    assert snapshot("full-private").single(DEFENDER)["properties"]["malwareScanning"]["onUpload"]["isEnabled"] is True
    assert snapshot("retention").single(VAULT)["properties"]["createMode"] == "recover"


def test_a_national_cloud_has_its_own_suffixes() -> None:
    """No suffix of the public cloud is written as a constant, except as a default of the app settings."""
    text = json.dumps(
        [resource for resource in snapshot("sovereign-cloud").resources if "config" not in resource["type"]]
    )
    assert not re.search(r"core\.windows\.net|vault\.azure\.net|azurewebsites\.net", text)
    settings = snapshot("sovereign-cloud").single(f"{SITE}/config")["properties"]
    assert "'GRAPH_ENDPOINT', 'https://graph.microsoft.us/v1.0'" in settings
    assert {resource.get("location", "global") for resource in snapshot("sovereign-cloud").resources} == {
        "usgovvirginia",
        "global",
    }


def test_azd_finds_the_app_and_is_new_enough() -> None:
    azure = (ROOT / "azure.yaml").read_text()
    service = snapshot("smallest").single(SITE)["tags"]["azd-service-name"]
    assert re.search(rf"^services:\n  {service}:$", azure, re.MULTILINE)
    # Before 1.24.1, azd down deletes the group of an existing account.
    assert re.search(r'^requiredVersions:\n  azd: ">= 1\.24\.1"$', azure, re.MULTILINE)


def test_no_rule_of_the_linter_stops_a_deployment() -> None:
    """azd and Azure CLI compile with a Bicep of their own, which knows newer API versions.

    At the level `error`, `use-recent-api-versions` would then end `azd up`. `make check` fails on warnings, too.
    """
    rules = json.loads((INFRA / "bicepconfig.json").read_text())["analyzers"]["core"]["rules"]
    assert len(rules) == 9
    assert {rule["level"] for rule in rules.values()} == {"warning"}
