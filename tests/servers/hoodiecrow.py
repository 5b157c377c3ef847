"""hoodiecrow (2.1, from npm): an IMAP server for tests of clients, with mail in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.accounts import Account
from tests.servers.certificates import Ca
from tests.servers.dovecot import free_ports
from tests.servers.node_server import NodeServer

NAME, PASSWORD = "u1", "hoodiecrow-pw"


class Hoodiecrow:
    """A running Node process, with one hoodiecrow for each account."""

    def __init__(self, ca: Ca) -> None:
        self.node = NodeServer("hoodiecrow", ca)
        self.node.start(self.node.certificate, self.node.key, NAME, PASSWORD)

    def account(self) -> Account:
        """Start a server with one empty account, and return the account."""
        (port,) = free_ports(1)
        self.node.ask(str(port))
        return Account(NAME, PASSWORD, self.node.ca_file, port)


@pytest.fixture(scope="session")
def hoodiecrow(ca: Ca) -> Iterator[Hoodiecrow]:
    """Yield the hoodiecrow process that the tests of a worker share."""
    server = Hoodiecrow(ca)
    yield server
    server.node.stop()
