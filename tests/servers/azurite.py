"""Azurite on free loopback ports, started once a session, with separate accounts for the tests."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.logs import ServerLog
from tests.servers.missing import require_installed
from tests.servers.ports import free_ports

__all__ = ["ACCOUNTS", "KEY", "Azurite", "free_ports"]

ROOT = Path(__file__).resolve().parents[2]
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True, slots=True)
class Azurite:
    """The ports of a running Azurite."""

    blob: int
    queue: int
    table: int
    clock: int

    def connection_string(self, account: str) -> str:
        """Return the connection string of an account that AZURITE_ACCOUNTS lists. Azurite creates it on first use."""
        host = "http://127.0.0.1"
        return (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={KEY};"
            f"BlobEndpoint={host}:{self.blob}/{account};QueueEndpoint={host}:{self.queue}/{account};"
            f"TableEndpoint={host}:{self.table}/{account};"
        )

    def set_clock(self, *, ahead: float) -> None:
        """Set the server's time `ahead` seconds ahead of the real time."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.clock}/{ahead}", method="POST")
        urllib.request.urlopen(request, timeout=10).close()


ACCOUNTS = [f"test{number}" for number in range(1000)]
_unused = itertools.count()


def find_azurite() -> str:
    """Return the path of the azurite command; fail the test if it is not installed."""
    candidates = (
        ROOT / ".tools/node_modules/.bin/azurite",
        os.environ.get("MAILROOM_AZURITE"),
        shutil.which("azurite"),
    )
    paths = [str(path) for path in candidates if path and Path(path).exists()]
    require_installed("Azurite", installed=bool(paths))
    return paths[0]


@contextmanager
def running(
    folder: Path, accounts: Sequence[str], *, log_requests: bool = False, scripts: Sequence[Path] = ()
) -> Iterator[Azurite]:
    """Run Azurite in memory.

    Args:
        folder: the folder of its log.
        accounts: the names of its accounts.
        log_requests: log each request.
        scripts: JavaScript files that it loads first.
    """
    for _ in range(3):
        log = ServerLog("Azurite", folder / "azurite.log")
        azurite = Azurite(*free_ports(4))
        process = _start(azurite, folder / "azurite.log", accounts, scripts, log_requests=log_requests)
        try:
            if _wait_until_listening(azurite, process):
                yield azurite
                return
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
            log.close()
    pytest.fail(f"Azurite did not start: {(folder / 'azurite.log').read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Yield an Azurite in memory that has an account for each test."""
    with running(tmp_path_factory.mktemp("azurite"), ACCOUNTS, log_requests=True) as started:
        yield started


@pytest.fixture
def azure_storage(azurite: Azurite) -> str:
    """Return the connection string of an empty account that no other test uses."""
    return azurite.connection_string(ACCOUNTS[next(_unused)])


@pytest.fixture(params=["folder", "azure"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the location of an empty storage. The test runs with each kind of storage."""
    if request.param == "folder":
        return f"folder:{tmp_path / ('storage-' + uuid.uuid4().hex)}"
    return str(request.getfixturevalue("azure_storage"))


def _start(
    azurite: Azurite, log: Path, accounts: Sequence[str], scripts: Sequence[Path], *, log_requests: bool
) -> subprocess.Popen[bytes]:
    command = [find_azurite(), "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence"]
    if not log_requests:
        command.append("--silent")
    for service, port in (("blob", azurite.blob), ("queue", azurite.queue), ("table", azurite.table)):
        command += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
    loaded = (Path(__file__).with_name("azurite_clock.cjs"), *scripts)
    environment = {
        **os.environ,
        "AZURITE_ACCOUNTS": ";".join(f"{account}:{KEY}" for account in accounts),
        "AZURITE_CLOCK_PORT": str(azurite.clock),
        "NODE_OPTIONS": " ".join(f"--require={script}" for script in loaded),
    }
    with log.open("wb") as output:
        return subprocess.Popen(command, cwd=log.parent, stdout=output, stderr=output, env=environment)


def _wait_until_listening(azurite: Azurite, process: subprocess.Popen[bytes]) -> bool:
    """Return whether Azurite listens on all of its ports; False if it has ended, as it does if a port is in use."""
    deadline = time.monotonic() + 60
    for port in (azurite.blob, azurite.queue, azurite.table, azurite.clock):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    return False
                time.sleep(0.05)
    return process.poll() is None
