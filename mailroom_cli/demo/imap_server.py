"""The demonstration's mail server: pymap, in memory, on loopback, one account a process. Nothing else leans on it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imapclient import IMAPClient

from shared.errors import ConnectFailed

READY_WITHIN = 20.0
"""Seconds that the server has to come up."""


@contextmanager
def mail_server(user: str, password: str, messages: Sequence[bytes]) -> Iterator[int]:
    """A mail server with one account whose INBOX holds the given messages; gives its port, ends with the context.

    Raises:
        ConnectFailed: it did not come up.
    """
    port = _free_port()
    program = Path(sys.executable).with_name("pymap")
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--no-tls", "dict"]
    with subprocess.Popen(  # noqa: S603  the program beside our own interpreter, with arguments of our own
        [*command, "--demo-user", user, "--demo-password", password],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_for(port, process)
            _fill(port, user, password, messages)
            yield port
        finally:
            process.kill()


def _fill(port: int, user: str, password: str, messages: Sequence[bytes]) -> None:
    with IMAPClient("127.0.0.1", port, ssl=False, timeout=READY_WITHIN) as client:
        escaped = user.replace("\\", "\\\\")
        client.login(f'"{escaped}"', password)
        for message in messages:
            client.append("INBOX", message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_WITHIN
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise ConnectFailed("the demonstration's mail server did not come up: is the package pymap installed?")
