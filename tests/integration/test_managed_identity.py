"""The app's managed identity (rule 1.4): MSAL with a simulated token endpoint of App Service."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.config import MailboxSettings, MailProtocol, SignIn
from shared.errors import AuthenticationError, MailroomError, ServiceUnavailable, Throttled
from shared.mailboxes.oauth.token_cache import TokenCache
from tests.servers.dovecot import free_ports
from tests.servers.http import AnyMethod, serving
from tests.servers.settings import mailbox_settings

HEADER = "the-header-that-only-this-app-knows"
USER_ASSIGNED = "0f8fad5b-d9cb-469f-a165-70867728950e"
UNSET_VARIABLES = (
    "IDENTITY_SERVER_THUMBPRINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
)
Response = tuple[int, bytes, dict[str, str]]


@dataclass
class IdentityEndpoint:
    """The token endpoint that App Service names in IDENTITY_ENDPOINT.

    Attributes:
        url: the URL of the endpoint.
        requests: the parameters of the requests so far.
        issued: the tokens so far.
        next_responses: responses to send instead of a token.
        lifetime: seconds until a new token expires.
    """

    url: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    next_responses: list[Response] = field(default_factory=list)
    lifetime: float = 86_400.0

    def respond(self, path: str, header: str | None) -> Response:
        """Return the response to a request."""
        parameters = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        self.requests.append(parameters)
        if header != HEADER:
            return 401, b'{"statusCode": 401, "message": "the header is wrong"}', {}
        if self.next_responses:
            return self.next_responses.pop(0)
        token = f"eyJtoken.{len(self.issued)}.{parameters['resource']}"
        self.issued.append(token)
        response = {
            "access_token": token,
            "expires_on": str(int(time.time() + self.lifetime)),
            "resource": parameters["resource"],
            "token_type": "Bearer",
            "client_id": parameters.get("client_id", "system"),
        }
        return 200, json.dumps(response).encode(), {}


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityEndpoint]:
    """Run a token endpoint, and set the variables that name it."""
    endpoint = IdentityEndpoint()

    class Handler(AnyMethod):
        def answer(self) -> None:
            status, body, headers = endpoint.respond(self.path, self.headers.get("X-IDENTITY-HEADER"))
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    for name in UNSET_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with serving(Handler) as port:
        endpoint.url = f"http://127.0.0.1:{port}/msi/token"
        monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint.url)
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        yield endpoint


def mailbox(**changes: Any) -> MailboxSettings:
    """Return a mailbox with sign-in by the app's managed identity."""
    fields = {"protocol": MailProtocol.GRAPH, "password": None, "sign_in": SignIn.MANAGED_IDENTITY}
    return mailbox_settings(**(fields | changes))


def failed_sign_in(settings: MailboxSettings, caplog: pytest.LogCaptureFixture) -> MailroomError:
    """Return the error of a failed sign-in, after checking that no secret is logged."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(MailroomError) as caught:
        TokenCache().token(settings)
    output = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert HEADER not in output
    assert "eyJ" not in output
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "mailbox support" in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("protocol", "resource"),
    [
        (MailProtocol.GRAPH, "https://graph.microsoft.com"),
        (MailProtocol.IMAP, "https://outlook.office365.com"),
        (MailProtocol.POP3, "https://outlook.office365.com"),
    ],
)
def test_1_4_the_managed_identity_gets_a_token_for_the_protocols_resource(
    identity: IdentityEndpoint, protocol: MailProtocol, resource: str
) -> None:
    assert TokenCache().token(mailbox(protocol=protocol)) == f"eyJtoken.0.{resource}"
    [request] = identity.requests
    assert request == {"api-version": "2019-08-01", "resource": resource}


def test_1_4_in_another_cloud_the_token_is_for_that_clouds_graph(identity: IdentityEndpoint) -> None:
    TokenCache(graph_endpoint="https://graph.microsoft.us/v1.0").token(mailbox())
    assert [request["resource"] for request in identity.requests] == ["https://graph.microsoft.us"]


def test_1_4_a_user_assigned_identity_is_requested_by_its_client_id(identity: IdentityEndpoint) -> None:
    TokenCache().token(mailbox(client_id=USER_ASSIGNED))
    assert [request["client_id"] for request in identity.requests] == [USER_ASSIGNED]


def test_1_4_tokens_are_cached_by_identity_and_resource(identity: IdentityEndpoint) -> None:
    tokens = TokenCache()
    mailboxes = [
        mailbox(),
        mailbox(name="sales", address="sales@example.com"),
        mailbox(client_id=USER_ASSIGNED),
        mailbox(protocol=MailProtocol.IMAP),
    ]
    first = [tokens.token(request) for request in mailboxes]
    assert first[0] == first[1], "one app, one identity"
    assert len(set(first)) == 3
    assert [tokens.token(request) for request in mailboxes] == first
    assert len(identity.issued) == 3


def test_1_4_a_token_that_expires_soon_is_renewed(identity: IdentityEndpoint) -> None:
    identity.lifetime = 200
    tokens = TokenCache()
    assert tokens.token(mailbox()) != tokens.token(mailbox())
    assert len(identity.issued) == 2


def test_1_4_a_rejected_token_is_requested_again(identity: IdentityEndpoint) -> None:
    tokens = TokenCache()
    first = tokens.token(mailbox())
    assert not tokens.forget(mailbox()), "it was issued just now, so a new token would not help"
    assert tokens.token(mailbox()) != first


def json_response(status: int, response: object, **headers: str) -> Response:
    return status, json.dumps(response).encode(), {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize("client_id", [None, USER_ASSIGNED], ids=["system-assigned", "user-assigned"])
@pytest.mark.parametrize(
    "response",
    [
        json_response(
            400, {"statusCode": 400, "message": "No Managed Identity found for specified ClientId", "x": HEADER}
        ),
        json_response(404, {"error": {"code": "NotFound"}}),
        json_response(200, {"statusCode": 200}),
        json_response(200, {"access_token": "", "expires_on": "0"}),
        json_response(200, {"access_token": "eyJhbGciOiJSUzI1NiJ9.e30.x", "expires_on": "never"}),
        json_response(401, {"message": "eyJhbGciOiJSUzI1NiJ9.e30.x is no token"}),
        json_response(200, {}),
    ],
    ids=lambda response: f"{response[0]} {response[1].decode()[:16]}",
)
def test_1_4_a_refused_identity_is_an_error_with_the_setting(
    identity: IdentityEndpoint, caplog: pytest.LogCaptureFixture, response: Response, client_id: str | None
) -> None:
    identity.next_responses = [response]
    error = failed_sign_in(mailbox(client_id=client_id), caplog)
    assert type(error) is AuthenticationError
    assert "MAILBOXES__support__SIGN_IN" in str(error)


def test_1_4_a_wrong_identity_header_is_refused(
    identity: IdentityEndpoint, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "another header, which is as secret")
    error = failed_sign_in(mailbox(), caplog)
    assert type(error) is AuthenticationError
    assert "as secret" not in f"{error} {caplog.text}"
    assert identity.issued == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_1_4_an_unavailable_endpoint_is_not_a_refusal(
    identity: IdentityEndpoint, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    identity.next_responses = [json_response(status, {"message": HEADER}, Retry_After="7")]
    error = failed_sign_in(mailbox(), caplog)
    assert type(error) is (Throttled if status == 429 else ServiceUnavailable)
    assert getattr(error, "retry_after", None) == 7.0
    assert "the managed identity" in str(error)
    assert "SIGN_IN_AUTHORITY" not in str(error), "that setting is not involved"


@pytest.mark.parametrize("status", [200, 302, 400, 404])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"null", b"[]", b'"eyJhbGciOiJSUzI1NiJ9.e30.x"', b"\xff\xfe", b"\0" * 9]
)
def test_1_4_an_invalid_response_is_reported_without_its_text(
    identity: IdentityEndpoint, caplog: pytest.LogCaptureFixture, body: bytes, status: int
) -> None:
    identity.next_responses = [(status, body, {})]
    error = failed_sign_in(mailbox(), caplog)
    assert "managed identity" in str(error)
    assert "SIGN_IN_AUTHORITY" not in str(error), "that setting is not involved"
    assert "MAILBOXES__support__SIGN_IN" in str(error)


@pytest.mark.parametrize("client_id", [None, USER_ASSIGNED], ids=["system-assigned", "user-assigned"])
def test_1_4_without_an_identity_the_error_says_that_it_works_in_azure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, client_id: str | None
) -> None:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", *UNSET_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    # The address of a virtual machine's identity endpoint, where no server listens.
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{free_ports(1)[0]}")
    error = failed_sign_in(mailbox(client_id=client_id), caplog)
    assert type(error) is AuthenticationError
    assert "MAILBOXES__support__SIGN_IN is managed-identity, which works in Azure" in str(error)


def test_1_4_a_refused_connection_is_an_error_with_the_setting(
    identity: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}/msi/token")
    assert "MAILBOXES__support__SIGN_IN" in str(failed_sign_in(mailbox(), caplog))
