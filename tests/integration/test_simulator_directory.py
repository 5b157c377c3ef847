"""The simulator's directory: a mailbox's addresses, and who may read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.simulator_support import ADDRESS, Place, refused, standing
from tests.servers.certificates import Ca

USER = f"/users/{ADDRESS}"
ALL = {"$select": "proxyAddresses,mail,userPrincipalName"}
BASIC = {"$select": "mail,userPrincipalName"}


@pytest.fixture
def place(ca: Ca, tmp_path: Path) -> Iterator[Place]:
    with standing(ca, tmp_path) as made:
        made.box.add_aliases("sales@example.com", "x500:/o=Example/cn=support")
        yield made


def test_proxy_addresses_come_with_their_types(place: Place) -> None:
    place.app.permissions = {"User.Read.All"}
    answer = place.get(USER, ALL).json()
    assert answer.pop("@odata.context").endswith("/$entity")
    assert answer == {
        "proxyAddresses": [f"SMTP:{ADDRESS}", "smtp:sales@example.com", "x500:/o=Example/cn=support"],
        "mail": ADDRESS,
        "userPrincipalName": ADDRESS,
    }


def test_they_are_not_among_the_default_properties(place: Place) -> None:
    place.app.permissions = {"User.Read.All"}
    assert "proxyAddresses" not in place.get(USER).json()


@pytest.mark.parametrize("permissions", [set(), {"Mail.ReadWrite"}, {"User.ReadBasic.All"}])
def test_only_user_read_all_shows_them(place: Place, permissions: set[str]) -> None:
    place.app.permissions = permissions
    refused(place.get(USER, ALL), 403, "Authorization_RequestDenied")
    basic = place.get(USER, BASIC)
    assert basic.status_code == (200 if "User.ReadBasic.All" in permissions else 403)


def test_an_alias_is_no_key_of_a_user(place: Place) -> None:
    place.app.permissions = {"User.Read.All"}
    refused(place.get("/users/sales@example.com", ALL), 404, "Request_ResourceNotFound")


def test_the_directorys_permissions_open_no_mail(place: Place) -> None:
    place.app.permissions = {"User.Read.All"}
    refused(place.get(place.messages), 403, "ErrorAccessDenied")


def test_what_a_user_does_not_have_is_refused(place: Place) -> None:
    place.app.permissions = {"User.Read.All"}
    refused(place.get(USER, {"$select": "shoeSize"}), 400, "RequestBroker--ParseUri")
    refused(place.ask("DELETE", USER), 405, "ErrorInvalidRequest")
