"""The workflow that deploys sets what azd needs, and has no secret."""

from __future__ import annotations

import re

from tests.infra.bicep import ROOT

DEPLOY = (ROOT / ".github/workflows/deploy.yml").read_text()
SET_BY_AZD = {"AZURE_PRINCIPAL_ID"}
"""What azd itself finds out from the sign-in."""


def test_deploying_sets_the_variables_of_the_parameters() -> None:
    parameters = (ROOT / "infra/main.parameters.json").read_text()
    required = set(re.findall(r"\$\{([A-Z_]+)\}", parameters)) - SET_BY_AZD
    assert {"AZURE_ENV_NAME", "AZURE_LOCATION"} <= required
    variables = set(re.findall(r"^ +([A-Z_]+): \$\{\{ vars\.\1 \}\}$", DEPLOY, re.MULTILINE))
    assert required <= variables
    assert "AZURE_PRINCIPAL_TYPE: ServicePrincipal" in DEPLOY
    # Without these, a deployment from GitHub would make a new account for mail, or end the notifications.
    optional = set(re.findall(r"\$\{(MAILROOM_[A-Z_]+)=\}", parameters))
    assert len(optional) == 3
    assert optional <= variables
    documented = set(re.findall(r"`((?:AZURE|MAILROOM)_[A-Z_]+)`", (ROOT / "docs/how-to/github.md").read_text()))
    assert documented == variables


def test_deploying_signs_in_with_a_token_of_github_and_is_started_by_a_person() -> None:
    assert "secrets." not in DEPLOY
    assert "id-token: write" in DEPLOY
    assert "--federated-credential-provider github" in DEPLOY
    events = re.search(r"^on:\n((?: +.*\n)+)", DEPLOY, re.MULTILINE)
    assert events
    assert re.findall(r"^  (\w+):", events[1], re.MULTILINE) == ["workflow_dispatch"]
    # A value of a variable that is written into a script by the expression would be run as a part of it.
    assert not re.findall(r"run:.*\$\{\{", DEPLOY)


def test_deploying_uses_the_python_of_the_function_app() -> None:
    assert 'python-version: "3.13"' in DEPLOY
    assert "version: '3.13'" in (ROOT / "infra/app/site.bicep").read_text()
