"""The stand-in's token service, and what it lets in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.integration.simulator_support import ADDRESS, Place, letter, refused, standing
from tests.servers.certificates import Ca

KEY = b"other key of another token service"


@pytest.fixture
def place(ca: Ca, tmp_path: Path) -> Iterator[Place]:
    with standing(ca, tmp_path, accepted_keys=(KEY,)) as found:
        yield found


def sign_in(place: Place, *, tenant: str | None = None, **changes: str) -> tuple[int, dict[str, Any]]:
    form = {
        "grant_type": "client_credentials",
        "client_id": place.app.client_id,
        "client_secret": place.app.secret,
        "scope": f"{place.graph.url}/.default",
        **changes,
    }
    url = f"{place.graph.url}/{tenant or place.graph.tenant}/oauth2/v2.0/token"
    answer = place.client.post(url, data=form)
    return answer.status_code, answer.json()


def test_a_token_is_issued_and_opens_the_mailbox(place: Place) -> None:
    place.graph.token_lifetime = 120
    status, body = sign_in(place)
    assert (status, body["token_type"], body["expires_in"]) == (200, "Bearer", 120)
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert (claims["aud"], claims["appid"]) == (place.graph.url, place.app.client_id)
    assert (claims["roles"], claims["tid"]) == (["Mail.ReadWrite"], place.graph.tenant)
    place.box.deliver(letter())
    answer = place.get(place.messages, headers={"Authorization": f"Bearer {body['access_token']}"})
    assert len(answer.json()["value"]) == 1
    assert [each.status for each in place.graph.token_requests] == [200]
    assert place.graph.requests[-1].app == place.app.client_id


def test_discovery_names_the_token_endpoint(place: Place) -> None:
    base = f"{place.graph.url}/{place.graph.tenant}"
    body = place.client.get(f"{base}/v2.0/.well-known/openid-configuration").json()
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
def test_the_token_service_refuses(place: Place, changes: dict[str, str], status: int, error: str, number: int) -> None:
    got, body = sign_in(place, **changes)
    assert (got, body["error"], body["error_codes"]) == (status, error, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ")


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (lambda _: "", "empty"),
        (lambda _: "nonsense", "not well formed"),
        (lambda place: place.graph.token(place.app, lifetime=-5), "expired"),
        (lambda place: place.graph.token(place.app, place.graph.endpoint), "Invalid audience"),
        (lambda place: jwt.encode({"aud": place.graph.url, "exp": 2**33}, b"x" * 32), "Invalid signature"),
        (lambda place: jwt.encode({"aud": place.graph.url, "appid": place.app.client_id}, KEY), "not well formed"),
        (lambda place: jwt.encode({"aud": place.graph.url, "exp": 2**33, "appid": "nobody"}, KEY), "identity"),
    ],
)
def test_a_bad_token_is_401(place: Place, token: Any, words: str) -> None:
    answer = place.get(place.messages, headers={"Authorization": f"Bearer {token(place)}".strip()})
    refused(answer, 401, "InvalidAuthenticationToken", words)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert place.graph.requests[-1].app is None


def test_tokens_of_an_accepted_key_open_the_mailbox(place: Place) -> None:
    token = jwt.encode({"aud": place.graph.url, "exp": 2**33, "appid": place.app.client_id}, KEY)
    assert place.get(place.messages, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_revoked_tokens_are_refused_and_new_ones_are_good(place: Place) -> None:
    token = place.graph.token(place.app)
    place.graph.revoke_tokens()
    refused(place.get(place.messages, headers={"Authorization": f"Bearer {token}"}), 401, "InvalidAuthenticationToken")
    assert place.get(place.messages).status_code == 200


def test_an_app_opens_its_own_mailboxes_only(place: Place) -> None:
    place.app.mailboxes = {"Support@Example.com"}
    place.graph.mailbox("other@example.com")
    assert place.get("/users/SUPPORT@example.COM/mailFolders/inbox").status_code == 200
    refused(place.get("/users/other@example.com/mailFolders/inbox"), 403, "ErrorAccessDenied")
    refused(place.get("/users/nobody@example.com/mailFolders/inbox"), 404, "ErrorInvalidUser")


def test_permissions_are_held_to(place: Place) -> None:
    message = place.box.deliver(letter())
    place.app.permissions = {"Mail.Read"}
    assert place.get(place.message(message)).status_code == 200
    refused(place.ask("DELETE", place.message(message)), 403, "ErrorAccessDenied")
    moving = place.ask("POST", place.message(message, "/move"), json={"destinationId": "archive"})
    refused(moving, 403, "ErrorAccessDenied")
    place.app.permissions = set()
    refused(place.get(place.message(message)), 403, "ErrorAccessDenied")
    refused(place.get("/subscriptions"), 403, "ErrorAccessDenied")
    assert place.box.ids() == [message]


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
def test_paths_that_lead_nowhere(place: Place, method: str, path: str, status: int, code: str) -> None:
    refused(place.ask(method, path), status, code)
