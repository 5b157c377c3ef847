"""Courier's IMAP and POP3 servers (Debian 12: courier-imap 5.2, courier-pop 1.2), with accounts in a userdb."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator

import pytest

from tests.servers.accounts import Account
from tests.servers.certificates import Ca
from tests.servers.chroot import MAIL_UID, Chroot, listening
from tests.servers.dovecot import free_ports

USERS = 300
PASSWORD = "courier-pw"
LIBRARY = "/usr/lib/courier/courier"


class Courier:
    """A running Courier: authdaemond, imapd and pop3d, with and without TLS."""

    def __init__(self, ca: Ca) -> None:
        self.root = Chroot("courier", users={"courier": 5001})
        pair = ca.server()
        self.ca_file = ca.write(self.root.path / "srv")
        self.root.write("etc/courier/server.pem", pair.pem(), mode=0o600, owner=5001)
        self._write_users()
        self._names = (f"u{n}" for n in itertools.count(1))
        self._serials = itertools.count(1)
        self.root.folder("run/courier/authdaemon", owner=5001)
        self.root.folder("var/lib/courier", owner=5001)
        self.root.write("etc/courier/authdaemonrc", 'authmodulelist="authuserdb"\ndaemons=2\n')
        self.root.start("/usr/lib/courier/courier-authlib/authdaemond")
        self.ports = free_ports(4)
        imap, imaps, pop3, pop3s = self.ports
        self._listen("imap", imap, f"{LIBRARY}/imaplogin", "/usr/bin/imapd", tls=False)
        self._listen("imap", imaps, f"{LIBRARY}/imaplogin", "/usr/bin/imapd", tls=True)
        self._listen("pop3", pop3, f"{LIBRARY}/courierpop3login", f"{LIBRARY}/courierpop3d", tls=False)
        self._listen("pop3", pop3s, f"{LIBRARY}/courierpop3login", f"{LIBRARY}/courierpop3d", tls=True)
        self.root.wait_for(self._ready, "Courier")

    def account(self, *, quota: int = 0) -> Account:
        """Return an empty account that no other test uses; `quota` is its quota in bytes."""
        name = next(self._names)
        for part in ("", "cur", "new", "tmp"):
            self.root.folder(f"srv/{name}/Maildir/{part}", owner=MAIL_UID, mode=0o700)
        if quota:
            # The first line of this file is the quota; deliveries and removals are appended (maildirquota(7)).
            self.root.write(f"srv/{name}/Maildir/maildirsize", f"{quota}S\n", owner=MAIL_UID)
        imap, imaps, pop3, pop3s = self.ports
        return Account(name, PASSWORD, self.ca_file, imap, imaps, pop3, pop3s)

    def receive(self, account: Account, mails: Iterable[bytes]) -> None:
        """Deliver messages into the Maildir of the INBOX, as an MTA does."""
        folder = self.root.path / "srv" / account.name / "Maildir"
        for mail in mails:
            # A Maildir is sorted by the time in the name.
            name = f"{1_700_000_000 + next(self._serials)}.M1P1.test"
            self.root.write(f"srv/{account.name}/Maildir/tmp/{name}", mail.replace(b"\r\n", b"\n"), owner=MAIL_UID)
            (folder / "tmp" / name).rename(folder / "new" / name)

    def _write_users(self) -> None:
        """Write the two files that makeuserdb creates from a userdb: accounts, and their passwords."""
        digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
        names = [f"u{n}" for n in range(1, USERS + 1)]
        fields = "uid={0}|gid={0}|home=/srv/{1}|_="
        accounts = "".join(f"{name}\t{fields.format(MAIL_UID, name)}\n" for name in names)
        passwords = "".join(f"{name}\tsystempw={{SHA}}{digest}\n" for name in names)
        for kind, lines in (("userdb", accounts), ("userdbshadow", passwords)):
            database = f"/etc/courier/{kind}.dat"
            self.root.run(f"{LIBRARY}/makedatprog", "-", f"{database}.tmp", database, data=f"{lines}.\n".encode())

    def _listen(self, protocol: str, port: int, login: str, server: str, *, tls: bool) -> None:
        env = {**self._defaults(f"{protocol}d-ssl"), **self._defaults(f"{protocol}d")}
        env["TLS_CERTFILE"] = "/etc/courier/server.pem"
        env["TLS_TRUSTCERTS"] = ""
        for name in ("TLS_DHPARAMS", "TLS_TRUSTCERTS", "TLS_CACHEFILE"):
            env.pop(name, None)
        env[f"{protocol.upper()}_STARTTLS"] = "YES"
        if tls:
            env[f"{protocol.upper()}_TLS"] = "1"
        wrapper = ["/usr/bin/couriertls", "-server", "-tcpd", "-user=courier"] if tls else []
        options = ["-address=127.0.0.1", "-maxprocs=40", "-maxperip=40", "-nodnslookup", "-noidentlookup"]
        self.root.start("/usr/sbin/couriertcpd", *options, str(port), *wrapper, login, server, "Maildir", env=env)

    def _defaults(self, name: str) -> dict[str, str]:
        """Return the settings of a configuration file as the package ships it."""
        settings: dict[str, str] = {}
        for line in (self.root.path / "etc/courier" / name).read_text().splitlines():
            if match := re.fullmatch(r'([A-Z0-9_]+)="?(.*?)"?', line):
                settings[match[1]] = re.sub(r"\$(\w+)", lambda m: settings.get(m[1], ""), match[2])
        return settings

    def _ready(self) -> bool:
        socket = self.root.path / "run/courier/authdaemon/socket"
        return socket.exists() and listening(self.ports[0], b"* OK") and listening(self.ports[2], b"+OK")


@pytest.fixture(scope="session")
def courier(ca: Ca) -> Iterator[Courier]:
    """Yield the Courier that the tests of a worker share."""
    server = Courier(ca)
    yield server
    server.root.stop()
