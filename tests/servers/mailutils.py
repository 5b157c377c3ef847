"""GNU Mailutils' imap4d and pop3d (Debian 12: 3.15), with mbox files and accounts in the /etc/passwd of their root."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

import pytest

from tests.servers.accounts import Account
from tests.servers.certificates import Ca
from tests.servers.chroot import Chroot, listening
from tests.servers.dovecot import free_ports

USERS = 200
FIRST_UID = 6000
PASSWORD = "mailutils-pw"
HASH = "$5$mailroom$i87dZmXTkCKJpXkENWLbnsXCn7.8v8/2nq6bkEzWq/6"
"""The password's SHA-256 crypt(5) hash."""
CONFIGURATION = """\
mode daemon;
foreground yes;
max-children 50;
auth {{ authentication "generic:system"; authorization "system"; }}
mailbox {{ mail-spool /var/mail; mailbox-type mbox; }}
logging {{ syslog no; severity debug; }}
tcp-wrappers {{ enable no; }}
transcript yes;
server 127.0.0.1:{plain} {{ tls-mode ondemand; {tls} }}
server 127.0.0.1:{secure} {{ tls-mode connection; {tls} }}
"""
TLS = "tls { ssl-certificate-file /etc/mailutils/server.pem; ssl-key-file /etc/mailutils/server.key; }"


class Mailutils:
    """Running imap4d and pop3d, with and without TLS."""

    def __init__(self, ca: Ca) -> None:
        self.root = Chroot("mailutils")
        users = {f"u{n}": FIRST_UID + n for n in range(1, USERS + 1)}
        pair = ca.server()
        self.ca_file = ca.write(self.root.path / "srv")
        self.root.write("etc/mailutils/server.pem", pair.certificate_pem)
        self.root.write("etc/mailutils/server.key", pair.key_pem, mode=0o600)
        lines = [f"{name}:{HASH}:{uid}:{uid}::/srv/{name}:/bin/sh\n" for name, uid in users.items()]
        self.root.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n" + "".join(lines))
        self._names = (f"u{n}" for n in itertools.count(1))
        self.root.folder("var/mail", mode=0o1777)
        self.ports = free_ports(4)
        for daemon, plain, secure in (("imap4d", *self.ports[:2]), ("pop3d", *self.ports[2:])):
            self.root.write(f"etc/mailutils/{daemon}.conf", CONFIGURATION.format(plain=plain, secure=secure, tls=TLS))
            self.root.start(f"/usr/sbin/{daemon}", "--no-config", f"--config-file=/etc/mailutils/{daemon}.conf")
        self.root.wait_for(self._ready, "Mailutils")

    def account(self) -> Account:
        """Return an empty account that no other test uses."""
        name = next(self._names)
        uid = FIRST_UID + int(name[1:])
        self.root.folder(f"srv/{name}", owner=uid)
        self.root.write(f"var/mail/{name}", b"", mode=0o600, owner=uid)
        imap, imaps, pop3, pop3s = self.ports
        return Account(name, PASSWORD, self.ca_file, imap, imaps, pop3, pop3s)

    def receive(self, account: Account, mails: Iterable[bytes]) -> None:
        """Append messages to the mbox of the INBOX, as an MTA does."""
        with (self.root.path / "var/mail" / account.name).open("ab") as mbox:
            for mail in mails:
                text = re.sub(rb"(?m)^From ", b">From ", mail.replace(b"\r\n", b"\n"))
                mbox.write(b"From a@example.net Mon Nov  2 00:00:00 2026\n" + text + b"\n")

    def _ready(self) -> bool:
        return listening(self.ports[0], b"* OK") and listening(self.ports[2], b"+OK")


@pytest.fixture(scope="session")
def mailutils(ca: Ca) -> Iterator[Mailutils]:
    """Yield the Mailutils that the tests of a worker share."""
    server = Mailutils(ca)
    yield server
    server.root.stop()
