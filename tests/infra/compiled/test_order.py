"""The order of a deployment, from the compiled template: nothing is used before it exists."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infra.bicep import INFRA
from tools.bicep import Compiler


@pytest.fixture(scope="module")
def template(compiler: Compiler) -> dict[str, Any]:
    return compiler.template(INFRA / "main.bicep")


def before(template: dict[str, Any], symbol: str) -> set[str]:
    """Return everything that is deployed before a module."""
    reached: set[str] = set()
    waiting = [symbol]
    while waiting:
        for other in template["resources"][waiting.pop()].get("dependsOn", []):
            if other not in reached:
                reached.add(other)
                waiting.append(other)
    return reached


@pytest.mark.parametrize(
    ("symbol", "earlier"),
    [
        ("rolesBeforeSite", {"identity", "storage", "vault", "monitoring", "mailData"}),
        ("site", {"storage", "rolesBeforeSite", "endpoints", "newNetwork"}),
        ("rolesAfterSite", {"site", "storage", "vault", "monitoring", "mailData"}),
        ("settings", {"site", "rolesBeforeSite", "rolesAfterSite", "monitoring", "vault"}),
        ("endpoints", {"storage", "vault", "mailData", "newNetwork"}),
        ("mailData", {"group", "mailStorage"}),
        ("events", {"mailData"}),
        ("scanning", {"mailData", "events"}),
        ("alerts", {"monitoring"}),
        ("mailStorage", {"monitoring"}),
    ],
)
def test_a_module_is_deployed_after_what_it_uses(template: dict[str, Any], symbol: str, earlier: set[str]) -> None:
    assert earlier <= before(template, symbol)


def test_a_user_assigned_identity_gets_its_roles_before_the_site(template: dict[str, Any]) -> None:
    """Otherwise the first `azd up` often ends with 403, since the role on the package's container is not effective."""
    assert "site" not in before(template, "rolesBeforeSite")
    assert template["resources"]["rolesBeforeSite"]["condition"] == "[variables('userAssigned')]"
    assert template["resources"]["rolesAfterSite"]["condition"] == "[not(variables('userAssigned'))]"


def test_private_endpoints_are_made_one_at_a_time(template: dict[str, Any]) -> None:
    """An account refuses a second endpoint meanwhile: StorageAccountOperationInProgress."""
    resources = template["resources"]["endpoints"]["properties"]["template"]["resources"]
    for symbol in ("endpoints", "records"):
        assert (resources[symbol]["copy"]["mode"], resources[symbol]["copy"]["batchSize"]) == ("serial", 1)
