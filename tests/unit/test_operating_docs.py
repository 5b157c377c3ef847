"""What the operator's pages name exists: alerts, roles, outputs, parameters. Their examples are valid."""

from __future__ import annotations

import json
import re
from pathlib import Path

from shared.config import MailProtocol, Tls, load_settings
from shared.mailboxes.greeting import foreign_greeting_error
from tests.servers.settings import mailbox_settings

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
"""Azure's names of the roles that the template names by id."""


def read(path: str) -> str:
    return (ROOT / path).read_text()


def test_every_alert_has_its_section_and_no_other() -> None:
    alerts = re.findall(r"^    name: '([a-z-]+)'$", read("infra/app/alerts.bicep"), re.MULTILINE)
    alerts += re.findall(r"^  name: '\$\{prefix\}-(unreachable)'$", read("infra/app/availability.bicep"), re.MULTILINE)
    sections = re.findall(r"^### ([a-z-]+)$", read("docs/how-to/operating.md"), re.MULTILINE)
    assert len(alerts) >= 7
    assert sorted(sections) == sorted(alerts)


def test_every_assigned_role_is_documented() -> None:
    roles = read("infra/app/roles.bicep") + read("infra/mail/roles.bicep")
    assigned = set(re.findall(r"roleDefinitionId: (\w+)", roles))
    assert assigned == set(ROLES)
    permissions = read("docs/reference/permissions.md")
    assert [role for role in ROLES.values() if role not in permissions] == []


def test_the_outputs_in_the_docs_exist() -> None:
    outputs = set(re.findall(r"^output ([A-Z_]+) ", read("infra/main.bicep"), re.MULTILINE))
    docs = read("docs/how-to/deploying.md") + read("docs/how-to/consuming.md") + read("docs/how-to/operating.md")
    named = set(
        re.findall(r"\b(?:AZURE_[A-Z_]+|IDENTITY_[A-Z_]+|RESULTS_TOPIC|OUTBOUND_ADDRESS|APP_STORAGE_ACCOUNT)\b", docs)
    )
    assert len(named) >= 5
    assert named <= outputs


def test_the_parameters_in_the_docs_exist() -> None:
    parameters = set(re.findall(r"^param (\w+) ", read("infra/main.bicep"), re.MULTILINE))
    named = set(
        re.findall(
            r'^  "(\w+)": \{"value"', read("docs/how-to/deploying.md") + read("docs/how-to/consuming.md"), re.MULTILINE
        )
    )
    assert len(named) >= 5
    assert named <= parameters


def test_the_texts_that_the_docs_quote_are_in_the_code() -> None:
    docs = " ".join((read("docs/how-to/operating.md") + read("docs/how-to/deploying.md")).split())
    code = "".join(path.read_text() for path in (ROOT / "shared").rglob("*.py"))
    for text in (
        *("the token service answers ", "sign-in refused", "sign-in was refused", "is a reference that Azure did not"),
        *("mailbox-disabled: mailbox ", " stopped after ", "mailbox-recovered", "message-failed: message "),
    ):
        assert text.strip() in docs, text
        assert text in code, text


def test_the_error_in_the_docs_is_what_the_code_raises() -> None:
    settings = mailbox_settings(
        protocol=MailProtocol.IMAP, host="imap.example.com", port=995, tls=Tls.IMPLICIT, address="support@example.com"
    )
    assert str(foreign_greeting_error(settings, b"+OK ready")) in " ".join(read("docs/how-to/operating.md").split())


def test_the_numbers_in_the_docs_are_right() -> None:
    rules = len(re.findall(r"^    name: '[a-z-]+'$", read("infra/app/alerts.bicep"), re.MULTILINE))
    assert rules == 10
    assert "ten rules that ask the workspace every 15 minutes" in read("docs/explanation/costs.md")
    resources = json.loads(read("infra/params/full-private.snapshot.json"))["predictedResources"]
    assert [resource["type"] for resource in resources].count("Microsoft.Network/privateEndpoints") == 6
    for page in ("docs/explanation/costs.md", "infra/README.md"):
        assert "NAT gateway and six private endpoints" in read(page)


def example(page: str) -> dict[str, object]:
    """Return the first example of settings or parameters of a page."""
    block = re.search(r"^```json\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)
    assert block is not None
    value = json.loads(block[1])
    assert isinstance(value, dict)
    return value


def test_the_parameters_by_example_are_valid_settings() -> None:
    values = {"AzureWebJobsStorage__accountName": "stapp", "POLL_SCHEDULE": "0 * * * * *"}
    for parameter, prefix in (("mailboxes", "MAILBOXES"), ("mailboxSecretNames", "MAILBOXES"), ("routes", "ROUTES")):
        parameters = example("docs/how-to/deploying.md")[parameter]
        assert isinstance(parameters, dict)
        for name, fields in parameters["value"].items():
            values |= {f"{prefix}__{name}__{field}": value for field, value in fields.items()}
    settings = load_settings(values)
    assert settings.mailbox_errors == {}
    assert set(settings.mailboxes) == {"support"}


def test_an_operators_settings_lack_only_the_secret() -> None:
    example_values = example("docs/how-to/operating.md")["Values"]
    assert isinstance(example_values, dict)
    values = {"POLL_SCHEDULE": "0 * * * * *", **example_values, "AzureWebJobsStorage__accountName": "stapp"}
    values["MAIL_STORAGE"] = example_values["MAIL_STORAGE"].replace("ACCOUNT", "stmail")
    settings = load_settings(values, complete=False)
    (errors,) = settings.mailbox_errors.values()
    assert [error for error in errors if "PASSWORD" not in error] == []
