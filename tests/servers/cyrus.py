"""Cyrus' IMAP server (Debian 12: 3.6), with accounts in a SASL database and ACLs."""

from __future__ import annotations

import imaplib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.servers.accounts import Account, quoted, succeed
from tests.servers.certificates import Ca
from tests.servers.chroot import Chroot, listening
from tests.servers.dovecot import free_ports

UID = 5004
ADMIN = "cyrus"
PASSWORD = "cyrus-pw"
BINARIES = "/usr/lib/cyrus/bin"
IMAPD = """\
configdirectory: /var/lib/cyrus
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
defaultpartition: default
partition-default: /var/spool/cyrus/mail
sievedir: /var/spool/sieve
admins: cyrus
altnamespace: no
unixhierarchysep: yes
hashimapspool: true
allowplaintext: yes
failedloginpause: 0s
reject8bit: no
munge8bit: no
sasl_pwcheck_method: auxprop
sasl_mech_list: PLAIN LOGIN
sasl_sasldb_path: /etc/sasldb2
servername: localhost
tls_server_cert: /etc/cyrus.pem
tls_server_key: /etc/cyrus.key
tls_client_ca_file: /etc/ca.pem
tls_client_certs: off
syslog_prefix: cyrus
"""
CYRUS = """\
START {{
  recover cmd="ctl_cyrusdb -r"
}}
SERVICES {{
  imap cmd="imapd -U 100" listen="127.0.0.1:{imap}" prefork=1
  imaps cmd="imapd -s -U 100" listen="127.0.0.1:{imaps}" prefork=0
}}
EVENTS {{
}}
"""


class Cyrus:
    """A running Cyrus: master and imapd, with and without TLS."""

    def __init__(self, ca: Ca) -> None:
        self.root = Chroot("cyrus", users={ADMIN: UID})
        pair = ca.server()
        self.ca_file = ca.write(self.root.path / "etc")
        self.root.write("etc/cyrus.pem", pair.certificate_pem)
        self.root.write("etc/cyrus.key", pair.key_pem, mode=0o600, owner=UID)
        self.root.write("etc/imapd.conf", IMAPD)
        for folder in ("db", "log", "msg", "proc", "quota", "socket", "sync", "user", "lock"):
            self.root.folder(f"var/lib/cyrus/{folder}", owner=UID)
        for folder in ("var/lib/cyrus", "var/spool/cyrus/mail", "var/spool/sieve", "run/cyrus/proc", "run/cyrus/lock"):
            self.root.folder(folder, owner=UID)
        # Without a list of time zones, libical ends every program of Cyrus.
        self.root.write("usr/share/zoneinfo/zone.tab", "CH\t+4723+00832\tEurope/Zurich\n")
        self._add_password(ADMIN)
        self.imap, self.imaps = free_ports(2)
        self.root.write("etc/cyrus.conf", CYRUS.format(imap=self.imap, imaps=self.imaps))
        self.root.start(f"{BINARIES}/master", "-D")
        self.root.wait_for(lambda: listening(self.imap, b"* OK"), "Cyrus")
        self._names = (f"u{n}" for n in itertools.count(1))

    def account(self) -> Account:
        """Return an empty account that no other test uses."""
        name = next(self._names)
        self._add_password(name)
        with self.admin() as client:
            succeed(client.create(f"user/{name}"))
        return Account(name, PASSWORD, self.ca_file, self.imap, self.imaps)

    @contextmanager
    def admin(self) -> Iterator[imaplib.IMAP4]:
        """Sign in as the administrator, who sees an account's INBOX as `user/NAME`."""
        client = imaplib.IMAP4("127.0.0.1", self.imap, timeout=20)
        try:
            succeed(client.login(ADMIN, PASSWORD))
            yield client
        finally:
            client.logout()

    def set_rights(self, account: Account, rights: str, *, folder: str = "") -> None:
        """Give an account exactly these rights (RFC 4314) to its INBOX, or to a folder below it."""
        with self.admin() as client:
            succeed(client.setacl(quoted(f"user/{account.name}{folder}"), account.name, rights))

    def _add_password(self, name: str) -> None:
        command = ("/usr/sbin/saslpasswd2", "-p", "-c", "-f", "/etc/sasldb2", "-u", "localhost", name)
        self.root.run(*command, data=PASSWORD.encode())
        (self.root.path / "etc/sasldb2").chmod(0o644)


@pytest.fixture(scope="session")
def cyrus(ca: Ca) -> Iterator[Cyrus]:
    """Yield the Cyrus that the tests of a worker share."""
    server = Cyrus(ca)
    yield server
    server.root.stop()
