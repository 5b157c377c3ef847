"""What the stand-in's own tests stand on: a running one, a client that hides nothing, a receiver of notifications."""

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
    """A small message."""
    return b"From: Ann <ann@example.org>\r\nTo: support@example.com\r\nSubject: No. %d\r\n\r\nHello\r\n" % number


@dataclass
class Place:
    """A stand-in with one app and one mailbox, and a client of that app."""

    graph: GraphSimulator
    app: App
    box: Mailbox
    client: httpx.Client

    @property
    def messages(self) -> str:
        """Where the inbox is listed."""
        return f"/users/{ADDRESS}/mailFolders/inbox/messages"

    def message(self, message_id: str, rest: str = "") -> str:
        """Where a message is."""
        return f"/users/{ADDRESS}/messages/{message_id}{rest}"

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """Ask Graph something, with a good token and immutable ids unless the headers say otherwise."""
        signed = {"Authorization": f"Bearer {self.graph.token(self.app)}", **IMMUTABLE}
        url = path if path.startswith("https:") else self.graph.endpoint + path
        return self.client.request(method, url, headers={**signed, **(headers or {})}, **more)

    def get(self, path: str, options: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """GET."""
        return self.ask("GET", path, params=options, **more)

    def listed(self, options: dict[str, str] | None = None, **more: Any) -> list[dict[str, Any]]:
        """The first page of the inbox."""
        answer = self.get(self.messages, options, **more)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["value"])

    def subscribe(self, url: str, **changes: Any) -> httpx.Response:
        """Ask for a subscription to the inbox; a change to None leaves a property out."""
        body = {
            "changeType": "created",
            "notificationUrl": url,
            "lifecycleNotificationUrl": url,
            "resource": f"users/{ADDRESS}/mailFolders('inbox')/messages",
            "expirationDateTime": soon(minutes=100),
            "clientState": "secret",
            **changes,
        }
        return self.ask("POST", "/subscriptions", json={name: value for name, value in body.items() if value})


def soon(**ahead: float) -> str:
    """A time from now, as Graph takes it."""
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


def refused(answer: httpx.Response, status: int, code: str, words: str = "") -> None:
    """Check that an answer is a refusal in Graph's shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert words in error["message"]
    assert error["innerError"].keys() == {"date", "request-id", "client-request-id"}


@contextmanager
def standing(ca: Ca, folder: Path, trouble: FaultPlan | None = None, **more: Any) -> Iterator[Place]:
    """A running stand-in for as long as the context lasts."""
    certificate, key = ca.server().write(folder, "graph")
    trusting = ssl.create_default_context(cafile=ca.write(folder))
    with (
        GraphSimulator(certificate=certificate, key=key, trouble=trouble or FaultPlan(), **more) as graph,
        httpx.Client(verify=trusting, trust_env=False, timeout=20) as client,
    ):
        yield Place(graph, graph.register(), graph.mailbox(ADDRESS), client)


@dataclass
class Receiver:
    """What a receiver of notifications got and how it answers.

    Attributes:
        url: where it listens, with an option of its own.
        statuses: what to answer to notifications next; then 202.
        validation: changes the answer to a validation: (status, content type, body) from the token.
        tokens: validation tokens so far.
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
        """All entries so far."""
        return [entry for request in self.requests for entry in request]

    def answer(self, options: dict[str, list[str]], body: bytes) -> tuple[int, str, bytes]:
        """What to answer: status, content type, body."""
        assert options["code"] == ["a b"]
        with self.lock:
            if "validationToken" in options:
                token = options["validationToken"][0]
                self.tokens.append(token)
                found = self.validation(token) if self.validation else (200, "text/plain; charset=utf-8", token)
                return found[0], found[1], found[2].encode()
            self.requests.append(json.loads(body)["value"])
            return (self.statuses.pop(0) if self.statuses else 202), "text/plain", b""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on loopback for as long as the context lasts."""
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
