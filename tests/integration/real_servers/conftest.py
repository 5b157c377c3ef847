"""The servers of the scenarios."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.real_servers.mailbox_fixture import MailboxFixture
from tests.servers.accounts import Account
from tests.servers.courier import Courier
from tests.servers.cyrus import Cyrus
from tests.servers.dovecot import Dovecot, User
from tests.servers.hoodiecrow import Hoodiecrow
from tests.servers.mailutils import Mailutils
from tests.servers.wildduck import WildDuck

IMAP_SERVERS = ("dovecot", "courier", "cyrus", "mailutils", "wildduck", "hoodiecrow")
POP3_SERVERS = ("dovecot", "courier", "mailutils", "wildduck")
PREFIXES = {"courier": "INBOX.", "cyrus": "INBOX/"}
"""Prefix of the names of all folders but INBOX, on servers with one namespace below INBOX."""

MakeMailbox = Callable[..., MailboxFixture]


@dataclass(frozen=True)
class Server:
    """A running server of any kind.

    Attributes:
        name: its fixture's name.
        new_account: returns an account that no test has had before.
    """

    name: str
    new_account: Callable[[], Account]

    def folder(self, *names: str) -> str:
        """Return the name by which the server knows a folder."""
        prefix = PREFIXES.get(self.name, "")
        return prefix + ("." if self.name == "courier" else "/").join(names)


def open_server(running: object, name: str) -> Server:
    """Return a server's fixture as a `Server`."""
    match running:
        case Courier() | Cyrus() | Mailutils():
            return Server(name, running.account)
        case WildDuck() | Hoodiecrow():
            return Server(name, running.account)
        case Dovecot():
            return Server(name, lambda: dovecot_user(running)[1])
    raise AssertionError(running)


def dovecot_user(dovecot: Dovecot) -> tuple[User, Account]:
    """Return a new user of Dovecot, and the user's account."""
    user = dovecot.user()
    ports = (dovecot.imap, dovecot.imaps, dovecot.pop3, dovecot.pop3s)
    return user, Account(user.name, user.password, dovecot.ca_file, *ports)


@pytest.fixture(params=IMAP_SERVERS)
def imap_server(request: pytest.FixtureRequest) -> Server:
    """Return each IMAP server."""
    return open_server(request.getfixturevalue(request.param), request.param)


@pytest.fixture(params=POP3_SERVERS)
def pop3_server(request: pytest.FixtureRequest) -> Server:
    """Return each POP3 server."""
    return open_server(request.getfixturevalue(request.param), request.param)


@pytest.fixture
def imap_account(imap_server: Server) -> Account:
    """Return a new account on each IMAP server."""
    return imap_server.new_account()


@pytest.fixture
def pop3_account(pop3_server: Server) -> Account:
    """Return a new account on each POP3 server."""
    return pop3_server.new_account()


@pytest.fixture
def make_mailbox(tmp_path: Path) -> Iterator[MakeMailbox]:
    """Make the mailbox of an account, with a storage: `make_mailbox(account, "imap", AFTER="keep")`."""
    made: list[MailboxFixture] = []

    def make(account: Account, protocol: str, **values: str) -> MailboxFixture:
        made.append(MailboxFixture(tmp_path / str(len(made)), account, protocol, **values))
        return made[-1]

    yield make
    for mailbox in made:
        mailbox.stores.close()
