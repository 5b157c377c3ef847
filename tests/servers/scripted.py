"""Servers with real sockets and scripted behaviour: unusual responses, stalls, disconnections.

`Scripted` runs a function for each connection. `ScriptedPop3` is a small POP3 server that calls a hook first.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, number: int, over: threading.Event) -> None:
        self.connection = connection
        self.number = number
        self._over = over
        self._stream = connection.makefile("rb")

    def line(self) -> bytes:
        """Return the next line of the client without its line end; raise EOFError at the end of the input."""
        line = self._stream.readline()
        if not line:
            raise EOFError
        return line.rstrip(b"\r\n")

    def send(self, *lines: bytes) -> None:
        """Send lines, each with CRLF."""
        self.raw(b"".join(line + b"\r\n" for line in lines))

    def raw(self, data: bytes) -> None:
        self.connection.sendall(data)

    def body(self, data: bytes) -> None:
        """Send a dot-stuffed message and the final dot."""
        self.raw((b"\r\n" + data).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")

    def cut(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        raise EOFError

    def stall(self) -> None:
        """Send nothing more until the server is closed."""
        self._over.wait(30)
        raise EOFError

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self._stream = self.connection.makefile("rb")

    def close(self) -> None:
        with suppress(OSError):
            self._stream.close()
            self.connection.close()


class Scripted:
    """A server on a free port of this machine.

    Attributes:
        port: the port.
        connections: the number of connections so far.
        failure: an error in the script itself, if one occurred.
    """

    host = "127.0.0.1"

    def __init__(self, script: Callable[[Peer], None], *, context: ssl.SSLContext | None = None) -> None:
        """Start the server.

        Args:
            script: called for each connection, in a separate thread; EOFError ends it.
            context: the context for implicit TLS; None: no TLS.
        """
        self._script = script
        self._context = context
        self._over = threading.Event()
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.failure: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._peers: list[Peer] = []
        self._start(self._accept)

    def close(self) -> None:
        """Stop the server, and raise an error that occurred in the script."""
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            with suppress(OSError):
                peer.connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        if self.failure is not None:
            raise self.failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._start(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        peer: Peer | None = None
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            peer = Peer(connection, number, self._over)
            self._peers.append(peer)
            self._script(peer)
        except (EOFError, OSError):
            pass
        except BaseException as error:  # noqa: BLE001  `close` raises it in the test's thread
            self.failure = error
        finally:
            if peer is not None:
                peer.close()
            connection.close()


Hook = Callable[[Peer, bytes], bool]
"""Called with the connection and a command; returns whether it responded in place of the server."""


class ScriptedPop3(Scripted):
    """A POP3 server whose messages are in memory.

    Attributes:
        messages: UIDL and bytes, in order, without the messages whose deletion was committed.
        commands: the commands of all connections.
        capabilities: the response to CAPA.
        greeting: the greeting.
    """

    def __init__(
        self,
        messages: Sequence[tuple[str, bytes]] = (),
        hook: Hook | None = None,
        *,
        capabilities: Sequence[bytes] = (b"USER", b"UIDL", b"TOP", b"PIPELINING", b"RESP-CODES", b"SASL PLAIN XOAUTH2"),
        greeting: bytes = b"+OK ready",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.messages = list(messages)
        self.commands: list[bytes] = []
        self.capabilities = list(capabilities)
        self.greeting = greeting
        self._hook = hook
        super().__init__(self._converse, context=context)

    def _converse(self, peer: Peer) -> None:
        peer.send(self.greeting)
        available = list(self.messages)
        deleted: set[int] = set()
        while True:
            command = peer.line()
            self.commands.append(command)
            if self._hook is not None and self._hook(peer, command):
                continue
            name, *arguments = command.upper().split() or [b""]
            number = int(arguments[0]) if arguments and arguments[0].isdigit() else 0
            if name == b"QUIT":
                self.messages = [m for m in self.messages if m not in [available[n - 1] for n in deleted]]
                peer.send(b"+OK bye")
                peer.cut()
            elif name == b"DELE":
                deleted.add(number)
                peer.send(b"+OK deleted")
            elif name in (b"RETR", b"TOP"):
                data = available[number - 1][1]
                peer.send(b"+OK")
                peer.body(data if name == b"RETR" else data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
            else:
                peer.send(*self._plain(name, [(n, *m) for n, m in enumerate(available, 1) if n not in deleted]))

    def _plain(self, name: bytes, remaining: list[tuple[int, str, bytes]]) -> list[bytes]:
        if name == b"CAPA":
            return [b"+OK", *self.capabilities, b"."]
        if name == b"UIDL":
            return [b"+OK", *(b"%d %s" % (n, key.encode()) for n, key, _ in remaining), b"."]
        if name == b"LIST":
            return [b"+OK", *(b"%d %d" % (n, len(data)) for n, _, data in remaining), b"."]
        if name in (b"USER", b"PASS", b"STAT", b"NOOP", b"RSET"):
            return [b"+OK"]
        return [b"-ERR what?"]


def answers(**responses: bytes) -> Hook:
    """Return a hook with responses to commands by name: `PASS=b"-ERR no"`."""

    def hook(peer: Peer, command: bytes) -> bool:
        name = command.split(b" ")[0].decode().upper()
        if name in responses:
            peer.send(responses[name])
        return name in responses

    return hook


def on(command: bytes, action: Callable[[Peer], object]) -> Hook:
    """Return a hook that calls a function in place of the response to a command."""

    def hook(peer: Peer, received: bytes) -> bool:
        if received == command:
            action(peer)
        return received == command

    return hook
