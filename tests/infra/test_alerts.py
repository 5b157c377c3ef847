"""The alert rules that a deployment makes query metrics of the app."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shared.observability import metric_names
from tests.infra.bicep import Resource, snapshot

RULE = "Microsoft.Insights/scheduledQueryRules"


def name_of(rule: Resource) -> str:
    return re.sub(r"^mailroom-[a-z0-9]{13}-", "", rule["name"])


def criterion(rule: Resource) -> dict[str, Any]:
    (only,) = rule["properties"]["criteria"]["allOf"]
    assert isinstance(only, dict)
    return only


def rules(name: str = "smallest") -> dict[str, dict[str, Any]]:
    return {name_of(rule): criterion(rule) for rule in snapshot(name).of_type(RULE)}


@pytest.mark.parametrize("rule", snapshot("smallest").of_type(RULE), ids=name_of)
def test_each_alert_queries_a_metric(rule: Resource) -> None:
    """test_queries.py checks the queries themselves."""
    alert = criterion(rule)
    query = alert["query"]
    metrics = re.findall(r'Name == "([^"]+)"', query)
    assert len(metrics) == 1
    assert metrics[0] in metric_names.ALL
    assert alert["metricMeasureColumn"] == "Value"
    assert {dimension["name"] for dimension in alert["dimensions"]} <= {"Mailbox", "Queue"}


def test_alerts_can_be_deployed_before_the_first_metric() -> None:
    """A new workspace has no table AppMetrics yet (github.com/learntocloud/learn-to-cloud-app/pull/586)."""
    for rule in snapshot("smallest").of_type(RULE):
        assert rule["properties"]["skipQueryValidation"] is True
        assert "let Metrics = union isfuzzy=true" in criterion(rule)["query"]


def test_there_is_an_alert_for_each_of_these_metrics() -> None:
    metrics = {metric for rule in rules().values() for metric in re.findall(r'Name == "([^"]+)"', rule["query"])}
    assert metrics == {
        *(
            metric_names.MAILBOX_DISABLED,
            metric_names.MAILBOX_FAILING,
            metric_names.POISON_WAITING,
            metric_names.POISONED,
        ),
        metric_names.OUTCOMES,
        *(metric_names.OUTBOX_OLDEST, metric_names.SUBSCRIPTION_LEFT, metric_names.WEBHOOK_SECONDS),
    }
    thresholds = {name: rules()[name]["threshold"] for name in ("mailbox-failing", "mail-waiting", "webhook-slow")}
    assert thresholds == {"mailbox-failing": 3600, "mail-waiting": 900, "webhook-slow": 2}


def test_alerts_are_evaluated_every_quarter_of_an_hour_and_written_again_while_the_cause_lasts() -> None:
    frequent = {
        name_of(rule)
        for rule in snapshot("smallest").of_type(RULE)
        if rule["properties"]["evaluationFrequency"] != "PT15M"
    }
    assert frequent == {"mailbox-disabled", "message-failed"}
    for rule in snapshot("smallest").of_type(RULE):
        properties = rule["properties"]
        assert properties["autoMitigate"] is False
        assert properties["muteActionsDuration"] in ("PT1H", "PT6H", "P1D")


def test_a_rule_that_reads_more_than_its_window_dates_its_rows_now() -> None:
    """A rule groups rows by TimeGenerated into windows: an older row is not in the last window."""
    long = {
        name_of(rule): criterion(rule)["query"]
        for rule in snapshot("smallest").of_type(RULE)
        if rule["properties"].get("overrideQueryTimeRange")
    }
    assert set(long) == {"app-silent", "unhandled-old"}
    assert all("| project TimeGenerated = now(), " in query for query in long.values())


def test_the_alert_of_the_availability_test_is_written_again() -> None:
    (alert,) = snapshot("full-private").of_type("Microsoft.Insights/metricAlerts")
    assert alert["properties"]["autoMitigate"] is False
    assert alert["properties"]["actions"]


def test_alerts_go_to_mail_addresses_and_webhooks() -> None:
    (group,) = snapshot("full-private").of_type("Microsoft.Insights/actionGroups")
    receivers = group["properties"]
    assert [receiver["emailAddress"] for receiver in receivers["emailReceivers"]] == [
        "operations@example.com",
        "on-call@example.com",
    ]
    assert [receiver["name"] for receiver in receivers["webhookReceivers"]] == ["pager"]
    assert all(receiver["useCommonAlertSchema"] for kind in receivers if "Rec" in kind for receiver in receivers[kind])
    for rule in snapshot("full-private").of_type(RULE):
        assert rule["properties"]["actions"]["actionGroups"] == [group["id"]]
    assert snapshot("smallest").of_type("Microsoft.Insights/actionGroups") == []


def test_the_availability_test_posts_a_validation_token() -> None:
    (test,) = snapshot("full-private").of_type("Microsoft.Insights/webtests")
    request, expected = test["properties"]["Request"], test["properties"]["ValidationRules"]
    token = expected["ContentValidation"]["ContentMatch"]
    assert (request["HttpVerb"], expected["ExpectedHttpStatusCode"]) == ("POST", 200)
    assert "?validationToken={1}" in request["RequestUrl"]
    assert token in request["RequestUrl"]
    assert "/api/graph_webhook" in request["RequestUrl"]
    assert snapshot("smallest").of_type("Microsoft.Insights/webtests") == [], "without notifications"


def test_telemetry_is_kept_and_capped_as_asked() -> None:
    for name, days, cap in (("smallest", 30, -1), ("full-private", 90, 1)):
        (workspace,) = snapshot(name).of_type("Microsoft.OperationalInsights/workspaces")
        assert workspace["properties"]["workspaceCapping"] == {"dailyQuotaGb": cap}
        tables = snapshot(name).of_type("Microsoft.OperationalInsights/workspaces/tables")
        assert {"AppMetrics", "AppTraces", "AppRequests"} <= {table["name"].split("/")[-1] for table in tables}
        assert {table["properties"]["totalRetentionInDays"] for table in tables} == {days}


def test_a_budget_warns_the_receivers_of_alerts() -> None:
    (budget,) = snapshot("full-private").of_type("Microsoft.Consumption/budgets")
    notifications = budget["properties"]["notifications"].values()
    assert (budget["properties"]["amount"], budget["properties"]["timeGrain"]) == (100, "Monthly")
    assert all("on-call@example.com" in notification["contactEmails"] for notification in notifications)
    assert snapshot("smallest").of_type("Microsoft.Consumption/budgets") == []


@pytest.mark.parametrize(("name", "granted"), [("smallest", 10080), ("full-private", 10080)])
def test_the_alert_for_a_subscription_fires_at_a_quarter_of_the_time_that_graph_grants(name: str, granted: int) -> None:
    """Graph grants 10,080 minutes at most; full-private asks for 20,000."""
    assert rules(name)["subscription-ending"]["threshold"] == granted * 60 // 4
