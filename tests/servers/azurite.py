"""Azurite on free loopback ports, once a session, and storages on it that no other test uses."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running Azurite."""

    blob: int
    queue: int
    table: int

    def connection_string(self, account: str) -> str:
        """An account of its own; Azurite makes it up on the spot (AZURITE_ACCOUNTS lists it)."""
        host = "http://127.0.0.1"
        return (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={KEY};"
            f"BlobEndpoint={host}:{self.blob}/{account};QueueEndpoint={host}:{self.queue}/{account};"
            f"TableEndpoint={host}:{self.table}/{account};"
        )


ACCOUNTS = [f"test{number}" for number in range(1000)]
_unused = itertools.count()


def program() -> str:
    """The azurite command; fails the test where there is none."""
    for place in (
        ROOT / ".tools/node_modules/.bin/azurite",
        os.environ.get("MAILROOM_AZURITE"),
        shutil.which("azurite"),
    ):
        if place and Path(place).exists():
            return str(place)
    pytest.fail("Azurite is missing: run `make test` (it installs it through npm), or `npm install -g azurite@3.35`")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Azurite, in memory, with accounts enough for every test to have its own."""
    running = Azurite(*free_ports(3))
    folder = tmp_path_factory.mktemp("azurite")
    command = [program(), "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence"]
    for service, port in (("blob", running.blob), ("queue", running.queue), ("table", running.table)):
        command += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
    accounts = ";".join(f"{account}:{KEY}" for account in ACCOUNTS)
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, "AZURITE_ACCOUNTS": accounts}
        ) as process,
    ):
        try:
            _wait_for(running, process, folder / "log")
            yield running
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def azure_storage(azurite: Azurite) -> str:
    """The connection string of an account that is empty and this test's alone."""
    return azurite.connection_string(ACCOUNTS[next(_unused)])


@pytest.fixture(params=["folder", "azure"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty storage: the test runs on each kind."""
    if request.param == "folder":
        return f"folder:{tmp_path / ('storage-' + uuid.uuid4().hex)}"
    return str(request.getfixturevalue("azure_storage"))


def _wait_for(running: Azurite, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    for port in (running.blob, running.queue, running.table):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    pytest.fail(f"Azurite did not come up: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.05)
