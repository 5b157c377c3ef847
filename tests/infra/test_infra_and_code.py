"""What infra/ makes and sets is what the code uses: settings, queues, tables, containers, folders, metrics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from tree_sitter import Node

from shared.config import load_settings
from shared.config.env_keys import KINDS
from shared.config.schema import WrittenSettings, setting_name
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
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "the exporter's and the host's, to send by token",
    "AZURE_CLIENT_ID": "DefaultAzureCredential's, to know which identity",
    "PYTHON_THREADPOOL_THREAD_COUNT": "the worker's",
    "PYTHON_ENABLE_OPENTELEMETRY": "the worker's",
}
"""What infra sets for others than our settings, and whose it is."""

STAND_INS = {
    "AzureWebJobsStorage__accountName": "stapp",
    "AzureWebJobsStorage__clientId": "11111111-2222-3333-4444-555555555555",
    "MAIL_STORAGE": "https://stmail.blob.core.windows.net",
    "MAIL_CONTAINER": "mail",
    "GRAPH_WEBHOOK_URL": "https://app.azurewebsites.net/api/graph_webhook",
    "GRAPH_CLIENT_STATE_KEY": "0123456789abcdef" * 4,
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey=11111111-2222-3333-4444-555555555555",
}
"""What stands for values that are known once it is deployed."""


def settings_set() -> dict[str, Node]:
    """The settings that infra writes by name, from everything that its last union joins."""
    union = next(
        node for node in every(_resource(SETTINGS, "settings"), "call_expression") if text(node).startswith("union(")
    )
    joined = [text(node) for node in every(union, "identifier")]
    found: dict[str, Node] = {}
    for variable in set(joined) & set(read(SETTINGS).variables) - {"named"}:
        for objects in every(read(SETTINGS).variables[variable], "object"):
            found |= properties(objects)
    return found


def _resource(path: Path, symbol: str) -> Node:
    found = (node for node in every(tree(path), "resource_declaration") if text(node.named_children[0]) == symbol)
    return next(found)


def ours() -> set[str]:
    """The settings that infra writes for us: the identity form's parts count as the one setting that they are."""
    return {name.partition("__")[0] for name in settings_set()} - set(PLATFORM)


def test_infra_sets_all_that_the_app_reads_and_nothing_else() -> None:
    flat = {setting_name(name) for name in WrittenSettings.model_fields if name not in KINDS}
    assert ours() == flat - {"STORE_MODE"}, "a mode is for stores in folders"


def test_the_app_reads_what_infra_sets_without_a_fault_and_the_defaults_are_the_codes() -> None:
    written = {name: value_of(node) for name, node in settings_set().items()}
    given = {name: value if isinstance(value, str) else STAND_INS.get(name) for name, value in written.items()}
    environment = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(environment)
    defaults = set(value_of(read(SETTINGS).variables["defaults"])) - {"POLL_SCHEDULE"}
    assert defaults
    for name in defaults:
        assert load_settings({key: value for key, value in environment.items() if key != name}) == settings, name


def test_what_bindings_name_is_set() -> None:
    code = "".join(
        (ROOT / folder / "__init__.py").read_text() for folder in ("poll_timer", "graph_webhook", "route_message")
    )
    named = set(re.findall(r'"%(\w+)%"', code)) | set(re.findall(r'connection="(\w+)"', code))
    assert "POLL_SCHEDULE" in named
    assert named <= ours()


def test_threads_are_as_many_as_documented() -> None:
    count = value_of(settings_set()["PYTHON_THREADPOOL_THREAD_COUNT"])
    assert "`PYTHON_THREADPOOL_THREAD_COUNT`" in (ROOT / "docs/host.md").read_text()
    assert f"set it to {count} on the function app" in (ROOT / "docs/host.md").read_text()


def test_queues_are_the_codes_each_with_its_poison_queue() -> None:
    made = File(STORAGE).value("concat(queueNames, poisonNames)")
    read_from = {queue for queue in QueueName if not queue.endswith("-poison")}
    assert sorted(made) == sorted([*read_from, *(f"{queue}-poison" for queue in read_from)])
    assert set(QueueName) <= set(made)


def test_tables_are_the_codes() -> None:
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


def test_the_leases_container_is_the_codes() -> None:
    assert value_of(read(STORAGE).variables["leaseContainer"]) == CONTAINER


DAYS = ("coolAfterDays", "archiveAfterDays", "deleteAfterDays")


def lifecycle(**days: int) -> dict[str, Any]:
    """The rules of our own account, by name."""
    given = dict.fromkeys(DAYS, 0) | {"recoverDays": 7, "container": "mail"} | days
    policy = next(every(_resource(MAIL_ACCOUNT, "lifecycle"), "object"))
    rules = next(properties(one)["rules"] for one in every(policy, "object") if "rules" in properties(one))
    return {rule["name"]: rule["definition"] for rule in File(MAIL_ACCOUNT, **given).value(text(rules))}


def test_no_mail_is_moved_or_deleted_unless_it_is_asked_for() -> None:
    main = (INFRA / "main.bicep").read_text()
    assert all(f"param {name} int = 0\n" in main for name in DAYS)
    assert set(lifecycle()) == {"end-versions"}
    assert set(lifecycle()["end-versions"]["actions"]) == {"version"}


def test_lifecycle_rules_are_about_the_folders_that_are_written() -> None:
    written = {"messages", "routed", *get_args(blob_paths.RecordKind), *get_args(blob_paths.SkippedKind)}
    rules = lifecycle(coolAfterDays=30, archiveAfterDays=90, deleteAfterDays=365)
    assert set(rules["delete-everything"]["filters"]["prefixMatch"]) == {f"mail/{folder}/" for folder in written}
    for name in ("cool-messages", "archive-messages"):
        assert rules[name]["filters"]["prefixMatch"] == ["mail/messages/"]
    assert blob_paths.message_folder("ab").startswith("messages/")


@pytest.mark.parametrize(
    ("asked", "key", "instances"), [(-1, "", 0), (-1, "graph-key", 1), (0, "graph-key", 0), (3, "", 3)]
)
def test_one_instance_is_ready_where_graph_notifies(asked: int, key: str, instances: int) -> None:
    (site,) = (call for call in read(MAIN).calls if call.symbol == "site")
    given = File(MAIN, alwaysReadyHttp=asked, graphKeySecret=key)
    assert given.value(text(site.given["alwaysReadyHttp"])) == instances


@pytest.mark.parametrize("rule", value_of(read(ALERTS).variables["rules"]), ids=lambda rule: rule["name"])
def test_each_alerts_query_names_a_metric(rule: dict[str, Any]) -> None:
    query = rule["query"]
    query = query if isinstance(query, str) else query.text
    metrics = re.findall(r'Name == "([^"]+)"', query)
    assert len(metrics) == 1
    assert metrics[0] in metric_names.ALL
    for column in rule["by"]:
        assert f"| extend {column} = tostring(Properties.{column})" in query
    assert rule["aggregation"] == "Count" or "Value" in query
    assert "TimeGenerated" in query or rule["aggregation"] == "Count"


def test_alerts_are_made_before_there_is_a_metric() -> None:
    """A new workspace has no table AppMetrics yet (github.com/learntocloud/learn-to-cloud-app/pull/586)."""
    assert "    skipQueryValidation: true\n" in text(_resource(ALERTS, "alerts"))
    silent = next(rule for rule in value_of(read(ALERTS).variables["rules"]) if rule["name"] == "app-silent")
    query = silent["query"]
    assert (query if isinstance(query, str) else query.text).lstrip("\n'").startswith("union isfuzzy=true (datatable(")


REFUSED = {
    *("alwaysOn", "ftpsState", "linuxFxVersion", "windowsFxVersion", "netFrameworkVersion", "use32BitWorkerProcess"),
    *("preWarmedInstanceCount", "functionsRuntimeScaleMonitoringEnabled", "functionAppScaleLimit"),
}
"""What Flex Consumption refuses of a site: github.com/Azure/terraform-azurerm-avm-res-web-site/pull/345 and issues/360,
github.com/Azure/azure-functions-host/issues/10643."""


def test_the_site_has_nothing_that_flex_consumption_refuses() -> None:
    body = next(every(_resource(SITE, "site"), "object"))
    config = properties(properties(properties(body)["properties"])["siteConfig"])
    assert set(config) & REFUSED == set()
    assert "minTlsVersion" in config


def test_every_alert_that_is_wanted_is_there() -> None:
    asked = set(re.findall(r'Name == "([^"]+)"', ALERTS.read_text()))
    assert asked == {
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


def test_alerts_are_looked_at_every_five_minutes_over_half_an_hour_and_close_by_themselves() -> None:
    alerts = text(_resource(ALERTS, "alerts"))
    assert "    evaluationFrequency: 'PT5M'\n    windowSize: window\n" in alerts
    assert value_of(read(ALERTS).variables["window"]) == "PT30M"
    assert "    autoMitigate: true\n" in alerts


def test_a_subscription_that_is_ending_has_a_quarter_of_its_time_left() -> None:
    (alerts,) = (call for call in read(MAIN).calls if call.symbol == "alerts")
    assert text(alerts.given["subscriptionLeftSeconds"]) == f"subscriptionMinutes * {60 // 4}"


def test_the_services_name_is_azds() -> None:
    name = value_of(read(INFRA / "main.bicep").variables["serviceName"])
    assert re.search(rf"^services:\n  {name}:$", (ROOT / "azure.yaml").read_text(), re.MULTILINE)
