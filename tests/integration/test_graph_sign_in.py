"""Sign-in to Microsoft Graph with every kind of credential and every source of trust (rules 1.2, 1.4)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.config import MailboxSettings, SignIn
from shared.errors import ConnectFailed
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.mailbox import GraphMailbox
from shared.mailboxes.oauth.token_cache import TokenCache, graph_scope
from tests.integration.test_graph_failures import Signed
from tests.servers.authority import Authority
from tests.servers.certificates import application
from tests.servers.graph import Graph
from tests.servers.mail import plain_mail

KEY = b"a key that the token service signs with, 32+"
ADDRESS = "support@example.com"


@pytest.fixture
def both(graphs: Callable[..., Graph], authorities: Callable[..., Authority]) -> tuple[Graph, Authority]:
    """Return a Graph simulator that accepts the tokens of an authority that verifies assertions."""
    graph, authority = graphs(accepted_keys=(KEY,)), authorities(key=KEY)
    authority.scopes.add(graph_scope(graph.server.endpoint))
    graph.box(ADDRESS, plain_mail(1))
    return graph, authority


def listed(settings: MailboxSettings, tokens: Any, graph: Graph) -> int:
    with GraphMailbox(settings, tokens, GraphEndpoint(graph.server.endpoint, 10)) as mailbox:
        return len(mailbox.list("INBOX"))


@pytest.mark.parametrize("form", ["pem", "pfx", "pem file", "pfx file"])
@pytest.mark.parametrize("password", [None, "pf x pässword"])
def test_1_4_a_certificate_opens_the_mailbox(
    both: tuple[Graph, Authority], tmp_path: Path, form: str, password: str | None
) -> None:
    graph, authority = both
    pair = application()
    app = authority.register(ADDRESS, certificate=pair)
    graph.server.register(client_id=app.client_id)
    secret = password.encode() if password else None
    data = pair.pfx(secret) if "pfx" in form else pair.pem(secret)
    credentials: dict[str, Any] = {"certificate_password": SecretStr(password) if password else None}
    if form.endswith("file"):
        credentials["certificate_file"] = tmp_path / "app.any"
        credentials["certificate_file"].write_bytes(data)
    else:
        text = base64.b64encode(data).decode() if form == "pfx" else data.decode()
        credentials["certificate"] = SecretStr(text)
    settings = graph.settings(
        sign_in=SignIn.CERTIFICATE,
        client_secret=None,
        client_id=app.client_id,
        tenant_id=authority.tenant,
        **credentials,
    )
    assert listed(settings, TokenCache(authority.url, graph.server.endpoint), graph) == 1
    assert len(authority.issued) == 1


def test_1_4_a_token_is_reused_by_later_polls(graph: Graph) -> None:
    graph.box(ADDRESS, plain_mail(1))
    tokens = graph.tokens
    for _ in range(5):
        assert listed(graph.settings(), tokens, graph) == 1
    assert sum(bool(item.scope) for item in graph.server.token_requests) == 1


def test_1_4_a_token_is_renewed_before_it_expires(graph: Graph) -> None:
    graph.box(ADDRESS, plain_mail(1))
    graph.server.token_lifetime = 200  # MSAL renews what has less than five minutes left
    tokens = graph.tokens
    for _ in range(3):
        assert listed(graph.settings(), tokens, graph) == 1
    assert len(graph.server.token_requests) >= 3
    assert {request.status for request in graph.server.requests} == {200}


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_1_2_a_private_ca_is_taken_from_the_environment(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(graph.ca_file))
    graph.box(ADDRESS, plain_mail(1))
    assert listed(graph.settings(ca_file=None), graph.tokens, graph) == 1


def test_a_proxy_is_taken_from_the_environment(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    graph.box(ADDRESS, plain_mail(1))
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ConnectFailed):
        listed(graph.settings(), Signed(graph), graph)
    assert graph.server.requests == []
