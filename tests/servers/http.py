"""An HTTP server on the loopback interface, with one handler for all methods and without a log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class AnyMethod(BaseHTTPRequestHandler):
    """A handler that passes all requests to `answer`, regardless of the method."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Respond to a request."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[AnyMethod]) -> Iterator[int]:
    """Serve within the context, and yield the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
