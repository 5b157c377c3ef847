"""WildDuck's IMAP and POP3 servers (1.46, from npm), with accounts in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.servers.accounts import Account
from tests.servers.certificates import Ca
from tests.servers.dovecot import free_ports
from tests.servers.node_server import NodeServer

PASSWORD = "wildduck-pw"


class WildDuck:
    """A running WildDuck: IMAP and POP3, with and without TLS."""

    def __init__(self, ca: Ca) -> None:
        self.node = NodeServer("wildduck", ca)
        self.ports = free_ports(4)
        self.node.start(*self.ports, self.node.certificate, self.node.key, PASSWORD)
        self._numbers = itertools.count(1)

    def account(self, *, move: bool = True) -> Account:
        """Return an empty account that no other test uses; without `move`, the server refuses the advertised MOVE."""
        imap, imaps, pop3, pop3s = self.ports
        name = f"{'u' if move else 'nomove'}{next(self._numbers)}"
        return Account(name, PASSWORD, self.node.ca_file, imap, imaps, pop3, pop3s)


@pytest.fixture(scope="session")
def wildduck(ca: Ca) -> Iterator[WildDuck]:
    """Yield the WildDuck that the tests of a worker share."""
    server = WildDuck(ca)
    yield server
    server.node.stop()
