"""The simulator's directory: a mailbox's addresses, and the permissions to read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.simulator_support import ADDRESS, SimulatorFixture, assert_refused, running_simulator
from tests.servers.certificates import Ca

USER = f"/users/{ADDRESS}"
ALL = {"$select": "proxyAddresses,mail,userPrincipalName"}
BASIC = {"$select": "mail,userPrincipalName"}


@pytest.fixture
def sim(ca: Ca, tmp_path: Path) -> Iterator[SimulatorFixture]:
    with running_simulator(ca, tmp_path) as fixture:
        fixture.box.add_aliases("sales@example.com", "x500:/o=Example/cn=support")
        yield fixture


def test_proxy_addresses_include_their_types(sim: SimulatorFixture) -> None:
    sim.app.permissions = {"User.Read.All"}
    answer = sim.get(USER, ALL).json()
    assert answer.pop("@odata.context").endswith("/$entity")
    assert answer == {
        "proxyAddresses": [f"SMTP:{ADDRESS}", "smtp:sales@example.com", "x500:/o=Example/cn=support"],
        "mail": ADDRESS,
        "userPrincipalName": ADDRESS,
    }


def test_proxy_addresses_are_not_a_default_property(sim: SimulatorFixture) -> None:
    sim.app.permissions = {"User.Read.All"}
    assert "proxyAddresses" not in sim.get(USER).json()


@pytest.mark.parametrize("permissions", [set(), {"Mail.ReadWrite"}, {"User.ReadBasic.All"}])
def test_proxy_addresses_need_user_read_all(sim: SimulatorFixture, permissions: set[str]) -> None:
    sim.app.permissions = permissions
    assert_refused(sim.get(USER, ALL), 403, "Authorization_RequestDenied")
    basic = sim.get(USER, BASIC)
    assert basic.status_code == (200 if "User.ReadBasic.All" in permissions else 403)


def test_a_user_is_not_found_by_an_alias(sim: SimulatorFixture) -> None:
    sim.app.permissions = {"User.Read.All"}
    assert_refused(sim.get("/users/sales@example.com", ALL), 404, "Request_ResourceNotFound")


def test_directory_permissions_do_not_open_mail(sim: SimulatorFixture) -> None:
    sim.app.permissions = {"User.Read.All"}
    assert_refused(sim.get(sim.messages), 403, "ErrorAccessDenied")


def test_unknown_properties_and_methods_of_a_user_are_refused(sim: SimulatorFixture) -> None:
    sim.app.permissions = {"User.Read.All"}
    assert_refused(sim.get(USER, {"$select": "shoeSize"}), 400, "RequestBroker--ParseUri")
    assert_refused(sim.ask("DELETE", USER), 405, "ErrorInvalidRequest")
