"""The command `mailroom`, run as a process of its own on real servers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from shared.documents.blob_paths import raw_path
from shared.receipts import Receipt, State
from shared.storage.base import Storage, Table
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation
from tests.servers.dovecot import Dovecot, User

ROOT = Path(__file__).resolve().parents[2]


def mailboxes(dovecot: Dovecot, **users: User) -> dict[str, str]:
    """Settings: a mailbox named `pop…` is collected by POP3S, any other by IMAPS."""
    values: dict[str, str] = {}
    for name, user in users.items():
        pop = name.startswith("pop")
        given = {
            "PROTOCOL": "pop3" if pop else "imap",
            "HOST": dovecot.host,
            "PORT": str(dovecot.pop3s if pop else dovecot.imaps),
            "CA_FILE": str(dovecot.ca_file),
            "ADDRESS": user.address,
            "USERNAME": user.name,
            "PASSWORD": user.password,
        }
        values |= {f"MAILBOXES__{name}__{key}": value for key, value in given.items()}
    return values


def settings_file(folder: Path, storage: str, values: Mapping[str, str]) -> Path:
    """A file in the shape of local.settings.json."""
    path = folder / "settings.json"
    path.write_text(json.dumps({"IsEncrypted": False, "Values": {"AzureWebJobsStorage": storage, **values}}))
    return path


def command(*words: str, settings: Path) -> list[str]:
    """The words of a process that runs `mailroom`."""
    warnings = ["-W", "error"]
    for of_the_graph_sdk in ("GetQueryParameters is deprecated", "This class is deprecated. Please use the generic"):
        warnings += ["-W", f"ignore:{of_the_graph_sdk}:DeprecationWarning"]
    return [sys.executable, *warnings, "-m", "mailroom_cli", *words, "--settings", str(settings)]


def mailroom(
    *words: str,
    settings: Path,
    timeout: float = 300,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    verbose: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run `mailroom` to its end.

    Args:
        words: the command and its arguments.
        settings: the settings file.
        timeout: seconds that it may take.
        cwd: the current directory.
        environment: variables that it has in addition to this process's.
        verbose: log what happens.
    """
    return subprocess.run(
        command(*(["--verbose"] if verbose else []), *words, settings=settings),
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def opened(storage: str) -> Storage:
    """A storage by its address."""
    address = StorageLocation.parse(storage, setting="TEST")
    return open_storage(address, address, "mail")


def identity(data: bytes) -> str:
    """A message's id."""
    return hashlib.sha256(data).hexdigest()


def results(stores: Storage) -> Counter[tuple[str, str, str]]:
    """Every result: route, recipient, message."""
    found = []
    for path in stores.blobs.list("routed/"):
        one = json.loads(stores.blobs.read(path) or b"")
        found.append((one["route"], one["recipient"], one["message"]))
    return Counter(found)


def recorded(stores: Storage, fate: str) -> Counter[str]:
    """Every record of a kind: its message."""
    return Counter(json.loads(stores.blobs.read(path) or b"")["message"] for path in stores.blobs.list(fate + "/"))


def assert_all_stored(stores: Storage, messages: Iterable[bytes]) -> None:
    """Every message has its raw bytes, is routed, and nothing waits."""
    for data in messages:
        assert stores.blobs.read(raw_path(identity(data))) == data
    receipts = [Receipt.from_record(record) for record in stores.records.scan(Table.RECEIPTS)]
    assert {receipt.state for receipt in receipts} <= {State.ROUTED}
    assert not list(stores.records.scan(Table.OUTBOX))
