"""Storages in folders, and programs that use one in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from shared.storage.base import Storage
from shared.storage.factory import open_storage
from shared.storage.location import StorageLocation

ROOT = Path(__file__).resolve().parents[2]

OPEN = """
import sys, time
from pathlib import Path
from shared.keys import digest
from shared.storage.location import StorageLocation
from shared.storage.factory import open_storage
from shared.storage.base import QueueName, Table

address = StorageLocation.parse(f"folder:{sys.argv[1]}", setting="TEST")
until = float(sys.argv[2])
time.sleep(max(0, until - time.time()))
stores = open_storage(address, address, "mail")
"""


def opened_at(folder: Path) -> Storage:
    address = StorageLocation.parse(f"folder:{folder}", setting="TEST")
    return open_storage(address, address, "mail")


def processes(program: str, folder: Path, count: int) -> list[str]:
    """Run a program in several processes at the same moment: what each printed."""
    at = time.time() + 1
    command = [sys.executable, "-W", "error", "-c", OPEN + program, str(folder), str(at)]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    printed = [one.communicate(timeout=100) for one in running]
    assert [errors for _, errors in printed] == [""] * count
    return [output for output, _ in printed]
