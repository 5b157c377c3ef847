"""An HTTP server with given responses, such as the errors of storage services."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.servers.azurite import KEY
from tests.servers.http import AnyMethod, serving


@dataclass(frozen=True, slots=True)
class Answer:
    """A response to send."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Responder = Callable[[str, str], Answer]
"""Returns the response to a request's method and path."""


@contextmanager
def answering(responses: Answer | Responder) -> Iterator[str]:
    """Run a server within the context, and yield the connection string of an account on it."""
    respond: Responder = responses if callable(responses) else lambda _method, _path: responses

    class Handler(AnyMethod):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = respond(self.command, self.path)
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

    with serving(Handler) as port:
        yield account_at(port)


def account_at(port: int) -> str:
    """Return the connection string of an account on a port of this machine."""
    return f"AccountName=some;AccountKey={KEY};{endpoints_at(port)}"


def endpoints_at(port: int) -> str:
    """Return the endpoints in the connection string of an account."""
    url = f"http://127.0.0.1:{port}/some"
    return f"BlobEndpoint={url};QueueEndpoint={url};TableEndpoint={url}"
