"""An HTTP server that answers as it is told: what storage services answer on their bad days."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.servers.azurite import KEY
from tests.servers.http import AnyMethod, serving


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Answers = Callable[[str, str], Answer]
"""From a request's method and path."""


@contextmanager
def answering(answers: Answer | Answers) -> Iterator[str]:
    """A server while the context lasts; gives an account's connection string."""
    choose: Answers = answers if callable(answers) else lambda _method, _path: answers

    class Handler(AnyMethod):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = choose(self.command, self.path)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

    with serving(Handler) as port:
        yield account_at(port)


def account_at(port: int) -> str:
    """A connection string for a server of this machine."""
    return f"AccountName=some;AccountKey={KEY};{endpoints_at(port)}"


def endpoints_at(port: int) -> str:
    """The part of it that says where."""
    url = f"http://127.0.0.1:{port}/some"
    return f"BlobEndpoint={url};QueueEndpoint={url};TableEndpoint={url}"
