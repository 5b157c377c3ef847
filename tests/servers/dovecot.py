"""A real Dovecot: IMAP and POP3, with TLS, passwords, a master user and OAuth tokens.

It runs as a child process, as root, on free loopback ports, in a new folder. The fixtures are `dovecot` (one for the
whole run) and `dovecots` (others, by option, each started once). Each test has a separate user: `dovecot.user()`.
"""

from __future__ import annotations

import base64
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import jwt
import pytest

from tests.servers.certificates import Ca, Pair
from tests.servers.dovecot_configuration import configuration, oauth2
from tests.servers.logs import ServerLog
from tests.servers.maildir import User, nobody
from tests.servers.missing import require_installed, require_root
from tests.servers.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MASTER", "MASTER_PASSWORD", "Dovecot", "User", "access_token", "free_ports"]

ISSUER = "https://issuer.test/"
USERS = 3_000
MASTER, MASTER_PASSWORD = "svc", "svcpw"


class Dovecot:
    """A running Dovecot.

    Attributes:
        imap, imaps, pop3, pop3s: ports on 127.0.0.1; imaps and pop3s use implicit TLS.
        ca_file: the CA that issued its certificate, unless another certificate was given.
        key: the key that signs its tokens (HS256).
    """

    host = "localhost"

    def __init__(
        self,
        ca: Ca,
        *,
        certificate: Pair | None = None,
        tls: bool = True,
        imap_capability: str = "",
        mechanisms: str = "plain login xoauth2 oauthbearer",
        extra: str = "",
        key: bytes | None = None,
    ) -> None:
        """Start Dovecot.

        Args:
            ca: the CA that issues its certificate.
            certificate: the certificate to use instead of one for localhost from `ca`.
            tls: False: neither TLS ports nor STARTTLS and STLS.
            imap_capability: the IMAP capabilities to advertise instead of the real ones.
            mechanisms: SASL mechanisms, as Dovecot spells them.
            extra: more lines for the configuration.
            key: the key that signs its tokens.
        """
        command = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        require_installed("Dovecot", installed=command is not None)
        require_root("Dovecot")
        self.key = key or secrets.token_bytes(32)
        self._folder = Path(tempfile.mkdtemp(prefix="dove"))
        self._folder.chmod(0o755)
        self._log = ServerLog("Dovecot", self._folder / "log" / "dovecot.log")
        self.ca_file = ca.write(self._folder / "tls")
        (certificate or ca.server()).write(self._folder / "tls", "server")
        self._options = (tls, imap_capability, mechanisms, extra)
        self._write()
        self._names = (f"u{n}" for n in itertools.count(1))
        for _ in range(3):
            self.imap, self.imaps, self.pop3, self.pop3s = free_ports(4)
            if self._start():
                return
        log = self.log()
        self.stop()
        pytest.fail(f"Dovecot did not start:\n{log[-2_000:]}", pytrace=False)

    def user(self) -> User:
        """Return an empty account that no other test uses."""
        name = next(self._names)
        home = self._folder / "mail" / name
        home.mkdir()
        os.chown(home, *nobody())
        return User(name, f"{name}-pw", home)

    def token(self, address: str, *, lifetime: float = 3_600.0, key: bytes | None = None) -> str:
        """Return an access token that this server accepts for XOAUTH2; with a negative lifetime it has expired."""
        return access_token(address, key=key or self.key, lifetime=lifetime)

    def log(self) -> str:
        """Return the log so far."""
        return self._log.all()

    def kick(self, user: User) -> None:
        """Cut the connections of a user, as a restart of the server does."""
        command = ["doveadm", "-c", str(self._folder / "dovecot.conf"), "kick", user.name]
        subprocess.run(command, check=True, capture_output=True, timeout=20)

    def ask_to_stop(self) -> None:
        """Send SIGTERM without waiting."""
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stop Dovecot and remove its folder."""
        self.ask_to_stop()
        process = getattr(self, "_process", None)
        if process is not None:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _write(self) -> None:
        for name in ("log", "state", "mail", "keys/default/HS256"):
            (self._folder / name).mkdir(parents=True)
        os.chown(self._folder / "mail", *nobody())
        (self._folder / "keys/default/HS256/default").write_bytes(base64.b64encode(self.key))
        (self._folder / "oauth2.conf.ext").write_text(oauth2(self._folder, ISSUER))
        users = "".join(f"u{n}:{{PLAIN}}u{n}-pw::::::\n" for n in range(1, USERS + 1))
        (self._folder / "users").write_text(users)
        (self._folder / "masters").write_text(f"{MASTER}:{{PLAIN}}{MASTER_PASSWORD}::::::\n")

    def _start(self) -> bool:
        ports = (self.imap, self.imaps, self.pop3, self.pop3s)
        tls, imap_capability, mechanisms, extra = self._options
        text = configuration(
            self._folder, ports, tls=tls, imap_capability=imap_capability, mechanisms=mechanisms, extra=extra
        )
        (self._folder / "dovecot.conf").write_text(text)
        shutil.rmtree(self._folder / "run", ignore_errors=True)
        command = ["dovecot", "-F", "-c", str(self._folder / "dovecot.conf")]
        path = f"{os.environ.get('PATH', '')}:/usr/sbin"
        with (self._folder / "log" / "dovecot.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PATH": path},
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.pop3), 1) as connection:
                connection.settimeout(2)
                if connection.recv(3) == b"+OK":
                    return True
            time.sleep(0.02)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
        return False


def access_token(address: str, *, key: bytes, lifetime: float = 3_600.0, **more: str) -> str:
    """Return a token that Dovecot's local validation accepts, with additional claims in `more`."""
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": address, "email": address, "iat": now - 10, "exp": int(now + lifetime), **more}
    return jwt.encode(claims, key, algorithm="HS256", headers={"kid": "default"})


@pytest.fixture(scope="session")
def ca() -> Ca:
    """Return the certificate authority of the test run."""
    return Ca()


@pytest.fixture(scope="session")
def ca_file(ca: Ca, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file with the certificate authority's certificate, for `CA_FILE`."""
    return ca.write(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def dovecots(ca: Ca) -> Iterator[Callable[..., Dovecot]]:
    """Yield a function that returns a Dovecot with given options of `Dovecot`, started if necessary."""
    running: dict[str, Dovecot] = {}

    def start(**options: object) -> Dovecot:
        name = repr(sorted(options.items()))
        if name not in running:
            running[name] = Dovecot(ca, **options)  # type: ignore[arg-type]  # `Dovecot` checks the options
        return running[name]

    yield start
    for started in running.values():
        started.ask_to_stop()
    for started in running.values():
        started.stop()


@pytest.fixture(scope="session")
def dovecot(dovecots: Callable[..., Dovecot]) -> Dovecot:
    """Return the Dovecot that most tests share."""
    return dovecots()
