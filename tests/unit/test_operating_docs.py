"""What the operator's pages name is there: alerts, roles, outputs, parameters. Their examples are taken as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path

from shared.config import load_settings

ROOT = Path(__file__).resolve().parents[2]

ROLES = {
    "blobOwner": "Storage Blob Data Owner",
    "blobContributor": "Storage Blob Data Contributor",
    "queueContributor": "Storage Queue Data Contributor",
    "tableContributor": "Storage Table Data Contributor",
    "secretsUser": "Key Vault Secrets User",
    "secretsOfficer": "Key Vault Secrets Officer",
    "metricsPublisher": "Monitoring Metrics Publisher",
}
"""Azure's names of the roles that the template has by their ids."""


def read(path: str) -> str:
    return (ROOT / path).read_text()


def test_every_alert_has_its_chapter_and_no_other() -> None:
    alerts = re.findall(r"^    name: '([a-z-]+)'$", read("infra/app/alerts.bicep"), re.MULTILINE)
    chapters = re.findall(r"^### ([a-z-]+)$", read("docs/operating.md"), re.MULTILINE)
    assert len(alerts) >= 7
    assert sorted(chapters) == sorted(alerts)


def test_every_role_that_is_given_is_told() -> None:
    given = set(re.findall(r"roleDefinitionId: (\w+)", read("infra/app/roles.bicep")))
    assert given == set(ROLES)
    permissions = read("docs/permissions.md")
    assert [role for role in ROLES.values() if role not in permissions] == []


def test_the_outputs_that_the_docs_name_are_given() -> None:
    outputs = set(re.findall(r"^output ([A-Z_]+) ", read("infra/main.bicep"), re.MULTILINE))
    docs = read("docs/deploying.md") + read("docs/consuming.md") + read("docs/operating.md")
    named = set(
        re.findall(r"\b(?:AZURE_[A-Z_]+|IDENTITY_[A-Z_]+|RESULTS_TOPIC|OUTBOUND_ADDRESS|APP_STORAGE_ACCOUNT)\b", docs)
    )
    assert len(named) >= 5
    assert named <= outputs


def test_the_parameters_that_the_docs_name_are_taken() -> None:
    parameters = set(re.findall(r"^param (\w+) ", read("infra/main.bicep"), re.MULTILINE))
    named = set(
        re.findall(r'^  "(\w+)": \{"value"', read("docs/deploying.md") + read("docs/consuming.md"), re.MULTILINE)
    )
    assert len(named) >= 5
    assert named <= parameters


def test_the_words_of_the_log_that_the_docs_quote_are_said() -> None:
    docs = " ".join((read("docs/operating.md") + read("docs/deploying.md")).split())
    code = "".join(path.read_text() for path in (ROOT / "shared").rglob("*.py"))
    for words in (
        *("the token service answers ", "sign-in refused", "sign-in was refused", "is a reference that Azure did not"),
        *("mailbox-disabled: mailbox ", " stopped after ", "mailbox-recovered", "message-failed: message "),
    ):
        assert words.strip() in docs, words
        assert words in code, words


def test_what_the_docs_count_are_so_many() -> None:
    rules = len(re.findall(r"^    name: '[a-z-]+'$", read("infra/app/alerts.bicep"), re.MULTILINE))
    assert rules == 8
    assert "eight rules that ask the workspace every five minutes" in read("docs/costs.md")
    endpoints = read("infra/main.bicep").partition("    targets: privateNetwork ? [")[2].partition("] : []")[0]
    assert endpoints.count("resourceId: ") == 6
    for page in ("docs/costs.md", "infra/README.md"):
        assert "NAT gateway and six private endpoints" in read(page)


def example(page: str) -> dict[str, object]:
    """The first example of settings or parameters of a page."""
    found = re.search(r"^```json\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)
    assert found is not None
    read_as = json.loads(found[1])
    assert isinstance(read_as, dict)
    return read_as


def test_the_parameters_by_example_are_settings_without_a_fault() -> None:
    values = {"AzureWebJobsStorage__accountName": "stapp", "POLL_SCHEDULE": "0 * * * * *"}
    for parameter, beginning in (("mailboxes", "MAILBOXES"), ("mailboxSecrets", "MAILBOXES"), ("routes", "ROUTES")):
        given = example("docs/deploying.md")[parameter]
        assert isinstance(given, dict)
        for name, fields in given["value"].items():
            values |= {f"{beginning}__{name}__{field}": value for field, value in fields.items()}
    settings = load_settings(values)
    assert settings.faulty == {}
    assert set(settings.mailboxes) == {"support"}


def test_an_operators_settings_lack_the_secret_and_nothing_else() -> None:
    given = example("docs/operating.md")["Values"]
    assert isinstance(given, dict)
    values = {"POLL_SCHEDULE": "0 * * * * *", **given, "AzureWebJobsStorage__accountName": "stapp"}
    values["MAIL_STORAGE"] = given["MAIL_STORAGE"].replace("ACCOUNT", "stmail")
    settings = load_settings(values, complete=False)
    (faults,) = settings.faulty.values()
    assert [fault for fault in faults if "PASSWORD" not in fault] == []
