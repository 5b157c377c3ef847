"""infra/ creates what the code uses: settings, queues, tables, containers, folders, metrics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from tree_sitter import Node

from shared.config import load_settings
from shared.config.model import AppSettings, declarations
from shared.documents import blob_paths
from shared.observability import metric_names
from shared.storage.azure.leases import CONTAINER
from shared.storage.azure.records import AzureRecords
from shared.storage.base import QueueName, Table
from tests.infra.bicep import INFRA, MAIN, ROOT, every, properties, read, text, tree, value_of
from tests.infra.evaluate import File

SETTINGS = INFRA / "app/settings.bicep"
STORAGE = INFRA / "app/storage.bicep"
MAIL_DATA = INFRA / "mail/data.bicep"
MAIL_ACCOUNT = INFRA / "mail/account.bicep"
ALERTS = INFRA / "app/alerts.bicep"
SITE = INFRA / "app/site.bicep"

PLATFORM = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "read by the exporter and the host, to send with a token",
    "AZURE_CLIENT_ID": "read by DefaultAzureCredential, to select the identity",
    "PYTHON_THREADPOOL_THREAD_COUNT": "read by the worker",
    "PYTHON_ENABLE_OPENTELEMETRY": "read by the worker",
}
"""App settings of infra that are not Mailroom's, with their readers."""

DEPLOYED_VALUES = {
    "AzureWebJobsStorage__accountName": "stapp",
    "AzureWebJobsStorage__clientId": "11111111-2222-3333-4444-555555555555",
    "MAIL_STORAGE": "https://stmail.blob.core.windows.net",
    "MAIL_CONTAINER": "mail",
    "GRAPH_WEBHOOK_URL": "https://app.azurewebsites.net/api/graph_webhook",
    "GRAPH_CLIENT_STATE_KEY": "0123456789abcdef" * 4,
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=11111111-2222-3333-4444-555555555555",
}
"""Sample values of settings that are only known after a deployment."""


def settings_set() -> dict[str, Node]:
    """Return the settings that infra writes, by name: those of all objects in its last union."""
    union = next(
        node for node in every(_resource(SETTINGS, "settings"), "call_expression") if text(node).startswith("union(")
    )
    joined = [text(node) for node in every(union, "identifier")]
    nodes: dict[str, Node] = {}
    for variable in set(joined) & set(read(SETTINGS).variables) - {"named"}:
        for objects in every(read(SETTINGS).variables[variable], "object"):
            nodes |= properties(objects)
    return nodes


def _resource(path: Path, symbol: str) -> Node:
    resources = every(tree(path), "resource_declaration")
    return next(node for node in resources if text(node.named_children[0]) == symbol)


def mailroom_settings() -> set[str]:
    """Return Mailroom's settings that infra writes; the parts of an identity-based setting count as one."""
    return {name.partition("__")[0] for name in settings_set()} - set(PLATFORM)


def test_infra_sets_exactly_the_settings_of_the_app() -> None:
    flat = {declaration.name for declaration in declarations(AppSettings).values()}
    assert mailroom_settings() == flat - {"STORE_MODE"}, "STORE_MODE is only for folder storage"


def test_the_settings_of_infra_are_valid_and_repeat_the_codes_defaults() -> None:
    written = {name: value_of(node) for name, node in settings_set().items()}
    values = {name: value if isinstance(value, str) else DEPLOYED_VALUES.get(name) for name, value in written.items()}
    environment = {name: value for name, value in values.items() if value is not None}
    settings = load_settings(environment)
    defaults = set(value_of(read(SETTINGS).variables["defaults"])) - {"POLL_SCHEDULE"}
    assert defaults
    for name in defaults:
        assert load_settings({key: value for key, value in environment.items() if key != name}) == settings, name


def test_every_setting_in_a_binding_is_set() -> None:
    code = "".join(
        (ROOT / folder / "__init__.py").read_text() for folder in ("poll_timer", "graph_webhook", "route_message")
    )
    named = set(re.findall(r'"%(\w+)%"', code)) | set(re.findall(r'connection="(\w+)"', code))
    assert "POLL_SCHEDULE" in named
    assert named <= mailroom_settings()


def test_the_number_of_threads_is_documented() -> None:
    count = value_of(settings_set()["PYTHON_THREADPOOL_THREAD_COUNT"])
    assert "`PYTHON_THREADPOOL_THREAD_COUNT`" in (ROOT / "docs/reference/host.md").read_text()
    assert f"set it to {count} on the function app" in (ROOT / "docs/reference/host.md").read_text()


def test_infra_creates_the_codes_queues_and_their_poison_queues() -> None:
    made = File(STORAGE).value("concat(queueNames, poisonNames)")
    read_from = {queue for queue in QueueName if not queue.endswith("-poison")}
    assert sorted(made) == sorted([*read_from, *(f"{queue}-poison" for queue in read_from)])
    assert set(QueueName) <= set(made)


def test_infra_creates_the_codes_tables() -> None:
    assert value_of(read(MAIL_DATA).variables["tableNames"]) == list(Table)
    prefix = re.search(r"name: '\$\{container\}\$\{table\}'", MAIL_DATA.read_text())
    assert prefix
    made = []

    class Account:
        setting = "MAIL_STORAGE"
        pool = None

        def table(self, name: str) -> Any:
            made.append(name)
            return type("Client", (), {"create_table": None})

    AzureRecords(Account(), "mail")  # type: ignore[arg-type]
    assert made == [f"mail{table}" for table in Table]


def test_infra_creates_the_codes_leases_container() -> None:
    assert value_of(read(STORAGE).variables["leaseContainer"]) == CONTAINER


DAYS = ("coolAfterDays", "archiveAfterDays", "deleteAfterDays")


def lifecycle(**days: int) -> dict[str, Any]:
    """Return the lifecycle rules of the new account, by name."""
    parameters = dict.fromkeys(DAYS, 0) | {"recoverDays": 7, "container": "mail"} | days
    policy = next(every(_resource(MAIL_ACCOUNT, "lifecycle"), "object"))
    rules = next(properties(node)["rules"] for node in every(policy, "object") if "rules" in properties(node))
    return {rule["name"]: rule["definition"] for rule in File(MAIL_ACCOUNT, **parameters).value(text(rules))}


def test_by_default_no_mail_is_moved_or_deleted() -> None:
    main = (INFRA / "main.bicep").read_text()
    assert all(f"param {name} int = 0\n" in main for name in DAYS)
    assert set(lifecycle()) == {"end-versions"}
    assert set(lifecycle()["end-versions"]["actions"]) == {"version"}


def test_lifecycle_rules_cover_the_folders_of_the_code() -> None:
    written = {"messages", "routed", *get_args(blob_paths.RecordKind), *get_args(blob_paths.SkippedKind)}
    rules = lifecycle(coolAfterDays=30, archiveAfterDays=90, deleteAfterDays=365)
    assert set(rules["delete-everything"]["filters"]["prefixMatch"]) == {f"mail/{folder}/" for folder in written}
    for name in ("cool-messages", "archive-messages"):
        assert rules[name]["filters"]["prefixMatch"] == ["mail/messages/"]
    assert blob_paths.message_folder("ab").startswith("messages/")


@pytest.mark.parametrize(
    ("parameter", "key", "instances"), [(-1, "", 0), (-1, "graph-key", 1), (0, "graph-key", 0), (3, "", 3)]
)
def test_an_instance_is_always_ready_with_graph_notifications(parameter: int, key: str, instances: int) -> None:
    (site,) = (call for call in read(MAIN).calls if call.symbol == "site")
    main = File(MAIN, alwaysReadyHttp=parameter, graphKeySecret=key)
    assert main.value(text(site.arguments["alwaysReadyHttp"])) == instances


@pytest.mark.parametrize("rule", value_of(read(ALERTS).variables["rules"]), ids=lambda rule: rule["name"])
def test_each_alert_queries_a_metric(rule: dict[str, Any]) -> None:
    query = rule["query"]
    query = query if isinstance(query, str) else query.text
    metrics = re.findall(r'Name == "([^"]+)"', query)
    assert len(metrics) == 1
    assert metrics[0] in metric_names.ALL
    for column in rule["by"]:
        assert f"| extend {column} = tostring(Properties.{column})" in query
    assert rule["aggregation"] == "Count" or "Value" in query
    assert "TimeGenerated" in query or rule["aggregation"] == "Count"


def test_alerts_can_be_deployed_before_the_first_metric() -> None:
    """A new workspace has no table AppMetrics yet (github.com/learntocloud/learn-to-cloud-app/pull/586)."""
    assert "    skipQueryValidation: true\n" in text(_resource(ALERTS, "alerts"))
    silent = next(rule for rule in value_of(read(ALERTS).variables["rules"]) if rule["name"] == "app-silent")
    query = silent["query"]
    assert (query if isinstance(query, str) else query.text).lstrip("\n'").startswith("union isfuzzy=true (datatable(")


REJECTED = {
    *("alwaysOn", "ftpsState", "linuxFxVersion", "windowsFxVersion", "netFrameworkVersion", "use32BitWorkerProcess"),
    *("preWarmedInstanceCount", "functionsRuntimeScaleMonitoringEnabled", "functionAppScaleLimit"),
}
"""Site properties that Flex Consumption rejects.

Sources: github.com/Azure/terraform-azurerm-avm-res-web-site/pull/345 and issues/360, and
github.com/Azure/azure-functions-host/issues/10643.
"""


def test_the_site_has_no_property_that_flex_consumption_rejects() -> None:
    body = next(every(_resource(SITE, "site"), "object"))
    config = properties(properties(properties(body)["properties"])["siteConfig"])
    assert set(config) & REJECTED == set()
    assert "minTlsVersion" in config


def test_there_is_an_alert_for_each_of_these_metrics() -> None:
    metrics = set(re.findall(r'Name == "([^"]+)"', ALERTS.read_text()))
    assert metrics == {
        *(
            metric_names.MAILBOX_DISABLED,
            metric_names.MAILBOX_FAILING,
            metric_names.POISON_WAITING,
            metric_names.POISONED,
        ),
        *(metric_names.OUTBOX_OLDEST, metric_names.SUBSCRIPTION_LEFT, metric_names.WEBHOOK_SECONDS),
    }
    limits = re.findall(r"^param (\w+Seconds) int = (\d+)$", ALERTS.read_text(), re.MULTILINE)
    assert dict(limits) == {"mailboxFailingSeconds": "3600", "mailWaitingSeconds": "900", "webhookSeconds": "2"}


def test_alerts_are_evaluated_every_five_minutes_over_half_an_hour_and_close_automatically() -> None:
    alerts = text(_resource(ALERTS, "alerts"))
    assert "    evaluationFrequency: 'PT5M'\n    windowSize: window\n" in alerts
    assert value_of(read(ALERTS).variables["window"]) == "PT30M"
    assert "    autoMitigate: true\n" in alerts


def test_the_alert_for_a_subscription_fires_at_a_quarter_of_its_time() -> None:
    (alerts,) = (call for call in read(MAIN).calls if call.symbol == "alerts")
    assert text(alerts.arguments["subscriptionLeftSeconds"]) == f"subscriptionMinutes * {60 // 4}"


def test_the_services_name_is_that_of_azure_yaml() -> None:
    name = value_of(read(INFRA / "main.bicep").variables["serviceName"])
    assert re.search(rf"^services:\n  {name}:$", (ROOT / "azure.yaml").read_text(), re.MULTILINE)
