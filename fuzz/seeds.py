"""Seeds for the fuzzer: messages that the parser's unit tests read, generated mail, and small hostile mail.

As a plugin (`pytest -p fuzz.seeds`) this module records each message in the folder that `SEED_FOLDER` names.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

from shared.mime.buffer import Buffer
from tests.unit.mime.hostile import KINDS
from tests.unit.mime.samples import sample

FOLDER: Final = "SEED_FOLDER"
"""The environment variable that names the folder."""

LONGEST: Final = 32_768
"""Bytes of an input; a larger one would take the fuzzer too long."""

OF_A_TEST: Final = 20
"""Messages that one test adds at most: some tests generate thousands."""

GENERATED: Final = 300
HOSTILE_SIZE: Final = 3_000

ROOT: Final = Path(__file__).resolve().parents[2]


def write_seeds(folder: Path) -> int:
    """Write all seeds into a folder and return their number."""
    source = random.Random(1)
    for message in (sample(source, source.choice([500, 2_000, 5_000])) for _ in range(GENERATED)):
        _keep(folder, message)
    for kind in KINDS.values():
        _keep(folder, kind(HOSTILE_SIZE))
    # The tests that measure time read the hostile kinds again, larger.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "fuzz.seeds", "tests/unit/mime"]
    left_out = [f"--ignore=tests/unit/mime/{name}.py" for name in ("test_hostile_kinds", "test_hostile")]
    subprocess.run([*command, *left_out], cwd=ROOT, env=os.environ | {FOLDER: str(folder)}, check=True)
    return sum(1 for _ in folder.iterdir())


def _keep(folder: Path, message: bytes) -> None:
    if 0 < len(message) <= LONGEST:
        (folder / f"seed-{hashlib.sha256(message).hexdigest()[:20]}").write_bytes(message)


def pytest_configure() -> None:
    """Record the bytes of each `Buffer`: whichever function reads a message makes one."""
    if FOLDER not in os.environ:
        return
    folder, counts, original = Path(os.environ[FOLDER]), Counter[str](), Buffer.__init__

    def recording(self: Buffer, data: Any) -> None:
        test = os.environ.get("PYTEST_CURRENT_TEST", "")
        counts[test] += 1
        if isinstance(data, bytes) and counts[test] <= OF_A_TEST:
            _keep(folder, data)
        original(self, data)

    Buffer.__init__ = recording  # type: ignore[method-assign]
