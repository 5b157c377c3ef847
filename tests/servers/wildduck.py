"""WildDuck's IMAP and POP3 servers (1.46, from npm), on accounts in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.servers.accounts import Account
from tests.servers.certificates import Ca
from tests.servers.dovecot import free_ports
from tests.servers.peer import Peer

PASSWORD = "wildduck-pw"


class WildDuck:
    """A running WildDuck: IMAP and POP3, with and without TLS."""

    def __init__(self, ca: Ca) -> None:
        self.peer = Peer("wildduck", ca)
        self.ports = free_ports(4)
        self.peer.start(*self.ports, self.peer.certificate, self.peer.key, PASSWORD)
        self._numbers = itertools.count(1)

    def account(self, *, move: bool = True) -> Account:
        """Return an account that no test has had before, empty; without `move`, MOVE is advertised and refused."""
        imap, imaps, pop3, pop3s = self.ports
        name = f"{'u' if move else 'nomove'}{next(self._numbers)}"
        return Account(name, PASSWORD, self.peer.ca_file, imap, imaps, pop3, pop3s)


@pytest.fixture(scope="session")
def wildduck(ca: Ca) -> Iterator[WildDuck]:
    """The WildDuck that the tests of a worker share."""
    server = WildDuck(ca)
    yield server
    server.peer.stop()
