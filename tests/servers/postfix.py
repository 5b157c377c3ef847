"""Postfix (Debian 12: 3.7), which delivers into Maildirs and writes X-Original-To and Delivered-To (virtual(8)).

Each test has a separate domain, `uN.example`. There `production@` has the mailbox and `sales@` is its virtual alias;
mail for `uN@forward.example` is forwarded to `production@` by local(8), as a `.forward` file has it.
"""

from __future__ import annotations

import itertools
import smtplib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.chroot import MAIL_UID, Chroot, listening
from tests.servers.dovecot import free_ports

SENDER = "colleague@example.net"
USERS = 100
QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace")
MAIN = f"""\
compatibility_level = 3.6
myhostname = mx.example.com
mydestination = forward.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtputf8_enable = no
recipient_delimiter = +
alias_maps = texthash:/etc/postfix/aliases
virtual_alias_maps = texthash:/etc/postfix/virtual
virtual_mailbox_domains = texthash:/etc/postfix/domains
virtual_mailbox_maps = texthash:/etc/postfix/mailboxes
virtual_mailbox_base = /srv
virtual_uid_maps = static:{MAIL_UID}
virtual_gid_maps = static:{MAIL_UID}
"""
TABLES = {
    "aliases": "{0} production@{0}.example\n",
    "domains": "{0}.example yes\n",
    "mailboxes": "production@{0}.example {0}/\n",
    "virtual": "sales@{0}.example production@{0}.example\n",
}
"""Tables of main.cf, with the line for each mailbox."""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
"""


@dataclass(frozen=True)
class PostfixMailbox:
    """The mailbox of one domain, which no other test uses.

    Attributes:
        name: the name of the mailbox's folder, and the first label of the domain.
        folder: its Maildir.
    """

    name: str
    folder: Path

    @property
    def domain(self) -> str:
        """The domain of the mailbox and its alias."""
        return f"{self.name}.example"

    @property
    def forwarder(self) -> str:
        """The address that forwards to the mailbox."""
        return f"{self.name}@forward.example"


class Postfix:
    """A running Postfix.

    Attributes:
        port: the SMTP port.
    """

    def __init__(self) -> None:
        self.root = Chroot("postfix", users={"postfix": 5002, "postdrop": 5003})
        for queue in (*QUEUES, "private"):
            self.root.folder(f"var/spool/postfix/{queue}", owner=5002, mode=0o700)
        for queue in ("public", "maildrop"):
            self.root.folder(f"var/spool/postfix/{queue}", owner=5002, mode=0o730)
        self.root.folder("var/spool/postfix/pid")
        self.root.folder("var/lib/postfix", owner=5002)
        (self.port,) = free_ports(1)
        self.root.write("etc/postfix/main.cf", MAIN)
        self.root.write("etc/postfix/master.cf", MASTER.format(port=self.port))
        for name, line in TABLES.items():
            text = "".join(line.format(f"u{n}") for n in range(1, USERS + 1))
            self.root.write(f"etc/postfix/{name}", text)
        self.root.folder("srv", owner=MAIL_UID)
        self._names = (f"u{n}" for n in itertools.count(1))
        self.root.start("/usr/lib/postfix/sbin/master", "-c", "/etc/postfix", "-d")
        self.root.wait_for(lambda: listening(self.port, b"220"), "Postfix")

    def mailbox(self) -> PostfixMailbox:
        """Return an empty mailbox that no other test uses."""
        name = next(self._names)
        return PostfixMailbox(name, self.root.folder(f"srv/{name}", owner=MAIL_UID, mode=0o700))

    def send(self, mail: bytes, *recipients: str) -> None:
        """Send a message to envelope recipients, over SMTP."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
            client.sendmail(SENDER, recipients, mail)

    def delivered(self, mailbox: PostfixMailbox, count: int = 1) -> list[bytes]:
        """Wait until a mailbox has `count` messages, and return the content of its files."""
        deadline = time.monotonic() + 15
        while len(files := list((mailbox.folder / "new").glob("*"))) < count:
            if time.monotonic() > deadline:
                pytest.fail(f"{len(files)} messages arrived instead of {count}:\n{self.root.log()[-4_000:]}")
            time.sleep(0.01)
        assert len(files) == count
        return [path.read_bytes() for path in files]


@pytest.fixture(scope="session")
def postfix() -> Iterator[Postfix]:
    """Yield the Postfix that the tests of a worker share."""
    server = Postfix()
    yield server
    server.root.stop()
