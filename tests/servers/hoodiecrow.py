"""hoodiecrow (2.1, from npm): an IMAP server for tests of clients, which keeps its mail in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.accounts import Account
from tests.servers.certificates import Ca
from tests.servers.dovecot import free_ports
from tests.servers.peer import Peer

NAME, PASSWORD = "u1", "hoodiecrow-pw"


class Hoodiecrow:
    """A running process with one hoodiecrow an account."""

    def __init__(self, ca: Ca) -> None:
        self.peer = Peer("hoodiecrow", ca)
        self.peer.start(self.peer.certificate, self.peer.key, NAME, PASSWORD)

    def account(self) -> Account:
        """Start a server with one account, empty."""
        (port,) = free_ports(1)
        self.peer.ask(str(port))
        return Account(NAME, PASSWORD, self.peer.ca_file, port)


@pytest.fixture(scope="session")
def hoodiecrow(ca: Ca) -> Iterator[Hoodiecrow]:
    """The hoodiecrow that the tests of a worker share."""
    server = Hoodiecrow(ca)
    yield server
    server.peer.stop()
