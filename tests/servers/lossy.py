"""A proxy to a storage that loses replies: it forwards a request, and does not send the response."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.servers.azurite import KEY, Azurite
from tests.servers.http import AnyMethod, serving


class ReplyLoss:
    """Decides which replies are lost.

    Attributes:
        lose: the number of replies to lose from now on. Only replies to requests with side effects count.
        lost: the number of lost replies.
    """

    def __init__(self) -> None:
        self.lose = 0
        self.lost = 0
        self._lock = threading.Lock()

    def loses(self, method: str) -> bool:
        """Return whether to lose the reply to a request."""
        with self._lock:
            if self.lose == 0 or method in {"GET", "HEAD"}:
                return False
            self.lose -= 1
            self.lost += 1
            return True


@contextmanager
def lossy(azurite: Azurite, account: str) -> Iterator[tuple[str, ReplyLoss]]:
    """Run a proxy, and yield the connection string of an account through it."""
    loss = ReplyLoss()
    with ExitStack() as stack:
        ports = [stack.enter_context(_proxy(port, loss)) for port in (azurite.blob, azurite.queue, azurite.table)]
        blob, queue, table = (f"http://127.0.0.1:{port}/{account}" for port in ports)
        yield (
            f"AccountName={account};AccountKey={KEY};BlobEndpoint={blob};QueueEndpoint={queue};TableEndpoint={table}",
            loss,
        )


@contextmanager
def _proxy(port: int, loss: ReplyLoss) -> Iterator[int]:
    class Handler(AnyMethod):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            upstream = http.client.HTTPConnection("127.0.0.1", port)
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            response = upstream.getresponse()
            content = response.read()
            upstream.close()
            if loss.loses(self.command):
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in {"transfer-encoding", "content-length", "connection", "keep-alive"}:
                    self.send_header(name, value)
            length = response.headers.get("Content-Length", 0) if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

    with serving(Handler) as proxy_port:
        yield proxy_port
