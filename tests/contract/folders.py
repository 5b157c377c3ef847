"""Storages in folders, and programs that use one in separate processes."""

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

location = StorageLocation.parse(f"folder:{sys.argv[1]}", setting="TEST")
start = float(sys.argv[2])
time.sleep(max(0, start - time.time()))
storage = open_storage(location, location, "mail")
"""
"""A program that opens the storage in the folder `argv[1]` at the time `argv[2]`."""


NAMED_FILES = "import os\ndel os.O_TMPFILE\n"
"""What to put before `OPEN` on a system, or for a file system, that has no files without names."""


def opened_at(folder: Path) -> Storage:
    """Open the storage in a folder."""
    location = StorageLocation.parse(f"folder:{folder}", setting="TEST")
    return open_storage(location, location, "mail")


def run_processes(program: str, folder: Path, count: int) -> list[str]:
    """Run a program in several processes at the same moment, and return the output of each."""
    start = time.time() + 1
    command = [sys.executable, "-W", "error", "-c", OPEN + program, str(folder), str(start)]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    printed = [process.communicate(timeout=100) for process in running]
    assert [errors for _, errors in printed] == [""] * count
    return [output for output, _ in printed]
