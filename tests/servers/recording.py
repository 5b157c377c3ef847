"""An HTTP server that records the requests it receives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers.http import AnyMethod, serving


class Received:
    """What a server received: each request as text with its body, and the number of connections."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, list[tuple[str, str]], bytes]] = []
        self.connections = 0
        self.lock = threading.Lock()


@contextmanager
def recording(*, headers: dict[str, str] | None = None) -> Iterator[tuple[int, Received]]:
    """Run a server that answers 201 and records the requests, and yield its port."""
    received = Received()

    class Handler(AnyMethod):
        def setup(self) -> None:
            super().setup()
            with received.lock:
                received.connections += 1

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with received.lock:
                received.requests.append((self.requestline, sorted(self.headers.items()), body))
            self.send_response(201)
            for name, value in {**(headers or {}), "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

    with serving(Handler) as port:
        yield port, received
