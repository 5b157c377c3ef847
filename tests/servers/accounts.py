"""A test's account on a mail server other than Dovecot, and an independent client: Python's own."""

from __future__ import annotations

import base64
import imaplib
import poplib
import re
import socket
import ssl
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from shared.config import After, MailboxSettings, MailProtocol, SignIn, Tls

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Account:
    """An account that no other test uses.

    Attributes:
        name: the login name.
        password: its password.
        ca_file: the CA that issued the server's certificate.
        imap, imaps, pop3, pop3s: ports on this machine; 0: the server lacks the protocol. The ports without TLS offer
            STARTTLS or STLS if the server supports it.
    """

    name: str
    password: str
    ca_file: Path
    imap: int = 0
    imaps: int = 0
    pop3: int = 0
    pop3s: int = 0

    def imap_settings(self, **changes: Any) -> MailboxSettings:
        """Return settings for the account over IMAP, without TLS unless `changes` say otherwise."""
        fields: dict[str, Any] = {
            "name": "support",
            "protocol": MailProtocol.IMAP,
            "address": "support@example.com",
            "host": "localhost",
            "port": self.imap,
            "tls": Tls.NONE,
            "ca_file": self.ca_file,
            "sign_in": SignIn.PASSWORD,
            "username": self.name,
            "password": SecretStr(self.password),
            "folders": ("INBOX",),
            "after": After.DELETE,
        }
        return MailboxSettings(**(fields | changes))

    def pop3_settings(self, **changes: Any) -> MailboxSettings:
        """Return settings for the account over POP3, without TLS unless `changes` say otherwise."""
        return self.imap_settings(**({"protocol": MailProtocol.POP3, "port": self.pop3} | changes))

    @contextmanager
    def client(self, folder: str | None = None, *, readonly: bool = False) -> Iterator[imaplib.IMAP4]:
        """Sign in with Python's IMAP client, and open a folder if one is named."""
        client = imaplib.IMAP4("127.0.0.1", self.imap, timeout=20)
        # APPEND writes three times before it reads. With Nagle's algorithm it would wait 40 ms for the server's ACK.
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            succeed(client.login(self.name, self.password))
            if folder is not None:
                succeed(client.select(quoted(folder), readonly=readonly))
            yield client
        finally:
            client.logout()

    def deliver(self, mails: Iterable[bytes], *, folder: str = "INBOX", flags: str = "") -> None:
        """Append messages to a folder."""
        with self.client() as client:
            for mail in mails:
                succeed(client.append(quoted(folder), flags, "", mail))

    def read(self, folder: str = "INBOX") -> list[bytes]:
        """Return a folder's messages, oldest first."""
        return [part[1] for part in self._fetch(folder, "(BODY.PEEK[])") if isinstance(part, tuple)]

    def flags(self, folder: str = "INBOX") -> list[set[str]]:
        """Return the flags of a folder's messages, oldest first, without \\Recent."""
        lines = [line.decode() for line in self._fetch(folder, "(FLAGS)") if isinstance(line, bytes)]
        return [set(re.findall(r"[\\\w$]+", line.partition("FLAGS (")[2])) - {"\\Recent"} for line in lines]

    def _fetch(self, folder: str, items: str) -> Sequence[Any]:
        with self.client() as client:
            (count,) = succeed(client.select(quoted(folder), readonly=True))
            return succeed(client.fetch("1:*", items)) if int(count) else []

    def create(self, folder: str) -> None:
        """Create a folder."""
        with self.client() as client:
            succeed(client.create(quoted(folder)))

    @contextmanager
    def pop3_client(self) -> Iterator[poplib.POP3]:
        """Sign in with Python's POP3 client."""
        # Mail may have longer lines than the 2,048 bytes that poplib accepts.
        poplib._MAXLINE = 1_000_000  # type: ignore[attr-defined]
        client = poplib.POP3("127.0.0.1", self.pop3, timeout=20)
        try:
            if "UTF8" in client.capa():
                # Courier sends 8-bit header fields only after UTF8 (RFC 6856 section 2).
                client.utf8()
            client.user(self.name)
            client.pass_(self.password)
            yield client
            client.quit()
        finally:
            client.close()

    def read_pop3(self) -> list[bytes]:
        """Return the messages that POP3 lists."""
        with self.pop3_client() as client:
            return [b"\r\n".join([*client.retr(n + 1)[1], b""]) for n in range(client.stat()[0])]


def succeed(response: tuple[str, Sequence[Any]]) -> Sequence[Any]:
    """Return the data of a response; raise AssertionError unless its status is OK."""
    status, data = response
    assert status == "OK", response
    return data


def quoted(folder: str) -> str:
    """Return a folder's name as a quoted string in modified UTF-7 (RFC 3501 section 5.1.3)."""

    def encode(match: re.Match[str]) -> str:
        if match[0] == "&":
            return "&-"
        return "&" + base64.b64encode(match[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",") + "-"

    return '"' + re.sub(r"&|[^\x20-\x7e]+", encode, folder) + '"'


def trusting(ca_file: Path) -> ssl.SSLContext:
    """Return a TLS context for clients that trusts a CA."""
    return ssl.create_default_context(cafile=str(ca_file))
