"""The demo's mail servers: pymap (IMAP), and the Graph simulator. Both run on the loopback address only."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme
from imapclient import IMAPClient

from graph_simulator import GraphSimulator
from shared.errors import ConnectFailed

START_TIMEOUT = 20.0
"""Seconds that the IMAP server has to start."""


@contextmanager
def imap_server(user: str, password: str, messages: Sequence[bytes]) -> Iterator[int]:
    """Start an IMAP server with one account, and yield its port; the server stops when the context ends.

    Args:
        user: name of the account.
        password: its password.
        messages: content of its INBOX.

    Raises:
        ConnectFailed: the server did not start.
    """
    port = _free_port()
    program = Path(sys.executable).with_name("pymap")
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--no-tls", "dict"]
    with subprocess.Popen(  # noqa: S603  the program is installed with this interpreter; the arguments are ours
        [*command, "--demo-user", user, "--demo-password", password],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_for(port, process)
            _append(port, user, password, messages)
            yield port
        finally:
            process.kill()


@contextmanager
def graph_server(
    address: str, messages: Sequence[bytes], unreadable: Sequence[bytes], folder: Path
) -> Iterator[dict[str, str]]:
    """Start a Graph simulator with one mailbox; it stops when the context ends.

    Args:
        address: the mailbox's address.
        messages: content of its inbox.
        unreadable: messages in its inbox that it never returns, as Graph does with encrypted mail.
        folder: folder for certificates.

    Yields:
        App settings, including those of a mailbox named `contracts`.
    """
    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    ca_file, certificate, key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    ca.cert_pem.write_to_path(ca_file)
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    with GraphSimulator(certificate=certificate, key=key) as graph:
        app = graph.register(mailboxes={address})
        mailbox = graph.mailbox(address)
        for message in messages:
            mailbox.deliver(message)
        for message in unreadable:
            mailbox.deliver(message, unconvertible=True)
        mailbox_settings = {
            "PROTOCOL": "graph",
            "ADDRESS": address,
            "TENANT_ID": graph.tenant,
            "CLIENT_ID": app.client_id,
            "CLIENT_SECRET": app.secret,
            "CA_FILE": str(ca_file),
        }
        yield {
            "SIGN_IN_AUTHORITY": graph.url,
            "GRAPH_ENDPOINT": graph.endpoint,
            **{f"MAILBOXES__contracts__{name}": value for name, value in mailbox_settings.items()},
        }


def _append(port: int, user: str, password: str, messages: Sequence[bytes]) -> None:
    with IMAPClient("127.0.0.1", port, ssl=False, timeout=START_TIMEOUT) as client:
        escaped = user.replace("\\", "\\\\")
        client.login(f'"{escaped}"', password)
        for message in messages:
            client.append("INBOX", message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise ConnectFailed("the demo's IMAP server did not start: check that the package pymap is installed")
