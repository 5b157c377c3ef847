"""Helpers of the IMAP tests: settings, batches, a drain, and a scripted server."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr

from shared.config import After, MailboxSettings, MailProtocol, SignIn, Tls
from shared.mailboxes.base import FetchResult, ListedMessage
from shared.mailboxes.imap.mailbox import ImapMailbox
from shared.mailboxes.imap.syntax import expand_set
from tests.servers.dovecot import Dovecot, User

LIMIT = 150_000_000


def settings_for(dovecot: Dovecot, user: User, **changes: Any) -> MailboxSettings:
    """Return settings for a Dovecot user: IMAPS and a password, unless `changes` override them."""
    fields: dict[str, Any] = {
        "name": "support",
        "protocol": MailProtocol.IMAP,
        "address": user.address,
        "host": dovecot.host,
        "port": dovecot.imaps,
        "tls": Tls.IMPLICIT,
        "ca_file": dovecot.ca_file,
        "sign_in": SignIn.PASSWORD,
        "username": user.name,
        "password": SecretStr(user.password),
        "folders": ("INBOX",),
        "after": After.DELETE,
    }
    return MailboxSettings(**(fields | changes))


def no_token() -> str:
    raise AssertionError("no token may be requested here")


def in_batches(
    listed: Iterable[ListedMessage], count: int = 100, size: int = 4 * 1024 * 1024
) -> Iterator[list[ListedMessage]]:
    """Split messages into batches like the intake does."""
    batch: list[ListedMessage] = []
    for message in listed:
        if batch and (len(batch) >= count or sum(m.size for m in batch) + message.size > size):
            yield batch
            batch = []
        batch.append(message)
    if batch:
        yield batch


def content_of(fetched: FetchResult) -> bytes | None:
    """Return a result's bytes, and close its content."""
    content = fetched.content
    if content is None:
        return None
    data = content.data.read_bytes() if isinstance(content.data, Path) else content.data
    content.close()
    assert len(data) == content.size
    return data


def fetch_all(mailbox: ImapMailbox, listed: Sequence[ListedMessage], count: int = 100) -> list[bytes | None]:
    return [
        content_of(result) for batch in mailbox.fetch(in_batches(listed, count), max_bytes=LIMIT) for result in batch
    ]


def drain(mailbox: ImapMailbox, folder: str = "INBOX", count: int = 100) -> list[bytes | None]:
    """List, fetch and remove each batch, then commit; return the contents."""
    contents: list[bytes | None] = []
    for batch in mailbox.fetch(in_batches(mailbox.list(folder), count), max_bytes=LIMIT):
        contents += [content_of(result) for result in batch]
        mailbox.remove([result.listed for result in batch])
    mailbox.commit()
    return contents


Hook = Callable[["Peer", bytes, bytes], bool]
"""Called with the connection, the tag and the command; returns True if it responded in place of the server."""


class Peer:
    """One connection of the scripted server."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.stream = sock.makefile("rb")

    def send(self, *lines: bytes) -> None:
        self.sock.sendall(b"".join(line + b"\r\n" for line in lines))

    def raw(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hang_up(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.stream = self.sock.makefile("rb")


class ScriptedImap:
    """A small IMAP server in a thread, with its messages in a dict and a hook before each response.

    Attributes:
        messages: UID to bytes.
        deleted: UIDs that carry the flag.
        commands: everything that was sent to it, without tags.
        connections: number of connections so far.
    """

    def __init__(
        self,
        messages: dict[int, bytes] | None = None,
        hook: Hook | None = None,
        *,
        greeting: bytes = b"* OK hello",
        capabilities: bytes = b"IMAP4rev1 UIDPLUS MOVE",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.messages = dict(messages or {})
        self.deleted: set[int] = set()
        self.commands: list[bytes] = []
        self.connections = 0
        self.uidvalidity = b"* OK [UIDVALIDITY 7] ok"
        self.opened = b"[READ-WRITE]"
        self.capabilities = capabilities
        self._hook = hook
        self._greeting = greeting
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._peers: list[Peer] = []
        self._threads[0].start()

    def settings(self, **changes: Any) -> MailboxSettings:
        fields: dict[str, Any] = {
            "name": "support",
            "protocol": MailProtocol.IMAP,
            "address": "support@example.com",
            "host": "localhost",
            "port": self.port,
            "tls": Tls.NONE,
            "sign_in": SignIn.PASSWORD,
            "username": "support",
            "password": SecretStr("s3cret-password"),
        }
        return MailboxSettings(**(fields | changes))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            peer.hang_up()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer = Peer(sock)
                self._peers.append(peer)
                thread = threading.Thread(target=self._serve, args=(peer,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, peer: Peer) -> None:
        with suppress(OSError, ValueError):
            peer.send(self._greeting)
            while line := peer.stream.readline():
                tag, _, command = line.rstrip(b"\r\n").partition(b" ")
                self.commands.append(command)
                if self._hook is None or not self._hook(peer, tag, command):
                    self.answer(peer, tag, command)
        with suppress(OSError):
            peer.sock.close()
        peer.stream.close()

    def answer(self, peer: Peer, tag: bytes, command: bytes) -> None:
        """Respond as a well-behaved server."""
        name = re.match(rb"(?:UID )?\w+", command)
        assert name is not None
        lines = getattr(self, "_" + name[0].decode().lower().replace(" ", "_"))(command, peer, tag)
        if lines is not None:
            peer.send(*lines, tag + b" OK done")

    def body(self, sequence: int, uid: int, part: bytes = b"[]", origin: bytes = b"") -> bytes:
        data = self.messages[uid]
        if origin:
            start, count = map(int, origin.strip(b"<>").split(b"."))
            data, origin = data[start : start + count], b"<%d>" % start
        return b"* %d FETCH (UID %d BODY%b%b {%d}\r\n%b)" % (sequence, uid, part, origin, len(data), data)

    def _uids(self, command: bytes) -> list[int]:
        uid_set = command.split()[2]
        if uid_set == b"*":
            return sorted(self.messages)[-1:]
        if uid_set.endswith(b":*"):
            return [uid for uid in sorted(self.messages) if uid >= int(uid_set[:-2])]
        return [uid for uid in expand_set(uid_set) if uid in self.messages]

    def _capability(self, *_: object) -> list[bytes]:
        return [b"* CAPABILITY " + self.capabilities]

    def _login(self, *_: object) -> list[bytes]:
        return []

    def _list(self, command: bytes, *_: object) -> list[bytes]:
        return [b'* LIST () "/" INBOX']

    def _noop(self, *_: object) -> list[bytes]:
        return []

    def _logout(self, *_: object) -> list[bytes]:
        return [b"* BYE bye"]

    def _starttls(self, _command: bytes, peer: Peer, tag: bytes) -> None:
        peer.send(tag + b" OK go")
        assert self._context is not None
        peer.start_tls(self._context)

    def _select(self, _command: bytes, peer: Peer, tag: bytes) -> None:
        peer.send(b"* %d EXISTS" % len(self.messages), self.uidvalidity, tag + b" OK " + self.opened + b" open")

    _examine = _select

    def _status(self, command: bytes, *_: object) -> list[bytes]:
        return [b"* STATUS " + command.split()[1] + b" (MESSAGES %d)" % len(self.messages)]

    def _uid_fetch(self, command: bytes, *_: object) -> list[bytes]:
        numbers = {uid: n for n, uid in enumerate(sorted(self.messages), 1)}
        selected = [(numbers[uid], uid) for uid in self._uids(command)]
        if b"SIZE" in command:
            return [b"* %d FETCH (UID %d RFC822.SIZE %d)" % (n, u, len(self.messages[u])) for n, u in selected]
        origin = re.search(rb"<[\d.]+>", command)
        return [self.body(n, u, origin=origin[0] if origin else b"") for n, u in selected]

    def _uid_search(self, command: bytes, *_: object) -> list[bytes]:
        uids = sorted(self.deleted) if b"DELETED" in command else self._uids(command[4:])
        return [b"* SEARCH" + b"".join(b" %d" % uid for uid in uids)]

    def _uid_store(self, command: bytes, *_: object) -> list[bytes]:
        uids = set(self._uids(command))
        self.deleted = self.deleted | uids if b"+FLAGS" in command else self.deleted - uids
        return []

    def _uid_expunge(self, command: bytes, *_: object) -> list[bytes]:
        for uid in set(self._uids(command)) & self.deleted:
            del self.messages[uid]
        self.deleted &= set(self.messages)
        return []

    def _expunge(self, *_: object) -> list[bytes]:
        for uid in self.deleted:
            del self.messages[uid]
        self.deleted = set()
        return []


MAILS = {uid: b"Subject: %d\r\n\r\nbody %d\r\n" % (uid, uid) for uid in range(1, 11)}


def opened(server: ScriptedImap, **changes: object) -> ImapMailbox:
    return ImapMailbox(server.settings(**changes), no_token)


def is_fetch(command: bytes) -> bool:
    return b"BODY.PEEK[]" in command


def refuses(answer: bytes, pattern: bytes) -> Callable[[Peer, bytes, bytes], bool]:
    """Return a hook with one response to matching commands."""

    def hook(peer: Peer, tag: bytes, command: bytes) -> bool:
        if not re.search(pattern, command):
            return False
        peer.send(tag + b" " + answer)
        return True

    return hook
