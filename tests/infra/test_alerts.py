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
    alert = criterion(rule)
    query = alert["query"]
    metrics = re.findall(r'Name == "([^"]+)"', query)
    assert len(metrics) == 1
    assert metrics[0] in metric_names.ALL
    for dimension in alert["dimensions"]:
        column = dimension["name"]
        assert f"| extend {column} = tostring(Properties.{column})" in query
    assert (alert["timeAggregation"] == "Count") == ("metricMeasureColumn" not in alert)
    if alert["timeAggregation"] != "Count":
        assert alert["metricMeasureColumn"] in query
        assert "TimeGenerated" in query


def test_alerts_can_be_deployed_before_the_first_metric() -> None:
    """A new workspace has no table AppMetrics yet (github.com/learntocloud/learn-to-cloud-app/pull/586)."""
    for rule in snapshot("smallest").of_type(RULE):
        assert rule["properties"]["skipQueryValidation"] is True
    assert rules()["app-silent"]["query"].startswith("union isfuzzy=true (datatable(")


def test_there_is_an_alert_for_each_of_these_metrics() -> None:
    metrics = {metric for rule in rules().values() for metric in re.findall(r'Name == "([^"]+)"', rule["query"])}
    assert metrics == {
        *(
            metric_names.MAILBOX_DISABLED,
            metric_names.MAILBOX_FAILING,
            metric_names.POISON_WAITING,
            metric_names.POISONED,
        ),
        *(metric_names.OUTBOX_OLDEST, metric_names.SUBSCRIPTION_LEFT, metric_names.WEBHOOK_SECONDS),
    }
    thresholds = {name: rules()[name]["threshold"] for name in ("mailbox-failing", "mail-waiting", "webhook-slow")}
    assert thresholds == {"mailbox-failing": 3600, "mail-waiting": 900, "webhook-slow": 2}


def test_alerts_are_evaluated_every_five_minutes_over_half_an_hour_and_close_automatically() -> None:
    for rule in snapshot("smallest").of_type(RULE):
        properties = rule["properties"]
        assert (properties["evaluationFrequency"], properties["windowSize"]) == ("PT5M", "PT30M")
        assert properties["autoMitigate"] is True


@pytest.mark.parametrize(("name", "granted"), [("smallest", 4230), ("full-private", 10080)])
def test_the_alert_for_a_subscription_fires_at_a_quarter_of_the_time_that_graph_grants(name: str, granted: int) -> None:
    """Graph grants 10,080 minutes at most; full-private asks for 20,000."""
    assert rules(name)["subscription-ending"]["threshold"] == granted * 60 // 4


def test_alerts_are_sent_to_the_addresses() -> None:
    (group,) = snapshot("full-private").of_type("Microsoft.Insights/actionGroups")
    receivers = [receiver["emailAddress"] for receiver in group["properties"]["emailReceivers"]]
    assert receivers == ["operations@example.com", "on-call@example.com"]
    for rule in snapshot("full-private").of_type(RULE):
        assert rule["properties"]["actions"]["actionGroups"] == [group["id"]]
    assert snapshot("smallest").of_type("Microsoft.Insights/actionGroups") == []
