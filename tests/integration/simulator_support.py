"""Support for the simulator's tests: a running simulator, a plain HTTP client and a receiver of notifications."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from graph_simulator import App, FaultPlan, GraphSimulator, Mailbox
from tests.servers.certificates import Ca
from tests.servers.http import AnyMethod, serving

ADDRESS = "support@example.com"
IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}
SIZED = "singleValueExtendedProperties($filter=id eq 'Long 0x0E08')"


def letter(number: int = 1) -> bytes:
    """Return a small message."""
    return b"From: Ann <ann@example.org>\r\nTo: support@example.com\r\nSubject: No. %d\r\n\r\nHello\r\n" % number


@dataclass
class SimulatorFixture:
    """A simulator with one app and one mailbox, and an HTTP client."""

    graph: GraphSimulator
    app: App
    box: Mailbox
    client: httpx.Client

    @property
    def messages(self) -> str:
        """The path of the inbox's messages."""
        return f"/users/{ADDRESS}/mailFolders/inbox/messages"

    def message(self, message_id: str, rest: str = "") -> str:
        """Return the path of a message."""
        return f"/users/{ADDRESS}/messages/{message_id}{rest}"

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """Send a request with a valid token and immutable ids, unless the headers say otherwise."""
        signed = {"Authorization": f"Bearer {self.graph.token(self.app)}", **IMMUTABLE}
        url = path if path.startswith("https:") else self.graph.endpoint + path
        return self.client.request(method, url, headers={**signed, **(headers or {})}, **more)

    def get(self, path: str, options: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """Send a GET request."""
        return self.ask("GET", path, params=options, **more)

    def listed(self, options: dict[str, str] | None = None, **more: Any) -> list[dict[str, Any]]:
        """Return the first page of the inbox."""
        answer = self.get(self.messages, options, **more)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["value"])

    def subscribe(self, url: str, **changes: Any) -> httpx.Response:
        """Subscribe to the inbox; a change to None omits a property."""
        body = {
            "changeType": "created",
            "notificationUrl": url,
            "lifecycleNotificationUrl": url,
            "resource": f"users/{ADDRESS}/mailFolders('inbox')/messages",
            "expirationDateTime": from_now(minutes=100),
            "clientState": "secret",
            **changes,
        }
        return self.ask("POST", "/subscriptions", json={name: value for name, value in body.items() if value})


def from_now(**delta: float) -> str:
    """Return a time relative to now in Graph's format."""
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


def assert_refused(answer: httpx.Response, status: int, code: str, text: str = "") -> None:
    """Assert that a response is an error in Graph's format."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert text in error["message"]
    assert error["innerError"].keys() == {"date", "request-id", "client-request-id"}


@contextmanager
def running_simulator(
    ca: Ca, folder: Path, fault_plan: FaultPlan | None = None, **more: Any
) -> Iterator[SimulatorFixture]:
    """Run a simulator while the context lasts."""
    certificate, key = ca.server().write(folder, "graph")
    trusting = ssl.create_default_context(cafile=ca.write(folder))
    with (
        GraphSimulator(certificate=certificate, key=key, fault_plan=fault_plan or FaultPlan(), **more) as graph,
        httpx.Client(verify=trusting, trust_env=False, timeout=20) as client,
    ):
        yield SimulatorFixture(graph, graph.register(), graph.mailbox(ADDRESS), client)


@dataclass
class Receiver:
    """A receiver of notifications.

    Attributes:
        url: its URL, which has a query.
        statuses: statuses of the next responses to notifications; then 202.
        validation: replaces the response to a validation: (status, content type, body) from the token.
        tokens: validation tokens received.
        requests: the entries of each request with notifications.
    """

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    validation: Any = None
    tokens: list[str] = field(default_factory=list)
    requests: list[list[dict[str, Any]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """All entries received."""
        return [entry for request in self.requests for entry in request]

    def answer(self, options: dict[str, list[str]], body: bytes) -> tuple[int, str, bytes]:
        """Return the response: status, content type, body."""
        assert options["code"] == ["a b"]
        with self.lock:
            if "validationToken" in options:
                token = options["validationToken"][0]
                self.tokens.append(token)
                response = self.validation(token) if self.validation else (200, "text/plain; charset=utf-8", token)
                return response[0], response[1], response[2].encode()
            self.requests.append(json.loads(body)["value"])
            return (self.statuses.pop(0) if self.statuses else 202), "text/plain", b""


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Run a receiver on loopback while the context lasts."""
    receiver = Receiver()

    class Handler(AnyMethod):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, kind, answer = receiver.answer(parse_qs(urlsplit(self.path).query), body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    with serving(Handler) as port:
        receiver.url = f"http://127.0.0.1:{port}/api/graph?code=a%20b"
        yield receiver
