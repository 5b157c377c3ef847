"""A Graph simulator for one test, and settings for mailboxes on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from graph_simulator import App, FaultPlan, GraphSimulator, Mailbox
from shared.config import MailboxSettings, MailProtocol, SignIn, Tls
from shared.mailboxes.graph.endpoint import GraphEndpoint
from shared.mailboxes.graph.mailbox import GraphMailbox
from shared.mailboxes.oauth.token_cache import TokenCache
from tests.servers.certificates import Ca, Pair
from tests.servers.settings import mailbox_settings

STATE_KEY = "0123456789abcdef0123456789abcdef"


@dataclass
class Graph:
    """A running simulator with one app registration.

    Attributes:
        server: the simulator.
        app: an app that may read and write every mailbox.
        ca_file: PEM file of the CA that issued the simulator's certificate.
    """

    server: GraphSimulator
    app: App
    ca_file: Path

    @property
    def fault_plan(self) -> FaultPlan:
        return self.server.fault_plan

    @property
    def tokens(self) -> TokenCache:
        return TokenCache(self.server.url, self.server.endpoint)

    def box(self, address: str = "support@example.com", *messages: bytes) -> Mailbox:
        """Return a mailbox with messages in its inbox."""
        box = self.server.mailbox(address)
        for message in messages:
            box.deliver(message)
        return box

    def settings(self, **changes: Any) -> MailboxSettings:
        """Return the settings of a mailbox that signs in with the app's secret."""
        fields: dict[str, Any] = {
            "protocol": MailProtocol.GRAPH,
            "port": int(self.server.url.rpartition(":")[2]),
            "tls": Tls.IMPLICIT,
            "password": None,
            "sign_in": SignIn.CLIENT_SECRET,
            "tenant_id": self.server.tenant,
            "client_id": self.app.client_id,
            "client_secret": SecretStr(self.app.secret),
            "ca_file": self.ca_file,
        }
        return mailbox_settings(**(fields | changes))

    def open(self, *, tokens: TokenCache | None = None, patience: float = 20, **changes: Any) -> GraphMailbox:
        """Open a session with a mailbox."""
        endpoint = GraphEndpoint(self.server.endpoint, patience)
        return GraphMailbox(self.settings(**changes), tokens or self.tokens, endpoint)

    def values(self, **mailboxes: str) -> dict[str, str]:
        """Return app settings for mailboxes by name and address."""
        values = {
            "SIGN_IN_AUTHORITY": self.server.url,
            "GRAPH_ENDPOINT": self.server.endpoint,
            "POLL_SCHEDULE": "0 * * * * *",
        }
        for name, address in mailboxes.items():
            mailbox_values = {
                "PROTOCOL": "graph",
                "ADDRESS": address,
                "TENANT_ID": self.server.tenant,
                "CLIENT_ID": self.app.client_id,
                "CLIENT_SECRET": self.app.secret,
                "CA_FILE": str(self.ca_file),
            }
            values |= {f"MAILBOXES__{name}__{key}": value for key, value in mailbox_values.items()}
        return values

    def request_lines(self, method: str = "", suffix: str = "") -> list[str]:
        """Return the recorded requests as `METHOD path`, optionally of one method or with one path suffix."""
        return [
            f"{request.method} {request.path}"
            for request in self.server.requests
            if request.method.startswith(method) and request.path.endswith(suffix)
        ]


@pytest.fixture
def graphs(ca: Ca, tmp_path: Path) -> Iterator[Callable[..., Graph]]:
    """Start Graph simulators; `pair` replaces the certificate of the test run."""
    running: list[GraphSimulator] = []

    def start(*, pair: Pair | None = None, **options: Any) -> Graph:
        folder = tmp_path / f"graph-{len(running)}"
        certificate, key = (pair or ca.server()).write(folder, "graph")
        server = GraphSimulator(certificate=certificate, key=key, **options)
        running.append(server)
        return Graph(server, server.register(), ca.write(folder))

    yield start
    for server in running:
        server.close()


@pytest.fixture
def graph(graphs: Callable[..., Graph]) -> Graph:
    """A simulator without faults."""
    return graphs()
