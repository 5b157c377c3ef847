"""A way to a storage on which replies get lost: the request is carried out, and its sender hears nothing."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.servers.azurite import KEY, Azurite
from tests.servers.http import AnyMethod, serving


class Way:
    """Says when a reply is to be lost.

    Attributes:
        lose: how many of the next replies to requests that change something are lost.
        lost: how many were.
    """

    def __init__(self) -> None:
        self.lose = 0
        self.lost = 0
        self._lock = threading.Lock()

    def loses(self, method: str) -> bool:
        """Whether this one is lost."""
        with self._lock:
            if self.lose == 0 or method in {"GET", "HEAD"}:
                return False
            self.lose -= 1
            self.lost += 1
            return True


@contextmanager
def lossy(azurite: Azurite, account: str) -> Iterator[tuple[str, Way]]:
    """An account's connection string by such a way."""
    way = Way()
    with ExitStack() as stack:
        ports = [stack.enter_context(_between(port, way)) for port in (azurite.blob, azurite.queue, azurite.table)]
        blob, queue, table = (f"http://127.0.0.1:{port}/{account}" for port in ports)
        yield (
            f"AccountName={account};AccountKey={KEY};BlobEndpoint={blob};QueueEndpoint={queue};TableEndpoint={table}",
            way,
        )


@contextmanager
def _between(port: int, way: Way) -> Iterator[int]:
    class Handler(AnyMethod):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            there = http.client.HTTPConnection("127.0.0.1", port)
            there.request(self.command, self.path, body, dict(self.headers.items()))
            answer = there.getresponse()
            content = answer.read()
            there.close()
            if way.loses(self.command):
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "content-length", "connection", "keep-alive"}:
                    self.send_header(name, value)
            length = answer.headers.get("Content-Length", 0) if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

    with serving(Handler) as listening:
        yield listening
