"""The simulator's token service and access control."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.integration.simulator_support import ADDRESS, SimulatorFixture, assert_refused, letter, running_simulator
from tests.servers.certificates import Ca

KEY = b"other key of another token service"


@pytest.fixture
def sim(ca: Ca, tmp_path: Path) -> Iterator[SimulatorFixture]:
    with running_simulator(ca, tmp_path, accepted_keys=(KEY,)) as fixture:
        yield fixture


def sign_in(sim: SimulatorFixture, *, tenant: str | None = None, **changes: str) -> tuple[int, dict[str, Any]]:
    form = {
        "grant_type": "client_credentials",
        "client_id": sim.app.client_id,
        "client_secret": sim.app.secret,
        "scope": f"{sim.graph.url}/.default",
        **changes,
    }
    url = f"{sim.graph.url}/{tenant or sim.graph.tenant}/oauth2/v2.0/token"
    answer = sim.client.post(url, data=form)
    return answer.status_code, answer.json()


def test_a_token_is_issued_and_opens_the_mailbox(sim: SimulatorFixture) -> None:
    sim.graph.token_lifetime = 120
    status, body = sign_in(sim)
    assert (status, body["token_type"], body["expires_in"]) == (200, "Bearer", 120)
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["appid"]) == (sim.graph.url, sim.app.client_id)
    assert (claims["roles"], claims["tid"]) == (["Mail.ReadWrite"], sim.graph.tenant)
    sim.box.deliver(letter())
    answer = sim.get(sim.messages, headers={"Authorization": f"Bearer {body['access_token']}"})
    assert len(answer.json()["value"]) == 1
    assert [request.status for request in sim.graph.token_requests] == [200]
    assert sim.graph.requests[-1].app == sim.app.client_id


def test_discovery_names_the_token_endpoint(sim: SimulatorFixture) -> None:
    base = f"{sim.graph.url}/{sim.graph.tenant}"
    body = sim.client.get(f"{base}/v2.0/.well-known/openid-configuration").json()
    assert body["token_endpoint"] == f"{base}/oauth2/v2.0/token"


@pytest.mark.parametrize(
    ("changes", "status", "error", "number"),
    [
        ({"tenant": "common"}, 400, "invalid_tenant", 90002),
        ({"client_id": "nobody"}, 400, "unauthorized_client", 700016),
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"scope": "Mail.ReadWrite"}, 400, "invalid_scope", 1002012),
        ({"scope": "a/.default b/.default"}, 400, "invalid_scope", 1002012),
    ],
)
def test_the_token_service_refuses_a_wrong_request(
    sim: SimulatorFixture, changes: dict[str, str], status: int, error: str, number: int
) -> None:
    got, body = sign_in(sim, **changes)
    assert (got, body["error"], body["error_codes"]) == (status, error, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ")


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (lambda _: "", "empty"),
        (lambda _: "nonsense", "not well formed"),
        (lambda sim: sim.graph.token(sim.app, lifetime=-5), "expired"),
        (lambda sim: sim.graph.token(sim.app, sim.graph.endpoint), "Invalid audience"),
        (lambda sim: jwt.encode({"aud": sim.graph.url, "exp": 2**33}, b"x" * 32), "Invalid signature"),
        (lambda sim: jwt.encode({"aud": sim.graph.url, "appid": sim.app.client_id}, KEY), "not well formed"),
        (lambda sim: jwt.encode({"aud": sim.graph.url, "exp": 2**33, "appid": "nobody"}, KEY), "identity"),
    ],
)
def test_an_invalid_token_is_answered_with_401(sim: SimulatorFixture, token: Any, text: str) -> None:
    answer = sim.get(sim.messages, headers={"Authorization": f"Bearer {token(sim)}".strip()})
    assert_refused(answer, 401, "InvalidAuthenticationToken", text)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert sim.graph.requests[-1].app is None


def test_a_token_of_an_accepted_key_opens_the_mailbox(sim: SimulatorFixture) -> None:
    token = jwt.encode({"aud": sim.graph.url, "exp": 2**33, "appid": sim.app.client_id}, KEY)
    assert sim.get(sim.messages, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_a_revoked_token_is_refused_and_a_new_one_accepted(sim: SimulatorFixture) -> None:
    token = sim.graph.token(sim.app)
    sim.graph.revoke_tokens()
    assert_refused(
        sim.get(sim.messages, headers={"Authorization": f"Bearer {token}"}), 401, "InvalidAuthenticationToken"
    )
    assert sim.get(sim.messages).status_code == 200


def test_an_app_opens_only_its_mailboxes(sim: SimulatorFixture) -> None:
    sim.app.mailboxes = {"Support@Example.com"}
    sim.graph.mailbox("other@example.com")
    assert sim.get("/users/SUPPORT@example.COM/mailFolders/inbox").status_code == 200
    assert_refused(sim.get("/users/other@example.com/mailFolders/inbox"), 403, "ErrorAccessDenied")
    assert_refused(sim.get("/users/nobody@example.com/mailFolders/inbox"), 404, "ErrorInvalidUser")


def test_permissions_are_enforced(sim: SimulatorFixture) -> None:
    message = sim.box.deliver(letter())
    sim.app.permissions = {"Mail.Read"}
    assert sim.get(sim.message(message)).status_code == 200
    assert_refused(sim.ask("DELETE", sim.message(message)), 403, "ErrorAccessDenied")
    moving = sim.ask("POST", sim.message(message, "/move"), json={"destinationId": "archive"})
    assert_refused(moving, 403, "ErrorAccessDenied")
    sim.app.permissions = set()
    assert_refused(sim.get(sim.message(message)), 403, "ErrorAccessDenied")
    assert_refused(sim.get("/subscriptions"), 403, "ErrorAccessDenied")
    assert sim.box.ids() == [message]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/me/messages", 400, "BadRequest"),
        ("GET", f"/users/{ADDRESS}", 403, "Authorization_RequestDenied"),
        ("GET", f"/users/{ADDRESS}/calendar", 400, "BadRequest"),
        ("GET", f"/users/{ADDRESS}/messages/x/attachments", 400, "BadRequest"),
        ("POST", "/$batch", 404, "UnknownError"),
        ("PUT", "/subscriptions", 405, "ErrorInvalidRequest"),
    ],
)
def test_unknown_paths_are_refused(sim: SimulatorFixture, method: str, path: str, status: int, code: str) -> None:
    assert_refused(sim.ask(method, path), status, code)
