"""Run the `mailroom` command as a separate process on real servers.

`mailroom` runs it to its end, in a process that has imported it before. `command` is the command line of a new process,
for tests that send signals to it, and for a test of each kind of start.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from mailroom_cli.main import main
from shared.documents.blob_paths import raw_path
from shared.receipts import Receipt, State
from shared.storage.base import Storage, Table
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.servers import logs, prepared_process
from tests.servers.dovecot import Dovecot, User
from tests.servers.whole_table import whole_table

ROOT = Path(__file__).resolve().parents[2]


def mailboxes(dovecot: Dovecot, **users: User) -> dict[str, str]:
    """Return settings of mailboxes; one named `pop…` uses POP3S, any other IMAPS."""
    values: dict[str, str] = {}
    for name, user in users.items():
        pop = name.startswith("pop")
        settings = {
            "PROTOCOL": "pop3" if pop else "imap",
            "HOST": dovecot.host,
            "PORT": str(dovecot.pop3s if pop else dovecot.imaps),
            "CA_FILE": str(dovecot.ca_file),
            "ADDRESS": user.address,
            "USERNAME": user.name,
            "PASSWORD": user.password,
        }
        values |= {f"MAILBOXES__{name}__{key}": value for key, value in settings.items()}
    return values


def settings_file(folder: Path, storage: str, values: Mapping[str, str]) -> Path:
    """Write a file in the format of local.settings.json and return its path."""
    path = folder / "settings.json"
    path.write_text(json.dumps({"IsEncrypted": False, "Values": {"AzureWebJobsStorage": storage, **values}}))
    return path


def command(*words: str, settings: Path) -> list[str]:
    """Return the command line of a process that runs `mailroom`."""
    warnings = ["-W", "error"]
    for graph_sdk_warning in ("GetQueryParameters is deprecated", "This class is deprecated. Please use the generic"):
        warnings += ["-W", f"ignore:{graph_sdk_warning}:DeprecationWarning"]
    return [sys.executable, *warnings, "-m", "mailroom_cli", *words, "--settings", str(settings)]


def mailroom(
    *words: str,
    settings: Path,
    timeout: float = 300,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    verbose: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run `mailroom` and return its result.

    Args:
        words: the command and its arguments.
        settings: the settings file.
        timeout: in seconds.
        cwd: the current directory.
        environment: environment variables in addition to those of this process.
        verbose: write log lines to standard error.
    """
    words = (*(["--verbose"] if verbose else []), *words, "--settings", str(settings))
    return run_mailroom(*words, timeout=timeout, cwd=cwd, environment=environment)


def run_mailroom(
    *words: str, timeout: float, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `mailroom` with exactly these arguments; see `mailroom`."""
    arguments = ["mailroom", *words]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        process = prepared_process.context().Process(
            target=prepared_process.run_program,
            args=(main, arguments, cwd, {**os.environ, **(environment or {})}, output),
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, timeout)
        status = process.exitcode
        process.close()
        stdout, stderr = ((output / name).read_text("utf-8") for name in ("stdout", "stderr"))
    logs.add_output(f"standard error of mailroom {' '.join(words)}", stderr)
    return subprocess.CompletedProcess(arguments, status, stdout, stderr)


def opened(storage: str) -> Storage:
    """Open a storage by its address."""
    location = StorageLocation.parse(storage, setting="TEST")
    return open_storage(location, location, "mail")


def identity(data: bytes) -> str:
    """Return a message's id."""
    return hashlib.sha256(data).hexdigest()


def results(stores: Storage) -> Counter[tuple[str, str, str]]:
    """Count the results by route, recipient and message."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for path in stores.blobs.list("routed/"):
        result = json.loads(stores.blobs.read(path) or b"")
        counts[result["route"], result["recipient"], result["message"]] += 1
    return counts


def recorded(stores: Storage, kind: str) -> Counter[str]:
    """Count the records of a kind by message."""
    return Counter(json.loads(stores.blobs.read(path) or b"")["message"] for path in stores.blobs.list(kind + "/"))


def assert_all_stored(stores: Storage, messages: Iterable[bytes]) -> None:
    """Assert that every message is stored with its raw bytes and routed, and that the outbox is empty."""
    for data in messages:
        assert stores.blobs.read(raw_path(identity(data))) == data
    receipts = [Receipt.from_record(record) for record in whole_table(stores.records, Table.RECEIPTS)]
    assert {receipt.state for receipt in receipts} <= {State.ROUTED}
    assert not whole_table(stores.records, Table.OUTBOX)
