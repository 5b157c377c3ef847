"""Every Kusto query of alerts, the workbook and the docs is checked by Kusto's own language service.

It is checked against the columns of the tables in a Log Analytics workspace, and against the names of metrics and
attributes that the code emits.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shared.observability import metric_names
from shared.observability.log_context import prefixed_attributes
from shared.operations.ledger import OUTCOMES

ROOT = Path(__file__).resolve().parents[2]
QUERIES = ROOT / "infra/queries"
ALERTS = ROOT / "infra/app/alerts.bicep"
KUSTO = ROOT / ".tools/kusto"

COMMON = "TenantId:string, TimeGenerated:datetime, AppRoleInstance:string, AppRoleName:string, AppVersion:string, "
SPAN = COMMON + (
    "Id:string, Name:string, OperationId:string, OperationName:string, ParentId:string, Properties:dynamic, "
    "Measurements:dynamic, Success:bool, DurationMs:real, ResultCode:string, ItemCount:int, Type:string"
)
TABLES = {
    "AppMetrics": f"({COMMON}Name:string, Sum:real, Min:real, Max:real, ItemCount:int, Properties:dynamic, "
    "Type:string)",
    "AppRequests": f"({SPAN}, Url:string, Source:string)",
    "AppDependencies": f"({SPAN}, Target:string, DependencyType:string, Data:string)",
    "AppTraces": f"({COMMON}Message:string, SeverityLevel:int, OperationId:string, OperationName:string, "
    "ParentId:string, Properties:dynamic, ItemCount:int, Type:string)",
    "AppExceptions": f"({COMMON}ExceptionType:string, OuterMessage:string, InnermostMessage:string, Method:string, "
    "ProblemId:string, Details:dynamic, SeverityLevel:int, OperationId:string, OperationName:string, ParentId:string, "
    "Properties:dynamic, ItemCount:int, Type:string)",
    "StorageBlobLogs": "(TimeGenerated:datetime, AccountName:string, OperationName:string, StatusCode:string, "
    "StatusText:string, AuthenticationType:string, RequesterObjectId:string, CallerIpAddress:string, Uri:string, "
    "ObjectKey:string, UserAgentHeader:string, Category:string, Type:string)",
}
"""Columns of the tables. Source: the Azure Monitor Logs table reference of Microsoft's documentation."""

INSTALL = "run: make servers"
WORDS = re.compile(r'"(mailroom\.[a-z_.]+)"')
ATTRIBUTES = re.compile(r'Properties(?:\.(\w+)|\["([\w.]+)"\])')
NUMBERS = {"real", "long", "int"}


def check(queries: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the problems and the result columns of each query."""
    node = shutil.which("node")
    assert node, "these tests need Node.js 20 or newer"
    assert (KUSTO / "installed").exists(), f"Kusto's language service is not installed; {INSTALL}"
    request = json.dumps({"tables": TABLES, "queries": queries})
    script = Path(__file__).with_name("kusto.cjs")
    output = subprocess.run(
        [node, str(script), str(KUSTO)], input=request, capture_output=True, text=True, check=True, timeout=120
    ).stdout
    results: dict[str, dict[str, Any]] = json.loads(output)
    return results


def with_metrics(text: str) -> str:
    """Return a query as Bicep joins it: after the declaration of `Metrics`."""
    return f"{(QUERIES / 'metrics.kql').read_text()}\n{text}"


@cache
def files() -> dict[str, str]:
    """Return the text of each query file, by its path."""
    return {str(path.relative_to(QUERIES)): path.read_text() for path in sorted(QUERIES.glob("*/*.kql"))}


@cache
def documented() -> dict[str, str]:
    """Return the Kusto queries in the docs, by page and number."""
    pages = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md"), *ROOT.glob("infra/*.md")]
    return {
        f"{page.relative_to(ROOT)} {number}": query
        for page in sorted(pages)
        for number, query in enumerate(re.findall(r"```kusto\n(.*?)```", page.read_text(), re.DOTALL), 1)
    }


@cache
def results() -> dict[str, dict[str, Any]]:
    """Return the check of every query, made in one process."""
    return check({name: with_metrics(text) for name, text in files().items()} | documented())


def attributes_by_metric() -> dict[str, set[str]]:
    """Return the attributes of each metric as the telemetry page lists them."""
    table = (ROOT / "docs/reference/telemetry.md").read_text()
    rows = re.findall(r"^\| `(mailroom\.[a-z_.]+)` \|[^|]*\|[^|]*\| ([^|]*)\|$", table, re.MULTILINE)
    return {metric: set(re.findall(r"`(\w+)`", attributes)) for metric, attributes in rows}


@pytest.mark.parametrize("name", [*files(), *documented()])
def test_a_query_has_no_error(name: str) -> None:
    assert results()[name]["problems"] == []


@pytest.mark.parametrize("name", [name for name in files() if name.startswith("alerts/")])
def test_an_alert_yields_what_its_rule_reads(name: str) -> None:
    columns = results()[name]["columns"]

    assert columns["TimeGenerated"] == "datetime"
    assert columns["Value"] in NUMBERS
    rule = re.search(rf"loadTextContent\('\.\./queries/{name}'\)\n\s*by: (null|'(\w+)')", ALERTS.read_text())
    assert rule, f"no rule loads {name}"
    if rule[2]:
        assert columns[rule[2]] == "string"


@pytest.mark.parametrize("name", files())
def test_a_query_names_what_the_code_emits(name: str) -> None:
    text = files()[name]
    emitted = attributes_by_metric()
    metrics = set(WORDS.findall(re.sub(ATTRIBUTES, "", text)))

    assert metrics <= metric_names.ALL
    assert metrics == metrics & set(emitted)
    if "Mailbox" in text and metrics:
        assert all("mailbox" in emitted[metric] for metric in metrics)
    for attribute in ATTRIBUTES.findall(text):
        plain = attribute[0] or attribute[1]
        if metrics:
            assert all(plain in emitted[metric] for metric in metrics), plain


def test_every_query_file_is_used() -> None:
    modules = "".join(path.read_text() for path in ROOT.glob("infra/**/*.bicep"))

    assert [name for name in files() if f"queries/{name}'" not in modules] == []


TOLERANT = re.compile(r"union isfuzzy=true\n +\(datatable\([^()]*\)\[\]\),\n +(App[A-Z]\w+)\n")
"""A table that may not exist, joined to an empty one. A workspace has no table before its first row."""


@pytest.mark.parametrize("name", ["metrics.kql", *files()])
def test_a_query_works_in_an_empty_workspace(name: str) -> None:
    code = re.sub(r"//.*", "", (QUERIES / name).read_text())
    assert sorted(re.findall(r"\bApp[A-Z]\w+", code)) == sorted(TOLERANT.findall(code))


@pytest.mark.parametrize("name", files())
def test_a_query_names_outcomes_of_the_ledger(name: str) -> None:
    named = set(re.findall(r'(?:Outcome|Previous) == "(\w+)"', files()[name]))
    assert named <= set(OUTCOMES)


@pytest.mark.parametrize("name", [*files(), *documented()])
def test_a_query_names_fields_of_log_lines_and_spans(name: str) -> None:
    text = {**files(), **documented()}[name]
    named = set(re.findall(r'Properties\["(mailroom\.\w+)"\]', text))
    page = (ROOT / "docs/reference/telemetry.md").read_text()
    fields = set(re.findall(r"^\| `\w+` \| [^|]+ \| `(mailroom\.\w+)` \|$", page, re.MULTILINE))
    assert fields == set(prefixed_attributes(mailbox="", folder="", arrival="", message="", route=""))
    assert named <= fields


WRONG = {
    "Metrics | where Nam == 'x'": "'Nam'",
    "Metrix | take 1": "'Metrix'",
    "AppMetrics | summarise x = 1": "operator expected",
    "AppTraces | where Severity > 2": "'Severity'",
    "union isfuzzy=true Metrics, AppMetrix | take 1": "'AppMetrix'",
}
"""Wrong queries, each with a part of its problem."""


def test_wrong_queries_are_found() -> None:
    checked = check({query: with_metrics(query) for query in WRONG})

    for query, problem in WRONG.items():
        assert problem in " ".join(checked[query]["problems"]), query
