"""The app's own identity (rule 1.4): MSAL against a stand-in for what App Service gives an app to ask."""

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
SPOKEN_OF = (
    "IDENTITY_SERVER_THUMBPRINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
)
Answer = tuple[int, bytes, dict[str, str]]


@dataclass
class Identity:
    """What stands at IDENTITY_ENDPOINT.

    Attributes:
        url: where.
        asked: the parameters of the requests so far.
        issued: the tokens so far.
        next_answers: what to answer instead of a token.
    """

    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    next_answers: list[Answer] = field(default_factory=list)
    lifetime: float = 86_400.0

    def answer(self, path: str, header: str | None) -> Answer:
        """What it says to a request."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        self.asked.append(asked)
        if header != HEADER:
            return 401, b'{"statusCode": 401, "message": "the header is wrong"}', {}
        if self.next_answers:
            return self.next_answers.pop(0)
        token = f"eyJtoken.{len(self.issued)}.{asked['resource']}"
        self.issued.append(token)
        told = {
            "access_token": token,
            "expires_on": str(int(time.time() + self.lifetime)),
            "resource": asked["resource"],
            "token_type": "Bearer",
            "client_id": asked.get("client_id", "system"),
        }
        return 200, json.dumps(told).encode(), {}


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[Identity]:
    """An app that has an identity."""
    made = Identity()

    class Handler(AnyMethod):
        def answer(self) -> None:
            status, body, headers = made.answer(self.path, self.headers.get("X-IDENTITY-HEADER"))
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    for name in SPOKEN_OF:
        monkeypatch.delenv(name, raising=False)
    with serving(Handler) as port:
        made.url = f"http://127.0.0.1:{port}/msi/token"
        monkeypatch.setenv("IDENTITY_ENDPOINT", made.url)
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        yield made


def mailbox(**changes: Any) -> MailboxSettings:
    """A mailbox that the app's identity opens."""
    fields = {"protocol": MailProtocol.GRAPH, "password": None, "sign_in": SignIn.MANAGED_IDENTITY}
    return mailbox_settings(**(fields | changes))


def refused(settings: MailboxSettings, caplog: pytest.LogCaptureFixture) -> MailroomError:
    """What comes instead of a token, after a look at whether anything secret is told of."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(MailroomError) as caught:
        TokenCache().token(settings)
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert HEADER not in told
    assert "eyJ" not in told
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
def test_1_4_the_apps_own_identity_gives_a_token_for_what_is_asked(
    identity: Identity, protocol: MailProtocol, resource: str
) -> None:
    assert TokenCache().token(mailbox(protocol=protocol)) == f"eyJtoken.0.{resource}"
    [asked] = identity.asked
    assert asked == {"api-version": "2019-08-01", "resource": resource}


def test_1_4_in_another_cloud_the_token_is_for_its_graph(identity: Identity) -> None:
    TokenCache(graph_endpoint="https://graph.microsoft.us/v1.0").token(mailbox())
    assert [one["resource"] for one in identity.asked] == ["https://graph.microsoft.us"]


def test_1_4_a_user_assigned_identity_is_asked_for_by_its_client_id(identity: Identity) -> None:
    TokenCache().token(mailbox(client_id=USER_ASSIGNED))
    assert [one["client_id"] for one in identity.asked] == [USER_ASSIGNED]


def test_1_4_a_token_is_kept_for_each_identity_and_each_resource(identity: Identity) -> None:
    tokens = TokenCache()
    boxes = [
        mailbox(),
        mailbox(name="sales", address="sales@example.com"),
        mailbox(client_id=USER_ASSIGNED),
        mailbox(protocol=MailProtocol.IMAP),
    ]
    first = [tokens.token(one) for one in boxes]
    assert first[0] == first[1], "one app, one identity"
    assert len(set(first)) == 3
    assert [tokens.token(one) for one in boxes] == first
    assert len(identity.issued) == 3


def test_1_4_a_token_that_is_about_to_end_is_renewed(identity: Identity) -> None:
    identity.lifetime = 200
    tokens = TokenCache()
    assert tokens.token(mailbox()) != tokens.token(mailbox())
    assert len(identity.issued) == 2


def test_1_4_a_token_that_is_forgotten_is_asked_for_anew(identity: Identity) -> None:
    tokens = TokenCache()
    first = tokens.token(mailbox())
    assert not tokens.forget(mailbox()), "it was issued just now: another would fare no better"
    assert tokens.token(mailbox()) != first


def json_answer(status: int, told: object, **headers: str) -> Answer:
    return status, json.dumps(told).encode(), {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize("client_id", [None, USER_ASSIGNED], ids=["system-assigned", "user-assigned"])
@pytest.mark.parametrize(
    "answer",
    [
        json_answer(
            400, {"statusCode": 400, "message": "No Managed Identity found for specified ClientId", "x": HEADER}
        ),
        json_answer(404, {"error": {"code": "NotFound"}}),
        json_answer(200, {"statusCode": 200}),
        json_answer(200, {"access_token": "", "expires_on": "0"}),
        json_answer(200, {"access_token": "eyJhbGciOiJSUzI1NiJ9.e30.x", "expires_on": "never"}),
        json_answer(401, {"message": "eyJhbGciOiJSUzI1NiJ9.e30.x is no token"}),
        json_answer(200, {}),
    ],
    ids=lambda answer: f"{answer[0]} {answer[1].decode()[:16]}",
)
def test_1_4_an_identity_that_is_refused_is_told_with_the_setting(
    identity: Identity, caplog: pytest.LogCaptureFixture, answer: Answer, client_id: str | None
) -> None:
    identity.next_answers = [answer]
    error = refused(mailbox(client_id=client_id), caplog)
    assert type(error) is AuthenticationError
    assert "MAILBOXES__support__SIGN_IN" in str(error)


def test_1_4_an_endpoint_that_does_not_know_us_refuses_us(
    identity: Identity, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "another header, which is as secret")
    error = refused(mailbox(), caplog)
    assert type(error) is AuthenticationError
    assert "as secret" not in f"{error} {caplog.text}"
    assert identity.issued == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_1_4_an_endpoint_that_is_ill_is_no_refusal(
    identity: Identity, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    identity.next_answers = [json_answer(status, {"message": HEADER}, Retry_After="7")]
    error = refused(mailbox(), caplog)
    assert type(error) is (Throttled if status == 429 else ServiceUnavailable)
    assert getattr(error, "retry_after", None) == 7.0
    assert "the managed identity" in str(error)
    assert "SIGN_IN_AUTHORITY" not in str(error), "that has no part in it"


@pytest.mark.parametrize("status", [200, 302, 400, 404])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"null", b"[]", b'"eyJhbGciOiJSUzI1NiJ9.e30.x"', b"\xff\xfe", b"\0" * 9]
)
def test_1_4_an_answer_that_is_none_is_told_of_without_it(
    identity: Identity, caplog: pytest.LogCaptureFixture, body: bytes, status: int
) -> None:
    identity.next_answers = [(status, body, {})]
    error = refused(mailbox(), caplog)
    assert "managed identity" in str(error)
    assert "SIGN_IN_AUTHORITY" not in str(error), "that has no part in it"
    assert "MAILBOXES__support__SIGN_IN" in str(error)


@pytest.mark.parametrize("client_id", [None, USER_ASSIGNED], ids=["system-assigned", "user-assigned"])
def test_1_4_outside_of_azure_there_is_no_identity_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, client_id: str | None
) -> None:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", *SPOKEN_OF):
        monkeypatch.delenv(name, raising=False)
    # Where a virtual machine's identity would be asked for: here, where nobody listens.
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", f"http://127.0.0.1:{free_ports(1)[0]}")
    error = refused(mailbox(client_id=client_id), caplog)
    assert type(error) is AuthenticationError
    assert "MAILBOXES__support__SIGN_IN is managed-identity, which works in Azure" in str(error)


def test_1_4_an_endpoint_where_nobody_listens_is_no_identity(
    identity: Identity, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{free_ports(1)[0]}/msi/token")
    assert "MAILBOXES__support__SIGN_IN" in str(refused(mailbox(), caplog))
